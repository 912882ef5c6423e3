"""The figures of a fleet's plan as Plotly data: the stack under the cap, prices, events and sites.

A planning problem knows steps and no clock: the axis counts hours from the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Event, Floats, Ints, Problem
from aggregator.planning.fleet.words import counted
from aggregator.reports.page import Figure, Layout, Trace, band, line, rounded, stairs, steps_per_point, wash

MOST_SITES = 8
"""Sites that have a figure of their own."""

_MOST_STACKED = 16
_NEAR_CAP = 1.6
_MARGIN_H = 2.0
_FELT = 1e-6
_NAMED = 3
_ROOM = 0.25  # of what is planned, for an event's line beyond it


def named(text: str) -> str:
    """A name from a file as Plotly shows it: its texts are a small HTML."""
    return escape(text)


class HourAxis:
    """Steps on an axis of hours from the start; a long horizon is thinned to means over whole blocks of steps."""

    def __init__(self, problem: Problem) -> None:
        self.step_h, self.steps = float(problem.step_h), problem.steps
        self.block = steps_per_point(self.steps)

    @property
    def x(self) -> list[float]:
        """Beginning of each block, and the end of the last."""
        return [round(k * self.step_h, 4) for k in (*range(0, self.steps, self.block), self.steps)]

    def y(self, values: Floats, digits: int = 2) -> list[float | None]:
        """Means over blocks, the last one again at its end: lines are stairs. None where nothing is known."""
        return stairs(values, self.block, digits)

    @property
    def layout(self) -> Layout:
        hours = self.steps * self.step_h
        tick = next((tick for tick in (0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168) if hours / tick <= 13), 336)  # noqa: PLR2004 - marks that fit
        return {"range": [0, hours], "dtick": tick, "title": {"text": "hours from the start"}, "hoverformat": ".2~f"}


def power_figures(problem: Problem, plan: Plan) -> list[Figure]:
    """The fleet, its prices, its events, and the sites that have most to tell."""
    axis = HourAxis(problem)
    found = [_fleet(problem, plan, axis), _prices(problem, plan, axis), *_events(problem, plan, axis)]
    if len(problem.sites) > 1:
        found += [_site(problem, plan, axis, site) for site in notable_sites(problem, plan)[:MOST_SITES]]
    return found


def notable_sites(problem: Problem, plan: Plan) -> list[int]:
    """All sites: first those with power that has no room, then those whose limits cost most, then the busiest."""
    schedule = plan.schedule
    no_room = (schedule.unserved_kw + schedule.spilled_kw).sum(axis=1)
    cost = np.zeros(len(problem.sites))
    if plan.duals is not None:
        prices = plan.duals.site
        cost = (prices.import_cap + np.abs(prices.export_cap) + np.abs(prices.peak) + np.abs(prices.feeder)).sum(axis=1)
    energy = np.bincount(problem.evs.site, np.abs(plan.power_kw).sum(axis=1), len(problem.sites))
    order: list[int] = np.lexsort((-energy, -np.round(cost, 6), -np.round(no_room, 6))).tolist()
    return order


def at_rest(problem: Problem) -> Floats:
    """Shape (step,): what the fleet's sites import where no EV does anything."""
    rest: Floats = (problem.sites.base_kw - problem.sites.pv_kw).sum(axis=0)
    return rest


