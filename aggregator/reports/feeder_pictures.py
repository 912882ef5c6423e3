"""Pictures of a feeder as SVG that needs nothing else: a one-line diagram, a strip over time, two side by side.

Names of a feeder are whatever a file said; every one is escaped. Inside a page the pictures take the page's colours
for text and ground (`--ink`, `--panel`, ...), alone they are dark on white. No ids: several fit into one page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from math import isfinite, isnan
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.feeder_colours import Quantity, colours, css, png_uri
from aggregator.reports.feeder_layout import Place, distance, layout, middle
from twin.feeder.network.model import Feeder
from twin.feeder.powerflow.parts import Carried
from twin.feeder.scene import DEFAULT_LIMITS, Limits

Floats = NDArray[np.float64]

WIDTH: Final = 960.0
MOST_HEIGHT: Final = 760.0
MARGIN: Final = 44.0
HEAD: Final = 34.0
LEGEND: Final = 52.0
FEW: Final = 45
"""Up to so many buses each has its name beside it."""

BEGINNING: Final = b'<svg xmlns="http://www.w3.org/2000/svg" data-made-by="v2g feeder"'
"""Of every picture: a file that begins so may be replaced by another."""

SANS: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"
INK: Final = "var(--ink, #13212d)"
MUTED: Final = "var(--muted, #53626e)"
PANEL: Final = "var(--panel, #ffffff)"
RULE: Final = "var(--rule, #dbe1e5)"


NOT_IN_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document can hold, not even escaped (https://www.w3.org/TR/xml/#charsets)."""


def _safe(text: str) -> str:
    return escape(NOT_IN_XML.sub("\ufffd", text))


class _HasPhases(Protocol):
    """A bus or a line."""

    @property
    def id(self) -> str: ...

    @property
    def phases(self) -> str: ...


def one_line(
    feeder: Feeder, *, voltage_pu: Floats | None = None, loading: Floats | None = None,
    carried: Mapping[str, Carried] | None = None, title: str, limits: Limits = DEFAULT_LIMITS,
) -> str:
    """The feeder from above: buses coloured by voltage, lines by loading.

    Args:
        feeder: drawn where its buses have coordinates, otherwise as a tree.
        voltage_pu: of every node, in the rows of `Flow.nodes`; a bus shows the phase nearest to a limit. NaN: no flow.
        loading: of every segment, in the rows of `Flow.segments`; a line shows its highest phase. NaN: no rating.
        carried: by id what transformers and other elements with a rating carry (`parts.most_loaded`).
        title: above the picture and its accessible name.
        limits: what is beyond them is marked.
    """
    places, used = layout(feeder, WIDTH, MOST_HEIGHT, MARGIN)
    places = {bus: (x, y + HEAD) for bus, (x, y) in places.items()}
    volts = _by_element(feeder.buses, voltage_pu)
    loads = _by_element(feeder.lines, loading)
    # With voltages there is a flow: a line without a loading is then one without a rating.
    has_flow = any(isfinite(_most(value)) for value in volts.values())
    missing = "no rating" if has_flow else "no rating or no flow"
    parts = [
        *_lines(feeder, places, loads, limits, missing), *_transformers(feeder, places, carried or {}, limits),
        *_primitives(feeder, places, carried or {}, limits),
        *_buses(feeder, places, volts, limits), *_source(feeder, places), *_names(feeder, places, volts, loads),
    ]
    bottom = HEAD + used
    unrated = sum(isnan(_most(value)) for value in loads.values())
    parts += _legend(bottom, limits, has_volts=bool(volts), has_loads=bool(loads), missing=missing if unrated else "")
    return _svg(WIDTH, bottom + LEGEND, title, parts)


@dataclass(frozen=True, slots=True)
class _Phases:
    """A figure by phase. `worst` is what a colour shows."""

    phases: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        return ", ".join(
            f"{phase} no figure" if isnan(value) else f"{phase} {value:.4g}"
            for phase, value in zip(self.phases, self.values, strict=True)
        )


def _by_element(elements: Sequence[_HasPhases], values: Floats | None) -> dict[str, _Phases]:
    if values is None:
        return {}
    found, row = {}, 0
    given = np.asarray(values, dtype=np.float64)
    expected = sum(len(element.phases) for element in elements)
    if given.shape != (expected,):
        raise ValueError(f"values: shape {given.shape}, expected ({expected},), one for each phase of each element")
    for element in elements:
        found[element.id] = _Phases(element.phases, tuple(given[row:row + len(element.phases)].tolist()))
        row += len(element.phases)
    return found


