"""Where a feeder's command writes: all or nothing, and never over what is not its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from aggregator.refusal import Refused

RESULT: Final = "result.json"


@contextmanager
def replaced_folder(folder: Path, kind: str) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` when the block ends well.

    `folder` may be there if it is empty or an earlier one of the same `kind`, as its result.json says.

    Raises:
        Refused: it holds something else, or cannot be written.
    """
    try:
        if folder.exists() and not _is_ours(folder, kind):
            raise Refused(f"{folder}: is there and not of an earlier run, expected a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from None
    try:
        yield made
        made.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from None
    finally:
        if made.exists():
            shutil.rmtree(made)


def _is_ours(folder: Path, kind: str) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = list(folder.iterdir())
    if not found:
        return True
    try:
        raw = json.loads((folder / RESULT).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(raw, dict) and raw.get("kind") == kind and set(raw.get("files", ())) >= {
        entry.name for entry in found
    }


def write_file(path: Path, content: str | bytes) -> None:
    """Write `path` as a whole or not at all.

    Raises:
        Refused: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Refused(f"{path}: {error.strerror or error}") from None
