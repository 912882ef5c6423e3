"""Share out what a limit leaves for charging, and how far below a limit its first minute must be.

Pure. A limit only ever takes charging power away: nothing here starts discharge or changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BISECTIONS = 60
SHORTEST_REMAINDER_S = 10.0


@dataclass(frozen=True, slots=True)
class Draw:
    """What one EVSE is expected to draw now.

    power_kw: signed. min_charge_kw: below it the car stops (6 A, IEC 61851-1; 0 at DC).
    laxity_h: hours the car could wait and still leave with its target; negative if it is late already.
    """

    evse_id: str
    power_kw: float
    min_charge_kw: float = 0.0
    laxity_h: float = 0.0

    @property
    def least_kw(self) -> float:
        """The least it can draw without stopping; a car that already draws less than the minimum may go on."""
        return min(self.min_charge_kw, self.power_kw)


def allocate(limit_kw: float, base_kw: float, draws: Sequence[Draw]) -> dict[str, float]:
    """Power for every EVSE so that `base_kw` plus their sum stays at or below `limit_kw`, as far as charging can.

    Charging cars keep between their least and their present power, in proportion to it; if not even the least of all
    fits, the cars with the most laxity are paused first. Discharging cars stay as they are.
    """
    result = {draw.evse_id: draw.power_kw for draw in draws}
    charging = sorted((d for d in draws if d.power_kw > 0), key=lambda d: (d.laxity_h, d.evse_id))
    room_kw = max(0.0, limit_kw - base_kw - sum(d.power_kw for d in draws if d.power_kw < 0))
    if sum(d.power_kw for d in charging) <= room_kw:
        return result
    kept: list[Draw] = []
    least_kw = 0.0
    for draw in charging:
        if least_kw + draw.least_kw <= room_kw:
            kept.append(draw)
            least_kw += draw.least_kw
        else:
            result[draw.evse_id] = 0.0
    share = _share(room_kw, kept)
    result.update({draw.evse_id: _at_share(draw, share) for draw in kept})
    return result


def curtail_discharge(export_limit_kw: float, base_kw: float, draws: Sequence[Draw]) -> dict[str, float]:
    """Power for every EVSE so that the site exports at most `export_limit_kw`: discharge moves toward zero.

    Charging is not raised instead: that is for the planner. All discharging cars give way in proportion.
    """
    result = {draw.evse_id: draw.power_kw for draw in draws}
    discharge_kw = -sum(d.power_kw for d in draws if d.power_kw < 0)
    net_kw = base_kw + sum(result.values())
    excess_kw = -export_limit_kw - net_kw
    if excess_kw <= 0 or discharge_kw <= 0:
        return result
    kept = max(0.0, 1.0 - excess_kw / discharge_kw)
    result.update({d.evse_id: d.power_kw * kept + 0.0 for d in draws if d.power_kw < 0})
    return result


def first_minute_level_kw(limit_kw: float, net_kw: float, response_s: float, window_s: float = 60.0) -> float:
    """Net power to aim for after a limit took effect, so that the mean over `window_s` is at most the limit.

    Chargers answer after `response_s`, during which the site still draws `net_kw`; the rest of the window pays back:

        net    |#########|
        limit  |---------|------------------------|
        level  |         |########################|
               0      response                  window
    """
    above_kws = max(0.0, net_kw - limit_kw) * response_s
    remaining_s = max(SHORTEST_REMAINDER_S, window_s - response_s)
    return limit_kw - above_kws / remaining_s


def _at_share(draw: Draw, share: float) -> float:
    return min(draw.power_kw, max(draw.least_kw, share * draw.power_kw))


def _share(room_kw: float, kept: Sequence[Draw]) -> float:
    """The largest common share of their present power (0 to 1) that fits into the room."""
    if sum(draw.power_kw for draw in kept) <= room_kw:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if sum(_at_share(draw, middle) for draw in kept) <= room_kw:
            low = middle
        else:
            high = middle
    return low
