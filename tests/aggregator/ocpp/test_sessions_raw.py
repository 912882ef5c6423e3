"""What stations say becomes events: transactions, meter values, states, the car's needs. Raw frames throughout."""

import json
from datetime import timedelta
from typing import Any

import pytest

from aggregator.ocpp.events import (
    ConnectorState,
    ConnectorStatus,
    EvNeeds,
    MeterSample,
    OcppVersion,
    TransactionEnded,
    TransactionStarted,
)

pytestmark = pytest.mark.anyio

AT = "2019-07-15T13:00:00Z"


def value(number: float, measurand: str, unit: str | None = None, **more: Any) -> dict[str, Any]:
    sample = {"value": number, "measurand": measurand} | more
    return sample | ({"unitOfMeasure": {"unit": unit}} if unit else {})


def event(kind: str, sequence: int, *values: dict[str, Any], **more: Any) -> dict[str, Any]:
    info = {"transactionId": "tx-1"} | more.pop("info", {})
    payload = {"eventType": kind, "timestamp": AT, "triggerReason": "MeterValuePeriodic", "seqNo": sequence,
               "transactionInfo": info} | more
    return payload | ({"meterValue": [{"timestamp": AT, "sampledValue": list(values)}]} if values else {})


STARTED = event(
    "Started", 0, value(12.5, "Energy.Active.Import.Register", "kWh"), value(500, "Energy.Active.Export.Register"),
    evse={"id": 1, "connectorId": 1}, idToken={"idToken": "driver", "type": "ISO14443"},
)


async def test_a_2_1_session_from_start_to_end(bench: Any) -> None:
    station = await bench.station("S21", OcppVersion.V21)
    assert await station.ask("TransactionEvent", STARTED) == {"idTokenInfo": {"status": "Accepted"}}
    await station.ask("TransactionEvent", event(
        "Updated", 1, value(0, "Power.Active.Import", "W"), value(7.5, "Power.Active.Export", "kW"),
        value(12600, "Energy.Active.Import.Register"), value(900, "Energy.Active.Export.Register"),
        value(55, "SoC", "Percent"), info={"chargingState": "Charging"},
    ))
    await station.ask("TransactionEvent", event(
        "Ended", 2, value(13, "Energy.Active.Import.Register", "kWh", context="Transaction.End"),
        value(1, "Energy.Active.Export.Register", "kWh"), info={"stoppedReason": "EVDisconnected"},
    ))
    start = bench.events.of(TransactionStarted)[0]
    assert (start.evse_id, start.transaction_id, start.id_token) == ("E21", "tx-1", "driver")
    assert (start.import_wh, start.export_wh) == (12500.0, 500.0)
    sample = bench.events.of(MeterSample)[1]
    assert sample == MeterSample("E21", "tx-1", bench.clock.now(), -7.5, 12600.0, 900.0, 0.55)
    assert bench.events.of(ConnectorStatus)[0].state is ConnectorState.DISCHARGING
    end = bench.events.of(TransactionEnded)[0]
    assert (end.import_wh, end.export_wh, end.reason) == (13000.0, 1000.0, "EVDisconnected")


async def test_a_repeated_event_of_a_transaction_is_answered_and_ignored(bench: Any) -> None:
    station = await bench.station("S21", OcppVersion.V21)
    update = event("Updated", 1, value(1000, "Power.Active.Import"))
    for payload in (STARTED, STARTED, update, update, update):
        await station.ask("TransactionEvent", payload)
    again = await bench.station("S21", OcppVersion.V21)  # a reconnect repeats what was not acknowledged
    await again.ask("TransactionEvent", update)
    assert len(bench.events.of(TransactionStarted)) == 1
    assert [sample.power_kw for sample in bench.events.of(MeterSample)] == [None, 1.0]
    assert bench.gateway.counters.faults["repeated_event"] == 4


async def test_an_event_that_could_not_be_stored_is_taken_when_it_is_repeated(bench: Any) -> None:
    station = await bench.station("S201", OcppVersion.V201)
    bench.events.fail = True
    assert (await station.begin("TransactionEvent", STARTED))[2] == "InternalError"
    bench.events.fail = False
    await station.ask("TransactionEvent", STARTED)
    assert len(bench.events.of(TransactionStarted)) == 1


async def test_a_token_shown_after_plugging_in_is_told_with_the_same_transaction(bench: Any) -> None:
    station = await bench.station("S201", OcppVersion.V201)
    await station.ask("TransactionEvent", {k: v for k, v in STARTED.items() if k != "idToken"})
    await station.ask("TransactionEvent", event(
        "Updated", 1, triggerReason="Authorized", idToken={"idToken": "driver", "type": "ISO14443"}))
    assert [(start.transaction_id, start.id_token, start.import_wh) for start in bench.events.of(TransactionStarted)] \
        == [("tx-1", "", 12500.0), ("tx-1", "driver", 12500.0)]


