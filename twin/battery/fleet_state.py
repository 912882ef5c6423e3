"""The state of all cars of a station park, exact between events.

One slot per EVSE, struct-of-arrays in numpy. Between two orders every slot runs through segments of constant power
or of taper that have closed forms (see `twin.battery.segment`), so nothing depends on how finely time is cut.

`advance` only moves the clock. Whoever looks finds, for all slots at once, where their segments have led; the few
whose segments have ended meanwhile are turned over, each at its own time. Slots never influence one another, so a
slot may be handled at a time of its own (`at_s`) after the clock has moved on, as long as nobody has looked since.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import Evse, LossCurve, Vehicle, pair_limits
from twin.battery.segment import (
    ASK,
    BEGIN_S,
    BOTTOM,
    CAPACITY,
    END,
    EXPORT,
    FLOW,
    GAINED,
    GONE,
    HIGH,
    HOURS_PER_SECOND,
    IMPORT,
    IS_PLUGGED,
    KNOT,
    LIMIT,
    LINE,
    LOSS,
    LOST,
    LOW,
    MAX_D,
    MIN_D,
    MOVED,
    MOVING,
    ORDER,
    PLUG_E,
    PROPORTIONAL,
    QUADRATIC,
    RATE,
    ROWS,
    SCRATCH_ROWS,
    SLOPE,
    SPARE,
    STANDBY,
    THROUGH,
    TO,
    TOP,
    U_NOW,
    WANT,
    B,
    Floats,
    Slots,
    Traits,
    U,
    at_chosen,
    begin,
    book,
    follow_limit,
    integrate,
    move,
    time_to_end,
)
from twin.battery.segment_history import SegmentHistory
from twin.battery.vehicle_class import ClassTable, battery_kw
from twin.ledger import Ledger

__all__ = [
    "SETPOINT_TOLERANCE_KW", "FleetState", "SegmentHistory", "SlotOccupied", "battery_kw", "usable_setpoint",
]

SETPOINT_TOLERANCE_KW: Final = 1e-6
"""A set-point this close below a minimum counts as the minimum, this close to 0 as 0 (rounding of a schedule)."""

_NOBODY: Final = np.zeros(0, dtype=np.intp)


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


class SlotOccupied(ValueError):
    """A car was plugged in where another one stands."""


class FleetState:
    """Cars at `n` EVSE slots and the energy that passed each connector since the start.

    Powers are at the connector, kW, positive when charging. Energies are kWh. `import_kwh`, `export_kwh`
    and `loss_kwh` count per slot over all cars and never fall. Arrays that are handed out are copies, but for the
    rows named `*_at_now`.

    vehicles, losses: classes of cars known from the start, numbered in this order (see `class_of`).
    """

    def __init__(
        self, n: int, vehicles: Sequence[Vehicle] = (), *, losses: Sequence[LossCurve | None] | None = None,
        keep_history: bool = False,
    ) -> None:
        self.n = n
        self.now_s = 0.0
        self._classes = ClassTable()
        for vehicle, loss in zip(vehicles, losses or [None] * len(vehicles), strict=True):
            self.class_of(vehicle, loss)
        self._all = np.arange(n, dtype=np.intp)
        self._b = np.zeros((ROWS, n))
        self._b[[TO, CAPACITY]] = 1.0
        self._b[[KNOT, END]] = np.inf
        self._x = np.zeros((SCRATCH_ROWS, n))
        self._has_discharge = False
        self._is_tapering = np.zeros(n, dtype=np.bool_)
        self._tapering: Slots | None = _NOBODY
        # What of the scratch matrix holds now: the hours since the segments' begin (None: nothing), and the energies.
        self._hours: float | Floats | None = None
        self._is_integrated = False
        # All segments began at this time, NaN where they differ.
        self._began_s = 0.0
        self._history: list[tuple[Slots, Floats, Floats, Floats]] | None = [] if keep_history else None

    # ------------------------------------------------------------------ orders

    def class_of(self, vehicle: Vehicle, loss: LossCurve | None = None) -> int:
        """The class of cars of type `vehicle` with the losses of the pair (None: the car's own), added if new."""
        return self._classes.number(vehicle, loss)

    def plug(
        self, slot: int, vehicle: Vehicle, energy_kwh: float, *, floor_kwh: float = 0.0, ceiling_kwh: float = math.inf,
        loss: LossCurve | None = None,
    ) -> None:
        """Plug in a car with `energy_kwh` in its battery; it idles until `set_power`.

        floor_kwh: discharge stops there; ceiling_kwh: charging stops there (both beside the car's own window).
        loss: between grid and battery, of the pair (see `pair_loss`); None: the car's own.

        Raises:
            SlotOccupied: another car is plugged in.
            ValueError: the energy is not between 0 and the capacity.
        """
        self.plug_many(
            self._all[slot : slot + 1], np.array([self.class_of(vehicle, loss)]), np.array([energy_kwh]),
            np.array([floor_kwh]), np.array([ceiling_kwh]),
        )

    def plug_many(
        self, slots: Slots, classes: NDArray[np.integer], energy_kwh: Floats, floor_kwh: Floats, ceiling_kwh: Floats,
        at_s: Floats | None = None,
    ) -> None:
        """Plug in cars at distinct slots; arguments and errors of `plug`, one value per slot.

        classes: from `class_of`. at_s: when each came, not after now; None: now.
        """
        if self._b[IS_PLUGGED, slots].any():
            taken = int(slots[self._b[IS_PLUGGED, slots].argmax()])
            raise SlotOccupied(f"slot {taken}: a car is plugged in, expected an empty slot")
        columns = self._classes.columns[:, classes]
        capacity = columns[CAPACITY - MOVING]
        is_possible = (energy_kwh >= 0.0) & (energy_kwh <= capacity * (1 + 1e-9))
        if not is_possible.all():
            wrong = int(is_possible.argmin())
            raise ValueError(
                f"energy_kwh: {float(energy_kwh[wrong])!r}, expected between 0 and {float(capacity[wrong])} kWh"
            )
        # Nothing flows at an empty connector: there is no segment to book, only one that starts later.
        b = self._b.take(slots, axis=1)
        begin_s: float | Floats = self.now_s if at_s is None else at_s
        if (b[BEGIN_S] > begin_s).any() or (at_s is not None and (at_s > self.now_s).any()):
            raise self._wrong_time(begin_s)
        self._record(slots, begin_s, b, b[U])
        b[BEGIN_S] = begin_s
        self._unsettle(begin_s)
        b[MOVING:] = columns
        np.maximum(b[LOW], floor_kwh, out=b[LOW])
        np.minimum(b[HIGH], ceiling_kwh, out=b[HIGH])
        b[U] = b[PLUG_E] = energy_kwh
        self._classes.place(b, has_discharge=self._has_discharge)
        b[END] = b[KNOT]
        self._b[:, slots] = b

    def unplug(self, slot: int) -> float:
        """Take the car away and return the energy in its battery in kWh; 0 for an empty slot."""
        return float(self.unplug_many(self._all[slot : slot + 1])[0])

    def unplug_many(self, slots: Slots, at_s: Floats | None = None) -> Floats:
        """Take the cars at distinct slots away; the energy in each battery in kWh, 0 for an empty slot.

        at_s: when each left, not after now; None: now.
        """
        b, _ = self._settled(slots, at_s)
        energy: Floats = b[TO] * b[U]
        b[GAINED] += energy - b[PLUG_E]
        b[[U, B, RATE, FLOW, LOST, LINE, SLOPE, ORDER, ASK, WANT, TOP, BOTTOM, PLUG_E]] = 0.0
        b[MOVING:] = 0.0
        b[[TO, CAPACITY]] = 1.0
        b[[KNOT, END]] = np.inf
        self._b[:, slots] = b
        self._mark_tapering(slots, b)
        return energy

    def set_power(self, slot: int, connector_kw: float) -> None:
        """Ask for a power at one connector; clipped to what the car and its curves allow; 0 on an empty slot."""
        self.set_powers(self._all[slot : slot + 1], np.array([connector_kw]))

    def set_powers(self, slots: Slots | None, connector_kw: Floats, at_s: Floats | None = None) -> None:
        """Ask for powers at several distinct connectors at once; slots None: at all, one value per slot.

        None is the way to go where most slots change: it works on whole rows, and books every slot up to now, so that
        the rows `*_at_now` cost nothing more. at_s: when each was asked, not after now; None: now.
        """
        if slots is None:
            self._settle_all()
            self._order(self._b, self._x, connector_kw)
            self._mark_tapering(slice(None), self._b)
            return
        is_new = connector_kw != self._b[ORDER, slots]
        if not is_new.all():
            slots, connector_kw = slots[is_new], connector_kw[is_new]
            at_s = None if at_s is None else at_s[is_new]
        if slots.size:
            b, x = self._settled(slots, at_s)
            self._order(b, x, connector_kw)
            self._b[:MOVING, slots] = b[:MOVING]
            self._mark_tapering(slots, b)

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises a `ValueError` if `seconds` is negative."""
        if seconds < 0:
            raise ValueError(f"seconds: {seconds!r}, expected 0 or more")
        self.advance_to(self.now_s + seconds)

    def advance_to(self, until_s: float) -> None:
        """Let time pass until `until_s` seconds after the start; a time in the past changes nothing."""
        if until_s > self.now_s:
            self.now_s = until_s
            self._hours = None
            self._is_integrated = False

    # ------------------------------------------------------------------ what can be read

    @property
    def is_plugged(self) -> NDArray[np.bool_]:
        plugged: NDArray[np.bool_] = self._b[IS_PLUGGED] > 0.0
        return plugged

    @property
    def power_kw(self) -> Floats:
        """Connector power now."""
        hours = self._look()
        b, tapering = self._b, self._tapering_slots()
        power: Floats = b[FLOW].copy()
        if tapering.size:
            t = b[:, tapering]
            here = t[B] * np.exp(t[RATE] * (hours if isinstance(hours, float) else hours[tapering]))
            power[tapering] = t[TO] * here + t[STANDBY] + t[PROPORTIONAL] * here + t[QUADRATIC] * here * here
        return power

    @property
    def energy_kwh(self) -> Floats:
        """Energy in each battery now; NaN on an empty slot."""
        self._look()
        return np.where(self.is_plugged, self._b[TO] * self._x[U_NOW], np.nan)

    @property
    def soc(self) -> Floats:
        """State of charge 0..1; NaN on an empty slot."""
        soc: Floats = self.energy_kwh / self._b[CAPACITY]
        return soc

    @property
    def import_kwh(self) -> Floats:
        """Energy that came in through each connector since the start."""
        self._look_at_energies()
        imported: Floats = self._b[IMPORT] + np.maximum(self._x[THROUGH], 0.0)
        return imported

    @property
    def export_kwh(self) -> Floats:
        """Energy that went out through each connector since the start."""
        self._look_at_energies()
        exported: Floats = self._b[EXPORT] - np.minimum(self._x[THROUGH], 0.0)
        return exported

    @property
    def loss_kwh(self) -> Floats:
        self._look_at_energies()
        lost: Floats = self._b[LOSS] + self._x[GONE]
        return lost

    @property
    def energy_at_now(self) -> Floats:
        """Energy in each battery now, 0 on an empty slot: a row to read at once, not to keep or change.

        This and the other rows `*_at_now` book all slots up to now, as `set_powers(None, ...)` does.
        """
        self._settle_all()
        energy: Floats = self._b[U]
        return np.multiply(self._b[TO], energy, out=self._x[SPARE]) if self._has_discharge else energy

    @property
    def import_at_now(self) -> Floats:
        """As `import_kwh`: a row to read at once, not to keep or change."""
        self._settle_all()
        imported: Floats = self._b[IMPORT]
        return imported

    @property
    def export_at_now(self) -> Floats:
        """As `export_kwh`: a row to read at once, not to keep or change."""
        self._settle_all()
        exported: Floats = self._b[EXPORT]
        return exported

    @property
    def loss_at_now(self) -> Floats:
        """As `loss_kwh`: a row to read at once, not to keep or change."""
        self._settle_all()
        lost: Floats = self._b[LOSS]
        return lost

    def ledger(self) -> Ledger:
        """All energy since the start, per slot, in double entry."""
        imported, exported, lost = self.import_kwh, self.export_kwh, self.loss_kwh
        stored = self._b[GAINED] + (self._b[TO] * self._x[U_NOW] - self._b[PLUG_E])
        return Ledger(imported, exported, stored, lost)

    def registers(self, slot: int) -> tuple[float, float]:
        """Import and export of one connector since the start, in kWh, as its meter counts them."""
        imported, exported, _ = self.registers_many(self._all[slot : slot + 1])
        return float(imported[0]), float(exported[0])

    def registers_many(self, slots: Slots, at_s: Floats | None = None) -> tuple[Floats, Floats, Floats]:
        """Import, export and loss of several slots since the start, in kWh; at_s as in `set_powers`."""
        if (self._b[BEGIN_S, slots] == (self.now_s if at_s is None else at_s)).all():
            return self._b[IMPORT, slots], self._b[EXPORT, slots], self._b[LOSS, slots]
        b, x, hours = self._moved(slots, at_s)
        integrate(b, hours, np.flatnonzero(b[RATE]), x, is_quadratic=self._classes.is_quadratic)
        through = x[THROUGH]
        return b[IMPORT] + np.maximum(through, 0.0), b[EXPORT] - np.minimum(through, 0.0), b[LOSS] + x[GONE]

    def next_change_s(self) -> float:
        """Seconds until some slot's power changes its course by itself (taper, full, floor); inf if none will."""
        self._look()
        hours, _ = time_to_end(self._b)
        ends = (self._b[BEGIN_S] - self.now_s) + hours / HOURS_PER_SECOND
        return max(float(ends.min(initial=math.inf)), 0.0)

    def history(self) -> SegmentHistory:
        """All segments so far; kept only with `keep_history`; closes the running segments at the present time."""
        if self._history is None:
            raise RuntimeError("history was not kept, expected FleetState(n, keep_history=True)")
        self._hours = None
        self._settle_all()
        return SegmentHistory.of(self._history)

    # ------------------------------------------------------------------ segments

    def _look(self) -> float | Floats:
        """Fill MOVED, U_NOW and LIMIT of all slots for now; hours since their segments began."""
        if self._hours is not None:
            return self._hours
        b, x = self._b, self._x
        if math.isnan(self._began_s):
            hours: float | Floats = (self.now_s - b[BEGIN_S]) * HOURS_PER_SECOND
        else:
            hours = (self.now_s - self._began_s) * HOURS_PER_SECOND
        ended = move(b, hours, self._tapering_slots(), x)
        if ended.any():
            chosen = np.flatnonzero(ended)
            if isinstance(hours, float):
                hours = np.full(self.n, hours)
            hours[chosen] = self._turn_over(chosen, b[:, chosen], self.now_s, x, chosen)
        self._hours = hours
        return hours

    def _look_at_energies(self) -> float | Floats:
        """Fill THROUGH and GONE of all slots too."""
        hours = self._look()
        if not self._is_integrated:
            integrate(self._b, hours, self._tapering_slots(), self._x, is_quadratic=self._classes.is_quadratic)
            self._is_integrated = True
        return hours

    def _settle_all(self) -> None:
        """Book all segments up to now and restart them there."""
        if self._began_s == self.now_s and self._hours is not None:
            return
        hours = self._look_at_energies()
        self._end_segments(self._all, self._b, self._x, self.now_s, hours, self._tapering_slots())
        self._began_s = self.now_s
        self._hours = 0.0
        self._x[[MOVED, THROUGH, GONE]] = 0.0

    def _moved(self, slots: Slots, at_s: Floats | None) -> tuple[Floats, Floats, Floats]:
        """Rows of `slots`, their scratch rows MOVED, U_NOW and LIMIT at `at_s`, hours since their segments began."""
        b = self._b.take(slots, axis=1)
        x = np.empty((SCRATCH_ROWS, slots.size))
        until = self.now_s if at_s is None else at_s
        hours = (until - b[BEGIN_S]) * HOURS_PER_SECOND
        if at_s is not None and ((hours < 0.0).any() or (at_s > self.now_s).any()):
            raise self._wrong_time(at_s)
        ended = move(b, hours, np.flatnonzero(b[RATE]), x)
        if ended.any():
            chosen = np.flatnonzero(ended)
            part = b[:, chosen]
            hours[chosen] = self._turn_over(slots[chosen], part, until if at_s is None else at_s[chosen], x, chosen)
            b[:, chosen] = part
        return b, x, hours

    def _settled(self, slots: Slots, at_s: Floats | None) -> tuple[Floats, Floats]:
        """Rows of `slots`, their segments booked up to `at_s` and restarted there, to be written back; scratch rows."""
        b, x, hours = self._moved(slots, at_s)
        tapering = np.flatnonzero(b[RATE])
        integrate(b, hours, tapering, x, is_quadratic=self._classes.is_quadratic)
        begin_s: float | Floats = self.now_s if at_s is None else at_s
        self._end_segments(slots, b, x, begin_s, hours, tapering)
        self._unsettle(begin_s)
        return b, x

    def _unsettle(self, begin_s: float | Floats) -> None:
        """Some segments begin anew at `begin_s`: what was seen of all is out of date."""
        self._hours = None
        self._is_integrated = False
        if not isinstance(begin_s, float) or begin_s != self._began_s:
            self._began_s = math.nan

    def _wrong_time(self, at_s: float | Floats) -> ValueError:
        return ValueError(
            f"at_s: {float(np.min(at_s))!r} to {float(np.max(at_s))!r}, expected between the last look at a slot, "
            f"or order to it, and now ({self.now_s!r})"
        )

    def _end_segments(
        self, slots: Slots, b: Floats, x: Floats, at_s: float | Floats, hours: float | Floats, tapering: Slots
    ) -> None:
        """Book `hours` of the segments and restart them at `at_s`; `x` is filled."""
        self._record(slots, at_s, b, x[U_NOW])
        if tapering.size:
            b[B, tapering] *= np.exp(b[RATE, tapering] * at_chosen(hours, tapering))
        book(b, at_s, x, has_discharge=self._has_discharge)

    def _turn_over(
        self, slots: Slots, b: Floats, until_s: float | Floats, x: Floats, columns: Slots
    ) -> Floats:
        """Let the segments of `slots` that end by `until_s` end, each at its own time, until none does any more.

        b: their rows, written back to the state too. x: gets MOVED, U_NOW and LIMIT in `columns`. Returns the hours
        that the segments run by then.
        """
        left: Floats = (until_s - b[BEGIN_S]) * HOURS_PER_SECOND
        part, chosen = b, self._all[: slots.size]
        while True:
            hours, end = time_to_end(part)
            # Rounding may have shown an end a hair early.
            is_over = hours <= left[chosen]
            if not is_over.all():
                over = np.flatnonzero(is_over)
                if not over.size:
                    break
                chosen, part, hours, end = chosen[over], part[:, over], hours[over], end[over]
            scratch = np.empty((SCRATCH_ROWS, chosen.size))
            np.subtract(end, part[U], out=scratch[MOVED])
            scratch[U_NOW] = end
            integrate(part, hours, np.flatnonzero(part[RATE]), scratch, is_quadratic=self._classes.is_quadratic)
            begin_s = part[BEGIN_S] + hours / HOURS_PER_SECOND
            self._record(slots[chosen], begin_s, part, end)
            book(part, begin_s, scratch, has_discharge=self._has_discharge)
            self._classes.place(part, has_discharge=self._has_discharge)
            follow_limit(part, slice(None), part[LINE] + part[SLOPE] * part[U], self._traits)
            if part is not b:
                b[:MOVING, chosen] = part[:MOVING]
            until = until_s if isinstance(until_s, float) else until_s[chosen]
            hours = np.maximum((until - begin_s) * HOURS_PER_SECOND, 0.0)
            left[chosen] = hours
            ended = move(part, hours, np.flatnonzero(part[RATE]), scratch)
            x[: LIMIT + 1, columns[chosen]] = scratch[: LIMIT + 1]
            if not ended.any():
                break
            chosen, part = chosen[ended], part[:, ended]
        self._b[:MOVING, slots] = b[:MOVING]
        self._mark_tapering(slots, b)
        self._began_s = math.nan
        return left

    def _order(self, b: Floats, x: Floats, connector_kw: Floats) -> None:
        """Begin the segments for new set-points; the old ones are booked, LIMIT of `x` is that of now."""
        if self._has_discharge or connector_kw.min(initial=0.0) < 0.0:
            turns = (connector_kw * b[TO] < 0.0) & ((connector_kw > 0.0) | (b[MAX_D] > 0.0))
            if turns.any():
                self._turn_round(b, x, np.flatnonzero(turns))
        b[ORDER] = connector_kw
        ask = b[ASK]
        np.minimum(connector_kw, b[TOP], out=ask)
        if self._has_discharge:
            np.maximum(ask, b[BOTTOM], out=ask)
            least = np.where(ask < 0.0, b[MIN_D] - SETPOINT_TOLERANCE_KW, 0.0)
            is_none = np.abs(ask) < np.maximum(least, SETPOINT_TOLERANCE_KW)
        else:
            is_none = ask < SETPOINT_TOLERANCE_KW
        np.copyto(ask, 0.0, where=is_none)
        begin(b, x[LIMIT], self._traits)

    def _turn_round(self, b: Floats, x: Floats, chosen: Slots) -> None:
        """Let the chosen cars look along the other direction of flow."""
        self._has_discharge = True
        part = b[:, chosen]
        part[U] = -part[U]
        part[TO] = -part[TO]
        self._classes.place(part, has_discharge=self._has_discharge)
        b[:MOVING, chosen] = part[:MOVING]
        x[U_NOW, chosen] = part[U]
        x[LIMIT, chosen] = part[LINE] + part[SLOPE] * part[U]

    @property
    def _traits(self) -> Traits:
        return Traits(self._has_discharge, self._classes.has_standby, self._classes.is_quadratic)

    def _mark_tapering(self, slots: Slots | slice, b: Floats) -> None:
        self._is_tapering[slots] = b[RATE] != 0.0
        self._tapering = None

    def _tapering_slots(self) -> Slots:
        if self._tapering is None:
            self._tapering = np.flatnonzero(self._is_tapering)
        return self._tapering

    def _record(self, slots: Slots, ends_s: float | Floats, b: Floats, end_u: Floats) -> None:
        if self._history is not None:
            self._history.append((slots, np.full(slots.size, ends_s), end_u.copy(), b.copy()))
