"""The folder of a run: it is there as a whole or not at all, and never takes the place of anything else.

Everything is written into a hidden folder beside it, which takes the final name when the last file is closed. What a
killed run leaves behind is such a hidden folder; the next run into the same place removes it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aggregator.refusal import Refused

RESULT = "result.json"
KIND = "v2g-simulation"
"""What `result.json` says it is the result of."""
FILES = frozenset({
    RESULT, "report.html", *(
        f"{table}.{kind}" for table in (
            "visits", "site", "evses", "feeder_points", "feeder_lines", "feeder_transformers", "feeder_steps",
            "feeder_inverters",
        ) for kind in ("parquet", "csv")
    ),
})
"""All that a run writes."""


def require_replaceable(folder: Path) -> None:
    """Raise `Refused` if `folder` is there and holds anything that an earlier run did not write."""
    try:
        if not folder.exists() and not folder.is_symlink():
            return
        if not folder.is_dir() or folder.is_symlink():
            raise Refused(f"{folder}: is not a folder, expected a new one or the folder of an earlier simulation")
        # A run writes plain files: a folder or a link under one of their names is somebody else's.
        found = {entry.name: entry.is_file() and not entry.is_symlink() for entry in folder.iterdir()}
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from None
    if not found:
        return
    if not found.get(RESULT) or not _is_ours(folder / RESULT):
        raise Refused(f"{folder}: holds {min(found)!r}, expected a new folder or that of an earlier simulation")
    if foreign := {name for name, is_file in found.items() if name not in FILES or not is_file}:
        raise Refused(f"{folder}: holds {min(foreign)!r} beside an earlier simulation, which would be lost")


def _is_ours(result: Path) -> bool:
    try:
        raw = json.loads(result.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(raw, dict) and raw.get("kind") == KIND


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into; it becomes `folder` when the block ends well and vanishes when it does not.

    Raises:
        Refused: `folder` holds something else, or cannot be written beside.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - `resolve` would follow the link that is to be refused
    require_replaceable(folder)
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    # A signal may end the work between any two lines: from the first file on, everything is cleared away.
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        partial.mkdir()
        yield partial
        require_replaceable(folder)
        if folder.exists():
            former = folder.parent / f".{folder.name}.former-{os.getpid()}"
            folder.rename(former)
            partial.rename(folder)
            shutil.rmtree(former)
        else:
            partial.rename(folder)
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def new_file(path: Path, text: str, mark: str) -> None:
    """Write `text` to `path`, as a whole or not at all; a file that is there is replaced only if it holds `mark`.

    Raises:
        Refused: something else is there, or it cannot be written.
    """
    if not path.name:
        raise Refused(f"{str(path)!r}: is no name of a file, expected a new file")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        if path.exists() and (not path.is_file() or mark not in path.read_text("utf-8", errors="replace")):
            raise Refused(f"{path}: is there already and is no earlier report, expected a new file")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # a name that cannot be had is not there either
            partial.unlink()


def _sweep(folder: Path) -> None:
    """Remove what runs into `folder` left that were killed; give back a former folder that lost its place."""
    # The whole name must fit: `.out.v2.former-7` belongs to `out.v2` and not to `out`.
    ours = re.compile(rf"\.{re.escape(folder.name)}\.(former|partial)-([0-9]+)", re.DOTALL)
    for left in list(folder.parent.iterdir()):
        fit = ours.fullmatch(left.name)
        if fit is None or left.is_symlink() or not left.is_dir() or _is_alive(int(fit[2])):
            continue
        if fit[1] == "former" and not folder.exists():
            left.rename(folder)
        else:
            shutil.rmtree(left)


def _is_alive(process: int) -> bool:
    with suppress(ProcessLookupError, OverflowError):
        try:
            os.kill(process, 0)
        except PermissionError:
            return True
        return True
    return False
