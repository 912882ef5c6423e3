"""The engine on arrays: equal to the replay of objects, and the same however time, replicas and tables are cut."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twin import engine, replay
from twin.assets import (
    AssetError,
    Battery,
    Current,
    Evse,
    LossCurve,
    PowerCurve,
    Response,
    Schedule,
    Site,
    Sleep,
    TimeGrid,
    Vehicle,
    Visit,
    World,
    utc,
)
from twin.controllers import Controller, FleetView, FollowSchedule, Proportional, Uncontrolled
from twin.engine import VisitsOverlap, run
from twin.engine.of_world import WorldController, ensemble_of, visits_in_order
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultIntervals, FaultKind, FaultModel, FaultPlan
from twin.faults import draw as draw_faults
from twin.replay import WorldView
from twin.visits import Revisions, VisitTable, VisitTableError

START = utc("2019-07-15T13:00:00Z")
HOUR = 3600.0
TAPER = PowerCurve((0.0, 0.8, 1.0), (30.0, 30.0, 1.5))
GIVING = PowerCurve((0.0, 0.1, 1.0), (0.0, 20.0, 20.0))
BOTH_WAYS = Vehicle("both", Battery(60.0, TAPER, GIVING, LossCurve(0.12, 0.03, 0.0033)), 11.0, 11.0)
BIG = Vehicle("big", Battery(100.0, PowerCurve((0.0, 1.0), (50.0, 50.0)), GIVING), 11.0, 11.0)
"""A lossless car that never tapers at the powers used here: every expected figure is power times hours."""
RESPONSES = (Response(), Response(7.0, 3.3), Response(2.5), Response(0.0, 0.7))


def fleet(n: int = 1, *, replicas: int = 1, vehicle: Vehicle = BIG, response: Response | None = None, hours: int = 4,
          step_s: int = 900, cap_kw: float = 1000.0, least_kw: float = 0.0) -> Ensemble:
    steps = int(hours * HOUR / step_s)
    evses = tuple(Evse(f"E{k}", "S", Current.DC, 11.0, least_kw, 11.0, response or Response()) for k in range(n))
    row = np.full((1, steps), cap_kw)
    return Ensemble((Site("S", "UTC", cap_kw, cap_kw),), evses, (vehicle,), TimeGrid(START, step_s, steps),
                    np.zeros((1, steps)), row, row, replicas)


def table(*rows: tuple[int, float, float], energy: float = 10.0, target: float = 100.0, floor: float = 0.0,
          replica: list[int] | None = None) -> VisitTable:
    """Visits as (EVSE, arrival in s, departure in s)."""
    evse, arrival, departure = (np.array(column) for column in zip(*rows, strict=True))
    n = len(rows)
    return VisitTable(
        evse.astype(np.int64), np.zeros(n, dtype=np.int64), arrival.astype(float), departure.astype(float),
        departure.astype(float), np.full(n, energy), np.full(n, target), np.full(n, floor),
        None if replica is None else np.array(replica),
    )


class Hold:
    """Orders the same power everywhere, always."""

    charges_to_target = False
    asks_between = True

    def __init__(self, kw: float) -> None:
        self.kw = kw

    def setpoints(self, view: FleetView) -> NDArray[np.float64]:
        return np.full(view.ensemble.slots, self.kw)


class Hourly(Hold):
    """Orders another power in each hour."""

    def __init__(self, *kw: float) -> None:
        super().__init__(0.0)
        self.by_hour = kw

    def setpoints(self, view: FleetView) -> NDArray[np.float64]:
        return np.full(view.ensemble.slots, self.by_hour[int(view.now_s // HOUR)])


def healthy(slots: int) -> FaultPlan:
    none = np.zeros(0, dtype=np.int64)
    return FaultPlan(FaultIntervals(none, none, np.zeros(0), np.zeros(0), np.zeros(0)), np.zeros(slots),
                     np.zeros(slots), np.ones(slots), np.zeros(slots), fallback_kw=np.zeros(slots))


def fault(kind: FaultKind, begin_s: float, end_s: float, value: float = 0.0, slots: int = 1) -> FaultPlan:
    number = tuple(FaultKind).index(kind)
    intervals = FaultIntervals(np.array([number]), np.array([0]), np.array([begin_s]), np.array([end_s]),
                               np.array([value]))
    return replace(healthy(slots), intervals=intervals)


NOBODY_CHANGES = Revisions(*(np.zeros(0, dtype=np.int64) for _ in range(2)), *(np.zeros(0) for _ in range(3)))
"""Revisions without a row: switches the handling of whole steps at once off, and changes nothing else."""


@st.composite
def random_worlds(draw: st.DrawFn) -> tuple[World, Schedule]:
    """Up to four EVSEs of different hardware, cars that come and go at odd seconds, and a schedule both ways."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, steps = int(rng.integers(1, 5)), 16
    grid = TimeGrid(START, 900, steps)
    evses = tuple(Evse(f"E{k}", "S", Current.DC, 11.0, float(rng.choice([0.0, 1.4])), 11.0,
                       RESPONSES[int(rng.integers(len(RESPONSES)))]) for k in range(n))
    visits = []
    for k in range(n):
        second = float(rng.integers(-1000, 2000))
        while second < 900 * steps:
            stay = float(rng.integers(60, 9000)) + float(rng.choice([0.0, 0.25]))
            vehicle = (BOTH_WAYS, BIG)[int(rng.integers(2))]
            visits.append(Visit(f"v{k}.{len(visits)}", f"E{k}", vehicle, START + timedelta(seconds=second),
                                START + timedelta(seconds=second + stay), float(rng.uniform(5, 58)), 55.0, 12.0))
            second += stay + float(rng.choice([0.0, rng.integers(0, 3000)]))
    ones = np.ones(steps)
    world = World(Site("S", "UTC", 100.0, 100.0), evses, tuple(visits), grid, 20 * ones, 100 * ones, 100 * ones)
    return world, Schedule(grid, tuple(evse.id for evse in evses), rng.uniform(-11, 11, (n, steps)))


