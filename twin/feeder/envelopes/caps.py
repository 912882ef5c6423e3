"""What envelopes leave for each EVSE, step by step: the meter's limit less what the home draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid
from twin.feeder.envelopes.dynamic import Envelopes
from twin.feeder.network.connections import Envelope
from twin.feeder.scene import Scene

Floats = NDArray[np.float64]


def evse_caps_kw(scene: Scene, envelopes: Envelopes | None = None) -> tuple[Floats, Floats]:
    """Least and most power of every EVSE of `scene`, kW, (evse, step): at most 0 and at least 0.

    An envelope binds the net power at the connection point, so the base load there is taken off; EVSEs that share a
    point share evenly what is left. Where an envelope's steps are not those of the scene, the tightest that overlaps
    holds. A limit never forces anybody to charge or to discharge: at the worst a cap is 0.

    Args:
        scene: EVSEs without an envelope at their point have infinite caps.
        envelopes: None: those at the connection points of `scene.feeder`, of which the lowest limit holds outside of
            their time.
    """
    flow = scene.flow()
    given: dict[str, tuple[Envelope, float, float]] = {}
    if envelopes is None:
        for point in scene.feeder.connection_points:
            if (own := point.envelope) is not None:
                given[point.id] = own, float(own.import_w.min()), float(own.export_w.min())
    else:
        for row, name in enumerate(envelopes.points):
            given[name] = (
                envelopes.of(name), float(envelopes.fallback_import_w[row]), float(envelopes.fallback_export_w[row])
            )
    rows_at: dict[str, list[int]] = {}
    for row, terminal in enumerate(flow.terminals):
        rows_at.setdefault(terminal.connection_point, []).append(row)
    least = np.full((len(scene.evse_ids), scene.grid.steps), -np.inf)
    most = np.full_like(least, np.inf)
    for row, name in enumerate(scene.evse_points):
        if name in given:
            own, outside_import, outside_export = given[name]
            base = scene.base_w[rows_at[name]].sum(axis=0)
            sharing = scene.evse_points.count(name)
            drawn = _on_grid(own.import_w, own.grid, scene.grid, outside_import) - base
            fed_in = _on_grid(own.export_w, own.grid, scene.grid, outside_export) + base
            most[row] = np.maximum(drawn, 0.0) / sharing / 1000.0
            least[row] = -np.maximum(fed_in, 0.0) / sharing / 1000.0
    return least, most


def _on_grid(limits: Floats, own: TimeGrid, other: TimeGrid, outside: float) -> Floats:
    """The lowest of `limits` that overlaps each step of `other`; with `outside` where its time is not covered."""
    found = np.empty(other.steps)
    offset = (other.start - own.start).total_seconds()
    for step in range(other.steps):
        start, end = offset + step * other.step_s, offset + (step + 1) * other.step_s
        first, last = int(start // own.step_s), int(-(-end // own.step_s))
        part = limits[max(first, 0):max(min(last, own.steps), 0)]
        covered = first >= 0 and last <= own.steps
        found[step] = min(part.min(initial=np.inf), np.inf if covered else outside)
    return found
