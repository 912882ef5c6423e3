"""Each criterion of success can fail, and fails for its own reason only."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.reports.day import DayFacts, PlanFact, StepSeries, VisitFact, WireFact, judge
from aggregator.reports.day.outcomes import Cause, ceiling_result, short_of


def failed(facts: DayFacts) -> list[str]:
    return [check.key for check in judge(facts).failed]


def with_net(day: DayFacts, start: datetime, seconds: float, kw: float) -> DayFacts:
    """The same day with other power at the connection point for some time."""
    middle = (day.net.edges_s[:-1] + day.net.edges_s[1:]) / 2
    inside = (middle >= start.timestamp()) & (middle < start.timestamp() + seconds)
    return replace(day, net=StepSeries(day.net.edges_s, np.where(inside, kw, day.net.kw)))


def with_visit(day: DayFacts, **changes: object) -> DayFacts:
    first, *others = day.visits
    return replace(day, visits=(replace(first, **changes), *others))  # type: ignore[arg-type]


def test_a_day_that_kept_every_promise_succeeds(day: DayFacts) -> None:
    verdict = judge(day)
    assert verdict.succeeded
    assert len(verdict.checks) == 6
    assert verdict.shorts == ()


def test_a_driver_short_because_of_the_signals_fails_the_day(day: DayFacts) -> None:
    facts = with_visit(day, delivered_kwh=13.7, paired_delivered_kwh=14.0)
    assert failed(facts) == ["no_short_by_grid_service"]
    assert judge(facts).shorts[0].cause is Cause.GRID_SERVICE


def test_a_driver_equally_short_without_the_signals_is_listed_but_does_not_fail_the_day(day: DayFacts) -> None:
    facts = with_visit(day, delivered_kwh=12.0, paired_delivered_kwh=12.1)
    verdict = judge(facts)
    assert verdict.succeeded
    assert [short.visit.evse_id for short in verdict.shorts] == [facts.visits[0].evse_id]
    assert verdict.shorts[0].cause is Cause.LEFT_EARLY


def test_a_short_driver_missing_from_the_paired_run_is_not_proven_innocent(day: DayFacts) -> None:
    assert failed(with_visit(day, delivered_kwh=12.0, paired_delivered_kwh=None)) == ["no_short_by_grid_service"]


def test_what_physics_did_not_allow_is_no_need(day: DayFacts) -> None:
    facts = with_visit(day, delivered_kwh=3.0, possible_kwh=3.1, paired_delivered_kwh=9.0)
    assert judge(facts).shorts == ()


@settings(max_examples=60)
@given(st.floats(0, 40), st.floats(0, 40), st.floats(0, 40), st.floats(0, 40))
def test_short_and_blame_follow_the_definition(requested: float, possible: float, got: float, paired: float) -> None:
    at = datetime.fromisoformat("2019-07-15T15:00:00+00:00")
    one = VisitFact("A", "ocpp1.6", at, at + timedelta(hours=2), at + timedelta(hours=2), requested, possible, got,
                    got, 0.0, paired)
    short = short_of(one)
    assert (short is not None) == (min(requested, possible) - got > 0.2)
    if short is not None:
        assert (short.cause is Cause.GRID_SERVICE) == (paired - got > 0.2)


def test_a_minute_above_the_cap_fails_the_day(day: DayFacts) -> None:
    facts = with_net(day, day.start + timedelta(hours=3), 60, 121.0)
    assert failed(facts) == ["cap_never_crossed"]


def test_ten_seconds_above_the_cap_within_a_minute_below_it_are_no_crossing(day: DayFacts) -> None:
    assert failed(with_net(day, day.start + timedelta(hours=3), 10, 140.0)) == []


def test_the_cap_is_not_judged_in_its_first_wall_second(day: DayFacts) -> None:
    assert failed(with_net(day, day.start, 470, 150.0)) == []  # 480 domain seconds are one wall second here
    assert failed(with_net(day, day.start, 600, 150.0)) == ["cap_never_crossed"]


def test_a_day_without_a_cap_on_record_fails(day: DayFacts) -> None:
    assert failed(replace(day, limits=day.limits[1:])) == ["cap_never_crossed"]


def test_a_mandatory_limit_crossed_in_its_first_minute_fails_the_day(day: DayFacts) -> None:
    limit = day.limits[1]
    assert failed(with_net(day, limit.start, 60, 90.0)) == ["mandatory_limit_obeyed"]


def test_a_mandatory_limit_crossed_in_its_last_seconds_fails_the_day(day: DayFacts) -> None:
    limit = day.limits[1]
    facts = with_net(day, limit.end - timedelta(seconds=40), 40, 90.0)
    assert failed(facts) == ["mandatory_limit_obeyed"]


def test_power_before_and_after_a_mandatory_limit_is_free(day: DayFacts) -> None:
    limit = day.limits[1]
    facts = with_net(with_net(day, limit.start - timedelta(minutes=5), 300, 118.0), limit.end, 300, 118.0)
    assert failed(facts) == []


def test_a_day_without_a_mandatory_limit_fails(day: DayFacts) -> None:
    assert failed(replace(day, limits=day.limits[:1])) == ["mandatory_limit_obeyed"]


def test_a_limit_nobody_measured_was_not_shown_to_hold(day: DayFacts) -> None:
    limit = day.limits[1]
    facts = with_net(day, limit.start, 600, float("nan"))
    assert failed(facts) == ["mandatory_limit_obeyed"]
    assert ceiling_result(facts, limit).unmeasured >= 9


def test_a_day_whose_gate_never_refused_fails(day: DayFacts) -> None:
    plans = tuple(replace(plan, rounds=plan.rounds[-1:]) for plan in day.plans)
    assert failed(replace(day, plans=plans)) == ["gate_refused_then_passed"]


def test_a_refused_plan_that_ended_in_the_safe_plan_does_not_count(day: DayFacts) -> None:
    def gave_up(plan: PlanFact) -> PlanFact:
        return replace(plan, passed=False, status="safe") if len(plan.rounds) > 1 else plan

    assert failed(replace(day, plans=tuple(map(gave_up, day.plans)))) == ["gate_refused_then_passed"]


def test_a_day_without_real_discharge_in_the_event_fails(day: DayFacts) -> None:
    idle = {evse_id: series.clipped(low=0.0) for evse_id, series in day.evse_power.items()}
    assert failed(replace(day, evse_power=idle)) == ["discharged_during_event"]


def test_discharge_outside_the_event_is_not_discharge_in_it(day: DayFacts) -> None:
    moved = {
        evse_id: StepSeries(series.edges_s + 2 * 3600, series.kw) for evse_id, series in day.evse_power.items()
    }
    assert failed(replace(day, evse_power=moved)) == ["discharged_during_event"]


@pytest.mark.parametrize(("share", "keeps"), [(1.2, True), (1.0, True), (0.951, True), (0.94, False), (0.0, False)])
def test_a_quarter_hour_is_delivered_from_95_percent_on(day: DayFacts, share: float, keeps: bool) -> None:
    quarter = day.events[0].intervals[3]
    promised = quarter.baseline_kw - quarter.committed_net_kw
    facts = with_net(day, quarter.start, 900, quarter.baseline_kw - share * promised)
    assert failed(facts) == ([] if keeps else ["commitment_delivered"])


def test_an_event_nobody_measured_was_not_delivered(day: DayFacts) -> None:
    quarter = day.events[0].intervals[2]
    assert failed(with_net(day, quarter.start, 900, float("nan"))) == ["commitment_delivered"]


def test_nothing_promised_is_nothing_delivered(day: DayFacts) -> None:
    event = day.events[0]
    intervals = tuple(replace(one, committed_net_kw=one.baseline_kw) for one in event.intervals)
    assert failed(replace(day, events=(replace(event, intervals=intervals),))) == ["commitment_delivered"]


def test_a_day_without_an_event_fails_both_of_its_criteria(day: DayFacts) -> None:
    assert failed(replace(day, events=())) == ["discharged_during_event", "commitment_delivered"]


def wired(day: DayFacts, given_kwh: list[float], **changes: object) -> DayFacts:
    """The day with that energy given over the event at one EVSE each, all of them on the wire."""
    start, end = day.events[0].start, day.events[0].end
    hours = (end - start).total_seconds() / 3600.0
    edges = np.array([start.timestamp(), end.timestamp()])
    names = [f"W{k}" for k in range(len(given_kwh))]
    power = {name: StepSeries(edges, np.array([-kwh / hours])) for name, kwh in zip(names, given_kwh, strict=True)}
    facts = tuple(WireFact(name, "ISO 15118-20, DC_BPT, DynamicControl", 1) for name in names)
    return replace(day, evse_power={**day.evse_power, **power}, wire=facts, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("given_kwh", "keeps"), [
    ([4.0, 5.0, 6.0], True), ([4.0, 5.0, 6.0, 0.0], True), ([4.0, 5.0, 0.09], False), ([40.0, 5.0], False),
    ([-4.0, -5.0, -6.0], False),
])
def test_three_cars_on_the_wire_have_to_discharge(day: DayFacts, given_kwh: list[float], keeps: bool) -> None:
    assert failed(wired(day, given_kwh)) == ([] if keeps else ["wire_evs_discharged"])


def test_what_cars_on_the_wire_gave_is_shown_one_by_one_with_what_broke(day: DayFacts) -> None:
    facts = wired(day, [4.0, 5.0, 6.0])
    facts = replace(facts, wire=(replace(facts.wire[0], broken=2), *facts.wire[1:]))
    check = next(check for check in judge(facts).checks if check.key == "wire_evs_discharged")
    assert check.measured == (
        "W0 4.00 kWh, W1 5.00 kWh, W2 6.00 kWh (ISO 15118-20, DC_BPT, DynamicControl); 2 sessions broke")


def test_a_day_without_a_wire_is_not_judged_by_it(day: DayFacts) -> None:
    assert "wire_evs_discharged" not in [check.key for check in judge(day).checks]