def _stack(problem: Problem, plan: Plan, axis: HourAxis, sites: Ints) -> list[Trace]:
    """Building and charging above zero, PV and discharging below, the net line over both."""
    own = np.isin(problem.evs.site, sites)
    base, net = problem.sites.base_kw[sites].sum(axis=0), plan.outcome.net_kw[sites].sum(axis=0)
    charge, discharge = (getattr(plan.schedule, name)[own] for name in ("charge_kw", "discharge_kw"))
    used = (problem.sites.pv_kw - plan.schedule.curtailed_kw)[sites].sum(axis=0)
    data = [_area("Building", axis, np.maximum(base, 0.0), ("--building", "--pale"), "import")]
    if own.sum() <= _MOST_STACKED:
        data += _by_car(problem, axis, np.flatnonzero(own), charge, ("--ev", "--ev-wash"), "import")
    else:
        data.append(_area("Charging", axis, charge.sum(axis=0), ("--ev", "--ev-wash"), "import"))
    export = used - np.minimum(base, 0.0)
    if (export > _FELT).any():
        data.append(_area("PV", axis, -export, ("--warn", "--warn-wash"), "export"))
    if (discharge > _FELT).any():
        if own.sum() <= _MOST_STACKED:
            data += _by_car(problem, axis, np.flatnonzero(own), -discharge, ("--target", "--target-wash"), "export")
        else:
            data.append(_area("Discharging", axis, -discharge.sum(axis=0), ("--target", "--target-wash"), "export"))
    data.append(line("Net", axis.x, axis.y(net), "--net", shape="hv", width=2))
    return data


def _area(name: str, axis: HourAxis, values: Floats, colours: tuple[str, str], group: str, **look: Any) -> Trace:
    return line(name, axis.x, axis.y(values), colours[0], width=0.75, shape="hv", stackgroup=group,
                fillcolor=colours[1], **look)


def _by_car(
    problem: Problem, axis: HourAxis, evs: Ints, power: Floats, colours: tuple[str, str], group: str
) -> Iterator[Trace]:
    """A layer per car that does something; one entry of the legend for all of them."""
    word, first = ("Discharging" if group == "export" else "Charging"), True
    for ev, own in zip(evs, power, strict=True):
        if (np.abs(own) > _FELT).any():
            name = named(problem.evs.ids[ev])
            yield _area(f"{word}, by car" if first else name, axis, own, colours, group, showlegend=first,
                        legendgroup=word, hovertemplate=f"{name}: %{{y:.1f}} kW<extra></extra>")
            first = False


def _cap(axis: HourAxis, cap: Floats, net: Floats, name: str) -> list[Trace]:
    """The cap where it is near enough to be seen beside the power."""
    top = max(1.0, float(net.max()))
    near = np.where(cap <= _NEAR_CAP * top, cap, np.nan)
    if not np.isfinite(near).any():
        return []
    return [line(name, axis.x, axis.y(near), "--cap", dash="dash", shape="hv", width=1.5)]


def _asked(
    events: Sequence[Event], axis: HourAxis, name: str = "Event: at most", width: float = 3.0
) -> list[Trace]:
    """What the events allow, as thick stairs; one legend entry."""
    data: list[Trace] = []
    for event in events:
        limit_of = dict(zip(event.steps.tolist(), event.max_net_kw.tolist(), strict=True))
        for steps in _runs(np.sort(event.steps)):
            limit = [limit_of[step] for step in steps.tolist()]
            x = [round(float(step) * axis.step_h, 4) for step in (*steps, steps[-1] + 1)]
            data.append(line(name, x, rounded([*limit, limit[-1]]), "--target", width=width, shape="hv",
                             showlegend=not data, legendgroup="event",
                             hover=f"{named(event.id)}: at most %{{y:.1f}} kW"))
    return data


def washes(events: Sequence[Event], axis: HourAxis) -> list[dict[str, Any]]:
    """Pale bands where an event is in force."""
    return [
        wash(float(run[0]) * axis.step_h, float(run[-1] + 1) * axis.step_h)
        for event in events for run in _runs(np.unique(event.steps))]


def _runs(steps: Ints) -> list[Ints]:
    """Steps in their order, parted where one is left out."""
    return [run for run in np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1) if len(run)]


