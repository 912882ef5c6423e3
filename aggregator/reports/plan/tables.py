"""The tables of a fleet's plan, and the plan in words: what it costs, who falls short, which limits cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import PRODUCTS, Problem
from aggregator.planning.fleet.short import lacks
from aggregator.planning.fleet.why import Reason, binding
from aggregator.planning.fleet.words import (
    counted,
    decision_words,
    horizon_words,
    lack_words,
    repair_words,
    reserve_words,
    status_words,
)
from aggregator.reports.page import Table, figure
from aggregator.reports.plan.figures import notable_sites

_FELT = 1e-6
_MOST_ROWS = 100
_MOST_BINDING, _MOST_TARGETS = 20, 5


def headline(problem: Problem, plan: Plan) -> tuple[tuple[str, str, str], ...]:
    """(label, value, relation): what someone looks for first."""
    short = plan.outcome.shortfall_kwh > _FELT
    missed = plan.outcome.event_shortfall_kw
    found = [
        ("Cost", figure(plan.objective, digits=2), f"proven not below {figure(plan.bound, digits=2)}"),
        ("Gap", figure(100 * plan.gap, "%", 3), status_words(plan)),
        ("Short of their target", f"{int(short.sum()):,}",
         f"of {counted(len(problem.evs), 'EV')}, by {figure(float(plan.outcome.shortfall_kwh.sum()), 'kWh')} in all"),
        ("Highest net import", figure(float(plan.outcome.net_kw.sum(axis=0).max(initial=0.0)), "kW"),
         f"of {counted(len(problem.sites), 'site')} together"),
    ]
    if asked := sum(len(event.steps) > 0 for event in problem.events):
        found.append(("Events", "delivered" if missed.max(initial=0.0) <= _FELT else
                      figure(float(missed.max()), "kW short"), f"{asked} asked"))
    return tuple(found)


def summary(problem: Problem, plan: Plan) -> str:
    """The plan in a sentence or two."""
    hours, power = problem.step_h, plan.power_kw
    charged, given = float(power[power > 0].sum()) * hours, -float(power[power < 0].sum()) * hours
    where = f"{counted(len(problem.evs), 'EV')} at {counted(len(problem.sites), 'site')}"
    text = (f"{where} over {problem.steps * hours:g} hours in steps of {60 * hours:g} minutes: "
            f"{figure(charged, 'kWh', 0)} are charged")
    return text + (f" and {figure(given, 'kWh', 0)} given back." if given > _FELT else ".")


def plan_tables(
    problem: Problem, plan: Plan, explained: Sequence[tuple[int, tuple[Reason, ...]]]
) -> list[Table]:
    """Every table that has rows."""
    made = [_costs(plan), _binding(problem, plan), _short(problem, plan), _events(problem, plan),
            _reserve(problem, plan), _sites(problem, plan), _run(plan)]
    made += [_why(problem, ev, reasons) for ev, reasons in explained]
    return [table for table in made if table.rows]


def _between(problem: Problem, steps: Sequence[int]) -> str:
    """From when to when, in hours from the start."""
    first, last = min(steps) * problem.step_h, (max(steps) + 1) * problem.step_h
    return f"{figure(first, digits=2)} to {figure(last, 'h', 2)}"


def _costs(plan: Plan) -> Table:
    names = {"energy": "Energy bought, less sold", "wear": "Battery wear", "shortfall": "Energy missing at departure",
             "below_floor": "Time below the floor", "demand": "Higher billed peaks", "event": "Missed events",
             "reserve": "Reserve sold", "limits": "Power without room under caps, lines and voltages"}
    rows = [(names.get(name, name.replace("_", " ")), figure(cost, digits=2))
            for name, cost in plan.outcome.costs.items() if abs(cost) >= 0.005]  # noqa: PLR2004 - two digits show no less
    rows.append(("Total", figure(plan.objective, digits=2)))
    return Table("costs", "What it costs", (("", False), ("money", True)), tuple(rows))


def _binding(problem: Problem, plan: Plan) -> Table:
    found = binding(problem, plan)
    targets = [item for item in found if item.kind == "target"]
    shown = [item for item in found if item.kind != "target"][:_MOST_BINDING] + targets[:_MOST_TARGETS]
    rows = tuple((item.kind, item.where, _between(problem, item.steps), str(len(item.steps)),
                  figure(item.per_unit, digits=3), "kWh" if item.kind == "target" else "kW")
                 for item in sorted(shown, key=lambda item: -item.per_unit))
    more = "" if len(found) == len(shown) else (
        f" {len(found):,} limits cost something, {len(targets):,} of them targets; the dearest are listed.")
    return Table("binding", "What decides: the limits that cost", (
        ("limit", False), ("of", False), ("between", False), ("steps", True), ("one more saves", True),
        ("unit", False)), rows,
        f"Dearest first: what one more kW in all its steps (a kWh less for a target) would save.{more}")


def _short(problem: Problem, plan: Plan) -> Table:
    evs, missing = problem.evs, plan.outcome.shortfall_kwh
    count = int((missing > _FELT).sum())
    rows = tuple((
        evs.ids[lack.ev], problem.sites.ids[evs.site[lack.ev]], figure(lack.missing_kwh),
        figure(float(evs.target_kwh[lack.ev])), figure(lack.possible_kwh), lack_words(lack),
    ) for lack in lacks(problem, plan, _MOST_ROWS))
    more = f"The {_MOST_ROWS} that miss most of {count:,}." if count > _MOST_ROWS else ""
    return Table("short", "Who falls short", (
        ("EV", False), ("site", False), ("kWh missing", True), ("target", True), ("possible at full power", True),
        ("because", False)), rows, more)


def _events(problem: Problem, plan: Plan) -> Table:
    rows, at = [], 0
    for event in problem.events:
        own = slice(at, at + len(event.steps))
        at = own.stop
        missing, net = plan.outcome.event_shortfall_kw[own], plan.outcome.event_net_kw[own]
        if not len(event.steps):
            continue
        rows.append((event.id, str(len(event.steps)), figure(float(event.max_net_kw.mean())), figure(float(net.mean())),
                     figure(float(missing.max())), figure(float(missing.sum()) * problem.step_h),
                     figure(float(missing.sum()) * problem.step_h * event.shortfall_per_kwh, digits=2)))
    return Table("events", "What was asked and what is planned", (
        ("event", False), ("steps", True), ("asked at most, mean kW", True), ("planned, mean kW", True),
        ("most missing kW", True), ("kWh missing", True), ("costs", True)), tuple(rows))


def _reserve(problem: Problem, plan: Plan) -> Table:
    if problem.reserve is None:
        return Table("reserve", "", (), ())
    rows = []
    for block in range(len(problem.reserve)):
        steps = np.flatnonzero(problem.reserve.block == block)
        if len(steps):
            rows.append((str(block), _between(problem, steps.tolist()), *(
                figure(float(plan.schedule.reserve_kw[product, block])) for product in range(len(PRODUCTS)))))
    return Table("reserve", "Reserve sold, kW", (
        ("block", False), ("between", False), *((name, True) for name in PRODUCTS)), tuple(rows),
        reserve_words(plan))


def _sites(problem: Problem, plan: Plan) -> Table:
    sites, schedule, net, hours = problem.sites, plan.schedule, plan.outcome.net_kw, problem.step_h
    evs = np.bincount(problem.evs.site, minlength=len(sites))
    rows = tuple((
        sites.ids[k], f"{evs[k]:,}", figure(float(plan.outcome.peak_kw[k])), figure(float(sites.peak_so_far_kw[k])),
        figure(float(sites.import_cap_kw[k].min())), figure(float(np.maximum(net[k], 0.0).sum()) * hours, digits=0),
        figure(float(np.maximum(-net[k], 0.0).sum()) * hours, digits=0),
        figure(float(schedule.curtailed_kw[k].sum()) * hours),
        figure(float((schedule.unserved_kw[k] + schedule.spilled_kw[k]).sum()) * hours),
    ) for k in notable_sites(problem, plan)[:_MOST_ROWS])
    more = f" {_MOST_ROWS} of {len(sites):,}." if len(sites) > _MOST_ROWS else ""
    return Table("sites", "The sites", (
        ("site", False), ("EVs", True), ("peak kW", True), ("peak so far", True), ("import cap, least", True),
        ("kWh in", True), ("kWh out", True), ("PV held back", True), ("without room", True)), rows,
        f"Those without room for their power first, then those whose limits cost most.{more}")


def _run(plan: Plan) -> Table:
    rows = [("status", plan.status), ("objective", f"{plan.objective:.6g}"), ("proven bound", f"{plan.bound:.6g}"),
            ("gap", f"{100 * plan.gap:.4f} %"),
            *([("repaired", repaired)] if (repaired := repair_words(plan)) else []),
            *((f"seconds, {phase}", f"{value:.2f}") for phase, value in plan.seconds.items())]
    return Table("run", "How it was found", (("", False), ("", False)), tuple(rows))


def _why(problem: Problem, ev: int, reasons: Sequence[Reason]) -> Table:
    rows = tuple((
        str(reason.step), figure(reason.power_kw, digits=2), figure(reason.energy_kwh), decision_words(reason),
        figure(reason.site_price, digits=3), figure(reason.energy_value, digits=3),
        figure(reason.charge_worth, digits=3),
        "" if reason.discharge_worth is None else figure(reason.discharge_worth, digits=3), horizon_words(reason),
    ) for reason in reasons)
    return Table(f"why-table-{ev}", f"{problem.evs.ids[ev]}, step by step", (
        ("step", True), ("kW", True), ("kWh after", True), ("does so", False), ("a kWh costs", True),
        ("is worth", True), ("charging gains", True), ("discharging gains", True), ("because of", False)), rows,
        "What charging and discharging gain is per kWh at the connector, with losses and wear.")
