"""The power path of one EVSE: profiles -> order -> response of the hardware -> car, at exact instants.

What happens on the way: profile boundary, `order_at`, `usable_setpoint`, Follower (delay, ramp), rail, FleetState.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum

from twin.assets import Evse, Vehicle
from twin.battery import usable_setpoint
from twin.response import Follower
from twin.station.battery_car import BatteryCar
from twin.station.fast_rail import FastRail
from twin.station.plant import Plant
from twin.station.profiles import Order, ProfileStore, Rating, TransactionView
from twin.station.rail import PRICE_LEVELS, Rail, RailListener, Step
from twin.station.session_keeper import SessionKeeper
from twin.station.timeline import Event, Timeline

STILL_KW = 1e-9
OFFER_S = 86_400
MOST_STEPS = 12
"""DIN 70121 allows no more pieces in a schedule [V2G-DC-329]; what comes after them goes on like the last."""


class Activity(StrEnum):
    """What the power path of a running transaction does, in the words of OCPP 2.x ChargingStateEnumType."""

    CONNECTED = "EVConnected"
    CHARGING = "Charging"
    SUSPENDED_EV = "SuspendedEV"
    SUSPENDED_EVSE = "SuspendedEVSE"


class Outlet:
    """One EVSE with its profiles and the car at it, if any.

    transaction: set by `energise`; without one nothing flows, whatever the profiles say.
    make_rail: the way to the car.
    """

    def __init__(
        self, evse: Evse, slot: int, plant: Plant, timeline: Timeline,
        make_rail: Callable[[RailListener], Rail] = FastRail,
    ) -> None:
        self.evse = evse
        self.slot = slot
        self.profiles = ProfileStore(Rating(evse.max_charge_kw, evse.max_discharge_kw))
        self.transaction: TransactionView | None = None
        self.vehicle: Vehicle | None = None
        self.order = Order(0.0)
        self._plant, self._timeline = plant, timeline
        self._follower = Follower(evse.response)
        self._boundary: Event | None = None
        self._activity = Activity.CONNECTED
        self.sessions = SessionKeeper(make_rail, timeline)
        self.sessions.plan = self.offer

    def plug(self, car: BatteryCar) -> None:
        self.vehicle = car.vehicle
        self._plant.plug(self.slot, car.vehicle, car.visit.energy_kwh)
        self.sessions.plug(car)

    def unplug(self) -> float:
        """Open the contactor and let the car go; returns its energy in kWh."""
        self.cut()
        self.sessions.unplug()
        energy = self._plant.unplug(self.slot)
        self.vehicle = None
        return energy

    def energise(self, transaction: TransactionView) -> None:
        """A transaction runs (or its id became known): obey the profiles."""
        self.transaction = transaction
        if self.vehicle is not None:
            self.sessions.begin()
        self.refresh()

    def cut(self) -> None:
        """The transaction is over: nothing flows from this instant on."""
        self.transaction = None
        self.order = Order(0.0)
        self._activity = Activity.CONNECTED
        if self._boundary is not None:
            self._boundary.cancel()
        self._follower.reset(self._timeline.now)
        self.sessions.stop()
        self._plant.set_power(self.slot, 0.0)

    def refresh(self) -> None:
        """Look again at the profiles: one came, one went, or a boundary is reached."""
        if self.transaction is None or self.vehicle is None:
            return
        at = self._timeline.now
        if self._boundary is not None:
            self._boundary.cancel()
        self.order = self.profiles.order_at(at, self.transaction)
        wanted = usable_setpoint(self.evse, self.vehicle, self.order.power_kw)
        if wanted != self._follower.target_kw:
            for when in self._follower.order(at, wanted):
                self._timeline.at(when, self._follow)
        self._follow(at)
        following = self.profiles.next_boundary(at, self.transaction)
        if math.isfinite(following):
            self._boundary = self._timeline.at(following, lambda _: self.refresh())

    def offer(self) -> list[Step]:
        """What a car may plan with for the day to come: the ratings, and what the present plan would like.

        The plan is a wish and no limit here: a car may never exceed the powers of the schedule it was offered without
        renegotiation, and the plan of a minute later, or the end of a limit, must be able to give it more. What binds
        is said in every charge loop.
        """
        at = self._timeline.catch_up()
        wishes: list[tuple[int, int]] = []  # seconds from now, price level
        for instant, order in self.profiles.composite(at, at + OFFER_S, self.transaction):
            level = _price_level(order.power_kw, self.evse.max_charge_kw)
            if (not wishes or wishes[-1][1] != level) and len(wishes) < MOST_STEPS:
                wishes.append((round(instant - at), level))
        ends = [start for start, _ in wishes[1:]] + [OFFER_S]
        return [
            Step(end - start, self.evse.max_charge_kw, self.evse.max_discharge_kw, level)
            for (start, level), end in zip(wishes, ends, strict=True) if end > start
        ]

    def activity(self, power_kw: float) -> Activity:
        """What happens at the connector at the present event, at which `power_kw` flows."""
        if self.transaction is None or self.vehicle is None:
            return Activity.CONNECTED
        if abs(power_kw) > STILL_KW:
            self._activity = Activity.CHARGING
        elif self.sessions.is_done:
            self._activity = Activity.SUSPENDED_EV
        elif self.sessions.fault is not None:
            self._activity = Activity.SUSPENDED_EVSE  # the contactor is open, whatever the car would take
        elif not self.sessions.is_charging:
            self._activity = Activity.CONNECTED  # both ends still talk about it
        elif self.sessions.offered_kw:
            self._activity = Activity.SUSPENDED_EV  # the EVSE offers, the car does not take
        elif self._follower.target_kw == 0.0:
            self._activity = Activity.SUSPENDED_EVSE
        # else: the hardware has not answered yet; what was, still is.
        return self._activity

    def _asked_kw(self, at: float) -> float:
        return 0.0 if self.vehicle is None else usable_setpoint(self.evse, self.vehicle, self._follower.power_at(at))

    def _follow(self, at: float) -> None:
        if self.vehicle is not None:
            self.sessions.order(self._asked_kw(at))


def _price_level(wanted_kw: float, rated_kw: float) -> int:
    """1: the plan wants at least half of the rating. 3: it does not charge, or takes energy out."""
    if wanted_kw <= 0.0:
        return PRICE_LEVELS
    return 1 if wanted_kw >= rated_kw / 2.0 else 2