async def test_what_the_car_says_of_itself_is_told_in_our_units(bench: Any) -> None:
    station = await bench.station("S21", OcppVersion.V21)
    answer = await station.ask("NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": {
        "requestedEnergyTransfer": "DC_BPT", "departureTime": "2019-07-15T23:30:00Z",
        "dcChargingParameters": {"evMaxCurrent": 30, "evMaxVoltage": 500, "evEnergyCapacity": 60000,
                                 "stateOfCharge": 40},
        "v2xChargingParameters": {"maxChargePower": 11000, "maxDischargePower": -10000, "targetSoC": 80,
                                  "evTargetEnergyRequest": 24000, "evMinEnergyRequest": 0,
                                  "evMinV2XEnergyRequest": -6000, "evMaxV2XEnergyRequest": 30000},
    }})
    assert answer == {"status": "Processing"}
    departure = bench.clock.now() + timedelta(hours=10, minutes=30)
    assert bench.events.of(EvNeeds) == [EvNeeds(
        "E21", bench.clock.now(), 0.4, 60.0, departure, 11.0, 10.0, True, target_soc=0.8, target_energy_kwh=24.0,
        min_energy_kwh=0.0, min_v2x_energy_kwh=-6.0,
    )]


async def test_needs_of_2_0_1_say_energy_and_departure_and_nothing_of_discharge(bench: Any) -> None:
    station = await bench.station("S201", OcppVersion.V201)
    answer = await station.ask("NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": {
        "requestedEnergyTransfer": "AC_three_phase", "departureTime": "2019-07-15T23:30:00Z",
        "acChargingParameters": {"energyAmount": 12000, "evMinCurrent": 6, "evMaxCurrent": 16, "evMaxVoltage": 400},
    }})
    assert answer == {"status": "Processing"}
    departure = bench.clock.now() + timedelta(hours=10, minutes=30)
    assert bench.events.of(EvNeeds) == [
        EvNeeds("E201", bench.clock.now(), departure=departure, target_energy_kwh=12.0)]


