"""A program that is solved again and again while its bounds and some of its rows change.

HiGHS keeps the instance and with it the basis: rows that stay keep their place in it although their coefficients are
new, so that the dual simplex starts where the last answer ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import highspy
import numpy as np
from scipy.sparse import csr_array, vstack

from aggregator.planning.highs import WarmArrays, require
from aggregator.planning.linear_program import Floats
from aggregator.planning.site.arrays import Ints, Program


class WarmProgram(WarmArrays):
    """A `Program` without binaries in a HiGHS instance, with more columns and rows behind its own.

    extra_cost: of columns behind the program's, 0 or more each, that only the rows of `replace_rows` use.
    """

    def __init__(self, program: Program, extra_cost: Floats | None = None) -> None:
        extra = np.zeros(0) if extra_cost is None else np.asarray(extra_cost, dtype=float)
        own, (height, width) = program.matrix, program.matrix.shape
        self._fixed = csr_array((own.data, own.indices, own.indptr), shape=(height, width + len(extra)))
        super().__init__(replace(
            program, cost=np.concatenate((program.cost, extra)), matrix=self._fixed,
            lower=np.concatenate((program.lower, np.zeros(len(extra)))),
            upper=np.concatenate((program.upper, np.full(len(extra), np.inf)))))

    @property
    def extra_rows(self) -> int:
        """How many rows stand behind the program's."""
        return int(self.matrix.shape[0] - self._fixed.shape[0])

    def replace_rows(self, matrix: csr_array, lower: Floats, upper: Floats, was: Ints) -> None:
        """Put these rows behind the program's, in place of those that were there.

        was: for each new row, which of the rows there before it continues, from 0; -1: none.
        """
        highs, fixed, old = self.highs, self._fixed.shape[0], self.matrix.shape[0]
        basis = highs.getBasis() if highs.getBasis().valid else None
        if old > fixed:
            gone = np.arange(fixed, old, dtype=np.int32)
            require(highs.deleteRows(len(gone), gone), "deleteRows")
        count = matrix.shape[0]
        if count:
            require(highs.addRows(count, lower, upper, matrix.nnz, matrix.indptr.astype(np.int32),
                                  matrix.indices.astype(np.int32), matrix.data), "addRows")
        self.row_lower = np.concatenate((self.row_lower[:fixed], lower))
        self.row_upper = np.concatenate((self.row_upper[:fixed], upper))
        self.matrix = csr_array(vstack((self._fixed, matrix), format="csr")) if count else self._fixed
        if basis is not None:
            self._continue_from(basis, was)

    def _continue_from(self, basis: highspy.HighsBasis, was: Ints) -> None:
        statuses, fixed = list(basis.row_status), self._fixed.shape[0]
        basic = highspy.HighsBasisStatus.kBasic
        extra: Sequence[highspy.HighsBasisStatus] = statuses[fixed:]
        kept = set(was.tolist())
        if any(row not in kept and status != basic for row, status in enumerate(extra)):
            return  # a row that held the answer is gone: HiGHS finds a start of its own
        basis.row_status = statuses[:fixed] + [extra[row] if row >= 0 else basic for row in was.tolist()]
        require(self.highs.setBasis(basis), "setBasis")
