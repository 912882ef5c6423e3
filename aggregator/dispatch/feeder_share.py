"""What the street's grid bears of chargers that nobody plans for: those out of contact, and cars that just came.

A charger without a plan draws its fallback share. All of them at once, with the building's worst load, must fit the
feeder: that is proved before the service starts. A car that comes between two plans finds a feeder on which others were
given all there is: it gets what they leave until a plan knows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.street.known import Street
from aggregator.planning.street.lessons import element_words
from twin.assets import TimeGrid
from twin.feeder.network.phases import PHASES
from twin.feeder.scene import Limits, Scene
from twin.validation.breaches import BreachKind
from twin.validation.room import Crossing, crossings, fitted

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

_SHORT_S: Final = 60
_PASSES: Final = 8
_APART: Final = 0.005
"""Of a rating: half of the last digit that is told."""


def fallback_fault(street: Street, building_kw: float, timezone: str, fallback_kw: Mapping[str, float]) -> str | None:
    """What the fallback shares of all chargers do to the feeder, in words; None if it bears them.

    Args:
        street: the feeder with the site on it.
        building_kw: highest expected load of the building.
        timezone: of the neighbours' hours.
        fallback_kw: by EVSE id; chargers that lost contact draw it all at once, or those of one phase alone.
    """
    scene = street.worst_day(building_kw, timezone)
    shares = np.array([fallback_kw[evse_id] for evse_id in scene.evse_ids])
    for drawing in _together(scene):
        crossed = crossings(scene, np.where(drawing, shares, 0.0))
        if crossed:
            return _words(crossed[0], scene.limits, has_hours=bool(street.neighbours))
    return None


def fitted_fallback(
    street: Street, building_kw: float, timezone: str, wished_kw: Mapping[str, float], least_kw: Mapping[str, float]
) -> dict[str, float]:
    """The shares of `wished_kw` by EVSE id, lowered to whole watts where the feeder does not bear them.

    least_kw: the least that a charger can be told other than 0, by EVSE id; the rest as in `fallback_fault`.
    """
    scene = street.worst_day(building_kw, timezone)
    shares = np.array([wished_kw[evse_id] for evse_id in scene.evse_ids])
    least = np.array([least_kw[evse_id] for evse_id in scene.evse_ids])
    for _ in range(_PASSES):  # what is lowered for one set of chargers may break nothing new, but is looked at again
        before = shares
        for drawing in _together(scene):
            given = fitted(scene, np.where(drawing, shares, 0.0), drawing, least)
            shares = np.where(drawing & (given < shares), _whole_watts(given), shares)
        if (shares == before).all():
            break
    return dict(zip(scene.evse_ids, shares.tolist(), strict=True))


class FeederRoom:
    """What the feeder leaves for cars that no plan knows yet, beside what is ordered of the others."""

    def __init__(self, street: Street, least_kw: Mapping[str, float]) -> None:
        self._street, self._least_kw = street, least_kw
        self._known: tuple[object, dict[str, float]] = None, {}

    def share(
        self, ordered_kw: Mapping[str, float], newcomers_kw: Mapping[str, float], building_kw: float, now: datetime
    ) -> Mapping[str, float]:
        """What each newcomer may draw, at most what it would.

        Args:
            ordered_kw: by EVSE id, signed, what cars with a plan are told now; what they cross is not made worse.
            newcomers_kw: by EVSE id, 0 or more, what the others draw if nobody tells them anything.
            building_kw: the building's load.
            now: an aware time, for what neighbours draw in this hour.
        """
        key = (dict(ordered_kw), dict(newcomers_kw), round(building_kw), now.replace(minute=0, second=0, microsecond=0))
        if self._known[0] != key:
            self._known = key, self._found(ordered_kw, newcomers_kw, building_kw, now)
        return self._known[1]

    def _found(
        self, ordered_kw: Mapping[str, float], newcomers_kw: Mapping[str, float], building_kw: float, now: datetime
    ) -> dict[str, float]:
        scene = self._street.scene(TimeGrid(now, _SHORT_S, 1), np.array([building_kw]))
        power = np.array([newcomers_kw.get(name, ordered_kw.get(name, 0.0)) for name in scene.evse_ids])
        is_new = np.array([name in newcomers_kw for name in scene.evse_ids])
        least = np.array([self._least_kw.get(name, 0.0) for name in scene.evse_ids])
        given = dict(zip(scene.evse_ids, fitted(scene, power, is_new, least).tolist(), strict=True))
        return {name: min(kw, given.get(name, kw)) for name, kw in newcomers_kw.items()}


def _together(scene: Scene) -> Iterator[Claims]:
    """Who may be out of contact while others draw nothing: all, and those of each phase, which unbalance the most."""
    yield np.ones(len(scene.evse_ids), dtype=np.bool_)
    if any(len(phases) < len(PHASES) for phases in scene.evse_phases):
        for phase in PHASES:
            yield np.array([phase in phases for phases in scene.evse_phases])


def _whole_watts(power_kw: Floats) -> Floats:
    return np.floor(1000.0 * power_kw) / 1000.0


def _words(crossing: Crossing, limits: Limits, *, has_hours: bool) -> str:
    place = element_words(crossing.kind, crossing.asset_id)
    hour = f" in hour {crossing.step}" if has_hours else ""
    if crossing.kind is BreachKind.NO_SOLUTION:
        return f"no {place}{hour}"
    if crossing.kind.unit == "%":
        digits = 1 if crossing.kind is BreachKind.UNBALANCE else 0
        # Rounded up: 100.2 % of 100 % must not read as 100 %.
        value = math.ceil(100.0 * crossing.value * 10**digits) / 10**digits
        limit = {
            BreachKind.LINE_OVERLOAD: limits.line_loading, BreachKind.TRANSFORMER_OVERLOAD: limits.transformer_loading,
            BreachKind.UNBALANCE: limits.unbalance,
        }.get(crossing.kind) or crossing.allowed
        # What base loads alone do beyond a limit is allowed, and no more: told as a limit it would be a riddle.
        beyond_kept = crossing.allowed > limit + _APART
        most = limit if beyond_kept else crossing.allowed
        alone = f", where base loads alone take it to {100.0 * crossing.allowed:.{digits}f} %" if beyond_kept else ""
        return f"{place} at {value:.{digits}f} % of at most {100.0 * most:.{digits}f} %{hour}{alone}"
    bound = "at least" if crossing.kind is BreachKind.VOLTAGE_LOW else "at most"
    return f"{place} {abs(crossing.value):.3f} p.u. of {bound} {abs(crossing.allowed):.3f}{hour}"
