"""Composite schedules against a second-by-second reading of the profiles by an independent, slower hand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.station.clock import iso
from twin.station.profile_codec import Electrics, read_profile, write_composite
from twin.station.profiles import (
    ChargingProfile,
    Kind,
    Order,
    Period,
    ProfileRefused,
    ProfileStore,
    Purpose,
    Rating,
    TransactionView,
)

RATING = Rating(11.0, 11.0)
TX = TransactionView("tx-1", 50.0)
ELECTRICS = Electrics(208.0, 1)


def profile(profile_id: int, purpose: Purpose, level: int, *periods: Period, **changes: Any) -> ChargingProfile:
    return ChargingProfile(profile_id, purpose, level, Kind.ABSOLUTE, periods, **({"start": 0.0} | changes))


def brute_force(profiles: list[ChargingProfile], second: int, offline_since: float | None) -> tuple[float, bool]:
    """What a patient reader finds in the profiles for one second, straight from the words of the specification."""

    def periods_in_force(purpose: Purpose) -> list[tuple[int, Period]]:
        found = []
        for p in profiles:
            if p.purpose is not purpose or (p.purpose is Purpose.TX and p.transaction_id not in (None, TX.id)):
                continue
            if offline_since is not None and second >= offline_since + p.max_offline_s:
                continue
            if second < p.valid_from or second >= p.valid_to:
                continue
            origin = TX.start if p.start is None else p.start
            if second < origin:
                continue
            elapsed = second - origin
            while elapsed >= p.recurrency_s:
                elapsed -= p.recurrency_s
            if elapsed >= p.duration_s:
                continue
            begun = [row for row in p.periods if row.start_s <= elapsed]
            found.append((p.stack_level, begun[-1]))
        return sorted(found, key=lambda pair: pair[0])

    wanted, is_setpoint = RATING.charge_kw, False
    for purpose in (Purpose.TX_DEFAULT, Purpose.TX):
        if rows := periods_in_force(purpose):
            row = rows[-1][1]
            is_setpoint = row.setpoint_kw is not None
            wanted = row.setpoint_kw if row.setpoint_kw is not None else row.limit_kw
    top, bottom = RATING.charge_kw, -RATING.discharge_kw
    if rows := periods_in_force(Purpose.STATION_MAX):
        row = rows[-1][1]
        top = top if row.limit_kw is None else min(top, row.limit_kw)
        bottom = bottom if row.discharge_limit_kw is None else max(bottom, row.discharge_limit_kw)
    return max(bottom, min(top, wanted)), is_setpoint


limits = st.integers(0, 14).map(float)


@st.composite
def stacks(draw: st.DrawFn) -> list[ChargingProfile]:
    profiles: list[ChargingProfile] = []
    slots = draw(st.lists(
        st.tuples(st.sampled_from([Purpose.TX, Purpose.TX_DEFAULT, Purpose.STATION_MAX]), st.integers(0, 3)),
        unique=True, max_size=6,
    ))
    for number, (purpose, level) in enumerate(slots):
        starts = sorted({0, *draw(st.lists(st.integers(1, 120), max_size=4))})
        periods = []
        for start in starts:
            if purpose is Purpose.STATION_MAX:
                floor = draw(st.none() | limits.map(lambda kw: -kw))
                periods.append(Period(start, draw(limits), discharge_limit_kw=floor))
            elif draw(st.booleans()):
                periods.append(Period(start, setpoint_kw=draw(st.integers(-14, 14).map(float))))
            else:
                periods.append(Period(start, draw(limits)))
        begin = draw(st.integers(0, 200))
        profiles.append(ChargingProfile(
            id=number, purpose=purpose, stack_level=level, kind=Kind.ABSOLUTE, periods=tuple(periods),
            start=draw(st.none() | st.integers(-50, 200).map(float)),
            duration_s=draw(st.just(math.inf) | st.integers(1, 150).map(float)),
            valid_from=draw(st.just(-math.inf) | st.just(float(begin))),
            valid_to=draw(st.just(math.inf) | st.integers(begin + 1, begin + 150).map(float)),
            recurrency_s=draw(st.just(math.inf) | st.sampled_from([130.0, 170.0])),
            transaction_id=draw(st.sampled_from(["tx-1", "tx-0"])) if purpose is Purpose.TX else None,
            max_offline_s=draw(st.just(math.inf) | st.integers(0, 120).map(float)),
        ))
    return profiles


@settings(max_examples=80, deadline=None)
@given(stacks(), st.integers(0, 150), st.integers(1, 150), st.none() | st.integers(0, 150).map(float))
def test_the_composite_schedule_is_what_a_second_by_second_reader_finds(
    profiles: list[ChargingProfile], begin: int, duration: int, offline_since: float | None
) -> None:
    store = ProfileStore(RATING)
    store.profiles = profiles
    if offline_since is not None:
        store.go_offline(offline_since)
    merged = store.composite(float(begin), float(begin + duration), TX)
    assert merged[0][0] == begin
    assert all(a[1] != b[1] for a, b in pairwise(merged)), "equal neighbours are merged"
    for second in range(begin, begin + duration):
        order = [o for at, o in merged if at <= second][-1]
        assert (order.power_kw, order.is_setpoint) == brute_force(profiles, second, offline_since)


@settings(max_examples=80, deadline=None)
@given(stacks(), st.integers(0, 150), st.none() | st.integers(0, 150).map(float))
def test_between_boundaries_nothing_changes(
    profiles: list[ChargingProfile], begin: int, offline_since: float | None
) -> None:
    """A station that sleeps until the next boundary misses nothing."""
    store = ProfileStore(RATING)
    store.profiles = profiles
    if offline_since is not None:
        store.go_offline(offline_since)
    now = store.order_at(float(begin), TX)
    boundary = store.next_boundary(float(begin), TX)
    assert boundary > begin
    for second in range(begin, begin + 200):
        if second >= boundary:
            break
        assert store.order_at(float(second), TX) == now


def test_without_any_profile_the_full_rating_holds() -> None:
    assert ProfileStore(RATING).order_at(0.0, TX) == Order(11.0)


def test_a_transaction_profile_of_another_transaction_is_not_obeyed() -> None:
    store = ProfileStore(RATING)
    store.profiles = [profile(1, Purpose.TX, 5, Period(0.0, 3.0), transaction_id="other")]
    assert store.order_at(10.0, TX) == Order(11.0)


def test_a_profile_void_offline_is_back_when_the_line_is_unless_it_says_otherwise() -> None:
    store = ProfileStore(RATING)
    fallback = profile(1, Purpose.TX_DEFAULT, 0, Period(0.0, 4.0))
    pausing = profile(2, Purpose.TX_DEFAULT, 1, Period(0.0, 5.0), max_offline_s=300.0)
    dying = profile(3, Purpose.TX, 1, Period(0.0, setpoint_kw=-8.0), max_offline_s=300.0, invalid_after_offline=True)
    store.profiles = [fallback, pausing, dying]
    store.go_offline(1000.0)
    assert store.order_at(1299.9, TX) == Order(-8.0, is_setpoint=True)
    assert store.next_boundary(1000.0, TX) == 1300.0
    assert store.order_at(1300.0, TX) == Order(4.0)
    store.go_online(1400.0)
    assert store.order_at(1400.0, TX) == Order(5.0)
    assert [p.id for p in store.profiles] == [1, 2]


def test_a_short_loss_of_the_line_voids_nothing() -> None:
    store = ProfileStore(RATING)
    store.profiles = [profile(3, Purpose.TX, 1, Period(0.0, setpoint_kw=-8.0), max_offline_s=300.0)]
    store.go_offline(1000.0)
    store.go_online(1299.0)
    assert store.order_at(2000.0, TX) == Order(-8.0, is_setpoint=True)


def wire(version: str, *periods: dict[str, Any], unit: str = "W", **changes: Any) -> dict[str, Any]:
    schedule: dict[str, Any] = {
        "chargingRateUnit": unit, "startSchedule": iso(0.0), "chargingSchedulePeriod": list(periods),
    }
    if version == "ocpp1.6":
        head: dict[str, Any] = {"chargingProfileId": 7, "chargingSchedule": schedule}
    else:
        head = {"id": 7, "chargingSchedule": [schedule | {"id": 1}]}
    return head | {
        "stackLevel": 1, "chargingProfilePurpose": "TxDefaultProfile", "chargingProfileKind": "Absolute",
    } | changes


def read(version: str, raw: dict[str, Any], **changes: Any) -> ChargingProfile:
    arguments: dict[str, Any] = {
        "version": version, "evse_id": 1, "electrics": ELECTRICS, "rating": RATING, "now": 100.0, "transaction": TX,
    }
    return read_profile(raw, **arguments | changes)


@given(st.floats(-50_000, -0.1), st.sampled_from(["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]), st.sampled_from(["W", "A"]))
def test_a_negative_limit_is_refused_in_every_version(limit: float, version: str, unit: str) -> None:
    with pytest.raises(ProfileRefused):
        read(version, wire(version, {"startPeriod": 0, "limit": limit}, unit=unit))


@given(st.integers(-30_000, 30_000))
def test_a_set_point_of_21_survives_the_way_in_and_out(watts: int) -> None:
    raw = wire("ocpp2.1", {"startPeriod": 0, "setpoint": watts, "operationMode": "CentralSetpoint"})
    store = ProfileStore(RATING)
    store.put(read("ocpp2.1", raw), duplicate_level="refuse")
    rows = write_composite(store.composite(0.0, 10.0, TX), 0.0, "W", version="ocpp2.1", electrics=ELECTRICS)
    clipped = max(-11_000.0, min(11_000.0, watts))
    assert rows == [{"startPeriod": 0, "setpoint": clipped, "operationMode": "CentralSetpoint"}]


def test_ampere_are_converted_with_the_phases_of_the_evse() -> None:
    raw = wire("ocpp1.6", {"startPeriod": 0, "limit": 16.0}, unit="A")
    assert read("ocpp1.6", raw).periods[0].limit_kw == pytest.approx(3.328)
    assert Electrics(230.0, 3).kw(16.0, "A") == pytest.approx(11.04)
    assert Electrics(230.0, 3).kw(16.0, "A", 1) == pytest.approx(3.68)


FAULTS = [
    ("ocpp2.1", {"startPeriod": 0, "setpoint": -1000.0}, {}, "Q02: a set-point without CentralSetpoint"),
    ("ocpp2.1", {"startPeriod": 0, "setpoint": 0.0, "limit": 1.0, "operationMode": "CentralSetpoint"}, {}, "Q03.FR.02"),
    ("ocpp2.1", {"startPeriod": 0, "limit": 1.0, "operationMode": "Idle"}, {}, "Q10.FR.01"),
    ("ocpp2.1", {"startPeriod": 0, "limit": 1.0, "operationMode": "LocalFrequency"}, {}, "unsupported mode"),
    ("ocpp2.1", {"startPeriod": 0, "limit": 1.0}, {"chargingProfileKind": "Dynamic"}, "unsupported kind"),
    ("ocpp2.1", {"startPeriod": 0, "limit": 1.0}, {"chargingProfilePurpose": "PriorityCharging"}, "purpose"),
    ("ocpp2.0.1", {"startPeriod": 60, "limit": 1.0}, {}, "K01.FR.31: first period at 0"),
    ("ocpp2.0.1", {"startPeriod": 0, "limit": 1.0}, {"stackLevel": 99}, "stack level"),
    ("ocpp2.0.1", {"startPeriod": 0, "limit": 1.0}, {"validTo": iso(50.0)}, "already over"),
    ("ocpp2.0.1", {"startPeriod": 0, "limit": 1.0}, {"chargingProfilePurpose": "TxProfile"}, "K01.FR.03"),
    ("ocpp1.6", {"startPeriod": 0, "limit": 1.0}, {"chargingProfilePurpose": "ChargePointMaxProfile"}, "connector 0"),
    ("ocpp1.6", {"startPeriod": 0, "limit": 1.0}, {"chargingProfilePurpose": "TxProfile", "transactionId": 9}, "other"),
]


@pytest.mark.parametrize(("version", "period", "changes"), [f[:3] for f in FAULTS], ids=[f[3] for f in FAULTS])
def test_what_the_station_cannot_obey_it_refuses(
    version: str, period: dict[str, Any], changes: dict[str, Any]
) -> None:
    with pytest.raises(ProfileRefused):
        read(version, wire(version, period, **changes))


def test_a_charging_only_evse_refuses_a_discharge_set_point() -> None:
    raw = wire("ocpp2.1", {"startPeriod": 0, "setpoint": -1000.0, "operationMode": "CentralSetpoint"})
    with pytest.raises(ProfileRefused):
        read("ocpp2.1", raw, rating=Rating(11.0, 0.0))


def test_a_transaction_profile_needs_a_transaction() -> None:
    raw = wire("ocpp1.6", {"startPeriod": 0, "limit": 1.0}, chargingProfilePurpose="TxProfile")
    assert read("ocpp1.6", raw).transaction_id is None
    with pytest.raises(ProfileRefused):
        read("ocpp1.6", raw, transaction=None)


def test_the_same_level_twice_replaces_in_16_and_is_refused_in_2x() -> None:
    store = ProfileStore(RATING)
    store.put(profile(1, Purpose.TX_DEFAULT, 0, Period(0.0, 3.0)), duplicate_level="replace")
    rival = profile(2, Purpose.TX_DEFAULT, 0, Period(0.0, 5.0))
    with pytest.raises(ProfileRefused):
        store.put(rival, duplicate_level="refuse")
    store.put(rival, duplicate_level="replace")
    assert [p.id for p in store.profiles] == [2]
    store.put(profile(2, Purpose.TX_DEFAULT, 0, Period(0.0, 6.0)), duplicate_level="refuse")
    assert store.order_at(1.0, TX) == Order(6.0)
