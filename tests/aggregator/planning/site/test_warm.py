"""A warm program answers as a cold one does, whatever changed before."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array, vstack

from aggregator.planning.linear_program import lower_bound
from aggregator.planning.site.arrays import NONE, Program, assemble
from aggregator.planning.site.problem import Problem
from aggregator.planning.site.warm import WarmProgram

MakeProblem = Callable[..., Problem]


def cold(program: Program, lower: np.ndarray, upper: np.ndarray, rows: csr_array | None = None,
         most: np.ndarray | None = None) -> float:
    """By scipy, from nothing."""
    matrix = program.matrix if rows is None else csr_array(vstack((program.matrix, rows)))
    low = np.concatenate((program.row_lower, np.full(0 if most is None else len(most), -np.inf)))
    high = np.concatenate((program.row_upper, np.zeros(0) if most is None else most))
    above, below = np.isfinite(high), np.isfinite(low)
    answer = linprog(
        program.cost, vstack((matrix[above], -matrix[below])), np.concatenate((high[above], -low[below])),
        bounds=np.column_stack((lower, upper)), method="highs-ipm")
    assert answer.status == 0, answer.message
    return float(answer.fun) + program.offset


@pytest.mark.parametrize("seed", range(5))
def test_changed_bounds_and_rows_give_the_cold_optimum(make_problem: MakeProblem, seed: int) -> None:
    draw = np.random.default_rng(seed)
    program = assemble(make_problem(seed, minimums=False))
    warm = WarmProgram(program)
    first = warm.run(10.0)
    assert first is not None
    assert first.objective == pytest.approx(cold(program, program.lower, program.upper), rel=1e-6, abs=1e-6)
    cells = program.charge[program.charge != NONE]
    rows, most, was = None, None, np.zeros(0, dtype=np.intp)
    for turn in range(3):
        at = draw.choice(cells, 5, replace=False)
        warm.set_bounds(at, np.zeros(5), draw.uniform(0.0, 5.0, 5))
        old = 0 if rows is None else rows.shape[0]
        dense = np.zeros((old + 4, len(program.cost)))
        dense[:, cells] = draw.uniform(0.0, 1.0, (old + 4, len(cells)))
        rows, most = csr_array(dense), draw.uniform(20.0, 60.0, old + 4)
        was = np.where(np.arange(old + 4) < old, np.arange(old + 4), NONE)
        warm.replace_rows(rows, np.full(old + 4, -np.inf), most, was)
        assert warm.extra_rows == 4 * (turn + 1)
        answer = warm.run(10.0)
        assert answer is not None
        assert answer.objective == pytest.approx(cold(program, warm.lower, warm.upper, rows, most), rel=1e-6, abs=1e-6)


def test_dropping_a_row_that_held_the_answer_is_no_fault(make_problem: MakeProblem) -> None:
    program = assemble(make_problem(2, minimums=False, event=False))
    warm = WarmProgram(program)
    before = warm.run(10.0)
    tight = csr_array((np.ones(1), (np.zeros(1, dtype=int), program.charge[program.charge != NONE][:1])),
                      shape=(1, len(program.cost)))
    warm.replace_rows(tight, np.array([1.0]), np.array([1.0]), np.array([NONE]))
    held = warm.run(10.0)
    warm.replace_rows(csr_array((0, len(program.cost))), np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.intp))
    after = warm.run(10.0)
    assert before is not None
    assert held is not None
    assert after is not None
    assert held.objective >= before.objective
    assert after.objective == pytest.approx(before.objective, rel=1e-9)


def test_rows_that_exclude_each_other_have_no_answer(make_problem: MakeProblem) -> None:
    program = assemble(make_problem(2))
    warm = WarmProgram(program)
    column = program.charge[program.charge != NONE][:1]
    rows = csr_array((np.ones(1), (np.zeros(1, dtype=int), column)), shape=(1, len(program.cost)))
    warm.replace_rows(rows, np.array([1e6]), np.array([np.inf]), np.array([NONE]))
    assert warm.run(10.0) is None


@pytest.mark.parametrize("seed", range(10))
def test_duals_prove_the_optimum_and_noise_proves_less(make_problem: MakeProblem, seed: int) -> None:
    program = assemble(make_problem(seed, minimums=False))
    warm = WarmProgram(program)
    answer = warm.run(10.0)
    assert answer is not None
    assert lower_bound(warm, answer.row_dual) == pytest.approx(answer.objective, rel=1e-6, abs=1e-5)
    noise = np.random.default_rng(seed).normal(0.0, 0.1, len(answer.row_dual))
    assert lower_bound(warm, answer.row_dual + noise) <= answer.objective + 1e-6
