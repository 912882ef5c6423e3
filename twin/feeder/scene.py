"""A feeder with what hangs on it: base loads over time, where each EVSE is connected, and what the grid must hold.

The one picture that whoever judges a feeder shares: simulation, planner, gate, envelopes and inverters all work out
terminal powers from EVSE powers here, so that they cannot differ about phases, signs or units.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twin.assets import TimeGrid
from twin.feeder.network.model import Feeder
from twin.feeder.network.phases import PHASES
from twin.feeder.powerflow.flow import Flow
from twin.impossible import ImpossibleValue

Floats = NDArray[np.float64]


class SceneError(ImpossibleValue):
    """What does not fit the feeder; the message names field, value and what was expected."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the grid must hold.

    voltage_pu: lowest and highest, of the rated phase voltage of the connection point's bus (EN 50160: +-10 %).
    line_loading: of a segment's ampacity; segments without one are not judged. transformer_loading: of the rating.
    unbalance: negative- over positive-sequence voltage (EN 50160: 2 %); None: not judged.
    """

    voltage_pu: tuple[float, float] = (0.90, 1.10)
    line_loading: float = 1.0
    transformer_loading: float = 1.0
    unbalance: float | None = 0.02

    def __post_init__(self) -> None:
        low, high = self.voltage_pu
        if not (isfinite(high) and 0.0 < low < high):
            raise SceneError("limits.voltage_pu", self.voltage_pu, "0 < lowest < highest")
        for name in ("line_loading", "transformer_loading", "unbalance"):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value > 0.0):
                raise SceneError(f"limits.{name}", value, "a finite number above 0")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class Scene:
    """A feeder with what hangs on it.

    base_w, base_var: what is drawn without the EVs, homes net of their PV, (terminal, step), rows as in
        `Flow(feeder).terminals`, a mean over each step of `grid`.
    evse_points, evse_phases: for each of `evse_ids` its connection point and the phases over which its power is split
        evenly, such as `a` or `abc`.
    power_factor: of the EVSEs where no inverter function acts, above 0 up to 1. Below 1 they draw reactive power
        while charging and feed as much in while discharging: Q keeps to P, as in a load turned round.

    Raises:
        SceneError: lengths or shapes that do not fit, a point or phase that the feeder does not have.
        FeederInvalid: a feeder that cannot be solved.
    """

    feeder: Feeder
    grid: TimeGrid
    base_w: Floats
    base_var: Floats
    evse_ids: tuple[str, ...]
    evse_points: tuple[str, ...]
    evse_phases: tuple[str, ...]
    power_factor: float = 1.0
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if len(set(self.evse_ids)) != len(self.evse_ids):
            raise SceneError("evse_ids", self.evse_ids, "every id once")
        for name in ("evse_points", "evse_phases"):
            if len(getattr(self, name)) != len(self.evse_ids):
                raise SceneError(name, len(getattr(self, name)), f"one for each of {len(self.evse_ids)} EVSEs")
        if not 0.0 < self.power_factor <= 1.0:
            raise SceneError("power_factor", self.power_factor, "above 0, at most 1")
        self._require_places()
        expected = (len(self._flow.terminals), self.grid.steps)
        for name in ("base_w", "base_var"):
            values = getattr(self, name)
            if values.shape != expected:
                raise SceneError(name, values.shape, f"shape {expected}: terminal, step")
            if not np.isfinite(values).all():
                raise SceneError(name, "not finite", "finite powers")

    def _require_places(self) -> None:
        there = {point.id: point.phases for point in self.feeder.connection_points}
        rows = self._flow.terminal_row
        for evse, point, phases in zip(self.evse_ids, self.evse_points, self.evse_phases, strict=True):
            if point not in there:
                raise SceneError(f"evse {evse}", point, f"a connection point of feeder {self.feeder.name}")
            if not phases or phases != "".join(phase for phase in PHASES if phase in phases):
                raise SceneError(f"evse {evse}", phases, "one to three of the phases a, b and c, in this order")
            if any((point, phase) not in rows for phase in phases):
                raise SceneError(f"evse {evse}", phases, f"among the phases {there[point]} of connection point {point}")

    @cached_property
    def _flow(self) -> Flow:
        return _flow_of(self.feeder)

    def __getstate__(self) -> dict[str, object]:
        """Without what can be made again: a scene travels to the planner's process with every plan."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def flow(self) -> Flow:
        """The feeder ready to be solved; made once."""
        return self._flow

    @cached_property
    def _spread(self) -> csr_array:
        rows, columns, shares = [], [], []
        for column, (point, phases) in enumerate(zip(self.evse_points, self.evse_phases, strict=True)):
            for phase in phases:
                rows.append(self._flow.terminal_row[point, phase])
                columns.append(column)
                shares.append(1.0 / len(phases))
        return csr_array(
            (np.array(shares), (np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp))),
            shape=(len(self._flow.terminals), len(self.evse_ids)),
        )

    def spread(self) -> csr_array:
        """Watts at each terminal per watt of each EVSE, (terminal, evse)."""
        return self._spread

    @property
    def var_per_watt(self) -> float:
        """Reactive power of an EVSE per watt."""
        return sqrt(1.0 / self.power_factor**2 - 1.0)

    def demand_w(self, evse_kw: Floats) -> tuple[Floats, Floats]:
        """What every terminal draws: base and EVSEs.

        Args:
            evse_kw: positive while charging, (evse, step) or (evse, replica, step); replicas share the base.

        Returns:
            p_w, q_var: (terminal, [replica,] step).

        Raises:
            SceneError: another shape.
        """
        kw = np.asarray(evse_kw, dtype=np.float64)
        evses, steps = len(self.evse_ids), self.grid.steps
        if kw.ndim not in (2, 3) or kw.shape[0] != evses or kw.shape[-1] != steps:
            raise SceneError("evse_kw", kw.shape, f"shape ({evses}, {steps}) or ({evses}, replicas, {steps})")
        return self.demand_of(kw, slice(None))

    def demand_of(
        self, evse_kw: Floats, steps: slice | NDArray[np.intp], evse_kvar: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """The same for some steps of the grid: the last axis of `evse_kw` is those steps.

        evse_kvar: what inverters draw, of the same shape; None: by the power factor.
        """
        drawn = self._at_terminals(evse_kw)
        base = (len(drawn), *(1 for _ in evse_kw.shape[2:]), -1)
        p_w = self.base_w[:, steps].reshape(base) + drawn
        reactive = self.var_per_watt * drawn if evse_kvar is None else self._at_terminals(evse_kvar)
        q_var = self.base_var[:, steps].reshape(base) + reactive
        return p_w, q_var

    def _at_terminals(self, kilo: Floats) -> Floats:
        columns = prod(kilo.shape[1:])
        drawn: Floats = 1000.0 * (self._spread @ kilo.reshape(len(kilo), columns))
        return drawn.reshape(len(drawn), *kilo.shape[1:])


_KEPT = 4
_flows: list[Flow] = []


def _flow_of(feeder: Feeder) -> Flow:
    """The flow of `feeder`, made once for each of those asked for last: scenes follow each other on one street."""
    for flow in _flows:
        if flow.feeder is feeder or flow.feeder == feeder:
            return flow
    made = Flow(feeder)
    _flows[:] = [made, *_flows][:_KEPT]
    return made
