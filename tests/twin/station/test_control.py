"""What a CSMS may ask of a station, on real sockets, and what the station does while nobody answers."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from twin.wire.ocpp import CallFailed

pytestmark = pytest.mark.anyio

VERSIONS = ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]
OLDEST_AND_NEWEST = ["ocpp1.6", "ocpp2.1"]  # where 2.0.1 shares every line with 2.1 and the test takes a second


def iso(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")


def profile_request(
    version: str, start: datetime, *periods: dict[str, Any], purpose: str = "TxDefaultProfile", number: int = 7,
    level: int = 1, **changes: Any,
) -> dict[str, Any]:
    schedule = {"chargingRateUnit": "W", "startSchedule": iso(start), "chargingSchedulePeriod": list(periods)}
    if version == "ocpp1.6":
        head: dict[str, Any] = {"chargingProfileId": number, "chargingSchedule": schedule}
    else:
        head = {"id": number, "chargingSchedule": [schedule | {"id": 1}]}
    body = head | {"stackLevel": level, "chargingProfilePurpose": purpose, "chargingProfileKind": "Absolute"} | changes
    return {"connectorId": 1, "csChargingProfiles": body} if version == "ocpp1.6" else (
        {"evseId": 1, "chargingProfile": body}
    )


async def charging(csms: Any) -> None:
    """Until energy has flowed for a while."""
    def told() -> bool:
        return any(s.get("status") == "Charging" for s in csms.of("StatusNotification")) or any(
            e["transactionInfo"].get("chargingState") == "Charging" for e in csms.of("TransactionEvent")
        )

    await csms.until(told)


@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
async def test_a_profile_is_followed_at_the_exact_instants_of_its_periods(
    csms: Any, emulate: Any, kit: Any, version: str
) -> None:
    """Meter energy over two hours of a three-step profile is exactly that of the profile."""
    start = kit.day + timedelta(minutes=10)
    running = await emulate(kit.fleet(kit.station(version, kit.visit(at_min=100, for_min=120))), factor=6000.0)
    await csms.until(lambda: csms.of("StatusNotification"))
    answer = await csms.peers["CA-1"].call("SetChargingProfile", profile_request(
        version, start, {"startPeriod": 0, "limit": 3000.0}, {"startPeriod": 8000, "limit": 0.0},
        {"startPeriod": 9000, "limit": 6000.0},
    ))
    assert answer["status"] == "Accepted"
    await csms.until(lambda: running.lines.facts("unplugged"))
    # Plugged from minute 100 to 220, so from second 5400 of the schedule to 12600; a car starts a little later.
    began = running.lines.facts("plugged")[0]
    left = running.lines.facts("unplugged")[0]
    start_message = csms.of("StartTransaction") or csms.events("Started")
    late_s = (datetime.fromisoformat(start_message[0]["timestamp"]) - start).total_seconds() - 5400
    expected_wh = 3000 * (2600 - late_s) / 3600 + 6000 * 3600 / 3600
    assert left["import_wh"] - began["import_wh"] == pytest.approx(expected_wh, abs=1.0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_negative_limit_is_rejected_and_nothing_changes(
    csms: Any, emulate: Any, kit: Any, version: str
) -> None:
    await emulate(kit.fleet(kit.station(version)), factor=1.0)
    await csms.until(lambda: csms.of("StatusNotification"))
    request = profile_request(version, kit.day, {"startPeriod": 0, "limit": -5000.0})
    assert (await csms.peers["CA-1"].call("SetChargingProfile", request))["status"] == "Rejected"
    rows = await composite(csms, version, 3600)
    assert rows == [{"startPeriod": 0, "limit": 6656.0}]


async def composite(csms: Any, version: str, duration: int) -> list[dict[str, Any]]:
    who = {"connectorId": 1} if version == "ocpp1.6" else {"evseId": 1}
    answer = await csms.peers["CA-1"].call("GetCompositeSchedule", who | {"duration": duration})
    assert answer["status"] == "Accepted"
    schedule: dict[str, Any] = answer["chargingSchedule" if version == "ocpp1.6" else "schedule"]
    rows: list[dict[str, Any]] = schedule["chargingSchedulePeriod"]
    return rows


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_cleared_profile_gives_way_to_what_lies_below(csms: Any, emulate: Any, kit: Any, version: str) -> None:
    await emulate(kit.fleet(kit.station(version)), factor=1.0)
    await csms.until(lambda: csms.of("StatusNotification"))
    peer = csms.peers["CA-1"]
    for level, limit in ((0, 2000.0), (3, 4000.0)):
        request = profile_request(version, kit.day, {"startPeriod": 0, "limit": limit}, number=level, level=level)
        assert (await peer.call("SetChargingProfile", request))["status"] == "Accepted"
    assert await composite(csms, version, 60) == [{"startPeriod": 0, "limit": 4000.0}]
    clear = {"id": 3} if version == "ocpp1.6" else {"chargingProfileId": 3}
    assert (await peer.call("ClearChargingProfile", clear))["status"] == "Accepted"
    assert (await peer.call("ClearChargingProfile", clear))["status"] == "Unknown"
    assert await composite(csms, version, 60) == [{"startPeriod": 0, "limit": 2000.0}]


async def test_21_discharges_on_a_central_set_point_and_counts_export(csms: Any, emulate: Any, kit: Any) -> None:
    running = await emulate(kit.fleet(kit.station("ocpp2.1", kit.visit(v2g=True, for_min=100), v2g=True)))
    started = (await csms.until(lambda: csms.events("Started")))[0]
    request = profile_request(
        "ocpp2.1", kit.day, {"startPeriod": 0, "setpoint": -8000.0, "operationMode": "CentralSetpoint"},
        purpose="TxProfile", transactionId=started["transactionInfo"]["transactionId"],
    )
    assert (await csms.peers["CA-1"].call("SetChargingProfile", request))["status"] == "Accepted"
    await csms.until(lambda: csms.events("Ended"))
    left = (await csms.until(lambda: running.lines.facts("unplugged")))[0]
    assert left["export_wh"] > 4000
    powers = [
        v["value"] for e in csms.events("Updated") for m in e["meterValue"] for v in m["sampledValue"]
        if v["measurand"] == "Power.Active.Export"
    ]
    assert 8000.0 in powers
    assert (await running.finish())["ledger_residual_relative"] < 1e-9


async def test_discharge_ends_by_itself_without_the_csms_and_the_fallback_holds(
    csms: Any, emulate: Any, kit: Any
) -> None:
    running = await emulate(kit.fleet(kit.station("ocpp2.1", kit.visit(v2g=True, for_min=800), v2g=True)))
    peer = (await csms.until(lambda: csms.events("Started") and csms.peers["CA-1"]))
    transaction_id = csms.events("Started")[0]["transactionInfo"]["transactionId"]
    fallback = profile_request("ocpp2.1", kit.day, {"startPeriod": 0, "limit": 2000.0}, number=1, level=0)
    plan = profile_request(
        "ocpp2.1", kit.day, {"startPeriod": 0, "setpoint": -8000.0, "operationMode": "CentralSetpoint"},
        purpose="TxProfile", transactionId=transaction_id, maxOfflineDuration=300, invalidAfterOfflineDuration=True,
    )
    for request in (fallback, plan):
        assert (await peer.call("SetChargingProfile", request))["status"] == "Accepted"
    await asyncio.sleep(0.2)
    running.process.command(b'{"type":"drop","station_id":"CA-1","hold_s":2.0}')
    lost = (await csms.until(lambda: running.lines.facts("station_offline")))[0]
    void = datetime.fromisoformat(lost["at"]) + timedelta(seconds=300)
    await csms.until(lambda: len(running.lines.facts("station_online")) == 2)
    again = datetime.fromisoformat(running.lines.facts("station_online")[1]["at"])
    for minute in running.lines.facts("minute"):
        begin = datetime.fromisoformat(minute["start"])
        if void - timedelta(seconds=240) <= begin < void - timedelta(seconds=60):
            assert minute["ev_kw"] == pytest.approx(-8.0)
        elif void <= begin < again + timedelta(minutes=10):
            assert minute["ev_kw"] == pytest.approx(2.0)
    assert again > void + timedelta(minutes=10), "the test saw both phases"
    rows = await composite(csms, "ocpp2.1", 600)
    assert rows == [{"startPeriod": 0, "limit": 2000.0}], "void for good"


@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
async def test_what_happened_without_the_line_is_delivered_in_order_with_its_own_times(
    csms: Any, emulate: Any, kit: Any, version: str
) -> None:
    """The CSMS is away while one car leaves and another comes: nothing lost, nothing doubled, nothing renamed."""
    visits = [kit.visit("a", at_min=1, for_min=29), kit.visit("b", at_min=35, for_min=60)]
    running = await emulate(kit.fleet(kit.station(version, *visits)), factor=2400.0)
    await charging(csms)
    await csms.stop()
    await csms.until(lambda: len(running.lines.facts("plugged")) == 2)
    before = len(csms.requests)
    await csms.start()
    await csms.until(lambda: len(csms.of("StopTransaction")) == 2 or len(csms.events("Ended")) == 2)
    requests = [r for r in csms.requests[before:] if r.action != "Heartbeat"]
    assert requests[0].action == "BootNotification"
    if version == "ocpp1.6":
        assert [(p["idTag"], p.get("transactionId")) for p in csms.of("StartTransaction")] == [
            ("token-a", None), ("token-b", None)]
        assert [p["transactionId"] for p in csms.of("StopTransaction")] == [42, 43]
        stop = csms.of("StopTransaction")[0]
        assert datetime.fromisoformat(stop["timestamp"]) == kit.day + timedelta(minutes=30)
        started = datetime.fromisoformat(csms.of("StartTransaction")[1]["timestamp"])
        assert started == kit.day + timedelta(minutes=35)
        # Meter values of the second car came after its start and carry the number the CSMS gave only then.
        names = [(r.action, r.payload.get("transactionId")) for r in requests]
        assert names.index(("StopTransaction", 42)) < names.index(("StartTransaction", None))
        assert names.index(("StartTransaction", None)) < names.index(("MeterValues", 43))
        return
    events = csms.of("TransactionEvent")
    by_transaction: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_transaction.setdefault(event["transactionInfo"]["transactionId"], []).append(event)
    assert len(by_transaction) == 2
    for own in by_transaction.values():
        # At most the message that was under way when the line broke comes twice, with the same number.
        numbers = [e["seqNo"] for e in own]
        assert sorted(set(numbers)) == list(range(max(numbers) + 1))
        assert numbers == sorted(numbers)
    first_end, second_start = csms.events("Ended")[0], csms.events("Started")[-1]
    assert datetime.fromisoformat(first_end["timestamp"]) == kit.day + timedelta(minutes=30)
    assert datetime.fromisoformat(second_start["timestamp"]) == kit.day + timedelta(minutes=35)
    assert first_end["offline"]
    assert second_start["offline"]


async def test_a_start_whose_answer_was_lost_is_sent_again_unchanged(csms: Any, emulate: Any, kit: Any) -> None:
    csms.deaf_to = "StartTransaction"
    running = await emulate(kit.fleet(kit.station("ocpp1.6", kit.visit())))
    await csms.until(lambda: csms.of("StartTransaction"))
    csms.deaf_to = None
    running.process.command(b'{"type":"drop","station_id":"CA-1"}')
    await csms.until(lambda: len(csms.of("StartTransaction")) > 1)
    first, again, *_ = csms.of("StartTransaction")
    assert first == again


async def test_configuration_keys_are_known_read_only_or_unknown(csms: Any, emulate: Any, kit: Any) -> None:
    await emulate(kit.fleet(kit.station("ocpp1.6")), factor=1.0)
    peer = await csms.until(lambda: csms.of("StatusNotification") and csms.peers["CA-1"])
    answer = await peer.call("GetConfiguration", {"key": ["NumberOfConnectors", "Nonsense"]})
    assert answer == {
        "configurationKey": [{"key": "NumberOfConnectors", "readonly": True, "value": "1"}], "unknownKey": ["Nonsense"],
    }
    for key, value, status in [
        ("MeterValueSampleInterval", "300", "Accepted"), ("MeterValueSampleInterval", "-1", "Rejected"),
        ("MeterValueSampleInterval", "soon", "Rejected"), ("NumberOfConnectors", "2", "Rejected"),
        ("Nonsense", "1", "NotSupported"),
    ]:
        assert (await peer.call("ChangeConfiguration", {"key": key, "value": value}))["status"] == status
    answer = await peer.call("GetConfiguration", {"key": ["MeterValueSampleInterval"]})
    assert answer["configurationKey"][0]["value"] == "300"


@pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])
async def test_variables_are_known_read_only_or_unknown(csms: Any, emulate: Any, kit: Any, version: str) -> None:
    await emulate(kit.fleet(kit.station(version)), factor=1.0)
    peer = await csms.until(lambda: csms.of("StatusNotification") and csms.peers["CA-1"])

    async def get(component: str, variable: str) -> str:
        answer = await peer.call("GetVariables", {
            "getVariableData": [{"component": {"name": component}, "variable": {"name": variable}}]})
        return str(answer["getVariableResult"][0]["attributeStatus"])

    async def write(component: str, variable: str, value: str) -> str:
        answer = await peer.call("SetVariables", {"setVariableData": [
            {"component": {"name": component}, "variable": {"name": variable}, "attributeValue": value}]})
        return str(answer["setVariableResult"][0]["attributeStatus"])

    assert await get("smartchargingctrlr", "ProfileStackLevel") == "Accepted"
    assert await get("SmartChargingCtrlr", "Nonsense") == "UnknownVariable"
    assert await get("Nonsense", "ProfileStackLevel") == "UnknownComponent"
    assert await write("SampledDataCtrlr", "TxUpdatedInterval", "120") == "Accepted"
    assert await write("SampledDataCtrlr", "TxUpdatedInterval", "never") == "Rejected"
    assert await write("EVSE", "Power", "1") == "Rejected"


async def test_installed_profiles_are_reported_as_they_came(csms: Any, emulate: Any, kit: Any) -> None:
    await emulate(kit.fleet(kit.station("ocpp2.1")), factor=1.0)
    peer = await csms.until(lambda: csms.of("StatusNotification") and csms.peers["CA-1"])
    ask = {"requestId": 5, "chargingProfile": {"stackLevel": 1}}
    assert (await peer.call("GetChargingProfiles", ask))["status"] == "NoProfiles"
    request = profile_request("ocpp2.1", kit.day, {"startPeriod": 0, "limit": 3000.0})
    await peer.call("SetChargingProfile", request)
    assert (await peer.call("GetChargingProfiles", ask))["status"] == "Accepted"
    report = (await csms.until(lambda: csms.of("ReportChargingProfiles")))[0]
    assert report["requestId"] == 5
    assert report["chargingProfile"] == [request["chargingProfile"]]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_triggered_message_comes(csms: Any, emulate: Any, kit: Any, version: str) -> None:
    await emulate(kit.fleet(kit.station(version)), factor=1.0)
    peer = await csms.until(lambda: csms.of("StatusNotification") and csms.peers["CA-1"])
    for action in ("StatusNotification", "MeterValues", "Heartbeat", "BootNotification"):
        csms.requests.clear()
        assert (await peer.call("TriggerMessage", {"requestedMessage": action}))["status"] == "Accepted"
        await csms.until(lambda action=action: csms.of(action))


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_the_station_does_not_do_is_answered_with_not_implemented(
    csms: Any, emulate: Any, kit: Any, version: str
) -> None:
    await emulate(kit.fleet(kit.station(version)), factor=1.0)
    peer = await csms.until(lambda: csms.of("StatusNotification") and csms.peers["CA-1"])
    with pytest.raises(CallFailed) as refused:
        await peer.call("ClearCache", {})
    assert refused.value.code == "NotImplemented"


@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
async def test_a_reset_ends_the_transaction_boots_again_and_starts_a_new_one(
    csms: Any, emulate: Any, kit: Any, version: str
) -> None:
    await emulate(kit.fleet(kit.station(version, kit.visit())))
    await charging(csms)
    kind = "Soft" if version == "ocpp1.6" else "Immediate"
    assert (await csms.peers["CA-1"].call("Reset", {"type": kind}))["status"] == "Accepted"
    await csms.until(lambda: len(csms.of("StartTransaction") or csms.events("Started")) == 2)
    assert len(csms.of("BootNotification")) == 2
    ends = csms.of("StopTransaction") or csms.events("Ended")
    assert len(ends) == 1


@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
async def test_a_station_taken_out_of_service_charges_nobody(csms: Any, emulate: Any, kit: Any, version: str) -> None:
    running = await emulate(kit.fleet(kit.station(version, kit.visit(at_min=60, for_min=300))))
    peer = await csms.until(lambda: csms.of("StatusNotification") and csms.peers["CA-1"])
    off, on = (
        ({"connectorId": 1, "type": "Inoperative"}, {"connectorId": 1, "type": "Operative"}) if version == "ocpp1.6"
        else ({"operationalStatus": "Inoperative"}, {"operationalStatus": "Operative"})
    )
    assert (await peer.call("ChangeAvailability", off))["status"] == "Accepted"
    await csms.until(lambda: running.lines.facts("plugged"))
    assert not csms.of("Authorize")
    assert (await peer.call("ChangeAvailability", on))["status"] == "Accepted"
    await csms.until(lambda: csms.of("StartTransaction") or csms.events("Started"))
    assert (await peer.call("ChangeAvailability", off))["status"] == "Scheduled"


@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
async def test_a_remote_stop_opens_the_contactor(csms: Any, emulate: Any, kit: Any, version: str) -> None:
    running = await emulate(kit.fleet(kit.station(version, kit.visit(for_min=120))))
    await charging(csms)
    if version == "ocpp1.6":
        request = ("RemoteStopTransaction", {"transactionId": 42})
    else:
        transaction_id = csms.events("Started")[0]["transactionInfo"]["transactionId"]
        request = ("RequestStopTransaction", {"transactionId": transaction_id})
    assert (await csms.peers["CA-1"].call(*request))["status"] == "Accepted"
    assert (await csms.peers["CA-1"].call(*request))["status"] == "Rejected"
    ended = await csms.until(lambda: csms.of("StopTransaction") or csms.events("Ended"))
    await csms.until(lambda: running.lines.facts("unplugged"))
    registers = {
        float(v["value"]) for m in ended[0].get("transactionData", ended[0].get("meterValue", []))
        for v in m["sampledValue"] if v["measurand"] == "Energy.Active.Import.Register"
    }
    assert running.lines.facts("unplugged")[0]["import_wh"] == max(registers)
