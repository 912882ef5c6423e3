"""`v2g feeder import`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from aggregator.feeder.options import FeederPath, JsonFlag, refusals_told


def import_(
    feeder: FeederPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the feeder; a new one or that of an import.")],
    ampacity: Annotated[Path | None, typer.Option(
        help="CSV of ratings: line, ampacity_a and, if known, source; * stands for all lines without a rating.",
    )] = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring a feeder in: what is wrong with it, what did not come through, and how far two engines are apart.

    Ends with 0 also where there are remarks, with 2 if faults leave no network to solve or the file cannot be read;
    then nothing is written.
    """
    from aggregator.feeder.ampacities import with_ampacities  # noqa: PLC0415 - --help starts without the engines
    from aggregator.feeder.examination import as_json as written  # noqa: PLC0415 - see above
    from aggregator.feeder.examination import examine, in_words  # noqa: PLC0415 - see above
    from aggregator.feeder.folder import write_imported  # noqa: PLC0415 - see above
    from twin.feeder.importers import read_feeder  # noqa: PLC0415 - see above

    with refusals_told():
        imported = read_feeder(feeder)
        examination = examine(imported if ampacity is None else with_ampacities(imported, ampacity))
        report = {"source": feeder.name, **written(examination)}
        if not examination.is_blocked:
            write_imported(examination.imported, report, out)
    if as_json:
        typer.echo(json.dumps(report))
    else:
        typer.echo("\n".join(in_words(examination)))
        typer.echo(f"{out}: nothing written" if examination.is_blocked else f"{out}: written")
    raise typer.Exit(2 if examination.is_blocked else 0)
