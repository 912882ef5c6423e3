"""Arrays in HiGHS against scipy's own way to a solver, and what is refused is said."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import csr_array

from aggregator.planning.answer import SolverFault
from aggregator.planning.highs import WarmArrays
from aggregator.planning.linear_program import LinearProgram, lower_bound

SEEDS = st.integers(0, 2**32 - 1)


def random_program(seed: int, columns: int = 7, rows: int = 5) -> LinearProgram:
    """Rows open on one side, on both, and equations; always with a solution, since one is drawn first."""
    draw = np.random.default_rng(seed)
    matrix = np.where(draw.random((rows, columns)) < 0.6, draw.normal(size=(rows, columns)), 0.0)
    lower = draw.uniform(-3.0, 0.0, columns)
    upper = lower + draw.uniform(0.5, 5.0, columns)
    level = matrix @ draw.uniform(lower, upper)
    least = np.where(draw.random(rows) < 0.4, -np.inf, level - draw.choice([0.0, 1.0], rows))
    most = np.where(np.isfinite(least) & (draw.random(rows) < 0.4), np.inf, level + draw.choice([0.0, 1.0], rows))
    return LinearProgram(draw.normal(size=columns), float(draw.normal()), lower, upper, least, most, csr_array(matrix))


def least_cost(program: LinearProgram) -> float | None:
    """By scipy, which knows rows of one side and equations only."""
    matrix = program.matrix.toarray()
    below, above = np.isfinite(program.row_lower), np.isfinite(program.row_upper)
    found = linprog(
        program.cost, A_ub=np.concatenate((matrix[above], -matrix[below])),
        b_ub=np.concatenate((program.row_upper[above], -program.row_lower[below])),
        bounds=np.column_stack((program.lower, program.upper)))
    return float(found.fun) + program.offset if found.status == 0 else None


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_answer_is_the_least_cost_and_stays_so_when_data_change(seed: int) -> None:
    program, other = random_program(seed), random_program(seed + 1)
    warm = WarmArrays(program)
    first = warm.run(10.0)
    assert first is not None
    assert first.objective == pytest.approx(least_cost(program), abs=1e-6)
    every = np.arange(len(program.cost))
    warm.set_costs(every, other.cost)
    warm.set_bounds(every[:3], program.lower[:3] - 1.0, program.upper[:3] + 1.0)
    wider = [np.concatenate((side[:3] + shift, side[3:]))
             for side, shift in ((program.lower, -1.0), (program.upper, 1.0))]
    second = warm.run(10.0)
    assert second is not None
    expected = least_cost(replace(program, cost=other.cost, lower=wider[0], upper=wider[1]))
    assert second.objective == pytest.approx(expected, abs=1e-6)
    assert first.objective == pytest.approx(least_cost(program), abs=1e-6), "the caller's arrays are its own"


@given(seed=SEEDS, noise=st.floats(0.0, 3.0))
@settings(max_examples=60, deadline=None)
def test_any_prices_prove_a_bound_and_those_of_the_answer_the_best(seed: int, noise: float) -> None:
    program = random_program(seed)
    answer = WarmArrays(program).run(10.0)
    assert answer is not None
    assert lower_bound(program, answer.row_dual) == pytest.approx(answer.objective, abs=1e-6)
    wrong = answer.row_dual + noise * np.random.default_rng(seed).normal(size=len(answer.row_dual))
    assert lower_bound(program, wrong) <= answer.objective + 1e-6
    assert np.isfinite(lower_bound(program, np.full(len(wrong), np.nan)))


def test_a_column_without_a_limit_that_is_priced_proves_nothing() -> None:
    program = replace(random_program(3), upper=np.full(7, np.inf), cost=-np.ones(7))
    assert lower_bound(program, np.zeros(5)) == -np.inf


def test_data_that_exclude_every_solution_are_no_fault() -> None:
    program = random_program(4)
    apart = replace(program, row_lower=np.full(5, 1e4), row_upper=np.full(5, np.inf))
    assert least_cost(apart) is None
    assert WarmArrays(apart).run(10.0) is None


def test_an_option_that_highs_refuses_is_a_fault_and_not_a_silence() -> None:
    with pytest.raises(SolverFault, match="option presolve=sometimes"):
        WarmArrays(random_program(5), presolve="sometimes")


def test_bounds_of_columns_that_do_not_exist_are_a_fault() -> None:
    warm = WarmArrays(random_program(6))
    warm.lower, warm.upper = np.zeros(20), np.ones(20)
    with pytest.raises(SolverFault, match="changeColsBounds"):
        warm.set_bounds(np.array([19]), np.zeros(1), np.ones(1))
