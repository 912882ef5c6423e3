"""Who may discharge, how much and until when; whatever is missing means charging only.

Seven things must be in force at once: the EVSE's interconnection approval, the site's export limit (0 is a value,
nothing is not), an approval of the vehicle model for this current (for AC the EVSE-vehicle pair), warranty left in
kWh and hours, the consent of driver or fleet, a programme the site is enrolled in, and a grid that has been back long
enough. A latched stop and a charger known not to follow discharge orders count as missing too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from aggregator.fleet.model import LiveSession
from twin.assets import Current


class PermitGap(StrEnum):
    """What is missing."""

    SESSION = "no_charging_session"
    EVSE_APPROVAL = "evse_not_approved"
    EVSE_EXPIRED = "evse_approval_expired"
    SITE_EXPORT_LIMIT = "site_export_limit_unknown"
    VEHICLE_APPROVAL = "vehicle_model_not_approved"
    WARRANTY_ENERGY = "warranty_energy_used_up"
    WARRANTY_HOURS = "warranty_hours_used_up"
    CONSENT = "no_driver_consent"
    PROGRAMME = "no_programme"
    RECONNECTION = "waiting_after_loss_of_supply"
    STOPPED = "discharge_stopped"
    CHARGER = "charger_cannot_discharge"
    CAR = "car_offers_no_discharge"


@dataclass(frozen=True, slots=True)
class EvseApproval:
    """Interconnection approval of one EVSE.

    current: AC approvals are given for EVSE-vehicle pairs, because the inverter is in the car.
    grid_code: the settings it was approved with, e.g. "IEEE 1547-2018"; empty is no approval.
    max_discharge_kw: positive. expires: approval holds before this instant; None = no end.
    """

    evse_id: str
    reference: str
    grid_code: str
    max_discharge_kw: float
    current: Current
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class VehicleApproval:
    """What the maker of a vehicle model allows at one kind of current, over the life of each car.

    warranty_kwh, warranty_hours: discharge the warranty covers. evse_ids: the EVSEs it is paired with; needed for
    AC, None at DC means any.
    """

    model: str
    current: Current
    warranty_kwh: float
    warranty_hours: float
    evse_ids: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class DischargeUse:
    """Discharge counted against a warranty: connector-side kWh (0 or more) and hours of it."""

    kwh: float = 0.0
    hours: float = 0.0

    def plus(self, kwh: float, hours: float) -> DischargeUse:
        """Raise a `ValueError` if either is negative: use never shrinks."""
        if kwh < 0 or hours < 0:
            raise ValueError(f"discharge use: {kwh} kWh, {hours} h, expected 0 or more")
        return DischargeUse(self.kwh + kwh, self.hours + hours)


@dataclass(frozen=True, slots=True)
class DischargePermit:
    """What one EVSE may discharge now.

    allowed_kw: positive; 0 if anything is missing. until: discharge at or after this instant is not covered.
    remaining_kwh: warranty energy left for this car.
    """

    evse_id: str
    allowed_kw: float
    missing: tuple[PermitGap, ...]
    until: datetime | None = None
    remaining_kwh: float = 0.0

    @property
    def is_in_force(self) -> bool:
        return not self.missing and self.allowed_kw > 0

    def allows_at(self, when: datetime) -> float:
        """Largest discharge in kW (positive) at `when`."""
        if not self.is_in_force or (self.until is not None and when >= self.until):
            return 0.0
        return self.allowed_kw


def no_permit(evse_id: str, *missing: PermitGap) -> DischargePermit:
    """Charging only."""
    return DischargePermit(evse_id, 0.0, missing or (PermitGap.SESSION,))


@dataclass(frozen=True)
class PermitBook:
    """Every permit of one site, immutable; `consume` returns the next book.

    site_export_limit_kw: None = no limit was ever agreed, which forbids discharge; 0 = only into the building.
    use: discharge so far by car; the key is the session's id_token (personal data, so never shown).
    """

    evses: Mapping[str, EvseApproval]
    site_export_limit_kw: float | None
    vehicles: Mapping[tuple[str, Current], VehicleApproval]
    programmes: frozenset[str]
    use: Mapping[str, DischargeUse] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        evses: tuple[EvseApproval, ...],
        site_export_limit_kw: float | None,
        vehicles: tuple[VehicleApproval, ...],
        programmes: tuple[str, ...],
    ) -> PermitBook:
        """Raise a `ValueError` naming the first approval that is given twice."""
        evse_by_id = {approval.evse_id: approval for approval in evses}
        vehicle_by_key = {(approval.model, approval.current): approval for approval in vehicles}
        if len(evse_by_id) != len(evses):
            raise ValueError("permits.evses: an EVSE appears twice, expected one approval for each")
        if len(vehicle_by_key) != len(vehicles):
            raise ValueError("permits.vehicles: a model appears twice for one current, expected one approval for each")
        return cls(evse_by_id, site_export_limit_kw, vehicle_by_key, frozenset(programmes))

    def consume(self, id_token: str, kwh: float, hours: float) -> PermitBook:
        """The book after one car has discharged `kwh` over `hours`."""
        used = self.use.get(id_token, DischargeUse()).plus(kwh, hours)
        return replace(self, use={**self.use, id_token: used})

    def with_use(self, use: Mapping[str, DischargeUse]) -> PermitBook:
        """The book with use rebuilt from stored sessions, as on a start of the service."""
        return replace(self, use=dict(use))

    def discharge_permit(
        self,
        evse_id: str,
        session: LiveSession | None,
        now: datetime,
        *,
        reconnect_after: datetime | None,
        is_stopped: bool = False,
        charger_can_discharge: bool = True,
    ) -> DischargePermit:
        """What `evse_id` may discharge now, and every reason why not.

        reconnect_after: end of the reconnection delay after loss of supply or a DER alarm; None = none running.
        is_stopped: a "stop all discharge" covers this EVSE.
        charger_can_discharge: its dialect carries discharge set-points and it has been seen to follow them.
        """
        gaps: list[PermitGap] = []
        approval = self.evses.get(evse_id)
        if approval is None or not approval.grid_code or approval.max_discharge_kw <= 0:
            gaps.append(PermitGap.EVSE_APPROVAL)
        elif approval.expires is not None and now >= approval.expires:
            gaps.append(PermitGap.EVSE_EXPIRED)
        if self.site_export_limit_kw is None:
            gaps.append(PermitGap.SITE_EXPORT_LIMIT)
        if not self.programmes:
            gaps.append(PermitGap.PROGRAMME)
        if reconnect_after is not None and now < reconnect_after:
            gaps.append(PermitGap.RECONNECTION)
        if is_stopped:
            gaps.append(PermitGap.STOPPED)
        if not charger_can_discharge:
            gaps.append(PermitGap.CHARGER)
        remaining_kwh = 0.0
        if session is None:
            gaps.append(PermitGap.SESSION)
        else:
            vehicle_gaps, remaining_kwh = self._vehicle_gaps(evse_id, session, approval)
            gaps.extend(vehicle_gaps)
        if gaps or approval is None:
            return DischargePermit(evse_id, 0.0, tuple(gaps), remaining_kwh=remaining_kwh)
        offered_kw = None if session is None else session.car_discharge_kw
        allowed_kw = approval.max_discharge_kw if offered_kw is None else min(approval.max_discharge_kw, offered_kw)
        return DischargePermit(evse_id, allowed_kw, (), approval.expires, remaining_kwh)

    def _vehicle_gaps(
        self, evse_id: str, session: LiveSession, approval: EvseApproval | None
    ) -> tuple[list[PermitGap], float]:
        gaps = [] if session.v2g_consent else [PermitGap.CONSENT]
        if session.car_discharge_kw == 0.0:
            gaps.append(PermitGap.CAR)
        vehicle = self.vehicles.get((session.vehicle_model, approval.current)) if approval is not None else None
        if vehicle is None or not _is_paired(vehicle, evse_id):
            return [PermitGap.VEHICLE_APPROVAL, *gaps], 0.0
        used = self.use.get(session.id_token, DischargeUse())
        remaining_kwh = max(0.0, vehicle.warranty_kwh - used.kwh)
        if remaining_kwh <= 0:
            gaps.append(PermitGap.WARRANTY_ENERGY)
        if vehicle.warranty_hours - used.hours <= 0:
            gaps.append(PermitGap.WARRANTY_HOURS)
        return gaps, remaining_kwh


def _is_paired(vehicle: VehicleApproval, evse_id: str) -> bool:
    if vehicle.evse_ids is None:
        return vehicle.current is Current.DC
    return evse_id in vehicle.evse_ids
