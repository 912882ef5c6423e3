"""Only one service lives from a data folder; a dead one leaves no lock behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.operations.folder_lock import FolderInUseError, folder_lock

HOLD = """
import sys, time
from pathlib import Path
from aggregator.operations.folder_lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_service_is_refused_until_the_first_is_gone_even_killed(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError, match="is in use by another service"), folder_lock(tmp_path):
            pass
    finally:
        first.kill()
        first.communicate()
    with folder_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderInUseError, match="expected a folder that can be written"), folder_lock(tmp_path / "file"):
        pass
