"""The small adapters between what the API asks for and what the parts of the service offer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from aggregator.api.ports import ChargerView, StopRefused, StopView, TargetRefused
from aggregator.dispatch.stop import DischargeStop, StopError, StopScope
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
        if session is not None and not target.v2g_consent:
            # Whatever the meter says: an order may be on its way that the charger has not followed yet.
            evse_ids = [each.evse_id for each in self.sessions() if each.id_token == target.id_token]
            await self._loop.stop_discharge(evse_ids, "consent withdrawn")

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


class DischargeStopPort:
    """`api.ports.DischargeStops`; what changed is planned for at once."""

    def __init__(self, stop: DischargeStop, replan: Callable[[str], None]) -> None:
        self._stop, self._replan = stop, replan

    def latched(self) -> Collection[str]:
        return self._stop.latched

    async def latch(
        self, evse_id: str | None, site_id: str | None, feeder_id: str | None, *, by: str, reason: str
    ) -> StopView:
        try:
            outcome = await self._stop.latch(StopScope(evse_id, site_id, feeder_id), by=by, reason=reason)
        except StopError as error:
            raise StopRefused(str(error), is_unknown=True) from None
        self._replan("discharge stop")
        answers = {evse_id: delivery.state.value for evse_id, delivery in outcome.deliveries.items()}
        return StopView(outcome.scope.subject, answers)

    async def rearm(
        self, evse_id: str | None, site_id: str | None, feeder_id: str | None, *, by: str
    ) -> tuple[str, bool]:
        scope = StopScope(evse_id, site_id, feeder_id)
        try:
            is_rearmed = await self._stop.rearm(scope, by=by)
        except StopError as error:
            raise StopRefused(str(error)) from None
        if is_rearmed:
            self._replan("discharge allowed again")
        return scope.subject, is_rearmed


class HealthPort:
    """`api.ports.Health`."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def ready(self) -> Mapping[str, str | None]:
        readiness = await self._health.ready()
        return {check.name: None if check.ok else check.detail for check in readiness.checks}
