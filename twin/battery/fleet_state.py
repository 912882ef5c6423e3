"""The state of all cars of a station park, exact between events.

Cars come, are asked for power, and leave; their energies and meters can be read at any time. Slots never influence one
another, so a slot may be handled at a time of its own (`at_s`) after the clock has moved on, as long as nobody has
looked since.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twin.assets import LossCurve, Vehicle
from twin.battery.running import RunningSegments
from twin.battery.segment import (
    ACTING,
    B_NOW,
    BEGIN_S,
    CAPACITY,
    CAR,
    CLASS,
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
    LINE,
    LOSS,
    LOW,
    MAX_C,
    MEET,
    MOVED,
    MOVING,
    NO_PIECE,
    ORDER,
    PLUG_E,
    PROPORTIONAL,
    QUADRATIC,
    SPARE,
    STANDBY,
    THROUGH,
    TO,
    TOP,
    U_NOW,
    B,
    Floats,
    Slots,
    Traits,
    U,
    time_to_end,
)
from twin.battery.segment_history import SegmentHistory
from twin.ledger import Ledger

_IDLE = np.zeros((ACTING, 1))
_IDLE[[MEET, END]] = np.inf
_NOWHERE = np.array([[value] for _, value in NO_PIECE] + [[0.0], [0.0], [1.0]])
"""The rows of an empty slot: what an order changes, and from LINE to TO."""


class SlotOccupied(ValueError):
    """A car was plugged in where another one stands."""


class FleetState(RunningSegments):
    """Cars at `n` EVSE slots and the energy that passed each connector since the start.

    Powers are at the connector, kW, positive when charging. Energies are kWh. `import_kwh`, `export_kwh`
    and `loss_kwh` count per slot over all cars and never fall. Arrays that are handed out are copies, but for the
    rows named `*_at_now`.

    vehicles, losses: classes of cars known from the start, numbered in this order (see `class_of`).
    comings: how many cars have been plugged in so far.
    """

    def __init__(
        self, n: int, vehicles: Sequence[Vehicle] = (), *, losses: Sequence[LossCurve | None] | None = None,
        keep_history: bool = False,
    ) -> None:
        super().__init__(n, keep_history=keep_history)
        self._nan_if_empty = np.full(n, np.nan)
        self.comings = 0
        for vehicle, loss in zip(vehicles, losses or [None] * len(vehicles), strict=True):
            self.class_of(vehicle, loss)

    # ------------------------------------------------------------------ orders

    def class_of(self, vehicle: Vehicle, loss: LossCurve | None = None) -> int:
        """The class of cars of type `vehicle` with the losses of the pair (None: the car's own), added if new."""
        number = self._classes.number(vehicle, loss)
        classes = self._classes
        self._traits = Traits(
            self._traits.has_discharge, classes.has_standby, classes.is_quadratic, classes.has_rises
        )
        return number

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
        row = self._row
        is_taken = row[IS_PLUGGED][slots] > 0.0
        if np.count_nonzero(is_taken):
            raise SlotOccupied(f"slot {int(slots[is_taken.argmax()])}: a car is plugged in, expected an empty slot")
        columns = self._classes.columns
        capacity = columns[CAPACITY - CAR][classes]
        is_possible = (energy_kwh >= 0.0) & (energy_kwh <= capacity * (1 + 1e-9))
        if np.count_nonzero(is_possible) < is_possible.size:
            wrong = int(is_possible.argmin())
            raise ValueError(
                f"energy_kwh: {float(energy_kwh[wrong])!r}, expected between 0 and {float(capacity[wrong])} kWh"
            )
        # Nothing flows at an empty connector: there is no segment to book, only one that starts later.
        begin_s: float | Floats = self.now_s if at_s is None else at_s
        if np.count_nonzero(row[BEGIN_S][slots] > begin_s) or (at_s is not None and (at_s > self.now_s).any()):
            raise self._wrong_time(begin_s)
        if self._history is not None:
            self._record(slots, begin_s, self._b.take(slots, axis=1), np.zeros(slots.size))
        self._unsettle(begin_s)
        is_other = (row[CLASS][slots] != classes).nonzero()[0]
        if is_other.size:
            self._b[CAR:, slots[is_other]] = columns[:, classes[is_other]]
        high = np.minimum(columns[HIGH - CAR][classes], ceiling_kwh)
        piece, stopped = self._classes.ahead(2 * classes, energy_kwh, capacity, high)
        most = columns[MAX_C - CAR][classes]
        most[stopped] = 0.0
        for number, values in (
            (BEGIN_S, begin_s), (HIGH, high), (LOW, np.maximum(columns[LOW - CAR][classes], floor_kwh)),
            (U, energy_kwh), (PLUG_E, energy_kwh), (END, piece[KNOT - LINE]), (TOP, most), (IS_PLUGGED, 1.0),
        ):
            row[number][slots] = values
        self._b[LINE : KNOT + 1, slots] = piece
        self._nan_if_empty[slots] = 0.0
        self._present += slots.size
        self.comings += slots.size

    def unplug(self, slot: int) -> float:
        """Take the car away and return the energy in its battery in kWh; 0 for an empty slot."""
        return float(self.unplug_many(self._all[slot : slot + 1])[0])

    def unplug_many(self, slots: Slots, at_s: Floats | None = None) -> Floats:
        """Take the cars at distinct slots away; the energy in each battery in kWh, 0 for an empty slot.

        at_s: when each left, not after now; None: now.
        """
        row = self._row
        if not self._is_settled or at_s is not None:
            self._b[:MOVING, slots] = self._settled(slots, at_s)[:MOVING]
        energy: Floats = row[TO][slots] * row[U][slots]
        row[GAINED][slots] += energy - row[PLUG_E][slots]
        self._present -= int(np.count_nonzero(row[IS_PLUGGED][slots]))
        self._b[:ACTING, slots] = _IDLE
        self._b[LINE : TO + 1, slots] = _NOWHERE
        row[U][slots] = row[PLUG_E][slots] = row[IS_PLUGGED][slots] = 0.0
        self._nan_if_empty[slots] = np.nan
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
            self._order(self._b, connector_kw)
            return
        is_new = connector_kw != self._row[ORDER][slots]
        if not is_new.all():
            slots, connector_kw = slots[is_new], connector_kw[is_new]
            at_s = None if at_s is None else at_s[is_new]
        if slots.size:
            b = self._settled(slots, at_s)
            self._order(b, connector_kw)
            self._b[:MOVING, slots] = b[:MOVING]

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
            self._is_settled = False

    # ------------------------------------------------------------------ what can be read

    @property
    def is_plugged(self) -> NDArray[np.bool_]:
        plugged: NDArray[np.bool_] = self._b[IS_PLUGGED] > 0.0
        return plugged

    @property
    def is_empty(self) -> bool:
        """No car is plugged in."""
        return self._present == 0

    @property
    def has_discharge(self) -> bool:
        """Some car was ordered to discharge; without, nothing was ever exported."""
        return self._traits.has_discharge

    @property
    def power_kw(self) -> Floats:
        """Connector power now."""
        self._look()
        b, x = self._b, self._x
        power: Floats = b[FLOW].copy()
        met = ((b[U] if self._is_settled else x[U_NOW]) > b[MEET]).nonzero()[0]
        if met.size:
            t = b.take(met, axis=1)
            here = t[B] if self._is_settled else x[B_NOW][met]
            power[met] = t[TO] * here + t[STANDBY] + t[PROPORTIONAL] * here + t[QUADRATIC] * here * here
        return power

    @property
    def energy_kwh(self) -> Floats:
        """Energy in each battery now; NaN on an empty slot."""
        if self._is_settled and not self._traits.has_discharge:
            stored: Floats = self._row[U] + self._nan_if_empty
            return stored
        return self.energy_into(np.empty(self.n))

    def energy_into(self, row: Floats) -> Floats:
        """`energy_kwh`, written to `row` of one value per slot."""
        self._look()
        np.add(self._row[U] if self._is_settled else self._x[U_NOW], self._nan_if_empty, out=row)
        if self._traits.has_discharge:
            row *= self._row[TO]
        return row

    @property
    def soc(self) -> Floats:
        """State of charge 0..1; NaN on an empty slot."""
        soc: Floats = self.energy_kwh / self._b[CAPACITY]
        return soc

    @property
    def import_kwh(self) -> Floats:
        """Energy that came in through each connector since the start."""
        imported: Floats = self._row[IMPORT] + np.maximum(self._since(THROUGH), 0.0)
        return imported

    @property
    def export_kwh(self) -> Floats:
        """Energy that went out through each connector since the start."""
        exported: Floats = self._row[EXPORT] - np.minimum(self._since(THROUGH), 0.0)
        return exported

    @property
    def loss_kwh(self) -> Floats:
        lost: Floats = self._row[LOSS] + self._since(GONE)
        return lost

    @property
    def energy_at_now(self) -> Floats:
        """Energy in each battery now, 0 on an empty slot: a row to read at once, not to keep or change.

        This and the other rows `*_at_now` book all slots up to now, as `set_powers(None, ...)` does.
        """
        self._settle_all()
        energy: Floats = self._b[U]
        return np.multiply(self._b[TO], energy, out=self._x[SPARE]) if self._traits.has_discharge else energy

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
        stored = self._row[GAINED] + (self._row[TO] * (self._row[U] + self._since(MOVED)) - self._row[PLUG_E])
        return Ledger(imported, exported, stored, lost)

    def registers(self, slot: int) -> tuple[float, float]:
        """Import and export of one connector since the start, in kWh, as its meter counts them."""
        imported, exported, _ = self.registers_many(self._all[slot : slot + 1])
        return float(imported[0]), float(exported[0])

    def registers_many(self, slots: Slots, at_s: Floats | None = None) -> tuple[Floats, Floats, Floats]:
        """Import, export and loss of several slots since the start, in kWh; at_s as in `set_powers`."""
        row = self._row
        began_s = row[BEGIN_S][slots]
        if np.count_nonzero(began_s == (self.now_s if at_s is None else at_s)) == began_s.size:
            return row[IMPORT][slots], row[EXPORT][slots], row[LOSS][slots]
        b, x = self._moved(slots, at_s)
        through = x[THROUGH]
        return b[IMPORT] + np.maximum(through, 0.0), b[EXPORT] - np.minimum(through, 0.0), b[LOSS] + x[GONE]

    def next_change_s(self) -> float:
        """Seconds until some slot's power changes its course by itself (taper, full, floor); inf if none will."""
        self._look()
        b = self._b.copy()
        u = b[U] if self._is_settled else self._x[U_NOW]
        np.copyto(b[END], b[MEET], where=(b[MEET] > u) & (b[MEET] < b[END]))
        ends = (self._row[BEGIN_S] - self.now_s) + time_to_end(b) / HOURS_PER_SECOND
        return max(float(ends.min(initial=math.inf)), 0.0)

    def history(self) -> SegmentHistory:
        """All segments so far; kept only with `keep_history`; closes the running segments at the present time."""
        if self._history is None:
            raise RuntimeError("history was not kept, expected FleetState(n, keep_history=True)")
        self._is_settled = False
        self._settle_all()
        return SegmentHistory.of(self._history)
