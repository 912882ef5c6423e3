"""`v2g feeder check`."""

from __future__ import annotations

import json

import typer

from aggregator.feeder.options import FeederPath, JsonFlag, refusals_told


def check(feeder: FeederPath, as_json: JsonFlag = False) -> None:
    """Judge a feeder's data and let two engines solve it: without load, with the given one, with all at most.

    Ends with 0 if both agree on every load, with 1 if not, with 2 if there is nothing to solve.
    """
    from aggregator.feeder.examination import as_json as written  # noqa: PLC0415 - --help starts without the engines
    from aggregator.feeder.examination import examine, in_words  # noqa: PLC0415 - see above
    from aggregator.feeder.given import imported_or_example  # noqa: PLC0415 - see above

    with refusals_told():
        examination = examine(imported_or_example(feeder))
    typer.echo(json.dumps(written(examination)) if as_json else "\n".join(in_words(examination)))
    raise typer.Exit(2 if examination.is_blocked else 0 if examination.agrees else 1)
