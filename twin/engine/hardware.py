"""What stands between an order and a car: ratings of EVSE and car together, a link that loses orders, faults.

Everything here works on arrays over slots (replica * evses + evse) and costs only where something is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.assets import Vehicle, pair_limits, pair_loss
from twin.battery import SETPOINT_TOLERANCE_KW, FleetState, battery_kw
from twin.draws import uniforms
from twin.ensemble import Ensemble
from twin.faults import FaultKind, FaultPlan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KINDS = tuple(FaultKind)
DOWN, STUCK, OUTAGE, IGNORES, DERATED = range(len(KINDS))
"""Places of the kinds in `KINDS`, in which intervals name them."""

LINK_TICK_S = 1.0
"""Delays of orders and skews of clocks count in whole seconds: the orders of one step arrive in few instants."""


class Pairs:
    """Limits, losses and efficiency of every kind of EVSE with every vehicle.

    All tables have the shape (kind of EVSE, vehicle); `kind` maps each EVSE of one replica to its row.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        evses, self.kind = ensemble.kinds
        limits = [[pair_limits(evse, vehicle) for vehicle in ensemble.vehicles] for evse in evses]

        def table(name: str) -> Floats:
            return np.array([[getattr(pair, name) for pair in row] for row in limits], dtype=np.float64)

        self.max_charge_kw, self.min_charge_kw = table("max_charge_kw"), table("min_charge_kw")
        self.max_discharge_kw, self.min_discharge_kw = table("max_discharge_kw"), table("min_discharge_kw")
        least = np.maximum(self.min_charge_kw - SETPOINT_TOLERANCE_KW, SETPOINT_TOLERANCE_KW)
        self.full_kw = np.where(self.max_charge_kw >= least, self.max_charge_kw, 0.0)
        self.losses = [[pair_loss(evse, vehicle) for vehicle in ensemble.vehicles] for evse in evses]
        self.efficiency = np.array([
            [
                battery_kw(vehicle, pair.max_charge_kw, loss) / pair.max_charge_kw
                for vehicle, pair, loss in zip(ensemble.vehicles, pairs, losses, strict=True)
            ]
            for pairs, losses in zip(limits, self.losses, strict=True)
        ])
        self.capacity_kwh = np.array([vehicle.battery.capacity_kwh for vehicle in ensemble.vehicles])

    def classes(self, fleet: FleetState, vehicles: Sequence[Vehicle]) -> Ints:
        """The fleet's class numbers: shape (kind of EVSE, vehicle)."""
        return np.array(
            [[fleet.class_of(*pair) for pair in zip(vehicles, row, strict=True)] for row in self.losses], dtype=np.int64
        )


class Limits:
    """`usable_setpoint` for all slots at once, kept in step with the cars that stand there."""

    def __init__(self, slots: int, pairs: Pairs) -> None:
        # Rows of one matrix, and of a table by pair: a car that comes or goes is one write.
        self._has_discharge = bool(pairs.max_discharge_kw.any())
        most, least, back, least_back = (
            table.reshape(-1) for table in (
                pairs.max_charge_kw, pairs.min_charge_kw, pairs.max_discharge_kw, pairs.min_discharge_kw
            )
        )
        self._of_pair = np.array([most, least, _least(least), back, least_back, _least(least_back)])
        self._of_nobody = np.array([[0.0], [0.0], [SETPOINT_TOLERANCE_KW]] * 2)
        self._written = slice(0, 6 if self._has_discharge else 3)
        self._rows = np.repeat(self._of_nobody, slots, axis=1)
        row: list[Floats] = list(self._rows)
        self.max_charge_kw, self.min_charge_kw, self._least_charge = row[:3]
        self.max_discharge_kw, self.min_discharge_kw, self._least_discharge = row[3:]
        self._room = np.empty(slots)

    def plug(self, slots: Ints, pair: Ints) -> None:
        """Cars come to `slots`; pair: kind of EVSE * vehicles + vehicle."""
        self._rows[self._written, slots] = self._of_pair[self._written].take(pair, axis=1)

    def unplug(self, slots: Ints) -> None:
        self._rows[self._written, slots] = self._of_nobody[self._written]

    def usable(self, kw: Floats) -> Floats:
        """Set-points of all slots, clipped to the ratings; those below a minimum become 0."""
        usable = np.minimum(kw, self.max_charge_kw)
        if not self._has_discharge:
            return np.multiply(usable, usable >= self._least_charge, out=usable)
        np.maximum(usable, np.negative(self.max_discharge_kw, out=self._room), out=usable)
        enough = usable >= self._least_charge
        enough |= np.negative(usable, out=self._room) >= self._least_discharge
        return np.multiply(usable, enough, out=usable)

    def usable_at(self, slots: Ints, kw: Floats) -> Floats:
        """The same for some slots."""
        clipped = self.clipped_at(slots, kw)
        least = np.where(clipped < 0.0, self._least_discharge[slots], self._least_charge[slots])
        return np.where(np.abs(clipped) >= least, clipped, 0.0)

    def clipped_at(self, slots: Ints, kw: Floats) -> Floats:
        """Clipped to the ratings alone."""
        clipped: Floats = np.minimum(np.maximum(kw, -self.max_discharge_kw[slots]), self.max_charge_kw[slots])
        return clipped


def _least(minimum_kw: Floats) -> Floats:
    return np.maximum(minimum_kw - SETPOINT_TOLERANCE_KW, SETPOINT_TOLERANCE_KW)


@dataclass(frozen=True, slots=True)
class Letter:
    """Orders under way: they reach `slots` at `time_s` if the same visits still stand there."""

    time_s: float
    slots: Ints
    visit: Ints
    kw: Floats


