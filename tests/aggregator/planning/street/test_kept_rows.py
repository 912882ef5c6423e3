"""The rows that a plan is held to are the worst ones, each once, and true at the schedule that they are drawn at."""

from collections.abc import Callable

import numpy as np
import pytest

from aggregator.planning.site.problem import Problem
from aggregator.planning.street.flow_check import MARGIN_PERCENT, FlowCheck
from aggregator.planning.street.kept_rows import NEAR_PERCENT, KeptRows
from aggregator.planning.street.rows import GridRows
from twin.feeder.scene import Limits, Scene

MakeStreet = Callable[..., Scene]
MakeProblem = Callable[..., Problem]


@pytest.fixture
def crowded(make_street: MakeStreet, make_street_problem: MakeProblem) -> tuple[FlowCheck, np.ndarray]:
    """Four cars on a cable for two or three, and what they draw: too much in the first half."""
    scene = make_street(6, evs="aabc", ampacity=26.0, limits=Limits(voltage_pu=(0.97, 1.1)))
    check = FlowCheck(make_street_problem(scene), GridRows(scene))
    charge = np.zeros((4, 6))
    charge[:, :3] = np.array([[7.4, 6.0, 3.0], [7.4, 6.0, 3.0], [7.4, 0.0, 3.0], [7.4, 0.0, 3.0]])
    return check, charge


def test_every_broken_step_gets_rows_and_none_comes_twice(crowded: tuple[FlowCheck, np.ndarray]) -> None:
    check, charge = crowded
    seen, kept = check.see(charge, 0.0 * charge), KeptRows(check)
    assert seen.violations
    kept.keep(seen)
    count = len(kept)
    kept.keep(seen)
    assert len(kept) == count
    keys = set(zip(kept.kind.tolist(), kept.row.tolist(), kept.step.tolist(), strict=True))
    assert len(keys) == count
    for number, kind in enumerate(kept.kinds):
        for step in np.flatnonzero(seen.broken[kind].any(axis=0)).tolist():
            worst = int(np.argmax(seen.excess[kind][:, step]))
            assert (number, worst, step) in keys
        own = kept.kind == number
        assert (seen.excess[kind][kept.row[own], kept.step[own]] > -NEAR_PERCENT).all()


def test_what_broke_anywhere_is_kept_where_it_was_asked_to_be(crowded: tuple[FlowCheck, np.ndarray]) -> None:
    check, charge = crowded
    seen = check.see(charge, 0.0 * charge)
    some, everywhere = KeptRows(check), KeptRows(check)
    some.keep(seen)
    everywhere.keep(seen, np.arange(6))
    line = everywhere.kinds.index("line")
    assert set(everywhere.step[everywhere.kind == line].tolist()) == set(range(6))
    assert set(some.step[some.kind == line].tolist()) < set(range(6))


def test_a_row_says_at_its_schedule_what_the_flow_says_and_next_to_it_what_the_flow_does(
        crowded: tuple[FlowCheck, np.ndarray]) -> None:
    check, charge = crowded
    seen, kept = check.see(charge, 0.0 * charge), KeptRows(check)
    kept.keep(seen)
    rows = kept.drawn(seen)
    moved = charge + np.random.default_rng(4).uniform(-0.01, 0.01, charge.shape)
    after = check.see(np.maximum(moved, 0.0), np.maximum(-moved, 0.0))
    for at, then in ((charge, seen), (moved, after)):
        beyond = (rows.slope * at[:, rows.step].T).sum(axis=1) - rows.most
        for number, row, step, left in zip(rows.kind, kept.row, rows.step, beyond, strict=True):
            kind = kept.kinds[number]
            assert left == pytest.approx(then.excess[kind][row, step] + MARGIN_PERCENT[kind], abs=2e-4)
    assert (rows.least < rows.most).all()
