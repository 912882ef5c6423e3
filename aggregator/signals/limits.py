"""Which limits are in force and how they combine: by minimum, never by who wrote last.

Only mandatory limits lower the cap of a site; what is committed or asked becomes a commitment of the planner, which
may miss it at a price. After a mandatory limit the cap comes back late and slowly, so that the sites of a feeder do
not all return at once:

    cap  ----+                                  ,----------
             |                              ,--'  ramp_s
             +-----------------------------'
             start                    end  offset (seeded, 0 to random_start_s)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.site.problem import Commitment
from aggregator.signals.model import (
    NO_LIMIT_KW,
    Decision,
    GridSignal,
    Obligation,
    Programme,
    SignalInterval,
    SignalState,
)
from twin.assets import TimeGrid

SET_ASIDE = frozenset(
    {
        SignalState.OPTED_OUT, SignalState.REJECTED, SignalState.SUPERSEDED, SignalState.CANCELLED, SignalState.FAILED,
    }
)
"""States in which a signal asks nothing of us."""


@dataclass(frozen=True, slots=True)
class ReleaseRule:
    """How a cap returns: it starts to rise up to random_start_s after the limit and takes ramp_s."""

    ramp_s: float = 300.0
    random_start_s: float = 120.0

    def __post_init__(self) -> None:
        for name in ("ramp_s", "random_start_s"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: {value}, expected 0 s or more")


@dataclass(frozen=True, slots=True)
class Ramp:
    """A cap that holds `from_kw` until `start` and rises linearly to `to_kw` at `end`."""

    start: datetime
    end: datetime
    from_kw: float
    to_kw: float

    def cap_at(self, when: datetime) -> float:
        if when < self.start:
            return self.from_kw
        if when >= self.end:
            return self.to_kw
        return self.from_kw + (self.to_kw - self.from_kw) * ((when - self.start) / (self.end - self.start))


def release_ramp(
    limit_end: datetime, site_id: str, from_kw: float, to_kw: float, rule: ReleaseRule, seed: str = ""
) -> Ramp:
    """The return to `to_kw` after a limit of `from_kw`.

    The offset is drawn from (site, end of the limit, seed): the same after a restart, different between sites.
    """
    drawn = hashlib.sha256(f"{site_id}|{limit_end.isoformat()}|{seed}".encode()).digest()
    offset_s = int.from_bytes(drawn[:8]) / 2**64 * rule.random_start_s
    try:
        start = limit_end + timedelta(seconds=offset_s)
        return Ramp(start, start + timedelta(seconds=rule.ramp_s), from_kw, to_kw)
    except OverflowError:  # a limit until the end of time is never released
        return Ramp(limit_end, limit_end, from_kw, to_kw)


@dataclass(frozen=True, slots=True)
class Held:
    """A signal with its answer. ended_at: when it was set aside, if it was; its limit is released from then."""

    signal: GridSignal
    state: SignalState
    decision: Decision | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Hold:
    """A mandatory interval as it holds: `level_kw` in [start, end), then the ramp if nothing follows at once."""

    start: datetime
    end: datetime
    level_kw: float
    is_released: bool


@dataclass(frozen=True)
class _Compiled:
    """Holds as arrays of the same length; start and end in microseconds since 1970. holds: with the ramp's seed."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    level_kw: NDArray[np.float64]
    holds: tuple[tuple[str, _Hold], ...]


