"""The day's figures as Plotly data. Colours are names of CSS custom properties: the page's light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from aggregator.reports.day.facts import DayFacts, visit_label
from aggregator.reports.day.outcomes import SHORT_KWH
from aggregator.reports.day.series import StepSeries
from aggregator.reports.day.totals import Totals
from aggregator.reports.page import Figure, Layout, Trace, line, rounded, wash

_MINUTE_S = 60.0


def day_figures(facts: DayFacts, totals: Totals) -> tuple[Figure, ...]:
    """Every figure of the report that has something to show."""
    axis = _LocalAxis(facts)
    made = (
        _site_power(facts, axis), _event(totals, axis), _drivers(facts, axis), _departures(facts, axis),
        _soc(facts, axis), _plan_seconds(facts, totals),
    )
    return tuple(figure for figure in made if figure is not None)


class _LocalAxis:
    """Local time as milliseconds for Plotly, in the one UTC offset that holds at the day's start."""

    def __init__(self, facts: DayFacts) -> None:
        self.zone = ZoneInfo(facts.timezone)
        offset = facts.start.astimezone(self.zone).utcoffset() or timedelta()
        self._shift_s = offset.total_seconds()
        self.layout: Layout = {
            "type": "date", "tickformat": "%H:%M", "hoverformat": "%H:%M",
            "range": [self.at(facts.start), self.at(facts.end)],
        }

    def at(self, when: datetime) -> int:
        return self.at_s(when.timestamp())

    def at_s(self, unix_s: float) -> int:
        return round((unix_s + self._shift_s) * 1000)

    def minutes(self, facts: DayFacts) -> list[int]:
        return [self.at_s(facts.start.timestamp() + _MINUTE_S * minute) for minute in range(facts.minutes)]


def _washes(facts: DayFacts, axis: _LocalAxis) -> list[dict[str, Any]]:
    """Pale bands where an event or a mandatory limit was in force."""
    spans = [(event.start, event.end, "--target-wash") for event in facts.events]
    spans += [(limit.start, limit.end, "--limit-wash") for limit in facts.limits if limit.kind == "mandatory"]
    return [wash(axis.at(start), axis.at(end), colour) for start, end, colour in spans]


def _site_power(facts: DayFacts, axis: _LocalAxis) -> Figure:
    x = axis.minutes(facts)

    def by_minute(series: StepSeries) -> list[float | None]:
        return rounded(series.means(facts.start, _MINUTE_S, facts.minutes))

    data = [
        line("Uncontrolled", x, by_minute(facts.uncontrolled), "--uncontrolled", width=1.25),
        line("Building", x, by_minute(facts.building), "--building", width=1.0),
        line("Planned", x, by_minute(facts.planned), "--planned", width=1.5, dash="dot", shape="hv"),
        line("Measured", x, by_minute(facts.net), "--net", width=2.25),
    ]
    ceilings: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("cap", "Cap", {"dash": "dash", "width": 1.5}), ("mandatory", "Mandatory limit", {"width": 3}),
    )
    for kind, name, look in ceilings:
        limits = [limit for limit in facts.limits if limit.kind == kind]
        if limits:
            spans = [(limit.start, limit.end, limit.max_net_kw) for limit in limits]
            data.append(line(name, *_stairs(spans, axis), "--cap", **look))
    for event in facts.events:
        asked = [(one.start, one.end, one.requested_net_kw) for one in event.intervals]
        promised = [(one.start, one.end, one.committed_net_kw) for one in event.intervals]
        data.append(line("Event target, asked", *_stairs(asked, axis), "--target", width=1.5, dash="dash"))
        data.append(line("Event target, promised", *_stairs(promised, axis), "--target", width=3))
    layout = {
        "xaxis": axis.layout, "yaxis": {"title": {"text": "kW, import positive"}, "zeroline": True},
        "showlegend": True, "shapes": _washes(facts, axis),
    }
    return Figure(
        "site-power", "Power at the connection point",
        "1-minute means. The pale bands are the hours of the event and of the mandatory limit.", data, layout, 460,
    )


