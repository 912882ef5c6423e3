"""From a row of the plan to what one charger is told, and to the row of the outbox that remembers it.

Pure. A command that discharges lives for an hour at most and is sent again by every plan, so that discharge ends by
itself when nobody speaks to the charger any more:

    plan      +6 +6 | 0 | -8 -8 -8 -8 -8 -8 | +3 ...
    command   +6 +6 | 0 | -8 -8 .             valid_to = now + 1 h; after it the charger's fallback (charging only)
                          ^now
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aggregator.dispatch.permits import DischargePermit, PermitGap
from aggregator.ocpp.events import ProfileCommand, ProfilePeriod, Purpose
from twin.assets import TimeGrid

GRACE = timedelta(hours=2)
DISCHARGE_LIFETIME = timedelta(hours=1)
_NOISE_W = 1e-3
"""What a decimal number of watts may lose in binary."""


@dataclass(frozen=True, slots=True)
class PermitClip:
    """A discharge order that was cut because no permit covers it.

    asked_kw: negative, as planned. given_kw: 0 or less, what is left. missing: why; empty if only the size was cut.
    """

    evse_id: str
    at: datetime
    asked_kw: float
    given_kw: float
    missing: tuple[PermitGap, ...]


def merged(periods: Iterable[ProfilePeriod]) -> tuple[ProfilePeriod, ...]:
    """Neighbours of equal power become one; powers are cut to whole watts, so that noise of a solver sends nothing.

    Cut toward zero: what is sent is never more than what was allowed.
    """
    result: list[ProfilePeriod] = []
    for period in periods:
        watts = math.trunc(period.power_kw * 1000 + math.copysign(_NOISE_W, period.power_kw))
        power_kw = watts / 1000
        if not result or result[-1].power_kw != power_kw:
            result.append(ProfilePeriod(period.start, power_kw))
    return tuple(result)


def power_at(command: ProfileCommand, when: datetime) -> float | None:
    """What `command` orders at `when` in kW; None outside its validity."""
    if when < command.valid_from or (command.valid_to is not None and when >= command.valid_to):
        return None
    power_kw = None
    for period in command.periods:
        if period.start > when:
            break
        power_kw = period.power_kw
    return power_kw


def discharges(command: ProfileCommand) -> bool:
    return any(period.power_kw < 0 for period in command.periods)


def from_now(command: ProfileCommand, now: datetime) -> ProfileCommand:
    """The same orders without what has passed: the first period begins at `now` if an earlier one still runs."""
    current = power_at(command, now)
    if current is None:
        return command
    later = tuple(period for period in command.periods if period.start > now)
    return replace(command, periods=(ProfilePeriod(now, current), *later), valid_from=now)


def plan_command(
    evse_id: str,
    grid: TimeGrid,
    power_kw: Sequence[float],
    now: datetime,
    transaction_id: str,
    permit: DischargePermit,
    *,
    grace: timedelta = GRACE,
    discharge_lifetime: timedelta = DISCHARGE_LIFETIME,
    max_periods: int | None = None,
) -> tuple[ProfileCommand, tuple[PermitClip, ...]]:
    """One EVSE's row of a plan as a command from `now` on (version 0: the outbox gives it one).

    power_kw: one value per step of `grid`, signed. max_periods: how many a charger can hold; the rest is left to the
    next plan.

    Raises:
        ValueError: `now` is outside the grid, or the row has another length than the grid.
    """
    if len(power_kw) != grid.steps:
        raise ValueError(f"power_kw: {len(power_kw)} values for {evse_id}, expected {grid.steps}")
    first = grid.index(now)
    if not 0 <= first < grid.steps:
        raise ValueError(f"now: {now.isoformat()}, expected a time between {grid.start} and {grid.end}")
    periods = merged(
        ProfilePeriod(now if step == first else grid.at(step), float(power_kw[step]))
        for step in range(first, grid.steps)
    )
    command = ProfileCommand(evse_id, Purpose.PLAN, 0, periods, now, grid.end + grace, transaction_id)
    command, clips = permitted(command, permit)
    command = expiring(command, now, discharge_lifetime)
    if max_periods is not None and len(command.periods) > max_periods:
        command = replace(
            command, periods=command.periods[:max_periods], valid_to=command.periods[max_periods].start
        )
    return command, clips


def permitted(command: ProfileCommand, permit: DischargePermit) -> tuple[ProfileCommand, tuple[PermitClip, ...]]:
    """`command` with every discharge cut to what `permit` covers at that time; charging is never touched."""
    if not discharges(command):
        return command, ()
    periods: list[ProfilePeriod] = []
    clips: list[PermitClip] = []
    # An approval that outlives the command cuts nothing out of it.
    outlives = permit.until is None or (command.valid_to is not None and permit.until >= command.valid_to)
    for period in _split_at(command.periods, None if outlives else permit.until):
        given_kw = max(period.power_kw, -permit.allows_at(period.start))
        if given_kw != period.power_kw:
            clips.append(PermitClip(command.evse_id, period.start, period.power_kw, given_kw + 0.0, permit.missing))
        periods.append(ProfilePeriod(period.start, given_kw))
    return replace(command, periods=merged(periods)), tuple(clips)


def expiring(command: ProfileCommand, now: datetime, lifetime: timedelta = DISCHARGE_LIFETIME) -> ProfileCommand:
    """`command` with no discharge left in it later than `now` + `lifetime`.

    A profile that discharges within the lifetime ends with it. One that would discharge only later ends where that
    begins: it is charging only, and the plan that is made meanwhile brings the rest.
    """
    first = next((period.start for period in command.periods if period.power_kw < 0), None)
    if first is None:
        return command
    end = max(now + lifetime, first)
    if command.valid_to is not None:
        end = min(end, command.valid_to)
    return replace(command, periods=tuple(p for p in command.periods if p.start < end), valid_to=end)


def without_discharge(command: ProfileCommand) -> ProfileCommand:
    """The same orders with 0 in place of every discharge."""
    return replace(
        command, periods=merged(ProfilePeriod(p.start, max(0.0, p.power_kw)) for p in command.periods)
    )


def capped(command: ProfileCommand, ceiling_kw: float, since: datetime) -> ProfileCommand:
    """Charging power at most `ceiling_kw` from `since` to the end of the command; discharge stays as it is.

    Raises a `ValueError` for a negative ceiling: a limit never starts discharge.
    """
    if ceiling_kw < 0:
        raise ValueError(f"ceiling_kw: {ceiling_kw} for {command.evse_id}, expected 0 or more")
    return replace(command, periods=merged(
        ProfilePeriod(p.start, min(p.power_kw, ceiling_kw) if p.start >= since else p.power_kw)
        for p in _split_at(command.periods, since)
    ))


def curtailed(command: ProfileCommand, discharge_kw: float, since: datetime) -> ProfileCommand:
    """Discharge of at most `discharge_kw` (positive) from `since` on; charging stays as it is."""
    if discharge_kw < 0:
        raise ValueError(f"discharge_kw: {discharge_kw} for {command.evse_id}, expected 0 or more")
    return replace(command, periods=merged(
        ProfilePeriod(p.start, max(p.power_kw, -discharge_kw) if p.start >= since else p.power_kw)
        for p in _split_at(command.periods, since)
    ))


def fallback_command(evse_id: str, fallback_kw: float, now: datetime) -> ProfileCommand:
    """What a charger does without contact: charge at its share of the site, for ever, whatever is plugged in.

    Raises a `ValueError` for a negative share: a fallback never discharges.
    """
    if fallback_kw < 0:
        raise ValueError(f"fallback_kw: {fallback_kw} for {evse_id}, expected 0 or more")
    return ProfileCommand(evse_id, Purpose.FALLBACK, 0, merged([ProfilePeriod(now, fallback_kw)]), now, None)


def content_hash(command: ProfileCommand) -> str:
    """What the charger will do from now on, whatever the version and however long it lasts.

    The start of the running period is left out, since it is in the past for whoever compares. How long a profile
    lasts is compared apart, because a rolling end would make every plan look new.
    """
    content = [
        command.evse_id, command.purpose.value, command.transaction_id,
        [[None if k == 0 else p.start.timestamp(), p.power_kw] for k, p in enumerate(command.periods)],
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def encode(command: ProfileCommand) -> dict[str, Any]:
    """The JSON payload of a DesiredRecord; the version is the record's own."""
    return {
        "periods": [[_text(p.start), p.power_kw] for p in command.periods],
        "valid_from": _text(command.valid_from),
        "valid_to": None if command.valid_to is None else _text(command.valid_to),
        "transaction_id": command.transaction_id,
    }


def decode(evse_id: str, purpose: str, version: int, payload: dict[str, Any]) -> ProfileCommand:
    """Inverse of `encode`. Raise a `ValueError` if the payload is not one of ours."""
    try:
        return ProfileCommand(
            evse_id, Purpose(purpose), version,
            tuple(ProfilePeriod(_when(start), float(power_kw)) for start, power_kw in payload["periods"]),
            _when(payload["valid_from"]),
            None if payload["valid_to"] is None else _when(payload["valid_to"]),
            payload["transaction_id"],
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise ValueError(f"desired state of {evse_id} ({purpose}): {fault!r}, expected an encoded profile") from fault


def _split_at(periods: Sequence[ProfilePeriod], when: datetime | None) -> list[ProfilePeriod]:
    """The same orders with a boundary at `when`, if that lies inside."""
    result: list[ProfilePeriod] = []
    for k, period in enumerate(periods):
        result.append(period)
        end = periods[k + 1].start if k + 1 < len(periods) else None
        if when is not None and period.start < when and (end is None or when < end):
            result.append(ProfilePeriod(when, period.power_kw))
    return result


def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat()


def _when(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
