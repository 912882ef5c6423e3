"""The engine on arrays: equal to the replay of objects, and the same however time, replicas and tables are cut."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.twin.engine.conftest import (
    BIG,
    BOTH_WAYS,
    HOUR,
    NOBODY_CHANGES,
    RESPONSES,
    START,
    Hold,
    fleet,
    healthy,
    random_visits,
    table,
)
from twin import engine, replay
from twin.assets import (
    AssetError,
    Current,
    Evse,
    Response,
    Schedule,
    Site,
    TimeGrid,
    Visit,
    World,
)
from twin.controllers import Controller, FleetView, FollowSchedule, Proportional, Uncontrolled
from twin.engine import VisitsOverlap, run
from twin.engine.of_world import WorldController, ensemble_of, visits_in_order
from twin.ensemble import Outcome
from twin.faults import FaultModel
from twin.faults import draw as draw_faults
from twin.replay import WorldView
from twin.visits import Revisions, VisitTableError


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


def test_a_car_that_comes_and_goes_between_two_steps_is_in_the_record() -> None:
    brief = table((0, 1000.0, 1360.0), (0, 5000.0, 5360.0), (1, 5400.0, 6300.0))
    for revisions in (None, NOBODY_CHANGES):
        out = run(fleet(2), brief, Proportional(asks_between=True), revisions=revisions)
        assert out.evse_kwh is not None
        assert out.battery_kwh is not None
        assert out.evse_kwh[0, 0].nonzero()[0].tolist() == [1, 5]
        assert out.evse_kwh[0, 0, [1, 5]] == pytest.approx([1.1, 1.1])
        assert out.import_kwh[0, 0].sum() == pytest.approx(2.2 + 2.75)
        assert np.isfinite(out.battery_kwh[0]).nonzero()[1].tolist() == [6]


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
