"""The fleet file and the clock file: what is wrong is named; the clock is the one the service reads."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.clock import ScaledClock, Segment, segments_through
from twin.assets import Battery, LossCurve, PowerCurve, Vehicle
from twin.station.clock import ClockFileError, ClockSegment, DomainClock, instant, iso
from twin.station.fleetfile import FleetFileError, VehicleSpec, decode_fleet, encode_fleet


def test_a_fleet_survives_the_file(kit: Any) -> None:
    fleet = kit.fleet(kit.station("ocpp2.1", kit.visit(v2g=True), v2g=True))
    assert decode_fleet(encode_fleet(fleet)) == fleet


def test_a_vehicle_survives_the_file() -> None:
    car = Vehicle(
        "Van", Battery(60.0, PowerCurve((0.0, 1.0), (50.0, 5.0)), None, LossCurve(0.2, 0.03, 0.001), 0.05, 0.95), 11.0
    )
    assert VehicleSpec.of(car).asset() == car


def broken(change: Any, kit: Any) -> bytes:
    raw = json.loads(encode_fleet(kit.fleet(kit.station("ocpp1.6", kit.visit("a"), kit.visit("b", at_min=700)))))
    change(raw)
    return json.dumps(raw).encode()


FAULTS = [
    (lambda raw: raw["stations"][0].update(version="ocpp1.5"), "$.stations[0].version"),
    (lambda raw: raw["stations"][0]["evse"].update(max_charge_kw=-1), "$.stations[0].evse.max_charge_kw"),
    (lambda raw: raw["stations"][0]["evse"].update(min_charge_kw=99), "$.stations[0].evse.min_charge_kw"),
    (lambda raw: raw["stations"][0].update(passwrod="x"), "passwrod"),
    (lambda raw: raw["stations"][0]["visits"][0].update(arrival="2019-07-15T13:00:00"), "$.stations[0].visits[0].arri"),
    (lambda raw: raw["stations"][0]["visits"][0].update(departure="2019-07-15T13:00:00Z"), "visits[0].departure"),
    (lambda raw: raw["stations"][0]["visits"][1].update(arrival="2019-07-15T14:00:00Z"), "visits[1].arrival"),
    (lambda raw: raw["stations"][0]["visits"][1].update(id="a"), "visits[1].id"),
    (lambda raw: raw["stations"][0]["visits"][0].update(energy_kwh=99.0), "visits[0].energy_kwh"),
    (lambda raw: raw["stations"][0]["visits"][0]["vehicle"]["charge"].update(soc=[0.0, 0.5, 0.4]), "visits[0].vehicle"),
    (lambda raw: raw["stations"].append(raw["stations"][0]), "$.stations[1].id"),
]


@pytest.mark.parametrize(("change", "field"), FAULTS, ids=[fault[1] for fault in FAULTS])
def test_a_fault_in_the_fleet_file_names_file_and_field(change: Any, field: str, kit: Any) -> None:
    with pytest.raises(FleetFileError) as fault:
        decode_fleet(broken(change, kit), "stations.json")
    assert str(fault.value).startswith("stations.json: ")
    assert field in str(fault.value)


DAY = datetime(2019, 7, 15, 13, tzinfo=UTC)
SEGMENTS = segments_through(1_700_000_000.0, DAY, 480.0, [(DAY + timedelta(hours=6), 20.0)])


@given(st.floats(-100.0, 5000.0))
def test_station_and_service_read_the_same_time_from_one_clock_file(offset: float) -> None:
    ours = DomainClock([ClockSegment(s.wall_start, s.domain_start, s.factor) for s in SEGMENTS])
    theirs = ScaledClock([Segment(s.wall_start, s.domain_start, s.factor) for s in SEGMENTS])
    wall = 1_700_000_000.0 + offset
    assert ours.at_wall(wall) == pytest.approx(theirs.at_wall(wall).timestamp(), abs=1e-3)
    when = theirs.at_wall(wall)
    assert ours.wall_at(when.timestamp()) == pytest.approx(theirs.wall_at(when), abs=1e-3)


@given(st.floats(0.0, 40_000.0), st.floats(0.5, 900.0))
def test_a_periodic_thing_never_jumps_over_a_change_of_the_factor(at_s: float, interval_s: float) -> None:
    clock = DomainClock([ClockSegment(s.wall_start, s.domain_start, s.factor) for s in SEGMENTS])
    at = DAY.timestamp() + at_s
    following = clock.next_tick(at, interval_s, 0.1)
    assert at < following <= clock.next_change(at)
    if following < clock.next_change(at):
        assert clock.wall_at(following) - clock.wall_at(at) >= 0.1 - 1e-4


def test_the_wall_clock_is_the_wall() -> None:
    clock = DomainClock.wall()
    before = time.time()
    assert before - 0.001 <= clock.now() <= time.time() + 0.001
    assert math.isinf(clock.next_change(clock.now()))


@pytest.mark.parametrize("content", [
    '{"segments": []}', "{}", "nonsense",
    '{"segments": [{"wall_start": 1, "domain_start": "2019-07-15T13:00:00Z", "factor": 0}]}',
    '{"segments": [{"wall_start": 1, "domain_start": "2019-07-15T13:00:00", "factor": 1}]}',
])
def test_a_faulty_clock_file_is_named(tmp_path: Any, content: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(content)
    with pytest.raises(ClockFileError, match=r"clock\.json: "):
        DomainClock.load(path)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - hypothesis wants them naive
def test_times_on_the_wire_come_back(when: datetime) -> None:
    at = when.replace(tzinfo=UTC).timestamp()
    assert iso(at).endswith("Z")
    assert instant(iso(at)) == pytest.approx(at, abs=0.0006)
