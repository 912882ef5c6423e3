"""Where a feeder's command writes: all or nothing, and never over what is not its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from tempfile import mkstemp
from typing import Final

from aggregator.refusal import Refused

RESULT: Final = "result.json"
PARTIAL: Final = "partial"
FORMER: Final = "former"


def require_replaceable(folder: Path, kind: str) -> Path:
    """The place that `folder` means, which may be written: nothing is there, or nothing but an earlier `kind`.

    A last part that is a link is not followed; `new/..` is the folder that it will be once `new` is there.

    Raises:
        Refused: something else is there.
    """
    try:
        place = folder.resolve() if folder.name in ("", "..") else folder.parent.resolve() / folder.name
        if Path.cwd().is_relative_to(place):
            raise Refused(f"{folder}: is the folder this runs in, or above it, expected a new folder")
        if os.path.lexists(place) and not _is_ours(place, kind):
            raise Refused(f"{folder}: is there and not of an earlier run, expected a new folder")
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, up to Python 3.12
        raise Refused(f"{folder}: {getattr(error, 'strerror', None) or error}") from None
    return place


@contextmanager
def replaced_folder(folder: Path, kind: str, names: tuple[str, ...]) -> Iterator[Path]:
    """A folder to write `names` into, which takes the place of `folder` when the block ends well.

    `folder` may be there if it is empty or an earlier one of the same `kind`, as its result.json says. It is moved
    aside and judged once more before it is removed, so that what somebody has put into it meanwhile is kept.

    Raises:
        Refused: it holds something else, or cannot be written.
    """
    place = require_replaceable(folder, kind)
    made, former = (place.with_name(f".{place.name}.{word}-{os.getpid()}") for word in (PARTIAL, FORMER))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made.mkdir()
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from None
    try:
        yield made
        if os.path.lexists(place):
            place.rename(former)
            if not _is_ours(former, kind):
                former.rename(place)
                raise Refused(f"{folder}: was changed while this ran, expected a new folder")
        made.rename(place)
        remove_leftovers(place, names)
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if os.path.lexists(former) and not os.path.lexists(place):
            former.rename(place)


def _is_ours(folder: Path, kind: str) -> bool:
    """Whether it is a folder with nothing in it but the files that its own result.json names."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = list(folder.iterdir())
    if not found:
        return True
    if any(entry.is_symlink() or not entry.is_file() for entry in found):
        return False
    try:
        raw = json.loads((folder / RESULT).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(raw, dict) or raw.get("kind") != kind or not isinstance(raw.get("files"), list):
        return False
    return all(entry.name in raw["files"] for entry in found)


def remove_leftovers(place: Path, names: tuple[str, ...]) -> None:
    """Remove what this run, and runs that were killed, left beside `place`: folders named by us, with files of ours."""
    for leftover in place.parent.glob(f"{escape(f'.{place.name}.')}*-*"):
        word, _, number = leftover.name.removeprefix(f".{place.name}.").partition("-")
        if word not in (PARTIAL, FORMER) or not number.isdecimal() or leftover.is_symlink() or not leftover.is_dir():
            continue
        if not _is_running_elsewhere(int(number)) and all(
            entry.name in names and entry.is_file() and not entry.is_symlink() for entry in leftover.iterdir()
        ):
            shutil.rmtree(leftover)


def _is_running_elsewhere(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def require_writable(files: Mapping[Path, bytes], kept: tuple[Path, ...]) -> None:
    """Refuse names that a command must not write.

    Args:
        files: names, and how the content of an earlier run begins, which may be replaced.
        kept: files that the command reads, and folders in which it writes nothing.

    Raises:
        Refused: a name that stands for two files, an input, or something that is not of an earlier run.
    """
    places: dict[Path, Path] = {}
    for path, beginning in files.items():
        try:
            place = path.parent.resolve() / path.name
            if place in places:
                raise Refused(f"{path}: is also {places[place]}, expected two names")
            places[place] = path
            for other in (one.resolve() for one in kept):
                if place.is_relative_to(other):
                    where = f"is within {other}, which is read" if place != other else "is read"
                    raise Refused(f"{path}: {where}, expected another name")
            if os.path.lexists(place) and not _begins_with(place, beginning):
                raise Refused(f"{path}: is there and not of an earlier run, expected a new name")
        except (OSError, RuntimeError) as error:
            raise Refused(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _begins_with(path: Path, beginning: bytes) -> bool:
    """Whether it is a plain file that begins so, or is empty."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(beginning)) in (b"", beginning)


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write all of them, or none where one cannot be written.

    Raises:
        Refused: one cannot be written.
    """
    with ExitStack() as undo:
        partial: dict[Path, Path] = {}
        for path, content in contents.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    raise Refused(f"{path}: is a folder, expected the name of a file")
                number, name = mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
                partial[path] = Path(name)
                undo.callback(_forget, partial[path])
                with os.fdopen(number, "wb") as file:
                    file.write(content)
                partial[path].chmod(0o644)
            except OSError as error:
                raise Refused(f"{path}: {error.strerror or error}") from None
        for path, made in partial.items():
            try:
                made.replace(path)
            except OSError as error:
                raise Refused(f"{path}: {error.strerror or error}") from None


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