class Link:
    """The way from controller to charger: orders come late, get lost (and are sent again when the controller next
    decides), or do not come at all during an outage.

    An order carries the time from which it holds, by the controller's clock. A charger's clock that is behind reaches
    that time late by its skew; one that is ahead has reached it when the order comes, so it acts at once.
    """

    def __init__(self, ensemble: Ensemble, plan: FaultPlan) -> None:
        n = ensemble.slots
        wait = np.maximum(_column("order_delay_s", plan.order_delay_s, n), 0.0)
        wait += np.maximum(-_column("clock_skew_s", plan.clock_skew_s, n), 0.0)
        self._wait_s = np.rint(wait / LINK_TICK_S) * LINK_TICK_S
        self._loss = _column("order_loss", plan.order_loss, n)
        self._can_lose, self._is_late = bool(self._loss.any()), bool(self._wait_s.any())
        evses = max(len(ensemble.evses), 1)
        self._replica = ensemble.first_replica + np.arange(n) // evses
        self._evse = np.arange(n) % evses
        self._seed = plan.seed
        self.told_kw = np.zeros(n)
        self.is_out = np.zeros(n, dtype=np.bool_)
        self.lost = 0

    @property
    def is_sure(self) -> bool:
        """Orders arrive at once or, during an outage, not at all."""
        return not (self._can_lose or self._is_late)

    def send(self, now_s: float, slots: Ints | None, visit: Ints, kw: Floats) -> tuple[Ints, list[Letter]]:
        """Send `slots` (None: all) their orders out of `kw`, where they are news.

        Returns the slots that take theirs up now, and letters for later.
        """
        if slots is None:
            slots = ((kw != self.told_kw) & ~self.is_out).nonzero()[0]
        else:
            slots = slots[(kw[slots] != self.told_kw[slots]) & ~self.is_out[slots]]
        if self._can_lose and slots.size:
            drawn = uniforms(
                self._seed, "order lost", self._replica[slots], self._evse[slots],
                np.full(slots.size, round(now_s * 1000.0), dtype=np.int64),
            )[0]
            arrives = drawn >= self._loss[slots]
            self.lost += int(slots.size - np.count_nonzero(arrives))
            slots = slots[arrives]
        self.told_kw[slots] = kw[slots]
        if not self._is_late:
            return slots, []
        wait = self._wait_s[slots]
        letters = [
            Letter(now_s + late, slots[those], visit[slots[those]], kw[slots[those]])
            for late in np.unique(wait[wait > 0.0]).tolist() for those in (wait == late,)
        ]
        return slots[wait == 0.0], letters

    def forget(self, slots: Ints, kw: float = 0.0) -> None:
        """What was told no longer holds: the charger is at `kw` (NaN: whatever comes next is news)."""
        self.told_kw[slots] = kw


class Condition:
    """The faults that are under way, and what they make of a set-point."""

    def __init__(self, slots: int) -> None:
        self._under_way = np.zeros((len(KINDS), slots), dtype=np.int64)
        self._left = np.ones(slots)
        self.is_stuck = np.zeros(slots, dtype=np.bool_)
        self.is_affected = np.zeros(slots, dtype=np.bool_)

    def begin(self, kind: Ints, slots: Ints, value: Floats) -> None:
        # Faults of one kind and slot do not overlap, so no pair comes twice.
        self._under_way[kind, slots] += 1
        is_derated = kind == DERATED
        if np.count_nonzero(is_derated):
            self._left[slots[is_derated]] = value[is_derated]
        self.is_affected[slots] = True

    def end(self, kind: Ints, slots: Ints) -> None:
        self._under_way[kind, slots] -= 1
        self._refresh(slots)

    def plug(self, slots: Ints) -> int:
        """Cars plug in; how many of them find a connector that does not start their visit."""
        stuck = slots[self._under_way[STUCK][slots] > 0]
        if stuck.size:
            self.is_stuck[stuck] = self.is_affected[stuck] = True
        return int(stuck.size)

    def unplug(self, slots: Ints) -> None:
        stuck = slots[self.is_stuck[slots]]
        if stuck.size:
            self.is_stuck[stuck] = False
            self._refresh(stuck)

    def has_no_power(self, slots: Ints) -> NDArray[np.bool_]:
        is_dead: NDArray[np.bool_] = self.is_stuck[slots] | (self._under_way[DOWN][slots] > 0)
        return is_dead

    def made_of(self, slots: Ints, kw: Floats, full_kw: Floats, rated_kw: Floats) -> Floats:
        """What hardware in this condition tries to deliver where `kw` was ordered.

        full_kw: what EVSE and car can do together. rated_kw: of the EVSE, of which derating leaves a part.
        """
        is_dead = self.has_no_power(slots)
        if is_dead.all():
            return np.zeros(slots.size)
        under_way = self._under_way.take(slots, axis=1) > 0
        kw = np.where(under_way[IGNORES], full_kw, kw)
        left = np.where(under_way[DERATED], self._left[slots] * rated_kw, np.inf)
        kw = np.minimum(np.maximum(kw, -left), left)
        return np.where(is_dead, 0.0, kw)

    def _refresh(self, slots: Ints) -> None:
        self.is_affected[slots] = self._under_way.take(slots, axis=1).any(axis=0) | self.is_stuck[slots]


def _column(name: str, values: Floats, slots: int) -> Floats:
    if values.shape != (slots,):
        raise ValueError(f"faults.{name}: shape {values.shape}, expected ({slots},), one value per slot")
    return values.astype(np.float64)
