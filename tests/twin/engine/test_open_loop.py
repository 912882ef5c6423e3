"""The short way without a clock: to the last digit what the clocked engine finds, on any curve, kind and time."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Site, TimeGrid, Vehicle
from twin.controllers import Uncontrolled
from twin.engine import open_loop, run
from twin.ensemble import Ensemble, Outcome
from twin.visits import Revisions, VisitTable

NOBODY_CHANGES = Revisions(*(np.zeros(0, dtype=np.int64) for _ in range(2)), *(np.zeros(0) for _ in range(3)))
"""Revisions without a row: changes nothing, but takes the run to the clocked engine."""

STEPS_S = (60, 300, 900, 3600)


def random_vehicle(rng: np.random.Generator, number: int) -> Vehicle:
    """A curve of up to five pieces, up and down and at times without power; losses; a window of its own."""
    inner = np.sort(rng.choice(np.arange(1, 20), int(rng.integers(0, 5)), replace=False)) / 20.0
    kw = rng.choice([0.0, 1.5, 6.0, 7.4, 11.0, 25.0, 60.0], inner.size + 2, p=[0.05, 0.1, 0.15, 0.2, 0.2, 0.2, 0.1])
    curve = PowerCurve((0.0, *inner.tolist(), 1.0), tuple(kw.tolist()))
    loss = (LossCurve(), LossCurve(proportional=0.06), LossCurve(0.1, 0.02, 0.004))[int(rng.integers(3))]
    battery = Battery(float(rng.uniform(20.0, 100.0)), curve, None, loss, 0.0, float(rng.choice([0.85, 1.0])))
    return Vehicle(f"car {number}", battery, float(rng.choice([3.7, 11.0, 22.0])), ac_phases=int(rng.choice([1, 3])))


def random_fleet(rng: np.random.Generator, *, replicas: int = 2) -> Ensemble:
    """Four EVSEs of three kinds, which stand at their two sites in no order."""
    step_s = int(rng.choice(STEPS_S))
    grid = TimeGrid(datetime(2026, 1, 5, tzinfo=UTC), step_s, 5 * 3600 // step_s)
    evses = (
        Evse("A", "north", Current.AC, 11.0, 4.0), Evse("B", "south", Current.AC, 3.68, ac_phases=1),
        Evse("C", "north", Current.DC, 50.0), Evse("D", "south", Current.AC, 11.0, 4.0),
    )
    row = np.full((2, grid.steps), 100.0)
    return Ensemble(
        (Site("north", "UTC", 100.0), Site("south", "UTC", 100.0)), evses,
        tuple(random_vehicle(rng, number) for number in range(3)), grid, np.zeros_like(row), row, np.zeros_like(row),
        replicas,
    )


def random_visits(rng: np.random.Generator, ensemble: Ensemble) -> VisitTable:
    """Visits at any fraction of a second and on the edges of steps, back to back at times, other ones in each copy."""
    end_s, step_s = ensemble.grid.steps * ensemble.grid.step_s, ensemble.grid.step_s
    capacity = [vehicle.battery.capacity_kwh for vehicle in ensemble.vehicles]
    rows = []
    for slot in range(ensemble.slots):
        come = float(rng.uniform(-2000.0, 4000.0))
        while come < end_s:
            go = come + float(rng.uniform(1.0, 12000.0))
            go = max(np.ceil(go / step_s) * step_s, come + 1.0) if rng.random() < 0.3 else go
            car = int(rng.integers(len(capacity)))
            rows.append((come, slot, go, car, rng.uniform(0.0, 1.0) * capacity[car], rng.uniform(0, 1) * capacity[car]))
            come = go + float(rng.choice([0.0, rng.uniform(0.0, 3000.0)]))
    rows.sort()
    come, slot, go, car, energy, target = (np.array(column) for column in zip(*rows, strict=True))
    evses = len(ensemble.evses)
    return VisitTable(
        slot.astype(np.int64) % evses, car.astype(np.int64), come, go, go, energy, target, np.zeros(come.size),
        slot.astype(np.int64) // evses,
    )


def assert_same(fast: Outcome, clocked: Outcome) -> None:
    for name in ("import_kwh", "export_kwh", "evse_kwh", "battery_kwh"):
        np.testing.assert_allclose(getattr(fast, name), getattr(clocked, name), rtol=1e-9, atol=1e-9, err_msg=name)
    for name in ("row", "replica", "has_left"):
        np.testing.assert_array_equal(getattr(fast.visits, name), getattr(clocked.visits, name), err_msg=name)
    for name in ("energy_kwh", "imported_kwh", "exported_kwh", "lost_kwh", "shortfall_kwh"):
        mine, theirs = getattr(fast.visits, name), getattr(clocked.visits, name)
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9, err_msg=name)
    for name in ("import_kwh", "battery_kwh", "loss_kwh"):
        mine, theirs = getattr(fast.ledger, name), getattr(clocked.ledger, name)
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_it_equals_the_clocked_engine_on_any_fleet(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ensemble = random_fleet(rng)
    visits = random_visits(rng, ensemble)
    assert_same(run(ensemble, visits, Uncontrolled()), run(ensemble, visits, Uncontrolled(), revisions=NOBODY_CHANGES))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_neither_tables_nor_how_many_run_side_by_side_change_anything(seed: int, together: int) -> None:
    rng = np.random.default_rng(seed)
    ensemble = random_fleet(rng)
    visits = random_visits(rng, ensemble)
    whole = run(ensemble, visits, Uncontrolled())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_loop, "_TOGETHER", together)
        parts = [visits.take(rows) for rows in np.array_split(np.arange(len(visits)), 4)]
        cut = run(ensemble, iter(parts), Uncontrolled())
    assert cut.digest() == whole.digest()
    np.testing.assert_allclose(cut.evse_kwh, whole.evse_kwh, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(cut.battery_kwh, whole.battery_kwh)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_points_come_to_the_same_with_and_without_a_record_of_every_evse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ensemble = random_fleet(rng)
    visits = random_visits(rng, ensemble)
    recorded = run(ensemble, visits, Uncontrolled())
    short = run(ensemble, visits, Uncontrolled(), record_evses=False, record_visits=False)
    assert short.evse_kwh is None
    assert short.visits.row.size == 0
    np.testing.assert_allclose(short.import_kwh, recorded.import_kwh, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(short.ledger.import_kwh, recorded.ledger.import_kwh)
    assert (recorded.import_kwh >= 0.0).all()


def test_the_same_visits_come_to_every_copy() -> None:
    rng = np.random.default_rng(5)
    ensemble = random_fleet(rng, replicas=3)
    visits = random_visits(rng, ensemble)
    visits = replace(visits.take(visits.replica == 0), replica=None)
    out = run(ensemble, visits, Uncontrolled())
    assert out.visits.replica.tolist() == sorted(out.visits.replica.tolist())
    np.testing.assert_array_equal(out.import_kwh[0], out.import_kwh[2])
    np.testing.assert_array_equal(out.visits.row.reshape(3, -1), np.tile(np.unique(out.visits.row), (3, 1)))


def test_a_car_that_never_leaves_is_settled_at_the_end() -> None:
    ensemble = random_fleet(np.random.default_rng(1), replicas=1)
    nobody, far = np.zeros(1, dtype=np.int64), np.array([1e12])
    visits = VisitTable(nobody, nobody, np.zeros(1), far, far, np.zeros(1), np.full(1, 10.0), np.zeros(1))
    out = run(ensemble, visits, Uncontrolled())
    assert out.visits.has_left.tolist() == [False]
    assert out.battery_kwh is not None
    assert out.battery_kwh[0, 0, -1] == pytest.approx(out.visits.energy_kwh[0], rel=1e-14)
