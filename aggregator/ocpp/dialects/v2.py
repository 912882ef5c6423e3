"""OCPP 2.0.1 and 2.1, which share their words; 2.1 adds discharge.

2.1 writes a profile that discharges as CentralSetpoint periods with `setpoint` alone (Q03.FR.02), void after
300 s without contact; one that only charges as ChargingOnly periods with `limit` alone (Q02.FR.02).
"""

from __future__ import annotations

import math
from datetime import datetime

from aggregator.ocpp.dialects.answering import Answering, Payload
from aggregator.ocpp.dialects.base import CarNeeds, Request, StationListener
from aggregator.ocpp.directory import EvseAddress
from aggregator.ocpp.events import ConnectorState, ProfileCommand, ProfilePeriod, Purpose
from aggregator.ocpp.profiles import (
    MAX_OFFLINE_S,
    InstalledProfile,
    WirePeriod,
    check_expressible,
    discharges,
    duration_s,
    profile_id,
    read_periods,
    slot_of,
    stack_level,
    wire_periods,
)
from aggregator.ocpp.readings import Reading, amount_v2, parse_time, read_meter_values, write_time
from twin.wire.ocpp import CallRefused

_STATES = {
    "Available": ConnectorState.AVAILABLE,
    "Reserved": ConnectorState.UNAVAILABLE,
    "Unavailable": ConnectorState.UNAVAILABLE,
    "Faulted": ConnectorState.FAULTED,
}

_CHARGING_STATES = {
    "EVConnected": ConnectorState.PREPARING,
    "Charging": ConnectorState.CHARGING,
    "SuspendedEV": ConnectorState.SUSPENDED_EV,
    "SuspendedEVSE": ConnectorState.SUSPENDED_EVSE,
    "Idle": ConnectorState.FINISHING,
}

_PURPOSES = {
    Purpose.FALLBACK: "TxDefaultProfile",
    Purpose.PLAN: "TxProfile",
    Purpose.STATION_MAX: "ChargingStationMaxProfile",
}

_ACKNOWLEDGED = frozenset((
    "FirmwareStatusNotification", "LogStatusNotification", "SecurityEventNotification", "NotifyEvent",
    "NotifyReport", "NotifyMonitoringReport", "NotifyChargingLimit", "ClearedChargingLimit",
    "NotifyDisplayMessages", "NotifyCustomerInformation", "PublishFirmwareStatusNotification",
    "ReservationStatusUpdate", "NotifyDERAlarm", "NotifyDERStartStop", "NotifyPriorityCharging",
    "ReportDERControl",
))

_BIDIRECTIONAL = frozenset(("AC_BPT", "AC_BPT_DER", "DC_BPT", "DC_ACDP_BPT"))


