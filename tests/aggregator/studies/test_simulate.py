"""A scenario file in, figures out: everything checked against what can be reckoned by hand or from the tables."""

import re
from pathlib import Path

import numpy as np
import pytest

from aggregator.refusal import Refused
from aggregator.reports.simulation import CAUSES, SHORT_KWH, Cause
from aggregator.studies import control
from aggregator.studies.simulate import SimulationOptions, _told_once, simulate_scenario
from aggregator.studies.tables import visits_table
from tests.aggregator.studies.conftest import DAY, EVENT, scenario, visit

COMES_AND_GOES = visit("only", 1, "08:00", "16:00")


def write(folder: Path, text: str) -> Path:
    file = folder / "scenario.toml"
    file.write_text(text, "utf-8")
    return file


def run(folder: Path, text: str, **options: object) -> object:
    return simulate_scenario(write(folder, text), SimulationOptions(**options)).facts  # type: ignore[arg-type]


def cause_of(facts: object, name: str) -> Cause:
    return CAUSES[facts.visits.cause[facts.visits.label.index(name)]]


def test_a_lossless_car_alone_charges_what_it_asked_for(tmp_path: Path) -> None:
    facts = run(tmp_path, scenario(COMES_AND_GOES))
    assert facts.measures["ev_import_kwh"] == pytest.approx([22.0])
    assert facts.measures["peak_kw"] == pytest.approx([5.0 + 11.0])
    assert facts.measures["site_import_kwh"] == pytest.approx([12 * 5.0 + 22.0])
    assert facts.measures["short_drivers"] == [0]
    assert facts.visits.energy_kwh == pytest.approx([10.0 + 22.0])
    assert facts.residual <= 1e-9


def test_the_bands_of_a_site_hold_its_building_and_its_cars(day: Path) -> None:
    facts = simulate_scenario(day).facts
    for band in (facts.whole.net, facts.whole.ev, facts.whole.charge, facts.whole.discharge):
        assert (band.p10 <= band.p50).all()
        assert (band.p50 <= band.p90).all()
    mean = facts.whole.base_kw + facts.whole.charge.mean - facts.whole.discharge.mean
    np.testing.assert_allclose(facts.whole.net.mean, mean, atol=1e-9)


def test_a_stay_too_short_for_the_wish_is_called_that(tmp_path: Path) -> None:
    facts = run(tmp_path, scenario(visit("hasty", 1, "08:00", "09:00", wants_kwh=30.0)))
    assert cause_of(facts, "hasty") is Cause.STAY
    assert facts.visits.full_power_kwh == pytest.approx([10.0 + 11.0])


def test_leaving_before_full_power_could_be_done_is_called_that(tmp_path: Path) -> None:
    facts = run(tmp_path, scenario(visit("early", 1, "08:00", "09:00", says="12:00")))
    assert cause_of(facts, "early") is Cause.LEFT_EARLY


def test_a_cap_that_all_must_share_is_named(tmp_path: Path) -> None:
    three = [visit(f"v{k}", k, "08:00", "10:00", wants_kwh=20.0) for k in (1, 2, 3)]
    facts = run(tmp_path, scenario(*three, cap=16.0), control="edf")
    assert facts.measures["short_drivers"] == [2]
    assert {cause_of(facts, f"v{k}") for k in (1, 2, 3)} == {Cause.NONE, Cause.SHARED}


def test_a_broken_charger_is_named(tmp_path: Path) -> None:
    facts = run(tmp_path, scenario(COMES_AND_GOES, more="[faults]\ndown_mtbf_h = 0.01\ndown_mttr_h = 1000.0\n"))
    assert cause_of(facts, "only") is Cause.FAULT
    assert facts.occurrences["down"] >= 1


def test_an_event_is_the_cause_only_where_the_run_without_it_leaves_nobody_short(tmp_path: Path) -> None:
    needs_every_minute = visit("tight", 1, "10:00", "12:00", wants_kwh=22.0)
    always_short = visit("never", 2, "09:00", "09:30", wants_kwh=30.0)
    facts = run(tmp_path, scenario(always_short, needs_every_minute, more=EVENT), control="edf")
    assert cause_of(facts, "tight") is Cause.EVENT
    assert cause_of(facts, "never") is Cause.STAY
    assert facts.measures["event_short_drivers"] == [1]
    assert facts.measures["event_short_kwh"] == pytest.approx(facts.visits.event_kwh.sum())


