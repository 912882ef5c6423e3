"""Arguments that the feeder's commands share, and how they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from aggregator.refusal import Refused


def _plain(path: Path) -> Path:
    """Files and folders only: a pipe would be waited for, for ever."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        fail(f"{path}: cannot be read: neither a file nor a folder", 2)
    return path


FeederPath = Annotated[
    Path, typer.Argument(callback=_plain, help="Folder of a feeder or of its four CSV tables, .dss file, or JSON of "
                                               "pandapower or power-grid-model."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """What is wrong, to stderr, and an exit code: 1 refused, 2 the input cannot be used."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


@contextmanager
def refusals_told() -> Iterator[None]:
    """What is refused inside ends the command: with 2 where a file or a feeder cannot be used, else with 1."""
    from aggregator.feeder.given import Unusable  # noqa: PLC0415 - --help starts without the engines
    from twin.feeder.importers import ImportRefused  # noqa: PLC0415 - see above

    try:
        yield
    except (ImportRefused, Unusable) as unusable:
        fail(str(unusable), 2)
    except Refused as refused:
        fail(str(refused))
