"""The figures of the cars in a fleet's plan: their batteries, what each does, and why one does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.why import Reason
from aggregator.reports.page import Figure, Trace, band, line
from aggregator.reports.plan.figures import HourAxis, named, washes

_MOST_ROWS = 200
_MOST_NAMED = 40
_FEW = 10
_SAMPLED = 4000
_PLUGGED = "State of charge of the cars that are plugged in"


def car_figures(
    problem: Problem, plan: Plan, explained: Sequence[tuple[int, tuple[Reason, ...]]]
) -> list[Figure]:
    """Batteries, powers, and one figure per explained car; none without cars."""
    axis = HourAxis(problem)
    if not len(problem.evs):
        return []
    return [_soc(problem, plan, axis), _powers(problem, plan, axis),
            *(_why(problem, axis, ev, reasons) for ev, reasons in explained)]


def _soc(problem: Problem, plan: Plan, axis: HourAxis) -> Figure:
    evs = problem.evs
    few = len(evs) <= _FEW
    chosen = _spread(len(evs), _SAMPLED)
    soc = 100.0 * plan.outcome.energy_kwh[chosen] / evs.capacity_kwh[chosen, None]
    ticks = np.arange(problem.steps)
    soc = np.where((evs.arrive[chosen, None] <= ticks) & (ticks < evs.depart[chosen, None]), soc, np.nan)
    data: list[Trace] = []
    caption = f"At the end of each step, over {len(evs):,} cars." if len(evs) <= _SAMPLED else (
        f"At the end of each step, over {_SAMPLED:,} of {len(evs):,} cars.")
    if few:
        for ev in chosen:
            stay = np.arange(evs.arrive[ev], evs.depart[ev] + 1)
            course = 100.0 * np.concatenate([evs.energy_kwh[[ev]], plan.outcome.energy_kwh[ev, stay[:-1]]])
            data.append(line(named(evs.ids[ev]), (stay * axis.step_h).tolist(),
                             np.round(course / evs.capacity_kwh[ev], 1).tolist(), "--ev", hover="%{y:.0f} %"))
        data.append({
            "type": "scatter", "mode": "markers", "name": "Target", "x": (evs.depart * axis.step_h).tolist(),
            "y": np.round(100.0 * evs.target_kwh / evs.capacity_kwh, 1).tolist(),
            "text": [named(name) for name in evs.ids], "hovertemplate": "%{text} wants %{y:.0f} %<extra></extra>",
            "marker": {"color": "--cap", "size": 9, "symbol": "line-ew-open", "line": {"width": 2}}})
        caption = "One line per car from arrival to departure; a red dash is what it wants when it leaves."
    else:
        known = np.isfinite(soc).any(axis=0)
        low, middle, high = np.full((3, problem.steps), np.nan)
        low[known], middle[known], high[known] = np.nanquantile(soc[:, known], (0.1, 0.5, 0.9), axis=0)
        # A fill that crosses a gap would join both of its sides: without cars the fan has no width.
        filled = _bridged(middle)
        data += band("8 of 10 cars", axis.x, axis.y(np.where(known, low, filled), 1),
                     axis.y(np.where(known, high, filled), 1), "--ev-wash", shape="hv")
        data.append(line("Median car", axis.x, axis.y(middle, 1), "--ev", shape="hv", width=2.25, hover="%{y:.0f} %"))
        caption += " Cars come and go: the median may fall while every car charges."
    layout = {"xaxis": axis.layout, "yaxis": {"title": {"text": "state of charge, %"}, "range": [0, 102]},
              "showlegend": not few, "shapes": washes(problem.events, axis)}
    if few:
        layout["hovermode"] = "closest"
    return Figure("soc", _PLUGGED, caption, data, layout, 340)


def _powers(problem: Problem, plan: Plan, axis: HourAxis) -> Figure:
    """A row per car."""
    evs = problem.evs
    order = np.lexsort((evs.depart, evs.arrive, evs.site))
    chosen = order[_spread(len(order), _MOST_ROWS)]
    power = plan.power_kw[chosen]
    rows = []
    ticks = np.arange(problem.steps)
    for ev, own in zip(chosen, power, strict=True):
        plugged = (evs.arrive[ev] <= ticks) & (ticks < evs.depart[ev])
        rows.append(axis.y(np.where(plugged, own, np.nan))[:-1])
    most = float(np.abs(power).max(initial=1.0))
    has_names = len(chosen) <= _MOST_NAMED
    names = [named(evs.ids[ev]) for ev in chosen]
    data: list[Trace] = [{
        "type": "heatmap", "x": axis.x, "y": list(range(len(chosen) + 1)), "z": rows, "zmin": -most, "zmax": most,
        "colorscale": [[0.0, "--target"], [0.5, "--sunken"], [1.0, "--ev"]], "xgap": 0, "ygap": 1 if has_names else 0,
        "customdata": [[name] * len(rows[0]) for name in names],
        "hovertemplate": "%{customdata}: %{z:.1f} kW<extra></extra>",
        "colorbar": {"title": {"text": "kW"}, "thickness": 12, "outlinewidth": 0}}]
    ticks_at = {"tickvals": [k + 0.5 for k in range(len(chosen))], "ticktext": names} if has_names else {
        "showticklabels": False}
    part = "" if len(chosen) == len(evs) else f" {len(chosen)} of {len(evs):,} cars are drawn."
    layout = {"xaxis": axis.layout, "hovermode": "closest",
              "yaxis": {"autorange": "reversed", "showgrid": False, "zeroline": False, **ticks_at}}
    caption = ("One row per car while it is plugged in, by site and arrival: green charges, violet discharges, grey "
               f"rests.{part}")
    return Figure("cars", "What every car does", caption, data, layout,
                  min(900, 90 + len(chosen) * (18 if has_names else 4)))


def _why(problem: Problem, axis: HourAxis, ev: int, reasons: Sequence[Reason]) -> Figure:
    """Power above; below it what a kWh costs at the site and what it is worth in the battery."""
    x = [round(reason.step * axis.step_h, 4) for reason in reasons]
    ends = [*x, round(float(problem.evs.depart[ev]) * axis.step_h, 4)]
    values: dict[str, list[float]] = {
        "power": [reason.power_kw for reason in reasons], "price": [reason.site_price for reason in reasons],
        "worth": [reason.energy_value for reason in reasons]}

    def stairs(name: str, digits: int) -> list[float | None]:
        return [round(value, digits) for value in (*values[name], values[name][-1])]

    data = [
        line("Power", ends, stairs("power", 2), "--ev", shape="hv", fill="tozeroy", fillcolor="--ev-wash",
             yaxis="y2"),
        line("Price at the site", ends, stairs("price", 4), "--planned", shape="hv", hover="%{y:.3f} per kWh"),
        line("Worth in the battery", ends, stairs("worth", 4), "--uncontrolled", shape="hv", width=2.25,
             hover="%{y:.3f} per kWh"),
    ]
    layout = {
        "xaxis": {**axis.layout, "range": [ends[0], ends[-1]], "dtick": None, "anchor": "y"}, "showlegend": True,
        "yaxis": {"domain": [0.0, 0.46], "title": {"text": "money per kWh"}},
        "yaxis2": {"domain": [0.56, 1.0], "title": {"text": "kW"}, "zeroline": True},
        "shapes": washes(problem.events, axis)}
    return Figure(
        f"why-{ev}", f"{problem.evs.ids[ev]}: power, price and worth",
        "It charges where a kWh in the battery is worth more than one costs at the site with losses and wear, "
        "discharges where it is worth less, and rests in between.", data, layout, 420)


def _spread(count: int, most: int) -> Ints:
    """Numbers spread evenly over 0..count, all of them if there are no more than `most`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _bridged(values: Floats) -> Floats:
    """The last known value where nothing is known; the first known one before it."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return np.zeros_like(values)
    return values[known[np.maximum(0, np.searchsorted(known, np.arange(len(values)), side="right") - 1)]]
