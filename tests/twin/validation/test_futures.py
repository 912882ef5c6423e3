"""Many futures at once agree with one replay for each of them, and tell promised from delivered."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from twin.assets import (
    Battery,
    Current,
    Evse,
    LossCurve,
    PowerCurve,
    Response,
    Schedule,
    Site,
    TimeGrid,
    Vehicle,
    Visit,
    World,
    utc,
)
from twin.controllers import FollowSchedule as FollowPlan
from twin.drivers import DriverModel
from twin.drivers.departures import ParametricDepartures
from twin.faults import FaultModel
from twin.replay import FollowSchedule, simulate
from twin.validation import ScheduleMismatch, validate
from twin.validation.breaches import BreachKind, EventPromise
from twin.validation.fates import Fates
from twin.validation.futures import Futures, Spread

START = utc("2019-07-15T13:00:00Z")
STEPS = 12
CAR = Vehicle(
    "car", Battery(60.0, PowerCurve((0.0, 0.8, 1.0), (30.0, 30.0, 1.5)), PowerCurve((0.0, 0.1, 1.0), (0.0, 20.0, 20.0)),
                   LossCurve(0.12, 0.03, 0.0033)), 11.0, 11.0,
)
FREE = {"A": 11.0, "B": 11.0}
RESTLESS = DriverModel(departures=ParametricDepartures(early_share=0.6, early_mean_min=90.0))
PROMISE = EventPromise("event", (4, 5), (34.0, 34.0))


def world(*, cap: float = 100.0, energy: float = 30.0) -> World:
    ones = np.ones(STEPS)
    evses = tuple(Evse(name, "S", Current.DC, 11.0, 0.0, 11.0, Response(7.0, 3.3)) for name in "AB")
    visits = tuple(
        Visit(f"visit-{name}", name, CAR, START + timedelta(minutes=20 * k), START + timedelta(minutes=150 + 20 * k),
              energy, 33.0, floor_kwh=20.0)
        for k, name in enumerate("AB")
    )
    return World(
        Site("S", "UTC", cap), evses, visits, TimeGrid(START, 900, STEPS), 40.0 * ones, cap * ones, 0.0 * ones,
    )


def plan(*kw: float) -> Schedule:
    """Both EVSEs alike; three steps for each value."""
    return Schedule(world().grid, ("A", "B"), np.tile(np.repeat(kw, STEPS // len(kw)), (2, 1)))


DIPPING = plan(6.0, -4.0, 6.0, 6.0)


def worlds_of(fates: Fates) -> list[World]:
    """The world of each replica, with the departures that were drawn."""
    known = {visit.id: visit for visit in fates.world.visits}
    drawn, copies = fates.drawn, []
    assert drawn.visits.replica is not None
    for replica in range(fates.ensemble.replicas):
        rows = np.flatnonzero(drawn.visits.replica == replica)
        copies.append(replace(fates.world, visits=tuple(
            replace(
                known[fates.visit_ids[drawn.row[row]]],
                departure=fates.world.grid.start + timedelta(seconds=float(drawn.visits.departure_s[row])),
            ) for row in rows
        )))
    return copies


def examined(place: World, schedule: Schedule, **more: object) -> Futures:
    report = validate(
        place, schedule, discharge_allowed_kw=FREE, commitments=(PROMISE,), **more,  # type: ignore[arg-type]
    )
    assert report.futures is not None
    return report.futures


def test_one_replica_is_one_replay_and_no_futures() -> None:
    report = validate(world(), DIPPING, discharge_allowed_kw=FREE, commitments=(PROMISE,))
    assert report.futures is None


@pytest.mark.parametrize("begins_min", [0, 4])
def test_futures_without_surprises_are_the_replay(begins_min: int) -> None:
    place = replace(world(), begin=START + timedelta(minutes=begins_min))
    report = validate(place, DIPPING, discharge_allowed_kw=FREE, commitments=(PROMISE,), replicas=3)
    assert report.futures is not None
    spread = report.futures.promises["event"]
    for step, kw in zip(spread.net_kw, report.event_net_kw["event"], strict=True):
        assert (step.p10, step.p50, step.p90) == pytest.approx((kw, kw, kw), abs=1e-9)
    fates = Fates.draw(place, replicas=3)
    assert fates.net_kw(fates.run(FollowPlan(DIPPING))) == pytest.approx(
        np.tile(simulate(place, FollowSchedule(DIPPING)).step_net_kw, (3, 1)), abs=1e-9
    )


def test_every_future_is_the_replay_of_its_own_drivers() -> None:
    place = world()
    fates = Fates.draw(place, replicas=12, drivers=RESTLESS, seed=3)
    net_kw = fates.net_kw(fates.run(FollowPlan(DIPPING)))
    replayed = [simulate(copy, FollowSchedule(DIPPING)).step_net_kw for copy in worlds_of(fates)]
    assert net_kw == pytest.approx(np.array(replayed), abs=1e-8)
    assert np.ptp(net_kw, axis=0).max() > 1.0  # drivers do differ


@pytest.mark.parametrize(("schedule", "kinds"), [
    (plan(6.0, 2.0, 0.0, 0.0), {BreachKind.DEPARTURE, BreachKind.EVENT}),
    (plan(0.0, -8.0, -11.0, 9.0), {BreachKind.DEPARTURE, BreachKind.FLOOR, BreachKind.EVENT}),
])
def test_breaches_are_counted_as_one_replay_after_the_other_would(schedule: Schedule, kinds: set[BreachKind]) -> None:
    place = world()
    futures = examined(place, schedule, replicas=16, drivers=RESTLESS, seed=5)
    fates = Fates.draw(place, replicas=16, drivers=RESTLESS, seed=5)
    expected: Counter[tuple[BreachKind, str]] = Counter()
    for copy in worlds_of(fates):
        report = validate(copy, schedule, discharge_allowed_kw=FREE, commitments=(PROMISE,))
        expected.update({(breach.kind, breach.asset_id) for breach in report.breaches})
    assert {(each.kind, each.asset_id): each.replicas for each in futures.breaches} == dict(expected)
    assert {each.kind for each in futures.breaches} == kinds
    assert 0 < min(expected.values()) < 16


def test_the_cap_is_counted_where_fewer_cars_than_planned_discharge() -> None:
    schedule = replace(DIPPING, power_kw=np.array([[8.0] * STEPS, [-8.0] * STEPS]))
    futures = examined(world(cap=45.0), schedule, replicas=20, drivers=RESTLESS, seed=1)
    (cap,) = (each for each in futures.breaches if each.kind is BreachKind.SITE_CAP)
    assert (cap.asset_id, 0 < cap.replicas <= 20) == ("S", True)
    # At most the charging car is left, but for the first step, when the discharging one has not come yet.
    assert cap.worst == pytest.approx(40.0 + 8.0 - 45.0, abs=0.1)


def test_delivered_is_the_paired_difference_and_promised_the_nominal_one() -> None:
    place, quiet = world(), plan(6.0, 2.0, 6.0, 6.0)
    futures = examined(place, DIPPING, baseline=quiet, replicas=12, drivers=RESTLESS, seed=3)
    spread = futures.promises["event"]
    assert spread.promised_kwh == pytest.approx((44.0 - 34.0) * 0.5, abs=0.05)
    fates = Fates.draw(place, replicas=12, drivers=RESTLESS, seed=3)
    pairs = [
        [simulate(copy, FollowSchedule(each)).step_net_kw[4:6].sum() * 0.25 for each in (quiet, DIPPING)]
        for copy in worlds_of(fates)
    ]
    delivered = np.array([without - with_it for without, with_it in pairs])
    assert spread.delivered_kwh is not None
    assert spread.delivered_kwh.p50 == pytest.approx(float(np.median(delivered)), abs=1e-8)
    assert spread.delivered_kwh.p10 == pytest.approx(float(np.quantile(delivered, 0.1)), abs=1e-8)
    assert spread.delivered_kwh.p10 < spread.delivered_kwh.p90


def test_broken_chargers_deliver_nothing_and_keep_no_promise() -> None:
    dead = FaultModel(down_mtbf_h=1.0 / 3600.0, down_mttr_h=1e9)
    futures = examined(world(), DIPPING, baseline=plan(6.0, 2.0, 6.0, 6.0), replicas=4, faults=dead)
    spread = futures.promises["event"]
    assert spread.kept_share == 0.0
    assert spread.delivered_kwh == Spread(0.0, 0.0, 0.0)
    assert {each.replicas for each in futures.breaches if each.kind is BreachKind.EVENT} == {4}


def test_more_replicas_do_not_change_the_first_ones() -> None:
    few, many = (
        examined(world(), DIPPING, replicas=count, drivers=RESTLESS, faults=FaultModel().swept(0.2), seed=9)
        for count in (5, 9)
    )
    assert many.event_kwh["event"][:5].tolist() == few.event_kwh["event"].tolist()
    assert many.shortfall_kwh[:5].tolist() == few.shortfall_kwh.tolist()


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="replicas: 0"):
        validate(world(), DIPPING, replicas=0)
    ghost: Mapping[str, object] = {"baseline": replace(DIPPING, evse_ids=("A", "ghost"))}
    with pytest.raises(ScheduleMismatch, match="ghost"):
        examined(world(), DIPPING, replicas=2, **ghost)
