"""Arguments that the feeder's commands share, and how they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer


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
