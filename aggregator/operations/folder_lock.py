"""One service per data folder: two would send each other's chargers contradicting orders from one outbox."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: SQLite's own locks are all there is
    fcntl = None  # type: ignore[assignment]

_LOCK_FILE = "service.lock"


class FolderInUseError(Exception):
    """Another service runs on the folder, or it cannot be written; the message names it."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the kernel lets go when the process ends, however it ends.

    Raises:
        FolderInUseError: as it says.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fault = f"data_dir: {folder} ({error.strerror}), expected a folder that can be written"
        raise FolderInUseError(fault) from None
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise FolderInUseError(
                    f"data_dir: {folder} is in use by another service, expected a folder of its own"
                ) from None
        yield
    finally:
        os.close(handle)