def assert_same(world: World, fast: Outcome, slow: replay.Run) -> None:
    hours = world.grid.step_hours
    assert fast.evse_kwh is not None
    assert fast.battery_kwh is not None
    np.testing.assert_allclose(fast.evse_kwh[0], slow.evse_step_kw * hours, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fast.battery_kwh[0], slow.energy_kwh, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fast.net_kw[0, 0], slow.step_net_kw, rtol=1e-9, atol=1e-9)
    rows = visits_in_order(world)
    assert {rows[row].id for row in fast.visits.row.tolist()} == set(slow.visits)
    for place, row in enumerate(fast.visits.row.tolist()):
        out = slow.visits[rows[row].id]
        assert fast.visits.has_left[place] == out.has_left
        assert fast.visits.energy_kwh[place] == pytest.approx(out.energy_kwh, rel=1e-9)
        assert fast.visits.imported_kwh[place] == pytest.approx(out.imported_kwh, rel=1e-9, abs=1e-9)
        assert fast.visits.exported_kwh[place] == pytest.approx(out.exported_kwh, rel=1e-9, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(random_worlds())
def test_it_equals_the_replay_of_objects_on_any_world(drawn: tuple[World, Schedule]) -> None:
    world, schedule = drawn
    ensemble, visits = ensemble_of(world)
    slow = replay.simulate(world, replay.FollowSchedule(schedule))
    assert_same(world, run(ensemble, visits, FollowSchedule(schedule)), slow)


class FillTheEmptiest:
    """An object-style planner that uses all its view offers: full power to the emptiest car, and some back."""

    def ceiling_kwh(self, visit: Visit) -> float:
        del visit
        return np.inf

    def setpoints(self, now: datetime, view: WorldView) -> Mapping[str, float]:
        assert now >= view.world.grid.start
        there = [slot for slot, visit in enumerate(view.visits) if visit is not None]
        if not there:
            return {}
        energy = view.energy_kwh
        emptiest, fullest = min(there, key=lambda slot: energy[slot]), max(there, key=lambda slot: energy[slot])
        orders = {view.evse_ids[fullest]: -5.0 if view.registers_kwh(fullest)[0] > 3.0 else 2.0}
        orders[view.evse_ids[emptiest]] = 11.0 - 0.1 * float(view.power_kw[emptiest])
        return orders


@settings(max_examples=15, deadline=None)
@given(random_worlds())
def test_a_planner_of_objects_decides_the_same_in_both_engines(drawn: tuple[World, Schedule]) -> None:
    world, _ = drawn
    slow = replay.simulate(world, FillTheEmptiest())
    ensemble, visits = ensemble_of(world)
    assert_same(world, run(ensemble, visits, WorldController(world, FillTheEmptiest())), slow)


def random_visits(rng: np.random.Generator, ensemble: Ensemble) -> VisitTable:
    """Several visits per slot at odd seconds, other ones in every replica."""
    end = ensemble.grid.step_s * ensemble.grid.steps
    rows = []
    for slot in range(ensemble.slots):
        second = float(rng.integers(-1000, 2500))
        while second < end:
            stay = float(rng.integers(5, 7000))
            rows.append((second, slot, second + stay, rng.uniform(5, 55), rng.uniform(20, 60)))
            second += stay + float(rng.choice([0, rng.integers(0, 2000)]))
    rows.sort()
    come, slot, go, energy, target = (np.array(column) for column in zip(*rows, strict=True))
    n, evses = len(rows), len(ensemble.evses)
    return VisitTable(slot.astype(np.int64) % evses, np.zeros(n, dtype=np.int64), come, go, go, energy, target,
                      np.full(n, 12.0), slot.astype(np.int64) // evses)


@pytest.mark.parametrize("controller", [Uncontrolled(), Proportional(), Hold(11.0)], ids=["free", "shared", "held"])
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_seeing_to_a_whole_step_at_once_changes_nothing(controller: Controller, seed: int) -> None:
    ensemble = fleet(4, replicas=2, vehicle=BOTH_WAYS, cap_kw=25.0)
    visits = random_visits(np.random.default_rng(seed), ensemble)
    patient = run(ensemble, visits, controller)
    one_by_one = run(ensemble, visits, controller, revisions=NOBODY_CHANGES)
    assert patient.digest() == one_by_one.digest()
    np.testing.assert_allclose(patient.import_kwh, one_by_one.import_kwh, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(patient.battery_kwh, one_by_one.battery_kwh, rtol=1e-9, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_faults_of_a_whole_step_seen_to_at_once_change_nothing(seed: int) -> None:
    often = FaultModel(
        down_mtbf_h=2.0, down_mttr_h=0.3, outage_mtbf_h=2.0, outage_mttr_h=0.5, ignores_mtbf_h=3.0, ignores_mttr_h=0.2,
        derated_mtbf_h=3.0, derated_mttr_h=0.4, stuck_share=0.2, stuck_repair_h=0.2, fallback_kw=2.0,
    )
    ensemble = fleet(4, replicas=2, vehicle=BOTH_WAYS, cap_kw=25.0)
    visits = random_visits(np.random.default_rng(seed), ensemble)
    faults = draw_faults(often, evses=4, replicas=2, seconds=4 * HOUR, seed=seed, visits=visits)
    patient = run(ensemble, visits, Proportional(), faults=faults)
    one_by_one = run(ensemble, visits, Proportional(), faults=faults, revisions=NOBODY_CHANGES)
    assert {"down", "outage"} <= set(patient.occurrences)
    assert patient.digest() == one_by_one.digest()
    np.testing.assert_allclose(patient.import_kwh, one_by_one.import_kwh, rtol=1e-9, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(RESPONSES))
def test_replicas_give_the_same_digest_together_in_blocks_and_alone(seed: int, response: Response) -> None:
    ensemble = fleet(3, replicas=4, vehicle=BOTH_WAYS, response=response, cap_kw=20.0)
    rng = np.random.default_rng(seed)
    visits = random_visits(rng, ensemble)
    faults = replace(healthy(12), order_loss=np.full(12, 0.4), order_delay_s=rng.uniform(0, 9, 12), seed=seed)
    controller = Proportional(asks_between=True)
    together = run(ensemble, visits, controller, faults=faults)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "BLOCK_SLOTS", 6)
        assert run(ensemble, visits, controller, faults=faults).digest() == together.digest()
    alone = []
    for number in range(4):
        own = np.flatnonzero(visits.replica == number)
        mine = run(
            ensemble.part(number, number + 1), replace(visits.take(own), replica=None), controller,
            faults=engine.fault_part(faults, range(number, number + 1), 3),
        )
        alone.append(replace(mine, visits=replace(mine.visits, row=own[mine.visits.row])))
    merged = Outcome.merge(alone)
    assert merged.digest() == together.digest()
    np.testing.assert_allclose(merged.import_kwh, together.import_kwh, rtol=1e-9, atol=1e-12)


def test_neither_the_tick_nor_the_tables_change_the_digest() -> None:
    rng = np.random.default_rng(7)
    levels = rng.uniform(-11, 11, (3, 2))
    visits = random_visits(rng, fleet(3, vehicle=BOTH_WAYS, hours=2))
    visits = replace(visits, replica=None)
    digests = set()
    for step_s in (1, 60, 900, 3600):
        ensemble = fleet(3, vehicle=BOTH_WAYS, response=RESPONSES[1], hours=2, step_s=step_s)
        plan = Schedule(ensemble.grid, ("E0", "E1", "E2"), np.repeat(levels, 3600 // step_s, axis=1))
        digests.add(run(ensemble, visits, FollowSchedule(plan)).digest())
    parts = [visits.take(rows) for rows in np.array_split(np.arange(len(visits)), 5)]
    digests.add(run(ensemble, iter(parts), FollowSchedule(plan)).digest())
    assert len(digests) == 1
    other = Schedule(ensemble.grid, ("E0", "E1", "E2"), levels + 0.01)
    assert run(ensemble, visits, FollowSchedule(other)).digest() not in digests


def test_energies_of_steps_visits_and_registers_add_up() -> None:
    ensemble = fleet(5, replicas=3, vehicle=BOTH_WAYS, cap_kw=30.0)
    out = run(ensemble, random_visits(np.random.default_rng(3), ensemble), Proportional())
    assert out.evse_kwh is not None
    assert out.import_kwh.shape == (3, 1, 16)
    np.testing.assert_allclose(out.evse_kwh.sum(axis=1), (out.import_kwh - out.export_kwh)[:, 0], atol=1e-9)
    assert out.visits.imported_kwh.sum() == pytest.approx(out.ledger.import_kwh.sum(), rel=1e-12)
    assert out.visits.lost_kwh.sum() == pytest.approx(out.ledger.loss_kwh.sum(), rel=1e-12)
    assert (out.net_kw <= 30.0 + 1e-9).all()
    assert out.ledger.relative_residual <= 1e-9


# ---------------------------------------------------------------------- faults


def held(kw: float, faults: FaultPlan, *, hours: int = 4, response: Response | None = None) -> Outcome:
    return run(fleet(hours=hours, response=response), table((0, 0, hours * HOUR)), Hold(kw), faults=faults)


def by_hour(out: Outcome) -> list[float]:
    assert out.evse_kwh is not None
    return [round(float(kwh), 9) for kwh in out.evse_kwh[0, 0].reshape(-1, 4).sum(axis=1)]


def test_a_charger_that_is_down_gives_nothing_and_comes_back() -> None:
    out = held(8.0, fault(FaultKind.DOWN, 1.5 * HOUR, 2.25 * HOUR))
    assert by_hour(out) == [8.0, 4.0, 6.0, 8.0]
    assert out.occurrences == {"down": 1}


def test_a_contactor_opens_without_a_ramp_and_closes_with_one() -> None:
    out = held(8.0, fault(FaultKind.DOWN, 1.5 * HOUR, 2.0 * HOUR), response=Response(10.0, 0.5))
    ramp = 8.0 / 3600 * 10 + 0.5 * 8.0 * 16 / 3600
    assert by_hour(out) == pytest.approx([8.0 - ramp, 4.0, 8.0 - ramp, 8.0], abs=1e-9)


def test_a_stuck_connector_costs_the_whole_visit_and_only_that() -> None:
    plan = fault(FaultKind.STUCK, 0.5 * HOUR, 1.5 * HOUR)
    out = run(fleet(), table((0, HOUR, 2 * HOUR), (0, 2.5 * HOUR, 3.5 * HOUR)), Hold(8.0), faults=plan)
    assert out.visits.imported_kwh == pytest.approx([0.0, 8.0])
    assert out.occurrences == {"stuck": 1, "visit stuck": 1}


def test_a_charger_that_ignores_orders_charges_at_full_power() -> None:
    assert by_hour(held(-4.0, fault(FaultKind.IGNORES, HOUR, 2 * HOUR), hours=3)) == pytest.approx([-4, 11, -4])


def test_a_charger_that_ignores_orders_still_stops_at_the_target_of_its_car() -> None:
    class Never(Hold):
        charges_to_target = True

    out = run(fleet(), table((0, 0, 4 * HOUR), target=25.0), Never(0.0), faults=fault(FaultKind.IGNORES, 0, 4 * HOUR))
    assert out.visits.energy_kwh == pytest.approx([25.0], abs=1e-12)


def test_a_derated_charger_gives_its_part_and_less_than_6_a_is_nothing() -> None:
    assert by_hour(held(11.0, fault(FaultKind.DERATED, HOUR, 2 * HOUR, 0.3), hours=3)) == pytest.approx([11, 3.3, 11])
    out = run(fleet(hours=2, least_kw=4.0), table((0, 0, 2 * HOUR)), Hold(11.0),
              faults=fault(FaultKind.DERATED, HOUR, 2 * HOUR, 0.3))
    assert by_hour(out) == [11.0, 0.0]


def test_without_contact_the_last_order_holds_until_the_fallback() -> None:
    plan = replace(fault(FaultKind.OUTAGE, 0.75 * HOUR, 2.5 * HOUR), fallback_after_s=0.5 * HOUR,
                   fallback_kw=np.array([2.0]))
    out = run(fleet(), table((0, 0, 4 * HOUR)), Hourly(8.0, 4.0, 6.0, 3.0), faults=plan)
    # 0.75 h: contact is lost; 1.25 h: fallback; 2.5 h: contact, and the order of that hour arrives at once.
    assert by_hour(out) == pytest.approx([8.0, 0.25 * 8 + 0.75 * 2, 0.5 * 2 + 0.5 * 6, 3.0])
    assert out.occurrences == {"outage": 1, "fallback": 1}


def test_a_car_that_comes_during_a_long_outage_gets_the_fallback() -> None:
    plan = replace(fault(FaultKind.OUTAGE, 0.0, 4 * HOUR), fallback_kw=np.array([2.0]))
    out = run(fleet(), table((0, HOUR, 3 * HOUR)), Hold(8.0), faults=plan)
    assert out.visits.imported_kwh == pytest.approx([4.0])


@pytest.mark.parametrize("revisions", [None, NOBODY_CHANGES], ids=["whole steps", "one by one"])
def test_the_fallback_of_a_car_that_came_without_contact_ends_with_the_outage(revisions: Revisions | None) -> None:
    plan = replace(fault(FaultKind.OUTAGE, 0.0, 2.1 * HOUR), fallback_kw=np.array([2.0]))
    out = run(fleet(), table((0, HOUR, 4 * HOUR)), Hold(0.0), faults=plan, revisions=revisions)
    assert out.visits.imported_kwh == pytest.approx([2.0 * 1.1])


def test_a_late_order_takes_effect_late_and_never_for_the_next_car() -> None:
    plan = replace(healthy(1), order_delay_s=np.array([60.0]))
    out = run(fleet(), table((0, 0, HOUR), (0, HOUR + 30, 2 * HOUR)), Hourly(6.0, 9.0, 0.0, 0.0), faults=plan)
    assert out.visits.imported_kwh == pytest.approx([6.0 * 3540 / HOUR, 9.0 * 3510 / HOUR])


def test_a_clock_that_is_behind_starts_orders_late() -> None:
    late = replace(healthy(1), clock_skew_s=np.array([-120.0]))
    assert held(6.0, late).ledger.import_kwh == pytest.approx([6.0 * (4 - 120 / HOUR)])


def test_a_clock_that_is_ahead_starts_orders_when_they_come() -> None:
    early = replace(healthy(1), clock_skew_s=np.array([120.0]))
    assert held(6.0, early).ledger.import_kwh == pytest.approx([6.0 * 4])


def test_a_lost_order_is_sent_again_at_the_next_decision() -> None:
    all_lost = held(6.0, replace(healthy(1), order_loss=np.ones(1)))
    assert all_lost.ledger.import_kwh == [0.0]
    assert all_lost.occurrences == {"order lost": 16}
    many = run(fleet(400), table(*((k, 0, 4 * HOUR) for k in range(400))), Hold(6.0),
               faults=replace(healthy(400), order_loss=np.full(400, 0.3)))
    waited = (24.0 - many.ledger.import_kwh) / 1.5
    # Steps until an order arrives: geometric with mean 0.3/0.7, standard error 0.04.
    assert waited.mean() == pytest.approx(0.3 / 0.7, abs=0.12)
    np.testing.assert_allclose(waited, np.rint(waited), atol=1e-9)


def test_a_drifting_meter_shows_other_figures_and_moves_no_energy() -> None:
    out = held(6.0, replace(healthy(1), meter_factor=np.array([1.05])))
    assert out.ledger.import_kwh == pytest.approx([24.0])
    assert out.metered_import_kwh == pytest.approx([25.2])


@pytest.mark.parametrize("response", RESPONSES)
def test_a_plan_without_faults_changes_nothing(response: Response) -> None:
    ensemble = fleet(4, replicas=2, vehicle=BOTH_WAYS, response=response)
    visits = random_visits(np.random.default_rng(11), ensemble)
    controller = Hourly(7.0, -6.0, 11.0, -3.0)
    assert run(ensemble, visits, controller).digest() == run(ensemble, visits, controller, faults=healthy(8)).digest()


# ---------------------------------------------------------------------- response of hardware and cars


def test_biases_and_granularity_shift_what_flows() -> None:
    """The bias of the charger measured in World Electric Vehicle Journal 2019, 10(2), 21."""
    measured = Response(charge_bias_kw=-0.44, discharge_bias_kw=0.74, idle_bias_kw=0.42, granularity_kw=0.5)
    out = run(fleet(response=measured), table((0, 0, 4 * HOUR), energy=50.0), Hourly(6.3, -6.3, 0.0, 11.0))
    assert by_hour(out) == pytest.approx([6.0 - 0.44, -6.0 + 0.74, 0.42, 11.0 - 0.44])


def test_a_set_point_of_zero_draws_the_idle_bias_from_plug_in_on() -> None:
    out = run(fleet(response=Response(idle_bias_kw=0.42)), table((0, HOUR, 3 * HOUR)), Hold(0.0))
    assert out.ledger.import_kwh == pytest.approx([0.84])


def dozing(wake_kw: float = 3.0, wake_s: float = 60.0) -> Vehicle:
    return replace(BIG, sleep=Sleep(after_s=1800.0, wake_kw=wake_kw, wake_s=wake_s))


def test_a_car_asleep_wakes_only_to_enough_power_held_long_enough() -> None:
    orders = Hourly(8.0, 0.0, 2.0, 8.0)
    out = run(fleet(vehicle=dozing()), table((0, 0, 4 * HOUR)), orders)
    assert by_hour(out) == pytest.approx([8.0, 0.0, 0.0, 8.0 * (1 - 60 / HOUR)])
    awake = run(fleet(vehicle=dozing()), table((0, 0, 4 * HOUR)), Hourly(8.0, 3.0, 2.0, 8.0))
    assert by_hour(awake) == pytest.approx([8.0, 3.0, 2.0, 8.0])


def test_a_short_pause_puts_no_car_to_sleep_and_some_sleep_until_replugged() -> None:
    class Pause(Hold):
        def setpoints(self, view: FleetView) -> NDArray[np.float64]:
            return np.full(1, 0.0 if 900 <= view.now_s < 2700 - 900 else 8.0)

    forever = dozing(np.inf)
    out = run(fleet(vehicle=forever), table((0, 0, 4 * HOUR)), Pause(0.0))
    assert out.ledger.import_kwh == pytest.approx([8.0 * 3.75])
    out = run(fleet(vehicle=forever), table((0, 0, 3 * HOUR), (0, 3 * HOUR, 4 * HOUR)), Hourly(0.0, 8.0, 8.0, 8.0))
    assert out.visits.imported_kwh == pytest.approx([0.0, 8.0])


def test_ideal_hardware_neither_waits_nor_sleeps() -> None:
    ensemble = fleet(vehicle=dozing(), response=Response(30.0, 0.1))
    out = run(ensemble, table((0, 0, 4 * HOUR)), Hourly(8.0, 0.0, 8.0, 8.0), response=False)
    assert by_hour(out) == [8.0, 0.0, 8.0, 8.0]


# ---------------------------------------------------------------------- drivers who change their mind


def revision(row: int, time_s: float, target: float = np.nan, declared: float = np.nan, replica: int = -1) -> Revisions:
    return Revisions(np.array([row]), np.array([replica]), np.array([time_s]), np.array([declared]), np.array([target]))


def test_a_new_target_holds_from_then_on() -> None:
    class ToTarget(Hold):
        charges_to_target = True

    ensemble, visits = fleet(replicas=2), table((0, 0, 4 * HOUR), target=14.0)
    out = run(ensemble, visits, ToTarget(8.0), revisions=revision(0, HOUR, target=22.0, replica=1))
    assert out.visits.energy_kwh == pytest.approx([14.0, 22.0], abs=1e-12)
    late = run(ensemble, visits, ToTarget(8.0), revisions=revision(0, 3.5 * HOUR, target=22.0))
    assert late.visits.energy_kwh == pytest.approx([18.0, 18.0], abs=1e-12)
    assert late.visits.shortfall_kwh == pytest.approx([4.0, 4.0], abs=1e-12)


def test_the_controller_sees_the_new_departure_at_once() -> None:
    class Watch(Hold):
        seen: list[tuple[float, float]]

        def setpoints(self, view: FleetView) -> NDArray[np.float64]:
            self.seen.append((view.now_s, float(view.declared_s[0])))
            return super().setpoints(view)

    watch = Watch(1.0)
    watch.seen = []
    run(fleet(), table((0, 0, 4 * HOUR)), watch, revisions=revision(0, 1000.0, declared=2 * HOUR))
    assert watch.seen[1:3] == [(900.0, 4 * HOUR), (1000.0, 2 * HOUR)]


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("controller", [Uncontrolled(), Hold(5.0)], ids=["whole steps", "one by one"])
@pytest.mark.parametrize("second", [(0, 3000, 9000), (0, 1000, 2000), (0, 0, 500)])
def test_two_cars_at_one_evse_are_refused(controller: Controller, second: tuple[int, float, float]) -> None:
    rows = sorted([(0, 0.0, 3600.0), second], key=lambda row: row[1])
    with pytest.raises(VisitsOverlap, match=r"row 1, EVSE E0 \(replica 0\).*expected an empty EVSE"):
        run(fleet(), table(*rows), controller)


def test_rows_that_do_not_fit_the_ensemble_are_named() -> None:
    visits = table((0, 0, HOUR), (3, 10, HOUR))
    with pytest.raises(VisitTableError, match="row 1, evse: 3, expected an index from 0 to 0"):
        run(fleet(), visits, Uncontrolled())
    with pytest.raises(VisitTableError, match=r"row 0, energy_kwh: 101\.0, expected at most the capacity of 100 kWh"):
        run(fleet(), table((0, 0, HOUR), energy=101.0), Uncontrolled())
    with pytest.raises(VisitTableError, match=r"row 1, arrival_s: 0\.0, expected not before the table before it ends"):
        run(fleet(), [table((0, 5, HOUR)), table((0, 0, 4))], Uncontrolled())
    with pytest.raises(VisitTableError, match="row 0, replica: 2, expected an index from 0 to 1"):
        run(fleet(replicas=2), table((0, 0, HOUR), replica=[2]), Uncontrolled())


def test_a_world_that_begins_inside_a_step_is_refused() -> None:
    ones = np.ones(2)
    world = World(Site("S", "UTC", 9.0), (Evse("A", "S", Current.DC, 11.0),), (), TimeGrid(START, 900, 2), ones, ones,
                  ones, START + timedelta(seconds=5))
    with pytest.raises(AssetError, match="begin"):
        ensemble_of(world)


def test_progress_reaches_the_end() -> None:
    parts: list[float] = []
    visits = [table((0, hour * HOUR, hour * HOUR + 600)) for hour in range(4)]
    run(fleet(), visits, Hold(3.0), progress=parts.append)
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    assert len(parts) >= 4
