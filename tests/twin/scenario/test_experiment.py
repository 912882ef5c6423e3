"""A scenario as the engine takes it: columns, caps, events, models, replicas."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from twin.controllers import Uncontrolled
from twin.drivers.departures import AcnDepartures, ParametricDepartures, PerfectDepartures, RecordedDepartures
from twin.engine import run
from twin.faults import PUBLIC_CHARGING, FaultModel
from twin.replay import Uncontrolled as ReplayUncontrolled
from twin.replay import simulate
from twin.scenario import Experiment, load_scenario, resource_path

Write = Callable[..., Path]


def experiment(path: Path) -> Experiment:
    return load_scenario(path).experiment()


def test_columns_hold_what_the_visits_hold() -> None:
    scenario = load_scenario(resource_path("workplace_caltech.toml"))
    truth, table = scenario.truth(), scenario.experiment().visits
    ensemble = scenario.experiment().ensemble
    assert table.ids == tuple(visit.id for visit in truth.visits)
    assert table.replica is None
    for row, visit in enumerate(truth.visits):
        assert ensemble.evses[table.evse[row]].id == visit.evse_id
        assert ensemble.vehicles[table.vehicle[row]] == visit.vehicle
        assert truth.start + timedelta(seconds=table.arrival_s[row]) == visit.arrival
        assert truth.start + timedelta(seconds=table.departure_s[row]) == visit.departure
        assert truth.start + timedelta(seconds=table.declared_s[row]) == truth.declared[visit.id].departure
        assert (table.energy_kwh[row], table.target_kwh[row]) == (visit.energy_kwh, visit.target_kwh)
        consents = truth.declared[visit.id].v2g_consent
        assert table.floor_kwh[row] == (visit.floor_kwh if consents else visit.vehicle.battery.capacity_kwh)


def test_the_engine_gives_the_energies_of_the_replay() -> None:
    scenario = load_scenario(resource_path("workplace_caltech.toml"))
    ours = scenario.experiment()
    outcome = run(ours.ensemble, ours.visits, Uncontrolled())
    slow = simulate(scenario.truth().world(900), ReplayUncontrolled())
    expected = [slow.visits[name].imported_kwh for name in ours.visits.ids]
    assert outcome.visits.imported_kwh[np.argsort(outcome.visits.row)] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_visits_by_rule_are_redrawn_and_the_first_replica_is_the_truth(write: Write, base: str) -> None:
    scenario = load_scenario(write(base + "[run]\nreplicas = 3\n"))
    table = scenario.experiment().visits
    assert table.replica is not None
    for number in range(3):
        assert np.bincount(table.evse[table.replica == number]).tolist() == [3] * 12
    first = table.take(table.replica == 0)
    truth = scenario.truth()
    assert first.ids == tuple(visit.id for visit in truth.visits)
    for column in ("energy_kwh", "target_kwh"):
        assert getattr(first, column).tolist() == [getattr(visit, column) for visit in truth.visits]
    assert first.arrival_s.tolist() == [(visit.arrival - truth.start).total_seconds() for visit in truth.visits]
    assert first.departure_s.tolist() == [(visit.departure - truth.start).total_seconds() for visit in truth.visits]
    assert not set(first.energy_kwh) & set(table.energy_kwh[table.replica == 1])


def test_floor_and_car_of_a_visit_by_rule_are_those_of_its_truth(write: Write, base: str) -> None:
    both = ("renault-5-52", "nissan-leaf-40")
    cars = "".join(f'[[vehicles]]\nmodel = "{name}"\ncatalogue = "{name}"\n' for name in both)
    text = base.replace("ac-wallbox-11", "ac-bidirectional-11").replace("[[duties]]", cars + "[[duties]]")
    scenario = load_scenario(write(text + "[drivers]\nv2g_consent_share = 0.5\nfloor_soc = 0.3\n[run]\nreplicas = 2\n"))
    truth, ours = scenario.truth(), scenario.experiment()
    assert ours.visits.replica is not None
    first = ours.visits.take(ours.visits.replica == 0)
    consents = [truth.declared[name].v2g_consent for name in first.ids]
    assert {*consents} == {True, False}
    for row, (visit, gives) in enumerate(zip(truth.visits, consents, strict=True)):
        assert ours.ensemble.vehicles[first.vehicle[row]] == visit.vehicle
        assert ours.ensemble.evses[first.evse[row]].id == visit.evse_id
        assert first.floor_kwh[row] == (visit.floor_kwh if gives else visit.vehicle.battery.capacity_kwh)
    can = {visit.vehicle.model for visit, gives in zip(truth.visits, consents, strict=True) if gives}
    assert can == {"renault-5-52"}, "the only one that gives back over AC"


def test_fewer_replicas_are_the_first_of_more(write: Write, base: str) -> None:
    three = experiment(write(base)).with_replicas(3).visits
    two = experiment(write(base)).with_replicas(2)
    assert three.replica is not None
    assert two.ensemble.replicas == 2
    kept = three.take(three.replica < 2)
    assert kept.ids == two.visits.ids
    for column in ("arrival_s", "departure_s", "energy_kwh", "evse", "replica"):
        assert getattr(kept, column).tolist() == getattr(two.visits, column).tolist()


def test_visits_by_rule_may_stay_as_they_are(write: Write, base: str) -> None:
    ours = experiment(write(base + "[run]\nreplicas = 3\nredraw_duties = false\n"))
    assert (ours.ensemble.replicas, ours.visits.replica, len(ours.visits)) == (3, None, 36)


def test_another_seed_changes_drivers_and_faults_but_no_visit(write: Write, base: str) -> None:
    ours = experiment(write(base))
    other = ours.with_replicas(1, seed=7)
    assert (ours.seed, other.seed) == (0, 7)
    assert other.visits is ours.visits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", PerfectDepartures()),
        ("departures = 'acn'", AcnDepartures("pooled")),
        ("acn_site = 'jpl'", AcnDepartures("jpl")),
        ("departures = 'perfect'", PerfectDepartures()),
        ("departures = 'replay'", RecordedDepartures()),
        ("departures = 'parametric'\nlate_share = 0.2", ParametricDepartures(0.3, 120.0, 0.2, 60.0)),
    ],
)
def test_departures_are_of_the_model_that_is_named(write: Write, base: str, text: str, expected: object) -> None:
    ours = experiment(write(f"{base}[drivers]\n{text}\nno_show_share = 0.1\nretarget_factor = [0.8, 1.0]\n"))
    assert ours.drivers.departures == expected
    assert (ours.drivers.no_show_share, ours.drivers.retarget_factor) == (0.1, (0.8, 1.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("level = 0.05", FaultModel().swept(0.05)),
        ("down_mtbf_h = 100.0\ndown_mttr_h = 2", FaultModel(down_mtbf_h=100.0, down_mttr_h=2.0)),
        ("preset = 'public_charging'", PUBLIC_CHARGING),
        ("level = 0.2\nkinds = ['outage']\noutage_mttr_h = 0.5\nderated_to = [0.1, 0.2]",
         FaultModel(outage_mtbf_h=2.0, outage_mttr_h=0.5, derated_to=(0.1, 0.2))),
    ],
)
def test_faults_are_of_the_model_that_is_described(
    write: Write, base: str, text: str, expected: FaultModel | None
) -> None:
    found = experiment(write(f"{base}[faults]\n{text}\n")).faults
    if expected is None or found is None:
        assert found is expected
        return
    for name in FaultModel.__dataclass_fields__:
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name


def test_events_limit_the_steps_that_they_last(write: Write, base: str) -> None:
    event = """