def _worst_volts(value: _Phases, limits: Limits) -> float:
    """Of the phase nearest to, or farthest beyond, a limit; NaN if one is missing."""
    if any(isnan(one) for one in value.values):
        return float("nan")
    low, high = limits.voltage_pu
    return max(value.values, key=lambda one: max(low - one, one - high))


def _painted(values: dict[str, float], kind: Quantity, low: float, high: float) -> dict[str, str]:
    """Colours of many at once: for one by one the calls take more time than the rest of a picture."""
    pixels = colours(np.array(list(values.values())), kind, low, high)
    return {name: css(rgb) for name, rgb in zip(values, pixels, strict=True)}


def _most(value: _Phases) -> float:
    known = [one for one in value.values if not isnan(one)]
    return max(known) if known else float("nan")


def _line(one: Place, other: Place, stroke: str, width: float, extra: str = "", title: str = "") -> str:
    inner = f"<title>{_safe(title)}</title>" if title else ""
    return (f'<line x1="{one[0]:.1f}" y1="{one[1]:.1f}" x2="{other[0]:.1f}" y2="{other[1]:.1f}" stroke="{stroke}" '
            f'stroke-width="{width:.2f}" stroke-linecap="round"{extra}>{inner}</line>')


def _lines(
    feeder: Feeder, places: dict[str, Place], loads: dict[str, _Phases], limits: Limits, missing: str
) -> Iterable[str]:
    """Busy lines last, so that they lie above idle ones; beyond the rating also thicker and broken by white."""
    order = sorted(feeder.lines, key=lambda line: np.nan_to_num(_most(loads[line.id]), nan=-1.0)) if loads else (
        feeder.lines
    )
    most_of = {line: _most(value) for line, value in loads.items()}
    painted = _painted(most_of, Quantity.LOADING, 0.0, limits.line_loading)
    for line in order:
        one, other = places[line.from_bus], places[line.to_bus]
        if line.id not in loads:
            yield _line(one, other, MUTED, 1.8, title=f"line {line.id} ({line.phases})")
            continue
        most = most_of[line.id]
        share = most / limits.line_loading if isfinite(most) else 0.0
        colour = painted[line.id]
        rated = "" if isfinite(most) else f", {missing}"
        title = f"line {line.id}: loading {loads[line.id]}{rated}"
        broken = "" if isfinite(most) else ' stroke-dasharray="4 4"'
        yield _line(one, other, colour if isfinite(most) else MUTED, 2.0 + 3.0 * min(share, 1.4), broken, title)
        if share > 1.0:
            yield _line(one, other, "#ffffff", 1.6, ' stroke-dasharray="1 7" pointer-events="none"')


def _transformers(
    feeder: Feeder, places: dict[str, Place], carried: Mapping[str, Carried], limits: Limits
) -> Iterable[str]:
    """Two rings, as on any diagram."""
    for transformer in feeder.transformers:
        one, other = places[transformer.from_bus], places[transformer.to_bus]
        colour, said = _burden(carried.get(transformer.id), limits)
        yield _line(one, other, colour, 1.5)
        (x, y), apart = middle(one, other), max(distance(one, other), 1.0)
        dx, dy = 5.0 * (other[0] - one[0]) / apart, 5.0 * (other[1] - one[1]) / apart
        yield f"<g><title>{_safe(f'transformer {transformer.id}{said}')}</title>"
        for side in (-1.0, 1.0):
            yield (f'<circle cx="{x + side * dx:.1f}" cy="{y + side * dy:.1f}" r="8" fill="{PANEL}" fill-opacity="0.6" '
                   f'stroke="{colour}" stroke-width="2.5"/>')
        yield "</g>"


def _primitives(
    feeder: Feeder, places: dict[str, Place], carried: Mapping[str, Carried], limits: Limits
) -> Iterable[str]:
    """A box between the buses that an element held as its matrix connects."""
    for primitive in feeder.primitives:
        colour, said = _burden(carried.get(primitive.id), limits)
        first, *others = dict.fromkeys(bus for bus, _ in primitive.nodes)
        one = places[first]
        for bus in others:
            yield _line(one, places[bus], colour, 1.5)
        x, y = middle(one, places[others[0]]) if others else one
        yield (f'<rect x="{x - 7.0:.1f}" y="{y - 7.0:.1f}" width="14" height="14" rx="2" fill="{PANEL}" '
               f'fill-opacity="0.6" stroke="{colour}" stroke-width="2.5">'
               f"<title>{_safe(f'{primitive.kind} {primitive.id}{said}')}</title></rect>")


