"""When drivers really leave, compared with what they declare.

Trusting declared departures is wrong by more than half an hour for most drivers: a third leaves earlier, nearly half
stays longer. So the planner weighs missing energy by the chance that the driver leaves, and counts on a car beyond its
declared departure where drivers like this one are usually still there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from aggregator.fleet.leaving import HALF_HOUR_S, Floats, LeavingRates
from twin.assets import TimeGrid

# Real minus declared departure in minutes, claimed Caltech sessions of ACN-Data 2019 to 2021
# (Lee, Li, Low, e-Energy 2019): 5, 31, 50, 53 and 95 % quantiles; the ends bound the distribution.
_ACN_ERROR_MINUTES = (-720.0, -446.0, -30.0, 22.0, 30.0, 460.0, 900.0)
_ACN_PROBABILITY = (0.0, 0.05, 0.31, 0.50, 0.53, 0.95, 1.0)
_NOBODY = 1e-12


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

    def gone_by(self, minutes: Floats) -> Floats:
        """Chance to have left so many minutes after the declared departure (below 0: before it), any shape."""
        return np.interp(minutes, self.minutes, self.probability)

    def leaving_rates(self, seconds: Floats) -> Floats:
        """Chance to leave between two times, for who is there at the first; 1 where everybody has left before that.

        seconds: shape (n, 2), after the declared departure. Returns shape (n,).
        """
        gone = self.gone_by(seconds / 60.0)
        here = np.asarray(1.0 - gone[:, 0], dtype=np.float64)
        return np.divide(gone[:, 1] - gone[:, 0], here, out=np.ones_like(here), where=here > _NOBODY)


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
    """When drivers leave, learnt from three levels: everyone, this site's half hours, this driver.

    Each level adds its visits, one each, to what the level above says, which counts as a fixed number of visits: the
    mean of a Dirichlet process, so that a driver with few visits is taken for the site's average one and a site without
    history for that of the prior. All of it is about drivers who are still there now: a car that has outstayed its
    declared departure is compared with those that had, too.

    prior: what is believed of a site of which nothing is known.
    site: how often who was there left within the half hour.
    drivers: shares of the declared stay that were stayed, by id_token, rising.
    """

    prior: DepartureErrors = field(default_factory=DepartureErrors)
    site: LeavingRates | None = None
    drivers: Mapping[str, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def learnt(
        cls, stays: Iterable[PastStay], *, before: datetime, timezone: str, prior: DepartureErrors | None = None
    ) -> DepartureHistory:
        """From stays that had ended before `before`; those declared shorter than a minute tell nothing."""
        known = [stay for stay in stays if stay.departure < before and stay.declared - stay.arrival > _TELLING]
        drivers: dict[str, list[float]] = {}
        for stay in known:
            drivers.setdefault(stay.id_token, []).append(stay.share)
        rates = LeavingRates.counted(
            [(stay.arrival, stay.declared, stay.departure) for stay in known], timezone=timezone)
        return cls(prior or DepartureErrors(), rates if known else None,
                   {token: np.sort(own) for token, own in drivers.items()})

    @property
    def stays(self) -> int:
        """How many it was learnt from."""
        return 0 if self.site is None else self.site.stays

    def gone_by(
        self, when: Sequence[datetime], *, now: datetime, arrival: datetime, declared: datetime, id_token: str
    ) -> Floats:
        """Chance to have left at each of these times, rising and none before `now`, for who is still there at `now`."""
        gone = self._gone_of_any(when, now, declared)
        own, stay = self.drivers.get(id_token), declared - arrival
        if own is None or stay <= _TELLING:
            return gone
        begun = np.searchsorted(own, (now - arrival) / stay, side="right")
        left = np.searchsorted(own, [(moment - arrival) / stay for moment in when], side="right") - begun
        updated: Floats = (_SITE_VISITS * gone + left) / (_SITE_VISITS + len(own) - begun)
        return updated

    def _gone_of_any(self, when: Sequence[datetime], now: datetime, declared: datetime) -> Floats:
        """What is believed of a driver of whom nothing is known."""
        asked_s, now_s, declared_s = [moment.timestamp() for moment in when], now.timestamp(), declared.timestamp()
        if self.site is None:
            spans_s = np.array([[now_s, max(now_s, at)] for at in asked_s]).reshape(-1, 2)
            return np.where(spans_s[:, 1] > now_s, self.prior.leaving_rates(spans_s - declared_s), 0.0)
        first = int(now_s // HALF_HOUR_S)
        last = max(first, int(max(asked_s, default=now_s) // HALF_HOUR_S))
        edges_s = (HALF_HOUR_S * np.arange(first, last + 2)).astype(np.float64)
        rates = self.prior.leaving_rates(np.column_stack((edges_s[:-1], edges_s[1:])) - declared_s)
        rates = self.site.updated(rates, edges_s[:-1], declared_s)
        # Who leaves within a half hour leaves at any time of it.
        stays = np.concatenate(([1.0], np.cumprod(1.0 - np.minimum(rates, _SURE))))
        still: Floats = np.interp(np.maximum(asked_s, now_s), edges_s, stays) / np.interp(now_s, edges_s, stays)
        return 1.0 - still

    def leave_probability(
        self, grid: TimeGrid, now: datetime, declared: datetime, *, arrival: datetime, id_token: str,
        until: datetime | None = None,
    ) -> Floats:
        """Chance that the car unplugs at the end of each step, given that it is still there at `now`.

        Returns shape (steps,), only for steps that end at or before `until`, which is `declared` where it is None.
        """
        until = declared if until is None else until
        ends = [grid.at(step + 1) for step in range(grid.steps)]
        gone = self.gone_by(
            [max(end, now) for end in ends], now=now, arrival=arrival, declared=declared, id_token=id_token)
        return np.where(np.array([end <= until for end in ends]), np.diff(gone, prepend=0.0), 0.0)

    def ready_by(
        self, quantile: float, now: datetime, declared: datetime, *, arrival: datetime, id_token: str
    ) -> datetime | None:
        """When the car should hold what its driver wants, at most `declared`.

        A driver who is still there at `now` leaves before that with a chance of at most `quantile`. None where fewer
        than 50 stays are known: quantiles of so few say little.
        """
        if self.stays < _ENOUGH or declared <= now:
            return None
        return self._left_by(quantile, now, declared, declared, arrival=arrival, id_token=id_token)

    def stays_until(
        self, share: float, now: datetime, declared: datetime, *, arrival: datetime, id_token: str,
        at_most: timedelta = timedelta(hours=24),
    ) -> datetime | None:
        """Until when at most `share` of the drivers like this one, who are still there at `now`, have left.

        At most so long after `now`. None where fewer than 50 stays are known.
        """
        if self.stays < _ENOUGH:
            return None
        return self._left_by(share, now, now + at_most, declared, arrival=arrival, id_token=id_token)

    def _left_by(
        self, share: float, now: datetime, end: datetime, declared: datetime, *, arrival: datetime, id_token: str
    ) -> datetime:
        """The last of the times until `end`, five minutes apart, by which at most `share` have left."""
        count = int((end - now) / _RESOLUTION)
        when = [*(now + k * _RESOLUTION for k in range(count + 1)), end]
        gone = self.gone_by(when, now=now, arrival=arrival, declared=declared, id_token=id_token)
        late = np.flatnonzero(gone > share)
        return when[max(int(late[0]) - 1, 0)] if len(late) else end


_SITE_VISITS = 10.0
_ENOUGH = 50
_TELLING = timedelta(minutes=1)
_RESOLUTION = timedelta(minutes=5)
_SURE = 1.0 - 1e-12
"""Nearly certain to leave: of nobody there is no share that leaves."""
