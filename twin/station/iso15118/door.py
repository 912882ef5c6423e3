"""The TCP port of one EVSE: who may come in, and how many may stand in the doorway at a time.

    accept --> is anyone expected? --> TLS handshake (bounded in time and number) --> session

Who is not expected is closed before a byte of TLS is answered, so that a flood of connections costs a running session
nothing. While a car is expected, a peer may hold `MOST_PER_PEER` unfinished handshakes, all peers together
`MOST_UNFINISHED`; beyond that one goes, of that peer or of all: the oldest that has sent no byte, else the oldest. So a
car that comes last finds room, even one that has hung up twice without a word, and keeps it while it shakes hands.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_UNFINISHED = 8
MOST_PER_PEER = 2
HANDSHAKE_S = 5.0  # a TLS handshake that takes longer is none
BACKLOG = 64
DYNAMIC_PORTS = range(49152, 65536)  # where the standards put a station that is discovered (RFC 6335)
PORT_TRIES = 20  # others may have some of them
ACCEPTED_AT_ONCE = 16  # then the other sockets of the process have their turn
NO_FILES_PAUSE_S = 0.5  # the process has no file descriptors left: accept again when some may be free
_BYTES_RECEIVED = slice(128, 136)  # tcpi_bytes_received in struct tcp_info, Linux 4.1 and later
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST and keep no memory of the connection

Entered = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


@dataclass(eq=False, slots=True)
class _Guest:
    """A connection in the doorway."""

    host: str
    port: int
    line: socket.socket

    @property
    def has_spoken(self) -> bool:
        """Whether a byte has come; not known (false) where the kernel does not count them."""
        try:
            facts = self.line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.stop)
        except (OSError, AttributeError):
            return False
        return any(facts[_BYTES_RECEIVED])


class Door:
    """A listening socket and the handshakes before it.

    expects: whether a connection from this (host, port) may come in now. entered: gets those that are in.
    context: TLS, or None for plain TCP. refused: how many connections were sent away.
    """

    def __init__(
        self, listening: socket.socket, expects: Callable[[str, int], bool], entered: Entered,
        context: ssl.SSLContext | None,
    ) -> None:
        self.refused = 0
        self._listening, self._expects, self._entered, self._context = listening, expects, entered, context
        self._loop = asyncio.get_running_loop()
        self._guests: list[_Guest] = []
        self._past: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(listening.fileno(), self._accept)

    @classmethod
    async def open(
        cls, host: str, expects: Callable[[str, int], bool], entered: Entered, context: ssl.SSLContext | None = None,
        *, is_dynamic: bool = False,
    ) -> Door:
        """Listen on a free port of `host` (a link-local address with its `%interface`). Raises an `OSError`.

        is_dynamic: the port is one of `DYNAMIC_PORTS`.
        """
        family, address = await resolved(host, 0)
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            if is_dynamic:
                _bind_dynamic(listening, address)
            else:
                listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        return cls(listening, expects, entered, context)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listening.getsockname()[:2]
        return str(host), int(port)

    @property
    def unfinished(self) -> int:
        """Connections that are neither in nor sent away."""
        return len(self._guests)

    def clear(self) -> None:
        """Send away whoever stands in the doorway."""
        for guest in list(self._guests):
            self._send_away(guest)

    async def close(self) -> None:
        """Listen no more; connections that are in stay."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()
        self.clear()
        await asyncio.gather(*self._past, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                line, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # The listening socket stays readable: without a pause this would be called without end.
                self._loop.remove_reader(self._listening.fileno())
                self._pause = self._loop.call_later(NO_FILES_PAUSE_S, self._listen_again)
                return
            self._meet(line, str(address[0]), int(address[1]))

    def _listen_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def _meet(self, line: socket.socket, host: str, port: int) -> None:
        if not self._expects(host, port):
            self.refused += 1
            _reset(line)
            return
        of_peer = [guest for guest in self._guests if guest.host == host]
        if len(of_peer) >= MOST_PER_PEER:
            self._make_room(of_peer)
        elif len(self._guests) >= MOST_UNFINISHED:
            self._make_room(self._guests)
        line.setblocking(False)
        guest = _Guest(host, port, line)
        self._guests.append(guest)
        task = self._loop.create_task(self._bring_in(guest))
        self._past.add(task)
        task.add_done_callback(self._past.discard)

    def _make_room(self, among: list[_Guest]) -> None:
        self._send_away(next((guest for guest in among if not guest.has_spoken), among[0]))

    def _send_away(self, guest: _Guest) -> None:
        """Its handshake reads the end of the line and fails: in whatever state it is, its socket is closed in order."""
        self.refused += 1
        self._guests.remove(guest)
        with contextlib.suppress(OSError):
            guest.line.shutdown(socket.SHUT_RDWR)

    async def _bring_in(self, guest: _Guest) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, guest.line, ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else HANDSHAKE_S,
            )
        except OSError:  # also a TLS error or its time-out
            if guest in self._guests:
                self._guests.remove(guest)
            return
        if guest not in self._guests:  # sent away meanwhile
            transport.abort()
            return
        self._guests.remove(guest)
        if not self._expects(guest.host, guest.port):  # not any more
            self.refused += 1
            transport.abort()
            return
        self._entered(reader, asyncio.StreamWriter(transport, protocol, reader, self._loop))


async def resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Family and socket address of a TCP port; of a link-local host with its interface. Raises an `OSError`."""
    try:
        # Not by the event loop: uvloop loses the interface of a link-local address.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return found[0][0], found[0][4]


def _bind_dynamic(listening: socket.socket, address: tuple[Any, ...]) -> None:
    for _ in range(PORT_TRIES - 1):
        with contextlib.suppress(OSError):
            listening.bind((address[0], secrets.choice(DYNAMIC_PORTS), *address[2:]))
            return
    listening.bind((address[0], secrets.choice(DYNAMIC_PORTS), *address[2:]))


def _reset(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    line.close()
