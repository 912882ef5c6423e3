"""The line from one station to its CSMS: connect, boot, send in order, come back after every loss.

Time here is wall time: timeouts, retries, back-off and heartbeats belong to the line and not to the scaled day.

    post() -> [ transaction message | status | meter values | ... ] -> one CALL at a time -> CSMS
              durable ones survive a loss of the line and keep their place and their timestamps
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from twin.wire.ocpp import CallFailed, CallTimeout, Handler, Peer, PeerClosed, SchemaFault, WebSocketTransport

log = logging.getLogger(__name__)

Payload = dict[str, Any]

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 5.0
CALL_TIMEOUT_S = 15.0
OPEN_TIMEOUT_S = 10.0
DEFAULT_INTERVAL_S = 60.0
PENDING_INTERVAL_S = 5.0
MAX_ATTEMPTS = 5
"""How often a transaction message is offered to a CSMS that answers with an error (TransactionMessageAttempts)."""
RETRY_INTERVAL_S = 1.0
MAX_QUEUED = 20_000
MAX_MERGED = 60
"""Meter values of one transaction that wait for the line travel together, at most so many in one message."""


def _ignore(_: Any = None) -> None: ...


@dataclass(slots=True, eq=False)
class Message:
    """One request to the CSMS.

    build: makes the payload when it is sent (a transaction id may have become known meanwhile); None: nothing to say.
    durable: kept while the line is down and offered again, unlike a status that will be told anew.
    merge_key: a waiting message takes in the `parts` of a later one of the same key (meter values that pile up).
    """

    action: str
    build: Callable[[], Payload | None]
    durable: bool = False
    answered: Callable[[Payload], None] = _ignore
    failed: Callable[[str], None] = _ignore
    merge_key: object = None
    parts: list[Any] = field(default_factory=list)
    attempts: int = 0


class LinkListener(Protocol):
    """Who stands on the line."""

    def boot_request(self) -> Payload: ...

    def came_online(self, interval_s: float) -> None:
        """The CSMS accepted the boot."""
        ...

    def went_offline(self) -> None: ...


class Link:
    """See the module. `run` goes on until it is cancelled."""

    def __init__(
        self, base_url: str, station_id: str, password: str, version: str, listener: LinkListener, handle: Handler,
        *, rng: random.Random | None = None,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/{station_id}"
        self._station_id = station_id
        self._password = password
        self._version = version
        self._listener = listener
        self._handle = handle
        self._rng = rng or random.Random()
        self._queue: deque[Message] = deque()
        self._in_flight: Message | None = None
        self._wake = asyncio.Event()
        self._boot_now = asyncio.Event()
        self._connection: ClientConnection | None = None
        self._closing: asyncio.Task[None] | None = None  # kept, or the loop would forget the task
        self._hold_until = 0.0
        self.heartbeat_s = DEFAULT_INTERVAL_S
        self.is_online = False
        self.sent = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Durable messages that the CSMS has not confirmed."""
        return sum(message.durable for message in self._queue)

    def post(self, message: Message) -> None:
        """Queue a message; one that is not durable fails at once while the line is down."""
        if not message.durable and not self.is_online:
            message.failed("offline")
            return
        if message.merge_key is not None and self._queue:
            last = self._queue[-1]
            if last is not self._in_flight and last.merge_key == message.merge_key and len(last.parts) < MAX_MERGED:
                last.parts.extend(message.parts)
                return
        self._queue.append(message)
        if len(self._queue) > MAX_QUEUED:
            self._drop_oldest_meter_values()
        self._wake.set()

    def drop(self, hold_s: float = 0.0) -> None:
        """Lose the line without a goodbye, and find it again after `hold_s` of wall time at the earliest."""
        self._hold_until = asyncio.get_running_loop().time() + hold_s
        if self._connection is not None:
            self._connection.transport.abort()

    def restart_soon(self, delay_s: float) -> None:
        """Close in good order after `delay_s` and connect again, as after a reset."""
        connection = self._connection
        if connection is not None:
            self._closing = asyncio.create_task(_close_later(connection, delay_s))

    def boot_now(self) -> None:
        """While the CSMS keeps us pending: ask again at once, it wants to hear it (2.1 B02.FR.06)."""
        self._boot_now.set()

    async def run(self) -> None:
        backoff = FIRST_BACKOFF_S
        while True:
            held = self._hold_until - asyncio.get_running_loop().time()
            if held > 0:
                await asyncio.sleep(held)
            try:
                booted = await self._one_connection()
            except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as fault:
                log.info("%s: no connection: %s", self._station_id, fault)
                booted = False
            if booted:
                backoff = FIRST_BACKOFF_S
            await asyncio.sleep(backoff * self._rng.uniform(0.75, 1.25))
            backoff = min(2 * backoff, LAST_BACKOFF_S)

    async def _one_connection(self) -> bool:
        """Serve one connection to its end; true if the CSMS accepted us on it."""
        async with connect(
            self._url,
            subprotocols=[Subprotocol(self._version)],
            additional_headers=_basic_auth(self._station_id, self._password),
            compression=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=1.0,
            ping_interval=20.0,
            proxy=None,
        ) as connection:
            if connection.subprotocol != self._version:
                log.warning("%s: the CSMS does not speak %s", self._station_id, self._version)
                return False
            self._connection = connection
            peer = Peer(WebSocketTransport(connection), self._version, self._handle, call_timeout_s=CALL_TIMEOUT_S)
            reader = asyncio.create_task(peer.run())
            speaker = asyncio.create_task(self._speak(peer))
            try:
                await asyncio.wait((reader, speaker), return_when=asyncio.FIRST_COMPLETED)
            finally:
                booted = self.is_online
                self._end_connection()
                for task in (reader, speaker):
                    task.cancel()
                results = await asyncio.gather(reader, speaker, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception) and not isinstance(result, PeerClosed | CallTimeout):
                    raise result
            return booted

    def _end_connection(self) -> None:
        self._connection = None
        self._in_flight = None
        if not self.is_online:
            return
        self.is_online = False
        lost = [message for message in self._queue if not message.durable]
        self._queue = deque(message for message in self._queue if message.durable)
        self._listener.went_offline()
        for message in lost:
            message.failed("offline")

    async def _speak(self, peer: Peer) -> None:
        """Boot, then send what is queued; ends with `PeerClosed` or `CallTimeout`."""
        interval = await self._boot(peer)
        self.heartbeat_s = interval
        self.is_online = True
        self._listener.came_online(interval)
        while True:
            if not self._queue:
                await self._idle(peer)
                continue
            message = self._queue[0]
            self._in_flight = message
            try:
                await self._offer(peer, message)
            finally:
                self._in_flight = None

    async def _boot(self, peer: Peer) -> float:
        while True:
            try:
                answer = await peer.call("BootNotification", self._listener.boot_request())
            except CallFailed as fault:
                log.warning("%s: boot refused: %s", self._station_id, fault)
                await self._pause_boot(PENDING_INTERVAL_S)
                continue
            interval = float(answer["interval"])
            if answer["status"] == "Accepted":
                return interval if interval > 0 else DEFAULT_INTERVAL_S
            # Pending and Rejected: ask again after the interval the CSMS names (2.1 B02.FR.04, B03.FR.06).
            await self._pause_boot(interval if interval > 0 else PENDING_INTERVAL_S)

    async def _pause_boot(self, seconds: float) -> None:
        self._boot_now.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._boot_now.wait()

    async def _idle(self, peer: Peer) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(self.heartbeat_s):
                await self._wake.wait()
        except TimeoutError:
            try:
                await peer.call("Heartbeat", {})
            except CallFailed as fault:
                log.warning("%s: heartbeat refused: %s", self._station_id, fault)

    async def _offer(self, peer: Peer, message: Message) -> None:
        """Send the first message of the queue and take it off, unless the line went down under a durable one."""
        payload = message.build()
        if payload is None:
            self._take_off(message)
            return
        try:
            answer = await peer.call(message.action, payload)
        except CallFailed as fault:
            message.attempts += 1
            if message.durable and message.attempts < MAX_ATTEMPTS:
                await asyncio.sleep(RETRY_INTERVAL_S * message.attempts)
                return
            self.dropped += 1
            log.warning("%s: %s given up: %s", self._station_id, message.action, fault)
            self._take_off(message)
            message.failed(fault.code)
        except SchemaFault as fault:
            # Our own message is wrong. Sending it again would block the queue for ever.
            self.dropped += 1
            log.error("%s: %s not sent, it breaks its schema: %s", self._station_id, message.action, fault)  # noqa: TRY400
            self._take_off(message)
            message.failed("schema")
        else:
            self.sent += 1
            self._take_off(message)
            message.answered(answer)

    def _take_off(self, message: Message) -> None:
        if self._queue and self._queue[0] is message:
            self._queue.popleft()

    def _drop_oldest_meter_values(self) -> None:
        for message in self._queue:
            if message.merge_key is not None and message is not self._in_flight:
                self._queue.remove(message)
                self.dropped += 1
                log.warning("%s: queue full, oldest meter values dropped", self._station_id)
                return


async def _close_later(connection: ClientConnection, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    await connection.close()


def _basic_auth(user: str, password: str) -> dict[str, str]:
    if not password:
        return {}
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}
