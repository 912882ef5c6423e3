"""When drivers really leave, compared with what they declare.

Trusting declared departures is wrong by more than half an hour for most drivers and too late for a third,
so the planner weighs missing energy by the chance that the driver is already gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid

Floats = NDArray[np.float64]

# Real minus declared departure in minutes, claimed Caltech sessions of ACN-Data 2019 to 2021
# (Lee, Li, Low, e-Energy 2019): 5, 31, 50, 53 and 95 % quantiles; the ends bound the distribution.
_ACN_ERROR_MINUTES = (-720.0, -446.0, -30.0, 22.0, 30.0, 460.0, 900.0)
_ACN_PROBABILITY = (0.0, 0.05, 0.31, 0.50, 0.53, 0.95, 1.0)


@dataclass(frozen=True)
class DepartureErrors:
    """Distribution of (real - declared departure), piecewise linear between quantiles.

    minutes: increasing; probability: increasing from 0 to 1, one value for each.
    Raises a `ValueError` if the two do not describe a distribution.
    """

    minutes: tuple[float, ...] = _ACN_ERROR_MINUTES
    probability: tuple[float, ...] = _ACN_PROBABILITY

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.minutes, self.minutes[1:], strict=False))
        ends = (self.probability[0], self.probability[-1]) == (0.0, 1.0)
        ordered = all(a <= b for a, b in zip(self.probability, self.probability[1:], strict=False))
        if len(self.minutes) != len(self.probability) or not (rising and ends and ordered):
            raise ValueError(f"departure errors: {self.minutes} / {self.probability}, expected a distribution")

    def leave_probability(self, grid: TimeGrid, now: datetime, declared: datetime) -> Floats:
        """Chance that the car unplugs at the end of each step, given that it is still there at `now`.

        Returns shape (steps,), only for steps that end at or before the declared departure; later ones are 0,
        because the target is due by then anyway.
        """
        ends = _minutes_after(declared, grid)
        here = float(self.gone_by(np.array([(now - declared).total_seconds() / 60.0]))[0])
        return _chances(ends, self.gone_by(ends), here)

    def gone_by(self, minutes: Floats) -> Floats:
        """Chance to have left so many minutes after the declared departure (below 0: before it), any shape."""
        return np.interp(minutes, self.minutes, self.probability)


@dataclass(frozen=True, slots=True)
class PastStay:
    """A visit that is over: who, from when to when, and until when the driver had said to stay."""

    id_token: str = field(repr=False)
    arrival: datetime = field()
    declared: datetime = field()
    departure: datetime = field()

    @property
    def share(self) -> float:
        """Real over declared stay: 1 is punctual, below 1 early."""
        return (self.departure - self.arrival) / (self.declared - self.arrival)


@dataclass(frozen=True, eq=False)
class DepartureHistory:
    """When drivers leave, learnt from three levels: everyone, this site's stays of like length, this driver.

    Each level adds its visits, one each, to what the level above says, which counts as a fixed number of visits: the
    mean of a Dirichlet process, so that a driver with few visits is taken for the site's average one and a site without
    history for that of the prior. Stays are compared by the share of the declared stay that was stayed.

    prior: what is believed of a site of which nothing is known.
    site: shares by class of declared stay, rising; `_CLASSES_H` says where the classes begin.
    drivers: shares by id_token, rising.
    """

    prior: DepartureErrors = field(default_factory=DepartureErrors)
    site: tuple[Floats, ...] = ()
    drivers: Mapping[str, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def learnt(
        cls, stays: Iterable[PastStay], *, before: datetime, prior: DepartureErrors | None = None
    ) -> DepartureHistory:
        """From stays that had ended before `before`; those declared shorter than a minute tell nothing."""
        known = [stay for stay in stays if stay.departure < before and stay.declared - stay.arrival > _TELLING]
        classes = np.array([_stay_class(stay.declared - stay.arrival) for stay in known], dtype=np.intp)
        shares = np.array([stay.share for stay in known], dtype=float)
        drivers: dict[str, list[float]] = {}
        for stay, share in zip(known, shares.tolist(), strict=True):
            drivers.setdefault(stay.id_token, []).append(share)
        return cls(
            prior or DepartureErrors(),
            tuple(np.sort(shares[classes == number]) for number in range(len(_CLASSES_H))),
            {token: np.sort(own) for token, own in drivers.items()},
        )

    @property
    def stays(self) -> int:
        """How many it was learnt from."""
        return sum(len(shares) for shares in self.site)

    def gone_by(self, when: Sequence[datetime], id_token: str, arrival: datetime, declared: datetime) -> Floats:
        """Chance to have left at each of these times, seen from the arrival."""
        after = np.array([(moment - declared).total_seconds() for moment in when], dtype=float)
        gone = self.prior.gone_by(after / 60.0)
        stay_s = (declared - arrival).total_seconds()
        if stay_s <= _TELLING.total_seconds():
            return gone
        shares = 1.0 + after / stay_s
        own = self.drivers.get(id_token)
        if self.site:
            gone = _updated(gone, _PRIOR_VISITS, self.site[_stay_class(declared - arrival)], shares)
        return gone if own is None else _updated(gone, _SITE_VISITS, own, shares)

    def leave_probability(
        self, grid: TimeGrid, now: datetime, declared: datetime, *, arrival: datetime, id_token: str
    ) -> Floats:
        """Chance that the car unplugs at the end of each step, given that it is still there at `now`.

        Returns shape (steps,), only for steps that end at or before the declared departure.
        """
        ends = [grid.at(step + 1) for step in range(grid.steps)]
        gone = self.gone_by([now, *ends], id_token, arrival, declared)
        return _chances(_minutes_after(declared, grid), gone[1:], float(gone[0]))

    def ready_by(
        self, quantile: float, now: datetime, declared: datetime, *, arrival: datetime, id_token: str
    ) -> datetime | None:
        """When the car should hold what its driver wants, at most `declared`.

        A driver who is still there at `now` leaves before that with a chance of at most `quantile`. None where fewer
        than 50 stays are known: quantiles of so few say little.
        """
        if self.stays < _ENOUGH or declared <= now:
            return None
        count = int((declared - now) / _RESOLUTION)
        when = [*(now + k * _RESOLUTION for k in range(count + 1)), declared]
        gone = self.gone_by(when, id_token, arrival, declared)
        if gone[0] >= 1.0:
            return declared
        late = np.flatnonzero((gone - gone[0]) / (1.0 - gone[0]) > quantile)
        return when[max(int(late[0]) - 1, 0)] if len(late) else declared


_CLASSES_H = (0.0, 2.0, 4.0, 7.0, 10.0)
_PRIOR_VISITS = 25.0
_SITE_VISITS = 10.0
_ENOUGH = 50
_TELLING = timedelta(minutes=1)
_RESOLUTION = timedelta(minutes=5)


def _stay_class(declared_stay: timedelta) -> int:
    return int(np.searchsorted(_CLASSES_H, declared_stay.total_seconds() / 3600.0, side="right")) - 1


def _updated(gone: Floats, weight: float, shares: Floats, at: Floats) -> Floats:
    """What the level above says, worth `weight` visits, with the visits of this level."""
    counted = np.searchsorted(shares, at, side="right").astype(float)
    updated: Floats = (weight * gone + counted) / (weight + len(shares))
    return updated


def _minutes_after(declared: datetime, grid: TimeGrid) -> Floats:
    """From the declared departure to the end of each step."""
    return np.array([(grid.at(step + 1) - declared).total_seconds() / 60.0 for step in range(grid.steps)])


def _chances(ends: Floats, gone: Floats, here: float) -> Floats:
    """Of leaving at the end of each step, for who is still `here`; 0 after the declared departure."""
    if here >= 1.0:
        return np.zeros(len(ends))
    chance = np.diff(np.maximum(gone, here), prepend=here) / (1.0 - here)
    return np.where(ends <= 0.0, chance, 0.0)
