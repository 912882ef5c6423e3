"""Many cars at once: each slot lives as if it were alone, at its own times, and its past can be read."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import Battery, LossCurve, PowerCurve, Vehicle
from twin.battery import FleetState, SlotOccupied

CAPACITY_KWH = 60.0
TAPER = PowerCurve((0.0, 0.1, 0.6, 0.8, 1.0), (4.0, 30.0, 25.0, 8.0, 0.0))
FADE = PowerCurve((0.0, 0.2, 0.5, 1.0), (0.0, 4.0, 30.0, 30.0))
FLAT = PowerCurve((0.0, 1.0), (50.0, 50.0))
CARS = (
    Vehicle("plain", Battery(CAPACITY_KWH, FLAT), 11.0),
    Vehicle("taper", Battery(CAPACITY_KWH, TAPER, FADE, LossCurve(0.1, 0.03, 0.003)), 22.0, 11.0),
    Vehicle("window", Battery(CAPACITY_KWH, TAPER, FLAT, LossCurve(0.0, 0.05), 0.2, 0.8), 11.0, 11.0, 1.4),
)
CLASSES = (*CARS, CARS[1])
PAIR_LOSSES = (None, None, None, LossCurve(0.3, 0.02, 0.001))
SLOTS = 5
READINGS = ("energy_kwh", "import_kwh", "export_kwh", "loss_kwh", "power_kw")


@dataclass
class Instant:
    """What happens between one look and the next: for each slot a time of its own, maybe a car, maybe an order."""

    span_s: float
    share: list[float]
    replaced: list[bool]
    kind: list[int]
    soc: list[float]
    kw: list[float]
    asks_all: bool


def per_slot(strategy: st.SearchStrategy) -> st.SearchStrategy:  # type: ignore[type-arg]
    return st.lists(strategy, min_size=SLOTS, max_size=SLOTS)


instants = st.lists(
    st.builds(
        Instant, st.floats(1.0, 7200.0), per_slot(st.floats(0.01, 0.99)), per_slot(st.booleans()),
        per_slot(st.integers(0, 3)), per_slot(st.floats(0.0, 1.0)), per_slot(st.floats(-15.0, 25.0)), st.booleans(),
    ),
    min_size=1, max_size=6,
)


def fleet_of(n: int, *, keep_history: bool = False) -> FleetState:
    return FleetState(n, CLASSES, losses=PAIR_LOSSES, keep_history=keep_history)


def live(fleet: FleetState, slots: list[int], plan: list[Instant], *, own_clock: bool) -> list[np.ndarray]:
    """Readings after each instant. `fleet` holds only `slots` of the plan; a lone car may be given its own clock."""
    seen, now = [], 0.0
    everybody = np.arange(len(slots))
    for instant in plan:
        chosen = np.array(slots)
        at_s = now + np.array(instant.share)[chosen] * instant.span_s
        now += instant.span_s
        fleet.advance_to(float(at_s[0]) if own_clock else now)
        times = None if own_clock else at_s
        comes = np.flatnonzero(np.array(instant.replaced)[chosen])
        if comes.size:
            who, came = chosen[comes], None if times is None else times[comes]
            fleet.unplug_many(everybody[comes], came)
            fleet.plug_many(
                everybody[comes], np.array(instant.kind)[who], CAPACITY_KWH * np.array(instant.soc)[who],
                np.full(comes.size, 9.0), np.full(comes.size, math.inf), came,
            )
        fleet.set_powers(everybody, np.array(instant.kw)[chosen], times)
        fleet.advance_to(now)
        if instant.asks_all:
            fleet.set_powers(None, -0.7 * np.array(instant.kw)[chosen])
        seen.append(np.array([getattr(fleet, name) for name in READINGS]))
    return seen


@settings(max_examples=60, deadline=None)
@given(plan=instants)
def test_many_slots_at_their_own_times_equal_each_slot_alone_on_its_own_clock(plan: list[Instant]) -> None:
    together = fleet_of(SLOTS)
    seen = live(together, list(range(SLOTS)), plan, own_clock=False)
    for slot in range(SLOTS):
        alone = fleet_of(1)
        for one, many in zip(live(alone, [slot], plan, own_clock=True), seen, strict=True):
            np.testing.assert_allclose(many[:, slot], one[:, 0], rtol=1e-12, atol=1e-12)
    assert together.ledger().relative_residual <= 1e-9


@settings(max_examples=30, deadline=None)
@given(plan=instants)
def test_an_order_to_all_equals_orders_to_each(plan: list[Instant]) -> None:
    rows, single = fleet_of(SLOTS), fleet_of(SLOTS)
    every = np.arange(SLOTS)
    for fleet in (rows, single):
        fleet.plug_many(every, np.array([0, 1, 2, 3, 1]), np.linspace(5, 55, SLOTS), np.zeros(SLOTS),
                        np.full(SLOTS, 50.0))
    for instant in plan:
        kw = np.array(instant.kw)
        rows.set_powers(None, kw)
        for slot in range(SLOTS):
            single.set_power(slot, kw[slot])
        for fleet in (rows, single):
            fleet.advance(instant.span_s)
        np.testing.assert_allclose(rows.energy_at_now, single.energy_kwh, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(rows.import_at_now, single.import_kwh, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(rows.export_at_now, single.export_kwh, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(rows.loss_at_now, single.loss_kwh, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        rows.registers_many(every), [single.import_kwh, single.export_kwh, single.loss_kwh], rtol=1e-12, atol=1e-12
    )


@settings(max_examples=30, deadline=None)
@given(plan=instants)
def test_the_history_tells_what_was_read_at_the_time(plan: list[Instant]) -> None:
    fleet = fleet_of(SLOTS, keep_history=True)
    seen = live(fleet, list(range(SLOTS)), plan, own_clock=False)
    edges = np.cumsum([instant.span_s for instant in plan])
    net_kwh, energy_kwh = fleet.history().at(edges, SLOTS)
    for edge, readings in enumerate(seen):
        energy, imported, exported = readings[:3]
        np.testing.assert_allclose(energy_kwh[:, edge], energy, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(net_kwh[:, edge], imported - exported, rtol=1e-10, atol=1e-11)


def test_looking_changes_nothing_to_the_last_bit() -> None:
    silent, watched = fleet_of(1), fleet_of(1)
    for fleet in (silent, watched):
        fleet.plug(0, CARS[1], 30.0)
        fleet.set_power(0, 22.0)
    for _ in range(90):
        silent.advance(97.0)
        watched.advance(97.0)
        assert watched.power_kw[0] >= 0.0
        assert watched.energy_kwh[0] >= 30.0
        assert watched.next_change_s() > 0.0
    for name in READINGS:
        assert getattr(silent, name)[0] == getattr(watched, name)[0], name


def test_a_pair_with_a_charger_of_its_own_losses_pays_those_and_not_the_cars() -> None:
    fleet = FleetState(2)
    fleet.plug(0, CARS[2], 20.0, loss=LossCurve(proportional=0.1))
    fleet.plug(1, CARS[2], 20.0)
    fleet.set_powers(np.array([0, 1]), np.array([5.0, 5.0]))
    fleet.advance(3600.0)
    np.testing.assert_allclose(fleet.energy_kwh - 20.0, [5.0 / 1.1, 5.0 / 1.05], rtol=1e-12)
    assert fleet.class_of(CARS[2]) != fleet.class_of(CARS[2], LossCurve(proportional=0.1))
    assert fleet.class_of(CARS[2], CARS[2].battery.loss) == fleet.class_of(CARS[2])


@pytest.mark.parametrize("proportional", [0.03, 0.07, 0.12])
def test_a_full_cycle_through_a_dc_charger_returns_exactly_both_efficiencies(proportional: float) -> None:
    car = Vehicle("dc", Battery(CAPACITY_KWH, FLAT, FLAT, LossCurve(0.5, 0.2, 0.01)), 50.0, 50.0)
    fleet = FleetState(1)
    fleet.plug(0, car, 6.0, floor_kwh=6.0, loss=LossCurve(proportional=proportional))
    fleet.set_power(0, 40.0)
    fleet.advance(36000.0)
    fleet.set_power(0, -40.0)
    fleet.advance(36000.0)
    assert fleet.energy_kwh[0] == 6.0
    assert fleet.export_kwh[0] / fleet.import_kwh[0] == pytest.approx(
        (1.0 - proportional) * (1.0 / (1.0 + proportional)), rel=1e-12
    )


def test_a_knot_so_narrow_that_rounding_passes_it_stops_nobody() -> None:
    cliff = PowerCurve((0.0, 0.5, 0.5 + 1e-15, 0.7, 0.7 + 1e-9, 1.0), (40.0, 40.0, 7.0, 7.0, 2.0, 2.0))
    car = Vehicle("cliff", Battery(CAPACITY_KWH, cliff, cliff), 22.0, 22.0)
    fleet = FleetState(2)
    for slot in range(2):
        fleet.plug(slot, car, 29.0 + 1e-9 * slot)
    fleet.set_powers(None, np.full(2, 22.0))
    fleet.advance(36 * 3600.0)
    # 1 kWh at 22 kW, 12 kWh at 7 kW, then 18 kWh at 2 kW.
    np.testing.assert_allclose(fleet.energy_kwh, 60.0)
    fleet.set_powers(None, np.full(2, -22.0))
    fleet.advance(3600.0 * (18.0 / 2.0 + 12.0 / 7.0 + 0.5))
    np.testing.assert_allclose(fleet.energy_kwh, 30.0 - 0.5 * 22.0, atol=1e-6)
    assert fleet.ledger().relative_residual <= 1e-12


def test_one_occupied_slot_refuses_the_whole_array_and_changes_nothing() -> None:
    fleet = fleet_of(3)
    fleet.plug(1, CARS[0], 10.0)
    two = np.array([0, 1])
    with pytest.raises(SlotOccupied, match="slot 1"):
        fleet.plug_many(two, np.array([0, 0]), np.array([1.0, 1.0]), np.zeros(2), np.full(2, np.inf))
    with pytest.raises(ValueError, match=r"energy_kwh: 60\.5, expected between 0 and 60\.0 kWh"):
        fleet.plug_many(np.array([0, 2]), np.array([0, 0]), np.array([1.0, 60.5]), np.zeros(2), np.full(2, np.inf))
    assert fleet.is_plugged.tolist() == [False, True, False]


def test_nothing_happens_before_it_was_last_seen_nor_in_the_future() -> None:
    fleet = fleet_of(2)
    fleet.plug(0, CARS[0], 10.0)
    fleet.advance(100.0)
    fleet.set_power(0, 5.0)
    with pytest.raises(ValueError, match=r"at_s: 99\.0"):
        fleet.set_powers(np.array([0]), np.array([6.0]), np.array([99.0]))
    with pytest.raises(ValueError, match=r"now \(100\.0\)"):
        fleet.unplug_many(np.array([0]), np.array([101.0]))


def test_an_empty_park_has_nothing_to_say() -> None:
    fleet = FleetState(0)
    fleet.set_powers(None, np.zeros(0))
    fleet.advance(3600.0)
    assert fleet.energy_at_now.size == 0
    assert fleet.next_change_s() == math.inf
    assert fleet.ledger().relative_residual == 0.0
