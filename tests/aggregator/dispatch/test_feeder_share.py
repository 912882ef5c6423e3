"""What chargers draw that nobody plans for, on the demo's garage."""

import re
from datetime import UTC, datetime

import numpy as np
import pytest

from aggregator.demo.feeder import BOARD_AC, BOARD_DC, BUILDING, garage_feeder
from aggregator.dispatch.feeder_share import FeederRoom, fallback_fault, fitted_fallback
from aggregator.planning.site.forecast import BaseLoadForecast
from aggregator.planning.street.known import Neighbour, Street
from twin.assets import TimeGrid
from twin.feeder.scene import Limits
from twin.feeder.second_engine.check import Checker

NOW = datetime(2026, 5, 4, 9, 20, tzinfo=UTC)
ZONE = "Europe/Berlin"
ON_C = tuple(f"C{k}" for k in range(6))
PLACES = {**dict.fromkeys(ON_C, (BOARD_AC, "c")), "A0": (BOARD_AC, "a"), "D0": (BOARD_DC, "abc")}
LEAST = dict.fromkeys(PLACES, 1.4)


def street(*neighbours: Neighbour, limits: Limits | None = None) -> Street:
    return Street(garage_feeder(), BUILDING, PLACES, neighbours, limits=limits or Limits())


def amperes_of_c(here: Street, power_kw: dict[str, float], at: datetime = NOW) -> float:
    """Current of the board's cable on phase c, by the second engine."""
    scene = here.scene(TimeGrid(at, 60, 1), np.array([40.0]))
    kw = np.array([[power_kw.get(name, 0.0)] for name in scene.evse_ids])
    from_a = Checker(scene.feeder).solve(scene.flow().solve(*scene.demand_w(kw))).from_a
    return float(from_a.reshape(len(scene.feeder.lines), -1)[1, 2])


def test_a_car_that_comes_to_a_full_phase_waits_and_one_on_another_phase_does_not() -> None:
    ordered = {**dict.fromkeys(ON_C[:4], 6.656), "D0": 10.0}
    assert 115.0 < amperes_of_c(street(), ordered) < 125.0
    found = FeederRoom(street(), LEAST).share(ordered, {"C4": 4.4, "A0": 4.4}, 40.0, NOW)
    assert found["A0"] == 4.4
    assert found["C4"] == 0.0, "what is left is less than the least it can be told"
    assert amperes_of_c(street(), {**ordered, "C4": 4.4}) > 133.0, "with its fallback share it would be too much"


def test_newcomers_share_what_is_left_and_the_second_engine_finds_the_cable_just_full() -> None:
    ordered = dict.fromkeys(ON_C[:3], 6.656)
    found = FeederRoom(street(), LEAST).share(ordered, {"C3": 6.0, "C4": 3.0}, 40.0, NOW)
    assert found["C3"] / found["C4"] == pytest.approx(2.0)
    assert 124.0 < amperes_of_c(street(), {**ordered, **found}) < 125.0 * 1.003


def test_what_neighbours_draw_in_this_hour_counts() -> None:
    evening = Neighbour(BOARD_AC, BaseLoadForecast((0.0,) * 17 + (30.0,) * 7, ZONE))
    room = FeederRoom(street(evening), LEAST)
    ordered = dict.fromkeys(ON_C[:3], 6.0)
    assert room.share(ordered, {"C3": 4.4}, 40.0, NOW) == {"C3": 4.4}
    assert room.share(ordered, {"C3": 4.4}, 40.0, NOW.replace(hour=18)) == {"C3": 0.0}


def test_orders_that_are_beyond_a_limit_themselves_leave_a_newcomer_nothing() -> None:
    ordered = dict.fromkeys(ON_C[:5], 6.656)
    assert FeederRoom(street(), dict.fromkeys(PLACES, 0.0)).share(ordered, {"C5": 4.4}, 40.0, NOW)["C5"] < 0.1


def test_chargers_of_one_phase_alone_are_looked_at_too() -> None:
    """Where all are out of contact the phases balance each other; where those of one phase are, they do not."""
    places = {f"{phase}{k}": (BOARD_AC, phase) for phase in "abc" for k in range(4)}
    balanced = Street(garage_feeder(), BUILDING, places, limits=Limits(unbalance=0.004))
    shares = dict.fromkeys(places, 4.4)
    scene = balanced.worst_day(40.0, ZONE)
    together = scene.flow().solve(*scene.demand_w(np.full((12, 24), 4.4)))
    assert together.unbalance().max() < 0.004
    assert "unbalance at board-ac" in (fallback_fault(balanced, 40.0, ZONE, shares) or "")
    fitting = fitted_fallback(balanced, 40.0, ZONE, shares, dict.fromkeys(places, 0.0))
    assert 0.0 < max(fitting.values()) < 4.4
    assert fallback_fault(balanced, 40.0, ZONE, fitting) is None


def test_the_worst_hour_of_the_neighbours_is_named() -> None:
    evening = Neighbour(BOARD_AC, BaseLoadForecast((0.0,) * 18 + (60.0,) + (0.0,) * 5, ZONE))
    fault = fallback_fault(street(evening), 40.0, ZONE, dict.fromkeys(PLACES, 3.0))
    assert fault is not None
    assert fault.startswith("line cable-ac phase c at 1")
    assert fault.endswith("% of at most 100 % in hour 18")


def test_a_limit_that_base_loads_alone_cross_is_told_as_such() -> None:
    heavy = Neighbour(BOARD_AC, BaseLoadForecast((0.0,) * 18 + (200.0,) + (0.0,) * 5, ZONE))
    fault = fallback_fault(street(heavy), 40.0, ZONE, dict.fromkeys(PLACES, 3.0))
    assert fault is not None
    told = re.fullmatch(
        r"line cable-ac phase c at (\d+) % of at most 100 % in hour 18, where base loads alone take it to (\d+) %",
        fault,
    )
    assert told is not None, fault
    base_a = amperes_of_c(street(heavy), {}, NOW.replace(hour=16, minute=30))
    assert float(told[2]) == pytest.approx(100.0 * base_a / 125.0, rel=0.01)
    assert float(told[1]) > float(told[2])
