"""Beliefs about every plugged car, updated by what is observed and nothing else.

A charger that reports no SoC leaves only its energy registers: battery energy is then estimated from an assumed
arrival SoC and the losses of the declared vehicle model. A reported SoC replaces the estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from aggregator.fleet.model import DepartureTarget, LiveSession, SocSource, WishSource
from aggregator.fleet.wishes import CarWord, combined
from aggregator.ocpp.events import EvNeeds, MeterSample
from twin.assets import Vehicle
from twin.battery import battery_kw

_OVERSTAY = timedelta(minutes=30)
"""A car still plugged in after its declared departure is expected to leave within this time, again and again."""
_ASLEEP_KW = 0.05
_UNKNOWN_EVSE_KW = 1000.0
_POWER_FACTOR = 1.25
_REGISTER_SLACK_KWH = 0.5
_ROUNDING_WH = 10.0
"""Registers are rounded differently in the messages of one charger; a larger fall is a meter that began anew."""
_SOC_RESOLUTION = 0.01
"""OCPP and ISO 15118 report SoC in whole per cent."""


class UnknownVehicleModel(ValueError):
    """A declaration names a vehicle model that is not in the catalogue."""

    def __init__(self, model: str, known: Iterable[str]) -> None:
        super().__init__(f"vehicle_model: {model!r}, expected one of {', '.join(sorted(known))}")
        self.model = model


@dataclass(frozen=True, slots=True)
class VehicleModel:
    """A vehicle of the catalogue and what its battery wear costs per kWh of throughput."""

    vehicle: Vehicle
    wear_per_kwh: float


@dataclass(slots=True)
class _Session:
    transaction_id: str
    evse_id: str
    id_token: str
    started_at: datetime
    import_wh_start: float
    export_wh_start: float
    last_at: datetime
    import_wh: float
    export_wh: float
    power_kw: float = 0.0
    moved_kwh: float = 0.0
    reported_at: datetime | None = None
    arrival_kwh: float | None = None
    capacity_kwh: float | None = None
    is_full: bool = False
    discharged_h: float = 0.0
    car: CarWord | None = None


@dataclass(frozen=True, slots=True)
class SiteDefaults:
    """What is assumed of a driver who declared nothing."""

    stay: timedelta
    requested_kwh: float
    vehicle_model: str
    arrival_soc: float = 0.5
    floor_soc: float = 0.2


class Beliefs:
    """The sessions now open and the targets declared for them.

    max_power_kw: of each EVSE, by id; a register that moved more than this allows moved no energy.
    """

    def __init__(
        self, vehicles: Mapping[str, VehicleModel], defaults: SiteDefaults,
        max_power_kw: Mapping[str, float] | None = None,
    ) -> None:
        self._max_power_kw = dict(max_power_kw or {})
        if defaults.vehicle_model not in vehicles:
            raise UnknownVehicleModel(defaults.vehicle_model, vehicles)
        self._vehicles = vehicles
        self._defaults = defaults
        self._open: dict[str, _Session] = {}
        self._targets: dict[str, DepartureTarget] = {}

    def vehicle(self, model: str) -> VehicleModel:
        try:
            return self._vehicles[model]
        except KeyError:
            raise UnknownVehicleModel(model, self._vehicles) from None

    def declare(self, target: DepartureTarget) -> None:
        """Take the newest declaration for a token. Raises `UnknownVehicleModel`."""
        self.vehicle(target.vehicle_model)
        self._targets[target.id_token] = target

    def target_of(self, id_token: str) -> DepartureTarget | None:
        return self._targets.get(id_token)

    def started(
        self, transaction_id: str, evse_id: str, id_token: str, at: datetime, import_wh: float, export_wh: float = 0.0
    ) -> bool:
        """A transaction began; False if it was already known. A forgotten one on the same EVSE is replaced."""
        known = self._open.get(evse_id)
        if known is not None and known.transaction_id == transaction_id:
            return False
        self._open[evse_id] = _Session(
            transaction_id, evse_id, id_token, at, import_wh, export_wh, at, import_wh, export_wh
        )
        return True

    def metered(self, sample: MeterSample) -> bool:
        """Account for a meter sample; False if it belongs to no open session or is older than the last."""
        session = self._open.get(sample.evse_id)
        if session is None or sample.at < session.last_at:
            return False
        if sample.transaction_id is not None and sample.transaction_id != session.transaction_id:
            return False
        if sample.import_wh is not None or sample.export_wh is not None:  # else nothing is known of what moved
            imported = session.import_wh if sample.import_wh is None else sample.import_wh
            exported = session.export_wh if sample.export_wh is None else sample.export_wh
            self._rebase(session, sample.at, imported, exported)
            self._book(session, sample.at, max(imported, session.import_wh), max(exported, session.export_wh))
        if sample.power_kw is not None:
            session.power_kw = sample.power_kw
            if abs(sample.power_kw) > _ASLEEP_KW:
                session.is_full = False
        if sample.soc is not None:
            self.soc_reported(sample.evse_id, sample.soc, sample.at)
        return True

    def _rebase(self, session: _Session, at: datetime, import_wh: float, export_wh: float) -> None:
        """A meter that was reset, replaced or misread counts on from where it is; what moved meanwhile is unknown."""
        hours = (at - session.last_at).total_seconds() / 3600.0
        most_kw = self._max_power_kw.get(session.evse_id, _UNKNOWN_EVSE_KW) * _POWER_FACTOR
        most_wh = (most_kw * hours + _REGISTER_SLACK_KWH) * 1000.0
        if not -_ROUNDING_WH <= import_wh - session.import_wh <= most_wh:
            session.import_wh_start = import_wh - (session.import_wh - session.import_wh_start)
            session.import_wh = import_wh
        if not -_ROUNDING_WH <= export_wh - session.export_wh <= most_wh:
            session.export_wh_start = export_wh - (session.export_wh - session.export_wh_start)
            session.export_wh = export_wh

    def _book(self, session: _Session, at: datetime, import_wh: float, export_wh: float) -> None:
        hours = (at - session.last_at).total_seconds() / 3600.0
        vehicle = self._vehicle_of(session)
        for energy_kwh, sign in (
            ((import_wh - session.import_wh) / 1000.0, 1.0), ((export_wh - session.export_wh) / 1000.0, -1.0)
        ):
            if energy_kwh > 0.0:
                # The mean power of the interval stands for its losses; without a duration they are at 1 hour.
                most_kw = self._max_power_kw.get(session.evse_id, _UNKNOWN_EVSE_KW) * _POWER_FACTOR
                mean_kw = min(energy_kwh / hours, most_kw) if hours > 0.0 else energy_kwh
                session.moved_kwh += energy_kwh * battery_kw(vehicle, sign * mean_kw) / mean_kw
        if export_wh > session.export_wh:
            session.discharged_h += hours
        session.last_at, session.import_wh, session.export_wh = at, import_wh, export_wh

    def soc_reported(self, evse_id: str, soc: float, at: datetime, capacity_kwh: float | None = None) -> None:
        session = self._open.get(evse_id)
        if session is None:
            return
        session.capacity_kwh = capacity_kwh or session.capacity_kwh
        session.reported_at = at
        capacity = session.capacity_kwh or self._vehicle_of(session).battery.capacity_kwh
        low, high = (
            (soc + error) * capacity - session.moved_kwh for error in (-_SOC_RESOLUTION / 2, _SOC_RESOLUTION / 2)
        )
        # Registers say what moved far finer than a SoC in whole per cent says where it began: a report only narrows
        # where the session may have begun, it does not make the estimate jump to the nearest per cent.
        before = session.arrival_kwh
        session.arrival_kwh = (low + high) / 2 if before is None else min(max(before, low), high)

    def needs_told(self, needs: EvNeeds, moved_kwh: float | None = None) -> CarWord | None:
        """The car said what it needs; None if no session is open there.

        moved_kwh: what had gone into its battery when it said so; None if it says so now.
        """
        session = self._open.get(needs.evse_id)
        if session is None:
            return None
        if needs.soc is not None and moved_kwh is None:
            self.soc_reported(needs.evse_id, needs.soc, needs.at, needs.capacity_kwh)
        session.capacity_kwh = needs.capacity_kwh or session.capacity_kwh
        session.car = CarWord(needs, session.moved_kwh if moved_kwh is None else moved_kwh)
        return session.car

    def stopped_drawing(self, evse_id: str) -> None:
        """The charger says the car itself suspends charging although it was offered power: it is full."""
        session = self._open.get(evse_id)
        if session is not None:
            session.is_full = True

    def ended(self, evse_id: str, transaction_id: str) -> bool:
        session = self._open.get(evse_id)
        if session is None or session.transaction_id != transaction_id:
            return False
        del self._open[evse_id]
        return True

    def evse_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._open))

    def session(self, evse_id: str, now: datetime) -> LiveSession | None:
        session = self._open.get(evse_id)
        return None if session is None else self._view(session, now)

    def sessions(self, now: datetime) -> tuple[LiveSession, ...]:
        """All open sessions, by EVSE id."""
        return tuple(self._view(self._open[evse_id], now) for evse_id in sorted(self._open))

    def _vehicle_of(self, session: _Session) -> Vehicle:
        target = self._targets.get(session.id_token)
        return self._vehicles[target.vehicle_model if target else self._defaults.vehicle_model].vehicle

    def _view(self, session: _Session, now: datetime) -> LiveSession:
        target = self._targets.get(session.id_token)
        vehicle = self._vehicle_of(session)
        capacity = session.capacity_kwh or vehicle.battery.capacity_kwh
        wish = combined(
            target, session.car, session.started_at, self._defaults.stay, self._defaults.requested_kwh,
            session.arrival_kwh, capacity,
        )
        requested = wish.requested_kwh
        top = capacity * vehicle.battery.soc_max
        if session.arrival_kwh is not None:
            arrival = max(0.0, session.arrival_kwh)
            energy = arrival + session.moved_kwh
            source, soc_at = SocSource.REPORTED, session.reported_at or session.last_at
        else:
            arrival = min(self._defaults.arrival_soc * capacity, max(0.0, top - requested))
            energy = arrival + session.moved_kwh
            source, soc_at = SocSource.ESTIMATED, session.last_at
        energy = min(max(energy, 0.0), capacity)
        wanted = max(0.0, min(arrival + requested, top))
        departure = wish.departure
        floor_soc = target.floor_soc if target else self._defaults.floor_soc
        floor_kwh = floor_soc * capacity
        if session.car is not None:
            floor_kwh = max(floor_kwh, session.car.floor_kwh(arrival))
        return LiveSession(
            transaction_id=session.transaction_id, evse_id=session.evse_id, id_token=session.id_token,
            started_at=session.started_at,
            departure=departure if departure > now else now + _OVERSTAY,
            target_kwh=min(wanted, energy) if session.is_full else wanted,
            requested_kwh=requested, floor_kwh=min(floor_kwh, top), capacity_kwh=capacity,
            energy_kwh=energy, delivered_kwh=energy - arrival,
            imported_kwh=(session.import_wh - session.import_wh_start) / 1000.0,
            exported_kwh=(session.export_wh - session.export_wh_start) / 1000.0,
            power_kw=session.power_kw,
            vehicle_model=target.vehicle_model if target else self._defaults.vehicle_model,
            v2g_consent=target.v2g_consent if target else False,
            soc_source=source, soc_at=soc_at, is_declared=wish.departure_by is not WishSource.SITE,
            is_full=session.is_full, discharged_h=session.discharged_h,
            overdue_since=departure if departure <= now else None,
            departure_by=wish.departure_by, target_by=wish.target_by,
            car_charge_kw=None if session.car is None else session.car.said.max_charge_kw,
            car_discharge_kw=None if session.car is None else session.car.discharge_kw,
        )
