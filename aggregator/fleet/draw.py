"""What a car takes when it is offered more: a car that tapers must not be planned at full power.

A charger that reports no SoC leaves only this: the order stands, the meter shows less.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_SETTLE = timedelta(seconds=90)
_FOLLOWS = 0.85
_ASLEEP_KW = 0.05
_MARGIN = 1.15
_MARGIN_KW = 0.1


class DrawLimits:
    """Largest charging power each car has lately been seen to take, where that is less than it was offered."""

    def __init__(self) -> None:
        self._orders: dict[str, tuple[float, datetime]] = {}
        self._limits: dict[str, float] = {}

    def seen(self, evse_id: str, at: datetime, ordered_kw: float, metered_kw: float) -> None:
        """A metered power and the order in force at that time; orders younger than a charger's answer say nothing."""
        known = self._orders.get(evse_id)
        if known is None or abs(known[0] - ordered_kw) > _ASLEEP_KW:
            self._orders[evse_id] = (ordered_kw, at)
            return
        if at - known[1] < _SETTLE or ordered_kw <= _ASLEEP_KW:
            return
        if _ASLEEP_KW < metered_kw < _FOLLOWS * ordered_kw:
            self._limits[evse_id] = metered_kw * _MARGIN + _MARGIN_KW
        elif metered_kw >= ordered_kw - _MARGIN_KW:
            held = self._limits.get(evse_id)
            if held is not None and ordered_kw >= held - _MARGIN_KW:
                self._limits[evse_id] = held * _MARGIN + _MARGIN_KW  # it takes all it is offered: offer more

    def limit_kw(self, evse_id: str) -> float | None:
        return self._limits.get(evse_id)

    def forget(self, evse_id: str) -> None:
        """The car left."""
        self._orders.pop(evse_id, None)
        self._limits.pop(evse_id, None)

    def all(self) -> dict[str, float]:
        """By EVSE id."""
        return dict(self._limits)
