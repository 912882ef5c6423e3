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
_MOST_KW = 10_000.0
_LONGEST_STAY = timedelta(days=60)


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
        """Without a battery that no car has, a SoC that there is not, a departure that has passed or is years ahead."""
        at, departure = self.moment(needs.at), needs.departure
        most_kwh = _BATTERY_KWH[1]
        return replace(
            needs, at=at, soc=_within(needs.soc, 0.0, 1.0), target_soc=_within(needs.target_soc, 0.0, 1.0),
            capacity_kwh=_within(needs.capacity_kwh, *_BATTERY_KWH),
            departure=departure if departure is not None and at < departure <= at + _LONGEST_STAY else None,
            max_charge_kw=_within(needs.max_charge_kw, 0.0, _MOST_KW),
            max_discharge_kw=_within(needs.max_discharge_kw, 0.0, _MOST_KW),
            target_energy_kwh=_within(needs.target_energy_kwh, -most_kwh, most_kwh),
            min_energy_kwh=_within(needs.min_energy_kwh, -most_kwh, most_kwh),
            min_v2x_energy_kwh=_within(needs.min_v2x_energy_kwh, -most_kwh, most_kwh),
        )

    def start_wh(self, register_wh: float) -> float:
        """A register at the start; 0 for one that cannot be, as for a charger that says none."""
        return _register(register_wh) or 0.0


def _within(value: float | None, least: float, most: float) -> float | None:
    return value if value is not None and least <= value <= most else None


def _register(wh: float | None) -> float | None:
    return wh if wh is not None and 0.0 <= wh <= _MOST_WH else None
