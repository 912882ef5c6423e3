"""OCPP 2.0.1 as this station speaks it (core, smart charging)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from twin.station.clock import iso
from twin.station.dialects.base import Connector, Dialect, Payload
from twin.station.dialects.needs import needs_payload_201
from twin.station.link import Message
from twin.station.outlet import Activity
from twin.station.profile_codec import report_profile, schedule_start_text, write_composite
from twin.station.profiles import ChargingProfile, ProfileRefused, Purpose
from twin.station.session import CarNeeds, EndReason, Sample, Transaction

_ENDED = {  # trigger reason, stopped reason
    EndReason.EV_DISCONNECTED: ("EVCommunicationLost", "EVDisconnected"),
    EndReason.REMOTE: ("RemoteStop", "Remote"),
    EndReason.DEAUTHORISED: ("Deauthorized", "DeAuthorized"),
    EndReason.RESET: ("ResetCommand", "ImmediateReset"),
}
_TRIGGERS = {"Sample.Periodic": "MeterValuePeriodic", "Trigger": "Trigger"}
_TOKEN_TYPE = "Central"  # noqa: S105 - the type of an idToken, not a secret
_EVSE = {"id": 1, "connectorId": 1}


def meter_value(sample: Sample, context: str) -> Payload:
    """One MeterValue: registers, power of both directions, SoC if known."""
    rows: list[tuple[str, str, float]] = [
        ("Energy.Active.Import.Register", "Wh", sample.import_wh),
        ("Energy.Active.Export.Register", "Wh", sample.export_wh),
        ("Power.Active.Import", "W", round(max(0.0, sample.power_kw) * 1000, 1)),
        ("Power.Active.Export", "W", round(max(0.0, -sample.power_kw) * 1000, 1)),
    ]
    if sample.soc is not None:
        rows.append(("SoC", "Percent", round(sample.soc * 100, 1)))
    return {
        "timestamp": iso(sample.at),
        "sampledValue": [
            {"value": value, "context": context, "measurand": name, "unitOfMeasure": {"unit": unit}}
            for name, unit, value in rows
        ],
    }


class Dialect201(Dialect):
    """See the module."""

    version: ClassVar[str] = "ocpp2.0.1"

    def handlers(self) -> dict[str, Callable[[Payload], Payload]]:
        return {
            "SetChargingProfile": self._set_charging_profile,
            "ClearChargingProfile": self._clear_charging_profile,
            "GetChargingProfiles": self._get_charging_profiles,
            "GetCompositeSchedule": self._get_composite_schedule,
            "TriggerMessage": self._trigger_message,
            "RequestStopTransaction": self._request_stop,
            "GetTransactionStatus": self._get_transaction_status,
            "Reset": self._reset,
            "ChangeAvailability": self._change_availability,
            "GetVariables": self._get_variables,
            "SetVariables": self._set_variables,
            "DataTransfer": lambda _: {"status": "UnknownVendorId"},
        }

    # ------------------------------------------------------------------ what the station says

    def boot_request(self, reason: str) -> Payload:
        spec = self.station.spec
        return {
            "reason": reason,
            "chargingStation": {
                "vendorName": spec.vendor, "model": spec.model, "firmwareVersion": spec.firmware,
                "serialNumber": spec.id[:25],
            },
        }

    def status_word(self, connector: Connector, activity: Activity) -> str:  # noqa: ARG002 - 2.x tells it elsewhere
        match connector:
            case Connector.AVAILABLE:
                return "Available"
            case Connector.UNAVAILABLE:
                return "Unavailable"
            case Connector.FAULTED:
                return "Faulted"
        return "Occupied"

    def status(self, word: str, at: float) -> Message:
        return Message("StatusNotification", lambda: {
            "timestamp": iso(at), "connectorStatus": word, "evseId": 1, "connectorId": 1,
        })

    def authorize(self, id_token: str, done: Callable[[bool], None], failed: Callable[[str], None]) -> Message:
        return Message(
            "Authorize", lambda: {"idToken": {"idToken": id_token, "type": _TOKEN_TYPE}},
            answered=lambda answer: done(answer["idTokenInfo"]["status"] == "Accepted"), failed=failed,
        )

    def started(self, transaction: Transaction, sample: Sample) -> list[Message]:
        def judged(answer: Payload) -> None:
            verdict = answer.get("idTokenInfo", {}).get("status", "Accepted")
            self.station.transaction_judged(transaction, verdict == "Accepted")

        message = self._event(
            transaction, "Started", "Authorized", [meter_value(sample, "Transaction.Begin")],
            {
                "evse": _EVSE,
                "idToken": {"idToken": transaction.id_token, "type": _TOKEN_TYPE},
            },
            Activity.CONNECTED,
        )
        message.answered = judged
        return [message]

    def sampled(self, transaction: Transaction, sample: Sample, context: str) -> Message:
        message = self._event(
            transaction, "Updated", _TRIGGERS[context], [meter_value(sample, context)], {}, transaction.told_activity
        )
        if context == "Sample.Periodic":
            message.merge_key = (transaction.id, context)
        return message

    def activity_changed(self, transaction: Transaction, sample: Sample, activity: Activity) -> list[Message]:
        return [self._event(
            transaction, "Updated", "ChargingStateChanged", [meter_value(sample, "Other")], {}, activity
        )]

    def ended(self, transaction: Transaction, sample: Sample, reason: EndReason) -> list[Message]:
        trigger, stopped = _ENDED[reason]
        return [self._event(
            transaction, "Ended", trigger, [meter_value(sample, "Transaction.End")], {"evse": _EVSE},
            None if reason is EndReason.EV_DISCONNECTED else Activity.CONNECTED, stopped,
        )]

    def _event(
        self, transaction: Transaction, kind: str, trigger: str, values: list[Payload], extra: Payload,
        activity: Activity | None, stopped: str | None = None,
    ) -> Message:
        """A TransactionEvent; its sequence number is taken when it is first sent and kept when it is sent again."""
        info: Payload = {"transactionId": transaction.id}
        if activity is not None:
            info["chargingState"] = activity.value
        if stopped is not None:
            info["stoppedReason"] = stopped
        info |= self.transaction_details()
        is_offline = not self.station.is_link_up
        numbers: list[int] = []

        def build() -> Payload:
            if not numbers:
                numbers.append(transaction.take_seq_no())
            payload = {
                "eventType": kind, "timestamp": values[-1]["timestamp"], "triggerReason": trigger,
                "seqNo": numbers[0], "transactionInfo": info, "meterValue": values, **extra,
            }
            return payload | {"offline": True} if is_offline else payload

        return Message("TransactionEvent", build, durable=True, parts=values)

    def charging_needs(self, take: Callable[[], CarNeeds | None]) -> Message | None:
        """NotifyEVChargingNeeds (2.0.1 K15)."""
        def build() -> Payload | None:
            needs = take()
            return None if needs is None else self.needs_payload(needs)

        return Message("NotifyEVChargingNeeds", build)

    def needs_payload(self, needs: CarNeeds) -> Payload:
        """What NotifyEVChargingNeeds says in this version."""
        return needs_payload_201(needs, self.station.spec.evse)

    def transaction_details(self) -> Payload:
        """What a later version adds to transactionInfo."""
        return {}

    # ------------------------------------------------------------------ what the CSMS asks

    def _set_charging_profile(self, request: Payload) -> Payload:
        try:
            self.station.install_profile(request["chargingProfile"], int(request["evseId"]), "refuse")
        except ProfileRefused as refused:
            return {
                "status": "Rejected",
                "statusInfo": {"reasonCode": refused.reason, "additionalInfo": refused.explanation[:512]},
            }
        return {"status": "Accepted"}

    def _clear_charging_profile(self, request: Payload) -> Payload:
        criteria: dict[str, Any] = request.get("chargingProfileCriteria", {})
        if criteria.get("evseId", 0) not in (0, 1):
            return {"status": "Unknown"}
        purpose = criteria.get("chargingProfilePurpose")
        try:
            wanted = None if purpose is None else Purpose(purpose)
        except ValueError:
            return {"status": "Unknown"}  # a purpose this station cannot hold
        gone = self.station.clear_profiles(
            profile_id=request.get("chargingProfileId"), purpose=wanted, stack_level=criteria.get("stackLevel")
        )
        return {"status": "Accepted" if gone else "Unknown"}

    def _get_charging_profiles(self, request: Payload) -> Payload:
        found = [
            profile for profile in self.station.profiles.profiles
            if request.get("evseId", 1) in (0, 1) and _matches(profile, request["chargingProfile"])
        ]
        if not found:
            return {"status": "NoProfiles"}
        by_evse: dict[int, list[Payload]] = {}
        for profile in found:
            evse_id = 0 if profile.purpose is Purpose.STATION_MAX else 1
            by_evse.setdefault(evse_id, []).append(report_profile(profile))
        for count, (evse_id, profiles) in enumerate(by_evse.items(), start=1):
            report: Payload = {
                "requestId": request["requestId"], "chargingLimitSource": "CSO", "evseId": evse_id,
                "chargingProfile": profiles, "tbc": count < len(by_evse),
            }
            self.station.post(Message("ReportChargingProfiles", lambda report=report: report))  # type: ignore[misc]
        return {"status": "Accepted"}

    def _get_composite_schedule(self, request: Payload) -> Payload:
        if request["evseId"] not in (0, 1) or request["duration"] <= 0:
            return {"status": "Rejected"}
        unit = request.get("chargingRateUnit", "W")
        start, orders = self.station.composite(float(request["duration"]))
        return {
            "status": "Accepted",
            "schedule": {
                "evseId": request["evseId"], "duration": request["duration"],
                "scheduleStart": schedule_start_text(start), "chargingRateUnit": unit,
                "chargingSchedulePeriod": write_composite(
                    orders, start, unit, version=self.version, electrics=self.station.electrics
                ),
            },
        }

    def _trigger_message(self, request: Payload) -> Payload:
        if request.get("evse", {}).get("id", 1) not in (0, 1):
            return {"status": "Rejected"}
        transaction = self.station.transaction
        match request["requestedMessage"]:
            case "BootNotification":
                self.station.trigger_boot()
            case "Heartbeat":
                self.station.post(Message("Heartbeat", dict))
            case "StatusNotification":
                self.station.trigger_status()
            case "MeterValues":
                value = meter_value(self.station.sample(), "Trigger")
                self.station.post(Message("MeterValues", lambda: {"evseId": 1, "meterValue": [value]}))
            case "TransactionEvent" if transaction is not None:
                self.station.post(self.sampled(transaction, self.station.sample(), "Trigger"))
            case "TransactionEvent":
                return {"status": "Rejected"}
            case _:
                return {"status": "NotImplemented"}
        return {"status": "Accepted"}

    def _request_stop(self, request: Payload) -> Payload:
        transaction = self.station.transaction
        if transaction is None or transaction.id != request["transactionId"]:
            return {"status": "Rejected"}
        self.station.end_transaction(EndReason.REMOTE)
        return {"status": "Accepted"}

    def _get_transaction_status(self, request: Payload) -> Payload:
        answer: Payload = {"messagesInQueue": self.station.waiting_messages > 0}
        if "transactionId" in request:
            transaction = self.station.transaction
            answer["ongoingIndicator"] = transaction is not None and transaction.id == request["transactionId"]
        return answer

    def _reset(self, request: Payload) -> Payload:
        done = self.station.reset(when_idle=request["type"] != "Immediate")
        return {"status": "Accepted" if done else "Scheduled"}

    def _change_availability(self, request: Payload) -> Payload:
        if request.get("evse", {}).get("id", 1) not in (0, 1):
            return {"status": "Rejected"}
        done = self.station.set_operative(request["operationalStatus"] == "Operative")
        return {"status": "Accepted" if done else "Scheduled"}

    def _get_variables(self, request: Payload) -> Payload:
        return {"getVariableResult": [self._get_variable(row) for row in request["getVariableData"]]}

    def _get_variable(self, row: Payload) -> Payload:
        result: Payload = {"component": row["component"], "variable": row["variable"]}
        if "attributeType" in row:
            result["attributeType"] = row["attributeType"]
        if row.get("attributeType", "Actual") != "Actual":
            return result | {"attributeStatus": "NotSupportedAttributeType"}
        setting, fault = self._find(row)
        if setting is None:
            return result | {"attributeStatus": fault}
        return result | {"attributeStatus": "Accepted", "attributeValue": setting.read()}

    def _set_variables(self, request: Payload) -> Payload:
        return {"setVariableResult": [self._set_variable(row) for row in request["setVariableData"]]}

    def _set_variable(self, row: Payload) -> Payload:
        result: Payload = {"component": row["component"], "variable": row["variable"]}
        if "attributeType" in row:
            result["attributeType"] = row["attributeType"]
        if row.get("attributeType", "Actual") != "Actual":
            return result | {"attributeStatus": "NotSupportedAttributeType"}
        setting, fault = self._find(row)
        if setting is None:
            return result | {"attributeStatus": fault}
        if setting.write is None:
            return result | {"attributeStatus": "Rejected"}
        try:
            setting.write(row["attributeValue"])
        except ValueError:
            return result | {"attributeStatus": "Rejected"}
        return result | {"attributeStatus": "Accepted"}

    def _find(self, row: Payload) -> tuple[Any, str]:
        """The setting, or what is unknown about it; names are case-insensitive (2.1 Part 1 section 4.1)."""
        component, variable = row["component"]["name"].lower(), row["variable"]["name"].lower()
        names = {tuple(key.lower().split(".", 1)): setting for key, setting in self.station.settings.items()}
        if (component, variable) in names:
            return names[component, variable], ""
        is_known = any(known[0] == component for known in names)
        return None, "UnknownVariable" if is_known else "UnknownComponent"


def _matches(profile: ChargingProfile, criteria: dict[str, Any]) -> bool:
    return (
        criteria.get("chargingProfilePurpose") in (None, profile.purpose.value)
        and criteria.get("stackLevel") in (None, profile.stack_level)
        and ("chargingProfileId" not in criteria or profile.id in criteria["chargingProfileId"])
        and ("chargingLimitSource" not in criteria or "CSO" in criteria["chargingLimitSource"])
    )
