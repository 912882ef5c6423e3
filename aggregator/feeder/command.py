"""`v2g feeder`: its four commands under one name, each in a module of its own."""

from __future__ import annotations

import typer

from aggregator.feeder.check_command import check
from aggregator.feeder.envelope_command import envelope
from aggregator.feeder.flow_command import flow
from aggregator.feeder.import_command import import_

feeder_app = typer.Typer(no_args_is_help=True, help="Import, check and solve a three-phase feeder.")
feeder_app.command("import", epilog="Example: v2g feeder import Master.dss -o my-feeder")(import_)
feeder_app.command("check", epilog="Example: v2g feeder check my-feeder")(check)
feeder_app.command("flow", epilog="Example: v2g feeder flow my-feeder -o out")(flow)
feeder_app.command("envelope", epilog="Example: v2g feeder envelope my-feeder -o envelope.json")(envelope)
