"""The small adapters between what the API asks for and what the parts of the service offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aggregator.api.ports import ChargerView, TargetRefused
from aggregator.fleet.beliefs import UnknownVehicleModel
from aggregator.fleet.desk import FleetDesk
from aggregator.fleet.model import DepartureTarget, LiveSession
from aggregator.loop import Loop
from aggregator.ocpp.directory import EvseAddress
from aggregator.operations.health import Health
from aggregator.store import SiteReading, Store


class FleetPort:
    """`api.ports.Fleet` on the fleet desk; withdrawn consent also stops a discharge that runs."""

    def __init__(self, desk: FleetDesk, loop: Loop) -> None:
        self._desk, self._loop = desk, loop

    async def declare(self, target: DepartureTarget, evse_id: str | None) -> None:
        del evse_id  # the charger says where the car stands
        try:
            session = await self._desk.declare(target, target.declared_by)
        except UnknownVehicleModel as unknown:
            expected = str(unknown).partition("expected ")[2]
            raise TargetRefused("vehicle_model", unknown.model, expected) from None
        if session is not None and not target.v2g_consent and session.power_kw < 0:
            await self._loop.stop_discharge([session.evse_id], "consent withdrawn")

    def sessions(self) -> Sequence[LiveSession]:
        return tuple(self._loop.sessions().values())


class SiteMeterPort:
    """`api.ports.SiteMeters`: stored first, then looked at."""

    def __init__(self, store: Store, site_id: str, loop: Loop) -> None:
        self._store, self._site_id, self._loop = store, site_id, loop

    def knows(self, site_id: str) -> bool:
        return site_id == self._site_id

    async def record(self, readings: Sequence[SiteReading]) -> None:
        await self._store.telemetry.write_site(list(readings))
        for reading in sorted(readings, key=lambda each: each.at):
            await self._loop.site_reading(reading)


class ChargerPort:
    """`api.ports.Chargers`."""

    def __init__(self, loop: Loop, addresses: Sequence[EvseAddress]) -> None:
        self._loop, self._addresses = loop, addresses

    def chargers(self) -> Sequence[ChargerView]:
        loop, sessions, stations = self._loop, self._loop.sessions(), self._loop.fleet.stations
        views = []
        for address in self._addresses:
            state, session = loop.fleet.states.get(address.evse_id), sessions.get(address.evse_id)
            station = stations.get(address.station_id)
            views.append(ChargerView(
                address.evse_id, address.station_id, address.version.value, loop.commands.is_online(address.evse_id),
                state.value if state is not None else "unknown", session.power_kw if session is not None else None,
                station.last_seen_at if station is not None else None,
            ))
        return views


class HealthPort:
    """`api.ports.Health`."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def ready(self) -> Mapping[str, str | None]:
        readiness = await self._health.ready()
        return {check.name: None if check.ok else check.detail for check in readiness.checks}
