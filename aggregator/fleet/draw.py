"""What a car takes when it is offered more: a car that tapers must not be planned at full power.

A charger that reports no SoC leaves only this: the order stands, the meter shows less. With a reported SoC the
battery's curve says it better, and nothing is learnt here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_SETTLE = timedelta(seconds=90)
_VALID = timedelta(minutes=20)
_LEAST_ORDER_KW = 1.0
_LEAST_GAP_KW = 0.4
_SAME_KW = 0.05
_ASLEEP_KW = 0.05
_MARGIN = 1.15
_MARGIN_KW = 0.1


class DrawLimits:
    """Largest charging power each car has lately been seen to take, where that is clearly less than it was offered."""

    def __init__(self) -> None:
        self._orders: dict[str, tuple[float, datetime]] = {}
        self._limits: dict[str, tuple[float, datetime]] = {}

    def seen(self, evse_id: str, at: datetime, ordered_kw: float, metered_kw: float) -> None:
        """A metered power and the order in force at that time; orders younger than a charger's answer say nothing."""
        known = self._orders.get(evse_id)
        if known is None or abs(known[0] - ordered_kw) > _SAME_KW:
            self._orders[evse_id] = (ordered_kw, at)
            return
        if at - known[1] < _SETTLE or ordered_kw < _LEAST_ORDER_KW:
            return
        if _ASLEEP_KW < metered_kw < ordered_kw - _LEAST_GAP_KW:
            self._limits[evse_id] = (metered_kw * _MARGIN + _MARGIN_KW, at)
        elif metered_kw >= ordered_kw - _LEAST_GAP_KW and evse_id in self._limits:
            limit_kw, since = self._limits[evse_id]
            if ordered_kw >= limit_kw - _MARGIN_KW:
                self._limits[evse_id] = (limit_kw * _MARGIN + _MARGIN_KW, since)  # it takes all: offer more

    def forget(self, evse_id: str) -> None:
        """The car left."""
        self._orders.pop(evse_id, None)
        self._limits.pop(evse_id, None)

    def at(self, now: datetime) -> dict[str, float]:
        """What was seen lately, by EVSE id; after a while a car is offered full power again."""
        return {evse_id: kw for evse_id, (kw, since) in self._limits.items() if now - since <= _VALID}
