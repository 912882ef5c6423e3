"""One end of an OCPP connection: calls out, calls in, and an answer for everything that can be answered.

Gateway and emulated station stand on the same class, so that neither can be kind to its own mistakes only.
Requests that come in run as tasks; the reader never waits for them, so a handler may itself call the other side.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

from twin.wire.ocpp import frames
from twin.wire.ocpp.frames import Call, CallError, CallResult, CallResultError, Frame, MalformedFrame, Send
from twin.wire.ocpp.schemas import SchemaFault, check, error_code

log = logging.getLogger(__name__)

MAX_RUNNING_HANDLERS = 64
"""OCPP allows one unanswered CALL per direction; a peer beyond this many is refused instead of served."""

HANDLER_GRACE_S = 5.0
"""How long handlers may go on after the connection closed, so that accepted work is finished."""


class TransportClosed(ConnectionError):
    """The connection under a peer is gone."""


class PeerClosed(ConnectionError):
    """The other side left before it answered."""


class CallTimeout(TimeoutError):
    """No answer within the time allowed."""


class CallFailed(Exception):
    """The other side answered with an error, or with an answer that breaks its schema."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class CallRefused(Exception):
    """A handler raises this to answer a request with a CALLERROR of this code (in its OCPP 2.1 spelling)."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class Transport(Protocol):
    """A line that carries whole text frames. `recv` and `send` raise `TransportClosed` when it is gone."""

    async def send(self, text: str, /) -> None: ...

    async def recv(self) -> str | bytes: ...

    async def close(self) -> None: ...


class WebSocketTransport:
    """A `Transport` over a connection of the package `websockets`, client or server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, text: str, /) -> None:
        try:
            await self._connection.send(text)
        except ConnectionClosed as closed:
            raise TransportClosed(str(closed)) from None

    async def recv(self) -> str | bytes:
        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            raise TransportClosed(str(closed)) from None

    async def close(self) -> None:
        await self._connection.close()


@dataclass(slots=True)
class PeerCounters:
    """What passed and what went wrong; every field only grows."""

    frames_in: int = 0
    frames_out: int = 0
    malformed: int = 0
    schema_faults: int = 0
    mended: int = 0
    late_answers: int = 0
    handler_faults: int = 0
    refused: int = 0


Handler = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]

Mender = Callable[[str, dict[str, Any], SchemaFault], dict[str, Any] | None]
"""Given (action, payload, what is wrong), returns a payload that says the same correctly, or None."""


