"""Currents along lines as few rows over a flow's state: of all segments that carry the same, the weakest speaks.

Segments in a row carry one current, and whoever watches lines asks for them at every step: of the 2,715 segments of the
European LV feeder some hundred currents differ.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.admittance import Indices
from twin.feeder.network.transformer_model import Complex
from twin.feeder.powerflow.flow import Flow

Floats = NDArray[np.float64]

SAME_CURRENT: Final = 9
"""Decimal places (A per A) to which two segments' currents agree before they are read as one."""


def line_ends(flow: Flow) -> tuple[Complex, ...]:
    """Amperes through every segment, (segment, 1 + point): at both its ends where it has capacitance, else once."""
    network = flow.network
    through = network.along_lines(network.run_series)
    if network.shunts is None:
        return (through,)
    return through + network.shunts[0] @ network.keys, through - network.shunts[1] @ network.keys


def weakest_of_same(*currents: Complex, ampacity: Floats) -> tuple[Indices, Indices]:
    """Segments that carry the same, whichever way they point, as one row each, in the order in which they come.

    Args:
        currents: (segment, 1 + point); of several all must agree.
        ampacity: of every segment; NaN: it has none and belongs to no row.

    Returns:
        the segment of the smallest ampacity of each row; and the row of each segment, -1 where it has none or carries
        nothing.
    """
    same = np.concatenate([_turned(np.round(each, SAME_CURRENT)) for each in currents], axis=1)
    row_of = np.full(len(same), -1, dtype=np.intp)
    numbers: dict[bytes, int] = {}
    weakest: list[int] = []
    for segment in np.flatnonzero(np.isfinite(ampacity) & same.any(axis=1)).tolist():
        row = row_of[segment] = numbers.setdefault(same[segment].tobytes(), len(weakest))
        if row == len(weakest):
            weakest.append(segment)
        elif ampacity[segment] < ampacity[weakest[row]]:
            weakest[row] = segment
    return np.array(weakest, dtype=np.intp), row_of


def _turned(currents: Complex) -> Complex:
    """The same whichever way a segment points, and without negative zeros."""
    parts = np.ascontiguousarray(currents).view(np.float64)
    first = parts[np.arange(len(parts)), np.argmax(parts != 0.0, axis=1)]
    return currents * np.where(first < 0.0, -1.0, 1.0)[:, None] + 0.0
