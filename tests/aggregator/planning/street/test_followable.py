"""Cells that no car can follow are decided, and no others."""

from collections.abc import Callable

import numpy as np

from aggregator.planning.answer import Answer
from aggregator.planning.site.problem import Problem
from aggregator.planning.site.windows import windows
from aggregator.planning.street.flow_check import FlowCheck
from aggregator.planning.street.followable import Cells
from aggregator.planning.street.program import GridProgram
from aggregator.planning.street.rows import GridRows
from twin.feeder.scene import Limits, Scene

MakeStreet = Callable[..., Scene]
MakeProblem = Callable[..., Problem]
STEPS = 6


def decided(make_street: MakeStreet, make_street_problem: MakeProblem, charge: np.ndarray, discharge: np.ndarray, *,
            may_raise: bool = True) -> tuple[np.ndarray, ...]:
    """least and most of charging, then of discharging, each (ev, step), after one decision on a street with room."""
    scene = make_street(STEPS, evs="ab", ampacity=500.0, metres=20.0, limits=Limits(unbalance=None))
    problem = make_street_problem(scene, discharge_kw=7.4, minimum_kw=1.4)
    check, spans = FlowCheck(problem, GridRows(scene)), windows(problem)
    program = GridProgram(problem, spans, len(check.grid.monitors))
    cells = Cells(problem, spans, program)
    answer = program.run(10.0)
    assert isinstance(answer, Answer)
    seen = check.see(charge, discharge)
    assert seen.violations == 0
    cells.decide(seen, answer, may_raise=may_raise)
    n = program.charging_cells
    return tuple(side[part].reshape(2, STEPS) for part in (slice(n), slice(n, None))
                 for side in (program.least, program.most))


def test_a_cell_that_does_both_keeps_the_larger(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    charge, discharge = np.zeros((2, STEPS)), np.zeros((2, STEPS))
    charge[0, 2], discharge[0, 2] = 5.0, 3.0
    _, most_in, _, most_out = decided(make_street, make_street_problem, charge, discharge)
    assert most_out[0, 2] == 0.0
    assert np.delete(most_out.ravel(), 2).min() > 0.0
    assert most_in.min() > 0.0


def test_powers_below_the_minimum_become_it_or_nothing_and_keep_about_their_energy(
        make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    charge = np.zeros((2, STEPS))
    charge[0], charge[1, 0] = 0.7, 7.4  # six halves of a minimum make three whole ones
    least, most, _, _ = decided(make_street, make_street_problem, charge, np.zeros((2, STEPS)))
    assert sorted(least[0].tolist()) == [0.0] * 3 + [1.4] * 3
    assert ((most[0] == 0.0) == (least[0] == 0.0)).all()
    assert (least[1] == 0.0).all()
    assert (most[1] > 0.0).all()


def test_late_rounds_only_round_down(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    charge = np.full((2, STEPS), 0.7)
    least, most, _, _ = decided(make_street, make_street_problem, charge, 0.0 * charge, may_raise=False)
    assert least.max() == most.max() == 0.0