class Dialect201(Answering):
    carries_discharge = False

    def __init__(self) -> None:
        super().__init__({
            "BootNotification": self._boot,
            "Authorize": self._authorize,
            "StatusNotification": self._status,
            "MeterValues": self._meter_values,
            "TransactionEvent": self._transaction_event,
            "NotifyEVChargingNeeds": self._charging_needs,
            "NotifyEVChargingSchedule": self._charging_schedule,
            "ReportChargingProfiles": self._profiles,
        }, _ACKNOWLEDGED)

    async def _boot(self, listener: StationListener, payload: Payload) -> Payload:
        station = payload["chargingStation"]
        boot = await listener.booted(station["vendorName"], station["model"], station.get("firmwareVersion"))
        return {"status": boot.status, "interval": boot.interval_s, "currentTime": write_time(listener.now())}

    async def _authorize(self, listener: StationListener, payload: Payload) -> Payload:
        accepted = await listener.authorize(payload["idToken"]["idToken"])
        return {"idTokenInfo": {"status": "Accepted" if accepted else "Invalid"}}

    async def _status(self, listener: StationListener, payload: Payload) -> Payload:
        at = parse_time(payload["timestamp"])
        if payload["connectorStatus"] == "Occupied":
            await listener.plugged(payload["evseId"], at)
        else:
            await listener.status(payload["evseId"] or None, _STATES[payload["connectorStatus"]], at)
        return {}

    async def _meter_values(self, listener: StationListener, payload: Payload) -> Payload:
        if payload["evseId"] > 0:  # 0 is the station's main meter (OCPP 2.0.1 J01)
            await listener.metered(payload["evseId"], None, read_meter_values(payload["meterValue"], amount_v2))
        return {}

    async def _transaction_event(self, listener: StationListener, payload: Payload) -> Payload:
        transaction = payload["transactionInfo"]
        transaction_id, sequence = transaction["transactionId"], payload["seqNo"]
        token = payload.get("idToken", {}).get("idToken")
        answer: Payload = {}
        if token is not None:
            accepted = await listener.authorize(token)
            answer["idTokenInfo"] = {"status": "Accepted" if accepted else "Invalid"}
        if listener.is_repeat(transaction_id, sequence):
            return answer
        at = parse_time(payload["timestamp"])
        # Only the first event of a transaction must name its EVSE (E01.FR.16).
        number = payload["evse"]["id"] if "evse" in payload else listener.evse_number_of(transaction_id)
        readings = read_meter_values(payload.get("meterValue", ()), amount_v2)
        if payload["eventType"] == "Started":
            if number is None:
                raise CallRefused("OccurrenceConstraintViolation", "evse: missing from the Started event")
            await listener.started(number, transaction_id, token or "", at, _register(readings, first=True))
        elif token is not None and number is not None and payload.get("triggerReason") == "Authorized":
            # The driver showed the token after plugging in (E03): the start is told again, now with it.
            await listener.started(number, transaction_id, token, at, _register(readings, first=True))
        await listener.metered(number, transaction_id, readings)
        if payload["eventType"] == "Ended":
            reason = transaction.get("stoppedReason", "Local")
            await listener.ended(number, transaction_id, at, _register(readings, first=False), reason)
        elif number is not None and (state := _charging_state(transaction, readings)) is not None:
            await listener.status(number, state, at)
        listener.taken(transaction_id, sequence)
        return answer

    async def _charging_needs(self, listener: StationListener, payload: Payload) -> Payload:
        at = parse_time(payload["timestamp"]) if "timestamp" in payload else listener.now()
        await listener.needs(payload["evseId"], _needs(payload["chargingNeeds"]), at)
        # The profile follows when the plan is made and validated (OCPP 2.0.1 K15.FR.04).
        return {"status": "Processing"}

    async def _charging_schedule(self, _listener: StationListener, _payload: Payload) -> Payload:
        return {"status": "Accepted"}

    async def _profiles(self, listener: StationListener, payload: Payload) -> Payload:
        installed = [read_installed(payload["evseId"], profile) for profile in payload["chargingProfile"]]
        listener.profiles_reported(payload["requestId"], installed, more=payload.get("tbc", False))
        return {}

    def set_profile(self, command: ProfileCommand, address: EvseAddress) -> Request:
        check_expressible(command, bidirectional=self.carries_discharge)
        schedule: Payload = {
            "id": command.version,
            "chargingRateUnit": "W",
            "startSchedule": write_time(command.periods[0].start),
            "chargingSchedulePeriod": self._periods(command, wire_periods(command)),
        }
        if (seconds := duration_s(command)) is not None:
            schedule["duration"] = seconds
        profile: Payload = {
            "id": profile_id(address.evse_number, command.purpose),
            "stackLevel": stack_level(command.purpose),
            "chargingProfilePurpose": _PURPOSES[command.purpose],
            "chargingProfileKind": "Absolute",
            "validFrom": write_time(command.valid_from),
            "chargingSchedule": [schedule],
        }
        if command.valid_to is not None:
            profile["validTo"] = write_time(command.valid_to)
        if command.purpose is Purpose.PLAN:
            if command.transaction_id is None:
                # A TxProfile needs a transaction (K01.FR.03); before it, the plan is a default above the fallback.
                profile["chargingProfilePurpose"] = "TxDefaultProfile"
            else:
                profile["transactionId"] = command.transaction_id
        if discharges(command):
            profile["maxOfflineDuration"] = MAX_OFFLINE_S
            profile["invalidAfterOfflineDuration"] = True
        evse = 0 if command.purpose is Purpose.STATION_MAX else address.evse_number
        return Request("SetChargingProfile", {"evseId": evse, "chargingProfile": profile})

    def _periods(self, _command: ProfileCommand, periods: list[WirePeriod]) -> list[Payload]:
        return [{"startPeriod": period.start_s, "limit": period.watts} for period in periods]

    def clear_profile(self, purpose: Purpose, address: EvseAddress) -> Request:
        return Request("ClearChargingProfile", {"chargingProfileId": profile_id(address.evse_number, purpose)})

    def composite_schedule(self, address: EvseAddress, duration_s: int) -> Request:
        return Request(
            "GetCompositeSchedule", {"evseId": address.evse_number, "duration": duration_s, "chargingRateUnit": "W"}
        )

    def read_composite(self, answer: Payload, now: datetime) -> tuple[ProfilePeriod, ...] | None:  # noqa: ARG002 - the Protocol's names
        schedule = answer.get("schedule")
        if answer["status"] != "Accepted" or schedule is None or schedule["chargingRateUnit"] != "W":
            return None
        return read_periods(parse_time(schedule["scheduleStart"]), schedule["chargingSchedulePeriod"])

    def trigger(self, message: str, address: EvseAddress | None) -> Request:
        payload: Payload = {"requestedMessage": message}
        if address is not None:
            payload["evse"] = {"id": address.evse_number, "connectorId": 1}
        return Request("TriggerMessage", payload)

    def report_profiles(self, address: EvseAddress, request_id: int) -> Request:
        criterion = {"chargingLimitSource": ["CSO"]}
        return Request(
            "GetChargingProfiles",
            {"requestId": request_id, "evseId": address.evse_number, "chargingProfile": criterion},
        )


