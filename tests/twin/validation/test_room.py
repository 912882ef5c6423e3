"""What a feeder leaves for powers that may give way, held against the second engine and against plain search."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import TimeGrid
from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Rating, Source
from twin.feeder.scene import Limits, Scene
from twin.feeder.second_engine.check import Checker
from twin.validation import BreachKind
from twin.validation.room import crossings, fitted

AMPERES = 100.0
GRID = TimeGrid(datetime(2025, 1, 15, tzinfo=UTC), 3600, 2)
EVSES = ("A1", "A2", "B1", "C1", "T1")
PHASES = ("a", "a", "b", "c", "abc")


def scene(home_kw: float = 10.0, *, limits: Limits | None = None, rest_kw: float = 0.0) -> Scene:
    """A cable of 100 A and 120 m; a home that draws `home_kw` at its end in the second of two hours."""
    feeder = Feeder(
        "street", (Bus("head", 400.0), Bus("end", 400.0)),
        lines=(Line.of_sequence("cable", "head", "end", r1=0.08, x1=0.01, r0=0.3, x0=0.04,
                                ampacity=Rating.even(AMPERES, "assumed"), length_m=120.0),),
        source=Source("head", u_pu=1.0, short_circuit_va=10e6),
        connection_points=(ConnectionPoint("end", "end"),), provenance="made for this test",
    )
    base_w = np.repeat(1000.0 * np.array([[rest_kw, home_kw]]) / 3.0, 3, axis=0)
    return Scene(feeder, GRID, base_w, 0.0 * base_w, EVSES, ("end",) * len(EVSES), PHASES,
                 limits=limits or Limits())


def amperes(there: Scene, power_kw: np.ndarray) -> np.ndarray:
    """Largest current of each phase in any hour, by the second engine."""
    flow = there.flow()
    solution = flow.solve(*there.demand_w(np.repeat(power_kw[:, None], 2, axis=1)))
    found: np.ndarray = Checker(there.feeder).solve(solution).from_a.reshape(2, 1, -1)[:, 0, :3].max(axis=0)
    return found


def test_what_is_borne_is_left_alone() -> None:
    power = np.array([5.0, 5.0, 5.0, 5.0, 9.0])
    there = scene()
    assert crossings(there, power) == ()
    assert fitted(there, power, np.ones(5, dtype=bool), np.zeros(5)).tolist() == power.tolist()


def test_only_those_on_the_phase_that_is_full_give_way_and_in_proportion() -> None:
    there, power = scene(), np.array([16.0, 8.0, 8.0, 8.0, 3.0])
    (worst, *_) = crossings(there, power)
    assert (worst.kind, worst.asset_id, worst.step) == (BreachKind.LINE_OVERLOAD, "cable.a", 1)
    assert worst.value == pytest.approx(amperes(there, power)[0] / AMPERES, rel=1e-5)
    left = fitted(there, power, np.array([True, True, True, True, False]), np.zeros(5))
    assert left[2:].tolist() == power[2:].tolist()
    assert left[0] / left[1] == pytest.approx(2.0)
    assert amperes(there, left)[0] == pytest.approx(AMPERES, rel=3e-3)


def test_a_share_below_the_least_that_can_be_told_becomes_nothing() -> None:
    there, power = scene(), np.array([20.0, 2.0, 0.0, 0.0, 0.0])
    first_only = np.array([False, True, False, False, False])
    assert 0.0 < fitted(there, power, first_only, np.zeros(5))[1] < 1.9
    assert fitted(there, power, first_only, np.full(5, 1.9))[1] == 0.0


def test_what_others_cross_is_no_reason_to_give_way_but_no_licence_to_add_to_it() -> None:
    there, power = scene(), np.array([26.0, 4.0, 4.0, 0.0, 0.0])
    left = fitted(there, power, np.array([False, True, True, False, False]), np.zeros(5))
    assert left[1] < 0.1
    assert left[[0, 2]].tolist() == [26.0, 4.0]
    assert crossings(there, left, beside_kw=np.array([26.0, 0.0, 0.0, 0.0, 0.0])) == ()


def test_powers_without_a_solution_come_down_to_some_that_have_one() -> None:
    there, power = scene(), np.full(5, 400.0)
    assert crossings(there, power)[0].kind is BreachKind.NO_SOLUTION
    left = fitted(there, power, np.ones(5, dtype=bool), np.zeros(5))
    assert crossings(there, left) == ()
    assert left.sum() > 20.0, "much of what the feeder bears is given"


@settings(max_examples=25, deadline=None)
@given(
    power=st.lists(st.floats(0.0, 40.0), min_size=5, max_size=5),
    gives=st.lists(st.booleans(), min_size=5, max_size=5), least=st.floats(0.0, 3.0),
    home_kw=st.floats(-60.0, 80.0), low=st.sampled_from([0.90, 0.96]), unbalance=st.sampled_from([0.005, 0.02]),
)
def test_whatever_is_there_the_rest_gives_way_until_nothing_is_worse_than_without_it(
    power: list[float], gives: list[bool], least: float, home_kw: float, low: float, unbalance: float,
) -> None:
    there = scene(home_kw, limits=Limits(voltage_pu=(low, 1.05), unbalance=unbalance))
    kw, may = np.array(power), np.array(gives)
    beside = np.where(may, 0.0, kw)
    if any(one.kind is BreachKind.NO_SOLUTION for one in crossings(there, beside)):
        return
    left = fitted(there, kw, may, np.full(5, least))
    assert (left <= kw).all()
    assert (left[~may] == kw[~may]).all()
    assert ((left == 0.0) | (left == kw) | (left >= least)).all()
    assert crossings(there, left, beside_kw=beside) == ()


@settings(max_examples=10, deadline=None)
@given(power=st.floats(1.0, 60.0), home_kw=st.floats(0.0, 40.0))
def test_one_charger_gets_what_halving_finds(power: float, home_kw: float) -> None:
    there = scene(home_kw)
    unit = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    if crossings(there, 0.0 * unit):
        return
    low, high = 0.0, power
    if not crossings(there, power * unit):
        low = power
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if not crossings(there, middle * unit) else (low, middle)
    left = fitted(there, power * unit, unit > 0.0, np.zeros(5))[0]
    # The tolerance of the gate may be used or not: half a percent of a cable.
    assert left <= low + 1e-6
    assert left == pytest.approx(low, rel=0.01, abs=0.1)
