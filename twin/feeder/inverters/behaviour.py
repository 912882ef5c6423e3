"""Power of an EVSE as a function of its order and of the voltage it sees: curves, limits and what lags behind.

Pure functions of arrays: the same for one instant of a running twin and for a year of planned steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from twin.feeder.inverters.grid_codes import Curve, GridCode, GridCodeError, Priority

Floats = NDArray[np.float64]

SLOPE_STEP_PU = 1e-7


@dataclass(frozen=True, slots=True)
class Inverter:
    """An EVSE's inverter: its settings and its rated VA, which is also the most active power of its curves."""

    code: GridCode
    rated_va: float

    def __post_init__(self) -> None:
        if not (isfinite(self.rated_va) and self.rated_va > 0.0):
            raise GridCodeError(f"inverter {self.code.name}: rated_va", self.rated_va, "a finite number above 0")


@dataclass(frozen=True, eq=False)
class Memory:
    """What lags behind the voltage, and limits that come from elsewhere, each (evse, column).

    var_pu, out_pu, in_pu: what the curves had led to before: vars fed in, most power out and in, per rated VA.
    var_news, watt_news: share of what the curves say now that counts now (0 nothing yet, 1 all of it).
    limit_pu: most power in either direction, per rated VA, while an inverter comes back; 0 while it is disconnected.
    """

    var_pu: Floats
    out_pu: Floats
    in_pu: Floats
    var_news: Floats
    watt_news: Floats
    limit_pu: Floats

    def rows(self, rows: NDArray[np.intp]) -> Memory:
        return Memory(*(getattr(self, name)[rows] for name in _PARTS))

    def columns(self, columns: NDArray[np.intp] | slice) -> Memory:
        return Memory(*(getattr(self, name)[:, columns] for name in _PARTS))

    def put(self, columns: NDArray[np.intp], other: Memory) -> None:
        """Overwrite columns."""
        for name in _PARTS:
            getattr(self, name)[:, columns] = getattr(other, name)

    def twice(self) -> Memory:
        """Side by side with itself."""
        return Memory(*(np.tile(getattr(self, name), 2) for name in _PARTS))


_PARTS = ("var_pu", "out_pu", "in_pu", "var_news", "watt_news", "limit_pu")


@dataclass(frozen=True, eq=False)
class _Group:
    """Inverters of one code."""

    code: GridCode
    rows: NDArray[np.intp]
    rated_va: Floats


class Behaviour:
    """Power of EVSEs as a function of order and voltage; rows are EVSEs, those without an inverter do as ordered.

    var_per_watt: reactive power of EVSEs that have no Volt-VAr curve.
    """

    def __init__(self, inverters: Sequence[Inverter | None], var_per_watt: float = 0.0) -> None:
        self.inverters, self.var_per_watt = tuple(inverters), var_per_watt
        codes = list(dict.fromkeys(inverter.code for inverter in inverters if inverter is not None))
        self._groups = []
        for code in codes:
            rows = [row for row, own in enumerate(inverters) if own is not None and own.code == code]
            rated = np.array([own.rated_va for own in inverters if own is not None and own.code == code])
            self._groups.append(_Group(code, np.array(rows, dtype=np.intp), rated[:, None]))

    @property
    def has_curves(self) -> bool:
        return any(group.code.has_curves for group in self._groups)

    def powers(self, orders_w: Floats, voltage_pu: Floats, memory: Memory | None = None) -> tuple[Floats, Floats]:
        """Watts and vars that are drawn at these voltages, (evse, column)."""
        p_w = orders_w.copy()
        q_var = self.var_per_watt * orders_w
        for group in self._groups:
            rows = group.rows
            held = None if memory is None else memory.rows(rows)
            p_w[rows], q_var[rows] = self._of_group(group, orders_w[rows], voltage_pu[rows], held)
        return p_w, q_var

    def slopes(self, orders_w: Floats, voltage_pu: Floats, memory: Memory | None = None) -> tuple[Floats, Floats]:
        """Change of watts and vars per p.u. of the inverter's own voltage."""
        # Both sides at once: for few columns the calls cost more than the numbers.
        sides = np.concatenate((voltage_pu + SLOPE_STEP_PU, voltage_pu - SLOPE_STEP_PU), axis=1)
        found = self.powers(np.tile(orders_w, 2), sides, None if memory is None else memory.twice())
        p, q = ((high - low) / (2.0 * SLOPE_STEP_PU) for high, low in (np.split(each, 2, axis=1) for each in found))
        return p, q

    def remember(self, voltage_pu: Floats, memory: Memory) -> Memory:
        """What the curves have led to after voltages held as long as `memory` says."""
        parts = {name: getattr(memory, name).copy() for name in ("var_pu", "out_pu", "in_pu")}
        for group in self._groups:
            rows = group.rows
            now = _curves(group.code, voltage_pu[rows], memory.rows(rows))
            for name, value in zip(parts, now, strict=True):
                parts[name][rows] = value
        return replace(memory, **parts)

    def _of_group(self, group: _Group, orders_w: Floats, voltage_pu: Floats, held: Memory | None
                  ) -> tuple[Floats, Floats]:
        code, rated = group.code, group.rated_va
        var_pu, out_pu, in_pu = _curves(code, voltage_pu, held)
        limit = rated if held is None else rated * held.limit_pu
        p = np.clip(orders_w, -np.minimum(limit, rated * out_pu), np.minimum(limit, rated * in_pu))
        if code.volt_var is None:
            q = self.var_per_watt * p
        else:
            able = np.minimum(np.abs(p) / (rated * code.full_var_from_pu), 1.0)
            q = -rated * var_pu * able
            if not code.var_while_charging:
                q = np.where(p > 0.0, 0.0, q)
        if code.priority is Priority.REACTIVE:
            q = np.clip(q, -rated, rated)
            room = np.sqrt(rated**2 - q**2)
            return np.clip(p, -room, room), q
        room = np.sqrt(np.maximum(rated**2 - p**2, 0.0))
        return p, np.clip(q, -room, room)


def _curves(code: GridCode, voltage_pu: Floats, held: Memory | None) -> tuple[Floats, Floats, Floats]:
    """Vars fed in, most power out and most power in, per rated VA."""
    var = _at(code.volt_var, voltage_pu, 0.0)
    out, into = _at(code.volt_watt, voltage_pu, 1.0), _at(code.charge_volt_watt, voltage_pu, 1.0)
    if held is None:
        return var, out, into
    return (
        held.var_pu + held.var_news * (var - held.var_pu),
        held.out_pu + held.watt_news * (out - held.out_pu),
        held.in_pu + held.watt_news * (into - held.in_pu),
    )


def _at(curve: Curve | None, voltage_pu: Floats, otherwise: float) -> Floats:
    return np.full(voltage_pu.shape, otherwise) if curve is None else curve.at(voltage_pu)
