"""Where the buses of a feeder stand in a picture: where the map has them, else as a tree below the source."""

from __future__ import annotations

from collections import defaultdict, deque
from math import cos, hypot, inf, sin
from typing import Final

from twin.feeder.network.model import Feeder

Place = tuple[float, float]

ENOUGH: Final = 0.6
"""Share of the buses whose place must be known before a map is drawn."""

GOLDEN_ANGLE: Final = 2.399963
"""Radians: buses at one place, turned by this each, never meet again."""

NUDGE: Final = 14.0
"""Pixels between buses that share a place."""


def layout(feeder: Feeder, width: float, height: float, margin: float) -> tuple[dict[str, Place], float]:
    """Pixels (x to the right, y down) of every bus within `width`, and the height that is used, at most `height`.

    A map keeps its proportions and has north above; buses without a place stand beside a neighbour that has one.
    """
    known = {bus.id: bus.xy for bus in feeder.buses if bus.xy is not None}
    beside = _neighbours(feeder)
    is_map = len(known) >= max(2.0, ENOUGH * len(feeder.buses)) and _extent(list(known.values())) > (0.0, 0.0)
    if not is_map:
        return _spread_out(_tree(feeder, beside), width, height, margin)
    places = {bus: (x, -y) for bus, (x, y) in known.items()}
    xs, ys = [x for x, _ in places.values()], [y for _, y in places.values()]
    span = max(max(xs) - min(xs), max(ys) - min(ys))
    waiting = deque(bus for bus in places)
    while waiting:
        bus = waiting.popleft()
        for other in beside[bus]:
            if other not in places:
                x, y = places[bus]
                places[other] = x - 0.04 * span, y - 0.04 * span
                waiting.append(other)
    stranded = [bus.id for bus in feeder.buses if bus.id not in places]
    for number, bus_id in enumerate(stranded):
        places[bus_id] = min(xs) + 0.03 * span * number, max(ys) + 0.06 * span
    return _apart(*_fitted(places, width, height, margin))


def _neighbours(feeder: Feeder) -> dict[str, list[str]]:
    beside: dict[str, list[str]] = defaultdict(list)
    ends = [(transformer.from_bus, transformer.to_bus) for transformer in feeder.transformers]
    ends += [(line.from_bus, line.to_bus) for line in feeder.lines]
    for primitive in feeder.primitives:
        first, *others = dict.fromkeys(bus for bus, _ in primitive.nodes)
        ends += [(first, other) for other in others]
    for one, other in ends:
        beside[one].append(other)
        beside[other].append(one)
    return beside


def _extent(places: list[Place]) -> Place:
    xs, ys = [x for x, _ in places], [y for _, y in places]
    reach = max(max(xs) - min(xs), max(ys) - min(ys))
    return reach, reach


def _fitted(places: dict[str, Place], width: float, height: float, margin: float) -> tuple[dict[str, Place], float]:
    xs, ys = [x for x, _ in places.values()], [y for _, y in places.values()]
    left, top = min(xs), min(ys)
    wide, high = max(xs) - left, max(ys) - top
    scale = min(
        (width - 2.0 * margin) / wide if wide else inf, (height - 2.0 * margin) / high if high else inf
    )
    used = min(height, max(high * scale, 60.0) + 2.0 * margin)
    aside = 0.5 * (width - wide * scale)
    above = 0.5 * (used - high * scale)
    return {bus: (aside + (x - left) * scale, above + (y - top) * scale) for bus, (x, y) in places.items()}, used


def _apart(places: dict[str, Place], used: float) -> tuple[dict[str, Place], float]:
    """Buses that would stand on one another, such as both ends of a regulator, moved a little away."""
    taken: dict[tuple[int, int], int] = {}
    moved = {}
    for bus, (x, y) in places.items():
        spot = round(x * 4.0), round(y * 4.0)
        count = taken.get(spot, 0)
        taken[spot] = count + 1
        # Where hundreds of buses lie within a pixel the map is drawn as it is: moving them would draw another feeder.
        distance = NUDGE if 0 < count < 4 else 0.0  # noqa: PLR2004 - as the line above
        moved[bus] = x + distance * cos(GOLDEN_ANGLE * count), y + distance * sin(GOLDEN_ANGLE * count)
    return moved, used


def _tree(feeder: Feeder, beside: dict[str, list[str]]) -> dict[str, Place]:
    """Depth below the source downward, leaves side by side; a parent stands above the middle of its children."""
    order: list[str] = []
    above: dict[str, str | None] = {}
    depth: dict[str, int] = {}
    for root in (feeder.source.bus, *(bus.id for bus in feeder.buses)):
        if root in above:
            continue
        above[root], depth[root] = None, 0
        stack = [root]
        while stack:
            bus = stack.pop()
            order.append(bus)
            for other in reversed(beside[bus]):
                if other not in above:
                    above[other], depth[other] = bus, depth[bus] + 1
                    stack.append(other)
    children: dict[str, list[str]] = defaultdict(list)
    for bus, parent in above.items():
        if parent is not None:
            children[parent].append(bus)
    across: dict[str, float] = {}
    leaves = 0
    for bus in order:
        if not children[bus]:
            across[bus] = float(leaves)
            leaves += 1
    for bus in reversed(order):
        if children[bus]:
            across[bus] = sum(across[child] for child in children[bus]) / len(children[bus])
    return {bus: (across[bus], float(depth[bus])) for bus in order}


def _spread_out(
    places: dict[str, Place], width: float, height: float, margin: float
) -> tuple[dict[str, Place], float]:
    wide = max((x for x, _ in places.values()), default=0.0) or 1.0
    deep = max((y for _, y in places.values()), default=0.0) or 1.0
    used = min(height, 2.0 * margin + 46.0 * deep)
    return {
        bus: (margin + x / wide * (width - 2.0 * margin), margin + y / deep * (used - 2.0 * margin))
        for bus, (x, y) in places.items()
    }, used


def middle(one: Place, other: Place) -> Place:
    return 0.5 * (one[0] + other[0]), 0.5 * (one[1] + other[1])


def distance(one: Place, other: Place) -> float:
    return hypot(one[0] - other[0], one[1] - other[1])