def test_an_event_delivers_what_the_paired_runs_differ_by(tmp_path: Path) -> None:
    facts = run(tmp_path, scenario(COMES_AND_GOES.replace("08:00", "09:55"), more=EVENT), control="edf")
    (event,) = facts.events
    assert event.without_kw == pytest.approx(np.full((1, 4), 16.0))
    assert event.asked_net_kw == pytest.approx(np.full(4, 8.0))
    assert event.delivered_kwh(0.25) == pytest.approx([8.0])
    assert event.kept_share() == pytest.approx([1.0])


def test_uncontrolled_charging_delivers_nothing_and_the_report_does_not_pretend(tmp_path: Path) -> None:
    facts = run(tmp_path, scenario(COMES_AND_GOES.replace("08:00", "09:55"), more=EVENT))
    assert facts.events[0].delivered_kwh(0.25) == pytest.approx([0.0])
    assert facts.events[0].kept_share() == pytest.approx([0.0])


def test_cars_discharge_for_an_event_below_the_building_only_where_the_scenario_allows(tmp_path: Path) -> None:
    export = EVENT.replace("reduction_kw = 8.0", "max_net_kw = -4.0")
    full = visit("full", 1, "08:00", "17:00", soc=0.9, wants_kwh=0.0)
    for allowed, expected_kwh in (("true", 9.0), ("false", 0.0)):
        more = f'[control]\nname = "edf"\ndischarges = {allowed}\n' + export
        facts = run(tmp_path, scenario(full, more=more, current="dc"))
        assert facts.measures["ev_export_kwh"] == pytest.approx([expected_kwh])


