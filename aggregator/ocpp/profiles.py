"""Charging profiles between our words and the wire: ids, stack levels, periods in whole seconds and watts.

```
        valid_from               valid_to
            |------ duration ------|
  periods   |--p0--|----p1----|-p2-|   startPeriod counts seconds from startSchedule = start of p0
```
Discharge goes out as a CentralSetpoint (OCPP 2.1 Q03.FR.02) and to OCPP 2.1 only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from aggregator.ocpp.events import ProfileCommand, ProfilePeriod, Purpose

FALLBACK_STACK_LEVEL = 0
PLAN_STACK_LEVEL = 1

MAX_OFFLINE_S = 300
"""A profile that discharges is void after this long without contact (maxOfflineDuration, OCPP 2.1)."""

MAX_PERIODS = 1024
"""Of one chargingSchedule in the OCPP 2.x schemas."""

_SLOTS = {Purpose.FALLBACK: 1, Purpose.PLAN: 2, Purpose.STATION_MAX: 3}
_PURPOSES = {slot: purpose for purpose, slot in _SLOTS.items()}
_SLOT_BASE = 10


class InexpressibleProfile(ValueError):
    """The command has no form in the charger's dialect, or none that is safe; the message says why."""


def profile_id(evse_number: int, purpose: Purpose) -> int:
    """A pure function of the slot: sending again replaces and never stacks (OCPP 2.0.1 K01.FR.05)."""
    return (0 if purpose is Purpose.STATION_MAX else evse_number) * _SLOT_BASE + _SLOTS[purpose]


def slot_of(identifier: int) -> tuple[int, Purpose] | None:
    """The EVSE number and purpose behind a profile id; None if the id is not one of ours."""
    number, slot = divmod(identifier, _SLOT_BASE)
    purpose = _PURPOSES.get(slot)
    return None if purpose is None or (number == 0) != (purpose is Purpose.STATION_MAX) else (number, purpose)


def stack_level(purpose: Purpose) -> int:
    return PLAN_STACK_LEVEL if purpose is Purpose.PLAN else FALLBACK_STACK_LEVEL


def discharges(command: ProfileCommand) -> bool:
    return any(period.power_kw < 0 for period in command.periods)


def check_expressible(command: ProfileCommand, *, bidirectional: bool) -> None:
    """Raise an `InexpressibleProfile` if no charger, or none without discharge, may be told this."""
    if not command.periods:
        raise InexpressibleProfile("periods: empty, expected at least one")
    starts = [period.start for period in command.periods]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise InexpressibleProfile("periods: expected increasing starts")
    if not all(math.isfinite(period.power_kw) for period in command.periods):
        raise InexpressibleProfile("periods: a power is not finite")
    if command.valid_to is None and command.purpose is Purpose.PLAN:
        raise InexpressibleProfile("valid_to: missing, a plan always expires")
    if command.valid_to is not None and command.valid_to <= max(starts[0], command.valid_from):
        raise InexpressibleProfile("valid_to: before the profile starts")
    if discharges(command):
        if not bidirectional:
            raise InexpressibleProfile("negative power: this charger's dialect carries no discharge")
        if command.purpose is not Purpose.PLAN or command.transaction_id is None:
            raise InexpressibleProfile("negative power: only the plan of a running transaction may discharge")


@dataclass(frozen=True, slots=True)
class WirePeriod:
    """startPeriod in whole seconds, power in W with one decimal, as the schemas want them."""

    start_s: int
    watts: float


def wire_periods(command: ProfileCommand) -> list[WirePeriod]:
    """The periods of a command up to its end; of two that begin in the same second the later counts."""
    origin = command.periods[0].start
    by_second: dict[int, float] = {}
    for period in command.periods:
        if command.valid_to is not None and period.start >= command.valid_to:
            break
        second = round((period.start - origin).total_seconds())
        by_second[second] = round(period.power_kw * 1000.0, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    periods = [WirePeriod(second, watts) for second, watts in by_second.items()]
    if len(periods) > MAX_PERIODS:
        raise InexpressibleProfile(f"periods: {len(periods)}, expected at most {MAX_PERIODS}")
    return periods


def duration_s(command: ProfileCommand) -> int | None:
    """Seconds from the first period to the end of validity; None if it never ends."""
    if command.valid_to is None:
        return None
    return max(1, round((command.valid_to - command.periods[0].start).total_seconds()))


def read_periods(schedule_start: datetime, periods: Iterable[dict[str, Any]]) -> tuple[ProfilePeriod, ...] | None:
    """The periods of a wire schedule in W as kW; None if one of them says no power or no time that there is.

    A set-point counts before a limit; Idle means 0 (OCPP 2.1 Q10.FR.01).
    """
    found: list[ProfilePeriod] = []
    for period in periods:
        watts = 0.0 if period.get("operationMode") == "Idle" else period.get("setpoint", period.get("limit"))
        if watts is None:
            return None
        try:
            start = schedule_start + timedelta(seconds=period["startPeriod"])
        except OverflowError:
            return None
        found.append(ProfilePeriod(start, watts / 1000.0))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class InstalledProfile:
    """A charging profile that a station says it holds (OCPP 2.x ReportChargingProfiles).

    periods: None if the schedule is in ampere or says no power.
    version: of the command that brought it, if it is ours.
    """

    profile_id: int
    evse_number: int
    purpose: Purpose | None
    stack_level: int
    periods: tuple[ProfilePeriod, ...] | None
    valid_from: datetime | None
    valid_to: datetime | None
    transaction_id: str | None
    version: int | None
