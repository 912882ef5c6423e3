"""The fuses of connection points: what flows through them, and how much power they let through at any voltage allowed.

A fuse is blown by amperes and not by watts: at 0.9 p.u. the same power takes a ninth more of it, and vars, which the
network may hardly notice, take their part too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.powerflow.flow import Flow, Solution
from twin.feeder.powerflow.loads import Loads
from twin.feeder.scene import Scene

Floats = NDArray[np.float64]

VOLTAGES: Final = 41
"""At which a load's current is looked at between the lowest and the highest voltage."""


class Fuses:
    """The fuses of a feeder's connection points, one in each phase.

    A load between two phases, or in a triangle, is judged by the current through itself.

    rows: terminals that have one, in the rows of `Flow.terminals`. amperes: of each.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        rated = {point.id: point.fuse_a for point in flow.feeder.connection_points}
        found = [(row, fuse) for row, terminal in enumerate(flow.terminals)
                 if (fuse := rated[terminal.connection_point]) is not None]
        self.rows = np.array([row for row, _ in found], dtype=np.intp)
        self.amperes: Floats = np.array([fuse for _, fuse in found])
        kinds = {kind.id: kind for kind in flow.feeder.load_types}
        self._points = flow.network.point_of[self.rows]
        self._loads = Loads([kinds[flow.network.point_types[point]] for point in self._points])
        self._volts: Floats = flow.network.base_volts[self._points]

    def loading(self, solution: Solution) -> Floats:
        """Amperes over those of the fuse, (row, column); NaN where there is no solution."""
        if not len(self.rows):
            return np.empty((0, solution.state.shape[1]))
        volts = (self.flow.network.points @ solution.state)[self._points] / self._volts[:, None]
        power = np.abs(self._loads.drawn(solution.demand[self.rows], np.abs(volts))) / np.abs(volts)
        found: Floats = power / (self._volts * self.amperes)[:, None]
        found[:, ~solution.has_solution.reshape(-1)] = np.nan
        return found

    def most_w(self, scene: Scene, points: Sequence[str], sign: float) -> Floats:
        """Most net power of every one of `points` that its fuses let through at any voltage within the scene's limits,
        (point, step), W, 0 or more; infinite without a fuse.

        What a point takes beyond its base load is split evenly over its phases; its base load, vars included, stays.
        sign: 1: import, -1: export.
        """
        most = np.full((len(points), scene.grid.steps), np.inf)
        if not len(self.rows):
            return most
        base_w, base_var = scene.base_w[self.rows], scene.base_var[self.rows]
        with_watts, with_vars = self._amperes_per_unit(scene.limits.voltage_pu)
        slope = scene.var_per_watt
        # (with_watts P)^2 + (with_vars Q)^2 = fuse^2, where Q = rest + slope P
        rest = base_var - slope * base_w
        square = (with_watts**2 + (slope * with_vars) ** 2)[:, None]
        half = slope * (with_vars**2)[:, None] * rest
        free = (with_vars[:, None] * rest) ** 2 - (self.amperes**2)[:, None]
        under_root = half**2 - square * free
        far = np.where(under_root > 0.0, (np.sqrt(np.maximum(under_root, 0.0)) - sign * half) / square, 0.0)
        names = [self.flow.terminals[row].connection_point for row in self.rows]
        for number, point in enumerate(points):
            mine = np.array([name == point for name in names])
            if mine.any():
                more = (far[mine] - sign * base_w[mine]).min(axis=0)
                net = sign * base_w[mine].sum(axis=0) + mine.sum() * more
                most[number] = np.maximum(net, 0.0)
        return most

    def _amperes_per_unit(self, voltage_pu: tuple[float, float]) -> tuple[Floats, Floats]:
        """Most amperes per W and per var asked for, at the worst voltage in the range."""
        shape = (len(self.rows), VOLTAGES)
        u = np.broadcast_to(np.linspace(*voltage_pu, VOLTAGES), shape)
        watts, variable = (
            np.abs(self._loads.drawn(np.full(shape, one, dtype=np.complex128), u) / u).max(axis=1) / self._volts
            for one in (1.0, 1.0j)
        )
        return watts, variable
