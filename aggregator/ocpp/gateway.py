"""The OCPP gateway: one WebSocket server for stations of every version, and the commands that go to them.

```
station ──frames──> Peer ──checked payload──> StationSession ──in order──> Dialect ──events──> ChargerEvents
station <──frames── Peer <──checked payload── Dialect <── Gateway <── ChargerCommands
```
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.typing import Subprotocol

from aggregator.clock import Clock
from aggregator.ocpp.access import EveryToken, RememberedAuth, StationAuth, TokenAuth, basic_credentials
from aggregator.ocpp.commands import StationCommands
from aggregator.ocpp.counters import GatewayCounters
from aggregator.ocpp.dialects import DIALECTS
from aggregator.ocpp.directory import StationDirectory
from aggregator.ocpp.events import ChargerEvents, OcppVersion, StationOffline, StationOnline
from aggregator.ocpp.mending import mender
from aggregator.ocpp.session import Link, StationMemory, StationSession
from twin.wire.ocpp import Peer, WebSocketTransport

log = logging.getLogger(__name__)

PROTOCOL_ERROR = 1002
"""WebSocket close code (RFC 6455 section 7.4.1)."""

MAX_STATION_ID = 48


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Times are wall seconds.

    boot_patience_s: a station that does not boot by itself this long after it connected is asked to.
    max_frame_bytes: a longer frame closes its connection (WebSocket code 1009).
    """

    heartbeat_interval_s: int = 300
    call_timeout_s: float = 20.0
    ping_interval_s: float = 25.0
    boot_patience_s: float = 3.0
    handshake_timeout_s: float = 15.0
    max_frame_bytes: int = 512 * 1024


