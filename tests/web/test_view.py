"""Texts of the live page say what the snapshot says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.ocpp.events import ConnectorState, OcppVersion
from aggregator.web import ChargerRow, LiveSnapshot, SitePoint
from aggregator.web.sketch import HEIGHT, WIDTH, day_sketch
from aggregator.web.view import age, chart_points, clock_text, kw, live_view, signed_kw

NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
PICTURE = LiveSnapshot("site", "America/Los_Angeles", NOON, 480.0, 120.0, net_kw=84.25)


def cells(**changes: object) -> dict[str, str | float]:
    return live_view(replace(PICTURE, **changes)).cells  # type: ignore[arg-type]


def test_time_is_the_sites_own() -> None:
    assert cells()["clock.time"] == "12:00:00"
    assert "Monday 15 July 2019, PDT" in str(cells()["clock.date"])


@pytest.mark.parametrize(
    ("limits", "room"),
    [
        ({}, "35.8 kW below the cap"),
        ({"limit_kw": 70.0}, "14.2 kW above the mandatory limit"),
        ({"limit_kw": 90.0, "target_kw": 20.0}, "64.2 kW above the event target"),
        ({"target_kw": 150.0}, "35.8 kW below the cap"),
        ({"net_kw": None}, "–"),
    ],
)
def test_room_is_counted_to_the_lowest_ceiling_in_force(limits: dict[str, float], room: str) -> None:
    assert cells(**limits)["site.room"] == room


@given(st.floats(-500, 500))
def test_powers_read_back_as_the_number_they_show(value: float) -> None:
    for text in (kw(value), signed_kw(value)):
        assert "-" not in text
        assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.051)
        assert text.lstrip("+") not in ("−0.0", "")


def test_a_discharging_car_is_told_by_its_meter_whatever_the_dialect_calls_it() -> None:
    row = ChargerRow("A", OcppVersion.V21, True, ConnectorState.CHARGING, power_kw=-8.4)
    shown = cells(chargers=(row,))
    assert (shown["A/glyph"], shown["A/state"], shown["A/power"]) == ("▼", "Discharging", "−8.4")


def test_every_state_has_words_and_a_glyph_of_its_own() -> None:
    seen = set()
    for state in ConnectorState:
        shown = cells(chargers=(ChargerRow("A", OcppVersion.V16, True, state),))
        seen.add((shown["A/glyph"], shown["A/state"]))
    offline = cells(chargers=(ChargerRow("A", OcppVersion.V16, False, ConnectorState.CHARGING, power_kw=6.0),))
    seen.add((offline["A/glyph"], offline["A/state"]))
    assert len({glyph for glyph, _ in seen}) == len({words for _, words in seen}) == len(ConnectorState) + 1


def test_an_assumed_departure_says_so() -> None:
    row = ChargerRow("A", OcppVersion.V16, True, ConnectorState.CHARGING, departure=NOON + timedelta(hours=3))
    assert cells(chargers=(row,))["A/departure"] == "15:00 assumed"
    assert cells(chargers=(replace(row, is_declared=True),))["A/departure"] == "15:00"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1.0 h"), (-5, "0 s")])
def test_age_is_told_in_its_coarsest_unit(seconds: float, text: str) -> None:
    assert age(NOON - timedelta(seconds=seconds), NOON) == text


def test_a_clock_change_never_folds_the_chart_back() -> None:
    night = datetime(2019, 11, 3, 7, 0, tzinfo=UTC)  # 01:00 happens twice in Los Angeles
    history = tuple(SitePoint(night + timedelta(minutes=m), net_kw=float(m)) for m in range(240))
    points = chart_points(history, ZoneInfo("America/Los_Angeles"))
    assert len(points) == 240
    assert list(points) == sorted(points)


@given(st.lists(st.none() | st.floats(-100, 300), min_size=2, max_size=30))
def test_the_sketch_stays_inside_its_box(nets: list[float | None]) -> None:
    points = {k: (None, None, net, None, 120.0, None, None) for k, net in enumerate(nets)}
    sketch = day_sketch(points)
    numbers = [
        (float(x), float(y))
        for line in sketch.lines if line.name == "net"
        for x, y in (pair.split() for pair in line.path.replace("M", "L").split("L")[1:])
    ]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in numbers)
    assert {line.name for line in sketch.lines} <= {"net", "cap"}


def test_a_time_at_the_end_of_the_calendar_is_shown_in_utc() -> None:
    assert clock_text(datetime(1, 1, 1, tzinfo=UTC), ZoneInfo("America/Los_Angeles")) == "00:00 UTC"