async def test_a_repeated_start_in_1_6_keeps_its_transaction_id(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    start = {"connectorId": 1, "idTag": "driver", "meterStart": 4200, "timestamp": AT}
    first, second = [await station.ask("StartTransaction", start) for _ in range(2)]
    assert first == second == {"transactionId": 1000, "idTagInfo": {"status": "Accepted"}}
    other = await station.ask("StartTransaction", start | {"timestamp": "2019-07-15T14:00:00Z"})
    assert other["transactionId"] == 1001


async def test_stop_in_1_6_finds_its_evse_by_transaction_even_after_our_restart(bench: Any) -> None:
    station = await bench.station("TWO", OcppVersion.V16)
    await station.ask("StartTransaction", {"connectorId": 2, "idTag": "d", "meterStart": 0, "timestamp": AT})
    stop = {"transactionId": 1000, "meterStop": 900, "timestamp": AT, "reason": "EVDisconnected", "transactionData": [
        {"timestamp": AT, "sampledValue": [{"value": "30", "measurand": "Energy.Active.Export.Register"}]}]}
    await station.ask("StopTransaction", stop)
    assert bench.events.of(TransactionEnded) == [
        TransactionEnded("TWO-B", "1000", bench.clock.now(), 900.0, 30.0, "EVDisconnected")]
    # A transaction that began before this process: unknown at first, then adopted from its meter values.
    unknown = {"transactionId": 77, "meterStop": 10, "timestamp": AT}
    assert (await station.begin("StopTransaction", unknown))[2] == "PropertyConstraintViolation"
    meter = [{"timestamp": AT, "sampledValue": [{"value": "5"}]}]
    await station.ask("MeterValues", {"connectorId": 1, "transactionId": 77, "meterValue": meter})
    await station.ask("StopTransaction", unknown)
    assert bench.events.of(TransactionEnded)[1].evse_id == "TWO-A"


async def test_a_meter_value_after_the_end_does_not_revive_the_session(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    await station.ask("StartTransaction", {"connectorId": 1, "idTag": "d", "meterStart": 0, "timestamp": AT})
    await station.ask("StopTransaction", {"transactionId": 1000, "meterStop": 9, "timestamp": AT})
    meter = [{"timestamp": AT, "sampledValue": [{"value": "9"}]}]
    await station.ask("MeterValues", {"connectorId": 1, "transactionId": 1000, "meterValue": meter})
    await station.ask("MeterValues", {"connectorId": 1, "meterValue": meter})
    assert [sample.transaction_id for sample in bench.events.of(MeterSample)] == ["1000", None]


async def test_meter_values_of_2_0_1_belong_to_the_running_transaction(bench: Any) -> None:
    station = await bench.station("S201", OcppVersion.V201)
    await station.ask("TransactionEvent", STARTED)
    meter = [{"timestamp": AT, "sampledValue": [value(3.3, "Power.Active.Import", "kW")]}]
    await station.ask("MeterValues", {"evseId": 1, "meterValue": meter})
    await station.ask("MeterValues", {"evseId": 0, "meterValue": meter})  # the station's main meter is not the EVSE's
    samples = bench.events.of(MeterSample)
    assert (samples[-1].transaction_id, samples[-1].power_kw, len(samples)) == ("tx-1", 3.3, 2)


async def test_a_meter_value_without_time_or_with_odd_samples_is_mended(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    good = {"value": " 7.2 ", "measurand": "Power.Active.Import", "unit": "kW"}
    odd = {"value": "50", "measurand": "Frequency", "unit": "Hz"}
    await station.ask("MeterValues", {"connectorId": 1, "meterValue": [{"sampledValue": [odd, good, odd]}]})
    await station.ask("MeterValues", {"connectorId": 1, "meterValue": [{"timestamp": "", "sampledValue": [good]}]})
    assert [(s.at, s.power_kw) for s in bench.events.of(MeterSample)] == [(bench.clock.now(), 7.2)] * 2
    assert bench.gateway.counters.wire.mended == 2
    # The time of a start identifies the transaction and is never guessed.
    start = {"connectorId": 1, "idTag": "d", "meterStart": 0}
    assert (await station.begin("StartTransaction", start))[2] == "OccurenceConstraintViolation"


async def test_a_long_serial_number_does_not_keep_a_station_out(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16, boot=False)
    answer = await station.ask("BootNotification", {
        "chargePointVendor": "V", "chargePointModel": "M", "chargePointSerialNumber": "x" * 26})
    assert answer["status"] == "Accepted"


async def test_a_fault_of_the_whole_station_concerns_every_evse(bench: Any) -> None:
    station = await bench.station("TWO", OcppVersion.V16)
    whole = {"connectorId": 0, "errorCode": "NoError"}
    await station.ask("StatusNotification", whole | {"status": "Available"})
    await station.ask("StatusNotification", whole | {"status": "Faulted"})
    assert [(s.evse_id, s.state) for s in bench.events.of(ConnectorStatus)] == [
        ("TWO-A", ConnectorState.FAULTED), ("TWO-B", ConnectorState.FAULTED)]


async def test_an_evse_that_was_never_commissioned_is_not_believed(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    start = {"connectorId": 7, "idTag": "d", "meterStart": 0, "timestamp": AT}
    assert (await station.begin("StartTransaction", start))[2] == "PropertyConstraintViolation"
    meter = [{"timestamp": AT, "sampledValue": [{"value": "9"}]}]
    await station.ask("MeterValues", {"connectorId": 7, "meterValue": meter})
    assert not bench.events.of(MeterSample)
    assert bench.gateway.counters.faults["meter_of_unknown_evse"] == 1


NOTICES: dict[str, dict[str, Any]] = {
    "SecurityEventNotification": {"type": "FirmwareUpdated", "timestamp": AT},
    "FirmwareStatusNotification": {"status": "Idle"},
    "NotifyEvent": {"generatedAt": AT, "seqNo": 0, "eventData": [{
        "eventId": 1, "timestamp": AT, "trigger": "Alerting", "actualValue": "1",
        "eventNotificationType": "HardWiredNotification", "component": {"name": "c"}, "variable": {"name": "v"}}]},
    "NotifyReport": {"requestId": 1, "generatedAt": AT, "seqNo": 0},
    "NotifyEVChargingSchedule": {"timeBase": AT, "evseId": 1, "chargingSchedule": {
        "id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1}]}},
}


@pytest.mark.parametrize("version", [OcppVersion.V201, OcppVersion.V21])
async def test_notices_of_2_x_are_acknowledged(bench: Any, version: OcppVersion) -> None:
    station = await bench.station("S201" if version is OcppVersion.V201 else "S21", version)
    for action, payload in NOTICES.items():
        await station.ask(action, payload)
    await station.ask("Authorize", {"idToken": {"idToken": "d", "type": "ISO14443"}})
    await station.ask("StatusNotification",
                      {"timestamp": AT, "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1})
    assert bench.events.of(ConnectorStatus)[0].state is ConnectorState.PREPARING
    assert bench.gateway.counters.messages_in[version.value, "NotifyReport"] == 1


async def test_the_log_holds_no_drivers_token(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="aggregator")
    caplog.set_level("DEBUG", logger="twin")
    station = await bench.station("S16", OcppVersion.V16)
    secret = "SECRETDRIVER"
    await station.ask("StartTransaction", {"connectorId": 1, "idTag": secret, "meterStart": 0, "timestamp": AT})
    await station.begin("StartTransaction", {"connectorId": "x", "idTag": secret, "meterStart": 0, "timestamp": AT})
    await station.begin("Authorize", {"idTag": secret * 9})
    bench.events.fail = True
    await station.begin("StartTransaction", {"connectorId": 1, "idTag": secret, "meterStart": 0, "timestamp": AT})
    assert caplog.records
    assert secret not in caplog.text
    assert secret not in json.dumps(station.requests)
