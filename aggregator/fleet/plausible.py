"""What a charger can have said: absurd values are left out before anything is believed or stored.

A charger is authenticated, not trusted. One broken meter or clock must neither move the site's account of its building
load nor stop the planner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from aggregator.clock import Clock
from aggregator.ocpp.events import EvNeeds, MeterSample

_AHEAD = timedelta(minutes=5)
_BEHIND = timedelta(days=366)
"""A charger may bring what it kept while it was offline, but nothing from another age and nothing to come."""
_MOST_WH = 1e12
_POWER_FACTOR = 2.0
_POWER_MARGIN_KW = 5.0
_UNKNOWN_EVSE_KW = 1000.0
_BATTERY_KWH = (1.0, 2000.0)


@dataclass(frozen=True)
class Plausibility:
    """Bounds on what chargers report. max_power_kw: the larger of both directions, by EVSE id."""

    clock: Clock
    max_power_kw: Mapping[str, float] = field(default_factory=dict)

    def moment(self, at: datetime) -> datetime:
        """`at`, or now if the charger's clock cannot be right."""
        now = self.clock.now()
        return at if now - _BEHIND <= at <= now + _AHEAD else now

    def sample(self, sample: MeterSample) -> MeterSample:
        """The sample without what cannot be: power far beyond the EVSE, registers below 0 or beyond any meter."""
        power_kw, soc = sample.power_kw, sample.soc
        most_kw = self.max_power_kw.get(sample.evse_id, _UNKNOWN_EVSE_KW) * _POWER_FACTOR + _POWER_MARGIN_KW
        return replace(
            sample, at=self.moment(sample.at),
            power_kw=power_kw if power_kw is not None and abs(power_kw) <= most_kw else None,
            import_wh=_register(sample.import_wh), export_wh=_register(sample.export_wh),
            soc=soc if soc is not None and 0.0 <= soc <= 1.0 else None,
        )

    def needs(self, needs: EvNeeds) -> EvNeeds:
        """Without a battery that no car has and without a SoC that there is not."""
        least_kwh, most_kwh = _BATTERY_KWH
        soc, capacity_kwh = needs.soc, needs.capacity_kwh
        return replace(
            needs, at=self.moment(needs.at), soc=soc if soc is not None and 0.0 <= soc <= 1.0 else None,
            capacity_kwh=capacity_kwh if capacity_kwh is not None and least_kwh <= capacity_kwh <= most_kwh else None,
        )

    def start_wh(self, register_wh: float) -> float:
        """A register at the start; 0 for one that cannot be, as for a charger that says none."""
        return _register(register_wh) or 0.0


def _register(wh: float | None) -> float | None:
    return wh if wh is not None and 0.0 <= wh <= _MOST_WH else None