[[events]]
id = "{id}"
start = 2025-03-28T{start}+01:00
end = 2025-03-28T{end}+01:00
{what}
notice_s = 600
"""
    text = base + event.format(id="later", start="14:00:00", end="14:45:00", what="max_net_kw = -5.0") + event.format(
        id="earlier", start="13:00:00", end="13:30:00", what="reduction_kw = 8.0"
    ) + event.format(id="off", start="16:00:00", end="17:00:00", what="max_net_kw = 1.0\nenabled = false")
    ours = experiment(write(text))
    earlier, later = ours.events
    assert (earlier.id, earlier.promised_kw, later.promised_kw) == ("earlier", 8.0, None)
    assert later.start - later.known_from == timedelta(minutes=10)
    limit = ours.event_limit_kw()
    # Steps of 15 min from 12:00: 14:00 to 14:45 are steps 8, 9 and 10.
    assert np.flatnonzero(np.isfinite(limit)).tolist() == [8, 9, 10]
    assert set(limit[8:11]) == {-5.0}


def test_the_sun_is_taken_off_the_building(write: Write, base: str) -> None:
    hours = ", ".join(str(abs(12 - hour)) for hour in range(24))
    text = f"[building]\nhourly_kw = [{', '.join(['10'] * 24)}]\n[pv]\nhourly_kw = [{hours}]\nscale = 2.0\n"
    load = experiment(write(base + text)).ensemble.base_load_kw[0]
    # Noon: the sun of this rule yields nothing then and 24 kW at midnight, joined by straight lines.
    assert load[0] == pytest.approx(10.0 - 2.0 * np.mean(np.arange(15) / 60.0))
    assert load[48] == pytest.approx(10.0 - 2.0 * np.mean(12 - np.arange(15) / 60.0))


def test_a_measured_load_is_meant_exactly_over_each_step(write: Write, base: str) -> None:
    write("time,power_kw\n2025-03-28T11:00:00+01:00,6\n2025-03-28T12:07:30+01:00,12\n", "load.csv")
    load = experiment(write(base + '[building]\nfile = "load.csv"\nscale = 0.5\n')).ensemble.base_load_kw[0]
    assert load[:2] == pytest.approx([4.5, 6.0])
    assert load[-1] == 6.0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("2025-03-28T13:00:00+01:00,6\n", "row 2, time.*or before"),
        ("2025-03-28T11:00:00+01:00,6\n2025-03-28T11:00:00+01:00,6\n", "row 3, time.*in order"),
        ("2025-03-28T11:00:00+01:00,-6\n", r"row 2, power_kw: -6\.0"),
        ("2025-03-28T11:00:00,6\n", "row 2, time.*with offset"),
    ],
)
def test_a_bad_row_of_a_load_is_named(write: Write, base: str, rows: str, said: str) -> None:
    write("time,power_kw\n" + rows, "load.csv")
    with pytest.raises(ValueError, match=said):
        load_scenario(write(base + '[building]\nfile = "load.csv"\n'))


def test_visits_that_outlast_the_scenario_are_dropped_or_kept(write: Write, base: str) -> None:
    short = base.replace("end = 2025-03-31T12:00:00+02:00", "end = 2025-03-31T06:00:00+02:00")
    dropped = load_scenario(write(short))
    assert (len(dropped.truth().visits), dropped.dropped) == (24, {"not over at the end (see run.unfinished)": 12})
    kept = load_scenario(write(short + '[run]\nunfinished = "keep"\n'))
    assert (len(kept.truth().visits), kept.dropped) == (36, {})
