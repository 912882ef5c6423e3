"""The outside world of the demo over HTTP: utility, grid operator, drivers' apps, fleet manager and meter.

Each is a client with credentials of its own and does nothing that a real one could not do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from aggregator.clock import Clock
from aggregator.demo.configuration import Credentials, app_client
from aggregator.demo.scene import Scene
from twin.scenario import DeclaredVisit

_TOKEN_MARGIN_S = 30.0
_RETRY_S = 0.3
_AWAY_S = 90.0
"""Wall seconds; a service that was killed is up again after three, on a very busy machine after half a minute."""
_LOOK_S = 0.1
_DECISION_WAIT_S = 60.0
_OPENADR = "/openadr3/3.1.0"


class ClientFault(RuntimeError):
    """The service refused a request of the demo; the message is its problem document. status: 0 if nobody answered."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ApiClient:
    """One OAuth2 client of the service; takes tokens as it needs them and repeats what met a restarting service."""

    def __init__(self, http: httpx.AsyncClient, client_id: str, secret: str) -> None:
        self._http, self._client_id, self._secret = http, client_id, secret
        self._token, self._expires = "", 0.0
        self.is_cut_off = False
        """The last request found no service at all."""

    async def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send until the service answers, also if it is started again meanwhile.

        Raises:
            ClientFault: the answer is 400 or more, or nobody answers for longer than a service takes to start.
        """
        until, is_fresh = time.monotonic() + _AWAY_S, False
        while True:
            try:
                response = await self._http.request(
                    method, path, json=body,
                    headers={**(headers or {}), "Authorization": f"Bearer {await self._bearer()}"},
                )
            except httpx.TransportError as fault:
                self.is_cut_off = True
                if time.monotonic() > until:
                    raise ClientFault(f"{method} {path}: nobody answered for {_AWAY_S:.0f} s: {fault}") from None
                await asyncio.sleep(_RETRY_S)
                continue
            self.is_cut_off = False
            if response.status_code == httpx.codes.UNAUTHORIZED and not is_fresh:
                self._expires, is_fresh = 0.0, True
                continue
            if response.is_error:
                raise ClientFault(f"{method} {path}: {response.status_code} {response.text}", response.status_code)
            return response

    async def _bearer(self) -> str:
        if time.monotonic() >= self._expires:
            response = await self._http.post("/oauth/token", data={
                "grant_type": "client_credentials", "client_id": self._client_id, "client_secret": self._secret,
            })
            if response.is_error:
                raise ClientFault(f"token for {self._client_id}: {response.status_code}", response.status_code)
            answer = response.json()
            self._token = str(answer["access_token"])
            self._expires = time.monotonic() + float(answer["expires_in"]) - _TOKEN_MARGIN_S
        return self._token


@dataclass
class SignalTrace:
    """What the sender of a signal saw. posted_wall: Unix seconds just before the POST left."""

    posted_wall: float = 0.0
    posted_at: datetime | None = None
    event_id: str = ""
    signal: dict[str, Any] = field(default_factory=dict)


class OutsideWorld:
    """Everybody who talks to the service by HTTP.

    is_metered: the meter will read on.
    """

    def __init__(self, scene: Scene, credentials: Credentials, clock: Clock, http: httpx.AsyncClient) -> None:
        self._scene, self.clock = scene, clock
        self._site_id = scene.scenario.public().site.id
        secrets = credentials.clients
        self._utility, self._grid_operator, self._fleet, self._meter, self._operator = (
            ApiClient(http, name, secrets[name])
            for name in ("utility", "grid-operator", "fleet-manager", "site-meter", "operator")
        )
        self._apps = {
            declared.id_token: ApiClient(http, app_client(declared.id_token), secrets[app_client(declared.id_token)])
            for declared in scene.declared().values()
        }
        self._readings: deque[dict[str, Any]] = deque()
        self._metered = asyncio.Event()
        self.is_metered = True
        self._acknowledged: datetime | None = None
        self._declared: dict[str, datetime] = {}
        """When the driver of each car set out to declare it that no plan has been made since, by EVSE."""
        self._has_declared = asyncio.Event()
        self._programmes: dict[str, str] = {}
        self.event, self.limit = SignalTrace(), SignalTrace()
        self.notes: list[str] = []
        self.already_kwh: dict[str, float] = {}
        """What cars of an interrupted day had been given before it; they ask for the rest."""

    # --- drivers -------------------------------------------------------------------------------------------------

    async def driver_plugged_in(self, visit_id: str) -> None:
        """The driver's app says when the car leaves and what it needs."""
        declared = self._scene.declared()[visit_id]
        self._await_plan(declared)
        try:
            await self._apps[declared.id_token].request(
                "PUT", "/v1/departure-targets", self._rest(declared)
            )
        except ClientFault as fault:  # the driver sees an error in the app and charges without a declaration
            self._declared.pop(declared.evse_id, None)
            self.notes.append(f"a driver's declaration at {declared.evse_id} was refused: {fault}")

    def _rest(self, declared: DeclaredVisit) -> dict[str, Any]:
        asked = _target(declared, declared.departure)
        asked["requested_kwh"] = max(0.0, declared.requested_kwh - self.already_kwh.get(declared.visit_id, 0.0))
        return asked

    async def fleet_manager(self) -> None:
        """Moves one car's departure earlier."""
        change = self._scene.tables.demo.fleet_change
        await self.clock.sleep_until(change.at.astimezone(UTC))
        declared = self._scene.changed_visit()
        self._await_plan(declared)
        await self._fleet.request("PUT", "/v1/departure-targets", _target(declared, change.departure))
        self.notes.append(f"fleet manager moved the departure at {change.evse} to {change.departure:%H:%M}")

    def _await_plan(self, declared: DeclaredVisit) -> None:
        self._declared[declared.evse_id] = self.clock.now()
        self._has_declared.set()

    async def operator(self) -> None:
        """Looks, as long as a declaration is new, whether a plan has been made since."""
        while True:
            await self._has_declared.wait()
            created = await self._latest_plan()
            if created is not None:
                self._declared = {evse_id: at for evse_id, at in self._declared.items() if at > created}
            if not self._declared:
                self._has_declared.clear()
            await asyncio.sleep(_LOOK_S)

    async def _latest_plan(self) -> datetime | None:
        """For which instant the latest plan was made; None while there is none."""
        try:
            answer = await self._operator.request("GET", "/v1/plans/latest")
        except ClientFault as fault:
            if fault.status != httpx.codes.NOT_FOUND:
                raise
            return None
        return datetime.fromisoformat(answer.json()["created_at"])

    # --- meter ---------------------------------------------------------------------------------------------------

    def meter_says(self, at: str, import_kw: float, ev_kw: float) -> None:
        self._readings.append({"at": at, "import_kw": import_kw, "ev_kw": ev_kw})
        self._metered.set()

    async def meter(self) -> None:
        """Post readings one by one; those that gathered while the service was away go in one list."""
        while True:
            await self._metered.wait()
            self._metered.clear()
            while self._readings:
                batch = list(self._readings)
                self._readings.clear()
                await self._meter.request("POST", f"/v1/sites/{self._site_id}/meter-readings", batch)
                self._acknowledged = datetime.fromisoformat(batch[-1]["at"])

    def seen_to(self) -> datetime | None:
        """The instant up to which the service has kept up; None if there is nobody to wait for.

        It has taken the meter's readings and made plans for the cars that were declared. Nobody is waited for before
        the first reading, after the last, and while the meter finds no service at all: that is down, not slow.
        """
        if self._acknowledged is None or not self.is_metered or self._meter.is_cut_off:
            return None
        return min([self._acknowledged, *self._declared.values()])

    # --- utility -------------------------------------------------------------------------------------------------

    async def register_programmes(self) -> None:
        """Each party creates its programmes in the VTN, or finds them after a restart."""
        obligations = {table.name: table.obligation for table in self._scene.tables.programmes}
        for name, obligation in obligations.items():
            client = self._grid_operator if obligation.value == "mandatory" else self._utility
            known = (await client.request("GET", f"{_OPENADR}/programs")).json()
            found = next((program["id"] for program in known if program["programName"] == name), None)
            if found is None:
                answer = await client.request("POST", f"{_OPENADR}/programs", {
                    "programName": name,
                    "payloadDescriptors": [{
                        "objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW",
                    }],
                })
                found = answer.json()["id"]
            self._programmes[name] = str(found)

    async def utility(self) -> None:
        """Posts the event at its time and reads the decision."""
        table = self._scene.tables.signals.event
        await self.clock.sleep_until(table.posted.astimezone(UTC))
        await self._post_event(
            self._utility, self.event, table.programme, table.start.astimezone(UTC), table.end.astimezone(UTC),
            table.max_net_kw, "Afternoon peak relief",
        )
        await self.read_signal(self.event, wants_decision=True)

    async def grid_operator(self) -> None:
        """Posts the mandatory limit the moment it starts: nobody knew."""
        table = self._scene.tables.signals.limit
        await self._grid_operator.request("GET", f"{_OPENADR}/programs")  # a token in hand, as a poller has
        await self.clock.sleep_until(table.start.astimezone(UTC))
        await self._post_event(
            self._grid_operator, self.limit, table.programme, table.start.astimezone(UTC), table.end.astimezone(UTC),
            table.max_net_kw, "Emergency limit",
        )
        await self.read_signal(self.limit, wants_decision=False)

    async def _post_event(
        self, client: ApiClient, trace: SignalTrace, programme: str, start: datetime, end: datetime, kw: float,
        name: str,
    ) -> None:
        trace.posted_at = self.clock.now()
        trace.posted_wall = time.time()
        answer = await client.request("POST", f"{_OPENADR}/events", {
            "programID": self._programmes[programme], "eventName": name, "targets": [self._site_id],
            "payloadDescriptors": [
                {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}
            ],
            "intervalPeriod": {
                "start": start.strftime("%Y-%m-%dT%H:%M:%SZ"), "duration": f"PT{int((end - start).total_seconds())}S",
            },
            "intervals": [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [kw]}]}],
        })
        trace.event_id = str(answer.json()["id"])

    async def read_signal(self, trace: SignalTrace, *, wants_decision: bool) -> None:
        """Read the signal of an event, until it is decided if that is wanted."""
        client = self._utility if trace is self.event else self._grid_operator
        until = time.monotonic() + _DECISION_WAIT_S
        while True:
            found = (await client.request("GET", f"/v1/grid-signals?external_id={trace.event_id}")).json()
            if found:
                trace.signal = found[-1]
            if found and (not wants_decision or trace.signal["decision"] is not None):
                return
            if time.monotonic() > until:
                self.notes.append("the decision on the event did not come in time")
                return
            await asyncio.sleep(_RETRY_S)


def _target(declared: DeclaredVisit, departure: datetime) -> dict[str, Any]:
    return {
        "id_token": declared.id_token, "evse_id": declared.evse_id, "departure": departure.isoformat(),
        "requested_kwh": declared.requested_kwh, "vehicle_model": declared.vehicle_model,
        "v2g_consent": declared.v2g_consent, "floor_soc": declared.floor_soc,
    }
