"""How one EVSE and its car follow set-points in time: silence, then a ramp.

```
order(0 s, 11 kW), delay 2 s, ramp 4 kW/s          kW
                                                  11 |            ________   reached exactly at 5 s
each stair is the mean of the linear ramp over       |         __|
its second, so that the energy of the ramp is kept;  |      __|
all stairs begin at whole seconds after the delay  0 |_____|____________ s
                                                        1  2  3  4  5
```
An order given while an older one is still on its way does not stop the older one: the hardware acts on
each after its own delay.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.assets import Response

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STAIR_S = 1.0
"""Length of a stair of the ramp in seconds."""

_SHORTEST_REST = 1e-9
"""A part of a last stair shorter than this is rounding."""

_SAME_KW = 1e-9
"""A set-point this close below a multiple of the granularity is that multiple."""


def settled_kw(response: Response, kw: float) -> float:
    """What flows once the hardware has settled on the set-point `kw`: whole granules toward 0, plus its bias."""
    if response.granularity_kw > 0.0:
        granules = math.floor((abs(kw) + _SAME_KW) / response.granularity_kw)
        kw = math.copysign(granules * response.granularity_kw, kw) if granules else 0.0
    if kw > 0.0:
        return kw + response.charge_bias_kw
    return kw + response.discharge_bias_kw if kw < 0.0 else response.idle_bias_kw


class Follower:
    """The power one EVSE asks of its car at any time; starts at 0 kW.

    Times are seconds on one clock of the caller's choice and must not run backwards between orders.
    """

    __slots__ = ("_kw", "_response", "_times", "delay_s", "ramp_kw_per_s", "target_kw")

    def __init__(self, response: Response) -> None:
        self._response = response
        self.delay_s = response.delay_s
        self.ramp_kw_per_s = response.ramp_kw_per_s
        self.reset(-math.inf, 0.0)

    def reset(self, at_s: float, kw: float = 0.0) -> None:
        """Forget every order: `kw` from `at_s` on (a plug was pulled or a contactor opened)."""
        self._times = [at_s]
        self._kw = [kw]
        self.target_kw = kw

    def order(self, at_s: float, kw: float) -> list[float]:
        """Ask for `kw` at `at_s`; return the times in seconds at which the power will change because of it."""
        kw = settled_kw(self._response, kw)
        self.target_kw = kw
        begin = at_s + self.delay_s
        times, powers = self._times, self._kw
        passed = bisect_right(times, at_s) - 1
        if passed > 0:
            del times[:passed], powers[:passed]
        while len(times) > 1 and times[-1] >= begin:
            times.pop()
            powers.pop()
        held = powers[-1]
        first = len(times)
        if kw == held:
            return []
        if self.ramp_kw_per_s > 0.0:
            self._climb(begin, held, kw)
        else:
            times.append(begin)
            powers.append(kw)
        return times[first:]

    def _climb(self, begin: float, held: float, kw: float) -> None:
        duration = abs(kw - held) / self.ramp_kw_per_s
        slope = math.copysign(self.ramp_kw_per_s, kw - held)
        whole = int(duration / STAIR_S)
        for stair in range(whole):
            self._times.append(begin + stair * STAIR_S)
            self._kw.append(held + slope * (stair + 0.5) * STAIR_S)
        rest = duration - whole * STAIR_S
        arrived = begin + whole * STAIR_S
        if rest > _SHORTEST_REST * STAIR_S:
            short = 0.5 * slope * rest * rest / STAIR_S  # the triangle that the last stair misses of the target
            before = kw - slope * rest  # ramp value at the start of the last stair
            mean = before + slope * rest * (1.0 - rest / STAIR_S) + short
            self._times.append(arrived)
            self._kw.append(mean)
            arrived += STAIR_S
        self._times.append(arrived)
        self._kw.append(kw)

    def power_at(self, t_s: float) -> float:
        """The power in kW asked for at `t_s` (not before the last order)."""
        return self._kw[max(bisect_right(self._times, t_s) - 1, 0)]

    def next_change_s(self, t_s: float) -> float:
        """Seconds from `t_s` until the power changes; inf if it has settled."""
        after = bisect_right(self._times, t_s)
        return self._times[after] - t_s if after < len(self._times) else math.inf


@dataclass(frozen=True, slots=True)
class Stair:
    """Powers that begin at one instant: of `slots`, because of their order number `order`.

    is_first: the hardware takes up the order here; kw is then what it will settle on.
    """

    time_s: float
    slots: Ints
    order: Ints
    kw: Floats
    is_first: bool


class Followers:
    """`Follower` for many EVSEs at once: what each asks of its car now, and the stairs that are still to come.

    Orders return the stairs at which something begins; whoever keeps the time hands them back with `climb` when they
    are due, all of one instant together. level_kw: the power each EVSE asks for at present.
    """

    def __init__(self, responses: Sequence[Response]) -> None:
        def column(name: str) -> Floats:
            return np.array([getattr(response, name) for response in responses], dtype=np.float64)

        n = len(responses)
        self.level_kw = np.zeros(n)
        self._delay_s, self._ramp = column("delay_s"), column("ramp_kw_per_s")
        self._granularity = column("granularity_kw")
        self._charge_bias, self._discharge_bias = column("charge_bias_kw"), column("discharge_bias_kw")
        self._idle_bias = column("idle_bias_kw")
        self._is_plain = not (
            self._granularity.any() or self._charge_bias.any() or self._discharge_bias.any() or self._idle_bias.any()
        )
        self._given = np.zeros(n, dtype=np.int64)
        self._acting = np.zeros(n, dtype=np.int64)

    @property
    def has_idle_bias(self) -> NDArray[np.bool_]:
        """EVSEs through which power flows at a set-point of 0."""
        has: NDArray[np.bool_] = self._idle_bias != 0.0
        return has

    def reset(self, slots: Ints) -> None:
        """Forget every order: 0 kW from now on."""
        self.level_kw[slots] = 0.0
        self._given[slots] += 1
        self._acting[slots] = self._given[slots]

    def order(self, now_s: float, slots: Ints, kw: Floats) -> list[Stair]:
        """Ask distinct `slots` for `kw`; the instants (from now on) at which they take the order up."""
        self._given[slots] += 1
        given, settled, delay = self._given[slots], self._settled(slots, kw), self._delay_s[slots]
        if slots.size and (delay == delay[0]).all():
            return [Stair(now_s + float(delay[0]), slots, given, settled, is_first=True)]
        return [
            Stair(now_s + wait, slots[those], given[those], settled[those], is_first=True)
            for wait in np.unique(delay).tolist() for those in (delay == wait,)
        ]

    def climb(self, stairs: Sequence[Stair]) -> tuple[Ints, list[Stair]]:
        """Take all stairs of one instant; the slots whose level may have changed, and the stairs that follow.

        What is taken up at an instant voids older stairs of the same instant (but for hardware without delay, which
        has already climbed them when the order comes), and of two orders the later holds.
        """
        changed: list[Ints] = []
        following: list[Stair] = []
        for stair in stairs:
            if not stair.is_first:
                holds = (self._acting[stair.slots] == stair.order) & (self._delay_s[stair.slots] == 0.0)
                self.level_kw[stair.slots[holds]] = stair.kw[holds]
        for stair in reversed([stair for stair in stairs if stair.is_first]):
            news = stair.order > self._acting[stair.slots]
            slots = stair.slots[news]
            following += self._take_up(stair.time_s, slots, stair.order[news], stair.kw[news])
            changed.append(slots)
        for stair in stairs:
            if not stair.is_first:
                holds = self._acting[stair.slots] == stair.order
                slots = stair.slots[holds]
                self.level_kw[slots] = stair.kw[holds]
                changed.append(slots)
        return (np.unique(np.concatenate(changed)) if changed else np.zeros(0, dtype=np.int64)), following

    def _take_up(self, begin_s: float, slots: Ints, order: Ints, kw: Floats) -> list[Stair]:
        """Start from the present level toward `kw`; the arithmetic of `Follower._climb`, for all at once."""
        held, ramp = self.level_kw[slots], self._ramp[slots]
        self._acting[slots] = order
        climbs = (ramp > 0.0) & (kw != held)
        self.level_kw[slots] = kw
        if not climbs.any():
            return []
        slots, order, kw, held, ramp = slots[climbs], order[climbs], kw[climbs], held[climbs], ramp[climbs]
        duration = np.abs(kw - held) / ramp
        slope = np.copysign(ramp, kw - held)
        whole = np.floor(duration / STAIR_S)
        rest = duration - whole * STAIR_S
        has_rest = rest > _SHORTEST_REST * STAIR_S
        before = kw - slope * rest
        last = before + slope * rest * (1.0 - rest / STAIR_S) + 0.5 * slope * rest * rest / STAIR_S
        stairs: list[Stair] = []
        for number in range(int(whole.max()) + 2):
            level = np.where(number < whole, held + slope * (number + 0.5) * STAIR_S, kw)
            level = np.where(has_rest & (number == whole), last, level)
            if number == 0:
                self.level_kw[slots] = level
                continue
            still = number <= whole + has_rest
            if still.any():
                stairs.append(Stair(
                    begin_s + number * STAIR_S, slots[still], order[still], level[still], is_first=False
                ))
        return stairs

    def _settled(self, slots: Ints, kw: Floats) -> Floats:
        if self._is_plain:
            return kw
        grain = self._granularity[slots]
        whole = np.floor((np.abs(kw) + _SAME_KW) / np.where(grain > 0.0, grain, 1.0)) * grain
        kw = np.where(grain > 0.0, np.copysign(whole, kw), kw)
        bias = np.where(kw > 0.0, self._charge_bias[slots], self._discharge_bias[slots])
        return kw + np.where(kw == 0.0, self._idle_bias[slots], bias)
