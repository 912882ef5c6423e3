"""OCPP 1.6 as this station speaks it (core, smart charging, remote trigger)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from twin.station.clock import iso
from twin.station.dialects.base import Connector, Dialect, Payload
from twin.station.link import Message
from twin.station.outlet import Activity
from twin.station.profile_codec import schedule_start_text, write_composite
from twin.station.profiles import ProfileRefused, Purpose
from twin.station.session import EndReason, Sample, Transaction

_REASONS = {
    EndReason.EV_DISCONNECTED: "EVDisconnected",
    EndReason.REMOTE: "Remote",
    EndReason.DEAUTHORISED: "DeAuthorized",
    EndReason.RESET: "SoftReset",
}
_NO_SESSION = "SuspendedEVSE, EVCommunicationError"
"""A car that broke its session is no fault of the charge point (1.6 section 7.6 EVCommunicationError)."""

_STATUS = {
    Connector.AVAILABLE: "Available",
    Connector.PREPARING: "Preparing",
    Connector.FINISHING: "Finishing",
    Connector.UNAVAILABLE: "Unavailable",
    Connector.FAULTED: _NO_SESSION,
}
_PURPOSES = {
    "ChargePointMaxProfile": Purpose.STATION_MAX,
    "TxDefaultProfile": Purpose.TX_DEFAULT,
    "TxProfile": Purpose.TX,
}


def meter_value(sample: Sample, context: str) -> Payload:
    """One MeterValue: registers, power of both directions, SoC if known (1.6 section 7.33: values are text)."""
    rows: list[tuple[str, str, str]] = [
        ("Energy.Active.Import.Register", "Wh", str(sample.import_wh)),
        ("Energy.Active.Export.Register", "Wh", str(sample.export_wh)),
        ("Power.Active.Import", "W", f"{max(0.0, sample.power_kw) * 1000:.1f}"),
        ("Power.Active.Export", "W", f"{max(0.0, -sample.power_kw) * 1000:.1f}"),
    ]
    if sample.soc is not None:
        rows.append(("SoC", "Percent", f"{sample.soc * 100:.1f}"))
    return {
        "timestamp": iso(sample.at),
        "sampledValue": [
            {"value": value, "context": context, "measurand": name, "unit": unit} for name, unit, value in rows
        ],
    }


class Dialect16(Dialect):
    """See the module."""

    version: ClassVar[str] = "ocpp1.6"

    def handlers(self) -> dict[str, Callable[[Payload], Payload]]:
        return {
            "SetChargingProfile": self._set_charging_profile,
            "ClearChargingProfile": self._clear_charging_profile,
            "GetCompositeSchedule": self._get_composite_schedule,
            "TriggerMessage": self._trigger_message,
            "RemoteStopTransaction": self._remote_stop,
            "Reset": self._reset,
            "ChangeAvailability": self._change_availability,
            "GetConfiguration": self._get_configuration,
            "ChangeConfiguration": self._change_configuration,
            "DataTransfer": lambda _: {"status": "UnknownVendorId"},
        }

    # ------------------------------------------------------------------ what the station says

    def boot_request(self, reason: str) -> Payload:  # noqa: ARG002 - 1.6 does not say why
        spec = self.station.spec
        return {
            "chargePointVendor": spec.vendor, "chargePointModel": spec.model, "firmwareVersion": spec.firmware,
            "chargePointSerialNumber": spec.id[:25],
        }

    def status_word(self, connector: Connector, activity: Activity) -> str:
        if connector is not Connector.IN_TRANSACTION:
            return _STATUS[connector]
        return "Preparing" if activity is Activity.CONNECTED else activity.value

    def status(self, word: str, at: float) -> Message:
        status, _, error = word.partition(", ")
        return Message("StatusNotification", lambda: {
            "connectorId": 1, "errorCode": error or "NoError", "status": status, "timestamp": iso(at),
        })

    def authorize(self, id_token: str, done: Callable[[bool], None], failed: Callable[[str], None]) -> Message:
        return Message(
            "Authorize", lambda: {"idTag": id_token},
            answered=lambda answer: done(answer["idTagInfo"]["status"] == "Accepted"), failed=failed,
        )

    def started(self, transaction: Transaction, sample: Sample) -> list[Message]:
        def named(answer: Payload) -> None:
            transaction.csms_id = int(answer["transactionId"])
            self.station.transaction_named(transaction)
            self.station.transaction_judged(transaction, answer["idTagInfo"]["status"] == "Accepted")

        start = Message(
            "StartTransaction",
            lambda: {
                "connectorId": 1, "idTag": transaction.id_token, "meterStart": sample.import_wh,
                "timestamp": iso(sample.at),
            },
            durable=True,
            answered=named,
        )
        # StartTransaction has no export register and no SoC: a first meter value carries them.
        return [start, self.sampled(transaction, sample, "Transaction.Begin")]

    def sampled(self, transaction: Transaction, sample: Sample, context: str) -> Message:
        values = [meter_value(sample, context)]
        return Message(
            "MeterValues",
            lambda: None if transaction.csms_id is None
            else {"connectorId": 1, "transactionId": transaction.csms_id, "meterValue": values},
            durable=True,
            merge_key=(transaction.id, context) if context == "Sample.Periodic" else None,
            parts=values,
        )

    def activity_changed(
        self, transaction: Transaction, sample: Sample, activity: Activity  # noqa: ARG002 - StatusNotification tells it
    ) -> list[Message]:
        return []

    def ended(self, transaction: Transaction, sample: Sample, reason: EndReason) -> list[Message]:
        return [Message(
            "StopTransaction",
            lambda: None if transaction.csms_id is None else {
                "transactionId": transaction.csms_id, "idTag": transaction.id_token, "meterStop": sample.import_wh,
                "timestamp": iso(sample.at), "reason": _REASONS[reason],
                "transactionData": [
                    meter_value(transaction.began, "Transaction.Begin"), meter_value(sample, "Transaction.End"),
                ],
            },
            durable=True,
        )]

    # ------------------------------------------------------------------ what the CSMS asks

    def _set_charging_profile(self, request: Payload) -> Payload:
        try:
            # 1.6 section 3.13.2: a profile on the same stack level and purpose replaces the older one.
            self.station.install_profile(request["csChargingProfiles"], int(request["connectorId"]), "replace")
        except ProfileRefused:
            return {"status": "Rejected"}
        return {"status": "Accepted"}

    def _clear_charging_profile(self, request: Payload) -> Payload:
        if request.get("connectorId", 0) not in (0, 1):
            return {"status": "Unknown"}
        gone = self.station.clear_profiles(
            profile_id=request.get("id"), purpose=_PURPOSES.get(request.get("chargingProfilePurpose", "")),
            stack_level=request.get("stackLevel"),
        )
        return {"status": "Accepted" if gone else "Unknown"}

    def _get_composite_schedule(self, request: Payload) -> Payload:
        if request["connectorId"] not in (0, 1) or request["duration"] <= 0:
            return {"status": "Rejected"}
        unit = request.get("chargingRateUnit", "W")
        start, orders = self.station.composite(float(request["duration"]))
        rows = write_composite(orders, start, unit, version=self.version, electrics=self.station.electrics)
        return {
            "status": "Accepted",
            "connectorId": request["connectorId"],
            "scheduleStart": schedule_start_text(start),
            "chargingSchedule": {
                "duration": request["duration"], "startSchedule": schedule_start_text(start),
                "chargingRateUnit": unit, "chargingSchedulePeriod": rows,
            },
        }

    def _trigger_message(self, request: Payload) -> Payload:
        if request.get("connectorId", 1) not in (0, 1):
            return {"status": "Rejected"}
        match request["requestedMessage"]:
            case "BootNotification":
                self.station.trigger_boot()
            case "Heartbeat":
                self.station.post(Message("Heartbeat", dict))
            case "StatusNotification":
                self.station.trigger_status()
            case "MeterValues":
                self._send_meter_values()
            case _:
                return {"status": "NotImplemented"}
        return {"status": "Accepted"}

    def _send_meter_values(self) -> None:
        transaction = self.station.transaction
        if transaction is not None:
            self.station.post(self.sampled(transaction, self.station.sample(), "Trigger"))
            return
        value = meter_value(self.station.sample(), "Trigger")
        self.station.post(Message("MeterValues", lambda: {"connectorId": 1, "meterValue": [value]}))

    def _remote_stop(self, request: Payload) -> Payload:
        transaction = self.station.transaction
        if transaction is None or transaction.csms_id != request["transactionId"]:
            return {"status": "Rejected"}
        self.station.end_transaction(EndReason.REMOTE)
        return {"status": "Accepted"}

    def _reset(self, request: Payload) -> Payload:  # noqa: ARG002 - Soft and Hard are the same here
        self.station.reset(when_idle=False)
        return {"status": "Accepted"}

    def _change_availability(self, request: Payload) -> Payload:
        if request["connectorId"] not in (0, 1):
            return {"status": "Rejected"}
        done = self.station.set_operative(request["type"] == "Operative")
        return {"status": "Accepted" if done else "Scheduled"}

    def _get_configuration(self, request: Payload) -> Payload:
        settings = self.station.settings
        wanted: list[str] = request.get("key") or list(settings)
        known: list[dict[str, Any]] = [
            {"key": key, "readonly": settings[key].write is None, "value": settings[key].read()}
            for key in wanted if key in settings
        ]
        return {"configurationKey": known, "unknownKey": [key for key in wanted if key not in settings]}

    def _change_configuration(self, request: Payload) -> Payload:
        setting = self.station.settings.get(request["key"])
        if setting is None:
            return {"status": "NotSupported"}
        if setting.write is None:
            return {"status": "Rejected"}
        try:
            setting.write(request["value"])
        except ValueError:
            return {"status": "Rejected"}
        return {"status": "Accepted"}
