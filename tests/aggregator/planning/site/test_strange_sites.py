"""Whatever is believed of a site, planning goes on: strange cars are left out, faults are told and tried again."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from aggregator.clock import ScaledClock, Segment
from aggregator.fleet.beliefs import VehicleModel
from aggregator.fleet.model import LiveSession, SocSource
from aggregator.planning.gate import GateOutcome, PlanRequest, plan_through_gate, safe_outcome
from aggregator.planning.site.forecast import BaseLoadForecast
from aggregator.planning.site.horizon import RecedingHorizon
from aggregator.planning.site.request import build_request, without_strange
from aggregator.planning.site.situation import SiteModel, Situation
from markets.rate import shipped_rate
from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Site, Vehicle

TEN = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)
STEPS = 12
CURVE = PowerCurve((0.0, 1.0), (50.0, 50.0))
BIDI = VehicleModel(Vehicle(
    "bidi", Battery(60.0, CURVE, CURVE, LossCurve(0.15, 0.045, 0.004), soc_max=0.9),
    11.0, 11.0, 0.5), 0.07)
MODEL = SiteModel(
    Site("site", "America/Los_Angeles", 100.0, 50.0),
    {name: Evse(name, "site", Current.DC, 11.0, 0.0, 11.0) for name in ("A", "B")}, {"bidi": BIDI},
    shipped_rate("sce_tou_ev_4"), BaseLoadForecast((40.0,) * 24, "America/Los_Angeles"), steps=STEPS,
)


def session(evse_id: str, **changes: Any) -> LiveSession:
    return replace(LiveSession(
        f"tx-{evse_id}", evse_id, "card", TEN, TEN + timedelta(hours=4), 40.0, 10.0, 12.0, 60.0, 30.0, 0.0, 0.0, 0.0,
        0.0, "bidi", True, SocSource.REPORTED, TEN, True,
    ), **changes)


def situation(*sessions: LiveSession, **changes: Any) -> Situation:
    return replace(Situation(TEN, sessions, None, 70.0, np.full(STEPS, 100.0), {"A": 11.0, "B": 11.0}), **changes)


STRANGE = [
    {"energy_kwh": float("nan")}, {"target_kwh": float("inf")}, {"capacity_kwh": 0.0},
    {"capacity_kwh": float("nan")}, {"floor_kwh": float("nan")}, {"energy_kwh": -5.0},
]


@pytest.mark.parametrize("changes", [
    {"departure": TEN - timedelta(days=9)}, {"departure": datetime.max.replace(tzinfo=UTC)},
    {"energy_kwh": 75.0, "capacity_kwh": 80.0, "target_kwh": 80.0},
    {"capacity_kwh": 5.0, "energy_kwh": 5.0, "target_kwh": 5.0, "floor_kwh": 1.0},
    {"target_kwh": 2000.0}, {"energy_kwh": 60.0}, {"energy_kwh": 60.0, "target_kwh": 60.0}, {"floor_kwh": 60.0},
])
def test_odd_but_possible_cars_get_a_plan_that_the_twin_passes(changes: dict[str, Any]) -> None:
    outcome = plan_through_gate(build_request(MODEL, situation(session("A", **changes), session("B"))))
    assert outcome.passed
    assert outcome.plan.status != "safe"


@pytest.mark.parametrize("changes", STRANGE)
def test_a_car_that_cannot_be_is_left_out_and_its_power_kept_free(changes: dict[str, Any]) -> None:
    kept, left_out = without_strange(MODEL, situation(session("A", **changes), session("B")))
    if left_out:
        assert left_out == ("A",)
        assert [each.evse_id for each in kept.sessions] == ["B"]
        assert kept.import_cap_kw[0] == 100.0 - 11.0
    assert np.isfinite(safe_outcome(build_request(MODEL, kept), "").plan.power_kw).all()


class Solving:
    """Solves in this process."""

    async def plan(self, request: PlanRequest) -> GateOutcome:
        return plan_through_gate(request)


def horizon(observe: Any, adopt: Any, **more: Any) -> RecedingHorizon:
    clock = ScaledClock([Segment(time.time(), TEN, 1.0)])
    return RecedingHorizon(MODEL, clock, Solving(), observe, adopt, retry_s=0.01, **more)


async def run_until(planning: RecedingHorizon, done: asyncio.Event) -> None:
    planning.request("test")
    running = asyncio.create_task(planning.run())
    try:
        await asyncio.wait_for(done.wait(), 60.0)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.anyio
async def test_one_impossible_car_neither_ends_planning_nor_takes_the_others_plan() -> None:
    done, left = asyncio.Event(), []
    adopted: list[GateOutcome] = []

    async def adopt(_seen: Situation, _request: PlanRequest, outcome: GateOutcome, _reasons: tuple[str, ...]) -> None:
        adopted.append(outcome)
        done.set()

    async def on_left_out(evse_ids: tuple[str, ...]) -> None:
        left.append(evse_ids)

    seen = situation(session("A", capacity_kwh=0.0), session("B"))
    await run_until(horizon(lambda: seen, adopt, on_left_out=on_left_out), done)
    assert left == [("A",)]
    assert adopted[0].plan.evse_ids == ("B",)
    assert adopted[0].passed
    assert "left out: A" in adopted[0].alerts[-1]


@pytest.mark.anyio
async def test_a_plan_that_cannot_be_adopted_is_made_again_and_said_meanwhile() -> None:
    done, faults, tried = asyncio.Event(), [], []

    async def adopt(_seen: Situation, _request: PlanRequest, _out: GateOutcome, reasons: tuple[str, ...]) -> None:
        tried.append(reasons)
        faults.append(planning.fault)
        if len(tried) < 3:
            raise OSError("disk full")
        done.set()

    planning = horizon(lambda: situation(session("B")), adopt)
    await run_until(planning, done)
    await asyncio.sleep(0)
    assert tried == [("test",)] * 3
    assert faults == [None, "OSError", "OSError"]


def test_a_mandatory_limit_on_export_binds_the_plan_and_the_twin() -> None:
    request = build_request(MODEL, situation(session("A"), export_cap_kw=np.full(STEPS, 7.0)))
    assert request.problem.export_cap_kw.tolist() == request.world.export_cap_kw.tolist() == [7.0] * STEPS
    wider = build_request(MODEL, situation(session("A"), export_cap_kw=np.full(STEPS, 1e9)))
    assert wider.problem.export_cap_kw.max() == 50.0
