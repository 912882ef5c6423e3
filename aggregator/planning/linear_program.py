"""A linear program as arrays, and what no solution of it can cost less than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]


class Arrays(Protocol):
    """Whatever holds such a program: its arrays alone, or a warm solver with those of its next run."""

    @property
    def cost(self) -> Floats: ...
    @property
    def offset(self) -> float: ...
    @property
    def lower(self) -> Floats: ...
    @property
    def upper(self) -> Floats: ...
    @property
    def row_lower(self) -> Floats: ...
    @property
    def row_upper(self) -> Floats: ...
    @property
    def matrix(self) -> csr_array: ...


@dataclass(frozen=True, eq=False)
class LinearProgram:
    """min cost @ x + offset, with lower <= x <= upper and row_lower <= matrix @ x <= row_upper."""

    cost: Floats
    offset: float
    lower: Floats
    upper: Floats
    row_lower: Floats
    row_upper: Floats
    matrix: csr_array


def lower_bound(program: Arrays, row_dual: Floats) -> float:
    """The bound of weak duality: for any y, min c x >= y b + min over the box of (c - A'y) x.

    row_dual: shape (row,), d objective / d right side, from a solver that may have been cut short; right or wrong, it
    only makes the bound loose: -inf where it prices a column without a limit. A price on a side that a row does not
    have counts as 0.
    """
    sound = np.isfinite(row_dual) & np.where(row_dual > 0, np.isfinite(program.row_lower),
                                             np.isfinite(program.row_upper))
    dual = np.where(sound, row_dual, 0.0)
    side = np.where(dual > 0, program.row_lower, program.row_upper)
    reduced = program.cost - program.matrix.T @ dual
    edge = np.where(reduced > 0, program.lower, program.upper)
    used, priced = dual != 0, reduced != 0
    return float(program.offset + dual[used] @ side[used] + reduced[priced] @ edge[priced])
