"""Charging profiles between the wire and `profiles`: what each OCPP version allows, in both directions.

A station that does not understand a field refuses the profile and says which; it never obeys half of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from twin.station.clock import instant, iso
from twin.station.profiles import (
    CEILINGS,
    ChargingProfile,
    Kind,
    Order,
    Period,
    ProfileRefused,
    Purpose,
    Rating,
    TransactionView,
)

MAX_STACK_LEVEL = 10
MAX_PERIODS = 1024
MAX_INSTALLED = 20
_RECURRENCE_S = {"Daily": 86_400.0, "Weekly": 7 * 86_400.0}
_PHASES_MEANT = 3  # OCPP 1.6 section 7.13, 2.1 ChargingSchedulePeriodType: numberPhases is 3 if absent
_FOREIGN_2X = ("useLocalTime", "randomizedDelay", "limitAtSoC")
_FOREIGN_21 = ("setpointReactive", "v2xBaseline", "v2xFreqWattCurve", "v2xSignalWattCurve")
_MODES_WITHOUT_SETPOINT = (None, "ChargingOnly", "Idle")


@dataclass(frozen=True, slots=True)
class Electrics:
    """To turn ampere into watt: volts phase to neutral (DC: nominal battery volts), phases of the EVSE (DC: 1)."""

    voltage_v: float
    phases: int

    def kw(self, value: float, unit: str, number_phases: int | None = None) -> float:
        if unit == "W":
            return value / 1000.0
        phases = min(self.phases, _PHASES_MEANT if number_phases is None else number_phases)
        return value * self.voltage_v * phases / 1000.0

    def from_kw(self, kw: float, unit: str) -> float:
        return round(kw * 1000.0 if unit == "W" else kw * 1000.0 / (self.voltage_v * self.phases), 1)


def read_profile(
    raw: dict[str, Any], *, version: str, evse_id: int, electrics: Electrics, rating: Rating, now: float,
    transaction: TransactionView | None,
) -> ChargingProfile:
    """The profile of a SetChargingProfile request whose schema has been checked.

    Raises:
        ProfileRefused: the station cannot or must not obey it; the reason is a reasonCode of OCPP 2.1 appendix 5.
    """
    is_16 = version == "ocpp1.6"
    purpose = _purpose(raw["chargingProfilePurpose"], evse_id)
    kind = _kind(raw["chargingProfileKind"])
    schedule = _schedule(raw, is_16=is_16)
    unit = str(schedule["chargingRateUnit"])
    periods = tuple(
        _period(row, unit, version=version, purpose=purpose, electrics=electrics, rating=rating)
        for row in schedule["chargingSchedulePeriod"]
    )
    _check_starts(periods)
    _require(int(raw["stackLevel"]) <= MAX_STACK_LEVEL, "InvalidStackLevel", f"expected at most {MAX_STACK_LEVEL}")
    valid_from, valid_to = _time(raw, "validFrom", -math.inf), _time(raw, "validTo", math.inf)
    _require(valid_from < valid_to, "InvalidSchedule", "validTo: expected a time after validFrom")
    _require(valid_to > now, "InvalidSchedule", "validTo: expected a time to come")
    transaction_id = _transaction_id(raw, purpose, transaction, is_16=is_16)
    start = schedule.get("startSchedule")
    _require(kind is not Kind.RELATIVE or start is None, "InvalidSchedule", "startSchedule: expected none if Relative")
    _require(kind is not Kind.RECURRING or start is not None, "InvalidSchedule", "startSchedule: expected if Recurring")
    _require(kind is not Kind.RECURRING or "recurrencyKind" in raw, "InvalidProfile", "recurrencyKind: expected")
    return ChargingProfile(
        id=int(raw["chargingProfileId" if is_16 else "id"]),
        purpose=purpose,
        stack_level=int(raw["stackLevel"]),
        kind=kind,
        periods=periods,
        start=None if start is None else instant(start),
        duration_s=float(schedule.get("duration") or math.inf),
        valid_from=valid_from,
        valid_to=valid_to,
        recurrency_s=_RECURRENCE_S[raw["recurrencyKind"]] if kind is Kind.RECURRING else math.inf,
        transaction_id=transaction_id,
        max_offline_s=float(raw.get("maxOfflineDuration", math.inf)),
        invalid_after_offline=bool(raw.get("invalidAfterOfflineDuration", False)),
        source=raw,
    )


def write_composite(
    periods: list[tuple[float, Order]], start: float, unit: str, *, version: str, electrics: Electrics
) -> list[dict[str, Any]]:
    """The periods of a composite schedule that begins at `start`; a set-point is one only in OCPP 2.1."""
    rows: list[dict[str, Any]] = []
    for at, order in periods:
        value = electrics.from_kw(order.power_kw, unit)
        row: dict[str, Any] = {"startPeriod": round(at - start) if rows else 0}
        if order.is_setpoint and version == "ocpp2.1":
            row |= {"setpoint": value, "operationMode": "CentralSetpoint"}
        else:
            row["limit"] = value
        if rows and rows[-1]["startPeriod"] == row["startPeriod"]:
            rows.pop()  # two boundaries within one second: the wire has whole seconds only
        rows.append(row)
    return rows


def report_profile(profile: ChargingProfile) -> dict[str, Any]:
    """The profile as it was received, for ReportChargingProfiles."""
    return dict(profile.source or {})


def composite_start(now: float) -> float:
    """Where a composite schedule asked for at `now` begins: schedules have whole seconds."""
    return float(math.floor(now))


def schedule_start_text(start: float) -> str:
    return iso(start)


def _require(condition: bool, reason: str, explanation: str) -> None:
    if not condition:
        raise ProfileRefused(reason, explanation)


def _purpose(name: str, evse_id: int) -> Purpose:
    try:
        purpose = Purpose("ChargingStationMaxProfile" if name == "ChargePointMaxProfile" else name)
    except ValueError:
        raise ProfileRefused("UnsupportedPurpose", f"chargingProfilePurpose: {name}") from None
    # External constraints come from elsewhere than the CSMS (2.1 K01.FR.22).
    _require(purpose is not Purpose.EXTERNAL, "InvalidProfile", "external constraints are not set by a CSMS")
    # 1.6 section 3.13.1, 2.1 K01.FR.04: the station maximum belongs to EVSE 0; K01.FR.16: TxProfile to one above 0.
    _require(purpose is not Purpose.STATION_MAX or evse_id == 0, "InvalidProfile", "a station maximum is for EVSE 0")
    _require(purpose is not Purpose.TX or evse_id > 0, "InvalidProfile", "a TxProfile is for one EVSE")
    _require(evse_id in (0, 1), "UnknownEvse", f"EVSE {evse_id}, expected 0 or 1")
    return purpose


def _kind(name: str) -> Kind:
    try:
        return Kind(name)
    except ValueError:
        raise ProfileRefused("UnsupportedKind", f"chargingProfileKind: {name}") from None


def _schedule(raw: dict[str, Any], *, is_16: bool) -> dict[str, Any]:
    schedules = [raw["chargingSchedule"]] if is_16 else raw["chargingSchedule"]
    # More than one schedule is a choice for an ISO 15118 car; this station's cars do not choose.
    _require(len(schedules) == 1, "InvalidSchedule", "chargingSchedule: expected one")
    schedule: dict[str, Any] = schedules[0]
    for name in _FOREIGN_2X:
        _require(not schedule.get(name), "UnsupportedParam", f"{name} is not supported")
    _require(bool(schedule["chargingSchedulePeriod"]), "InvalidSchedule", "chargingSchedulePeriod: expected a period")
    return schedule


def _period(
    row: dict[str, Any], unit: str, *, version: str, purpose: Purpose, electrics: Electrics, rating: Rating
) -> Period:
    phases = row.get("numberPhases")

    def kw(name: str) -> float | None:
        return None if row.get(name) is None else electrics.kw(float(row[name]), unit, phases)

    limit, setpoint, discharge = kw("limit"), kw("setpoint"), kw("dischargeLimit")
    mode = row.get("operationMode")
    # Up to 2.0.1 there is no discharge: a negative limit has no meaning. In 2.1 it has a field of its own.
    _require(limit is None or limit >= 0, "InvalidSchedule", f"limit: {row.get('limit')}, expected 0 or more")
    if version != "ocpp2.1":
        return Period(float(row["startPeriod"]), limit)
    foreign = [name for name in row if name.endswith(("_L2", "_L3")) or name in _FOREIGN_21]
    _require(not foreign, "UnsupportedParam", f"{', '.join(foreign)} is not supported")
    if mode == "CentralSetpoint":
        # Q03.FR.02: a central set-point comes without limits.
        _require(setpoint is not None, "InvalidSchedule", "setpoint: expected with CentralSetpoint")
        _require(limit is None and discharge is None, "InvalidSchedule", "limit: expected none with CentralSetpoint")
        _require(purpose not in CEILINGS, "InvalidProfile", "a station maximum has limits only")
        _require(
            setpoint is None or setpoint >= 0 or rating.discharge_kw > 0,
            "InvalidSchedule", "setpoint: this EVSE cannot discharge",
        )
        return Period(float(row["startPeriod"]), setpoint_kw=setpoint)
    _require(mode in _MODES_WITHOUT_SETPOINT, "UnsupportedParam", f"operationMode {mode} is not supported")
    _require(setpoint is None, "InvalidSchedule", "setpoint: expected only with CentralSetpoint")  # Q02.FR.02
    _require(discharge is None or purpose in CEILINGS, "InvalidSchedule", "dischargeLimit: expected in a maximum only")
    if mode == "Idle":
        _require(limit is None, "InvalidSchedule", "limit: expected none with Idle")  # Q10.FR.01
        limit = 0.0
    _require(limit is not None or discharge is not None, "InvalidSchedule", "limit: expected")
    return Period(float(row["startPeriod"]), limit, discharge_limit_kw=discharge)


def _check_starts(periods: tuple[Period, ...]) -> None:
    _require(len(periods) <= MAX_PERIODS, "InvalidSchedule", f"expected at most {MAX_PERIODS} periods")
    # 1.6 section 7.13 (startPeriod), 2.1 K01.FR.31: the first period begins with the schedule.
    _require(periods[0].start_s == 0, "InvalidSchedule", "startPeriod: expected 0 in the first period")
    _require(
        all(a.start_s < b.start_s for a, b in pairwise(periods)), "InvalidSchedule", "startPeriod: expected to increase"
    )


def _time(raw: dict[str, Any], name: str, default: float) -> float:
    text = raw.get(name)
    return default if text is None else instant(text)


def _transaction_id(
    raw: dict[str, Any], purpose: Purpose, transaction: TransactionView | None, *, is_16: bool
) -> str | None:
    given = raw.get("transactionId")
    if purpose is not Purpose.TX:
        return None
    # 2.1 K01.FR.03: a TxProfile names its transaction; K01.FR.09: without one it is refused. 1.6 leaves the id open.
    _require(transaction is not None, "TxNotFound", "no transaction runs")
    _require(given is not None or is_16, "InvalidProfile", "transactionId: expected in a TxProfile")
    _require(
        given is None or transaction is None or str(given) == transaction.id, "TxNotFound", "another transaction runs"
    )
    return None if given is None else str(given)