def _fleet(problem: Problem, plan: Plan, axis: HourAxis) -> Figure:
    sites = np.arange(len(problem.sites))
    net, cap = plan.outcome.net_kw.sum(axis=0), problem.sites.import_cap_kw.sum(axis=0)
    is_one = len(sites) == 1
    power = _stack(problem, plan, axis, sites)
    capped = _cap(axis, cap, net, "Cap" if is_one else "All caps together")
    data = power + capped + _asked(problem.events, axis)
    apart = (plan.schedule.charge_kw.sum(axis=0) > _FELT) & (plan.schedule.discharge_kw.sum(axis=0) > _FELT)
    caption = ("Building below, charging on top; PV and discharging below zero. The line on top is what is "
               "left: net import.")
    if capped and apart.any():
        caption += " Some cars charge while others discharge, so areas may reach beyond the cap; the net line may not."
    if not is_one:
        caption += f" All {len(sites):,} connection points together; each has a cap of its own."
    yaxis: Layout = {"title": {"text": "kW, import positive"}, "zeroline": True}
    low, high = _span([*power, *capped])
    beyond = [event.id for event in problem.events if len(event.steps)
              and not low <= event.max_net_kw.min() <= event.max_net_kw.max() <= high]
    if beyond:
        # What nobody can deliver must not squash what is planned.
        yaxis["range"] = [low, high]
        named_so = f"event {beyond[0]} asks" if len(beyond) == 1 else f"events {', '.join(beyond[:_NAMED])} ask"
        caption += f" What {named_so} for lies beyond the figure and is drawn apart."
    layout = {"xaxis": axis.layout, "yaxis": yaxis,
              "showlegend": True, "legend": {"traceorder": "normal"}, "shapes": washes(problem.events, axis)}
    title = "Power at the connection point, under its cap" if is_one else "Power of the whole fleet"
    return Figure("fleet-power", title, caption, data, layout, 460)


def _site(problem: Problem, plan: Plan, axis: HourAxis, site: int) -> Figure:
    net, cap = plan.outcome.net_kw[site], problem.sites.import_cap_kw[site]
    data = _stack(problem, plan, axis, np.array([site])) + _cap(axis, cap, net, "Import cap")
    export = problem.sites.export_cap_kw[site]
    if (net < -0.5 * export).any() and (export > 0).any():
        data.append(line("Export cap", axis.x, axis.y(-export), "--cap", dash="dot", shape="hv", width=1.5))
    lost = plan.schedule.unserved_kw[site].sum() + plan.schedule.spilled_kw[site].sum()
    evs = int((problem.evs.site == site).sum())
    caption = f"{counted(evs, 'EV')}, peak {plan.outcome.peak_kw[site]:.1f} kW."
    if lost > _FELT:
        caption += f" {lost * problem.step_h:.1f} kWh have no room under its limits."
    if not any(trace["name"] == "Import cap" for trace in data):
        caption += f" The import cap of {cap.min():,.0f} kW lies above the figure."
    layout = {"xaxis": axis.layout, "yaxis": {"title": {"text": "kW, import positive"}, "zeroline": True},
              "showlegend": True, "legend": {"traceorder": "normal"}, "shapes": washes(problem.events, axis)}
    return Figure(f"site-{site}", problem.sites.ids[site], caption, data, layout, 320)


def _prices(problem: Problem, plan: Plan, axis: HourAxis) -> Figure:
    imports, exports = problem.import_price, problem.export_price
    data = []
    caption = "What the market asks for a kWh and pays for one."
    top, bottom = float(max(imports.max(), exports.max())), float(min(imports.min(), exports.min(), 0.0))
    if plan.duals is not None and len(problem.sites):
        total = plan.duals.site.total
        low, middle, high = np.quantile(total, (0.1, 0.5, 0.9), axis=0)
        if len(problem.sites) > 1:
            data += band("8 of 10 sites", axis.x, axis.y(low, 4), axis.y(high, 4), "--net-wash", shape="hv")
        data.append(line("At the site" if len(problem.sites) == 1 else "At the median site", axis.x,
                         axis.y(middle, 4), "--ink", shape="hv", width=2.25, hover="%{y:.3f} per kWh"))
        caption += (" The heavy line is what one more kWh would cost where it is used: the market, and what it adds "
                    "to an event, a peak, a cap or a feeder.")
        seen = float(np.quantile(np.concatenate([middle, high]), 0.98))
        top, bottom = max(top, seen), min(bottom, float(np.quantile(low, 0.02)))
        if high.max() > 1.3 * top + _FELT:
            caption += f" Single steps reach {high.max():.2f} and are cut off."
    data += [line("Buying", axis.x, axis.y(imports, 4), "--planned", shape="hv", hover="%{y:.3f} per kWh"),
             line("Selling", axis.x, axis.y(exports, 4), "--uncontrolled", shape="hv", dash="dot",
                  hover="%{y:.3f} per kWh")]
    room = 0.08 * max(top - bottom, _FELT)
    layout = {"xaxis": axis.layout, "showlegend": True, "shapes": washes(problem.events, axis),
              "yaxis": {"title": {"text": "money per kWh"}, "zeroline": True,
                        "range": [bottom - (room if bottom < 0 else 0.0), top + room]}}
    return Figure("prices", "Prices", caption, data, layout, 320)


