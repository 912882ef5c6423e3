"""The gate's examination: each kind of breach is made to occur, and a sound schedule passes."""

from collections.abc import Mapping
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
from twin.validation import BreachKind, EventPromise, ScheduleMismatch, ValidationReport, validate

START = utc("2019-07-15T13:00:00Z")
STEPS = 12
TAPER = PowerCurve((0.0, 0.8, 1.0), (30.0, 30.0, 1.5))
FADE = PowerCurve((0.0, 0.1, 1.0), (0.0, 20.0, 20.0))
CAR = Vehicle("car", Battery(60.0, TAPER, FADE, LossCurve(0.12, 0.03, 0.0033)), 11.0, 11.0)
FREE = {"A": 11.0, "B": 11.0}


def world(
    *, energy: float = 30.0, target: float = 40.0, leaves_min: float = 180, cap: float = 100.0, export: float = 0.0,
    base: float = 40.0, rating: float = 11.0,
) -> World:
    ones = np.ones(STEPS)
    evses = tuple(Evse(name, "S", Current.DC, rating, 0.0, rating, Response(7.0, 3.3)) for name in "AB")
    leaves = START + timedelta(minutes=leaves_min)
    visits = tuple(
        Visit(f"visit-{name}", name, CAR, START, leaves, energy, target, floor_kwh=20.0) for name in "AB"
    )
    return World(
        Site("S", "UTC", cap, export), evses, visits, TimeGrid(START, 900, STEPS),
        base * ones, cap * ones, export * ones,
    )


def check(
    place: World, kw: float | list[float], *, declared: Mapping[str, float] | None = None,
    allowed: Mapping[str, float] | None = FREE, promises: tuple[EventPromise, ...] = (),
) -> ValidationReport:
    power = np.broadcast_to(np.asarray(kw, dtype=float), (2, STEPS)).copy()
    schedule = Schedule(place.grid, ("A", "B"), power, declared or {})
    return validate(place, schedule, commitments=promises, discharge_allowed_kw=allowed)


def kinds(report: ValidationReport) -> set[BreachKind]:
    return {breach.kind for breach in report.breaches}


def test_a_sound_schedule_passes() -> None:
    report = check(world(), 6.0, promises=(EventPromise("event", (4, 5), (52.0, 52.0)),))
    assert report.passed
    assert report.event_net_kw["event"] == pytest.approx((52.0, 52.0))
    assert report.departures["visit-A"].shortfall_kwh == 0.0


def test_site_cap_is_judged_on_minute_means() -> None:
    report = check(world(cap=60.0), [5.0] * 6 + [10.5] + [5.0] * 5)
    assert kinds(report) == {BreachKind.SITE_CAP}
    (breach,) = report.breaches
    assert breach.asset_id == "S"
    assert breach.worst == pytest.approx(1.0)
    assert breach.limit_value == 60.0
    # The minute of the change still holds 7 s of silence and stays below; the breach begins with the next one.
    assert breach.start == START + timedelta(minutes=91)
    assert breach.end == START + timedelta(minutes=105)


def test_export_beyond_its_cap_breaks_the_site_cap() -> None:
    report = check(world(energy=55.0, base=10.0, export=5.0), [-11.0, 0.0] + [0.0] * 10)
    assert BreachKind.SITE_CAP in kinds(report)
    assert max(b.worst for b in report.breaches) == pytest.approx(22 - 10 - 5)


def test_a_setpoint_above_the_rating_is_a_breach_although_the_charger_clips_it() -> None:
    report = check(world(rating=7.0), 8.0)
    assert kinds(report) == {BreachKind.EVSE_RATING}
    assert {breach.asset_id for breach in report.breaches} == {"A", "B"}
    assert report.breaches[0].worst == pytest.approx(1.0)


def test_a_car_that_leaves_short_because_of_the_schedule_is_a_breach() -> None:
    report = check(world(), 2.0)
    assert kinds(report) == {BreachKind.DEPARTURE}
    outcome = report.departures["visit-A"]
    assert outcome.forced_kwh == 0.0
    assert report.breaches[0].worst == pytest.approx(40.0 - outcome.energy_kwh)


