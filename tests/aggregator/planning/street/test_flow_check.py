"""What the flow says of a schedule: blame for EVs alone, and an answer also where there is no flow."""

from collections.abc import Callable

import numpy as np

from aggregator.planning.site.problem import Problem
from aggregator.planning.street.flow_check import FlowCheck
from aggregator.planning.street.rows import GridRows
from twin.feeder.scene import Limits, Scene

MakeStreet = Callable[..., Scene]
MakeProblem = Callable[..., Problem]


def test_what_breaks_without_cars_is_nobodys_fault(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    scene = make_street(4, unbalanced_base_w=12_000.0, ampacity=30.0, limits=Limits(unbalance=None))
    check = FlowCheck(make_street_problem(scene), GridRows(scene))
    assert any(mask.any() for mask in check.unfixable.values())
    nothing = np.zeros((len(check.evse), 4))
    assert check.see(nothing, nothing).violations == 0


def test_excess_and_blame_are_those_of_the_flow_at_the_powers_asked_for(
        make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    scene = make_street(4, evs="aab", ampacity=26.0, limits=Limits(unbalance=None))
    check = FlowCheck(make_street_problem(scene), GridRows(scene))
    charge = np.zeros((3, 4))
    charge[:2, 1] = 7.4
    seen = check.see(charge, np.zeros((3, 4)))
    whole = scene.flow().solve(*scene.demand_w(charge))
    over = 100.0 * (np.nanmax(whole.line_loading(), axis=0) - 1.0)
    np.testing.assert_allclose(seen.excess["line"].max(axis=0), over, rtol=1e-9)
    assert seen.broken["line"].any(axis=0).tolist() == (over > 0.0).tolist() == [False, True, False, False]
    assert seen.worst_percent >= over.max()
    assert np.flatnonzero(seen.worst_of_steps()).tolist() == [1]
    assert not seen.lost.any()


def test_a_step_that_has_no_flow_is_looked_at_where_it_has_one(
        make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    scene = make_street(3, evs="aaa", metres=2000.0)
    check = FlowCheck(make_street_problem(scene), GridRows(scene))
    charge = np.zeros((3, 3))
    charge[:, 1] = 60.0
    seen = check.see(charge, np.zeros((3, 3)))
    assert seen.lost.tolist() == [False, True, False]
    assert seen.violations >= 1
    share = seen.at_kw[:, 1] / charge[:, 1]
    assert np.ptp(share) < 1e-12
    assert 0.0 < share[0] < 1.0
    assert scene.flow().solve(*scene.demand_w(seen.at_kw)).has_solution.all()
    assert all(np.isfinite(over).all() for over in seen.excess.values())
    assert seen.worst_of_steps()[1] == np.inf
