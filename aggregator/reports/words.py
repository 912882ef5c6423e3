"""Put what the gate refused and why less was promised into plain words, for pages and reports alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from aggregator.signals.model import ReasonCode

REASONS: dict[ReasonCode, str] = {
    ReasonCode.ENERGY: "vehicles without enough energy to spare",
    ReasonCode.DEPARTURE: "vehicles that leave before the end",
    ReasonCode.POWER: "chargers at their power limit",
    ReasonCode.PERMIT: "vehicles or chargers without a discharge permit",
    ReasonCode.FEEDER: "vehicles that the feeder's limits hold back",
    ReasonCode.BUILDING: "building load above the target",
    ReasonCode.NOT_ENROLLED: "programme not enrolled",
    ReasonCode.TOO_LATE: "notice too short",
}

# What a breach of each kind means to a reader, and the unit of its worst excess.
_BREACHES: dict[str, tuple[str, str]] = {
    "site_cap": ("net power of {asset} {worst} past its cap", "kW"),
    "evse_rating": ("{asset} {worst} past its rating", "kW"),
    "departure": ("the car at {asset} leaves {worst} short", "kWh"),
    "floor": ("the car at {asset} {worst} below its driver's floor", "kWh"),
    "permit": ("{asset} would discharge {worst} without a permit", "kW"),
    "event": ("net power {worst} above what was promised to the grid", "kW"),
    "no_solution": ("no power flow on feeder {asset} at {worst}", "kW"),
    "voltage_low": ("voltage at {asset} {worst} too low", "p.u."),
    "voltage_high": ("voltage at {asset} {worst} too high", "p.u."),
    "line_overload": ("line {asset} {worst} past its rating", "%"),
    "transformer_overload": ("{asset} {worst} past its rating", "%"),
    "unbalance": ("unbalance at {asset} {worst} past its limit", "%"),
    "engines_disagree": ("the two power flows of feeder {asset} differ by {worst}", "p.u."),
}

OF_FEEDER = frozenset({
    "no_solution", "voltage_low", "voltage_high", "line_overload", "transformer_overload", "unbalance",
    "engines_disagree",
})
"""Kinds of breach that are about the street's grid."""



@dataclass(frozen=True, slots=True)
class Refusal:
    """One breach the replay showed, so that the gate refused the plan of that round.

    round: 1 for the first attempt. kind: a breach kind of the twin's validation, e.g. "site_cap".
    asset_id: an EVSE, also for the car at it; the site or the signal where the breach is about them.
    worst: largest excess, in the unit of the kind.
    """

    round: int
    kind: str
    asset_id: str
    start: datetime
    end: datetime
    worst: float

    @property
    def unit(self) -> str:
        return _BREACHES.get(self.kind, ("", ""))[1]

    def in_words(self, zone: ZoneInfo) -> str:
        """One phrase, with the site's local time."""
        template, unit = _BREACHES.get(self.kind, (self.kind.replace("_", " ") + " at {asset} by {worst}", ""))
        digits = 4 if unit == "p.u." else 2
        phrase = template.format(asset=self.asset_id, worst=f"{self.worst:.{digits}f} {unit}".strip())
        start, end = self.start.astimezone(zone), self.end.astimezone(zone)
        if self.kind == "departure":
            return f"{phrase} at {end:%H:%M}"
        when = f"{start:%H:%M}" if f"{start:%H:%M}" == f"{end:%H:%M}" else f"{start:%H:%M}-{end:%H:%M}"
        return f"{phrase} ({when})"


def reasons_in_words(reasons: tuple[tuple[ReasonCode, int], ...]) -> tuple[str, ...]:
    """Reason codes with the number of vehicles or EVSEs concerned; never which ones."""
    return tuple(f"{REASONS[code]} ({count})" if count else REASONS[code] for code, count in reasons)
