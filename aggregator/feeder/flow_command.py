"""`v2g feeder flow`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from aggregator.feeder.limit_options import LineLoading, TransformerLoading, Unbalance, Voltage, limits_of
from aggregator.feeder.options import FeederPath, JsonFlag, refusals_told


def flow(
    feeder: FeederPath,
    loads: Annotated[
        Path | None,
        typer.Option(help="CSV: `time`, then watts by connection point (and `<point> var`). Default: the feeder's own "
                          "loads; `example` has a day of homes."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for tables and pictures; new, or of an earlier flow.")
    ] = None,
    voltage: Voltage = (0.9, 1.1),
    line_loading: LineLoading = 1.0,
    transformer_loading: TransformerLoading = 1.0,
    unbalance: Unbalance = 0.02,
    as_json: JsonFlag = False,
) -> None:
    """Solve every step, with two engines, and say what is beyond its limit.

    FEEDER may be the word `example`. Ends with 1 where a step has no solution or the engines differ, with 2 where the
    feeder or its loads cannot be used; limits that are crossed are told and end with 0.
    """
    from aggregator.feeder.flow_run import run_flow  # noqa: PLC0415 - help appears without the solver

    with refusals_told():
        result = run_flow(feeder, loads, out, limits_of(voltage, line_loading, transformer_loading, unbalance))
    typer.echo(json.dumps(result.as_json) if as_json else result.in_words)
    raise typer.Exit(0 if result.is_sound else 1)
