"""What the service believes about the cars at its chargers.

Beliefs come from chargers, drivers' apps and fleet systems; real departures and true SoC are never known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class SocSource(StrEnum):
    REPORTED = "reported"
    ESTIMATED = "estimated"


class WishSource(StrEnum):
    """Who said when a car leaves and what it should hold then; the first that spoke for this visit counts."""

    PERSON = "person"
    CAR = "car"
    SITE = "site"


@dataclass(frozen=True, slots=True)
class DepartureTarget:
    """What a driver or fleet system declared for one charging session.

    id_token: the card or account used at the charger (personal data: never logged).
    requested_kwh: battery-side energy wanted on top of what was there on arrival; below 0 for a driver who needs less
        than that and whose car need not be charged.
    floor_soc: discharge never goes below it. v2g_consent: False withdraws discharge at once.
    """

    id_token: str = field(repr=False)
    departure: datetime = field()
    requested_kwh: float = field()
    vehicle_model: str = field()
    v2g_consent: bool = False
    floor_soc: float = 0.2
    declared_at: datetime | None = None
    declared_by: str = "driver"


@dataclass(frozen=True, slots=True)
class LiveSession:
    """One car at one EVSE as the service sees it now. Energies are battery side and absolute unless said.

    is_declared: a departure target is known; otherwise departure and target are defaults of the site.
    departure_by, target_by: whose word they are (see docs/decisions/009).
    car_charge_kw, car_discharge_kw: what the car itself said it takes and gives at most; None if it said nothing.
    departure: when it is expected to leave, always ahead. overdue_since: the departure that has passed while it stayed.
    energy_kwh: estimate now; soc_source and soc_at say where it comes from and how old it is.
    delivered_kwh: change of battery energy since the session started (may fall while discharging).
    imported_kwh, exported_kwh: from the meter registers, connector side.
    is_full: the car stopped drawing by itself.
    discharged_h: time spent discharging, as the warranty counts it.
    """

    transaction_id: str
    evse_id: str
    id_token: str = field(repr=False)
    started_at: datetime = field()
    departure: datetime = field()
    target_kwh: float = field()
    requested_kwh: float = field()
    floor_kwh: float = field()
    capacity_kwh: float = field()
    energy_kwh: float = field()
    delivered_kwh: float = field()
    imported_kwh: float = field()
    exported_kwh: float = field()
    power_kw: float = field()
    vehicle_model: str = field()
    v2g_consent: bool = field()
    soc_source: SocSource = field()
    soc_at: datetime = field()
    is_declared: bool = field()
    is_full: bool = False
    discharged_h: float = 0.0
    overdue_since: datetime | None = None
    departure_by: WishSource = WishSource.SITE
    target_by: WishSource = WishSource.SITE
    car_charge_kw: float | None = None
    car_discharge_kw: float | None = None

    @property
    def soc(self) -> float:
        return self.energy_kwh / self.capacity_kwh