@dataclass(frozen=True)
class LimitBook:
    """The signals of one site, immutable; `with_` and `without` give another book.

    programmes: price of a missed commitment, by programme name.
    """

    site_id: str
    programmes: Mapping[str, Programme] = field(default_factory=dict)
    release: ReleaseRule = field(default_factory=ReleaseRule)
    held: tuple[Held, ...] = ()

    def with_(self, held: Held) -> LimitBook:
        """A book with `held` in the place of whatever it had of the same signal."""
        others = tuple(other for other in self.held if other.signal.id != held.signal.id)
        return replace(self, held=(*others, held))

    def without(self, signal_ids: Iterable[str]) -> LimitBook:
        gone = set(signal_ids)
        return replace(self, held=tuple(held for held in self.held if held.signal.id not in gone))

    def mandatory_limit_at(self, now: datetime) -> float | None:
        """The lowest mandatory limit on import whose interval contains `now`, without ramps; None if there is none."""
        found, at = self._compiled, _microseconds(now)
        levels = found.level_kw[(found.start <= at) & (at < found.end)]
        return float(levels.min()) if levels.size else None

    def import_cap_at(self, now: datetime, site_cap_kw: float = math.inf) -> float:
        """The cap on net import at `now`: the site's own, every mandatory limit and every ramp, by minimum.

        Without a site cap a ramp has nowhere to rise to; the limit then ends at once.
        """
        return self._lowest(now, now, site_cap_kw)

    def import_cap(
        self, grid: TimeGrid, site_cap_kw: float, now: datetime | None = None
    ) -> NDArray[np.float64]:
        """The lowest cap within each step, shape (steps,), 0 or more.

        now: what lies before it in the first step no longer counts.
        """
        return np.array(
            [
                self._lowest(max(grid.at(step), now) if now else grid.at(step), grid.at(step + 1), site_cap_kw)
                for step in range(grid.steps)
            ],
            dtype=np.float64,
        )

    def export_cap(self, grid: TimeGrid, site_cap_kw: float) -> NDArray[np.float64]:
        """The lowest cap on export within each step, shape (steps,), a positive number; mandatory limits only."""
        caps = np.full(grid.steps, site_cap_kw, dtype=np.float64)
        for held in self.held:
            if held.signal.obligation is Obligation.MANDATORY and held.state not in SET_ASIDE:
                for interval in held.signal.intervals:
                    for step in _steps(grid, interval, None):
                        caps[step] = min(caps[step], max(0.0, -interval.min_net_kw))
        return caps

    def export_cap_at(self, now: datetime, site_cap_kw: float) -> float:
        """The cap on export at `now`, a positive number; mandatory limits only."""
        return min([site_cap_kw, *(
            max(0.0, -interval.min_net_kw) for held in self.held
            if held.signal.obligation is Obligation.MANDATORY and held.state not in SET_ASIDE
            for interval in held.signal.intervals if interval.start <= now < interval.end
        )])

    def commitments(self, grid: TimeGrid, now: datetime | None = None) -> tuple[Commitment, ...]:
        """What the planner should hold: what was promised, or what was asked while nothing is decided.

        A mandatory limit below 0 asks for export, which no cap can start: below 0 it is a commitment too.
        Where a step is covered in part, the promise holds for the whole step. Missing a kWh costs the penalty and
        the lost incentive; where less was promised than asked, what is delivered beyond the promise still earns the
        incentive.
        """
        commitments = []
        for held in self.held:
            if held.state in SET_ASIDE:
                continue
            promised = _promised(held)
            limits: dict[int, float] = {}
            asked: dict[int, float] = {}
            for interval, limit_kw in zip(held.signal.intervals, promised, strict=True):
                if limit_kw >= NO_LIMIT_KW:
                    continue
                for step in _steps(grid, interval, now):
                    limits[step] = min(limits.get(step, math.inf), limit_kw)
                    asked[step] = min(asked.get(step, math.inf), interval.max_net_kw)
            if limits:
                programme = self.programmes.get(held.signal.programme)
                incentive = programme.incentive_per_kwh if programme else 0.0
                price = incentive + (programme.shortfall_per_kwh if programme else 0.0)
                steps = tuple(sorted(limits))
                is_less = incentive > 0.0 and any(limits[step] > asked[step] for step in steps)
                commitments.append(Commitment(
                    held.signal.id, steps, tuple(limits[step] for step in steps), price,
                    asked_net_kw=tuple(asked[step] for step in steps) if is_less else (),
                    asked_per_kwh=incentive if is_less else 0.0))
        return tuple(commitments)

    def _holds(self) -> list[tuple[Held, list[_Hold]]]:
        """Mandatory limits on import as they hold; one that was set aside ends when that happened."""
        return [
            (held, _import_holds(held.signal.intervals, held.ended_at))
            for held in self.held
            if held.signal.obligation is Obligation.MANDATORY
            and (held.state not in SET_ASIDE or held.ended_at is not None)
        ]

    @cached_property
    def _compiled(self) -> _Compiled:
        """All holds as arrays: a party may send thousands of intervals, and every step of every plan asks."""
        pairs = [(held, hold) for held, holds in self._holds() for hold in holds]
        return _Compiled(
            np.array([_microseconds(hold.start) for _, hold in pairs], dtype=np.int64),
            np.array([_microseconds(hold.end) for _, hold in pairs], dtype=np.int64),
            np.array([hold.level_kw for _, hold in pairs], dtype=np.float64),
            tuple((held.signal.external_id, hold) for held, hold in pairs),
        )

    def _lowest(self, begin: datetime, end: datetime, site_cap_kw: float) -> float:
        """The lowest cap in [begin, end), or at `begin` if both are the same. Ramps only rise: they start lowest."""
        found, first, last = self._compiled, _microseconds(begin), _microseconds(end)
        has_begun = (found.start < last) | (found.start <= first)
        lowest = min(site_cap_kw, float(found.level_kw[has_begun & (first < found.end)].min(initial=math.inf)))
        if site_cap_kw == math.inf:
            return lowest
        longest_us = math.ceil((self.release.random_start_s + self.release.ramp_s) * 1e6)
        for index in np.flatnonzero(has_begun & (found.end <= first) & (first - found.end <= longest_us)).tolist():
            seed, hold = found.holds[index]
            if hold.is_released and hold.level_kw < site_cap_kw:
                ramp = release_ramp(hold.end, self.site_id, hold.level_kw, site_cap_kw, self.release, seed)
                lowest = min(lowest, ramp.cap_at(begin))
        return lowest


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _microseconds(when: datetime) -> int:
    return (when - _EPOCH) // _MICROSECOND


def _import_holds(intervals: tuple[SignalInterval, ...], until: datetime | None) -> list[_Hold]:
    limits = [interval for interval in intervals if interval.max_net_kw < NO_LIMIT_KW]
    if until is not None:
        limits = [replace(limit, end=min(limit.end, until)) for limit in limits if limit.start < until]
    followed = {limit.start for limit in limits}
    return [
        _Hold(limit.start, limit.end, max(0.0, limit.max_net_kw), is_released=limit.end not in followed)
        for limit in limits
    ]


def _promised(held: Held) -> tuple[float, ...]:
    """Net power per interval that the planner should hold; NO_LIMIT_KW where it need not."""
    signal = held.signal
    if signal.obligation is Obligation.MANDATORY:
        return tuple(i.max_net_kw if i.max_net_kw < 0 else NO_LIMIT_KW for i in signal.intervals)
    if held.decision is not None:
        return held.decision.committed_net_kw
    return tuple(interval.max_net_kw for interval in signal.intervals)


def _steps(grid: TimeGrid, interval: SignalInterval, now: datetime | None) -> range:
    """Steps of `grid` that `interval` touches and that are not over."""
    begin = max(interval.start, now) if now else interval.start
    if interval.end <= begin or interval.end <= grid.start:
        return range(0)
    first = max(0, grid.index(begin))
    last = min(grid.steps - 1, grid.index(interval.end - timedelta(microseconds=1)))
    return range(first, last + 1)
