"""An independent judge: the `ocpp` package's own central system reads every message and asks in its own words."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from ocpp.routing import on
from ocpp.v16 import ChargePoint as ChargePoint16
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import ChargePoint as ChargePoint201
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.anyio


def now() -> str:
    return datetime.now(UTC).isoformat()


class Central16(ChargePoint16):
    """Schema validation of the package is on; a handler only runs for a message that passed it."""

    seen: list[str]

    @on("BootNotification")
    def boot(self, **_: Any) -> Any:
        self.seen.append("BootNotification")
        return result16.BootNotification(current_time=now(), interval=300, status="Accepted")

    @on("StatusNotification")
    def status(self, status: str, **_: Any) -> Any:
        self.seen.append(f"status {status}")
        return result16.StatusNotification()

    @on("Authorize")
    def authorize(self, **_: Any) -> Any:
        return result16.Authorize(id_tag_info={"status": "Accepted"})

    @on("StartTransaction")
    def start_transaction(self, **_: Any) -> Any:
        self.seen.append("StartTransaction")
        return result16.StartTransaction(transaction_id=7, id_tag_info={"status": "Accepted"})

    @on("MeterValues")
    def meter_values(self, **_: Any) -> Any:
        self.seen.append("MeterValues")
        return result16.MeterValues()

    @on("StopTransaction")
    def stop_transaction(self, **_: Any) -> Any:
        self.seen.append("StopTransaction")
        return result16.StopTransaction()

    async def set_profile(self) -> Any:
        return await self.call(call16.SetChargingProfile(1, {
            "chargingProfileId": 3, "stackLevel": 0, "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Absolute",
            "chargingSchedule": {"chargingRateUnit": "A", "startSchedule": "2019-07-15T13:00:00Z",
                                 "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}]},
        }))

    async def composite(self) -> Any:
        answer = await self.call(call16.GetCompositeSchedule(connector_id=1, duration=600))
        return answer.charging_schedule["charging_schedule_period"]


class Central201(ChargePoint201):
    seen: list[str]

    @on("BootNotification")
    def boot(self, **_: Any) -> Any:
        self.seen.append("BootNotification")
        return result201.BootNotification(current_time=now(), interval=300, status="Accepted")

    @on("StatusNotification")
    def status(self, connector_status: str, **_: Any) -> Any:
        self.seen.append(f"status {connector_status}")
        return result201.StatusNotification()

    @on("Authorize")
    def authorize(self, **_: Any) -> Any:
        return result201.Authorize(id_token_info={"status": "Accepted"})

    @on("TransactionEvent")
    def transaction_event(self, event_type: str, **_: Any) -> Any:
        self.seen.append(event_type)
        return result201.TransactionEvent()

    async def set_profile(self) -> Any:
        return await self.call(call201.SetChargingProfile(1, {
            "id": 3, "stackLevel": 0, "chargingProfilePurpose": "TxDefaultProfile", "chargingProfileKind": "Absolute",
            "chargingSchedule": [{"id": 1, "chargingRateUnit": "A", "startSchedule": "2019-07-15T13:00:00Z",
                                  "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}]}],
        }))

    async def composite(self) -> Any:
        answer = await self.call(call201.GetCompositeSchedule(duration=600, evse_id=1))
        return answer.schedule["charging_schedule_period"]


@pytest.mark.parametrize(("version", "central", "expected"), [
    ("ocpp1.6", Central16,
     {"BootNotification", "status Available", "status Preparing", "StartTransaction", "MeterValues", "status Charging",
      "StopTransaction"}),
    ("ocpp2.0.1", Central201,
     {"BootNotification", "status Available", "status Occupied", "Started", "Updated", "Ended"}),
])
async def test_every_message_of_a_session_passes_the_independent_validation(
    csms: Any, emulate: Any, kit: Any, caplog: Any, version: str, central: Any, expected: set[str]
) -> None:
    await csms.stop()
    seen: list[str] = []
    centrals: list[Any] = []

    async def handle(connection: ServerConnection) -> None:
        system = central("CA-1", connection)
        system.seen = seen
        centrals.append(system)
        with contextlib.suppress(ConnectionClosed):
            await system.start()

    async with serve(handle, "127.0.0.1", csms.port, subprotocols=[version]) as server:
        with caplog.at_level(logging.ERROR, logger="ocpp"):
            running = await emulate(kit.fleet(kit.station(version, kit.visit(for_min=40))))
            await csms.until(lambda: "BootNotification" in seen)
            assert (await centrals[0].set_profile()).status == "Accepted"
            assert (await centrals[0].composite())[0]["limit"] == pytest.approx(2080.0)  # 10 A at 208 V
            await csms.until(lambda: seen and {"StopTransaction", "Ended"} & set(seen))
            # The line is used by turns: with the next answer in, that of the last message of the session is in too.
            await csms.until(lambda: not running.process.stations["CA-1"].waiting_messages)
        summary = await running.finish()
        server.close(close_connections=True)
    assert expected <= set(seen)
    assert summary["dropped_messages"] == 0, "no message was answered with an error"
    assert not [record for record in caplog.records if record.name == "ocpp" and record.levelno >= logging.ERROR]
