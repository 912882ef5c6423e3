"""What is said of every schedule that a feeder holds is true of those that the three-phase flow says it holds."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.site.arrays import assemble
from aggregator.planning.site.problem import Problem
from aggregator.planning.site.solve import solve
from aggregator.planning.street.bound import ImpliedRows, implied_rows, proven_bound
from aggregator.planning.street.rows import GridRows, RowKind
from aggregator.planning.street.search import plan_with_feeder
from twin.feeder.network.connections import LoadType, Zip
from twin.feeder.scene import Limits, Scene

MakeStreet = Callable[..., Scene]
MakeProblem = Callable[..., Problem]
WIDE = Limits(voltage_pu=(0.8, 1.2), unbalance=None)


def unfixable(grid: GridRows) -> dict[RowKind, np.ndarray]:
    base = grid.solve(np.zeros((len(grid.scene.evse_ids), grid.scene.grid.steps)))
    return {kind: ~(over <= 0.0) for kind, over in grid.excess(base).items()}


def rows_of(scene: Scene) -> ImpliedRows:
    grid = GridRows(scene)
    return implied_rows(grid, unfixable(grid))


def left(rows: ImpliedRows, kw: np.ndarray) -> np.ndarray:
    """What is left of each row, in its own unit; endless where it does not count."""
    used = rows.charge @ np.maximum(kw, 0.0) + rows.discharge @ np.maximum(-kw, 0.0)
    return np.where(rows.counts, rows.most - used, np.inf)


def as_far_as_it_holds(grid: GridRows, kw: np.ndarray) -> np.ndarray:
    """The largest share of `kw` in each step that breaks nothing because of EVs, by bisection with the flow."""
    broken_before = unfixable(grid)
    low, high = np.zeros(kw.shape[1]), np.full(kw.shape[1], 4.0)
    for _ in range(30):
        share = (low + high) / 2.0
        over = grid.excess(grid.solve(kw * share))
        with np.errstate(invalid="ignore"):
            holds = np.all([(~(over[kind] > 0.0) & ~np.isnan(over[kind]) | broken_before[kind]).all(axis=0)
                            for kind in over], axis=0)
        low, high = np.where(holds, share, low), np.where(holds, high, share)
    return kw * low


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100_000), evs=st.text("abc", min_size=1, max_size=6), ampacity=st.floats(12.0, 120.0),
    power_factor=st.sampled_from([1.0, 0.95, 0.9]), metres=st.floats(20.0, 400.0), wide=st.booleans(),
    unbalanced=st.sampled_from([0.0, 3000.0, 9000.0, -6000.0]),
)
def test_what_the_flow_holds_keeps_the_rows(
    make_street: MakeStreet, seed: int, evs: str, ampacity: float, power_factor: float, metres: float, wide: bool,
    unbalanced: float,
) -> None:
    limits = WIDE if wide else Limits(unbalance=None, transformer_loading=0.2)
    scene = make_street(6, evs=evs, ampacity=ampacity, metres=metres, power_factor=power_factor, limits=limits,
                        unbalanced_base_w=unbalanced)
    draw = np.random.default_rng(seed)
    kw = draw.uniform(-8.0, 8.0, (len(evs), 6))
    kw[:, :2], kw[:, 2:4] = np.abs(kw[:, :2]), -np.abs(kw[:, 2:4])
    held = as_far_as_it_holds(GridRows(scene), kw)
    assert left(rows_of(scene), held).min(initial=np.inf) >= -1e-6


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_rows_come_close_to_the_flow_where_voltages_are_close(make_street: MakeStreet, sign: float) -> None:
    """Both ways, within what the width of the voltage limits leaves."""
    scene = make_street(evs="aabbcc", ampacity=40.0, metres=30.0, home_w=0.0,
                        limits=Limits(voltage_pu=(0.97, 1.05), unbalance=None))
    rows = rows_of(scene)
    held = as_far_as_it_holds(GridRows(scene), sign * np.full((6, 8), 5.0))
    most = rows.most[np.newaxis, :, 0]
    assert 0.0 <= (left(rows, held)[:, 0] / most).min() <= 0.07


def test_a_transformer_is_bounded_by_what_is_drawn_behind_it(make_street: MakeStreet) -> None:
    scene = make_street(evs="abcabc", ampacity=900.0, metres=20.0, limits=replace(WIDE, transformer_loading=0.15))
    held = as_far_as_it_holds(GridRows(scene), np.full((6, 8), 5.0))
    assert 0.0 <= left(rows_of(scene), held).min() <= 0.5  # kW of 15: losses and vars


@pytest.mark.parametrize(("ampacity", "transformer"), [(26.0, 1.0), (40.0, 0.12), (60.0, 0.2)])
@pytest.mark.parametrize("discharge_kw", [0.0, 7.4])
def test_no_plan_that_holds_costs_less_than_the_bound(
    make_street: MakeStreet, make_street_problem: MakeProblem, ampacity: float, transformer: float, discharge_kw: float
) -> None:
    scene = make_street(evs="aaabc", ampacity=ampacity, limits=replace(WIDE, transformer_loading=transformer))
    price = np.array([0.05, 0.05, 0.3, 0.3, 0.1, 0.3, 0.6, 0.6])
    problem = make_street_problem(scene, target_kwh=6.0, price=price, discharge_kw=discharge_kw, energy_kwh=20.0)
    grid = GridRows(scene)
    proven = proven_bound(assemble(problem), implied_rows(grid, unfixable(grid)), np.arange(5), 10.0)
    plan = plan_with_feeder(problem, scene)
    assert plan.holds
    assert solve(problem).bound - 1e-6 <= proven <= plan.plan.objective
    assert plan.plan.bound == pytest.approx(proven)


def test_where_one_cable_decides_the_bound_is_near_the_plan(
    make_street: MakeStreet, make_street_problem: MakeProblem
) -> None:
    scene = make_street(evs="aaaa", ampacity=26.0, metres=40.0, limits=Limits(voltage_pu=(0.95, 1.04), unbalance=None))
    problem = make_street_problem(scene, target_kwh=4.0, price=np.array([0.05, 0.05, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]))
    plan = plan_with_feeder(problem, scene)
    assert plan.holds
    assert plan.grid_cost > 0.5
    assert plan.plan.objective - plan.plan.bound <= 0.3 * plan.grid_cost


def test_loads_that_follow_their_voltage_and_charging_currents_imply_nothing_of_cables(make_street: MakeStreet) -> None:
    scene = make_street(evs="ab", limits=WIDE)
    soft = LoadType("soft", active=Zip(1.0, 0.0, 0.0))
    points = tuple(replace(point, load_type="soft") for point in scene.feeder.connection_points)
    feeder = replace(scene.feeder, connection_points=points, load_types=(*scene.feeder.load_types, soft))
    assert len(rows_of(replace(scene, feeder=feeder)).most) == 0
    charged = make_street(evs="abc", limits=WIDE, c1=2e-6)  # the trunk, which on phase c alone has a home of its own
    assert len(rows_of(charged).most) == len(rows_of(make_street(evs="abc", limits=WIDE)).most) - 2


def test_a_ring_implies_nothing_of_its_cables(make_street: MakeStreet) -> None:
    scene = make_street(evs="ab", limits=WIDE)
    second = replace(scene.feeder.lines[0], id="second", to_bus="end")
    ring = replace(scene, feeder=replace(scene.feeder, lines=(*scene.feeder.lines, second)))
    assert len(rows_of(ring).most) == 1
    assert len(rows_of(scene).most) > 1
