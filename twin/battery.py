"""The state of all cars of a station park, exact between events.

One slot per EVSE, struct-of-arrays in numpy. Between two orders every slot runs through *segments* in which
the battery-side power is P(e) = P0 + k*(e - e0): constant (k = 0), or following a piece of its power curve
(taper). Both have closed forms, so nothing depends on how finely time is cut:

    moved energy    X(t) = P0 * t * expm1(k t) / (k t)            [kWh, t in h]
    integral of P^2      = P0^2 * t * expm1(2 k t) / (2 k t)      [for the quadratic loss]
    time to move dx      = dx / P0 * log1p(k dx / P0) / (k dx / P0)

`advance` only moves the clock and turns over the segments that end; values are computed when asked for,
from the start of the segment, so a thousand small advances equal one large one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import Evse, LossCurve, PowerCurve, Vehicle, pair_limits
from twin.ledger import Ledger

Floats = NDArray[np.float64]
Slots = NDArray[np.intp]

SETPOINT_TOLERANCE_KW: Final = 1e-6
"""A set-point this close below a minimum counts as the minimum, this close to 0 as 0 (rounding of a schedule)."""

# Rows of the segment matrix: state at the start of the running segment, and where it ends.
T0, E0, P0, K, SIGN, STANDBY, T1, E1, IMPORT, EXPORT, LOSS, PLUG_E, GAINED = range(13)
# Rows of the vehicle matrix.
CAP, LOW, HIGH, MAX_C, MAX_D, MIN_D, V_STANDBY, PROP, QUAD, P_OFF, ASK, P_ASK, IS_PLUGGED = range(13)
# Rows of the curves: energy, power, slope to the next knot.
X, P, SLOPE = range(3)


def usable_setpoint(evse: Evse, vehicle: Vehicle, kw: float) -> float:
    """The connector power in kW that `evse` and `vehicle` make of the set-point `kw`.

    Clipped to both ratings; charging below the EVSE's minimum (6 A, IEC 61851-1) and discharging below
    the car's minimum give 0.
    """
    pair = pair_limits(evse, vehicle)
    if kw > 0.0:
        most, least = pair.max_charge_kw, pair.min_charge_kw
    else:
        most, least = pair.max_discharge_kw, pair.min_discharge_kw
    usable = min(abs(kw), most)
    enough = max(least - SETPOINT_TOLERANCE_KW, SETPOINT_TOLERANCE_KW)
    return math.copysign(usable, kw) if usable >= enough else 0.0


def growth(y: Floats) -> Floats:
    """expm1(y) / y, and its limit 1 at y = 0."""
    still = y == 0.0
    divisor = np.where(still, 1.0, y)
    return np.where(still, 1.0, np.expm1(divisor) / divisor)


def slowing(z: Floats) -> Floats:
    """log1p(z) / z for z >= -1, and its limits 1 at z = 0 and inf at z = -1."""
    still = z == 0.0
    divisor = np.where(still, 1.0, z)
    with np.errstate(divide="ignore"):
        return np.where(still, 1.0, np.log1p(divisor) / divisor)


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


def _deliverable_kw(vehicle: Vehicle, loss: LossCurve) -> float:
    """Largest power that leaves the connector; above it the quadratic loss eats more than is added."""
    if loss.quadratic_per_kw == 0.0:
        return vehicle.max_discharge_kw
    peak = (1.0 - loss.proportional) ** 2 / (4.0 * loss.quadratic_per_kw) - loss.standby_kw
    return min(vehicle.max_discharge_kw, max(peak, 0.0))


class SlotOccupied(ValueError):
    """A car was plugged in where another one stands."""


class FleetState:
    """Cars at `n` EVSE slots and the energy that passed each connector since the start.

    Powers are at the connector, kW, positive when charging. Energies are kWh. `import_kwh`, `export_kwh`
    and `loss_kwh` count per slot over all cars and never fall. Arrays that are handed out are copies.
    """

    def __init__(
        self, n: int, vehicles: Sequence[Vehicle] = (), *, losses: Sequence[LossCurve | None] | None = None,
        keep_history: bool = False,
    ) -> None:
        self.n = n
        self._classes: list[tuple[Vehicle, LossCurve]] = []
        for vehicle, loss in zip(vehicles, losses or [None] * len(vehicles), strict=True):
            self.class_of(vehicle, loss)
        self.now_s = 0.0
        self._all = np.arange(n, dtype=np.intp)
        self._s = np.zeros((13, n))
        self._s[T1] = np.inf
        self._v = np.zeros((13, n))
        self._v[CAP] = 1.0
        self._v[HIGH] = 1.0
        # Curves against the energy moved in the direction of flow: [row, direction, slot, knot].
        self._curves = np.zeros((3, 2, n, 2))
        self._curves[X, :, :, 1] = 2.0
        self._next_s = math.inf
        self._now: tuple[float, Floats] | None = None
        self._history: list[tuple[Slots, float, Floats, Floats]] | None = [] if keep_history else None

    # ------------------------------------------------------------------ orders

    def class_of(self, vehicle: Vehicle, loss: LossCurve | None = None) -> int:
        """The class of cars of type `vehicle` with the losses of the pair (None: the car's own), added if new."""
        known = (vehicle, vehicle.battery.loss if loss is None else loss)
        if known not in self._classes:
            self._classes.append(known)
        return self._classes.index(known)

    def plug_many(
        self, slots: Slots, classes: Slots, energy_kwh: Floats, floor_kwh: Floats, ceiling_kwh: Floats
    ) -> None:
        """Plug in cars at distinct empty slots; see `plug`. Arrays of one value per slot; ceilings may be inf.

        classes: from `class_of`.
        """
        for slot, number, energy, floor, ceiling in zip(
            slots.tolist(), classes.tolist(), energy_kwh.tolist(), floor_kwh.tolist(), ceiling_kwh.tolist(), strict=True
        ):
            vehicle, loss = self._classes[number]
            self.plug(slot, vehicle, energy, floor_kwh=floor, ceiling_kwh=ceiling, loss=loss)

    def unplug_many(self, slots: Slots) -> Floats:
        """Take the cars at distinct slots away; the energy in each battery in kWh, 0 for an empty slot."""
        return np.array([self.unplug(slot) for slot in slots.tolist()])

    def plug(
        self, slot: int, vehicle: Vehicle, energy_kwh: float, *, floor_kwh: float = 0.0, ceiling_kwh: float = math.inf,
        loss: LossCurve | None = None,
    ) -> None:
        """Plug in a car with `energy_kwh` in its battery; it idles until `set_power`.

        floor_kwh: discharge stops there; ceiling_kwh: charging stops there (both beside the car's own window).

        Raises:
            SlotOccupied: another car is plugged in.
            ValueError: the energy is not between 0 and the capacity.
        """
        if self._v[IS_PLUGGED, slot]:
            raise SlotOccupied(f"slot {slot}: a car is plugged in, expected an empty slot")
        battery = vehicle.battery
        capacity = battery.capacity_kwh
        if not 0.0 <= energy_kwh <= capacity * (1 + 1e-9):
            raise ValueError(f"energy_kwh: {energy_kwh!r}, expected between 0 and {capacity} kWh")
        only = self._all[slot : slot + 1]
        self._settle(only)
        loss = battery.loss if loss is None else loss
        can_deliver = _deliverable_kw(vehicle, loss)
        quietest = max(vehicle.min_discharge_kw, 0.0)
        # Below this battery power a discharge that follows the curve feeds nothing but its own losses, and stops.
        p_off = -battery_kw(vehicle, -quietest, loss) if quietest else self._idle_discharge_kw(loss)
        self._v[:, slot] = (
            capacity, max(battery.soc_min * capacity, floor_kwh), min(battery.soc_max * capacity, ceiling_kwh),
            vehicle.max_charge_kw, can_deliver, vehicle.min_discharge_kw,
            loss.standby_kw, loss.proportional, loss.quadratic_per_kw, p_off, 0.0, 0.0, 1.0,
        )
        self._load_curve(0, slot, capacity, battery.charge, is_reversed=False)
        if battery.discharge is not None:
            self._load_curve(1, slot, capacity, battery.discharge, is_reversed=True)
        self._s[E0, slot] = self._s[PLUG_E, slot] = energy_kwh
        self._begin(only, self._s[:, only], self._v[:, only])

    def unplug(self, slot: int) -> float:
        """Take the car away and return the energy in its battery in kWh; 0 for an empty slot."""
        only = self._all[slot : slot + 1]
        self._settle(only)
        energy = float(self._s[E0, slot])
        self._s[GAINED, slot] += energy - self._s[PLUG_E, slot]
        self._s[E0, slot] = self._s[PLUG_E, slot] = 0.0
        self._v[:, slot] = 0.0
        self._v[CAP, slot] = self._v[HIGH, slot] = 1.0
        self._begin(only, self._s[:, only], self._v[:, only])
        return energy

    def set_power(self, slot: int, connector_kw: float) -> None:
        """Ask for a power at one connector; clipped to what the car and its curves allow; 0 on an empty slot."""
        self.set_powers(self._all[slot : slot + 1], np.array([connector_kw]))

    def set_powers(self, slots: Slots | None, connector_kw: Floats) -> None:
        """Ask for powers at several distinct connectors at once; slots None: at all, one value per slot.

        With None every slot is booked up to now, so that the `*_at_now` rows are current without further work.
        """
        slots = self._all if slots is None else slots
        v = self._v[:, slots]
        ask = np.minimum(np.maximum(connector_kw, -v[MAX_D]), v[MAX_C])
        least = np.where(ask < 0.0, v[MIN_D] - SETPOINT_TOLERANCE_KW, 0.0)
        ask = np.where(np.abs(ask) < np.maximum(least, SETPOINT_TOLERANCE_KW), 0.0, ask)
        changed = ask != v[ASK]
        if not changed.any():
            return
        slots, ask = slots[changed], ask[changed]
        s, v = self._settle(slots)
        sign = np.sign(ask)
        slope = 1.0 + sign * v[PROP]
        through = np.maximum(np.abs(ask) - sign * v[V_STANDBY], 0.0)
        root = np.sqrt(np.maximum(slope * slope + 4.0 * sign * v[QUAD] * through, 0.0))
        v[ASK] = ask
        v[P_ASK] = 2.0 * through / (slope + root)
        self._v[:, slots] = v
        self._begin(slots, s, v)

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises a `ValueError` if `seconds` is negative."""
        if seconds < 0:
            raise ValueError(f"seconds: {seconds!r}, expected 0 or more")
        self.advance_to(self.now_s + seconds)

    def advance_to(self, until_s: float) -> None:
        """Let time pass until `until_s` seconds after the start; segments that end on the way are turned over."""
        while self._next_s <= until_s:
            self.now_s = max(self._next_s, self.now_s)
            ended = np.flatnonzero(self._s[T1] <= self.now_s)
            self._begin(ended, *self._settle(ended))
        self.now_s = max(until_s, self.now_s)

    # ------------------------------------------------------------------ what can be read

    @property
    def is_plugged(self) -> NDArray[np.bool_]:
        plugged: NDArray[np.bool_] = self._v[IS_PLUGGED] > 0.0
        return plugged

    @property
    def power_kw(self) -> Floats:
        """Connector power now."""
        p = self._read()[0]
        s, v = self._s, self._v
        power: Floats = s[SIGN] * p + s[STANDBY] + v[PROP] * p + v[QUAD] * p * p
        return power

    @property
    def energy_kwh(self) -> Floats:
        """Energy in each battery now; NaN on an empty slot."""
        return np.where(self.is_plugged, self._row(1), np.nan)

    @property
    def soc(self) -> Floats:
        """State of charge 0..1; NaN on an empty slot."""
        soc: Floats = self.energy_kwh / self._v[CAP]
        return soc

    @property
    def energy_at_now(self) -> Floats:
        """Energy in each battery now, 0 on an empty slot: a row to read at once, not to keep or change."""
        return self._read()[1]

    @property
    def import_at_now(self) -> Floats:
        """As `import_kwh`: a row to read at once, not to keep or change."""
        return self._read()[2]

    @property
    def export_at_now(self) -> Floats:
        """As `export_kwh`: a row to read at once, not to keep or change."""
        return self._read()[3]

    @property
    def loss_at_now(self) -> Floats:
        """As `loss_kwh`: a row to read at once, not to keep or change."""
        return self._read()[4]

    @property
    def import_kwh(self) -> Floats:
        """Energy that came in through each connector since the start."""
        return self._row(2)

    @property
    def export_kwh(self) -> Floats:
        """Energy that went out through each connector since the start."""
        return self._row(3)

    @property
    def loss_kwh(self) -> Floats:
        return self._row(4)

    def ledger(self) -> Ledger:
        """All energy since the start, per slot, in double entry."""
        _, energy, imported, exported, lost = self._read()
        stored = self._s[GAINED] + (energy - self._s[PLUG_E])
        return Ledger(imported.copy(), exported.copy(), stored, lost.copy())

    def registers(self, slot: int) -> tuple[float, float]:
        """Import and export of one connector since the start, in kWh, as its meter counts them."""
        row = at_time(self._s[:, slot : slot + 1], self._v[:, slot : slot + 1], self.now_s)
        return float(row[2, 0]), float(row[3, 0])

    def registers_many(self, slots: Slots) -> tuple[Floats, Floats, Floats]:
        """Import, export and loss of several slots since the start, in kWh."""
        row = at_time(self._s[:, slots], self._v[:, slots], self.now_s)
        return row[2], row[3], row[4]

    def next_change_s(self) -> float:
        """Seconds until some slot's power changes its course by itself (taper, full, floor); inf if none will."""
        return max(self._next_s - self.now_s, 0.0)

    def history(self) -> tuple[Slots, Floats, Floats, Floats]:
        """All segments so far: slot, end time in s, segment rows (row, segment), vehicle rows (row, segment).

        Kept only with `keep_history`; closes the running segments at the present time.
        """
        if self._history is None:
            raise RuntimeError("history was not kept, expected FleetState(n, keep_history=True)")
        self._settle(self._all)
        slots = np.concatenate([entry[0] for entry in self._history])
        ends = np.concatenate([np.full(entry[0].size, entry[1]) for entry in self._history])
        segments = np.concatenate([entry[2] for entry in self._history], axis=1)
        vehicles = np.concatenate([entry[3] for entry in self._history], axis=1)
        return slots, ends, segments, vehicles

    # ------------------------------------------------------------------ segments

    def _read(self) -> Floats:
        """Rows power, energy, import, export, loss of all slots at the present time."""
        if self._now is not None and self._now[0] == self.now_s:
            return self._now[1]
        rows = at_time(self._s, self._v, self.now_s)
        self._now = (self.now_s, rows)
        return rows

    def _row(self, row: int) -> Floats:
        copy: Floats = self._read()[row].copy()
        return copy

    def _settle(self, slots: Slots) -> tuple[Floats, Floats]:
        """Book the running segments of `slots` up to now and restart them there; return their rows s and v."""
        s = self._s[:, slots]
        v = self._v[:, slots]
        if self._history is not None:
            self._history.append((slots, self.now_s, s.copy(), v.copy()))
        rows = at_time(s, v, self.now_s)
        s[E0] = rows[1]
        s[IMPORT : LOSS + 1] = rows[2:]
        s[P0] = rows[0]
        s[T0] = self.now_s
        self._s[:, slots] = s
        self._now = None
        return s, v

    def _begin(self, slots: Slots, s: Floats, v: Floats) -> None:
        """Find the segment that each of `slots` runs through next; s and v are their rows, s is changed."""
        capacity, low, high, ask, wanted = v[CAP], v[LOW], v[HIGH], v[ASK], v[P_ASK]
        energy = s[E0]
        sign = np.sign(ask)
        down = sign < 0.0
        here = np.where(down, capacity - energy, energy)
        stop = np.where(down, capacity - low, high)
        reach = here + 1e-12 * capacity
        is_off = (ask == 0.0) | (reach >= stop)
        curves = self._curves[:, down.astype(np.intp), slots]

        rows = self._all[: slots.size]
        piece = (curves[X, :, 1:-1] <= reach[:, None]).sum(axis=1)
        x, p, slope = curves[:, rows, piece]
        limit = p + slope * (here - x)
        close = 1e-11 * (1.0 + wanted)
        is_limited = wanted > limit + np.where(slope < 0.0, -close, close)

        # Constant power lasts until the curve first falls below it ...
        power, rate, end = wanted, np.zeros_like(wanted), stop
        is_under = (curves[P, :, 1:] < wanted[:, None]) & (curves[X, :, 1:] > reach[:, None])
        if is_under.any():
            fall = is_under.argmax(axis=1)
            x_fall, p_fall, steepness = curves[:, rows, fall]
            falls = is_under[rows, fall] & (steepness < 0.0)
            end = np.where(falls, x_fall + (wanted - p_fall) / np.where(falls, steepness, 1.0), stop)
        if is_limited.any():
            # ... and the curve is followed until its next knot, the wanted power, or the power that feeds nothing.
            off_kw = np.where(down, v[P_OFF], 0.0)
            is_flat = slope == 0.0
            to_meet = (np.where(slope > 0.0, wanted, off_kw) - limit) / np.where(is_flat, 1.0, slope)
            met = here + np.where(is_flat, np.inf, to_meet)
            end = np.where(is_limited, np.minimum(curves[X, rows, piece + 1], met), end)
            power = np.where(is_limited, np.maximum(limit, 0.0), wanted)
            rate = np.where(is_limited, slope, 0.0)
            is_off |= is_limited & (limit <= off_kw + 1e-12)
        is_last = end >= stop
        way = np.maximum(np.minimum(end, stop) - here, 0.0)
        is_flowing = ~is_off & (power > 0.0)
        hours = way / np.where(is_flowing, power, 1.0)
        if rate.any():
            hours = hours * slowing(np.maximum(rate * hours, -1.0))

        s[P0] = np.where(is_flowing, power, 0.0)
        s[K] = np.where(is_flowing, rate, 0.0)
        s[SIGN] = np.where(is_off, 0.0, sign)
        # Charging below the standby loss is lost as a whole.
        s[STANDBY] = np.where(is_off, 0.0, np.where(down, v[V_STANDBY], np.minimum(v[V_STANDBY], np.abs(ask))))
        s[T1] = np.where(is_flowing, self.now_s + 3600.0 * hours, np.inf)
        s[E1] = np.where(is_last, np.where(down, low, high), energy + sign * way)
        self._s[:, slots] = s
        self._next_s = float(self._s[T1].min())
        self._now = None

    def _load_curve(self, way: int, slot: int, capacity: float, curve: PowerCurve, *, is_reversed: bool) -> None:
        soc, kw = np.array(curve.soc), np.array(curve.kw)
        x = capacity * (1.0 - soc[::-1]) if is_reversed else capacity * soc
        kw = kw[::-1] if is_reversed else kw
        self._widen(x.size)
        knots = self._curves.shape[3]
        beyond = capacity * np.arange(2, 2 + knots - x.size)
        x = np.concatenate([x, beyond])
        kw = np.concatenate([kw, np.full(beyond.size, kw[-1])])
        self._curves[:, way, slot] = x, kw, np.append(np.diff(kw) / np.diff(x), 0.0)

    def _widen(self, knots: int) -> None:
        """Make room for curves of more knots; the extra ones lie beyond the full battery, on a level line."""
        missing = knots - self._curves.shape[3]
        if missing <= 0:
            return
        last = self._curves[..., -1:]
        further = np.repeat(last, missing, axis=3)
        further[X] *= np.arange(2, 2 + missing)
        further[SLOPE] = 0.0
        self._curves = np.concatenate([self._curves, further], axis=3)

    @staticmethod
    def _idle_discharge_kw(loss: LossCurve) -> float:
        """Battery power at which the connector gets nothing: b - loss(b) = 0."""
        slope = 1.0 - loss.proportional
        under_root = max(slope * slope - 4.0 * loss.quadratic_per_kw * loss.standby_kw, 0.0)
        return 2.0 * loss.standby_kw / (slope + math.sqrt(under_root))


def at_time(s: Floats, v: Floats, at_s: float | Floats) -> Floats:
    """Rows power (battery side, unsigned), energy, import, export, loss at `at_s` seconds.

    s, v: segment and vehicle rows of shape (row, segment); `at_s` lies within each segment.
    Pure: the segments stay as they are.
    """
    hours = (at_s - s[T0]) * (1.0 / 3600.0)
    p0, rate, sign = s[P0], s[K], s[SIGN]
    power = p0
    moved = p0 * hours
    squared = p0 * moved
    if rate.any():
        exponent = rate * hours
        moved = moved * growth(exponent)
        squared = squared * growth(2.0 * exponent)
        power = p0 * np.exp(exponent)
    lost = s[STANDBY] * hours + v[PROP] * moved + v[QUAD] * squared
    through = sign * moved + lost
    rows = np.empty((5, hours.size))
    rows[0] = power
    rows[1] = np.where(s[T1] <= at_s, s[E1], s[E0] + sign * moved)
    rows[2] = s[IMPORT] + np.where(sign > 0.0, through, 0.0)
    rows[3] = s[EXPORT] - np.where(sign < 0.0, np.minimum(through, 0.0), 0.0)
    rows[4] = s[LOSS] + lost
    return rows
