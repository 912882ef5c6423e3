"""Sessions recorded or generated elsewhere, in the twin's words: ACN-Data, plain CSV, SpiceEV, EV2Gym.

Each importer returns the sessions it can use, the rows it cannot with the reason, what it left out on purpose, and
what it had to assume. A file is data: nothing in it is ever run, so pickles are not loaded.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from twin.importers.acn import read_acn_csv, read_acn_json
from twin.importers.ev2gym import read_ev2gym
from twin.importers.session import Imported, ImportOptions, Session
from twin.importers.sessions_csv import read_sessions_csv
from twin.importers.spiceev import read_spiceev

__all__ = [
    "FORMATS", "ImportOptions", "Imported", "Session",
    "read_acn_csv", "read_acn_json", "read_ev2gym", "read_sessions_csv", "read_spiceev",
]

FORMATS: Mapping[str, Callable[[Path, ImportOptions], Imported]] = {
    "acn": read_acn_csv,
    "acn_json": read_acn_json,
    "csv": read_sessions_csv,
    "ev2gym": read_ev2gym,
    "spiceev": read_spiceev,
}
