"""Voltages or loadings over time: a row for each bus or line, a cell for each step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.feeder.canvas import HEAD, LEGEND, MUTED, RULE, WIDTH, frame, label, scale, stroke
from aggregator.reports.feeder.colours import Quantity, colours, css, png_uri
from aggregator.reports.page import safe
from twin.feeder.scene import DEFAULT_LIMITS, Limits

Floats = NDArray[np.float64]


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
        return frame(WIDTH, HEAD + 60.0, title, [label(16.0, HEAD + 24.0, "nothing to show", colour=MUTED)])
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
                     f'fill="#000000" fill-opacity="0"><title>{safe(_said(name, given[row], times))}</title></rect>')
        if row % every == 0:
            short = name if len(name) <= 22 else name[:21] + "…"  # noqa: PLR2004 - what the left margin holds
            parts.append(label(left - 6.0, y + 0.5 * cell + 4.0, short, size=11, anchor="end", colour=MUTED))
    parts += _hours(times, left, right, top + height)
    bottom = top + height + 30.0
    marks = (f"{ends[0]:g}", "1", f"{ends[1]:g}") if quantity is Quantity.VOLTAGE else (
        "0 %", f"{50 * ends[1]:.0f} %", f"{100 * ends[1]:.0f} %"
    )
    name = "voltage, p.u." if quantity is Quantity.VOLTAGE else "loading, of the rating"
    parts += scale(left, bottom, name, quantity, ends, marks)
    beyond = [("below", ends[0] - 1.0), ("above", ends[1] + 1.0), ("no flow", float("nan"))]
    if quantity is Quantity.LOADING:
        beyond = [("above", ends[1] + 1.0), ("no figure", float("nan"))]
    for number, (word, value) in enumerate(beyond):
        x = left + 250.0 + 86.0 * number
        parts.append(f'<rect x="{x:.1f}" y="{bottom + 13:.1f}" width="14" height="12" '
                     f'fill="{css(colours(np.array(value), quantity, *ends))}" stroke="{RULE}"/>'
                     + label(x + 19.0, bottom + 23.0, word, size=11, colour=MUTED))
    return frame(WIDTH, bottom + LEGEND - 6.0, title, parts)


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
        yield stroke((x, y), (x, y + 5.0), MUTED, 1.0)
        yield label(x, y + 17.0, word, size=11, colour=MUTED)