class Gateway(StationCommands):
    """Serves stations at `ws://host:port/<station id>` and is the service's `ChargerCommands`.

    Args:
        events: told everything in the order each station said it; the station is answered after it returns.
        auth: the stations' passwords; a verified one is remembered for ten minutes.
        clock: domain time, for boot, heartbeat and the times stations leave out.
        directory: the commissioned stations; any other is left waiting (boot Pending).
        tokens: which drivers' tokens are accepted; all if None.
    """

    def __init__(
        self,
        *,
        events: ChargerEvents,
        auth: StationAuth,
        clock: Clock,
        directory: StationDirectory,
        tokens: TokenAuth | None = None,
        options: GatewayOptions | None = None,
    ) -> None:
        super().__init__({}, directory, clock, GatewayCounters())
        self._events = events
        self._auth = RememberedAuth(auth)
        self._tokens = tokens or EveryToken()
        self._options = options or GatewayOptions()
        self._server: Server | None = None
        self._chores: set[asyncio.Task[object]] = set()

    @property
    def port(self) -> int:
        """The port really bound. Raises a `RuntimeError` before `start`."""
        if self._server is None:
            raise RuntimeError("the gateway is not started")
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def online_stations(self) -> tuple[str, ...]:
        return tuple(station_id for station_id, memory in self._stations.items() if memory.link is not None)

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises an `OSError` if the port is occupied."""
        self._server = await serve(
            self._serve,
            host,
            port,
            process_request=self._admit,
            select_subprotocol=_choose_subprotocol,
            compression=None,  # permessage-deflate costs 59 KiB per connection
            max_size=self._options.max_frame_bytes,
            ping_interval=self._options.ping_interval_s,
            ping_timeout=self._options.ping_interval_s,
            open_timeout=self._options.handshake_timeout_s,
            close_timeout=2.0,
            server_header=None,
        )

    async def stop(self) -> None:
        """Close every connection (code 1001) and wait until their last words are handed on."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        for chore in tuple(self._chores):
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def forget_credentials(self, station_id: str) -> None:
        """Verify the station anew when it connects next."""
        self._auth.forget(station_id)

    async def _admit(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        station_id = _station_id(request.path)
        if station_id is None:
            self.counters.faults["unknown_path"] += 1
            return connection.respond(HTTPStatus.NOT_FOUND, "expected the path /<station id>\n")
        credentials = basic_credentials(request.headers.get("Authorization"))
        # The user name is the station's identity (OCPP 2.0.1 A00.FR.204); another's password opens nothing.
        if (
            credentials is None
            or credentials[0] != station_id
            or not await self._auth.verify(station_id, credentials[1])
        ):
            self.counters.faults["unauthorized"] += 1
            refusal = connection.respond(HTTPStatus.UNAUTHORIZED, "unknown station or wrong password\n")
            refusal.headers["WWW-Authenticate"] = 'Basic realm="OCPP", charset="UTF-8"'
            return refusal
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        request = connection.request
        station_id = None if request is None else _station_id(request.path)
        version = None if request is None else _version(connection.subprotocol, request.headers)
        if station_id is None or version is None:
            # OCPP-J 1.6 section 3.1.2: complete the handshake without a subprotocol, then close at once.
            self.counters.faults["no_subprotocol"] += 1
            await connection.close(PROTOCOL_ERROR, "no common OCPP version")
            return
        memory = self._stations.setdefault(station_id, StationMemory(station_id))
        replaced = memory.link
        memory.epoch += 1
        link, session = self._open(memory, version, connection)
        memory.link = link
        memory.states.clear()
        self.counters.connections += 1
        commissioned = self._directory.evses_of(station_id)
        if replaced is not None:
            self.counters.faults["replaced"] += 1
            self._chore(replaced.peer.close())
        if commissioned:
            if commissioned[0].version is not version:
                self.counters.faults["version_unexpected"] += 1
                log.warning("%s speaks %s, commissioned with %s", station_id, version, commissioned[0].version)
            # The task is created before the first frame is read: it takes the station's lock first.
            self._chore(session.tell(StationOnline(station_id, version, link.epoch, self._clock.now())))
            self._chore(self._ask_to_boot(memory, link))
        try:
            await link.peer.run()
        finally:
            if memory.link is link:
                memory.link = None
                if commissioned:
                    await session.tell(StationOffline(station_id, link.epoch, self._clock.now()))

    def _open(
        self, memory: StationMemory, version: OcppVersion, connection: ServerConnection
    ) -> tuple[Link, StationSession]:
        dialect = DIALECTS[version]
        settled = asyncio.Event()
        if memory.booted is version:
            settled.set()  # the line broke, the station did not: it need not boot again
        session = StationSession(
            memory,
            memory.epoch,
            version,
            dialect,
            directory=self._directory,
            events=self._events,
            tokens=self._tokens,
            clock=self._clock,
            counters=self.counters,
            heartbeat_interval_s=self._options.heartbeat_interval_s,
            settled=settled,
        )
        peer = Peer(
            WebSocketTransport(connection),
            version.value,
            session.handle,
            call_timeout_s=self._options.call_timeout_s,
            mend=mender(version.value, self._clock.now),
            counters=self.counters.wire,
        )
        return Link(peer, version, dialect, memory.epoch, settled), session

    async def _ask_to_boot(self, memory: StationMemory, link: Link) -> None:
        """Some stations connect and never say who they are; what they are is then unknown until asked."""
        await asyncio.sleep(self._options.boot_patience_s)
        if memory.link is link and memory.booted is not link.version:
            link.settled.set()
            await self.exchange(link, link.dialect.trigger("BootNotification", None))

    def _chore(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def _station_id(path: str) -> str | None:
    """The one segment of `/<station id>`; at most 48 characters of the identifier alphabet (OCPP 2.1 part 4, 3.1.1)."""
    segment = unquote(urlsplit(path).path.removeprefix("/"))
    allowed = all(character.isalnum() or character in "*-_=:+|@." for character in segment)
    return segment if segment and allowed and len(segment) <= MAX_STATION_ID else None


def _choose_subprotocol(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((Subprotocol(version.value) for version in DIALECTS if version.value in offered), None)


def _version(chosen: Subprotocol | None, headers: Headers) -> OcppVersion | None:
    if chosen is not None:
        return OcppVersion(chosen)
    # Some OCPP 1.6 stations offer no subprotocol at all; one that offers only others is refused.
    return None if headers.get_all("Sec-WebSocket-Protocol") else OcppVersion.V16
