"""The arrays say the same as the Pyomo model, on hundreds of random problems, cuts and absurdities included."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.site.arrays import NONE, Program, assemble
from aggregator.planning.site.checker import evaluate
from aggregator.planning.site.model import build
from aggregator.planning.site.problem import Commitment, Cut, CutKind, FeederRow, Problem
from aggregator.planning.site.relaxation import Relaxation
from aggregator.planning.site.windows import windows

MakeProblem = Callable[..., Problem]


def optimum(program: Program) -> tuple[float, np.ndarray]:
    """By HiGHS with nothing of ours between."""
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = program.matrix.shape
    lp.col_cost_, lp.offset_, lp.col_lower_, lp.col_upper_ = program.cost, program.offset, program.lower, program.upper
    lp.row_lower_, lp.row_upper_ = program.row_lower, program.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = program.matrix.indptr, program.matrix.indices
    lp.a_matrix_.value_ = program.matrix.data
    integral = np.full(len(program.cost), highspy.HighsVarType.kContinuous)
    integral[program.binaries] = highspy.HighsVarType.kInteger
    lp.integrality_ = list(integral) if len(program.binaries) else []
    highs.passModel(lp)
    highs.setOptionValue("mip_rel_gap", 1e-9)
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return highs.getInfo().objective_function_value, np.array(highs.getSolution().col_value)


def by_pyomo(problem: Problem) -> float:
    answer = Relaxation(build(problem, windows(problem))).run(20.0)
    assert answer is not None
    return answer.objective


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000), negative=st.booleans(), event=st.booleans())
def test_arrays_and_pyomo_have_one_optimum(make_problem: MakeProblem, seed: int, negative: bool, event: bool) -> None:
    problem = make_problem(seed, evs=1 + seed % 6, steps=8 + seed % 17, negative=negative, event=event)
    expected = by_pyomo(problem)
    assert optimum(assemble(problem))[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_cuts_and_rows_of_the_feeder_mean_the_same_to_both(make_problem: MakeProblem, seed: int) -> None:
    draw = np.random.default_rng(seed)
    problem = make_problem(seed, evs=4, steps=16)
    cuts = []
    for kind in get_args(CutKind):
        step = None if kind in ("taper", "energy_margin", "floor_margin") else int(draw.integers(16))
        value = 14.0 if kind == "taper" else float(draw.uniform(0.5, 5.0))
        ev = None if step is not None and kind != "power_ceiling" else f"car-{draw.integers(4)}"
        cuts.append(Cut(kind, value, step, ev, 0.3 if kind == "taper" else 0.0))
    guard = replace(problem.evs[0], guard_kwh=np.full(16, problem.evs[0].target_kwh), guard_weight=1.5)
    rows = tuple(
        FeederRow("line_overload", f"line-{k}.a", int(draw.integers(16)),
                  {ev.id: float(draw.uniform(-1.0, 1.0)) for ev in problem.evs}, float(draw.uniform(-2.0, 9.0)))
        for k in range(5))
    problem = replace(problem, cuts=tuple(cuts), evs=(guard, *problem.evs[1:]), feeder_rows=rows)
    assert optimum(assemble(problem))[0] == pytest.approx(by_pyomo(problem), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_where_selling_pays_more_both_keep_the_meter_from_doing_both(make_problem: MakeProblem, seed: int) -> None:
    problem = make_problem(seed, evs=4, steps=12, cap_kw=200.0)
    base = np.random.default_rng(seed).uniform(-3.0, -1.0, 12)  # roofs that give a little more than the house takes
    problem = replace(problem, base_kw=base, export_price=problem.import_price + 0.05,
                      export_cap_kw=np.full(12, 100.0))
    program = assemble(problem)
    assert len(program.binaries) > 0
    assert optimum(program)[0] == pytest.approx(by_pyomo(problem), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_the_optimum_costs_what_its_powers_cost(make_problem: MakeProblem, seed: int) -> None:
    """Where nothing pays for burning energy, judged by the checker that knows no model."""
    problem = make_problem(seed, minimums=False)
    program = assemble(problem)
    objective, x = optimum(program)
    charge, discharge = program.powers(x)
    assert evaluate(problem, charge, discharge).objective == pytest.approx(objective, rel=1e-6, abs=1e-6)


def test_cells_outside_a_stay_have_no_column(make_problem: MakeProblem) -> None:
    problem = make_problem(3)
    program = assemble(problem)
    for row, ev in enumerate(problem.evs):
        there = np.flatnonzero(program.charge[row] != NONE)
        assert there.tolist() == list(range(ev.arrive, min(ev.depart, problem.grid.steps)))


def test_an_event_outside_the_horizon_leaves_no_row(make_problem: MakeProblem) -> None:
    problem = replace(make_problem(1, event=False), commitments=(Commitment("late", (99,), (1.0,), 1.0),))
    assert "commitment" not in assemble(problem).rows


def test_a_site_without_cars_is_a_program_too(make_problem: MakeProblem) -> None:
    problem = replace(make_problem(1), evs=())
    assert optimum(assemble(problem))[0] == pytest.approx(by_pyomo(problem), rel=1e-6, abs=1e-6)
