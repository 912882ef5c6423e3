"""The feeder that is shipped: the IEEE European LV Test Feeder, 906 buses, 55 homes, 40 EVs; and a day of its homes.

The network is published; ampacities, fuses, the EVs' places and the homes' day are assumed and named as assumed. See
`twin/data/feeders/LICENSE-ieee-european-lv.md`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import as_file, files
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.model import Feeder
from twin.feeder.on_disk.files import read

HOME_POWER_FACTOR: Final = 0.95
"""Of the published homes."""


@dataclass(frozen=True, slots=True)
class HomeDay:
    """What homes draw in the 96 quarter hours of a day, (home, step); connection_points: whose rows these are."""

    connection_points: tuple[str, ...]
    p_w: NDArray[np.float64]
    q_var: NDArray[np.float64]


def european_lv() -> Feeder:
    """The IEEE European LV Test Feeder."""
    with as_file(files("twin") / "data" / "feeders" / "ieee_european_lv") as folder:
        return read(folder)


def european_lv_home_day() -> HomeDay:
    """An assumed day of its 55 homes."""
    text = (files("twin") / "data" / "feeders" / "ieee_european_lv" / "home_load.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))
    power = np.array([[float(watts) for watts in row[1:]] for row in rows[1:]]).T
    return HomeDay(tuple(rows[0][1:]), power, power * sqrt(1.0 / HOME_POWER_FACTOR**2 - 1.0))
