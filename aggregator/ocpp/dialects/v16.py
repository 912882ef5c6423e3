"""OCPP 1.6-J, with the security extension's notifications.

A transaction's id comes from us and is a number; export registers exist only inside meter values.
"""

from __future__ import annotations

from datetime import datetime

from aggregator.ocpp.dialects.answering import Answering, Payload
from aggregator.ocpp.dialects.base import Request, StationListener
from aggregator.ocpp.directory import EvseAddress
from aggregator.ocpp.events import ConnectorState, ProfileCommand, ProfilePeriod, Purpose
from aggregator.ocpp.profiles import (
    InexpressibleProfile,
    check_expressible,
    duration_s,
    profile_id,
    read_periods,
    stack_level,
    wire_periods,
)
from aggregator.ocpp.readings import Reading, amount_v16, parse_time, read_meter_values, write_time

_STATES = {
    "Available": ConnectorState.AVAILABLE,
    "Preparing": ConnectorState.PREPARING,
    "Charging": ConnectorState.CHARGING,
    "SuspendedEV": ConnectorState.SUSPENDED_EV,
    "SuspendedEVSE": ConnectorState.SUSPENDED_EVSE,
    "Finishing": ConnectorState.FINISHING,
    "Reserved": ConnectorState.UNAVAILABLE,
    "Unavailable": ConnectorState.UNAVAILABLE,
    "Faulted": ConnectorState.FAULTED,
}

_PURPOSES = {
    Purpose.FALLBACK: "TxDefaultProfile",
    Purpose.PLAN: "TxProfile",
    Purpose.STATION_MAX: "ChargePointMaxProfile",
}

_ACKNOWLEDGED = frozenset((
    "FirmwareStatusNotification", "DiagnosticsStatusNotification", "SecurityEventNotification",
    "LogStatusNotification", "SignedFirmwareStatusNotification",
))


class Dialect16(Answering):
    carries_discharge = False

    def __init__(self) -> None:
        super().__init__({
            "BootNotification": self._boot,
            "Authorize": self._authorize,
            "StatusNotification": self._status,
            "MeterValues": self._meter_values,
            "StartTransaction": self._start,
            "StopTransaction": self._stop,
        }, _ACKNOWLEDGED)

    async def _boot(self, listener: StationListener, payload: Payload) -> Payload:
        boot = await listener.booted(
            payload["chargePointVendor"], payload["chargePointModel"], payload.get("firmwareVersion")
        )
        return {"status": boot.status, "interval": boot.interval_s, "currentTime": write_time(listener.now())}

    async def _authorize(self, listener: StationListener, payload: Payload) -> Payload:
        accepted = await listener.authorize(payload["idTag"])
        return {"idTagInfo": {"status": "Accepted" if accepted else "Invalid"}}

    async def _status(self, listener: StationListener, payload: Payload) -> Payload:
        at = parse_time(payload["timestamp"]) if "timestamp" in payload else listener.now()
        # Connector 0 is the whole charge point (OCPP 1.6 section 4.9).
        await listener.status(payload["connectorId"] or None, _STATES[payload["status"]], at)
        return {}

    async def _meter_values(self, listener: StationListener, payload: Payload) -> Payload:
        if payload["connectorId"] > 0:  # 0 is the charge point's own main meter (section 4.7)
            readings = read_meter_values(payload["meterValue"], amount_v16)
            await listener.metered(payload["connectorId"], _transaction(payload), readings)
        return {}

    async def _start(self, listener: StationListener, payload: Payload) -> Payload:
        token, at = payload["idTag"], parse_time(payload["timestamp"])
        # A transaction that the station already runs is recorded whatever we think of its token (section 4.8).
        accepted = await listener.authorize(token)
        register = Reading(at, import_wh=float(payload["meterStart"]), export_wh=0.0)
        transaction_id = await listener.started(payload["connectorId"], None, token, at, register)
        return {
            "transactionId": int(transaction_id),
            "idTagInfo": {"status": "Accepted" if accepted else "Invalid"},
        }

    async def _stop(self, listener: StationListener, payload: Payload) -> Payload:
        transaction_id, at = str(payload["transactionId"]), parse_time(payload["timestamp"])
        readings = read_meter_values(payload.get("transactionData", ()), amount_v16)
        await listener.metered(None, transaction_id, readings)
        exported = next((reading.export_wh for reading in reversed(readings) if reading.export_wh is not None), None)
        register = Reading(at, import_wh=float(payload["meterStop"]), export_wh=exported)
        await listener.ended(None, transaction_id, at, register, payload.get("reason", "Local"))
        return {}

    def set_profile(self, command: ProfileCommand, address: EvseAddress) -> Request:
        check_expressible(command, bidirectional=False)
        start = command.periods[0].start
        schedule: Payload = {
            "chargingRateUnit": "W",
            "startSchedule": write_time(start),
            "chargingSchedulePeriod": [
                {"startPeriod": period.start_s, "limit": period.watts} for period in wire_periods(command)
            ],
        }
        if (seconds := duration_s(command)) is not None:
            schedule["duration"] = seconds
        profile: Payload = {
            "chargingProfileId": profile_id(address.evse_number, command.purpose),
            "stackLevel": stack_level(command.purpose),
            "chargingProfilePurpose": _PURPOSES[command.purpose],
            "chargingProfileKind": "Absolute",
            "validFrom": write_time(command.valid_from),
            "chargingSchedule": schedule,
        }
        if command.valid_to is not None:
            profile["validTo"] = write_time(command.valid_to)
        if command.purpose is Purpose.PLAN:
            if command.transaction_id is None:
                # A TxProfile needs a transaction; before it, the plan is the default above the fallback's level.
                profile["chargingProfilePurpose"] = "TxDefaultProfile"
            else:
                if not command.transaction_id.isdecimal():
                    raise InexpressibleProfile(f"transaction_id: {command.transaction_id!r}, expected a number")
                profile["transactionId"] = int(command.transaction_id)
        connector = 0 if command.purpose is Purpose.STATION_MAX else address.evse_number
        return Request("SetChargingProfile", {"connectorId": connector, "csChargingProfiles": profile})

    def clear_profile(self, purpose: Purpose, address: EvseAddress) -> Request:
        return Request("ClearChargingProfile", {"id": profile_id(address.evse_number, purpose)})

    def composite_schedule(self, address: EvseAddress, duration_s: int) -> Request:
        return Request(
            "GetCompositeSchedule",
            {"connectorId": address.evse_number, "duration": duration_s, "chargingRateUnit": "W"},
        )

    def read_composite(self, answer: Payload, now: datetime) -> tuple[ProfilePeriod, ...] | None:
        schedule = answer.get("chargingSchedule")
        # Several stations say Accepted and send no schedule.
        if answer["status"] != "Accepted" or schedule is None or schedule["chargingRateUnit"] != "W":
            return None
        start = answer.get("scheduleStart") or schedule.get("startSchedule")
        return read_periods(now if start is None else parse_time(start), schedule["chargingSchedulePeriod"])

    def trigger(self, message: str, address: EvseAddress | None) -> Request:
        payload: Payload = {"requestedMessage": message}
        if address is not None:
            payload["connectorId"] = address.evse_number
        return Request("TriggerMessage", payload)

    def report_profiles(self, address: EvseAddress, request_id: int) -> None:  # noqa: ARG002 - the Protocol's names
        return None


def _transaction(payload: Payload) -> str | None:
    number = payload.get("transactionId")
    # Stations write 0 or -1 while their StartTransaction is unanswered.
    return None if number is None or number <= 0 else str(number)

