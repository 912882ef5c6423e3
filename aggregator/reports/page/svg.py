"""Figures of the reports as one SVG that needs no script: the same data, drawn as stairs, areas and marks.

Only what the figures of a plan use is drawn: lines, stacked areas, bands between two lines, marks, and the pale bands
of events. Names come from files; every one is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from itertools import pairwise
from math import ceil, floor, isfinite, isnan, log10
from typing import Any, Final

from aggregator.reports.page.figures import Figure, Trace
from aggregator.reports.page.file import static
from aggregator.reports.page.lettering import SANS, safe

BEGINNING: Final = b'<svg xmlns="http://www.w3.org/2000/svg" data-made-by="v2g plan"'
"""Of every picture: a file that begins so may be replaced by another."""

WIDTH: Final = 960.0
_LEFT, _RIGHT, _HEAD, _LEGEND, _FOOT = 62.0, 20.0, 34.0, 22.0, 40.0
_HEIGHTS: Final = {"fleet-power": 320.0}
_HEIGHT: Final = 190.0
_TICKS: Final = 5
_LETTER: Final = 6.6  # px that a letter of a legend takes at most, on average
_DASHES: Final = {"dash": "7 4", "dot": "2 3"}

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


@dataclass(frozen=True, slots=True)
class _Shape:
    """A trace with the values it is drawn at. floor: the lower edge of an area, or none."""

    trace: Trace
    top: list[Point]
    floor: list[Point] | None


def figures_svg(figures: Sequence[Figure], title: str) -> str:
    """The figures below each other, as one picture with their titles."""
    parts: list[str] = []
    y = 44.0
    for figure in figures:
        height = _HEIGHTS.get(figure.id, _HEIGHT)
        parts += _panel(figure, y, height)
        y += _HEAD + _LEGEND + height + _FOOT
    tokens = escape(static("tokens.css"), quote=False)
    return (
        f'{BEGINNING.decode()} viewBox="0 0 {WIDTH:.0f} {y:.0f}" width="{WIDTH:.0f}" height="{y:.0f}" '
        f'style="max-width:100%;height:auto" role="img" font-family="{SANS}"><title>{safe(title)}</title>'
        f"<style>{tokens}:root {{ --net-wash: #66747f44; }} text {{ fill: var(--muted); }}</style>"
        f'<rect width="100%" height="100%" fill="var(--panel)"/>{_text(20, 28, title, size=18, weight=650)}'
        + "".join(parts) + "</svg>\n")


def _panel(figure: Figure, top: float, height: float) -> Iterator[str]:
    shapes = list(_shapes(figure.data))
    begin, end = top + _HEAD + _LEGEND, top + _HEAD + _LEGEND + height
    x = _Scale(*_x_range(figure, shapes), _LEFT, WIDTH - _RIGHT)
    y = _Scale(*_y_range(figure, shapes), end, begin)
    yield _text(20, top + 18, figure.title, size=14, weight=600)
    yield from _legend(figure, top + _HEAD + 6)
    for wash in figure.layout.get("shapes", ()):
        left, right = max(x(wash["x0"]), _LEFT), min(x(wash["x1"]), WIDTH - _RIGHT)
        yield (f'<rect x="{left:.1f}" y="{begin:.1f}" width="{max(0.0, right - left):.1f}" height="{height:.1f}" '
               f'fill="{_colour(wash["fillcolor"])}"/>')
    yield from _grid(figure, x, y)
    # What lies outside is cut off by a panel of its own.
    yield (f'<svg x="0" y="{begin - 2:.1f}" width="{WIDTH:.0f}" height="{height + 4:.1f}" '
           f'viewBox="0 {begin - 2:.1f} {WIDTH:.0f} {height + 4:.1f}">')
    for shape in shapes:
        yield from _drawn(shape, x, y)
    yield "</svg>"


def _shapes(data: Sequence[Trace]) -> Iterator[_Shape]:
    """Values as they are seen: stacked where they are stacked, as stairs where they are stairs."""
    below: dict[str, list[float]] = {}
    former: list[Point] = []
    for trace in data:
        points = [(float(x), float("nan") if y is None else float(y))
                  for x, y in zip(trace["x"], trace["y"], strict=False)]
        if "lines" not in trace.get("mode", ""):
            yield _Shape(trace, points, None)
            continue
        group, bottom = trace.get("stackgroup"), None
        is_stairs = trace.get("line", {}).get("shape") == "hv"
        if group is not None:
            under = below.get(group, [0.0] * len(points))
            bottom = _stairs([(x, base) for (x, _), base in zip(points, under, strict=True)], is_stairs=is_stairs)
            points = [(x, base + (y if isfinite(y) else 0.0)) for (x, y), base in zip(points, under, strict=True)]
            below[group] = [y for _, y in points]
        elif trace.get("fill") == "tonexty":
            bottom = former
        former = _stairs(points, is_stairs=is_stairs)
        yield _Shape(trace, former, bottom)


def _stairs(points: list[Point], *, is_stairs: bool) -> list[Point]:
    """Every corner of the stairs; what goes straight on has none."""
    if not is_stairs or not points:
        return points
    found = [points[0]]
    for (_, level), (x, y) in pairwise(points):
        if y != level and not (isnan(y) and isnan(level)):
            found += [(x, level), (x, y)]
    return [*found, points[-1]]


def _drawn(shape: _Shape, x: _Scale, y: _Scale) -> Iterator[str]:
    trace = shape.trace
    if shape.floor is not None:
        edge = [*shape.top, *reversed(shape.floor)]
        d = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in edge if isfinite(value))
        yield f'<polygon points="{d}" fill="{_colour(trace["fillcolor"])}"/>'
    if "lines" not in trace.get("mode", ""):
        fill = _colour(trace.get("marker", {}).get("color", ""))
        for at, value in shape.top:
            if isfinite(value):
                yield f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3.5" fill="{fill}"/>'
        return
    own = trace.get("line", {})
    if own.get("width", 1.0) > 0:
        dash = f' stroke-dasharray="{_DASHES[own["dash"]]}"' if own.get("dash") in _DASHES else ""
        for run in _known(shape.top):
            d = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in run)
            yield (f'<polyline points="{d}" fill="none" stroke="{_colour(own.get("color", ""))}" '
                   f'stroke-width="{own.get("width", 1.0):g}"{dash}/>')


def _known(points: Iterable[Point]) -> Iterator[list[Point]]:
    """Runs without gaps."""
    run: list[Point] = []
    for point in points:
        if isfinite(point[1]):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _grid(figure: Figure, x: _Scale, y: _Scale) -> Iterator[str]:
    for value in _ticks(y.low, y.high):
        at = y(value)
        yield (f'<line x1="{_LEFT:.0f}" x2="{WIDTH - _RIGHT:.0f}" y1="{at:.1f}" y2="{at:.1f}" stroke="var(--rule)"/>'
               + _text(_LEFT - 8, at + 4, f"{value:g}", size=11, anchor="end"))
    step = figure.layout.get("xaxis", {}).get("dtick") or _nice((x.high - x.low) / 12)
    mark = ceil(x.low / step - 1e-9) * step
    while mark <= x.high + 1e-9 * step:
        yield _text(x(mark), y.begin + 16, f"{mark:g}", size=11, anchor="middle")
        mark += step
    yield _text((_LEFT + WIDTH - _RIGHT) / 2, y.begin + 31, figure.layout["xaxis"]["title"]["text"], size=11,
                anchor="middle")
    label, centre = figure.layout["yaxis"]["title"]["text"], (y.begin + y.end) / 2
    yield (f'<text transform="translate(16 {centre:.1f}) rotate(-90)" text-anchor="middle" font-size="11">'
           f"{safe(label)}</text>")


def _legend(figure: Figure, top: float) -> Iterator[str]:
    x = _LEFT
    for trace in figure.data:
        if not trace.get("showlegend", True) or not figure.layout.get("showlegend"):
            continue
        name = unescape(str(trace.get("name", "")))
        if x + 24 + _LETTER * len(name) > WIDTH - _RIGHT:
            return
        fill = trace.get("fillcolor")
        own: dict[str, Any] = trace.get("line") or trace.get("marker") or {}
        colour = _colour(own.get("color", ""))
        if fill is not None:
            yield (f'<rect x="{x:.1f}" y="{top - 8:.1f}" width="18" height="9" fill="{_colour(fill)}" '
                   f'stroke="{colour}"/>')
        else:
            dash = _DASHES.get(own.get("dash", ""), "")
            yield (f'<line x1="{x:.1f}" x2="{x + 18:.1f}" y1="{top - 4:.1f}" y2="{top - 4:.1f}" stroke="{colour}" '
                   f'stroke-width="2" stroke-dasharray="{dash}"/>')
        yield _text(x + 23, top, name, size=11)
        x += 23 + _LETTER * len(name) + 14


def _x_range(figure: Figure, shapes: Sequence[_Shape]) -> tuple[float, float]:
    given = figure.layout.get("xaxis", {}).get("range")
    if given is not None and given[0] < given[1]:
        return float(given[0]), float(given[1])
    every = [x for shape in shapes for x, _ in shape.top] or [0.0]
    return min(every), max(*every, min(every) + 1.0)


def _y_range(figure: Figure, shapes: Sequence[_Shape]) -> tuple[float, float]:
    given = figure.layout.get("yaxis", {}).get("range")
    if given is not None and given[0] < given[1]:
        return float(given[0]), float(given[1])
    every = [y for shape in shapes for _, y in (*shape.top, *(shape.floor or ())) if isfinite(y)] or [0.0]
    low, high = min(0.0, *every), max(0.0, *every)
    room = 0.06 * max(high - low, 1e-6)
    return low - (room if low < 0 else 0.0), high + room


def _ticks(low: float, high: float) -> list[float]:
    step = _nice((high - low) / _TICKS)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _nice(step: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** floor(log10(step))
    return next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= step * (1 - 1e-9))


def _colour(name: str) -> str:
    return f"var({name})" if re.fullmatch(r"--[a-z-]+", name) else "var(--muted)"


def _text(x: float, y: float, text: str, **look: Any) -> str:
    size, weight, anchor = look.get("size", 12), look.get("weight", 400), look.get("anchor", "start")
    own = ' style="fill: var(--ink)"' if weight > 400 else ""  # noqa: PLR2004 - headings are heavier than 400
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"{own}>'
            f"{safe(text)}</text>")
