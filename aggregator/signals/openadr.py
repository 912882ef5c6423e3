"""What an OpenADR 3.1 event means: wire event -> net power of a site over time.

The profile we speak, since the specification leaves sign and direction to the parties:

    payload type            value (unit from its payloadDescriptor)     becomes
    IMPORT_CAPACITY_LIMIT   largest import, 0 or more                   net <= value
    EXPORT_CAPACITY_LIMIT   largest export, 0 or more                   net >= -value
    DISPATCH_SETPOINT       net power, import positive, any sign        net <= value
    X-DISCHARGE_SETPOINT    net export to reach, 0 or more (private)    net <= -value

A capacity limit below 0 is refused: a limit never asks for discharge, a set-point does. A set-point is a ceiling,
because what a site sells is reduction. `randomizeStart` is honoured with an offset of 0, which lies in its range:
an obligation must not begin late.

    event.intervalPeriod  start=14:00, duration=PT1H
    intervals             [0: -]      [1: duration PT30M]   [2: start 16:00]
    result                14:00-15:00  15:00-15:30           16:00-17:00       (no start = follow immediately)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import orjson

from aggregator.signals.model import NO_LIMIT_KW, SignalInterval
from aggregator.signals.wire import (
    FOREVER,
    EventPayloadDescriptor,
    EventRequest,
    Interval,
    IntervalPeriod,
    ProgramRequest,
    parse_duration,
    parse_start,
)

KW_PER_UNIT = {"KW": 1.0, "W": 0.001, "MW": 1000.0}
PAYLOADS = ("IMPORT_CAPACITY_LIMIT", "EXPORT_CAPACITY_LIMIT", "DISPATCH_SETPOINT", "X-DISCHARGE_SETPOINT")
_UNSIGNED = frozenset(PAYLOADS) - {"DISPATCH_SETPOINT"}
MAX_INTERVALS = 2000
MAX_POWER_KW = 1e6


class SignalFault(ValueError):
    """A signal cannot be understood; says which field, what it held and what was expected."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        super().__init__(f"{field}: {shown(value)}, expected {expected}")


def shown(value: object, longest: int = 80) -> str:
    """`value` as it may stand in a message: ASCII, and no longer than `longest`."""
    text = ascii(value)
    return text if len(text) <= longest else text[: longest - 3] + "..."


@dataclass(frozen=True, slots=True)
class SignalDraft:
    """What was asked, before it is known what it binds us to.

    targets: names as sent; empty means every site of the programme's party.
    content_hash: of what was asked, as it was written; two requests that ask the same have the same hash.
    """

    programme: str
    targets: tuple[str, ...]
    intervals: tuple[SignalInterval, ...]
    priority: int
    content_hash: str


def content_hash(event: EventRequest, program: ProgramRequest) -> str:
    """SHA-256 over everything in the event that changes what is asked; names and report wishes do not."""
    asked = event.model_dump(by_alias=True, exclude={"event_name", "report_descriptors"}, exclude_none=True)
    descriptors = [d.model_dump(by_alias=True, exclude_none=True) for d in program.payload_descriptors or ()]
    asked["program"] = [program.program_name, descriptors]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def is_cancellation(event: EventRequest) -> bool:
    """True for an event made void by start 0001-01-01 and duration PT0S (User Guide 7.9)."""
    period = event.interval_period
    if period is None or period.start is None or period.duration is None:
        return False
    return parse_start(period.start) is None and parse_duration(period.duration).is_zero


def event_end(event: EventRequest, received_at: datetime) -> datetime | None:
    """When the last interval ends; None for an event without a time of its own, as a cancelled one."""
    try:
        return _timeline(event, received_at)[-1][3]
    except SignalFault:
        return None


def to_signal(event: EventRequest, program: ProgramRequest, now: datetime) -> SignalDraft:
    """Translate an event of `program` into net power over time.

    Args:
        event: as sent.
        program: the program the event names; its descriptors serve where the event has none.
        now: stands in for a start of 0001-01-01; intervals that ended before it are left out.

    Raises:
        SignalFault: the event is not understood or is already over.
    """
    spans = _timeline(event, now)
    kind, factor = _meaning(event, program)
    drafts = [
        _interval(start, end, kind, _value(index, interval, kind, factor)) for index, interval, start, end in spans
    ]
    ahead = tuple(interval for interval in drafts if interval.end > now)
    if not ahead:
        raise SignalFault("intervals", drafts[-1].end.isoformat(), f"an end after now ({now.isoformat()})")
    return SignalDraft(
        programme=program.program_name,
        targets=tuple(event.targets or ()),
        intervals=ahead,
        priority=event.priority or 0,
        content_hash=content_hash(event, program),
    )


def resolve_targets(targets: Iterable[str], site_ids: Sequence[str]) -> tuple[str, ...]:
    """Sites that `targets` name, as "<site id>" or "site:<site id>"; no target at all names every site.

    Raises:
        SignalFault: a target names nothing we have.
    """
    names = tuple(targets)
    if not names:
        return tuple(site_ids)
    found: list[str] = []
    for index, name in enumerate(names):
        site_id = name.removeprefix("site:")
        if site_id not in site_ids:
            raise SignalFault(f"targets[{index}]", name, "the name of a site that is enrolled here")
        if site_id not in found:
            found.append(site_id)
    return tuple(found)


