"""Plans and reasons in words: for a terminal, and for the tables of a page."""

from __future__ import annotations

from typing import Final

from aggregator.planning.fleet.why import Decision, Horizon, Reason

_DECISIONS: Final[dict[Decision, str]] = {
    "charger": "at the charger's full power", "price": "at rest, neither direction pays",
    "balance": "as much as its site's price bears", "vehicle": "at rest, charging does not pay now",
    "mix": "in a mix of several plans; prices alone say otherwise"}
_HORIZONS: Final[dict[Horizon, str]] = {
    "target": "its target", "missing": "a target it misses", "full": "a full battery", "floor": "its floor",
    "departure": "more than its target at departure"}
_SHOWN = 5e-4  # a price below shows as 0 in three digits


def decision_words(reason: Reason) -> str:
    """What decided one step of one car."""
    return _DECISIONS[reason.decision]


def horizon_words(reason: Reason) -> str:
    """What gives a kWh in the battery its worth."""
    return f"{_HORIZONS[reason.horizon]} after step {reason.until_step}"


def reason_words(reason: Reason) -> str:
    """One step of one car in a line."""
    parts = ", ".join(f"{name} {value:+.3f}" for name, value in reason.price_parts.items() if abs(value) >= _SHOWN)
    return (f"step {reason.step}: {reason.power_kw:+.2f} kW to {reason.energy_kwh:.1f} kWh, {decision_words(reason)}; "
            f"a kWh costs {reason.site_price:.3f} ({parts or 'nothing'}) and is worth {reason.energy_value:.3f} in the "
            f"battery because of {horizon_words(reason)}")
