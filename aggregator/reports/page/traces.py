"""What figures are drawn with: lines, bands, pale washes behind them, and numbers as JSON has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page.figures import Trace

Floats = NDArray[np.float64]

_MOST_POINTS = 1500


def line(name: str, x: Sequence[Any], y: Sequence[float | None], colour: str, **look: Any) -> Trace:
    """A line; `dash`, `shape` and `width` are of the line, the rest of the trace."""
    own: dict[str, Any] = {"color": colour, "width": look.pop("width", 1.75)}
    own.update({key: look.pop(key) for key in ("dash", "shape") if key in look})
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": own,
            "connectgaps": False, "hovertemplate": look.pop("hover", "%{y:.1f} kW"), **look}


def band(
    name: str, x: Sequence[Any], low: Sequence[float | None], high: Sequence[float | None], colour: str, **look: Any
) -> list[Trace]:
    """The space between two lines."""
    bare = {"mode": "lines", "hoverinfo": "skip", "line": {"width": 0, "color": colour, **look}, "type": "scatter"}
    return [
        {**bare, "x": list(x), "y": list(low), "showlegend": False, "name": f"{name}, low", "legendgroup": name},
        {**bare, "x": list(x), "y": list(high), "fill": "tonexty", "fillcolor": colour, "name": name,
         "legendgroup": name},
    ]


def wash(start: float, end: float, colour: str = "--target-wash") -> dict[str, Any]:
    """A pale band behind everything else, over [start, end) of the axis: an event or a limit was in force."""
    return {"type": "rect", "xref": "x", "yref": "paper", "x0": start, "x1": end, "y0": 0, "y1": 1,
            "fillcolor": colour, "line": {"width": 0}, "layer": "below"}


def rounded(values: Sequence[float] | Floats, digits: int = 2) -> list[float | None]:
    """What is not known (NaN) is None."""
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]


def steps_per_point(steps: int) -> int:
    """So many steps are shown as one point: more points than a screen has columns tell nothing."""
    return -(-steps // _MOST_POINTS)


def stairs(values: Floats, block: int, digits: int = 2) -> list[float | None]:
    """Means over blocks of steps, the last one again at its end: lines are stairs. None where nothing is known."""
    starts = np.arange(0, values.size, block)
    known = np.isfinite(values)
    counts = np.add.reduceat(known.astype(np.float64), starts)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    means = [
        round(total / count, digits) if count else None
        for total, count in zip(sums.tolist(), counts.tolist(), strict=True)
    ]
    return [*means, means[-1]]
