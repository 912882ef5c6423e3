"""A scenario as emulated stations: every car once, more stations as further rounds, and the right ones on the wire."""

from collections import Counter
from datetime import timedelta

import pytest

from aggregator.refusal import Refused
from aggregator.stations import fleet_of, on_the_wire
from twin.scenario import Scenario, load_scenario, resource_path
from twin.station.fleetfile import decode_fleet, encode_fleet


@pytest.fixture(scope="module")
def day() -> Scenario:
    return load_scenario(resource_path("workplace_caltech.toml"))


def test_every_station_and_visit_of_a_scenario_is_emulated_as_it_is(day: Scenario) -> None:
    fleet, truth = fleet_of(day, password_of=lambda name: f"secret-{name}"), day.truth()
    assert [(s.id, s.version, s.password) for s in fleet.stations] == [
        (s.id, s.protocol, f"secret-{s.id}") for s in day.public().stations]
    there = {visit.id: visit for station in fleet.stations for visit in station.visits}
    assert there.keys() == {visit.id for visit in truth.visits}
    for visit in truth.visits:
        spec = there[visit.id]
        assert (spec.arrival, spec.departure, spec.energy_kwh) == (visit.arrival, visit.departure, visit.energy_kwh)
        assert spec.vehicle.asset() == visit.vehicle
    assert {s.rail for s in fleet.stations} == {"fast"}
    assert decode_fleet(encode_fleet(fleet)) == fleet  # it is a file that stations take


def test_more_stations_than_a_scenario_has_are_further_rounds_with_names_and_cards_of_their_own(day: Scenario) -> None:
    fleet = fleet_of(day, count=75, protocol="ocpp2.1", later=timedelta(days=1))
    assert len({s.id for s in fleet.stations}) == 75
    assert {s.version for s in fleet.stations} == {"ocpp2.1"}
    visits = [visit for station in fleet.stations for visit in station.visits]
    assert max(Counter(visit.id for visit in visits).values()) == 1
    first = fleet.stations[0]
    again = next(s for s in fleet.stations if s.id == f"{first.id}-2")
    assert [v.arrival for v in again.visits] == [v.arrival for v in first.visits]
    assert {v.id_token for v in again.visits}.isdisjoint(v.id_token for v in first.visits)
    assert all(len(visit.id_token) <= 20 for visit in visits)
    assert fleet.end == day.truth().end + timedelta(days=1)
    assert decode_fleet(encode_fleet(fleet)) == fleet


def test_cars_on_the_wire_were_told_what_their_drivers_told_their_apps(day: Scenario) -> None:
    wire = on_the_wire(day, 3)
    fleet, truth = fleet_of(day, wire=wire), day.truth()
    wired = [station for station in fleet.stations if station.rail == "wire"]
    assert {station.id for station in wired} == wire
    for visit in (visit for station in wired for visit in station.visits):
        declared = truth.declared[visit.id]
        assert visit.told.departure == declared.departure
        assert visit.told.min_soc == declared.floor_soc
        assert visit.told.target_soc is not None
        wanted_kwh = visit.told.target_soc * visit.vehicle.capacity_kwh - visit.energy_kwh
        assert wanted_kwh == pytest.approx(declared.requested_kwh)


def test_the_wire_goes_first_to_bidirectional_stations_that_have_cars(day: Scenario) -> None:
    by_id, truth = {station.id: station for station in day.public().stations}, day.truth()
    busy = {visit.evse_id for visit in truth.visits}
    for wanted in (1, 5, 10):
        chosen = [by_id[name] for name in on_the_wire(day, wanted)]
        assert len(chosen) == wanted
        assert all(station.evse.max_discharge_kw > 0 and station.evse.id in busy for station in chosen)
    assert on_the_wire(day, 0) == frozenset()
    assert len(on_the_wire(day, 40, 50)) == 40


def test_more_on_the_wire_than_there_are_stations_is_refused(day: Scenario) -> None:
    with pytest.raises(Refused, match="--wire: 31, expected at most the number of stations, 30"):
        on_the_wire(day, 31)
