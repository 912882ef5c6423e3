"""Profiles in every dialect: valid, read back as commanded, and never negative where that has no safe form."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ocpp import EvseAddress, GatewayOptions, InexpressibleProfile
from aggregator.ocpp.dialects import DIALECTS
from aggregator.ocpp.dialects.v2 import read_installed
from aggregator.ocpp.events import DeliveryState, OcppVersion, ProfileCommand, ProfilePeriod, Purpose
from aggregator.ocpp.profiles import profile_id, read_periods, slot_of
from aggregator.ocpp.readings import parse_time
from twin.wire.ocpp import check

START = parse_time("2019-07-15T13:00:00Z")
tenth_watts = st.integers(-110_000, 110_000).map(lambda tenths: tenths / 10_000)
charging = st.integers(0, 110_000).map(lambda tenths: tenths / 10_000)


@st.composite
def commands(draw: st.DrawFn, powers: st.SearchStrategy[float] = tenth_watts) -> ProfileCommand:
    purpose = draw(st.sampled_from(Purpose))
    start = START + timedelta(seconds=draw(st.integers(0, 100_000)), milliseconds=draw(st.integers(0, 999)))
    gaps = draw(st.lists(st.integers(1, 3600), max_size=40))
    starts = [start]
    for gap in gaps:
        starts.append(starts[-1] + timedelta(seconds=gap))
    periods = tuple(ProfilePeriod(when, draw(powers)) for when in starts)
    end: datetime | None = starts[-1] + timedelta(seconds=draw(st.integers(1, 7200)))
    if purpose is not Purpose.PLAN and draw(st.booleans()):
        end = None
    transaction = draw(st.none() | st.integers(1, 10**6).map(str)) if purpose is Purpose.PLAN else None
    return ProfileCommand("E", purpose, draw(st.integers(1, 10**6)), periods, start, end, transaction)


def address(version: OcppVersion, number: int = 1) -> EvseAddress:
    return EvseAddress("E", "S", number, version)


def negatives(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [found for inner in value.values() for found in negatives(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in negatives(inner)]
    return [value] if isinstance(value, int | float) and value < 0 else []


@settings(max_examples=150, deadline=None)
@given(commands(), st.sampled_from([OcppVersion.V16, OcppVersion.V201]), st.integers(1, 9))
def test_a_negative_power_never_leaves_towards_1_6_or_2_0_1(
    command: ProfileCommand, version: OcppVersion, number: int
) -> None:
    wanted_discharge = any(period.power_kw < 0 for period in command.periods)
    try:
        request = DIALECTS[version].set_profile(command, address(version, number))
    except InexpressibleProfile:
        assert wanted_discharge
    else:
        assert not wanted_discharge
        assert not negatives(request.payload)


@settings(max_examples=150, deadline=None)
@given(commands(), st.integers(1, 9))
def test_2_1_discharges_by_setpoint_alone_and_only_until_contact_is_lost(command: ProfileCommand, number: int) -> None:
    """OCPP 2.1 Q03.FR.02: CentralSetpoint has no limit; Q02.FR.02: charging-only has no set-point."""
    wanted_discharge = any(period.power_kw < 0 for period in command.periods)
    try:
        request = DIALECTS[OcppVersion.V21].set_profile(command, address(OcppVersion.V21, number))
    except InexpressibleProfile:
        # Discharge belongs to the plan of a running transaction, which always expires.
        assert wanted_discharge
        assert command.purpose is not Purpose.PLAN or command.transaction_id is None
        return
    check("ocpp2.1", "SetChargingProfile", "Request", request.payload, exact=True)
    profile = request.payload["chargingProfile"]
    periods = profile["chargingSchedule"][0]["chargingSchedulePeriod"]
    if wanted_discharge:
        assert {frozenset(period) for period in periods} == {frozenset(("startPeriod", "operationMode", "setpoint"))}
        assert {period["operationMode"] for period in periods} == {"CentralSetpoint"}
        assert (profile["maxOfflineDuration"], profile["invalidAfterOfflineDuration"]) == (300, True)
        assert profile["validTo"]
        assert profile["chargingSchedule"][0]["duration"] > 0
    else:
        assert {frozenset(period) for period in periods} == {frozenset(("startPeriod", "operationMode", "limit"))}
        assert {period["operationMode"] for period in periods} == {"ChargingOnly"}
        assert "invalidAfterOfflineDuration" not in profile


@settings(max_examples=150, deadline=None)
@given(commands(charging), st.sampled_from(OcppVersion), st.integers(1, 9))
def test_a_profile_is_valid_and_read_back_as_it_was_commanded(
    command: ProfileCommand, version: OcppVersion, number: int
) -> None:
    request = DIALECTS[version].set_profile(command, address(version, number))
    check(version.value, "SetChargingProfile", "Request", request.payload, exact=True)
    payload = request.payload
    if version is OcppVersion.V16:
        profile = payload["csChargingProfiles"]
        schedule = profile["chargingSchedule"]
        periods = read_periods(parse_time(schedule["startSchedule"]), schedule["chargingSchedulePeriod"])
        identifier, evse = profile["chargingProfileId"], payload["connectorId"]
        assert profile.get("transactionId") == (None if command.transaction_id is None else int(command.transaction_id))
        valid = (parse_time(profile["validFrom"]), "validTo" in profile and parse_time(profile["validTo"]))
        assert valid == (command.valid_from, command.valid_to or False)
        assert "recurrencyKind" not in profile
    else:
        installed = read_installed(payload["evseId"], payload["chargingProfile"])
        periods, identifier, evse = installed.periods, installed.profile_id, installed.evse_number
        assert installed.transaction_id == command.transaction_id
        assert (installed.valid_from, installed.valid_to) == (command.valid_from, command.valid_to)
        assert installed.version == command.version
        assert installed.purpose is command.purpose
    assert periods is not None
    assert [period.start for period in periods] == [period.start for period in command.periods]
    assert [period.power_kw for period in periods] == pytest.approx([p.power_kw for p in command.periods], abs=1e-9)
    assert slot_of(identifier) == (evse, command.purpose)
    assert evse == (0 if command.purpose is Purpose.STATION_MAX else number)


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(Purpose), st.sampled_from(Purpose))
def test_two_slots_never_share_a_profile_id(one: int, two: int, first: Purpose, second: Purpose) -> None:
    same = profile_id(one, first) == profile_id(two, second)
    assert same == ((first is second) and (one == two or first is Purpose.STATION_MAX))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"periods": ()}, "periods"),
        ({"periods": (ProfilePeriod(START, 1.0), ProfilePeriod(START, 2.0))}, "increasing"),
        ({"periods": (ProfilePeriod(START, float("nan")),)}, "finite"),
        ({"valid_to": None}, "expires"),
        ({"valid_to": START}, "valid_to"),
    ],
)
@pytest.mark.parametrize("version", list(OcppVersion))
def test_a_plan_that_makes_no_sense_is_refused(version: OcppVersion, change: dict[str, Any], complaint: str) -> None:
    base: dict[str, Any] = {
        "evse_id": "E", "purpose": Purpose.PLAN, "version": 1, "periods": (ProfilePeriod(START, 1.0),),
        "valid_from": START, "valid_to": START + timedelta(hours=1), "transaction_id": "5",
    }
    with pytest.raises(InexpressibleProfile, match=complaint):
        DIALECTS[version].set_profile(ProfileCommand(**(base | change)), address(version))


def test_periods_after_the_end_are_left_out_and_of_two_in_one_second_the_later_counts() -> None:
    end = START + timedelta(minutes=10)
    periods = (
        ProfilePeriod(START, 1.0), ProfilePeriod(START + timedelta(seconds=60.2), 2.0),
        ProfilePeriod(START + timedelta(seconds=60.4), 3.0), ProfilePeriod(end, 4.0),
    )
    command = ProfileCommand("E", Purpose.PLAN, 1, periods, START, end, "5")
    profile = DIALECTS[OcppVersion.V16].set_profile(command, address(OcppVersion.V16)).payload["csChargingProfiles"]
    assert profile["chargingSchedule"]["chargingSchedulePeriod"] == [
        {"startPeriod": 0, "limit": 1000.0}, {"startPeriod": 60, "limit": 3000.0}]
    assert profile["chargingSchedule"]["duration"] == 600


def plan(evse_id: str, *powers: float, version: int = 1) -> ProfileCommand:
    periods = tuple(ProfilePeriod(START + timedelta(minutes=15 * n), power) for n, power in enumerate(powers))
    return ProfileCommand(evse_id, Purpose.PLAN, version, periods, START, START + timedelta(hours=26), "5")


@pytest.mark.anyio
@pytest.mark.parametrize(("station_id", "version"), [("S16", OcppVersion.V16), ("S201", OcppVersion.V201)])
async def test_the_gateway_refuses_a_discharge_for_who_cannot_be_told(
    bench: Any, station_id: str, version: OcppVersion
) -> None:
    station = await bench.station(station_id, version)
    evse_id = "E" + station_id[1:]
    delivery = await bench.gateway.set_profile(plan(evse_id, 5.0, -5.0))
    assert delivery.state is DeliveryState.REJECTED
    assert "discharge" in delivery.detail
    assert delivery.sent_wall is None
    assert not station.requests
    assert not bench.gateway.can_discharge(evse_id)


@pytest.mark.anyio
async def test_a_station_commissioned_for_2_1_that_connects_with_less_cannot_discharge(bench: Any) -> None:
    assert bench.gateway.can_discharge("E21")
    station = await bench.station("S21", OcppVersion.V201)
    assert not bench.gateway.can_discharge("E21")
    assert (await bench.gateway.set_profile(plan("E21", -5.0))).state is DeliveryState.REJECTED
    assert not station.requests
    assert bench.gateway.counters.faults["version_unexpected"] == 1


@pytest.mark.anyio
async def test_a_2_1_station_receives_its_discharge_and_the_times_are_wall_times(bench: Any) -> None:
    station = await bench.station("S21", OcppVersion.V21)
    before = time.time()
    delivery = await bench.gateway.set_profile(plan("E21", 5.0, -5.0))
    assert delivery.state is DeliveryState.ACCEPTED
    assert delivery.sent_wall is not None
    assert delivery.answered_wall is not None
    assert before <= delivery.sent_wall <= delivery.answered_wall <= time.time()
    (action, payload), = station.requests
    assert action == "SetChargingProfile"
    assert negatives(payload) == [-5000.0]
    assert bench.gateway.counters.messages_out["ocpp2.1", "SetChargingProfile"] == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"status": "Rejected", "statusInfo": {"reasonCode": "NoProfile"}}, DeliveryState.REJECTED),
        ("NotImplemented", DeliveryState.NOT_SUPPORTED),
        ("NotSupported", DeliveryState.NOT_SUPPORTED),
        ("InternalError", DeliveryState.REJECTED),
        ({"status": "Nonsense"}, DeliveryState.REJECTED),
        (None, DeliveryState.TIMEOUT),
    ],
)
async def test_whatever_the_station_answers_is_in_the_delivery(bench: Any, answer: Any, state: DeliveryState) -> None:
    if answer is None:
        bench.gateway._options = type(bench.gateway._options)(call_timeout_s=0.1)
    station = await bench.station("S21", OcppVersion.V21)
    station.answers["SetChargingProfile"] = answer
    delivery = await bench.gateway.set_profile(plan("E21", 5.0))
    assert delivery.state is state
    assert (delivery.answered_wall is None) == (state is DeliveryState.TIMEOUT)
    assert bench.gateway.counters.deliveries[state.value] == 1


@pytest.mark.anyio
@pytest.mark.parametrize("options", [GatewayOptions(call_timeout_s=2.0)])
async def test_of_commands_that_wait_for_one_slot_only_the_newest_leaves(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    station.answers["TriggerMessage"] = None
    trigger = asyncio.create_task(bench.gateway.trigger("E16", "MeterValues"))
    await station.asked()  # from here on the station owes an answer, and nothing else may leave
    sending = [asyncio.create_task(bench.gateway.set_profile(plan("E16", float(n), version=n))) for n in (1, 2, 3)]
    deliveries = await asyncio.gather(*sending)
    assert (await trigger).state is DeliveryState.TIMEOUT
    assert [delivery.state for delivery in deliveries] == [
        DeliveryState.REJECTED, DeliveryState.REJECTED, DeliveryState.ACCEPTED]
    assert "superseded" in deliveries[0].detail
    sent = [payload for action, payload in station.requests if action == "SetChargingProfile"]
    limits = [p["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] for p in sent]
    assert limits == [3000.0]


@pytest.mark.anyio
@pytest.mark.parametrize(("station_id", "version"), [("S16", OcppVersion.V16), ("S21", OcppVersion.V21)])
async def test_clearing_what_is_not_there_is_no_failure(bench: Any, station_id: str, version: OcppVersion) -> None:
    station = await bench.station(station_id, version)
    station.answers["ClearChargingProfile"] = {"status": "Unknown"}
    delivery = await bench.gateway.clear_profile("E" + station_id[1:], Purpose.PLAN)
    assert delivery.state is DeliveryState.ACCEPTED
    field = "id" if version is OcppVersion.V16 else "chargingProfileId"
    assert station.requests == [("ClearChargingProfile", {field: profile_id(1, Purpose.PLAN)})]


COMPOSITE_16 = {"status": "Accepted", "connectorId": 1, "scheduleStart": "2019-07-15T13:00:00Z", "chargingSchedule": {
    "chargingRateUnit": "W", "duration": 3600, "chargingSchedulePeriod": [
        {"startPeriod": 0, "limit": 6600}, {"startPeriod": 900, "limit": 0}]}}
COMPOSITE_21 = {"status": "Accepted", "schedule": {
    "evseId": 1, "duration": 3600, "scheduleStart": "2019-07-15T13:00:00Z", "chargingRateUnit": "W",
    "chargingSchedulePeriod": [
        {"startPeriod": 0, "operationMode": "CentralSetpoint", "setpoint": -6600},
        {"startPeriod": 900, "operationMode": "Idle"}]}}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("station_id", "version", "answer", "powers"),
    [
        ("S16", OcppVersion.V16, COMPOSITE_16, [6.6, 0.0]),
        ("S21", OcppVersion.V21, COMPOSITE_21, [-6.6, 0.0]),
        ("S16", OcppVersion.V16, {"status": "Accepted"}, None),
        ("S16", OcppVersion.V16, {"status": "Rejected"}, None),
        ("S16", OcppVersion.V16, "NotSupported", None),
    ],
)
async def test_a_composite_schedule_is_read_in_kw_or_is_none(
    bench: Any, station_id: str, version: OcppVersion, answer: Any, powers: list[float] | None
) -> None:
    station = await bench.station(station_id, version)
    station.answers["GetCompositeSchedule"] = answer
    periods = await bench.gateway.composite_schedule("E" + station_id[1:], 3600)
    if powers is None:
        assert periods is None
    else:
        assert [period.power_kw for period in periods] == powers
        assert [period.start - START for period in periods] == [timedelta(0), timedelta(minutes=15)]


@pytest.mark.anyio
async def test_the_profiles_a_2_1_station_holds_are_read_over_several_reports(bench: Any) -> None:
    station = await bench.station("S21", OcppVersion.V21)
    asking = asyncio.create_task(bench.gateway.installed_profiles("E21"))
    await station.asked()
    request_id = station.requests[0][1]["requestId"]
    for number, command in enumerate((plan("E21", 3.0, -3.0, version=7), plan("E21", 4.0, version=8))):
        profile = DIALECTS[OcppVersion.V21].set_profile(command, address(OcppVersion.V21)).payload["chargingProfile"]
        await station.ask("ReportChargingProfiles", {
            "requestId": request_id, "chargingLimitSource": "CSO", "evseId": 1, "chargingProfile": [profile],
            "tbc": number == 0})
    held = await asking
    assert [(profile.version, profile.purpose) for profile in held] == [(7, Purpose.PLAN), (8, Purpose.PLAN)]
    assert [period.power_kw for period in held[0].periods] == [3.0, -3.0]


@pytest.mark.anyio
async def test_a_1_6_station_cannot_tell_its_profiles(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    assert await bench.gateway.installed_profiles("E16") is None
    assert not station.requests


@pytest.mark.parametrize("seconds", [10**12, 10**18, -(10**12)])
def test_a_schedule_beyond_the_calendar_says_nothing(seconds: int) -> None:
    assert read_periods(datetime(9999, 12, 31, tzinfo=UTC), [{"startPeriod": seconds, "limit": 1000.0}]) is None