def _timeline(event: EventRequest, now: datetime) -> list[tuple[int, Interval, datetime, datetime]]:
    """(position, interval, start, end) in order, after event.duration has looped or cut them."""
    if not event.intervals:
        raise SignalFault("intervals", event.intervals, "at least one interval")
    spans: list[tuple[int, Interval, datetime, datetime]] = []
    for index, interval in enumerate(event.intervals):
        start, end = _span(index, interval.interval_period, event.interval_period, spans[-1][3] if spans else None, now)
        spans.append((index, interval, start, end))
    for (_, _, _, before), (index, _, start, _) in pairwise(spans):
        if start < before:
            raise SignalFault(
                f"intervals[{index}].intervalPeriod.start", start.isoformat(),
                f"no overlap with the interval before it, which ends at {before.isoformat()}",
            )
    return _lasting(event, spans)


def _span(
    index: int, own: IntervalPeriod | None, default: IntervalPeriod | None, previous_end: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    place = f"intervals[{index}].intervalPeriod"
    if own is None and default is None:
        raise SignalFault(place, None, "an intervalPeriod in the event or in every interval")
    own = own or IntervalPeriod()
    default = default or IntervalPeriod()
    start = parse_start(own.start) if own.start is not None else None
    if start is None and previous_end is not None:
        start = previous_end
    elif start is None:
        written = default.start if default.start is not None else own.start
        if written is None:
            raise SignalFault(f"{place}.start", None, "a start time, or 0001-01-01 for now")
        start = parse_start(written) or now
    if start >= FOREVER:
        raise SignalFault(f"{place}.start", start.isoformat(), "a start before the end of the interval before it")
    text = own.duration or default.duration
    duration = parse_duration(text or "PT0S")
    if duration.is_zero or duration.negative:
        raise SignalFault(f"{place}.duration", text, "a duration of more than 0")
    end = duration.after(start)
    if end <= start:
        raise SignalFault(f"{place}.duration", text, "a duration of at least a microsecond")
    return start, end


def _lasting(
    event: EventRequest, spans: list[tuple[int, Interval, datetime, datetime]]
) -> list[tuple[int, Interval, datetime, datetime]]:
    """Loop or cut to event.duration; PT0S, the schema's default, means neither."""
    duration = parse_duration(event.duration) if event.duration is not None else None
    if duration is None or duration.is_zero:
        return spans
    if duration.negative:
        raise SignalFault("duration", event.duration, "a duration of more than 0")
    until = duration.after(spans[0][2])
    cycle = spans[-1][3] - spans[0][2]
    lasting: list[tuple[int, Interval, datetime, datetime]] = []
    turn = 0
    while True:
        for index, interval, start, end in spans:
            if FOREVER - cycle * turn <= start or start + cycle * turn >= until:
                return lasting
            begin = start + cycle * turn
            finish = FOREVER if FOREVER - cycle * turn <= end else end + cycle * turn
            lasting.append((index, interval, begin, min(finish, until)))
            if len(lasting) > MAX_INTERVALS:
                raise SignalFault("duration", event.duration, f"no more than {MAX_INTERVALS} intervals in all")
        turn += 1


def _meaning(event: EventRequest, program: ProgramRequest) -> tuple[str, float]:
    """The one payload type of the event and its unit in kW; the event's descriptors go before the program's."""
    used = {payload.type for interval in event.intervals or () for payload in interval.payloads}
    known = sorted(used & set(PAYLOADS))
    if len(used) != 1 or len(known) != 1:
        for index, interval in enumerate(event.intervals or ()):
            for number, payload in enumerate(interval.payloads):
                if payload.type not in known[:1]:
                    raise SignalFault(
                        f"intervals[{index}].payloads[{number}].type", payload.type,
                        f"the same type in all intervals, one of {', '.join(PAYLOADS)}",
                    )
        raise SignalFault("intervals[0].payloads", [], "exactly one payload in each interval")
    kind = known[0]
    descriptors: list[tuple[str, EventPayloadDescriptor]] = [
        (f"payloadDescriptors[{index}]", descriptor)
        for descriptors_here in (event.payload_descriptors, program.payload_descriptors)
        for index, descriptor in enumerate(descriptors_here or ())
        if isinstance(descriptor, EventPayloadDescriptor) and descriptor.payload_type == kind
    ]
    if not descriptors:
        raise SignalFault("payloadDescriptors", None, f"a descriptor with the units of {kind}")
    place, descriptor = descriptors[0]
    if descriptor.units not in KW_PER_UNIT:
        raise SignalFault(f"{place}.units", descriptor.units, f"one of {', '.join(KW_PER_UNIT)}")
    return kind, KW_PER_UNIT[descriptor.units]


def _value(index: int, interval: Interval, kind: str, factor: float) -> float:
    place = f"intervals[{index}].payloads"
    if len(interval.payloads) != 1:
        raise SignalFault(place, [payload.type for payload in interval.payloads], "exactly one payload")
    values = interval.payloads[0].values
    if len(values) != 1:
        raise SignalFault(f"{place}[0].values", values, "exactly one value")
    value = values[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SignalFault(f"{place}[0].values[0]", value, "a number")
    if value < 0 and kind in _UNSIGNED:
        raise SignalFault(
            f"{place}[0].values[0]", value,
            f"0 or more for {kind}; ask for net export with a DISPATCH_SETPOINT below 0",
        )
    if abs(value) * factor > MAX_POWER_KW:
        raise SignalFault(f"{place}[0].values[0]", value, f"a power of at most {MAX_POWER_KW:.0f} kW")
    return value * factor


def _interval(start: datetime, end: datetime, kind: str, power_kw: float) -> SignalInterval:
    if kind == "EXPORT_CAPACITY_LIMIT":
        return SignalInterval(start, end, NO_LIMIT_KW, min_net_kw=-power_kw)
    if kind == "X-DISCHARGE_SETPOINT":
        return SignalInterval(start, end, -power_kw)
    return SignalInterval(start, end, power_kw)
