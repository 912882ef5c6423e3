"""The folder of an imported feeder: there as a whole or not at all, and never in the place of anything else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aggregator.feeder.output import remove_leftovers
from aggregator.refusal import Refused
from twin.feeder.importers import Imported, write_folder
from twin.feeder.importers.folder import FILES

REPORT = "import.json"
KIND = "v2g-feeder-import"
"""What the report says it is; a folder with such a report may be replaced."""


def write_imported(imported: Imported, report: Mapping[str, Any], folder: Path) -> None:
    """Write feeder, loads and the report of their import into a new `folder`, or in the place of an earlier import.

    That is moved aside and judged once more before it is removed: what somebody has put into it meanwhile is kept.

    Raises:
        Refused: something else is there, or it cannot be written.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - `resolve` would follow a link that is to be refused
    _require_replaceable(folder)
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    former = folder.parent / f".{folder.name}.former-{os.getpid()}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(imported, partial)
        text = json.dumps({"kind": KIND, **report}, indent=1, ensure_ascii=False)
        (partial / REPORT).write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rename(former)
            _require_replaceable(former)
        partial.rename(folder)
        remove_leftovers(folder, (*FILES, REPORT))
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if former.exists() and not folder.exists():
            former.rename(folder)


def _require_replaceable(folder: Path) -> None:
    try:
        if not folder.exists() and not folder.is_symlink():
            return
        if not folder.is_dir() or folder.is_symlink():
            raise Refused(f"{folder}: is not a folder, expected a new one or that of an earlier import")
        found = {entry.name: entry.is_file() and not entry.is_symlink() for entry in folder.iterdir()}
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from None
    if foreign := {name for name, is_file in found.items() if not is_file or name not in {*FILES, REPORT}}:
        raise Refused(f"{folder}: holds {min(foreign)!r}, expected a new folder or that of an earlier import")
    if found and not _is_ours(folder / REPORT):
        raise Refused(f"{folder}: holds {min(found)!r}, expected a new folder or that of an earlier import")


def _is_ours(report: Path) -> bool:
    try:
        raw = json.loads(report.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(raw, dict) and raw.get("kind") == KIND