def _stairs(
    spans: Sequence[tuple[datetime, datetime, float]], axis: _LocalAxis
) -> tuple[list[int], list[float | None]]:
    x: list[int] = []
    y: list[float | None] = []
    for start, end, kw in spans:
        x += [axis.at(start), axis.at(end), axis.at(end)]
        y += [round(kw, 3), round(kw, 3), None]
    return x, y


def _event(totals: Totals, axis: _LocalAxis) -> Figure | None:
    quarters = [quarter for event in totals.events for quarter in event.quarters]
    if not quarters:
        return None
    x = [f"{quarter.interval.start.astimezone(axis.zone):%H:%M}" for quarter in quarters]
    colours = ["--good" if quarter.is_delivered else "--bad" for quarter in quarters]
    asked = [quarter.interval.baseline_kw - quarter.interval.requested_net_kw for quarter in quarters]
    data: list[Trace] = [
        {"type": "bar", "name": "Committed", "x": x, "y": [round(quarter.committed_kw, 2) for quarter in quarters],
         "marker": {"color": "--pale"}, "width": 0.8, "hovertemplate": "%{y:.1f} kW"},
        {"type": "bar", "name": "Delivered", "x": x, "y": rounded(np.array([q.delivered_kw for q in quarters])),
         "marker": {"color": colours}, "width": 0.4, "hovertemplate": "%{y:.1f} kW"},
        {"type": "scatter", "mode": "markers", "name": "Asked", "x": x, "y": rounded(np.array(asked)),
         "marker": {"symbol": "line-ew-open", "size": 22, "color": "--target", "line": {"width": 2}},
         "hovertemplate": "%{y:.1f} kW"},
    ]
    layout = {
        "barmode": "overlay", "xaxis": {"type": "category", "title": {"text": "quarter hour from"}},
        "yaxis": {"title": {"text": "kW below the baseline"}}, "showlegend": True,
    }
    return Figure(
        "event", "The event: promised and delivered",
        "Reduction below the baseline as 15-minute means at the connection point. Narrow bars are measured; one "
        "in the warning colour fell short of the promise.", data, layout, 340,
    )


def _drivers(facts: DayFacts, axis: _LocalAxis) -> Figure | None:
    if not facts.visits:
        return None
    visits = sorted(facts.visits, key=lambda visit: (visit.arrival, visit.evse_id))
    x = [visit_label(visit, axis.zone) for visit in visits]
    short = ["--bad" if visit.delivered_kwh < visit.need_kwh - SHORT_KWH else "--ev" for visit in visits]
    data: list[Trace] = [
        {"type": "bar", "name": "Needed", "x": x, "y": [round(visit.need_kwh, 2) for visit in visits],
         "marker": {"color": "--pale"}, "width": 0.85, "hovertemplate": "%{y:.1f} kWh"},
        {"type": "bar", "name": "Delivered", "x": x, "y": [round(visit.delivered_kwh, 2) for visit in visits],
         "marker": {"color": short}, "width": 0.45, "hovertemplate": "%{y:.1f} kWh"},
        {"type": "scatter", "mode": "markers", "name": "Asked for", "x": x,
         "y": [round(visit.requested_kwh, 2) for visit in visits], "hovertemplate": "%{y:.1f} kWh",
         "marker": {"symbol": "line-ew-open", "size": 12, "color": "--muted", "line": {"width": 2}}},
    ]
    layout = {
        "barmode": "overlay", "xaxis": {"type": "category", "tickangle": -90, "tickfont": {"size": 10}},
        "yaxis": {"title": {"text": "kWh in the battery"}}, "showlegend": True,
    }
    return Figure(
        "drivers", "What each driver needed and got",
        "One bar per session, by charger and arrival. Needed is what was asked for, as far as it was possible by "
        "physics until the earlier of declared and real departure.", data, layout, 420,
    )


