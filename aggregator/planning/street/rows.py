"""What a feeder allows, as rows of a linear program: how far each limit is crossed, and the tangent of what crosses it.

Everything is in per cent: of the rated voltage, of an ampacity, of a transformer's rating, of the positive-sequence
voltage. An excess above 0 breaks the limit. Tangents are exact derivatives of the three-phase flow by an EVSE's kW.

    voltage      every (bus, phase) at which a connection point hangs, low and high
    line         every run of line and phase, against the smallest ampacity along it
    transformer  both sides, all phases together
    winding      the current of each phase of them, and of other elements that have a rating
    unbalance    every three-phase bus at which a connection point hangs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import TO_SEQUENCE
from twin.feeder.powerflow.flow import Flow, Solution
from twin.feeder.powerflow.line_rows import line_ends
from twin.feeder.powerflow.parts import windings
from twin.feeder.powerflow.solving import jacobian
from twin.feeder.scene import Limits, Scene

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
Ints = NDArray[np.intp]

RowKind = Literal["low_voltage", "high_voltage", "line", "transformer", "winding", "unbalance"]
NO_PHASE = 3


@dataclass(frozen=True, eq=False)
class Monitor:
    """One kind of limit: the size of one complex number per row, which is a form over the state.

    elements, phase: of each row; phase as a number, 3: all of them. limit: per cent, per row.
    forms: (row, part, 1 + point); scale: turns what is judged into per cent, below 0 where less is worse, (row,).
    """

    kind: RowKind
    elements: tuple[str, ...]
    phase: Ints
    limit: Floats
    scale: Floats
    forms: Complex

    def level(self, state: Complex, rows: Ints | slice = slice(None)) -> Floats:
        """Per cent, (row, step)."""
        return self._level(self.forms[rows] @ state) * self.scale[rows][:, None]

    def excess(self, state: Complex) -> Floats:
        """Per cent above the limit, (row, step)."""
        return self.level(state) - self.limit[:, None]

    def slope(self, state: Complex, change: Complex, rows: Ints) -> Floats:
        """Change of the level per kW of every EVSE at one step, (row, evse).

        state: (1 + point,). change: amperes that the load points inject per kW, (point, evse).
        """
        forms = self.forms[rows]
        return self._slope(forms @ state, forms[:, :, 1:] @ change) * self.scale[rows][:, None]

    def _level(self, value: Complex) -> Floats:
        return np.abs(value[:, 0])

    def _slope(self, value: Complex, change: Complex) -> Floats:
        return _along(value, change)[:, 0]


class Ratio(Monitor):
    """The second of two numbers over the first."""

    def _level(self, value: Complex) -> Floats:
        ratio: Floats = np.abs(value[:, 1]) / np.abs(value[:, 0])
        return ratio

    def _slope(self, value: Complex, change: Complex) -> Floats:
        along, (under, over) = _along(value, change), np.abs(value).T[:, :, None]
        slope: Floats = (along[:, 1] - along[:, 0] * over / under) / under
        return slope


class Power(Monitor):
    """Apparent power of three phases: the first three numbers are volts, the others their amperes."""

    def _level(self, value: Complex) -> Floats:
        power: Floats = np.abs(value[:, :3] * value[:, 3:]).sum(axis=1)
        return power

    def _slope(self, value: Complex, change: Complex) -> Floats:
        volts, amperes = value[:, :3, None], value[:, 3:, None]
        moved = change[:, :3] * amperes.conj() + volts * change[:, 3:].conj()
        slope: Floats = _along(value[:, :3] * value[:, 3:].conj(), moved).sum(axis=1)
        return slope


def _along(value: Complex, change: Complex) -> Floats:
    """d|value| of a change of `value`, (row, part, evse); 0 where the value is 0."""
    size = np.abs(value)
    direction = np.divide(value.conj(), size, out=np.zeros_like(value), where=size > 0.0)
    return (direction[:, :, None] * change).real


class GridRows:
    """All limits of a scene. monitors: by kind, in the order in which they are judged.

    Raises:
        SceneError: see `Scene`.
    """

    def __init__(self, scene: Scene, limits: Limits | None = None) -> None:
        self.scene, self.flow = scene, scene.flow()
        self.limits = limits or scene.limits
        self._spread: Floats = self.flow.at_points(scene.spread().toarray().astype(np.complex128)).real
        self.monitors: dict[RowKind, Monitor] = {}
        for monitor in (
            *self._voltages(), self._lines(), self._transformers(), self._windings(), self._unbalance(),
        ):
            if monitor is not None and len(monitor.elements):
                self.monitors[monitor.kind] = monitor

    def places(self) -> dict[tuple[str, str], str]:
        """(bus, phase) with a connection point, and the name of the first one there."""
        places: dict[tuple[str, str], str] = {}
        for point in self.flow.feeder.connection_points:
            for phase in point.phases:
                places.setdefault((point.bus, phase), point.id)
        return places

    def _node_forms(self, nodes: list[tuple[str, str]]) -> tuple[Complex, Floats]:
        rows = np.array([self.flow.node_row[node] for node in nodes], dtype=np.intp)
        network = self.flow.network
        return np.asarray(network.spread[rows] @ network.keys), network.node_volts[rows]

    def _voltages(self) -> tuple[Monitor, Monitor]:
        places = self.places()
        forms, rated = self._node_forms(list(places))
        phase = np.array([PHASES.index(phase) for _, phase in places], dtype=np.intp)
        low, high = self.limits.voltage_pu
        names, forms = tuple(places.values()), forms[:, None, :]
        return (
            Monitor("low_voltage", names, phase, np.full(len(names), -100.0 * low), -100.0 / rated, forms),
            Monitor("high_voltage", names, phase, np.full(len(names), 100.0 * high), 100.0 / rated, forms),
        )

    def _lines(self) -> Monitor:
        """Segments in a row carry one current, so the smallest rating among them stands for all.

        With capacitance they do not: both ends of every segment are looked at.
        """
        flow, network = self.flow, self.flow.network
        rated = np.flatnonzero(np.isfinite(flow.ampacity))
        if network.shunts is None:
            weakest = rated[np.lexsort((flow.ampacity[rated], network.run_of[rated]))]
            _, first = np.unique(network.run_of[weakest], return_index=True)
            chosen = weakest[first]
            forms = network.run_series[network.run_of[chosen]]
        else:
            chosen, forms = np.tile(rated, 2), np.concatenate([end[rated] for end in line_ends(flow)])
        segments = [flow.segments[row] for row in chosen]
        return Monitor(
            "line", tuple(segment.line for segment in segments),
            np.array([PHASES.index(segment.phase) for segment in segments], dtype=np.intp),
            np.full(len(chosen), 100.0 * self.limits.line_loading), 100.0 / flow.ampacity[chosen],
            forms[:, None, :],
        )

    def _transformers(self) -> Monitor:
        network, transformers = self.flow.network, self.flow.feeder.transformers
        ends = 2 * len(transformers)
        return Power(
            "transformer", tuple(np.repeat([transformer.id for transformer in transformers], 2).tolist()),
            np.full(ends, NO_PHASE, dtype=np.intp), np.full(ends, 100.0 * self.limits.transformer_loading),
            100.0 / np.repeat([transformer.rated_va for transformer in transformers], 2),
            np.concatenate((network.keys[network.transformer_nodes].reshape(ends, 3, -1),
                            network.transformers.reshape(ends, 3, -1)), axis=1),
        )

    def _windings(self) -> Monitor:
        rated = windings(self.flow)
        return Monitor(
            "winding", tuple(part.element for part in rated.parts),
            np.array([PHASES.index(part.phase) for part in rated.parts], dtype=np.intp),
            np.full(len(rated.parts), 100.0 * self.limits.transformer_loading), np.full(len(rated.parts), 100.0),
            rated.over_rated[:, None, :],
        )

    def _unbalance(self) -> Monitor | None:
        if self.limits.unbalance is None:
            return None
        phases = {bus.id: bus.phases for bus in self.flow.feeder.buses}
        buses = [bus for bus in dict.fromkeys(bus for bus, _ in self.places()) if phases[bus] == PHASES]
        if not buses:
            return None
        forms, _ = self._node_forms([(bus, phase) for bus in buses for phase in PHASES])
        sequence = np.einsum("sp,bpk->bsk", TO_SEQUENCE[1:], forms.reshape(len(buses), 3, -1))
        return Ratio(
            "unbalance", tuple(buses), np.full(len(buses), NO_PHASE, dtype=np.intp),
            np.full(len(buses), 100.0 * self.limits.unbalance), np.full(len(buses), 100.0), sequence,
        )

    def excess(self, solution: Solution) -> dict[RowKind, Floats]:
        """Per cent above the limit by kind, (row, step); NaN where a step has no solution."""
        return {kind: monitor.excess(solution.state) for kind, monitor in self.monitors.items()}

    def levels(self, excess: Mapping[RowKind, Floats], kind: RowKind, rows: Ints, steps: Ints) -> Floats:
        """Per cent of these (row, step), from what `excess` said."""
        level: Floats = excess[kind][rows, steps] + self.monitors[kind].limit[rows]
        return level

    def response(self, solution: Solution, steps: Ints) -> Complex:
        """Amperes that the load points inject per kW of every EVSE at these steps, (step, point, evse).

        The equation of `twin.feeder.powerflow.gradients`, solved in the directions of EVSEs alone, which are fewer than
        watts and vars of all load points. Every step must have a solution.
        """
        flow, state = self.flow, solution.state[:, steps]
        base = flow.network.base_volts
        volts, power = flow.network.points @ state / base[:, None], flow.at_points(solution.demand[:, steps])
        by_volts, by_conjugate = flow.loads.partials(power, volts)
        per_watt, per_var = flow.loads.per_watt(volts)
        direct = (per_watt + self.scene.var_per_watt * per_var).T[:, :, None] * self._spread
        push = flow.point_impedance @ direct
        moved = np.linalg.solve(
            jacobian(flow.point_impedance, (by_volts, by_conjugate)), np.concatenate((push.real, push.imag), axis=1))
        change = moved[:, :len(base)] + 1j * moved[:, len(base):]
        injected = by_volts.T[:, :, None] * change + by_conjugate.T[:, :, None] * change.conj() + direct
        response: Complex = 1000.0 * injected / base[:, None]
        return response

    def slopes(self, solution: Solution, response: Complex, kind: RowKind, rows: Ints, steps: Ints) -> Floats:
        """Change of the level per kW of every EVSE at these (row, step), (pick, evse); response: of all steps."""
        monitor = self.monitors[kind]
        order = np.argsort(steps, kind="stable")
        slope = np.zeros((len(rows), response.shape[2]))
        edges = np.flatnonzero(np.diff(steps[order], prepend=-1, append=-1))
        for start, end in pairwise(edges.tolist()):
            here = order[start:end]
            step = int(steps[here[0]])
            slope[here] = monitor.slope(solution.state[:, step], response[step], rows[here])
        return slope

    def solve(self, evse_kw: Floats) -> Solution:
        """The flow of the base and of these EVSE powers, (evse, step)."""
        return self.flow.solve(*self.scene.demand_w(evse_kw))


__all__ = ["NO_PHASE", "Flow", "GridRows", "Monitor", "RowKind"]