def test_the_same_seed_gives_the_same_digest_and_another_seed_another(day: Path) -> None:
    digests = [simulate_scenario(day, SimulationOptions(seed=seed)).facts.digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_the_first_courses_do_not_depend_on_how_many_are_run(day: Path) -> None:
    # A reduction is asked from the median course, which depends on how many there are; a level does not.
    day.write_text(day.read_text("utf-8").replace("reduction_kw = 8.0", "max_net_kw = 10.0"), "utf-8")
    few, many = (simulate_scenario(day, SimulationOptions(replicas=n)).facts for n in (2, 5))
    assert few.measures["ev_import_kwh"] == pytest.approx(many.measures["ev_import_kwh"][:2])


def test_every_short_driver_has_one_cause_and_nobody_else_has(day: Path) -> None:
    visits = simulate_scenario(day).facts.visits
    is_short = visits.has_left & (visits.shortfall_kwh > SHORT_KWH)
    assert ((visits.cause != CAUSES.index(Cause.NONE)) == is_short).all()
    assert is_short.any()


def test_cars_that_have_not_left_at_the_end_are_counted_apart_and_have_no_cause(tmp_path: Path) -> None:
    # Three buses of a night that the scenario cuts at 18:00, each with 30 kWh to go, and one that left hungry before.
    night = [visit(f"v{k}", k, "17:00", "23:00", wants_kwh=30.0) for k in (1, 2, 3)]
    hungry = visit("hungry", 1, "08:00", "09:00", wants_kwh=30.0)
    more = '[control]\nname = "edf"\n'
    text = scenario(hungry, *night, more=more).replace("[run]", '[run]\nunfinished = "keep"')
    facts = run(tmp_path, text)
    assert facts.measures["short_drivers"] == [1]
    assert facts.measures["short_kwh"] == pytest.approx([30.0 - 11.0])
    assert facts.measures["plugged_in"] == [3]
    assert facts.measures["plugged_in_kwh"] == pytest.approx([3 * (30.0 - 11.0)])
    assert {cause_of(facts, f"v{k}") for k in (1, 2, 3)} == {Cause.NONE}
    departures = visits_table(facts)["departure"].to_pylist()
    assert [when is None for when in departures] == [False, True, True, True]


def test_a_stay_is_judged_by_its_own_end_even_beyond_that_of_the_scenario(tmp_path: Path) -> None:
    # Declared until midnight: full power would have done it by then, so leaving at 17:30 was what went wrong.
    facts = run(tmp_path, scenario(visit("late", 1, "17:00", "17:30", says="23:50", wants_kwh=30.0)))
    assert cause_of(facts, "late") is Cause.LEFT_EARLY


def test_drivers_short_because_of_the_event_are_those_short_with_it_and_not_without_it(day: Path) -> None:
    with_event = simulate_scenario(day, SimulationOptions(replicas=12)).facts
    day.write_text(day.read_text("utf-8").replace(EVENT, ""), "utf-8")
    without = simulate_scenario(day, SimulationOptions(replicas=12)).facts
    made_short = with_event.visits.is_short & ~without.visits.is_short
    assert made_short.any()
    counted = np.bincount(with_event.visits.replica[made_short], minlength=12)
    assert with_event.measures["event_short_drivers"].tolist() == counted.tolist()
    more = (with_event.visits.shortfall_kwh - without.visits.shortfall_kwh)[with_event.visits.has_left].sum()
    assert with_event.measures["event_short_kwh"].sum() == pytest.approx(more, abs=1e-9)


def test_an_assumption_that_author_and_importer_share_is_told_once() -> None:
    told = _told_once((
        "Sessions are recorded; energy is read as wanted.", "Energy is read as wanted.", "Other.", "Other.",
    ))
    assert told == ("Sessions are recorded; energy is read as wanted.", "Other.")


def test_control_on_the_command_line_wins_over_the_file(day: Path) -> None:
    facts = simulate_scenario(day, SimulationOptions(control="uncontrolled")).facts
    assert facts.control == "uncontrolled"
    with pytest.raises(Refused, match="--control: 'magic', expected one of"):
        simulate_scenario(day, SimulationOptions(control="magic"))


def test_a_bad_row_refuses_the_file_or_is_counted(tmp_path: Path) -> None:
    text = scenario(COMES_AND_GOES, visit("backwards", 2, "12:00", "11:00"))
    with pytest.raises(Refused, match="departure"):
        run(tmp_path, text)
    facts = run(tmp_path, text, skip_bad=True)
    assert len(facts.visits) == 1
    assert sum(facts.dropped.values()) == 1


def test_a_promise_to_hold_a_level_is_kept_exactly_where_the_level_is_held(tmp_path: Path) -> None:
    more = '[control]\nname = "edf"\n' + EVENT.replace("reduction_kw = 8.0", "max_net_kw = 9.0")
    text = scenario(*DAY, drivers="acn", more=more)
    facts = run(tmp_path, text, replicas=8)
    (event,) = facts.events
    net = event.without_kw - event.delivered_kw
    kept = event.delivered_kw >= event.promised_kw - 1e-9
    assert (kept == (net <= 9.0 + 1e-9)).all()
    assert kept.all()
    assert event.kept_share() == pytest.approx(np.ones(8))


@pytest.mark.parametrize("name", ["edf", "laxity", "proportional"])
def test_who_comes_between_steps_waits_for_the_next_one_only_where_that_is_asked_for(tmp_path: Path, name: str) -> None:
    late = visit("late", 1, "08:05", "09:05", wants_kwh=30.0)
    for between, expected_kwh in (("true", 11.0), ("false", 11.0 * 50 / 60)):
        facts = run(tmp_path, scenario(late, more=f'[control]\nname = "{name}"\nbetween_steps = {between}\n'))
        assert facts.measures["ev_import_kwh"] == pytest.approx([expected_kwh])


def test_a_run_tells_how_far_it_is_and_that_changes_nothing(day: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float, str]] = []
    often = simulate_scenario(day, SimulationOptions(replicas=60), progress=lambda *said: told.append(said)).facts
    between = [(share, where) for phase, share, where in told if phase == "run with the event" and 0.0 < share < 1.0]
    assert len(between) > 3
    assert all(re.fullmatch(r"\d\d:\d\d of the day", where) for _, where in between)
    monkeypatch.setattr(control, "_LEAST_VISITS", 10**9)
    assert simulate_scenario(day, SimulationOptions(replicas=60)).facts.digest == often.digest