def test_the_taper_that_a_linear_plan_forgets_is_found() -> None:
    """11.8 kWh at 10.2 kW are 70 minutes to a linear model; the taper makes them more than 75."""
    place = world(energy=48.0, target=59.8)
    late = [0.0] * 7 + [11.0] * 5
    assert kinds(check(place, late)) == {BreachKind.DEPARTURE}
    assert check(place, 11.0).passed


def test_a_declared_shortfall_is_no_breach_but_a_larger_one_is() -> None:
    missing = check(world(), 2.0).departures["visit-A"].shortfall_kwh
    both = ("visit-A", "visit-B")
    assert check(world(), 2.0, declared=dict.fromkeys(both, missing)).passed
    report = check(world(), 2.0, declared=dict.fromkeys(both, missing - 1.0))
    assert report.breaches[0].worst == pytest.approx(1.0)


def test_what_physics_forces_is_no_breach() -> None:
    place = world(target=59.0, leaves_min=60)
    report = check(place, 11.0)
    outcome = report.departures["visit-A"]
    assert outcome.shortfall_kwh > 15.0
    assert outcome.forced_kwh == pytest.approx(outcome.shortfall_kwh, abs=0.05)
    assert report.passed
    assert kinds(check(place, [0.0, 11.0] + [11.0] * 10)) == {BreachKind.DEPARTURE}


def test_a_schedule_that_leans_on_the_floor_is_refused() -> None:
    report = check(world(energy=22.0, target=20.0), [-8.0] * 2 + [0.0] * 10)
    assert kinds(report) == {BreachKind.FLOOR}
    assert {breach.asset_id for breach in report.breaches} == {"visit-A", "visit-B"}
    # 2 kWh stand above the floor; 4 kWh are asked at the plug, of which the losses leave about 1.7 kWh.
    assert 2.0 < report.breaches[0].worst < 2.5
    assert np.nanmin(report.energy_kwh) == 20.0


def test_discharge_without_or_beyond_a_permit_is_a_breach() -> None:
    discharging = [-5.0] * 2 + [0.0] * 10
    place = world(energy=50.0)
    assert check(place, discharging).passed
    assert kinds(check(place, discharging, allowed=None)) == {BreachKind.PERMIT}
    report = check(place, discharging, allowed={"A": 11.0, "B": 4.0})
    (breach,) = report.breaches
    assert (breach.kind, breach.asset_id) == (BreachKind.PERMIT, "B")
    assert breach.worst == pytest.approx(1.0)
    assert check(place, [-1e-6] * 12, allowed={}).breaches[0].kind is BreachKind.PERMIT


def test_a_promise_that_the_replay_does_not_keep_is_a_breach() -> None:
    promise = EventPromise("event", (2, 3), (25.0, 18.0))
    report = check(world(energy=50.0), [0.0, 0.0, -11.0, -11.0] + [0.0] * 8, promises=(promise,))
    assert report.passed
    # Step 2 starts with 7 s of silence and a ramp, so its mean is above the 18 kW of step 3.
    delivered = report.event_net_kw["event"]
    assert delivered[1] == pytest.approx(18.0)
    assert delivered[0] == pytest.approx(18.0 + 22 * (7 + 11 / 3.3 / 2) / 900)
    late = EventPromise("event", (2,), (17.0,))
    broken = check(world(energy=50.0), [0.0, 0.0, -11.0] + [0.0] * 9, promises=(late,)).breaches[0]
    assert (broken.asset_id, broken.start) == ("event", START + timedelta(minutes=30))


def test_a_schedule_of_another_world_is_refused() -> None:
    place = world()
    with pytest.raises(ScheduleMismatch, match="ghost"):
        validate(place, Schedule(place.grid, ("ghost",), np.zeros((1, STEPS))))
    with pytest.raises(ScheduleMismatch, match="grid"):
        validate(place, Schedule(TimeGrid(START, 900, 4), ("A",), np.zeros((1, 4))))
    with pytest.raises(ScheduleMismatch, match="step 99"):
        check(place, 0.0, promises=(EventPromise("event", (99,), (1.0,)),))