def _burden(carried: Carried | None, limits: Limits) -> tuple[str, str]:
    """Colour of what carries this, and words for it."""
    if carried is None:
        return INK, ""
    colour = css(colours(np.array(carried.loading), Quantity.LOADING, 0.0, limits.transformer_loading))
    return colour, ": no flow" if isnan(carried.loading) else f": loading {carried.loading:.3f}, {carried.part}"


def _buses(feeder: Feeder, places: dict[str, Place], volts: dict[str, _Phases], limits: Limits) -> Iterable[str]:
    """Small dots; connection points are larger with a rim; a voltage beyond its limits is a diamond."""
    hanging: dict[str, list[str]] = {}
    for point in feeder.connection_points:
        hanging.setdefault(point.bus, []).append(f"{point.id} ({point.phases})")
    crowded = len(feeder.buses) > 4 * FEW
    low, high = limits.voltage_pu
    marks: list[tuple[int, str]] = []
    worst_of = {bus: _worst_volts(value, limits) for bus, value in volts.items()}
    painted = _painted(worst_of, Quantity.VOLTAGE, low, high)
    for bus in feeder.buses:
        x, y = places[bus.id]
        title, colour, beyond = f"bus {bus.id} ({bus.phases})", MUTED, False
        if bus.id in volts:
            worst, colour = worst_of[bus.id], painted[bus.id]
            beyond = not low <= worst <= high
            title = f"bus {bus.id}: {volts[bus.id]} p.u." if not isnan(worst) else f"bus {bus.id}: no flow"
        if bus.id in hanging:
            title += "\n" + ", ".join(hanging[bus.id])
        size = (4.2 if crowded else 6.0) if bus.id in hanging else (1.6 if crowded else 3.6)
        rim = f' stroke="{INK}" stroke-width="1"' if bus.id in hanging or beyond else ""
        if beyond:
            size = max(1.35 * size, 2.6)
            shape = (f'<path d="M{x:.1f} {y - size:.1f}L{x + size:.1f} {y:.1f}L{x:.1f} {y + size:.1f}'
                     f'L{x - size:.1f} {y:.1f}Z"')
        else:
            shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"'
        name = "path" if beyond else "circle"
        marks.append((2 * beyond + (bus.id in hanging),
                      f'{shape} fill="{colour}"{rim}><title>{_safe(title)}</title></{name}>'))
    return [mark for _, mark in sorted(marks, key=lambda mark: mark[0])]


def _source(feeder: Feeder, places: dict[str, Place]) -> Iterable[str]:
    x, y = places[feeder.source.bus]
    yield (f'<rect x="{x - 7:.1f}" y="{y - 7:.1f}" width="14" height="14" fill="{INK}"><title>'
           f'{_safe(f"source {feeder.source.id} at bus {feeder.source.bus}: {feeder.source.u_pu:g} p.u.")}'
           "</title></rect>")
    yield _text(x - 12.0, y + 4.0, "source", anchor="end", weight=600)


