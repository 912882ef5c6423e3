"""Seeded draws of what a recording does not hold: the car, its SoC on arrival, the driver's consent.

Draws are keyed by (seed, visit, what), so that adding or dropping a visit changes no other one.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist

from twin.assets import AssetError, Vehicle, Visit, pair_limits
from twin.importers import Session
from twin.scenario.fleet import Model, models_by_plug
from twin.scenario.tables import DriversTable, TruthTable
from twin.scenario.world import DeclaredVisit, Station
from twin.scenario_error import ScenarioError

_SAME_KWH = 1e-6


class VisitDraw:
    """Turns a session into the visit as it is and as the driver declares it."""

    def __init__(
        self, path: Path, stations: Mapping[str, Station], models: Mapping[str, Model], drivers: DriversTable,
        truth: TruthTable,
    ) -> None:
        self.path = path
        self.stations = stations
        self.models = models
        self.drivers = drivers
        self.truth = truth
        self.cut = 0
        """Wishes so far that were cut to what the battery holds, as nobody says how full it was on arrival."""

    def visit(self, session: Session) -> tuple[Visit, DeclaredVisit]:
        """The true visit and what its driver declares.

        Raises:
            ScenarioError: no model fits the station, or the session's energies do not fit its car.
        """
        vehicle = self.car(session.station, session.car or session.id, session.vehicle, session.requested_kwh or 0.0)
        capacity = vehicle.battery.capacity_kwh
        soc = session.arrival_soc if session.arrival_soc is not None else self._arrival_soc(session, vehicle)
        energy = soc * capacity
        wanted = self._wanted_kwh(session, energy, capacity)
        requested = max(wanted - energy, 0.0) if session.requested_kwh is None else session.requested_kwh
        self._require_fit(session, vehicle, energy, requested)
        evse = self.stations[session.station].evse
        floor_soc = session.floor_soc if session.floor_soc is not None else self.drivers.floor_soc
        consents = session.v2g_consent
        if consents is None:
            consents = self._uniform(session.id, "consent") < self.drivers.v2g_consent_share
        departure = session.departure if session.declared_departure is None else session.declared_departure
        declared = DeclaredVisit(
            visit_id=session.id, evse_id=evse.id,
            id_token="ACN" + hashlib.sha256(session.id.encode()).hexdigest()[:13].upper(),
            arrival=session.arrival, departure=departure, requested_kwh=requested, vehicle_model=vehicle.model,
            v2g_consent=consents and self.can_discharge(session.station, vehicle), floor_soc=floor_soc,
        )
        try:
            visit = Visit(
                id=session.id, evse_id=evse.id, vehicle=vehicle, arrival=session.arrival,
                departure=session.departure, energy_kwh=energy,
                target_kwh=min(wanted, max(vehicle.battery.soc_max * capacity, energy)),
                floor_kwh=floor_soc * capacity,
            )
        except AssetError as error:
            raise ScenarioError(session.source, session.label, str(error), "a possible visit") from error
        return visit, declared

    def _wanted_kwh(self, session: Session, energy_kwh: float, capacity_kwh: float) -> float:
        """Energy in the battery that is asked for; a wished SoC may be below that on arrival, a request is on top."""
        if session.requested_kwh is None and session.target_soc is not None:
            return session.target_soc * capacity_kwh
        return energy_kwh + (session.requested_kwh or 0.0)

    def _require_fit(self, session: Session, vehicle: Vehicle, energy_kwh: float, requested_kwh: float) -> None:
        """Raise a `ScenarioError` if more is asked for than fits on top of what the file says is there."""
        room = max(vehicle.battery.soc_max * vehicle.battery.capacity_kwh - energy_kwh, 0.0)
        if requested_kwh <= room + _SAME_KWH:
            return
        if session.arrival_soc is None or session.requested_kwh is None:
            self.cut += 1
            return
        raise ScenarioError(
            session.source, f"{session.label}, requested_kwh", requested_kwh,
            f"at most {math.floor(room * 10.0 + _SAME_KWH) / 10.0:g} kWh: {vehicle.model} holds "
            f"{vehicle.battery.soc_max * vehicle.battery.capacity_kwh:g} kWh and comes with {energy_kwh:g} kWh",
            "more energy wanted than fits",
        )

    def _uniform(self, key: str, what: str) -> float:
        return random.Random(f"{self.truth.seed}/{key}/{what}").random()

    def can_discharge(self, station: str, vehicle: Vehicle) -> bool:
        """Whether a car of that class can give energy back at that station."""
        return pair_limits(self.stations[station].evse, vehicle).max_discharge_kw > 0

    def car(self, station: str, key: str, named: str | None, requested_kwh: float = 0.0) -> Vehicle:
        """The named car, or one drawn by weight (keyed by `key`) among those of the station's current that hold the
        request.

        Raises:
            ScenarioError: no model fits the station.
        """
        if named is not None:
            return self.models[named].vehicle
        current = self.stations[station].evse.current.value
        fitting = models_by_plug(self.models, current)
        if not fitting:
            raise ScenarioError(
                self.path, "$.vehicles", current, f"a model for the {current} station {station}"
            )
        roomy = [(name, model) for name, model in fitting if self._room_kwh(model) >= requested_kwh]
        fitting = roomy or [max(fitting, key=lambda pair: pair[1].vehicle.battery.capacity_kwh)]
        aim = self._uniform(key, "vehicle") * sum(model.weight for _, model in fitting)
        for _, model in fitting:
            aim -= model.weight
            if aim < 0:
                return model.vehicle
        return fitting[-1][1].vehicle

    def _room_kwh(self, model: Model) -> float:
        arrival = self.truth.arrival
        return (arrival.fits_below_soc - arrival.soc_low) * model.vehicle.battery.capacity_kwh

    def _arrival_soc(self, session: Session, vehicle: Vehicle) -> float:
        rule = self.truth.arrival
        share = (session.requested_kwh or 0.0) / vehicle.battery.capacity_kwh
        if self._uniform(session.id, "overask") < rule.overask_share:
            return min(max(vehicle.battery.soc_max - rule.overask_fits * share, vehicle.battery.soc_min), 1.0)
        # Only `random()` is promised to give the same numbers in every Python version, so the normal is inverted.
        aim = min(max(self._uniform(session.id, "soc"), 1e-9), 1 - 1e-9)
        soc = rule.soc_mean + (NormalDist().inv_cdf(aim) * rule.soc_sd if rule.soc_sd else 0.0)
        soc = min(max(soc, rule.soc_low), rule.soc_high)
        return max(min(soc, rule.fits_below_soc - share), rule.soc_low, vehicle.battery.soc_min)
