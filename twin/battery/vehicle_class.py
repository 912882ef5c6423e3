"""A type of car with the losses of its pair, prepared for the columns of `FleetState`.

Every curve becomes pieces along the flow (see `twin.battery.segment`), so that finding the limit is one look-up and
stepping to the next piece needs no case of direction.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from twin.assets import LossCurve, PowerCurve, Vehicle
from twin.battery.segment import (
    BOTTOM,
    CAPACITY,
    CAR,
    CLASS,
    HEIGHT,
    HIGH,
    KNOT,
    LINE,
    LOW,
    MAX_C,
    MAX_D,
    NO_PIECE,
    ROWS,
    SLOPE,
    TO,
    TOP,
    Floats,
    U,
)

Ints = NDArray[np.intp]


def battery_kw(vehicle: Vehicle, connector_kw: float, loss: LossCurve | None = None) -> float:
    """Battery-side power in kW for a power at the connector: c = b + loss(b), signs as everywhere.

    Charging below the standby loss never reaches the battery. Discharging is clipped to the most the
    loss curve lets through. loss: of the pair (see `pair_loss`); None: the car's own.
    """
    loss = vehicle.battery.loss if loss is None else loss
    sign = float(np.sign(connector_kw))
    slope = 1.0 + sign * loss.proportional
    through = max(abs(connector_kw) - sign * loss.standby_kw, 0.0)
    under_root = max(slope * slope + 4.0 * sign * loss.quadratic_per_kw * through, 0.0)
    return sign * 2.0 * through / (slope + math.sqrt(under_root))


def deliverable_kw(vehicle: Vehicle, loss: LossCurve) -> float:
    """Largest power that leaves the connector; above it the quadratic loss eats more than is added."""
    if loss.quadratic_per_kw == 0.0:
        return vehicle.max_discharge_kw
    peak = (1.0 - loss.proportional) ** 2 / (4.0 * loss.quadratic_per_kw) - loss.standby_kw
    return min(vehicle.max_discharge_kw, max(peak, 0.0))


def off_kw(vehicle: Vehicle, loss: LossCurve) -> float:
    """Battery power below which a discharge that follows its curve stops.

    That of the car's minimum at the connector, else the power that feeds nothing but its own losses: b = loss(b).
    """
    if vehicle.min_discharge_kw > 0.0:
        return -battery_kw(vehicle, -vehicle.min_discharge_kw, loss)
    slope = 1.0 - loss.proportional
    under_root = max(slope * slope - 4.0 * loss.quadratic_per_kw * loss.standby_kw, 0.0)
    return 2.0 * loss.standby_kw / (slope + math.sqrt(under_root))


class ClassTable:
    """All classes a fleet has met: their columns, and their curves as padded tables of pieces."""

    def __init__(self) -> None:
        self._number: dict[tuple[Vehicle, LossCurve], int] = {}
        self.columns = np.zeros((ROWS - CAR, 0))
        # Rows LINE, SLOPE, HEIGHT and KNOT of all pieces, `width` to a curve, of curve 2*class + (0 charging, 1
        # discharging), and the knots between them once more.
        self._pieces = np.zeros((4, 0))
        self._width = 1
        self._between = np.zeros((0, 0))  # shape (knot, curve)
        self.has_standby = False
        self.is_quadratic = False
        self.has_rises = False

    def number(self, vehicle: Vehicle, loss: LossCurve | None = None) -> int:
        """The class of `vehicle` with the losses `loss` (None: its own), added if it is new."""
        loss = vehicle.battery.loss if loss is None else loss
        number = self._number.get((vehicle, loss))
        return self._add(vehicle, loss) if number is None else number

    def _add(self, vehicle: Vehicle, loss: LossCurve) -> int:
        number = self._number[vehicle, loss] = len(self._number)
        column = _column(vehicle, loss).copy()
        column[CLASS - CAR] = number
        self.columns = np.column_stack([self.columns, column])
        battery = vehicle.battery
        charging = _pieces(battery.charge, battery.capacity_kwh, is_discharge=False)
        back = battery.discharge
        discharging = _NO_PIECE if back is None else _pieces(back, battery.capacity_kwh, is_discharge=True)
        width = max(self._width, charging.shape[1], discharging.shape[1])
        known = [self._pieces[:, first : first + self._width] for first in range(0, self._pieces.shape[1], self._width)]
        self._pieces = np.concatenate([_padded(curve, width) for curve in (*known, charging, discharging)], axis=1)
        self._width = width
        self._between = np.ascontiguousarray(self._pieces[_KNOT].reshape(-1, width)[:, :-1].T)
        self.has_standby |= loss.standby_kw > 0.0
        self.has_rises |= bool((self._pieces[SLOPE - LINE] > 0.0).any())
        self.is_quadratic |= loss.quadratic_per_kw > 0.0
        return number

    def place(self, b: Floats, *, has_discharge: bool) -> None:
        """Put the cars of `b` on the piece of their curve that lies ahead of u in direction TO, and clip their orders.

        At its ceiling or floor a car stands on a line of 0 kW without an end. An order against the direction of flow
        is clipped to 0: it needs the car turned round and placed anew.
        """
        curve, stop = 2.0 * b[CLASS], b[HIGH]
        if has_discharge:
            is_down = b[TO] < 0.0
            curve += is_down
            stop = np.where(is_down, -b[LOW], stop)
        b[LINE : KNOT + 1], stopped = self.ahead(curve.astype(np.intp), b[U], b[CAPACITY], stop)
        b[TOP] = b[MAX_C]
        if has_discharge:
            b[BOTTOM] = -b[MAX_D]
            b[TOP, is_down] = b[BOTTOM, ~is_down] = 0.0
        if stopped.size:
            b[TOP, stopped] = b[BOTTOM, stopped] = 0.0

    def ahead(
        self, curve: NDArray[np.integer], u: Floats, capacity: Floats, stop: Floats
    ) -> tuple[Floats, Ints]:
        """LINE to KNOT of the piece of each curve that lies ahead of u, and which cars stand at their `stop`.

        curve: 2*class, and 1 more for discharging.
        """
        reach = 1e-12 * capacity
        reach += u
        at = curve * self._width
        at += np.add.reduce(self._between.take(curve, axis=1) <= reach, axis=0, dtype=np.intp)
        piece: Floats = self._pieces.take(at, axis=1)
        np.minimum(piece[_KNOT], stop, out=piece[_KNOT])
        stopped = (reach >= stop).nonzero()[0]
        if stopped.size:
            piece[:, stopped] = _NO_PIECE
        return piece, stopped


def _padded(table: Floats, width: int) -> Floats:
    """`table` with its last column repeated; a padded knot is never passed, since reach stays below the last."""
    missing = width - table.shape[1]
    return np.concatenate([table, np.repeat(table[:, -1:], missing, axis=1)], axis=1) if missing else table


_KNOT = KNOT - LINE
_NO_PIECE = np.array([[value] for _, value in NO_PIECE])


@lru_cache(maxsize=1024)
def _column(vehicle: Vehicle, loss: LossCurve) -> Floats:
    battery = vehicle.battery
    capacity = battery.capacity_kwh
    return np.array([
        capacity, battery.soc_min * capacity, battery.soc_max * capacity, vehicle.max_charge_kw,
        deliverable_kw(vehicle, loss), vehicle.min_discharge_kw, loss.standby_kw, loss.proportional,
        1.0 + loss.proportional, loss.quadratic_per_kw, off_kw(vehicle, loss), 0.0,
    ])


_LEVEL_KW_PER_KWH = 1e-200
"""A slope so small that no energy there is could tell it from none; what is divided by it must not overflow."""


@lru_cache(maxsize=1024)
def _pieces(curve: PowerCurve, capacity: float, *, is_discharge: bool) -> Floats:
    """LINE, SLOPE, HEIGHT and KNOT of the pieces of `curve` along the flow; a level and the fall behind it are one."""
    u, kw = capacity * np.array(curve.soc), np.array(curve.kw)
    if is_discharge:
        u, kw = -u[::-1], kw[::-1]
    slope = np.diff(kw) / np.diff(u)
    slope[np.abs(slope) < _LEVEL_KW_PER_KWH] = 0.0
    is_level = slope == 0.0
    line = np.where(is_level, np.inf, kw[:-1] - slope * u[:-1])
    height = np.where(is_level, kw[:-1], np.inf)
    falls_then = is_level & (np.append(slope[1:], 0.0) < 0.0)
    slope[is_level] = -1.0
    pieces = np.array([line, slope, height, u[1:]])
    height_before = np.where(falls_then, height, np.inf)[:-1]
    pieces[HEIGHT - LINE, 1:] = np.minimum(height[1:], height_before)
    return pieces[:, ~falls_then]
