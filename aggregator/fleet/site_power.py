"""What the connection-point meter says: latest power, building load, and the month's peak so far."""

from __future__ import annotations

from datetime import datetime, timedelta

_DEMAND_INTERVAL_S = 900
_MAX_HOLD = timedelta(minutes=5)
"""A reading stands for at most this long; a longer gap is a gap, not a constant."""


class SitePower:
    """Running account of one connection point.

    peak_kw: highest mean over a closed demand interval (15 minutes on the clock), starting from the month's peak.
    base_kw: building load (import without EVs), from the sub-meter where there is one.
    """

    def __init__(self, peak_so_far_kw: float) -> None:
        self.peak_kw = peak_so_far_kw
        self.import_kw: float | None = None
        self.base_kw: float | None = None
        self.ev_kw: float | None = None
        self.at: datetime | None = None
        self._interval: int | None = None
        self._energy_kws = 0.0
        self._covered_s = 0.0

    def reading(self, at: datetime, import_kw: float, ev_kw: float) -> bool:
        """Take a reading that is the mean since the one before; False if it is not newer than the last."""
        if self.at is not None and at <= self.at:
            return False
        seconds = min(at - self.at, _MAX_HOLD).total_seconds() if self.at is not None else 0.0
        interval = int(at.timestamp() // _DEMAND_INTERVAL_S)
        if interval != self._interval:
            self._close_interval()
            self._interval = interval
        self._energy_kws += import_kw * seconds
        self._covered_s += seconds
        self.at, self.import_kw, self.ev_kw, self.base_kw = at, import_kw, ev_kw, import_kw - ev_kw
        return True

    def _close_interval(self) -> None:
        if self._covered_s >= _DEMAND_INTERVAL_S / 2:
            self.peak_kw = max(self.peak_kw, self._energy_kws / self._covered_s)
        self._energy_kws = self._covered_s = 0.0
