"""The day's power as plain geometry, for the chart of the first paint and of browsers without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 1000.0, 320.0


@dataclass(frozen=True, slots=True)
class Line:
    """One SVG path, by the series it draws."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Sketch:
    """Paths in a box of WIDTH x HEIGHT; ticks: (y, label in kW)."""

    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]


# (series, column of a chart row, drawn as steps)
_DRAWN = (("building", 0, False), ("ev", 1, False), ("planned", 3, True), ("cap", 4, True), ("limit", 5, True),
          ("target", 6, True), ("net", 2, False))


def day_sketch(points: dict[int, tuple[float | None, ...]]) -> Sketch:
    """Lines of every series that has values; gaps stay gaps."""
    values = [value for row in points.values() for value in row if value is not None]
    if len(points) < 2 or not values:  # noqa: PLR2004  one point draws nothing
        return Sketch((), ())
    xs = sorted(points)
    low, high = min(0.0, *values), max(10.0, *values) * 1.08

    def x_at(x: int) -> float:
        return WIDTH * (x - xs[0]) / (xs[-1] - xs[0])

    def y_at(kw: float) -> float:
        return HEIGHT * (1 - (kw - low) / (high - low))

    lines = []
    for name, column, is_step in _DRAWN:
        places = [(x_at(x), None if (v := points[x][column]) is None else y_at(v)) for x in xs]
        if path := _path(places, is_step=is_step):
            lines.append(Line(name, path))
    step = next(step for step in (5, 10, 20, 25, 50, 100, 200, 500, 1000, 10**9) if (high - low) / step <= 6)  # noqa: PLR2004  six labels fit
    first = int(low // step) * step
    ticks = tuple((round(y_at(kw), 1), f"{kw:g}") for kw in range(first, int(high) + 1, step) if kw >= low)
    return Sketch(tuple(lines), ticks)


def _path(places: list[tuple[float, float | None]], *, is_step: bool) -> str:
    parts: list[str] = []
    if places and places[0][1] is not None:
        parts.append(f"M{places[0][0]:.1f} {places[0][1]:.1f}")
    for (_, y0), (x1, y1) in pairwise(places):
        if y1 is None:
            if is_step and y0 is not None:  # the last value holds until here
                parts.append(f"H{x1:.1f}")
            continue
        if y0 is None:
            parts.append(f"M{x1:.1f} {y1:.1f}")
        else:
            parts.append(f"H{x1:.1f}V{y1:.1f}" if is_step else f"L{x1:.1f} {y1:.1f}")
    return "".join(parts) if len(parts) > 1 else ""
