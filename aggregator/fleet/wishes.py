"""What is wanted of one charging session: a person's word before the car's, the car's before the site's defaults.

A departure in the car's clock is often a habit set once; what a driver's app or a fleet system says is about today.
What only the car can know (its state of charge, what it can take and give, how low it lets itself be emptied) is its
own to say, and nobody overrules it upwards. See docs/decisions/009.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from aggregator.fleet.model import DepartureTarget, WishSource
from aggregator.ocpp.events import EvNeeds


@dataclass(frozen=True, slots=True)
class CarWord:
    """What a car said of itself. moved_kwh: what had gone into its battery since the session began."""

    said: EvNeeds
    moved_kwh: float

    def requested_kwh(self, arrival_kwh: float | None, capacity_kwh: float) -> float | None:
        """Battery energy wanted on top of what was there on arrival; None if the car did not say."""
        if self.said.target_energy_kwh is not None:
            return self.moved_kwh + max(0.0, self.said.target_energy_kwh)
        if self.said.target_soc is not None and arrival_kwh is not None:
            return self.said.target_soc * capacity_kwh - arrival_kwh
        return None

    def floor_kwh(self, arrival_kwh: float) -> float:
        """What the battery must hold before anything may be taken out of it."""
        then_kwh = arrival_kwh + self.moved_kwh
        floors = [0.0]
        if self.said.min_v2x_energy_kwh is not None:
            floors.append(then_kwh + self.said.min_v2x_energy_kwh)
        if self.said.min_energy_kwh is not None and self.said.min_energy_kwh > 0.0:
            floors.append(then_kwh + self.said.min_energy_kwh)
        return max(floors)

    @property
    def discharge_kw(self) -> float | None:
        return self.said.max_discharge_kw if self.said.bidirectional else 0.0


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants what. departure may lie in the past."""

    departure: datetime
    requested_kwh: float
    departure_by: WishSource
    target_by: WishSource


def combined(
    person: DepartureTarget | None, car: CarWord | None, started_at: datetime, stay: timedelta, default_kwh: float,
    arrival_kwh: float | None, capacity_kwh: float,
) -> Wish:
    """The wish that counts for a session begun at `started_at`.

    arrival_kwh: battery energy on arrival where the car reported it. stay, default_kwh: what a site assumes.
    """
    said_departure = None if car is None else car.said.departure
    said_kwh = None if car is None else car.requested_kwh(arrival_kwh, capacity_kwh)
    if person is not None and person.departure <= started_at and (said_departure, said_kwh) != (None, None):
        person = None  # it was about an earlier visit
    if person is not None:
        return Wish(person.departure, person.requested_kwh, WishSource.PERSON, WishSource.PERSON)
    return Wish(
        started_at + stay if said_departure is None else said_departure,
        default_kwh if said_kwh is None else said_kwh,
        WishSource.SITE if said_departure is None else WishSource.CAR,
        WishSource.SITE if said_kwh is None else WishSource.CAR,
    )