def _names(
    feeder: Feeder, places: dict[str, Place], volts: dict[str, _Phases], loads: dict[str, _Phases]
) -> Iterable[str]:
    """All buses of a small feeder; of a large one the lowest and the highest voltage and the busiest line."""
    if len(feeder.buses) <= FEW:
        for bus in feeder.buses:
            if bus.id != feeder.source.bus:
                x, y = places[bus.id]
                yield _text(x + 9.0, y - 6.0, bus.id, size=11)
        return
    wanted: list[tuple[Place, str]] = []
    known = {bus: value.values for bus, value in volts.items() if not any(isnan(one) for one in value.values)}
    if known:
        lowest, highest = min(known, key=lambda bus: min(known[bus])), max(known, key=lambda bus: max(known[bus]))
        wanted.append((places[lowest], f"lowest {min(known[lowest]):.3f} p.u., bus {lowest}"))
        wanted.append((places[highest], f"highest {max(known[highest]):.3f} p.u., bus {highest}"))
    rated = {line: _most(value) for line, value in loads.items() if isfinite(_most(value))}
    if rated:
        busiest = max(rated, key=lambda line: rated[line])
        line = next(line for line in feeder.lines if line.id == busiest)
        place = middle(places[line.from_bus], places[line.to_bus])
        wanted.append((place, f"busiest {100.0 * rated[busiest]:.0f} %, line {busiest}"))
    taken: list[Place] = []
    for (x, y), name in wanted:
        right = x < 0.7 * WIDTH
        at = x + (14.0 if right else -14.0), y - 12.0
        while any(abs(at[1] - other[1]) < 17.0 and abs(at[0] - other[0]) < 240.0 for other in taken):  # noqa: PLR2004 - a line of text, and its length
            at = at[0], at[1] + 17.0
        taken.append(at)
        yield _line((x, y), at, INK, 0.8)
        yield _text(at[0] + (3.0 if right else -3.0), at[1] + 4.0, name, anchor="start" if right else "end", weight=600)


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: int = 400, colour: str = INK
) -> str:
    """A word with a halo of the ground, so that it reads above lines."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
            f'fill="{colour}" stroke="{PANEL}" stroke-width="3" paint-order="stroke">{_safe(text)}</text>')


def _legend(top: float, limits: Limits, *, has_volts: bool, has_loads: bool, missing: str) -> list[str]:
    parts, x = [], MARGIN
    low, high = limits.voltage_pu
    if has_volts:
        parts += _scale(x, top, "bus, p.u.: its phase nearest to a limit", Quantity.VOLTAGE, (low, high),
                        (f"{low:g}", "1", f"{high:g}"))
        parts.append(f'<path d="M{x + 240:.0f} {top + 15:.0f}l6 6l-6 6l-6 -6Z" fill="{css((4, 22, 79))}" '
                     f'stroke="{INK}"/>' + _text(x + 252.0, top + 25.0, "beyond", size=11, colour=MUTED))
        x += 340.0
    if has_loads:
        full = limits.line_loading
        parts += _scale(x, top, "line: loading of its busiest phase", Quantity.LOADING, (0.0, full),
                        ("0 %", f"{50 * full:.0f} %", f"{100 * full:.0f} %"))
        parts += [_line((x + 236.0, top + 21.0), (x + 262.0, top + 21.0), css((212, 0, 90)), 6.0),
                  _line((x + 236.0, top + 21.0), (x + 262.0, top + 21.0), "#ffffff", 1.6, ' stroke-dasharray="1 7"'),
                  _text(x + 272.0, top + 25.0, "beyond", size=11, colour=MUTED)]
        x += 350.0
    if missing:
        parts += [_line((x, top + 7.0), (x + 22.0, top + 7.0), MUTED, 2.0, ' stroke-dasharray="4 4"'),
                  _text(x + 28.0, top + 11.0, missing, size=11, colour=MUTED)]
    parts.append(f'<circle cx="{x:.0f}" cy="{top + 21:.0f}" r="4.5" fill="{MUTED}" stroke="{INK}"/>'
                 + _text(x + 10.0, top + 25.0, "connection point", size=11, colour=MUTED))
    return parts


def _scale(
    x: float, top: float, name: str, kind: Quantity, ends: tuple[float, float], marks: tuple[str, str, str]
) -> list[str]:
    steps, width = 24, 216.0
    shades = colours(np.linspace(*ends, steps), kind, *ends)
    parts = [
        f'<rect x="{x + width * step / steps:.1f}" y="{top + 14:.1f}" width="{width / steps + 0.4:.1f}" height="10" '
        f'fill="{css(shade)}"/>'
        for step, shade in enumerate(shades)
    ]
    centre = 0.5
    if kind is Quantity.VOLTAGE and ends[0] < 1.0 < ends[1]:
        centre = (1.0 - ends[0]) / (ends[1] - ends[0])
    parts.append(_text(x, top + 8.0, name, size=11, colour=MUTED))
    for share, mark, anchor in ((0.0, marks[0], "start"), (centre, marks[1], "middle"), (1.0, marks[2], "end")):
        parts.append(_text(x + width * share, top + 37.0, mark, size=11, anchor=anchor, colour=MUTED))
    return parts


def heat_strip(
    values: Floats, rows: Sequence[str], times: Sequence[datetime], kind: Literal["voltage", "loading"], title: str,
    *, limits: Limits = DEFAULT_LIMITS,
) -> str:
    """Rows over time, a cell each.

    Args:
        values: (row, step), p.u. or share of a rating. NaN: no flow, or no rating. Without rows the strip says so.
        rows: a name for each; with many rows only hovering shows them.
        times: start of every step, in the zone in which they are to be read.
        kind: what the values are.
        title: above the picture and its accessible name.
        limits: what is beyond them has a colour of its own.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.shape != (len(rows), len(times)) or not times:
        raise ValueError(f"values: shape {given.shape}, expected ({len(rows)}, {len(times)}), at least one step")
    if not rows:
        return _svg(WIDTH, HEAD + 60.0, title, [_text(16.0, HEAD + 24.0, "nothing to show", colour=MUTED)])
    quantity = Quantity(kind)
    ends = limits.voltage_pu if quantity is Quantity.VOLTAGE else (0.0, limits.line_loading)
    cell = min(16.0, max(0.25, 520.0 / len(rows)))
    left, right, top = 150.0, WIDTH - 16.0, HEAD + 8.0
    height = cell * len(rows)
    image = (
        f'<image x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height:.1f}" '
        f'preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="{png_uri(colours(given, quantity, *ends))}"/>'
    )
    parts = [image]
    every = max(1, int(np.ceil(11.0 / cell)))
    for row, name in enumerate(rows):
        y = top + cell * row
        parts.append(f'<rect x="{left:.1f}" y="{y:.2f}" width="{right - left:.1f}" height="{cell:.2f}" '
                     f'fill="#000000" fill-opacity="0"><title>{_safe(_said(name, given[row], times))}</title></rect>')
        if row % every == 0:
            short = name if len(name) <= 22 else name[:21] + "…"  # noqa: PLR2004 - what the left margin holds
            parts.append(_text(left - 6.0, y + 0.5 * cell + 4.0, short, size=11, anchor="end", colour=MUTED))
    parts += _hours(times, left, right, top + height)
    bottom = top + height + 30.0
    marks = (f"{ends[0]:g}", "1", f"{ends[1]:g}") if quantity is Quantity.VOLTAGE else (
        "0 %", f"{50 * ends[1]:.0f} %", f"{100 * ends[1]:.0f} %"
    )
    name = "voltage, p.u." if quantity is Quantity.VOLTAGE else "loading, of the rating"
    parts += _scale(left, bottom, name, quantity, ends, marks)
    beyond = [("below", ends[0] - 1.0), ("above", ends[1] + 1.0), ("no flow", float("nan"))]
    if quantity is Quantity.LOADING:
        beyond = [("above", ends[1] + 1.0), ("no figure", float("nan"))]
    for number, (word, value) in enumerate(beyond):
        x = left + 250.0 + 86.0 * number
        parts.append(f'<rect x="{x:.1f}" y="{bottom + 13:.1f}" width="14" height="12" '
                     f'fill="{css(colours(np.array(value), quantity, *ends))}" stroke="{RULE}"/>'
                     + _text(x + 19.0, bottom + 23.0, word, size=11, colour=MUTED))
    return _svg(WIDTH, bottom + LEGEND - 6.0, title, parts)


