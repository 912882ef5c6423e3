"""Meter values: one sign, one unit, whatever the station writes."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.ocpp.readings import (
    Reading,
    UnreadableTime,
    amount_v2,
    amount_v16,
    parse_time,
    read_meter_values,
    write_time,
)

AT = "2019-07-15T13:00:00Z"


def read_16(*samples: dict[str, Any]) -> Reading:
    (reading,) = read_meter_values([{"timestamp": AT, "sampledValue": list(samples)}], amount_v16)
    return reading


def power(value: float, direction: str, **more: str) -> dict[str, Any]:
    return {"value": str(value), "measurand": f"Power.Active.{direction}"} | more


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_power_is_import_minus_export_in_kw(imported: float, exported: float) -> None:
    reading = read_16(power(imported, "Import"), power(exported, "Export"))
    assert reading.power_kw == pytest.approx((imported - exported) / 1000.0)
    assert read_16(power(exported, "Export")).power_kw == pytest.approx(-exported / 1000.0)


@given(st.lists(st.floats(0, 1e5), min_size=3, max_size=3))
def test_phases_are_summed_unless_the_total_is_there(phases: list[float]) -> None:
    parts = [power(value, "Import", phase=f"L{n}") for n, value in enumerate(phases, 1)]
    assert read_16(*parts).power_kw == pytest.approx(sum(phases) / 1000.0)
    assert read_16(*parts, power(7000, "Import")).power_kw == 7.0
    assert read_16(power(7000, "Import"), *parts).power_kw == 7.0


def test_registers_and_state_of_charge_come_in_any_unit() -> None:
    reading = read_16(
        {"value": "1.5", "unit": "kWh"},
        {"value": "250", "measurand": "Energy.Active.Export.Register", "unit": "Wh"},
        {"value": "80", "measurand": "SoC", "unit": "Percent", "location": "EV"},
        {"value": "230", "measurand": "Voltage"},
    )
    assert (reading.import_wh, reading.export_wh, reading.soc, reading.power_kw) == (1500.0, 250.0, 0.8, None)


def test_a_2_x_value_carries_its_unit_and_power_of_ten() -> None:
    samples = [
        {"value": 1.5, "unitOfMeasure": {"unit": "Wh", "multiplier": 3}},
        {"value": 11, "measurand": "Power.Active.Export", "unitOfMeasure": {"unit": "kW"}},
        {"value": 50, "measurand": "SoC"},
    ]
    (reading,) = read_meter_values([{"timestamp": AT, "sampledValue": samples}], amount_v2)
    assert (reading.import_wh, reading.power_kw, reading.soc) == (1500.0, -11.0, 0.5)


@pytest.mark.parametrize(
    "sample",
    [
        {"value": "n/a"},
        {"value": "inf"},
        {"value": "nan"},
        {"value": "6F3A", "format": "SignedData"},
        {"value": "120", "measurand": "SoC"},
        {"value": "-1", "measurand": "SoC"},
        {"value": "5", "measurand": "Power.Active.Import", "location": "Inlet"},
        {"value": "5", "measurand": "Current.Import"},
    ],
)
def test_what_says_nothing_of_use_is_no_reading(sample: dict[str, Any]) -> None:
    assert read_meter_values([{"timestamp": AT, "sampledValue": [sample]}], amount_v16) == []


def test_an_absurd_multiplier_is_no_reading() -> None:
    sample = {"value": 1, "unitOfMeasure": {"multiplier": 10**9}}
    assert read_meter_values([{"timestamp": AT, "sampledValue": [sample]}], amount_v2) == []


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_a_time_survives_the_wire_to_the_millisecond(naive: datetime, offset_minutes: int) -> None:
    when = naive.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    text = write_time(when)
    assert text.endswith("Z")
    assert timedelta(0) <= when - parse_time(text) < timedelta(milliseconds=1)


def test_a_time_without_an_offset_is_utc() -> None:
    assert parse_time(" 2019-07-15T13:00:00 ") == datetime(2019, 7, 15, 13, tzinfo=UTC)
    assert parse_time("2019-07-15T06:00:00-07:00") == datetime(2019, 7, 15, 13, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday", ""])
def test_a_time_outside_the_calendar_is_named_as_such(text: str) -> None:
    with pytest.raises(UnreadableTime, match="expected RFC 3339"):
        parse_time(text)