def _events(problem: Problem, plan: Plan, axis: HourAxis) -> Iterator[Figure]:
    net, rest, at = plan.outcome.net_kw.sum(axis=0), at_rest(problem), 0
    for number, event in enumerate(problem.events):
        own = slice(at, at + len(event.steps))
        at = own.stop
        if not len(event.steps):
            continue
        margin = max(1, round(_MARGIN_H / problem.step_h))
        first, last = max(0, int(event.steps.min()) - margin), min(problem.steps, int(event.steps.max()) + 1 + margin)
        x = [round(k * problem.step_h, 4) for k in range(first, last + 1)]

        def stairs(values: Floats, window: slice = slice(first, last)) -> list[float | None]:
            shown = values[window]
            return rounded([*shown, shown[-1]])

        data = [line("All EVs at rest", x, stairs(rest), "--building", shape="hv", dash="dot"),
                *_asked([event], axis, "Asked: at most", 6.0),
                line("Plan", x, stairs(net), "--net", shape="hv", width=1.75)]
        missing = plan.outcome.event_shortfall_kw[own]
        if (missing > _FELT).any():
            late = event.steps[missing > _FELT]
            data.append({
                "type": "scatter", "mode": "markers", "name": "Missed", "x": [(s + 0.5) * problem.step_h for s in late],
                "y": rounded(net[late]), "marker": {"color": "--bad", "size": 8, "symbol": "x"},
                "hovertemplate": "%{text} kW above what was asked<extra></extra>",
                "text": [f"{kw:.1f}" for kw in missing[missing > _FELT]]})
            words = (f"Missed in {len(late)} of {len(event.steps)} steps, by up to {missing.max():.1f} kW and "
                     f"{missing.sum() * problem.step_h:.1f} kWh.")
        else:
            words = "Delivered in every step."
        asked, given = rest[event.steps] - event.max_net_kw, rest[event.steps] - net[event.steps]
        words += (f" Against all EVs at rest, {_less(asked.mean())} were asked on average and {_less(given.mean())} "
                  "are planned.")
        layout = {
            "xaxis": {**axis.layout, "range": [x[0], x[-1]], "dtick": None}, "showlegend": True,
            "yaxis": {"title": {"text": "kW, net import of the fleet"}}, "shapes": washes([event], axis)}
        yield Figure(f"event-{number}", f"{event.id}: asked and planned", words, data, layout, 320)


def _less(kw: float) -> str:
    return f"{abs(kw):.1f} kW {'less' if kw >= 0 else 'more'}"


def _span(data: Sequence[Trace]) -> tuple[float, float]:
    """What the traces cover in kW, those that stand on each other together, with a margin for lines near by."""
    sums: dict[str, Floats] = {}
    for number, trace in enumerate(data):
        values = np.array([np.nan if value is None else value for value in trace["y"]], dtype=float)
        group = str(trace.get("stackgroup", number))
        sums[group] = sums[group] + np.nan_to_num(values) if group in sums else np.nan_to_num(values)
    low = min(float(values.min()) for values in sums.values())
    high = max(float(values.max()) for values in sums.values())
    room = max(1.0, _ROOM * (high - low))
    return low - room, high + room