def _departures(facts: DayFacts, axis: _LocalAxis) -> Figure | None:
    if not facts.visits:
        return None
    visits = sorted(facts.visits, key=lambda visit: (visit.arrival, visit.evse_id), reverse=True)
    y = [visit_label(visit, axis.zone) for visit in visits]
    stay_x: list[int | None] = []
    stay_y: list[str | None] = []
    for visit, label in zip(visits, y, strict=True):
        stay_x += [axis.at(visit.arrival), axis.at(visit.real_departure), None]
        stay_y += [label, label, None]
    reached = [(axis.at(visit.reached_at), label) for visit, label in zip(visits, y, strict=True) if visit.reached_at]

    def marks(name: str, x: list[int], at: list[str], symbol: str, colour: str) -> Trace:
        return {"type": "scatter", "mode": "markers", "name": name, "x": x, "y": at, "hovertemplate": "%{x|%H:%M}",
                "marker": {"symbol": symbol, "size": 9, "color": colour, "line": {"width": 2, "color": colour}}}

    data: list[Trace] = [
        {"type": "scatter", "mode": "lines", "name": "Plugged in", "x": stay_x, "y": stay_y, "hoverinfo": "skip",
         "line": {"color": "--pale", "width": 5}, "connectgaps": False},
        marks("Target reached", [x for x, _ in reached], [label for _, label in reached], "line-ns-open", "--ev"),
        marks("Declared departure", [axis.at(one.declared_departure) for one in visits], y, "diamond-open", "--target"),
        marks("Real departure", [axis.at(visit.real_departure) for visit in visits], y, "circle", "--net"),
    ]
    layout = {
        "hovermode": "closest", "showlegend": True, "xaxis": axis.layout, "shapes": _washes(facts, axis),
        "yaxis": {"type": "category", "tickfont": {"size": 10}, "categoryorder": "array", "categoryarray": y},
    }
    return Figure(
        "departures", "When cars left, and when they were ready",
        "Each row is a session from plug-in to real departure.", data, layout, 120 + 17 * len(visits),
    )


def _soc(facts: DayFacts, axis: _LocalAxis) -> Figure | None:
    cars = [visit for visit in facts.visits if visit.is_bidirectional and visit.soc is not None]
    if not cars:
        return None
    data: list[Trace] = []
    for visit in cars:
        if visit.soc is None:
            continue
        x = [axis.at_s(float(at)) for at in visit.soc.at_s]
        gave = visit.exported_kwh > SHORT_KWH
        data.append(line(
            visit_label(visit, axis.zone), x, rounded(100 * visit.soc.soc, 1), "--target" if gave else "--building",
            width=1.5, hover="%{y:.0f} %",
        ))
    layout = {
        "hovermode": "closest", "xaxis": axis.layout, "shapes": _washes(facts, axis),
        "yaxis": {"title": {"text": "state of charge, %"}, "range": [0, 100]},
    }
    giving = sum(visit.exported_kwh > SHORT_KWH for visit in cars)
    caption = (
        f"{len(cars)} sessions of bidirectional cars as reported by the car; the {giving} that gave energy back "
        "are drawn in the event's colour."
    )
    return Figure("soc", "Batteries of the bidirectional cars", caption, data, layout, 360)


def _plan_seconds(facts: DayFacts, totals: Totals) -> Figure | None:
    if not facts.plans:
        return None
    seconds = [round(plan.seconds, 3) for plan in facts.plans]
    data: list[Trace] = [
        {"type": "histogram", "x": seconds, "nbinsx": 30, "marker": {"color": "--planned"}, "name": "Plans",
         "hovertemplate": "%{y} plans at %{x} s"}
    ]
    marks = [(totals.plan_median_s, "median", "right"), (totals.plan_p95_s, "95 %", "left")]
    layout = {
        "bargap": 0.05, "hovermode": "closest",
        "xaxis": {"title": {"text": "seconds to build, solve and replay, all rounds"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "plans"}},
        "shapes": [{"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1,
                    "line": {"color": "--ink", "width": 1.5, "dash": "dot"}} for x, _, _ in marks],
        "annotations": [{"x": x, "yref": "paper", "y": 1, "yanchor": "bottom", "text": text, "showarrow": False,
                         "xanchor": anchor, "font": {"color": "--ink"}} for x, text, anchor in marks],
        "margin": {"l": 44, "r": 12, "t": 24, "b": 40},
    }
    caption = (
        f"Median {totals.plan_median_s:.2f} s, 95th percentile {totals.plan_p95_s:.2f} s over {len(seconds)} plans."
    )
    return Figure("plan-seconds", "How long a new plan takes", caption, data, layout, 280)
