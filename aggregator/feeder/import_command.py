"""`v2g feeder import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aggregator.feeder.options import FeederPath, JsonFlag, fail


def import_(
    feeder: FeederPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the feeder; a new one or that of an import.")],
    as_json: JsonFlag = False,
) -> None:
    """Bring a feeder in: what is wrong with it, what did not come through, and how far two engines are apart."""
    fail(f"{feeder}: {out}: {as_json}: cannot be done yet")
