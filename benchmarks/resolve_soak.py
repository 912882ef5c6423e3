"""Plan a changing site 2,000 times through the planner's own process while that process is killed and stopped.

    python benchmarks/resolve_soak.py [--solves 2000] [--faults 0.02] [--seed 1]

Cars come and go, prices and the measured building change, events are called. Some cycles get a SIGKILL or a SIGSTOP
at a random moment of the solve. Held, or the exit code is 1:

- every cycle has a plan: the optimal one, an incumbent, or the safe one, and that is marked and says why;
- the resident memory of parent and child does not grow: slopes in kB per solve, over the second half of the run and of
  the last child's life (the last third of the run has no faults);
- nothing is left over: no child that is dead and still not reaped a cycle later, no child at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from aggregator.fleet.beliefs import VehicleModel
from aggregator.fleet.model import LiveSession, SocSource
from aggregator.planning.gate import GateOutcome, PlanRequest
from aggregator.planning.process import PlannerProcess
from aggregator.planning.site.arrivals import LearntArrivals, PastVisit
from aggregator.planning.site.forecast import BaseLoadForecast
from aggregator.planning.site.problem import Commitment
from aggregator.planning.site.request import build_request
from aggregator.planning.site.situation import Dispatched, SiteModel, Situation
from markets.rate import shipped_rate
from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Site, Vehicle

ZONE = "America/Los_Angeles"
START = datetime(2019, 7, 15, 14, tzinfo=UTC)
EVSES, STEPS = 8, 32
MOST_GROWTH_KB = 1.0
"""Per solve: 2 MB over the whole run."""
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass
class Figures:
    """What a soak came to. rss_kb: of the parent by cycle; child_rss_kb: (life, solves in it, kB)."""

    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    zombies: int = 0
    left_over: int = 0
    rss_kb: list[int] = field(default_factory=list)
    child_rss_kb: list[tuple[int, int, int]] = field(default_factory=list)
    wait_s: list[float] = field(default_factory=list)

    @property
    def parent_slope_kb(self) -> float:
        """Growth per solve over the second half: before that, caches fill."""
        half = self.rss_kb[len(self.rss_kb) // 2:]
        return float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else 0.0

    @property
    def child_slope_kb(self) -> float:
        """Growth per solve over the second half of the child's last life, which nothing disturbs."""
        last = max((life for life, *_ in self.child_rss_kb), default=0)
        kept = [kb for life, _, kb in self.child_rss_kb if life == last]
        kept = kept[len(kept) // 2:]
        return float(np.polyfit(np.arange(len(kept)), kept, 1)[0]) if len(kept) > 1 else 0.0


CALM_SHARE = 0.35
"""Of the cycles, at the end, without faults: whether a child grows shows only in one that lives."""
START_TIMEOUT_S = 30.0
"""Children that are stopped while they start are found out by it; a start takes some two seconds of an idle machine."""


class ChangingSite:
    """A site whose cars, prices and building change from cycle to cycle, all from one seed."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        flat = PowerCurve((0.0, 1.0), (50.0, 50.0))
        vehicle = Vehicle("car", Battery(60.0, flat, flat, LossCurve(0.1, 0.05, 0.002)), 11.0, 11.0, 0.5)
        days = [
            PastVisit(START - timedelta(days=day, hours=hour), START - timedelta(days=day, hours=hour - 6), 12.0)
            for day in range(2, 16) for hour in (0, -1, -2, -5)
        ]
        self._model = SiteModel(
            site=Site("soak", ZONE, 90.0), vehicles={"car": VehicleModel(vehicle, 0.02)},
            evses={f"E{k}": Evse(f"E{k}", "soak", Current.DC, 11.0, 0.0, 11.0) for k in range(EVSES)},
            rate=shipped_rate("sce_tou_ev_4"), base_load=BaseLoadForecast((40.0,) * 24, ZONE), steps=STEPS,
            arrivals=LearntArrivals.learnt(days, before=START, power_kw=11.0, timezone=ZONE), time_limit_s=2.0,
        )
        self._now = START
        self._cars: dict[str, LiveSession] = {}
        self._count = 0
        self._dispatched: Dispatched | None = None

    def request(self) -> PlanRequest:
        """The site some minutes later."""
        draw = self._draw
        self._now += timedelta(minutes=int(draw.integers(1, 8)))
        for evse_id in [key for key, car in self._cars.items() if car.departure <= self._now]:
            del self._cars[evse_id]
        free = sorted(set(self._model.evses) - set(self._cars))
        if free and draw.random() < 0.5:
            self._arrive(str(draw.choice(free)))
        prices = 1.0 + 0.2 * draw.random(STEPS)
        first = int(draw.integers(4, 20))
        event = Commitment("event", tuple(range(first, first + 8)), (30.0,) * 8, 2.0)
        request = build_request(self._model, Situation(
            now=self._now, sessions=tuple(self._cars.values()), measured_base=(self._now, 35.0 + 10.0 * draw.random()),
            peak_so_far_kw=70.0, import_cap_kw=np.full(STEPS, 90.0), permitted_kw=dict.fromkeys(self._cars, 11.0),
            commitments=(event,) if draw.random() < 0.3 else (), dispatched=self._dispatched,
        ))
        return replace(request, problem=replace(request.problem, import_price=request.problem.import_price * prices))

    def dispatched(self, outcome: GateOutcome) -> None:
        self._dispatched = Dispatched.of(outcome)

    def _arrive(self, evse_id: str) -> None:
        self._count += 1
        energy = float(self._draw.uniform(10.0, 35.0))
        self._cars[evse_id] = LiveSession(
            transaction_id=f"{self._count}", evse_id=evse_id, id_token=f"card {self._count}", started_at=self._now,
            departure=self._now + timedelta(minutes=float(self._draw.uniform(20.0, 500.0))),
            target_kwh=energy + float(self._draw.uniform(2.0, 20.0)), requested_kwh=10.0, floor_kwh=9.0,
            capacity_kwh=60.0, energy_kwh=energy, delivered_kwh=0.0, imported_kwh=0.0, exported_kwh=0.0, power_kw=0.0,
            vehicle_model="car", v2g_consent=True, soc_source=SocSource.REPORTED, soc_at=self._now, is_declared=True,
        )


async def soak(solves: int, fault_share: float, seed: int, *, timeout_s: float = 6.0) -> Figures:
    """Plan `solves` times; a share of the cycles but the last third has its child killed or stopped."""
    figures, site, draw = Figures(), ChangingSite(seed), np.random.default_rng(seed + 1)
    others = set(children())  # of whoever runs us
    planner = PlannerProcess(timeout_s, start_timeout_s=START_TIMEOUT_S)
    await planner.start()
    life, born, pid = 0, 0, planner.pid
    dead: set[int] = set()
    try:
        for cycle in range(solves):
            request = site.request()
            began = time.perf_counter()
            running = asyncio.create_task(planner.plan(request))
            if draw.random() < fault_share and cycle < (1.0 - CALM_SHARE) * solves:
                fault = signal.SIGKILL if draw.random() < 0.5 else signal.SIGSTOP
                await asyncio.sleep(float(draw.uniform(0.0, 0.15)))
                if planner.pid is not None:
                    os.kill(planner.pid, fault)
                    figures.faults[fault.name] += 1
            outcome = await running
            figures.wait_s.append(time.perf_counter() - began)
            judge(figures, cycle, request, outcome)
            site.dispatched(outcome)
            if planner.pid != pid:
                life, born, pid = life + 1, cycle, planner.pid
            figures.rss_kb.append(rss_kb(os.getpid()))
            if pid is not None:
                figures.child_rss_kb.append((life, cycle - born, rss_kb(pid)))
            # One that has just been killed is not reaped yet; one of the cycle before is forgotten.
            before, dead = dead, {child for child, state in children().items() if state == "Z" and child not in others}
            figures.zombies += len(before & dead)
    finally:
        await planner.aclose()
    figures.left_over = len(set(children()) - others)
    return figures


def judge(figures: Figures, cycle: int, request: PlanRequest, outcome: GateOutcome) -> None:
    """Every cycle has a plan for all its cars; one that is not the solver's own says so."""
    figures.statuses[outcome.plan.status] += 1
    if set(outcome.plan.ev_ids) != {ev.id for ev in request.problem.evs}:
        figures.lost.append(f"cycle {cycle}: a plan for other cars")
    if not np.isfinite(outcome.schedule.power_kw).all():
        figures.lost.append(f"cycle {cycle}: set-points that are no numbers")
    if outcome.plan.status == "safe" and not outcome.alerts:
        figures.lost.append(f"cycle {cycle}: a safe plan that does not say why")


def rss_kb(pid: int) -> int:
    """Resident memory; 0 of a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE_KB
    except (FileNotFoundError, ProcessLookupError):
        return 0


def children() -> dict[int, str]:
    """State of each child of this process, by its id."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text("utf-8", errors="replace").rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == os.getpid():
            found[int(stat.parent.name)] = state
    return found


def faults_of(figures: Figures) -> list[str]:
    """What did not hold, in words."""
    found = list(figures.lost)
    if figures.zombies or figures.left_over:
        found.append(f"{figures.zombies} zombies seen, {figures.left_over} children left over")
    for name, slope in (("parent", figures.parent_slope_kb), ("child", figures.child_slope_kb)):
        if slope > MOST_GROWTH_KB:
            found.append(f"the {name} grows by {slope:.2f} kB per solve, expected at most {MOST_GROWTH_KB:g}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solves", type=int, default=2000)
    parser.add_argument("--faults", type=float, default=0.02, help="share of cycles whose child is killed or stopped")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    figures = asyncio.run(soak(wanted.solves, wanted.faults, wanted.seed))
    waits = np.array(figures.wait_s)
    print(f"{wanted.solves} cycles: {dict(figures.statuses)}; faults: {dict(figures.faults)}")
    print(f"answers after {np.median(waits):.3f} s (median), {np.quantile(waits, 0.99):.2f} s (99 %), "
          f"{waits.max():.2f} s at most")
    print(f"memory: parent {figures.rss_kb[0] / 1024:.0f} -> {figures.rss_kb[-1] / 1024:.0f} MB, "
          f"{figures.parent_slope_kb:+.3f} kB per solve; child at most "
          f"{max(kb for *_, kb in figures.child_rss_kb) / 1024:.0f} MB, "
          f"{figures.child_slope_kb:+.3f} kB per solve; {figures.zombies} zombies")
    wrong = faults_of(figures)
    for fault in wrong:
        print(f"FAULT {fault}", file=sys.stderr)
    print("RESULT " + json.dumps({
        "cycles": sum(figures.statuses.values()), "statuses": figures.statuses, "faults": figures.faults,
        "lost": len(figures.lost), "parent_kb_per_solve": round(figures.parent_slope_kb, 4),
        "child_kb_per_solve": round(figures.child_slope_kb, 4), "zombies": figures.zombies,
    }))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
