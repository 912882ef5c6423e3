"""A short day through the service's own loop: believe, plan through the gate, follow, answer the grid."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pytest

from aggregator.fleet.beliefs import Beliefs, SiteDefaults, VehicleModel
from aggregator.fleet.model import DepartureTarget, LiveSession
from aggregator.planning.site.forecast import BaseLoadForecast
from aggregator.planning.site.situation import SiteModel
from aggregator.signals.limits import LimitBook
from aggregator.signals.model import GridSignal, Obligation, Programme, SignalInterval, SignalState
from aggregator.studies.loop import LoopController
from markets.rate import shipped_rate
from twin.assets import (
    Battery,
    Current,
    Evse,
    LossCurve,
    PowerCurve,
    Response,
    Site,
    TimeGrid,
    Vehicle,
    Visit,
    World,
)
from twin.replay import Run, simulate

ZONE = "America/Los_Angeles"
TEN = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)  # 10:00 local
BUILDING_KW, CAP_KW = 30.0, 55.0
BIDI = ("B1", "B2", "B3")
PLAIN = ("A1", "A2")
HOURS = 6
LOSS = LossCurve(0.1, 0.04, 0.003)
FLAT = PowerCurve((0.0, 1.0), (50.0, 50.0))
VEHICLES = {
    "plain": VehicleModel(
        Vehicle("plain", Battery(50.0, PowerCurve((0.0, 0.8, 1.0), (7.0, 7.0, 1.0)), None, LOSS), 6.6), 0.075),
    "bidi": VehicleModel(Vehicle("bidi", Battery(60.0, FLAT, FLAT, LOSS), 11.0, 11.0, 0.5), 0.075),
}
EVSES = {
    **{i: Evse(i, "site", Current.DC, 11.0, 0.0, 11.0, Response(7.0, 3.3)) for i in BIDI},
    **{i: Evse(i, "site", Current.AC, 6.656, 1.248, response=Response(2.0)) for i in PLAIN},
}


def at(hours: float) -> datetime:
    return TEN + timedelta(hours=hours)


def visit(evse_id: str, arrives: float, leaves: float, energy_kwh: float, asked_kwh: float) -> Visit:
    model = "bidi" if evse_id in BIDI else "plain"
    vehicle = VEHICLES[model].vehicle
    return Visit(f"visit-{evse_id}", evse_id, vehicle, at(arrives), at(leaves), energy_kwh, energy_kwh + asked_kwh,
                 0.2 * vehicle.battery.capacity_kwh)


VISITS = (
    visit("B1", 0.05, 6.0, 44.0, 6.0), visit("B2", 0.2, 6.0, 40.0, 8.0), visit("B3", 0.5, 5.8, 36.0, 4.0),
    visit("A1", 0.1, 3.9, 20.0, 9.0), visit("A2", 0.4, 5.5, 15.0, 14.0),
)


def signal(name: str, obligation: Obligation, received: float, start: float, end: float, kw: float) -> GridSignal:
    return GridSignal(name, "openadr:utility", name, 1, name, at(received), "Peak relief", obligation, "site",
                      (SignalInterval(at(start), at(end), kw),))


EVENT = signal("event", Obligation.COMMITTED, 1.0, 4.0, 5.0, 20.0)
"""Ten below the building: only discharge reaches it."""
LIMIT = signal("limit", Obligation.MANDATORY, 2.5, 2.5, 3.0, 36.0)


class Day(NamedTuple):
    run: Run
    controller: LoopController


def day(
    *signals: GridSignal, visits: tuple[Visit, ...] = VISITS, hours: float = HOURS, latency_s: float = 0.0,
    fallback_kw: float = 2.0, permitted_kw: float = 11.0,
) -> Day:
    model = SiteModel(
        site=Site("site", ZONE, CAP_KW, export_cap_kw=5.0), evses=EVSES, vehicles=VEHICLES,
        rate=shipped_rate("sce_tou_ev_4"), base_load=BaseLoadForecast((BUILDING_KW,) * 24, ZONE), steps=24,
    )
    grid = TimeGrid(TEN, 60, int(hours * 60))
    world = World(
        model.site, tuple(EVSES.values()), visits, grid, np.full(grid.steps, BUILDING_KW),
        np.full(grid.steps, CAP_KW), np.full(grid.steps, 5.0),
    )

    def permitted(session: LiveSession, now: datetime) -> float:
        assert now >= TEN
        return permitted_kw if session.evse_id in BIDI else 0.0

    controller = LoopController(
        model, Beliefs(VEHICLES, SiteDefaults(timedelta(hours=5), 8.0, "plain")),
        {
            v.id: DepartureTarget(
                f"card-{v.evse_id}", v.departure, v.target_kwh - v.energy_kwh, v.vehicle.model, v2g_consent=True)
            for v in visits
        },
        permitted_kw=permitted, reports_soc=frozenset(f"visit-{i}" for i in BIDI), signals=signals,
        book=LimitBook("site", {"Peak relief": Programme("Peak relief", "utility", Obligation.COMMITTED, 1.0, 2.0)}),
        peak_so_far_kw=50.0, interval_s=1800, latency_s=latency_s, fallback_kw=dict.fromkeys(EVSES, fallback_kw),
    )
    return Day(simulate(world, controller), controller)


@pytest.fixture(scope="module")
def signalled() -> Day:
    return day(EVENT, LIMIT)


@pytest.fixture(scope="module")
def quiet() -> Day:
    return day()


def mean_kw(run: Run, start: float, end: float) -> float:
    """Mean net power between two hours of the day, from the minutes of the replay."""
    return float(run.net_kw[round(start * 60):round(end * 60)].mean())


@pytest.mark.parametrize("which", ["signalled", "quiet"])
def test_every_driver_leaves_with_what_was_asked(which: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(which).run
    for v in VISITS:
        assert run.visits[v.id].energy_kwh >= v.target_kwh - 0.2, v.id


@pytest.mark.parametrize("which", ["signalled", "quiet"])
def test_no_energy_is_made_or_lost(which: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(which).run
    assert run.ledger_residual <= 1e-9
    for done in run.visits.values():
        moved = done.energy_kwh - done.visit.energy_kwh
        assert moved < done.imported_kwh - done.exported_kwh  # what is missing became heat


def test_no_driver_is_worse_off_for_the_signals(signalled: Day, quiet: Day) -> None:
    for v in VISITS:
        with_signals, without = (one.run.visits[v.id].energy_kwh for one in (signalled, quiet))
        assert with_signals >= min(without, v.target_kwh) - 0.2, v.id


def test_the_event_is_answered_and_held_by_discharge(signalled: Day) -> None:
    (decision,) = signalled.controller.log.decisions
    assert decision.signal_id == "event"
    assert decision.state is SignalState.ACCEPTED
    assert decision.decided_at == EVENT.received_at
    assert decision.committed_kw == pytest.approx(decision.requested_kw)
    for quarter in range(4):
        assert mean_kw(signalled.run, 4 + quarter / 4, 4.25 + quarter / 4) <= 20.0 + 0.5
    assert sum(done.exported_kwh for done in signalled.run.visits.values()) > 8.0


def test_the_mandatory_limit_and_the_cap_hold_from_the_next_minute_on(signalled: Day) -> None:
    assert max(signalled.run.net_kw[151:180]) <= 36.0 + 1e-6
    assert max(signalled.run.net_kw) <= CAP_KW


def test_every_plan_says_what_it_was_made_for_and_passed_the_twin(signalled: Day) -> None:
    plans = signalled.controller.log.plans
    reasons = {reason for _, why, _ in plans for reason in why}
    assert {"arrival", "departure", "clock", "grid signal"} <= reasons
    assert all(outcome.passed and outcome.report is not None for _, _, outcome in plans)
    guarded = [now for now, _, outcome in plans if outcome.counterfactual is not None]
    assert min(guarded) == EVENT.received_at


def test_without_a_permit_nothing_discharges_and_the_answer_says_so() -> None:
    unpermitted = day(EVENT, visits=VISITS[:1], permitted_kw=0.0, hours=2)
    assert unpermitted.run.visits["visit-B1"].exported_kwh == 0.0
    (decision,) = unpermitted.controller.log.decisions
    assert decision.state is SignalState.PARTIAL
    assert [(code.value, count) for code, count in decision.reasons] == [("no_discharge_permit", 1)]


def test_until_the_first_plan_arrives_a_car_charges_at_its_fallback_share() -> None:
    alone = (visit("A1", 0.0, 0.75, 20.0, 3.5),)
    late, prompt = (day(visits=alone, hours=0.8, latency_s=latency) for latency in (300.0, 0.0))
    assert late.run.ev_kw[1:5].tolist() == pytest.approx([2.0] * 4, abs=1e-6)
    assert prompt.run.ev_kw[1] > 4.0  # it leaves soon: the plan charges at once
    assert late.run.ev_kw[6] > 4.0
    assert late.controller.log.plans[0][0] == prompt.controller.log.plans[0][0] == TEN
