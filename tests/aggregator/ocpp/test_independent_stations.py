"""The gateway against charge points of the independent `ocpp` package, which validates both directions itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import ocpp.v16
import ocpp.v201
import pytest
from ocpp.routing import on
from websockets.exceptions import ConnectionClosed

from aggregator.ocpp.events import (
    DeliveryState,
    MeterSample,
    OcppVersion,
    ProfileCommand,
    ProfilePeriod,
    Purpose,
    StationBooted,
    TransactionEnded,
    TransactionStarted,
)

pytestmark = pytest.mark.anyio

AT = "2019-07-15T13:00:00Z"


class Station16(ocpp.v16.ChargePoint):  # type: ignore[misc]
    profiles: list[tuple[int, dict[str, Any]]]

    @on("SetChargingProfile")
    def on_profile(self, connector_id: int, cs_charging_profiles: dict[str, Any]) -> Any:
        self.profiles.append((connector_id, cs_charging_profiles))
        return ocpp.v16.call_result.SetChargingProfile(status="Accepted")

    @on("GetCompositeSchedule")
    def on_composite(self, connector_id: int, duration: int, charging_rate_unit: str) -> Any:
        held = self.profiles[-1][1]["charging_schedule"]["charging_schedule_period"]
        periods = [{"start_period": p["start_period"], "limit": float(p["limit"])} for p in held]
        return ocpp.v16.call_result.GetCompositeSchedule(
            status="Accepted", connector_id=connector_id, schedule_start=AT,
            charging_schedule={"duration": duration, "charging_rate_unit": charging_rate_unit,
                               "charging_schedule_period": periods},
        )


class Station201(ocpp.v201.ChargePoint):  # type: ignore[misc]
    profiles: list[tuple[int, dict[str, Any]]]

    @on("SetChargingProfile")
    def on_profile(self, evse_id: int, charging_profile: dict[str, Any]) -> Any:
        self.profiles.append((evse_id, charging_profile))
        return ocpp.v201.call_result.SetChargingProfile(status="Accepted")


@asynccontextmanager
async def plugged_in(bench: Any, kind: type, station_id: str, version: OcppVersion) -> AsyncIterator[Any]:
    connection = await bench.open(station_id, version.value)
    station = kind(station_id, connection)
    station.profiles = []
    task = asyncio.create_task(station.start())
    try:
        yield station
    finally:
        await connection.close()
        with pytest.raises(ConnectionClosed):
            await task


async def test_a_1_6_charge_point_boots_starts_follows_meters_and_stops(bench: Any) -> None:
    call = ocpp.v16.call
    async with plugged_in(bench, Station16, "S16", OcppVersion.V16) as station:
        boot = await station.call(call.BootNotification(charge_point_model="Wall", charge_point_vendor="Independent"))
        assert boot.status == "Accepted"
        assert (await station.call(call.Heartbeat())).current_time.endswith("Z")
        await station.call(call.StatusNotification(connector_id=1, error_code="NoError", status="Preparing"))
        assert (await station.call(call.Authorize(id_tag="driver"))).id_tag_info["status"] == "Accepted"
        started = await station.call(call.StartTransaction(
            connector_id=1, id_tag="driver", meter_start=100, timestamp=AT))
        transaction = str(started.transaction_id)

        start = bench.clock.now()
        periods = (ProfilePeriod(start, 6.656), ProfilePeriod(start + timedelta(minutes=15), 1.2481))
        command = ProfileCommand(
            "E16", Purpose.PLAN, 3, periods, start, start + timedelta(hours=26), transaction)
        assert (await bench.gateway.set_profile(command)).state is DeliveryState.ACCEPTED
        (connector, profile), = station.profiles
        assert connector == 1
        assert profile["transaction_id"] == started.transaction_id
        assert (profile["charging_profile_purpose"], profile["stack_level"]) == ("TxProfile", 1)
        limits = [float(period["limit"]) for period in profile["charging_schedule"]["charging_schedule_period"]]
        assert limits == [6656.0, 1248.1]
        assert profile["charging_schedule"]["duration"] == 26 * 3600
        composite = await bench.gateway.composite_schedule("E16", 3600)
        assert composite is not None
        assert [period.power_kw for period in composite] == [6.656, 1.2481]

        await station.call(call.MeterValues(connector_id=1, transaction_id=started.transaction_id, meter_value=[
            {"timestamp": AT, "sampled_value": [
                {"value": "6650", "measurand": "Power.Active.Import", "unit": "W"}, {"value": "1200"}]}]))
        await station.call(call.StopTransaction(
            meter_stop=5100, timestamp=AT, transaction_id=started.transaction_id, reason="EVDisconnected"))
    assert bench.events.of(StationBooted)[0].vendor == "Independent"
    assert bench.events.of(TransactionStarted)[0].import_wh == 100.0
    assert bench.events.of(MeterSample)[0].power_kw == 6.65
    assert bench.events.of(MeterSample)[0].import_wh == 1200.0
    end = bench.events.of(TransactionEnded)[0]
    assert (end.transaction_id, end.import_wh, end.reason) == (transaction, 5100.0, "EVDisconnected")


async def test_a_2_0_1_charging_station_boots_starts_follows_meters_and_stops(bench: Any) -> None:
    call = ocpp.v201.call
    async with plugged_in(bench, Station201, "S201", OcppVersion.V201) as station:
        boot = await station.call(call.BootNotification(
            charging_station={"model": "Wall", "vendor_name": "Independent"}, reason="PowerUp"))
        assert boot.status == "Accepted"
        await station.call(call.StatusNotification(
            timestamp=AT, connector_status="Occupied", evse_id=1, connector_id=1))

        def register(wh: float) -> list[dict[str, Any]]:
            return [{"timestamp": AT, "sampled_value": [
                {"value": wh, "measurand": "Energy.Active.Import.Register", "unit_of_measure": {"unit": "Wh"}},
                {"value": 6.5, "measurand": "Power.Active.Import", "unit_of_measure": {"unit": "kW"}}]}]

        started = await station.call(call.TransactionEvent(
            event_type="Started", timestamp=AT, trigger_reason="Authorized", seq_no=0,
            transaction_info={"transaction_id": "abc"}, evse={"id": 1, "connector_id": 1},
            id_token={"id_token": "driver", "type": "ISO14443"}, meter_value=register(100)))
        assert started.id_token_info["status"] == "Accepted"

        start = bench.clock.now()
        command = ProfileCommand(
            "E201", Purpose.PLAN, 9, (ProfilePeriod(start, 6.656),), start, start + timedelta(hours=2), "abc")
        assert (await bench.gateway.set_profile(command)).state is DeliveryState.ACCEPTED
        fallback = ProfileCommand("E201", Purpose.FALLBACK, 1, (ProfilePeriod(start, 1.248),), start, None)
        assert (await bench.gateway.set_profile(fallback)).state is DeliveryState.ACCEPTED
        (evse, plan), (_, safe) = station.profiles
        assert (evse, plan["transaction_id"], plan["charging_profile_purpose"]) == (1, "abc", "TxProfile")
        assert (safe["stack_level"], safe["charging_profile_purpose"]) == (0, "TxDefaultProfile")
        assert "valid_to" not in safe
        assert "transaction_id" not in safe
        assert plan["id"] != safe["id"]

        await station.call(call.TransactionEvent(
            event_type="Ended", timestamp=AT, trigger_reason="EVDeparted", seq_no=1,
            transaction_info={"transaction_id": "abc", "stopped_reason": "EVDisconnected"},
            meter_value=register(4100)))
    assert bench.events.of(TransactionStarted)[0].import_wh == 100.0
    assert [sample.power_kw for sample in bench.events.of(MeterSample)] == [6.5, 6.5]
    end = bench.events.of(TransactionEnded)[0]
    assert (end.evse_id, end.transaction_id, end.import_wh) == ("E201", "abc", 4100.0)


async def test_a_2_0_1_station_without_smart_charging_is_not_supported(bench: Any) -> None:
    async with plugged_in(bench, ocpp.v201.ChargePoint, "S201", OcppVersion.V201):
        start = bench.clock.now()
        command = ProfileCommand("E201", Purpose.FALLBACK, 1, (ProfilePeriod(start, 1.0),), start, None)
        delivery = await bench.gateway.set_profile(command)
        assert delivery.state is DeliveryState.NOT_SUPPORTED
