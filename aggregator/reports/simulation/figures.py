"""The figures of a simulation as Plotly data. Colours are names of CSS custom properties: the page's light and dark."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import Figure, Trace, band, line, rounded
from aggregator.reports.simulation.axis import StepAxis, washes
from aggregator.reports.simulation.band import Band
from aggregator.reports.simulation.causes import CAUSE_WORDS, CAUSES, Cause
from aggregator.reports.simulation.facts import EventFact, SimulationFacts

Floats = NDArray[np.float64]

_MOST_DOTS = 1500
_ALIKE = 0.01
"""Peaks of all courses that lie within this share of the highest tell nothing apart."""
CAUSE_COLOURS: dict[Cause, str] = {
    Cause.NONE: "--ev", Cause.STAY: "--muted", Cause.LEFT_EARLY: "--planned", Cause.EVENT: "--target",
    Cause.FAULT: "--bad", Cause.CHANGED: "--building", Cause.EARLY_AND_SHARED: "--warn",
    Cause.SHARED: "--uncontrolled",
}
_CAUSE_LABELS: dict[Cause, str] = {
    Cause.NONE: "not short", Cause.STAY: "stay too short", Cause.LEFT_EARLY: "left early", Cause.EVENT: "the event",
    Cause.FAULT: "fault", Cause.CHANGED: "changed wish", Cause.EARLY_AND_SHARED: "left early, planned later",
    Cause.SHARED: "too little for all",
}


def simulation_figures(facts: SimulationFacts) -> tuple[Figure, ...]:
    """Every figure of the report that has something to show."""
    axis = StepAxis(facts.grid, facts.timezone)
    made: list[Figure | None] = [_power(facts, axis)]
    made += [_event(facts, event, number) for number, event in enumerate(facts.events)]
    made += [_causes(facts), _departures(facts), _soc(facts, axis), _replicas(facts)]
    return tuple(figure for figure in made if figure is not None)


def _power(facts: SimulationFacts, axis: StepAxis) -> Figure:
    site, x = facts.whole, axis.x
    base = "Building" if facts.feeder is None else "Homes"

    def stacked(name: str, values: Floats, colour: str, fill: str, group: str) -> Trace:
        return line(name, x, axis.y(values), colour, width=0.75, shape="hv", stackgroup=group, fillcolor=fill)

    data = [
        stacked(base, site.base_kw, "--building", "--pale", "import"),
        stacked("Charging", site.charge.mean, "--ev", "--ev-wash", "import"),
    ]
    if float(site.discharge.mean.max(initial=0.0)) > 0.0:
        data.append(stacked("Discharging", -site.discharge.mean, "--target", "--target-wash", "export"))
    if facts.replicas > 1:
        data += band("Net, 8 of 10 courses", x, axis.y(site.net.p10), axis.y(site.net.p90), "--net-wash", shape="hv")
    data.append(line("Net" if facts.replicas == 1 else "Net, median", x, axis.y(site.net.p50), "--net", shape="hv"))
    data.append(line("Cap", x, axis.y(site.cap_kw), "--cap", dash="dash", shape="hv", width=1.5))
    for event in facts.events:
        if not axis.is_thinned:
            at = [axis.at(facts.grid.at(event.first_step + k)) for k in range(event.steps + 1)]
            asked = [round(float(kw), 2) for kw in [*event.asked_net_kw, event.asked_net_kw[-1]]]
            data.append(line("Event: asked" if len(facts.events) == 1 else f"{event.name}: asked", at, asked,
                             "--target", width=3, shape="hv"))
    layout = {"xaxis": axis.layout, "yaxis": {"title": {"text": "kW, import positive"}, "zeroline": True},
              "showlegend": True, "legend": {"traceorder": "normal"}, "shapes": washes(facts.events, axis)}
    courses = "" if facts.replicas == 1 else (
        " The areas are means over all courses and add up; the grey band holds net power in 8 of 10 courses at any "
        "one time."
    )
    both = ((site.charge.mean > 0.0) & (site.discharge.mean > 0.0)).any()
    apart = (
        " The cap is for the net line: where some cars charge while others discharge, the areas reach beyond it."
    ) if both else ""
    where = "" if len(facts.sites) == 1 else f" All {len(facts.sites)} connection points together."
    return Figure(
        "power", "Power at the connection point, under its cap",
        f"{axis.resolution[0].upper()}{axis.resolution[1:]}, {base.lower()} below, charging on top, discharging below "
        f"zero.{courses}{apart}{where}", data, layout, 460,
    )


def _event(facts: SimulationFacts, event: EventFact, number: int) -> Figure | None:
    if not event.steps:
        return None
    grid = facts.grid
    zone = ZoneInfo(facts.timezone)
    x = [f"{grid.at(event.first_step + k).astimezone(zone):%H:%M}" for k in range(event.steps)]
    delivered = Band.of(event.delivered_kw)
    data: list[Trace] = [
        {"type": "bar", "name": "Promised", "x": x, "y": rounded(np.median(event.promised_kw, axis=0)), "width": 0.85,
         "marker": {"color": "--pale"}, "hovertemplate": "%{y:.1f} kW"},
        {"type": "scatter", "mode": "markers", "name": "Delivered, median" if facts.replicas > 1 else "Delivered",
         "x": x, "y": rounded(delivered.p50), "hovertemplate": "%{y:.1f} kW",
         "marker": {"color": "--target", "size": 9},
         **({} if facts.replicas == 1 else {"error_y": {
             "type": "data", "symmetric": False, "array": rounded(delivered.p90 - delivered.p50),
             "arrayminus": rounded(delivered.p50 - delivered.p10), "color": "--target", "thickness": 2, "width": 4,
         }})},
    ]
    spread = "" if facts.replicas == 1 else " Whiskers reach from the 10th to the 90th percentile over the courses."
    layout = {"xaxis": {"type": "category", "title": {"text": "step from"}, "nticks": 12},
              "yaxis": {"title": {"text": "kW less than without the event"}, "zeroline": True}, "showlegend": True}
    return Figure(
        f"event-{number}", f"{event.name}: promised and delivered",
        f"Reduction of net power against the same course without the event. Promised: {event.promised_from}.{spread}",
        data, layout, 340,
    )


def _causes(facts: SimulationFacts) -> Figure | None:
    visits = facts.visits
    present = [cause for cause in CAUSES if cause is not Cause.NONE and (visits.cause == CAUSES.index(cause)).any()]
    if not present:
        return None
    counts = [int((visits.cause == CAUSES.index(cause)).sum()) / facts.replicas for cause in present]
    kwh = [float(visits.shortfall_kwh[visits.cause == CAUSES.index(cause)].sum()) / facts.replicas for cause in present]
    order = np.argsort(counts, kind="stable")
    names = [_wrapped(CAUSE_WORDS[present[k]]) for k in order]
    data: list[Trace] = [{
        "type": "bar", "orientation": "h", "y": names, "x": [round(counts[k], 2) for k in order],
        "marker": {"color": [CAUSE_COLOURS[present[k]] for k in order]}, "width": 0.6, "name": "Drivers short",
        "customdata": [round(kwh[k], 1) for k in order], "textposition": "auto",
        "hovertemplate": "%{x:.1f} drivers, %{customdata} kWh<extra></extra>",
    }]
    per = "" if facts.replicas == 1 else " per course"
    layout = {"xaxis": {"title": {"text": f"drivers{per}"}, "rangemode": "tozero"}, "yaxis": {"type": "category"},
              "hovermode": "closest"}
    return Figure(
        "causes", "Who left short, and why",
        "Each short driver counts once, under the first cause that holds: the event (found by running the same course "
        "without it), then physics, then faults, then sharing.", data, layout, 110 + 46 * len(present),
    )


def _departures(facts: SimulationFacts) -> Figure | None:
    visits = facts.visits
    shown = np.flatnonzero((visits.replica == 0) & visits.has_left)
    if not shown.size:
        return None
    total = shown.size
    if total > _MOST_DOTS:
        shown = shown[np.linspace(0, total - 1, _MOST_DOTS).astype(np.int64)]
    zone = ZoneInfo(facts.timezone)
    data: list[Trace] = []
    for index, cause in enumerate(CAUSES):
        rows = shown[visits.cause[shown] == index]
        if not rows.size:
            continue
        leaving = [
            (facts.grid.start + timedelta(seconds=float(visits.departure_s[row]))).astimezone(zone) for row in rows
        ]
        data.append({
            "type": "scatter", "mode": "markers", "name": _CAUSE_LABELS[cause],
            "x": rounded(visits.target_kwh[rows]), "y": rounded(visits.energy_kwh[rows]),
            "text": [f"{visits.evse_id[row]}, left {when:%H:%M}" for row, when in zip(rows, leaving, strict=True)],
            "marker": {"color": CAUSE_COLOURS[cause], "size": 7, "opacity": 0.7,
                       "symbol": "circle" if cause is Cause.NONE else "diamond"},
            "hovertemplate": "%{text}<br>wanted %{x:.1f} kWh, held %{y:.1f} kWh<extra></extra>",
        })
    top = float(max(visits.target_kwh[shown].max(), visits.energy_kwh[shown].max())) * 1.05
    data.insert(0, line("wanted = held", [0, top], [0, top], "--pale", dash="dot", hoverinfo="skip", showlegend=False))
    part = f" {shown.size:,} of {total:,} departures are drawn." if shown.size < total else ""
    which = "" if facts.replicas == 1 else " of the first course"
    layout = {"xaxis": {"title": {"text": "kWh in the battery, wanted at departure"}, "range": [0, top]},
              "yaxis": {"title": {"text": "kWh in the battery, held at departure"}, "range": [0, top]},
              "hovermode": "closest", "showlegend": True}
    return Figure(
        "departures", "Departures: wanted and held",
        f"One mark per departure{which}. On the line or above it the driver has what was wanted.{part}",
        data, layout, 460,
    )


def _soc(facts: SimulationFacts, axis: StepAxis) -> Figure | None:
    if facts.soc is None or not np.isfinite(facts.soc.p50).any():
        return None
    x = axis.x
    low, middle, high = (axis.y(100 * values, 1) for values in (facts.soc.p10, facts.soc.p50, facts.soc.p90))
    # A fill that crosses a gap would join the two sides of it: without cars the fan closes on 0 width.
    data = [
        *band("8 of 10 cars", x, _bridged(low, middle), _bridged(high, middle), "--ev-wash"),
        line("Median car", x, middle, "--ev", width=2.25, hover="%{y:.0f} %"),
    ]
    layout = {"xaxis": axis.layout, "yaxis": {"title": {"text": "state of charge, %"}, "range": [0, 100]},
              "showlegend": True, "shapes": washes(facts.events, axis)}
    over = "" if facts.replicas == 1 else " and over all courses"
    return Figure(
        "soc", "State of charge of the cars that are plugged in",
        f"Over the cars standing at a charger at that time{over}; cars come and go, so the median may fall while every "
        "car charges.", data, layout, 340,
    )


def _replicas(facts: SimulationFacts) -> Figure | None:
    peak, short = facts.measures["peak_kw"], facts.measures["short_drivers"]
    if facts.replicas < 3 or not short.any():  # noqa: PLR2004 - two dots are no distribution
        return None
    across, axis, hover = peak, "highest power at the connection point, kW", "peak %{x:.1f} kW"
    if float(np.ptp(peak)) < _ALIKE * float(np.abs(peak).max()):
        # Under a cap all peaks are that cap.
        across, axis, hover = facts.measures["short_kwh"], "kWh that short drivers lacked", "%{x:.1f} kWh lacking"
    data: list[Trace] = [
        {"type": "scatter", "mode": "markers", "x": rounded(across), "y": rounded(short), "name": "Courses",
         "text": [f"course {k}" for k in range(facts.replicas)],
         "marker": {"color": "--planned", "size": 8, "opacity": 0.6},
         "hovertemplate": f"%{{text}}: {hover}, %{{y:.0f}} short<extra></extra>"},
    ]
    layout = {"xaxis": {"title": {"text": axis}},
              "yaxis": {"title": {"text": "drivers who left short"}, "rangemode": "tozero"}, "hovermode": "closest"}
    return Figure(
        "courses", "How much the courses differ",
        f"One mark for each of the {facts.replicas} courses: drivers and faults are drawn anew, all else is the same.",
        data, layout, 340,
    )


def _bridged(values: list[float | None], middle: list[float | None]) -> list[float]:
    """A line without gaps: where nothing is known, the last known median."""
    last = next((value for value in middle if value is not None), 0.0)
    bridged = []
    for value, centre in zip(values, middle, strict=True):
        last = last if centre is None else centre
        bridged.append(last if value is None else value)
    return bridged


def _wrapped(text: str, width: int = 30) -> str:
    """Break a label into lines of at most about `width` characters."""
    lines, line_now = [], ""
    for word in text.split():
        if line_now and len(line_now) + 1 + len(word) > width:
            lines.append(line_now)
            line_now = word
        else:
            line_now = f"{line_now} {word}".strip()
    return "<br>".join([*lines, line_now])
