"""What a car takes when it is offered more: a car that tapers must not be planned at full power.

A charger that reports no SoC leaves only this: the order stands, the meter shows less. With a reported SoC the
battery's curve says it better, and nothing is learnt here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_SETTLE = timedelta(seconds=90)
_VALID = timedelta(minutes=20)
_SILENT = timedelta(minutes=30)
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


class Silence:
    """Directions in which a charger was ordered to move energy and moved none: broken, or its car sleeps.

    It is left out of plans for half an hour, so that nobody waits for what it does not give, and then tried again.
    """

    def __init__(self) -> None:
        self._orders: dict[str, tuple[bool, datetime]] = {}
        self._since: dict[tuple[str, bool], datetime] = {}

    def seen(self, evse_id: str, at: datetime, ordered_kw: float, metered_kw: float) -> None:
        """A metered power and the order in force at that time; orders younger than a charger's answer say nothing."""
        if abs(metered_kw) >= _ASLEEP_KW:
            self._since.pop((evse_id, metered_kw > 0.0), None)
        known, charges = self._orders.get(evse_id), ordered_kw > 0.0
        if abs(ordered_kw) < _ASLEEP_KW:
            self._orders.pop(evse_id, None)
        elif known is None or known[0] != charges:
            self._orders[evse_id] = (charges, at)
        elif at - known[1] >= _SETTLE and abs(metered_kw) < _ASLEEP_KW:
            self._since[evse_id, charges] = at

    def forget(self, evse_id: str) -> None:
        """The car left: the next one may be luckier."""
        self._orders.pop(evse_id, None)
        for charges in (True, False):
            self._since.pop((evse_id, charges), None)

    def cannot_charge(self, now: datetime) -> frozenset[str]:
        """EVSE ids that lately drew nothing when they were ordered to charge."""
        return self._lately(now, charges=True)

    def cannot_discharge(self, now: datetime) -> frozenset[str]:
        """EVSE ids that lately gave nothing when they were ordered to discharge."""
        return self._lately(now, charges=False)

    def _lately(self, now: datetime, *, charges: bool) -> frozenset[str]:
        return frozenset(
            evse_id for (evse_id, way), since in self._since.items() if way == charges and now - since <= _SILENT
        )