class Peer:
    """One OCPP connection.

    Args:
        version: the subprotocol, "ocpp1.6", "ocpp2.0.1" or "ocpp2.1".
        handle: answers (action, payload); the payload has passed its schema. It raises `CallRefused` to answer with
            a CALLERROR; any other exception is logged and answered with InternalError.
            A SEND (OCPP 2.1) goes the same way and its answer is dropped.
        call_timeout_s: wall seconds to wait for the answer to a call, from when it left.
        mend: may repair a request that breaks its schema, for stations with known habits; the result is checked again.
        counters: shared between peers if given.
    """

    def __init__(
        self,
        transport: Transport,
        version: str,
        handle: Handler,
        *,
        call_timeout_s: float = 20.0,
        mend: Mender | None = None,
        counters: PeerCounters | None = None,
    ) -> None:
        self._transport = transport
        self.version = version
        self._handle = handle
        self._call_timeout_s = call_timeout_s
        self._one_call = asyncio.Lock()
        self._pending: tuple[str, str, asyncio.Future[dict[str, Any]]] | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._closed = False
        self._mend = mend
        self.counters = counters if counters is not None else PeerCounters()

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def call(
        self,
        action: str,
        payload: dict[str, Any],
        *,
        unique_id: str | None = None,
        timeout_s: float | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Ask the other side and return its answer; calls wait for each other (one outstanding CALL, OCPP-J 4.1.1).

        Args:
            action: as the specification names it, without "Request".
            payload: the request, in camelCase.
            unique_id: of at most 36 characters; a new random one if None.
            timeout_s: wall seconds, instead of the peer's own.
            on_sent: called when it is this call's turn, immediately before the frame goes to the socket.

        Raises:
            SchemaFault: our own request is invalid; nothing was sent.
            CallFailed: the answer is an error or breaks its schema.
            CallTimeout: no answer in time; a later one is dropped.
            PeerClosed: the connection is or went down.
        """
        check(self.version, action, "Request", payload, exact=True)
        message_id = unique_id or str(uuid.uuid4())
        async with self._one_call:
            if self._closed:
                raise PeerClosed(f"{action}: the connection is closed")
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._pending = (message_id, action, answer)
            try:
                text = frames.encode(Call(message_id, action, payload))
                if on_sent is not None:
                    on_sent()
                async with asyncio.timeout(self._call_timeout_s if timeout_s is None else timeout_s):
                    await self._send_text(text)
                    return await answer
            except TransportClosed:
                raise PeerClosed(f"{action}: the connection closed") from None
            except TimeoutError:
                raise CallTimeout(f"{action}: no answer in time") from None
            finally:
                self._pending = None
                # The line may break for the reader first, and for us while we write: then nobody awaits the answer.
                if not answer.cancel() and not answer.cancelled():
                    answer.exception()

    async def send(self, action: str, payload: dict[str, Any]) -> None:
        """Send an unconfirmed message (SEND). Raises `SchemaFault`, `PeerClosed`, or a `ValueError` before OCPP 2.1."""
        if self.version != "ocpp2.1":
            raise ValueError(f"version: {self.version}, expected ocpp2.1 for a SEND message")
        check(self.version, action, "Request", payload, exact=True)
        try:
            await self._send_text(frames.encode(Send(str(uuid.uuid4()), action, payload)))
        except TransportClosed:
            raise PeerClosed(f"{action}: the connection closed") from None

    async def close(self) -> None:
        """Close the connection; `run` then ends by itself."""
        await self._transport.close()

    async def run(self) -> None:
        """Read until the connection closes, then let running handlers finish for a short while."""
        try:
            while True:
                self._receive(await self._transport.recv())
        except TransportClosed:
            self._end_pending()
            if self._handlers:
                await asyncio.wait(self._handlers, timeout=HANDLER_GRACE_S)
        finally:
            self._end_pending()
            for task in self._handlers:
                task.cancel()

    def _end_pending(self) -> None:
        self._closed = True
        if self._pending is not None and not self._pending[2].done():
            self._pending[2].set_exception(PeerClosed(f"{self._pending[1]}: the connection closed"))

    async def _send_text(self, text: str) -> None:
        await self._transport.send(text)
        self.counters.frames_out += 1

    def _receive(self, raw: str | bytes) -> None:
        self.counters.frames_in += 1
        try:
            frame = frames.decode(raw)
        except MalformedFrame as fault:
            self._receive_malformed(fault)
            return
        if self.version != "ocpp2.1" and isinstance(frame, CallResultError | Send):
            self._receive_malformed(
                MalformedFrame(frame.unique_id, "MessageTypeNotSupported", f"not a message type of {self.version}")
            )
            return
        match frame:
            case Call() | Send():
                self._receive_request(frame)
            case CallResult(unique_id, payload):
                self._receive_result(unique_id, payload)
            case CallError(unique_id, code, description, _):
                self._fail(unique_id, CallFailed(code, description))
            case CallResultError(unique_id, code, description, _):
                self.counters.schema_faults += 1
                log.warning("the other side could not read our answer %s: %s %s", unique_id, code, description)

    def _receive_malformed(self, fault: MalformedFrame) -> None:
        self.counters.malformed += 1
        log.warning("malformed frame: %s", fault.code)
        unique_id = fault.unique_id or frames.UNREADABLE_ID
        if fault.message_type in (frames.CALL_RESULT, frames.CALL_ERROR):
            # A broken answer is answered only where the language has a word for it, or both sides would argue forever.
            if fault.unique_id is not None:
                self._fail(fault.unique_id, CallFailed(error_code(self.version, fault.code), fault.description))
            if self.version == "ocpp2.1" and fault.message_type == frames.CALL_RESULT:
                self._answer_soon(CallResultError(unique_id, fault.code, fault.description))
            return
        if fault.message_type in (frames.CALL_RESULT_ERROR, frames.SEND):
            return
        if fault.code == "MessageTypeNotSupported" and self.version == "ocpp1.6":
            return  # OCPP-J 1.6 section 4.1.3: an unknown message type SHALL be ignored
        self._answer_soon(CallError(unique_id, error_code(self.version, fault.code), fault.description))

    def _receive_result(self, unique_id: str, payload: dict[str, Any]) -> None:
        if self._pending is None or self._pending[0] != unique_id or self._pending[2].done():
            self.counters.late_answers += 1
            return
        _, action, answer = self._pending
        try:
            check(self.version, action, "Response", payload)
        except SchemaFault as fault:
            self.counters.schema_faults += 1
            answer.set_exception(CallFailed(fault.code, f"answer to {action}: {fault}"))
            if self.version == "ocpp2.1":
                self._answer_soon(CallResultError(unique_id, fault.code, str(fault)))
            return
        answer.set_result(payload)

    def _fail(self, unique_id: str, failure: CallFailed) -> None:
        if self._pending is None or self._pending[0] != unique_id or self._pending[2].done():
            self.counters.late_answers += 1
            return
        self._pending[2].set_exception(failure)

    def _receive_request(self, request: Call | Send) -> None:
        try:
            payload = self._checked(request)
        except SchemaFault as fault:
            log.warning("%s breaks its schema: %s at %s", request.action[:60], fault.code, fault.path[:200])
            if isinstance(request, Call):
                self._answer_soon(CallError(request.unique_id, fault.code, str(fault)))
            return
        if len(self._handlers) >= MAX_RUNNING_HANDLERS:
            self.counters.refused += 1
            if isinstance(request, Call):
                self._answer_soon(CallError(request.unique_id, "GenericError", "too many unanswered calls"))
            return
        self._spawn(self._serve(request, payload))

    def _checked(self, request: Call | Send) -> dict[str, Any]:
        try:
            check(self.version, request.action, "Request", request.payload)
        except SchemaFault as fault:
            self.counters.schema_faults += 1
            mended = None if self._mend is None else self._mend(request.action, request.payload, fault)
            if mended is None:
                raise
            check(self.version, request.action, "Request", mended)
            self.counters.mended += 1
            return mended
        return request.payload

    async def _serve(self, request: Call | Send, payload: dict[str, Any]) -> None:
        answer = await self._answer(request, payload)
        if isinstance(request, Call):
            await self._deliver(answer)

    async def _answer(self, request: Call | Send, payload: dict[str, Any]) -> CallResult | CallError:
        try:
            answer = await self._handle(request.action, payload)
            if isinstance(request, Call):
                check(self.version, request.action, "Response", answer, exact=True)
        except CallRefused as refused:
            self.counters.refused += 1
            return CallError(request.unique_id, error_code(self.version, refused.code), refused.description)
        except Exception:
            # Whatever went wrong on our side, the other side must not wait for ever: it learns that it was us.
            self.counters.handler_faults += 1
            log.exception("handling %s failed", request.action)
            return CallError(request.unique_id, "InternalError", "the request could not be processed")
        return CallResult(request.unique_id, answer)

    def _answer_soon(self, frame: CallError | CallResultError) -> None:
        """Answer without a handler. Dropped (the frame was counted) if the other side does not read its answers."""
        if len(self._handlers) < 2 * MAX_RUNNING_HANDLERS:
            self._spawn(self._deliver(frame))

    async def _deliver(self, frame: Frame) -> None:
        try:
            await self._send_text(frames.encode(frame))
        except TransportClosed:
            log.info("the connection closed before an answer left")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
