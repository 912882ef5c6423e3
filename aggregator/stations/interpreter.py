"""Find the interpreter of the emulated stations' environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from aggregator.refusal import Refused

VARIABLE = "V2G_STATION_PYTHON"
_FOLDER = ".venv-station"


class NoStationInterpreter(Refused):
    """There is none, or the one that is named cannot be run."""


def station_interpreter(
    environment: Mapping[str, str] | None = None, beside: tuple[Path, ...] | None = None
) -> Path:
    """The Python that V2G_STATION_PYTHON names, else that of `.venv-station` beside the environment or the project.

    Args:
        environment: variables; the process's own if None.
        beside: folders in which `.venv-station` is looked for; if None, where the environment and the project lie.

    Raises:
        NoStationInterpreter: as above; one line says what was looked for.
    """
    named = (os.environ if environment is None else environment).get(VARIABLE)
    if named:
        if not _is_runnable(Path(named)):
            raise NoStationInterpreter(f"{VARIABLE}: {named!r}, expected a Python interpreter that can be run")
        return Path(named)
    folders = _usual_folders() if beside is None else beside
    for folder in folders:
        found = folder / _FOLDER / "bin" / "python"
        if _is_runnable(found):
            return found
    raise NoStationInterpreter(
        f"the emulated stations' Python was not found: {VARIABLE} is not set, and there is no {_FOLDER}/bin/python in "
        f"{' or '.join(dict.fromkeys(str(folder) for folder in folders))} (`make {_FOLDER}/.ready` makes it)"
    )


def _usual_folders() -> tuple[Path, ...]:
    return (Path(sys.prefix).parent, Path(__file__).resolve().parents[2])


def _is_runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
