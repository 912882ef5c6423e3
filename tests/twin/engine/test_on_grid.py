"""Cars on a feeder: what flows is what the grid lets flow, energy stays whole, and nobody else is touched."""

import numpy as np
import pytest

from tests.twin.engine.conftest import BOTH_WAYS, Hold, fleet, random_visits, table
from twin.assets import TimeGrid
from twin.engine import blocks, run
from twin.ensemble import Ensemble, Outcome
from twin.feeder.inverters.behaviour import Inverter
from twin.feeder.inverters.fixed_point import solve_with_inverters
from twin.feeder.inverters.grid_codes import Curve, GridCode, Reconnection, Trip, grid_code
from twin.feeder.inverters.in_time import STAIR_S, GridResponse
from twin.feeder.network.connections import ConnectionPoint
from twin.feeder.network.model import Bus, Feeder, Line, Source
from twin.feeder.scene import Scene

RATED_VA = 11_000.0
PROMPT_B = GridCode(
    "category B without lag", volt_var=Curve((0.92, 0.98, 1.02, 1.08), (0.44, 0.0, 0.0, -0.44)),
    volt_watt=Curve((1.06, 1.10), (1.0, 0.0)), charge_volt_watt=Curve((0.90, 0.94), (0.0, 1.0)),
)


def street(grid: TimeGrid, evses: int, *, ohm: float = 0.5, base_w: np.ndarray | None = None) -> Scene:
    """EVSEs one phase after the other at the end of a line."""
    line = Line.of_sequence("line", "near", "far", r1=ohm, r0=ohm, x1=0.1, x0=0.1)
    feeder = Feeder(
        "street", (Bus("near", 400.0), Bus("far", 400.0)), (line,), Source("near", 1.0, 0.0, 1e15, 0.0, 1.0), (),
        (ConnectionPoint("homes", "far"),),
    )
    base = np.zeros((3, grid.steps)) if base_w is None else np.broadcast_to(base_w, (3, grid.steps))
    names = tuple(f"E{number}" for number in range(evses))
    return Scene(feeder, grid, base, 0.0 * base, names, ("homes",) * evses, tuple("abc"[n % 3] for n in range(evses)))


def on(
    ensemble: Ensemble, code: GridCode | None, *, ohm: float = 0.5, base_w: np.ndarray | None = None
) -> GridResponse:
    evses = len(ensemble.evses)
    inverters = [None if code is None else Inverter(code, RATED_VA)] * evses
    return GridResponse(street(ensemble.grid, evses, ohm=ohm, base_w=base_w), inverters, ensemble.replicas)


def delivered_kw(outcome: Outcome) -> np.ndarray:
    """Mean power of the first slot in each step."""
    assert outcome.evse_kwh is not None
    power: np.ndarray = outcome.evse_kwh[0, 0] / outcome.ensemble.grid.step_hours
    return power


def test_a_grid_that_withholds_nothing_changes_nothing() -> None:
    ensemble = fleet(3, replicas=4, vehicle=BOTH_WAYS)
    visits = random_visits(np.random.default_rng(1), ensemble)
    for kw in (9.0, -7.0):
        free = run(ensemble, visits, Hold(kw))
        found = run(ensemble, visits, Hold(kw), grid=on(ensemble, None))
        assert found.digest() == free.digest()
        assert found.grid is not None
        assert not found.grid.withheld_import_kwh.any()
        assert not found.grid.withheld_export_kwh.any()


@pytest.mark.parametrize("kw", [-11.0, 11.0])
def test_what_flows_is_what_flow_and_curves_agree_on(kw: float) -> None:
    ensemble = fleet(2)
    visits = table((0, 0.0, 14_400.0), (1, 0.0, 14_400.0), energy=50.0)
    response = on(ensemble, PROMPT_B, ohm=0.8)
    found = run(ensemble, visits, Hold(kw), grid=response)
    scene = response.scene
    steady = solve_with_inverters(
        scene.flow(), scene.base_w[:, :1], scene.base_var[:, :1], np.full((2, 1), 1000.0 * kw), scene.spread(),
        [Inverter(PROMPT_B, RATED_VA)] * 2,
    )
    expected = steady.delivered_w[:, 0] / 1000.0
    assert (np.abs(expected) < 0.95 * abs(kw)).all()
    assert found.evse_kwh is not None
    assert found.grid is not None
    assert found.evse_kwh[0].sum(axis=1) == pytest.approx(4.0 * expected, rel=1e-6)
    withheld = found.grid.withheld_import_kwh if kw > 0.0 else found.grid.withheld_export_kwh
    assert withheld == pytest.approx(4.0 * (abs(kw) - np.abs(expected)), rel=1e-6)
    assert found.grid.evse_kvarh is not None
    vars_ = steady.q_var[:, 0] / 1000.0
    assert (np.abs(vars_) > 0.1).all()
    kvarh = np.tile(vars_[:, None] * ensemble.grid.step_hours, ensemble.grid.steps)
    assert found.grid.evse_kvarh[0] == pytest.approx(kvarh, rel=1e-6)