class Dialect21(Dialect201):
    carries_discharge = True

    def _periods(self, command: ProfileCommand, periods: list[WirePeriod]) -> list[Payload]:
        mode, field = ("CentralSetpoint", "setpoint") if discharges(command) else ("ChargingOnly", "limit")
        return [{"startPeriod": period.start_s, "operationMode": mode, field: period.watts} for period in periods]


def read_installed(evse_number: int, profile: Payload) -> InstalledProfile:
    """A profile as OCPP 2.x writes it, in our words; the first of its schedules counts."""
    schedule = profile["chargingSchedule"][0]
    slot = slot_of(profile["id"])
    start = schedule.get("startSchedule")
    in_watts = schedule["chargingRateUnit"] == "W" and start is not None
    return InstalledProfile(
        profile_id=profile["id"],
        evse_number=evse_number,
        purpose=slot[1] if slot is not None and slot[0] in (0, evse_number) else None,
        stack_level=profile["stackLevel"],
        periods=read_periods(parse_time(start), schedule["chargingSchedulePeriod"]) if in_watts else None,
        valid_from=parse_time(profile["validFrom"]) if "validFrom" in profile else None,
        valid_to=parse_time(profile["validTo"]) if "validTo" in profile else None,
        transaction_id=profile.get("transactionId"),
        version=schedule["id"] if slot is not None else None,
    )


def _register(readings: list[Reading], *, first: bool) -> Reading | None:
    ordered = readings if first else readings[::-1]
    return next((reading for reading in ordered if reading.import_wh is not None), None)


def _charging_state(transaction: Payload, readings: list[Reading]) -> ConnectorState | None:
    state = _CHARGING_STATES.get(transaction.get("chargingState", ""))
    power_kw = next((reading.power_kw for reading in reversed(readings) if reading.power_kw is not None), None)
    if state is ConnectorState.CHARGING and power_kw is not None and power_kw < 0:
        return ConnectorState.DISCHARGING  # OCPP has one word, Charging, for both directions
    return state


def _needs(needs: Payload) -> CarNeeds:
    dc, v2x = needs.get("dcChargingParameters", {}), needs.get("v2xChargingParameters", {})
    energy_wh = dc.get("energyAmount", needs.get("acChargingParameters", {}).get("energyAmount"))
    offered = {needs["requestedEnergyTransfer"], *needs.get("availableEnergyTransfer", ())}
    return CarNeeds(
        soc=_share(dc.get("stateOfCharge")),
        capacity_kwh=_kilo(dc.get("evEnergyCapacity")),
        departure=parse_time(needs["departureTime"]) if "departureTime" in needs else None,
        max_charge_kw=_amount(v2x.get("maxChargePower", dc.get("evMaxPower"))),
        max_discharge_kw=_amount(v2x.get("maxDischargePower")),
        bidirectional=not offered.isdisjoint(_BIDIRECTIONAL),
        target_soc=_share(v2x.get("targetSoC")),
        target_energy_kwh=_kilo(v2x.get("evTargetEnergyRequest", energy_wh)),
        min_energy_kwh=_kilo(v2x.get("evMinEnergyRequest")),
        min_v2x_energy_kwh=_kilo(v2x.get("evMinV2XEnergyRequest")),
    )


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100.0


def _kilo(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value / 1000.0


def _amount(value: float | None) -> float | None:
    # ISO 15118-20 writes discharge powers as amounts; a station that signs them means the same.
    kilo = _kilo(value)
    return None if kilo is None else abs(kilo)
