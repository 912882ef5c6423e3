"""What an OpenADR event means, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aggregator.signals import NO_LIMIT_KW, SignalFault, SignalInterval, resolve_targets, to_signal
from aggregator.signals.openadr import event_end, is_cancellation
from aggregator.signals.wire import FOREVER, EventRequest, ProgramRequest, parse_duration, parse_start

NOW = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)
START = "2019-07-15T21:00:00Z"
AT_START = datetime(2019, 7, 15, 21, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROGRAM = ProgramRequest(program_name="peak")


def event(**changes: object) -> EventRequest:
    body = {
        "programID": "p1",
        "payloadDescriptors": [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}
        ],
        "intervalPeriod": {"start": START, "duration": "PT2H"},
        "intervals": [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [20]}]}],
    }
    return EventRequest.model_validate(body | changes)


def payload(value: object, kind: str = "IMPORT_CAPACITY_LIMIT", **more: object) -> dict[str, Any]:
    return {"id": 0, "payloads": [{"type": kind, "values": [value]}], **more}


def descriptor(kind: str, units: str | None = "KW") -> list[dict[str, Any]]:
    return [{"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": kind, "units": units}]


def intervals_of(request: EventRequest) -> tuple[SignalInterval, ...]:
    return to_signal(request, PROGRAM, NOW).intervals


def fault_of(request: EventRequest) -> SignalFault:
    with pytest.raises(SignalFault) as caught:
        to_signal(request, PROGRAM, NOW)
    return caught.value


def test_an_import_limit_becomes_net_power_at_or_below_it() -> None:
    assert intervals_of(event()) == (SignalInterval(AT_START, AT_START + 2 * HOUR, 20.0),)


def test_an_export_limit_is_a_lower_bound_of_net_power() -> None:
    request = event(
        payloadDescriptors=descriptor("EXPORT_CAPACITY_LIMIT"), intervals=[payload(5, "EXPORT_CAPACITY_LIMIT")]
    )
    assert intervals_of(request) == (SignalInterval(AT_START, AT_START + 2 * HOUR, NO_LIMIT_KW, -5.0),)


@pytest.mark.parametrize(
    ("kind", "value", "net_kw"),
    [("DISPATCH_SETPOINT", -10, -10), ("DISPATCH_SETPOINT", 10, 10), ("X-DISCHARGE_SETPOINT", 10, -10)],
)
def test_a_set_point_is_net_power_with_its_sign(kind: str, value: object, net_kw: float) -> None:
    request = event(payloadDescriptors=descriptor(kind), intervals=[payload(value, kind)])
    assert [interval.max_net_kw for interval in intervals_of(request)] == [net_kw]


@pytest.mark.parametrize(("units", "value"), [("KW", 20), ("W", 20_000), ("MW", 0.02)])
def test_the_unit_comes_from_the_descriptor(units: str | None, value: object) -> None:
    request = event(payloadDescriptors=descriptor("IMPORT_CAPACITY_LIMIT", units), intervals=[payload(value)])
    assert intervals_of(request)[0].max_net_kw == pytest.approx(20.0)


def test_the_program_describes_what_the_event_does_not() -> None:
    program = ProgramRequest.model_validate(
        {"programName": "peak", "payloadDescriptors": descriptor("IMPORT_CAPACITY_LIMIT", "W")}
    )
    draft = to_signal(event(payloadDescriptors=None), program, NOW)
    assert draft.intervals[0].max_net_kw == pytest.approx(0.02)


@pytest.mark.parametrize("start", ["0001-01-01", "0001-01-01T00:00:00", "0001-01-01T00:00:00Z"])
def test_the_beginning_of_time_means_now(start: str) -> None:
    request = event(intervalPeriod={"start": start, "duration": "P9999Y"})
    assert intervals_of(request) == (SignalInterval(NOW, FOREVER, 20.0),)


def test_intervals_without_a_start_follow_at_once_and_own_periods_win() -> None:
    request = event(
        intervalPeriod={"start": START, "duration": "PT1H"},
        intervals=[
            payload(30),
            payload(20, intervalPeriod={"duration": "PT30M"}),
            payload(10, intervalPeriod={"start": "2019-07-16T00:00:00+01:00"}),
        ],
    )
    spans = [(interval.start, interval.end, interval.max_net_kw) for interval in intervals_of(request)]
    assert spans == [
        (AT_START, AT_START + HOUR, 30.0),
        (AT_START + HOUR, AT_START + 1.5 * HOUR, 20.0),
        (AT_START + 2 * HOUR, AT_START + 3 * HOUR, 10.0),
    ]


def test_intervals_that_are_over_are_left_out_and_the_current_one_stays_whole() -> None:
    start = NOW - 1.5 * HOUR
    request = event(
        intervalPeriod={"start": start.isoformat(), "duration": "PT1H"},
        intervals=[payload(1), payload(2), payload(3)],
    )
    assert [(i.start, i.max_net_kw) for i in intervals_of(request)] == [(start + HOUR, 2.0), (start + 2 * HOUR, 3.0)]


def test_the_events_duration_loops_its_intervals() -> None:
    request = event(
        intervalPeriod={"start": START, "duration": "PT1H"}, duration="PT5H", intervals=[payload(1), payload(2)]
    )
    found = intervals_of(request)
    assert [i.max_net_kw for i in found] == [1, 2, 1, 2, 1]
    assert found[-1].end == AT_START + 5 * HOUR


def test_the_events_duration_cuts_its_intervals() -> None:
    request = event(duration="PT90M", intervalPeriod={"start": START, "duration": "PT1H"},
                    intervals=[payload(1), payload(2), payload(3)])
    assert [(i.start, i.end) for i in intervals_of(request)] == [
        (AT_START, AT_START + HOUR), (AT_START + HOUR, AT_START + 1.5 * HOUR)
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"payloadDescriptors": descriptor("IMPORT_CAPACITY_LIMIT", "KVA")}, "payloadDescriptors[0].units"),
        ({"payloadDescriptors": descriptor("IMPORT_CAPACITY_LIMIT", None)}, "payloadDescriptors[0].units"),
        ({"payloadDescriptors": None}, "payloadDescriptors"),
        ({"payloadDescriptors": descriptor("PRICE")}, "payloadDescriptors"),
        ({"intervals": [payload(-1)]}, "intervals[0].payloads[0].values[0]"),
        ({"intervals": [payload("20")]}, "intervals[0].payloads[0].values[0]"),
        ({"intervals": [payload(True)]}, "intervals[0].payloads[0].values[0]"),
        ({"intervals": [payload(10**9)]}, "intervals[0].payloads[0].values[0]"),
        ({"intervals": [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [1, 2]}]}]},
         "intervals[0].payloads[0].values"),
        ({"intervals": [payload(1), {"id": 1, "payloads": []}]}, "intervals[1].payloads"),
        ({"intervals": [payload(1, "PRICE")]}, "intervals[0].payloads[0].type"),
        ({"intervals": [payload(1), payload(1, "DISPATCH_SETPOINT")]}, "intervals[0].payloads[0].type"),
        ({"intervals": []}, "intervals"),
        ({"intervals": None}, "intervals"),
        ({"intervalPeriod": None}, "intervals[0].intervalPeriod"),
        ({"intervalPeriod": {"duration": "PT1H"}}, "intervals[0].intervalPeriod.start"),
        ({"intervalPeriod": {"start": START}}, "intervals[0].intervalPeriod.duration"),
        ({"intervalPeriod": {"start": START, "duration": "PT0S"}}, "intervals[0].intervalPeriod.duration"),
        ({"intervalPeriod": {"start": START, "duration": "-PT1H"}}, "intervals[0].intervalPeriod.duration"),
        ({"intervals": [payload(1), payload(2, intervalPeriod={"start": "2019-07-15T22:59:00Z"})]},
         "intervals[1].intervalPeriod.start"),
        ({"intervals": [payload(1), payload(2, intervalPeriod={"start": "2019-07-15T12:00:00Z"})]},
         "intervals[1].intervalPeriod.start"),
        ({"intervalPeriod": {"start": "2019-07-15T15:00:00Z", "duration": "PT2H"}}, "intervals"),
        ({"duration": "P9999Y"}, "duration"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_field_named(changes: dict[str, Any], field: str) -> None:
    assert fault_of(event(**changes)).field == field


def test_an_endless_interval_cannot_be_followed() -> None:
    request = event(intervalPeriod={"start": START, "duration": "P9999Y"}, intervals=[payload(1), payload(2)])
    assert fault_of(request).field == "intervals[1].intervalPeriod.start"


@pytest.mark.parametrize(
    "changes",
    [
        {"intervalPeriod": {"start": "2019-07-15T21:00:00", "duration": "PT1H"}},
        {"intervalPeriod": {"start": START, "duration": "1h"}},
        {"intervalPeriod": {"start": START, "duration": "P"}},
        {"programID": "with space"},
        {"priority": -1},
        {"intervals": [{"id": 0, "payloads": [{"type": "X", "values": [float("inf")]}]}]},
    ],
)
def test_what_breaks_the_schema_never_becomes_an_event(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        event(**changes)


def test_a_cancelled_event_has_no_time_of_its_own() -> None:
    void = event(intervalPeriod={"start": "0001-01-01", "duration": "PT0S"})
    assert is_cancellation(void)
    assert event_end(void, NOW) is None
    assert not is_cancellation(event())
    assert event_end(event(), NOW) == AT_START + 2 * HOUR


def test_names_do_not_change_what_is_asked_but_values_do() -> None:
    first = to_signal(event(), PROGRAM, NOW).content_hash
    assert to_signal(event(eventName="again"), PROGRAM, NOW + HOUR).content_hash == first
    assert to_signal(event(intervals=[payload(21)]), PROGRAM, NOW).content_hash != first


def test_targets_name_sites_and_none_means_all() -> None:
    assert resolve_targets([], ["a", "b"]) == ("a", "b")
    assert resolve_targets(["site:b", "b"], ["a", "b"]) == ("b",)
    with pytest.raises(SignalFault) as caught:
        resolve_targets(["a", "c"], ["a", "b"])
    assert caught.value.field == "targets[1]"


@given(
    st.integers(0, 20), st.integers(0, 30), st.integers(0, 400), st.integers(0, 80), st.integers(0, 200),
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001  made aware below
)
def test_durations_without_months_add_up_and_months_keep_the_day_where_they_can(
    years: int, months: int, days: int, hours: int, secs: int, at: datetime
) -> None:
    at = at.replace(tzinfo=UTC)
    exact = parse_duration(f"P{days}DT{hours}H{secs}S").after(at)
    assert exact == at + timedelta(days=days, hours=hours, seconds=secs)
    moved = parse_duration(f"P{years}Y{months}M").after(at)
    assert (moved.year * 12 + moved.month) - (at.year * 12 + at.month) == 12 * years + months
    assert moved.day == at.day or (moved + timedelta(days=1)).day == 1


@given(st.text(max_size=30))
def test_any_text_is_a_start_or_a_value_error(text: str) -> None:
    try:
        when = parse_start(text)
    except ValueError:
        return
    assert when is None or when.utcoffset() == timedelta(0)