def test_the_second_car_takes_room_from_the_first_from_the_second_it_comes() -> None:
    # Both on phase a: EVSE 0 and 3.
    ensemble = fleet(4)
    visits = table((0, 0.0, 14_400.0), (3, 4500.0, 9900.0), energy=80.0)
    power = delivered_kw(run(ensemble, visits, Hold(-11.0), grid=on(ensemble, PROMPT_B, ohm=0.5)))
    alone, together = power[0], power[6]
    assert together > alone + 1.0
    assert power[:5] == pytest.approx(np.full(5, alone))
    assert power[5:11] == pytest.approx(np.full(6, together))
    assert power[11:] == pytest.approx(np.full(5, alone))


def test_a_trip_a_wait_and_a_ramp_are_in_the_energies() -> None:
    code = GridCode("t", trips=(Trip(True, 1.10, 30.0),), reconnection=Reconnection((0.9, 1.05), 120.0, 0.5))
    ensemble = fleet(1, hours=1, step_s=60)
    # Feeding in 25 kW beside it lifts the voltage beyond 1.10 in minutes 10 and 11.
    base = np.zeros((3, 60))
    base[0, 10:12] = -25_000.0
    found = run(
        ensemble, table((0, 0.0, 3600.0), energy=20.0), Hold(2.0), grid=on(ensemble, code, base_w=base)
    )
    power = delivered_kw(found)
    assert power[:10] == pytest.approx(np.full(10, 2.0))
    assert power[10] == pytest.approx(1.0)
    assert power[11:14] == pytest.approx(np.zeros(3), abs=1e-9)
    # Back 120 s into minute 14: 50 % of 11 kW a minute, in stairs of ten seconds, up to the 2 kW of the order.
    stairs = [min(stair * STAIR_S / 60.0 * 0.5 * 11.0, 2.0) for stair in range(6)]
    assert power[14] == pytest.approx(np.mean(stairs))
    assert power[15:] == pytest.approx(np.full(45, 2.0))
    assert found.grid is not None
    assert found.grid.trips.tolist() == [1]
    assert found.grid.withheld_import_kwh[0] == pytest.approx((2.0 * 60.0 - power.sum()) / 60.0)


def test_curves_that_lag_are_followed_on_their_way() -> None:
    ensemble = fleet(1, hours=1)
    visits = table((0, 600.0, 3600.0), energy=50.0)
    lagging = run(ensemble, visits, Hold(-11.0), grid=on(ensemble, grid_code("ieee-1547-2018-b"), ohm=0.9))
    prompt = run(ensemble, visits, Hold(-11.0), grid=on(ensemble, PROMPT_B, ohm=0.9))
    one, other = lagging.ledger.export_kwh[0], prompt.ledger.export_kwh[0]
    assert other < one < other + 11.0 * 60.0 / 3600.0
    assert delivered_kw(lagging)[2] == pytest.approx(delivered_kw(prompt)[2], abs=0.1)


def test_less_than_the_minimum_of_an_evse_is_nothing() -> None:
    ensemble = fleet(1, least_kw=6.0)
    strict = GridCode("strict", charge_volt_watt=Curve((0.90, 0.99), (0.0, 1.0)))
    found = run(
        ensemble, table((0, 0.0, 14_400.0), energy=20.0), Hold(11.0), grid=on(ensemble, strict, ohm=0.9)
    )
    assert not delivered_kw(found).any()
    assert found.grid is not None
    assert found.grid.withheld_import_kwh[0] == pytest.approx(44.0)


def test_an_hour_without_a_flow_delivers_nothing_and_is_counted() -> None:
    ensemble = fleet(1)
    base = np.zeros((3, 16))
    base[0, 4:8] = 60_000.0
    found = run(
        ensemble, table((0, 0.0, 14_400.0), energy=20.0), Hold(5.0), grid=on(ensemble, None, base_w=base)
    )
    assert delivered_kw(found) == pytest.approx([5.0] * 4 + [0.0] * 4 + [5.0] * 8)
    assert found.grid is not None
    assert found.grid.unsolved_s.tolist() == [3600.0]


def test_blocks_of_replicas_and_parts_of_tables_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = fleet(3, replicas=4, vehicle=BOTH_WAYS)
    visits = random_visits(np.random.default_rng(2), ensemble)
    whole = run(ensemble, visits, Hold(-9.0), grid=on(ensemble, PROMPT_B, ohm=0.6))
    monkeypatch.setattr(blocks, "BLOCK_SLOTS", 6)
    parts = run(ensemble, visits, Hold(-9.0), grid=on(ensemble, PROMPT_B, ohm=0.6))
    assert whole.grid is not None
    assert parts.grid is not None
    assert whole.grid.withheld_export_kwh.sum() > 1.0
    assert whole.grid.withheld_export_kwh == pytest.approx(parts.grid.withheld_export_kwh, abs=1e-4)
    assert whole.ledger.export_kwh == pytest.approx(parts.ledger.export_kwh, abs=1e-4)
    assert parts.grid.trips.shape == (12,)


def test_a_grid_of_another_number_of_replicas_is_refused() -> None:
    ensemble = fleet(1, replicas=2)
    response = GridResponse(street(ensemble.grid, 1), [None])
    with pytest.raises(ValueError, match="grid: 1 replicas, expected 2"):
        run(ensemble, table((0, 0.0, 900.0)), Hold(1.0), grid=response)
