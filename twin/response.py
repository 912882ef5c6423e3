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

from twin.assets import Response

STAIR_S = 1.0
"""Length of a stair of the ramp in seconds."""


class Follower:
    """The power one EVSE asks of its car at any time; starts at 0 kW.

    Times are seconds on one clock of the caller's choice and must not run backwards between orders.
    """

    __slots__ = ("_kw", "_times", "delay_s", "ramp_kw_per_s", "target_kw")

    def __init__(self, response: Response) -> None:
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
        if rest > 1e-9 * STAIR_S:
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
