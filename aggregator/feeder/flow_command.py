"""`v2g feeder flow`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aggregator.feeder.options import FeederPath, JsonFlag, fail


def flow(
    feeder: FeederPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")],
    as_json: JsonFlag = False,
) -> None:
    """In the making."""
    fail(f"{feeder}: {out}: {as_json}: cannot be done yet")
