"""A feeder from above, as a one-line diagram: where its buses stand, their voltages, and what lines carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.feeder.canvas import HEAD, INK, LEGEND, MUTED, PANEL, WIDTH, frame, label, scale, stroke
from aggregator.reports.feeder.colours import Quantity, colours, css
from aggregator.reports.feeder.layout import Place, distance, layout, middle
from aggregator.reports.page import safe
from twin.feeder.network.model import Feeder
from twin.feeder.powerflow.parts import Carried
from twin.feeder.scene import DEFAULT_LIMITS, Limits

Floats = NDArray[np.float64]

MOST_HEIGHT: Final = 760.0
MARGIN: Final = 44.0
FEW: Final = 45
"""Up to so many buses each has its name beside it."""


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
    return frame(WIDTH, bottom + LEGEND, title, parts)


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
            yield stroke(one, other, MUTED, 1.8, title=f"line {line.id} ({line.phases})")
            continue
        most = most_of[line.id]
        share = most / limits.line_loading if isfinite(most) else 0.0
        colour = painted[line.id]
        rated = "" if isfinite(most) else f", {missing}"
        title = f"line {line.id}: loading {loads[line.id]}{rated}"
        broken = "" if isfinite(most) else ' stroke-dasharray="4 4"'
        yield stroke(one, other, colour if isfinite(most) else MUTED, 2.0 + 3.0 * min(share, 1.4), broken, title)
        if share > 1.0:
            yield stroke(one, other, "#ffffff", 1.6, ' stroke-dasharray="1 7" pointer-events="none"')


def _transformers(
    feeder: Feeder, places: dict[str, Place], carried: Mapping[str, Carried], limits: Limits
) -> Iterable[str]:
    """Two rings, as on any diagram."""
    for transformer in feeder.transformers:
        one, other = places[transformer.from_bus], places[transformer.to_bus]
        colour, said = _burden(carried.get(transformer.id), limits)
        yield stroke(one, other, colour, 1.5)
        (x, y), apart = middle(one, other), max(distance(one, other), 1.0)
        dx, dy = 5.0 * (other[0] - one[0]) / apart, 5.0 * (other[1] - one[1]) / apart
        yield f"<g><title>{safe(f'transformer {transformer.id}{said}')}</title>"
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
            yield stroke(one, places[bus], colour, 1.5)
        x, y = middle(one, places[others[0]]) if others else one
        yield (f'<rect x="{x - 7.0:.1f}" y="{y - 7.0:.1f}" width="14" height="14" rx="2" fill="{PANEL}" '
               f'fill-opacity="0.6" stroke="{colour}" stroke-width="2.5">'
               f"<title>{safe(f'{primitive.kind} {primitive.id}{said}')}</title></rect>")


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
                      f'{shape} fill="{colour}"{rim}><title>{safe(title)}</title></{name}>'))
    return [mark for _, mark in sorted(marks, key=lambda mark: mark[0])]


def _source(feeder: Feeder, places: dict[str, Place]) -> Iterable[str]:
    x, y = places[feeder.source.bus]
    yield (f'<rect x="{x - 7:.1f}" y="{y - 7:.1f}" width="14" height="14" fill="{INK}"><title>'
           f'{safe(f"source {feeder.source.id} at bus {feeder.source.bus}: {feeder.source.u_pu:g} p.u.")}'
           "</title></rect>")
    yield label(x - 12.0, y + 4.0, "source", anchor="end", weight=600)


def _names(
    feeder: Feeder, places: dict[str, Place], volts: dict[str, _Phases], loads: dict[str, _Phases]
) -> Iterable[str]:
    """All buses of a small feeder; of a large one the lowest and the highest voltage and the busiest line."""
    if len(feeder.buses) <= FEW:
        for bus in feeder.buses:
            if bus.id != feeder.source.bus:
                x, y = places[bus.id]
                yield label(x + 9.0, y - 6.0, bus.id, size=11)
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
        yield stroke((x, y), at, INK, 0.8)
        yield label(at[0] + (3.0 if right else -3.0), at[1] + 4.0, name, anchor="start" if right else "end", weight=600)


def _legend(top: float, limits: Limits, *, has_volts: bool, has_loads: bool, missing: str) -> list[str]:
    parts, x = [], MARGIN
    low, high = limits.voltage_pu
    if has_volts:
        parts += scale(x, top, "bus, p.u.: its phase nearest to a limit", Quantity.VOLTAGE, (low, high),
                        (f"{low:g}", "1", f"{high:g}"))
        parts.append(f'<path d="M{x + 240:.0f} {top + 15:.0f}l6 6l-6 6l-6 -6Z" fill="{css((4, 22, 79))}" '
                     f'stroke="{INK}"/>' + label(x + 252.0, top + 25.0, "beyond", size=11, colour=MUTED))
        x += 340.0
    if has_loads:
        full = limits.line_loading
        parts += scale(x, top, "line: loading of its busiest phase", Quantity.LOADING, (0.0, full),
                        ("0 %", f"{50 * full:.0f} %", f"{100 * full:.0f} %"))
        parts += [stroke((x + 236.0, top + 21.0), (x + 262.0, top + 21.0), css((212, 0, 90)), 6.0),
                  stroke((x + 236.0, top + 21.0), (x + 262.0, top + 21.0), "#ffffff", 1.6, ' stroke-dasharray="1 7"'),
                  label(x + 272.0, top + 25.0, "beyond", size=11, colour=MUTED)]
        x += 350.0
    if missing:
        parts += [stroke((x, top + 7.0), (x + 22.0, top + 7.0), MUTED, 2.0, ' stroke-dasharray="4 4"'),
                  label(x + 28.0, top + 11.0, missing, size=11, colour=MUTED)]
    parts.append(f'<circle cx="{x:.0f}" cy="{top + 21:.0f}" r="4.5" fill="{MUTED}" stroke="{INK}"/>'
                 + label(x + 10.0, top + 25.0, "connection point", size=11, colour=MUTED))
    return parts