def _said(name: str, values: Floats, times: Sequence[datetime]) -> str:
    missing = int(np.isnan(values).sum())
    if missing == len(values):
        return f"{name}: no figure"
    low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
    text = f"{name}: {values[low]:.4g} at {times[low]:%a %H:%M} to {values[high]:.4g} at {times[high]:%a %H:%M}"
    return text + (f", {missing} steps without a figure" if missing else "")


def _hours(times: Sequence[datetime], left: float, right: float, y: float) -> Iterable[str]:
    """At most nine instants below the strip; the date where it changes."""
    steps = len(times)
    every = max(1, -(-steps // 8))
    day = None
    for step in range(0, steps, every):
        x = left + (right - left) * step / steps
        word = f"{times[step]:%H:%M}" if times[step].date() == day else f"{times[step]:%d %b %H:%M}"
        day = times[step].date()
        yield _line((x, y), (x, y + 5.0), MUTED, 1.0)
        yield _text(x, y + 17.0, word, size=11, colour=MUTED)


def side_by_side(left: str, right: str, title: str) -> str:
    """Two pictures of this module in one, such as before and after."""
    sizes = [_size(picture) for picture in (left, right)]
    gap = 24.0
    inner = [
        f'<g transform="translate({x:.1f} {HEAD:.1f})">{picture}</g>'
        for x, picture in ((0.0, left), (sizes[0][0] + gap, right))
    ]
    width = sizes[0][0] + gap + sizes[1][0]
    return _svg(width, HEAD + max(height for _, height in sizes), title, inner)


def _size(picture: str) -> tuple[float, float]:
    box = picture.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()
    return float(box[0]), float(box[1])


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    return (
        f'{BEGINNING.decode()} viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="max-width:100%;height:auto" role="img" font-family="{SANS}">'
        f"<title>{_safe(title)}</title>"
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="{PANEL}"/>'
        + _text(16.0, 22.0, title, size=15, weight=600) + "".join(parts) + "</svg>\n"
    )
