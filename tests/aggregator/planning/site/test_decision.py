"""What a grid signal is answered: what the examined plan holds, why not all of it, and nothing of any driver."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.site.decision import decide
from aggregator.planning.site.problem import Commitment, EvDemand, FeederRow, Plan, Problem
from aggregator.planning.site.solve import solve
from aggregator.planning.street.lessons import Crossed
from aggregator.signals.model import (
    NO_LIMIT_KW,
    Decision,
    GridSignal,
    Obligation,
    ReasonCode,
    SignalInterval,
    SignalState,
)
from twin.assets import TimeGrid

NOW = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)
GRID = TimeGrid(NOW, 900, 16)
EVENT_STEPS = (8, 9, 10, 11)
BUILDING_KW = 40.0


def car(name: str, **changes: Any) -> EvDemand:
    """A car with energy to spare that stays to the end and may discharge 10 kW, at more wear than energy costs."""
    values: dict[str, Any] = {
        "id": f"secret-{name}", "evse_id": f"evse-{name}", "arrive": 0, "depart": 16, "energy_kwh": 50.0,
        "capacity_kwh": 60.0, "target_kwh": 20.0, "floor_kwh": 12.0, "max_charge_kw": 10.0, "max_discharge_kw": 10.0,
        "charge_efficiency": 0.93, "discharge_efficiency": 0.93, "wear_per_kwh": 0.05,
    }
    return EvDemand(**(values | changes))


def asked(max_net_kw: float, signal_id: str = "signal") -> GridSignal:
    interval = SignalInterval(GRID.at(EVENT_STEPS[0]), GRID.at(EVENT_STEPS[-1] + 1), max_net_kw)
    return GridSignal(signal_id, "openadr:utility", "event-1", 1, "hash", NOW, "Peak relief", Obligation.COMMITTED,
                      "site", (interval,))


def site(*cars: EvDemand, max_net_kw: float = NO_LIMIT_KW, reserve_kw: float = 0.0) -> Problem:
    wanted = () if max_net_kw == NO_LIMIT_KW else (
        Commitment("signal", EVENT_STEPS, (max_net_kw - reserve_kw,) * 4, 3.0),
    )
    return Problem(
        grid=GRID, evs=cars, base_kw=np.full(16, BUILDING_KW), import_cap_kw=np.full(16, 200.0),
        export_cap_kw=np.zeros(16), import_price=np.full(16, 0.04), export_price=np.zeros(16), peak_so_far_kw=100.0,
        demand_price=15.0, commitments=wanted,
    )


def answer(max_net_kw: float, *cars: EvDemand, reserve_kw: float = 0.0) -> tuple[Decision, Plan, Plan]:
    """The decision, the plan it stands on, and the plan without the signal."""
    problem = site(*cars, max_net_kw=max_net_kw, reserve_kw=reserve_kw)
    plan, without = solve(problem), solve(site(*cars))
    decision = decide(
        asked(max_net_kw), problem, plan, without.net_kw,
        could_discharge_kw={ev.evse_id: 0.0 if ev.evse_id.startswith("evse-ac") else 10.0 for ev in cars},
        now=NOW, plan_id="plan-7",
    )
    return decision, plan, without


def test_what_the_plan_holds_in_full_is_accepted() -> None:
    decision, plan, without = answer(32.0, car("a"))
    baseline = float(without.net_kw[list(EVENT_STEPS)].mean())
    assert decision.state is SignalState.ACCEPTED
    assert decision.reasons == ()
    assert decision.committed_net_kw == (32.0,)
    assert decision.baseline_kw == pytest.approx(baseline)
    assert decision.requested_kw == decision.committed_kw == pytest.approx(baseline - 32.0)
    assert (plan.net_kw[list(EVENT_STEPS)] <= 32.0 + 1e-6).all()
    assert (decision.signal_id, decision.plan_id, decision.decided_at) == ("signal", "plan-7", NOW)


def test_what_charging_alone_gives_up_counts_against_the_day_without_the_signal() -> None:
    # Without the signal the car would charge its 18 kWh somewhere; the baseline knows where, the building does not.
    decision, _, without = answer(40.0, car("a", energy_kwh=20.0, target_kwh=38.0, max_discharge_kw=0.0))
    assert decision.state is SignalState.ACCEPTED
    assert decision.baseline_kw == pytest.approx(float(without.net_kw[list(EVENT_STEPS)].mean()))
    assert decision.requested_kw == pytest.approx(max(0.0, decision.baseline_kw - 40.0))


def test_each_car_that_could_help_more_counts_once_under_what_holds_it_first() -> None:
    decision, plan, _ = answer(
        0.0,
        car("full-power"),
        car("no-permit", max_discharge_kw=0.0),
        car("no-permit-either", max_discharge_kw=0.0),
        car("leaves", depart=10),
        car("empty", energy_kwh=14.0, target_kwh=14.0, max_charge_kw=0.1),
        car("ac", id="secret-ac", evse_id="evse-ac", max_discharge_kw=0.0),
    )
    assert decision.state is SignalState.PARTIAL
    assert dict(decision.reasons) == {
        ReasonCode.PERMIT: 2, ReasonCode.DEPARTURE: 1, ReasonCode.ENERGY: 1, ReasonCode.POWER: 1,
    }
    held = max(plan.net_kw[list(EVENT_STEPS)])
    assert 0.0 < decision.committed_kw < decision.requested_kw
    assert decision.committed_net_kw[0] == pytest.approx(held, abs=0.06)
    assert decision.baseline_kw - decision.committed_kw == pytest.approx(decision.committed_net_kw[0], abs=1e-3)


def test_without_a_car_it_is_the_building_that_stands_in_the_way() -> None:
    decision, _, _ = answer(10.0)
    assert decision.state is SignalState.PARTIAL
    assert decision.reasons == ((ReasonCode.BUILDING, 0),)
    assert decision.committed_net_kw == (BUILDING_KW,)
    assert decision.committed_kw == 0.0
    assert decision.requested_kw == pytest.approx(30.0)


def test_an_answer_names_no_driver_no_charger_and_no_departure() -> None:
    decision, _, _ = answer(0.0, car("a"), car("b", depart=9), car("c", max_discharge_kw=0.0))
    words = repr(decision)
    assert "secret" not in words
    assert "evse" not in words
    for step in (9, 16):
        assert GRID.at(step).isoformat() not in words


def test_the_reserve_of_the_plan_is_not_promised() -> None:
    decision, plan, _ = answer(35.0, car("a"), reserve_kw=3.0)
    assert decision.committed_net_kw == (35.0,)
    assert (plan.net_kw[list(EVENT_STEPS)] <= 32.0 + 1e-6).all()


def test_an_interval_that_asks_nothing_or_lies_beyond_the_plan_is_left_as_it_is() -> None:
    problem = site(car("a"), max_net_kw=32.0)
    signal = asked(32.0)
    beyond = SignalInterval(GRID.end + timedelta(hours=1), GRID.end + timedelta(hours=2), 5.0)
    free = SignalInterval(signal.end, GRID.end, NO_LIMIT_KW)
    plan = solve(problem)
    decision = decide(
        replace(signal, intervals=(*signal.intervals, free, beyond)), problem, plan, plan.net_kw,
        could_discharge_kw={}, now=NOW, plan_id="p",
    )
    assert decision.committed_net_kw == (32.0, NO_LIMIT_KW, 5.0)
    assert decision.baseline_kw == pytest.approx(float(plan.net_kw[list(EVENT_STEPS)].mean()))


@settings(max_examples=15, deadline=None)
@given(
    max_net_kw=st.floats(0.0, 60.0), energies=st.lists(st.floats(13.0, 58.0), max_size=4),
    departs=st.lists(st.integers(1, 16), min_size=4, max_size=4),
)
def test_no_answer_promises_what_its_plan_does_not_hold(
    max_net_kw: float, energies: list[float], departs: list[int]
) -> None:
    cars = [car(str(i), energy_kwh=kwh, depart=departs[i], target_kwh=min(kwh, 30.0))
            for i, kwh in enumerate(energies)]
    decision, plan, _ = answer(max_net_kw, *cars)
    (promised,) = decision.committed_net_kw
    assert max(plan.net_kw[list(EVENT_STEPS)]) <= promised + 0.06
    assert promised >= max_net_kw
    assert decision.committed_kw <= decision.requested_kw + 1e-9
    assert (decision.state is SignalState.ACCEPTED) == (decision.reasons == ())


def limit(step: int, per_kw: float, *, element: str = "board.b", at: str = "1.099 p.u.") -> Crossed:
    return Crossed("voltage_high", element, step, {"evse-a": per_kw, "evse-b": per_kw},
                   f"highest voltage at {element} at {at}")


def held(cars: tuple[EvDemand, ...], *held_by: Crossed) -> Decision:
    """The answer to an event that asks for far more than `cars` can give."""
    # Before the event little can be stored: the feeder has rows there.
    rows = tuple(FeederRow("line_overload", "cable.a", step, {cars[0].id: 1.0}, 0.5) for step in range(EVENT_STEPS[0]))
    problem = replace(site(*cars, max_net_kw=-200.0), feeder_rows=rows)
    plan, without = solve(problem), solve(site(*cars))
    return decide(
        asked(-200.0), problem, plan, without.net_kw, could_discharge_kw={ev.evse_id: 20.0 for ev in cars},
        now=NOW, plan_id="plan-7", held_by=held_by,
    )


def test_cars_that_a_limit_of_the_feeder_keeps_from_giving_more_are_counted_and_the_limit_is_told() -> None:
    """They hold energy for half of their power; the limit lies in the way of discharge in the event."""
    cars = (car("a", energy_kwh=35.0, max_discharge_kw=20.0), car("b", energy_kwh=35.0, max_discharge_kw=20.0),
            car("c", energy_kwh=35.0, max_discharge_kw=20.0), car("d", max_discharge_kw=0.0))
    told = held(cars, limit(9, -0.004), limit(10, -0.003), limit(9, -0.004, element="board.a"),
                limit(9, -0.002, element="end.c"))
    assert dict(told.reasons) == {ReasonCode.FEEDER: 2, ReasonCode.ENERGY: 1, ReasonCode.PERMIT: 1}
    assert told.feeder_limits == ("highest voltage at board.b at 1.099 p.u.", "highest voltage at end.c at 1.099 p.u.")


@pytest.mark.parametrize(("step", "per_kw", "reason"), [
    (9, -0.004, ReasonCode.FEEDER), (9, 0.004, ReasonCode.ENERGY), (3, -0.004, ReasonCode.ENERGY),
    (3, 0.004, ReasonCode.FEEDER), (13, 0.004, ReasonCode.ENERGY),
])
def test_a_limit_counts_only_where_it_is_in_the_way(step: int, per_kw: float, reason: ReasonCode) -> None:
    """On discharge while the event is missed, and on charging before it where the battery has room."""
    told = held((car("a", energy_kwh=14.0, target_kwh=14.0),), limit(step, per_kw))
    assert [code for code, _ in told.reasons] == [reason]
    assert bool(told.feeder_limits) is (reason is ReasonCode.FEEDER)
