"""Pairs of columns of which one at most may be above 0: a binary for each pair, in a mixed-integer program."""

from __future__ import annotations

import numpy as np
from scipy.sparse import block_array, csr_array

from aggregator.planning.fleet.problem import Ints
from aggregator.planning.linear_program import LinearProgram


def with_directions(program: LinearProgram, taking: Ints, giving: Ints) -> LinearProgram:
    """The program and a binary for each pair of columns, after its own: 1 lets it take, 0 lets it give."""
    count, width, takes, gives = len(taking), len(program.cost), program.upper[taking], program.upper[giving]
    each, rows = np.arange(count), np.arange(2 * count)
    powers = csr_array((np.ones(2 * count), (rows, np.append(taking, giving))), shape=(2 * count, width))
    gates = csr_array((np.append(-takes, gives), (rows, np.append(each, each))), shape=(2 * count, count))
    return LinearProgram(
        np.append(program.cost, np.zeros(count)), program.offset, np.append(program.lower, np.zeros(count)),
        np.append(program.upper, np.ones(count)), np.append(program.row_lower, np.full(2 * count, -np.inf)),
        np.concatenate((program.row_upper, np.zeros(count), gives)),
        csr_array(block_array([[program.matrix, None], [powers, gates]], format="csr")))
