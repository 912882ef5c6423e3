"""SECC discovery (SDP): the car asks all nodes of its link where the station listens, and the station answers.

    car  --[ security | transport ]-->  ff02::1 port 15118                                  every 0.25 s, 50 times
    car  <--[ IPv6 address | port | security | transport ]--  station

ISO 15118-2 7.10.1, ISO 15118-20 7.10.1; DIN 70121 the same without TLS. Datagrams of the link are believed no more
than they have to be: what is no request is not answered, what is no answer to what was asked is not followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from iso15118.shared.exceptions import NoLinkLocalAddressError
from iso15118.shared.network import get_link_local_full_addr

from twin.station.iso15118.framing import HEADER, INVERSE_VERSION, VERSION

GROUP, PORT = "ff02::1", 15118
ATTEMPTS, EVERY_S = 50, 0.25  # [V2G2-160], [V2G2-162]
REQUEST, RESPONSE = 0x9000, 0x9001
TLS, NO_TLS, TCP = 0x00, 0x10, 0x00
_ASKED = struct.Struct(">BB")
_FOUND = struct.Struct(">16sHBB")
_MOST_BYTES = 256  # of a datagram; an answer has 28


class DiscoveryFailed(OSError):
    """No station on this link answered as asked; the message says what came instead."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a station listens: a link-local address (without its interface) and a TCP port."""

    address: str
    port: int
    is_tls: bool


def request(*, is_tls: bool) -> bytes:
    return _framed(REQUEST, _ASKED.pack(TLS if is_tls else NO_TLS, TCP))


def response(found: Found) -> bytes:
    address = ipaddress.IPv6Address(found.address).packed
    return _framed(RESPONSE, _FOUND.pack(address, found.port, TLS if found.is_tls else NO_TLS, TCP))


def is_request(datagram: bytes) -> bool:
    """Whether it is a well-formed question for a TCP port."""
    payload = _payload(datagram, REQUEST, _ASKED.size)
    if payload is None:
        return False
    security, transport = _ASKED.unpack(payload)
    return security in {TLS, NO_TLS} and transport == TCP


def read_response(datagram: bytes, *, is_tls: bool) -> Found | str:
    """The station's answer, or what is wrong with it in words."""
    payload = _payload(datagram, RESPONSE, _FOUND.size)
    if payload is None:
        return f"{len(datagram)} bytes that are no answer ({datagram[:8].hex()})"
    packed, port, security, transport = _FOUND.unpack(payload)
    address = ipaddress.IPv6Address(packed)
    if not address.is_link_local or port == 0:
        return f"an answer that names {address} port {port}, expected a link-local address and a port"
    if security not in {TLS, NO_TLS} or transport != TCP:
        return f"an answer with security {security:#04x} and transport {transport:#04x}, expected 0x00 or 0x10 and 0x00"
    if is_tls and security != TLS:
        return "an answer without TLS, expected one with it"
    return Found(str(address), port, is_tls=security == TLS)


async def discover(interface: str, *, is_tls: bool, attempts: int = ATTEMPTS) -> Found:
    """Ask on the link of `interface` for a station. With `is_tls` an answer without TLS is none.

    Raises:
        DiscoveryFailed: none came in `attempts` times 0.25 s.
        OSError: there is no such interface, or no IPv6 on it.
    """
    loop = asyncio.get_running_loop()
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        raise OSError(f"interface {interface}: none of this name, expected one to ask on") from None
    heard = "nothing"
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        asking.bind(("::", 0))
        for _ in range(attempts):
            await loop.sock_sendto(asking, request(is_tls=is_tls), (GROUP, PORT, 0, index))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    while True:  # as long as nonsense comes, the next question is not put off by it
                        datagram, _ = await loop.sock_recvfrom(asking, _MOST_BYTES)
                        found = read_response(datagram, is_tls=is_tls)
                        if isinstance(found, Found):
                            return found
                        heard = found
                        await asyncio.sleep(0)  # a socket that is never empty would not let the time run out
    raise DiscoveryFailed(f"discovery on {interface}: {heard} in {attempts * EVERY_S:g} s, expected a station's answer")


async def link_local_address(interface: str) -> str:
    """The link-local address of `interface`, with its scope (`fe80::1%eth1`). Raises an `OSError` if it has none."""
    try:
        address = await get_link_local_full_addr(0, interface)
    except (KeyError, NoLinkLocalAddressError):
        raise OSError(f"interface {interface}: no IPv6 link-local address, expected one to listen on") from None
    return f"{str(address[0]).split('%', maxsplit=1)[0]}%{interface}"


class Announcer(asyncio.DatagramProtocol):
    """Answers the discovery of cars on one interface, as long as `where` has an answer.

    where: called for every question; None: no car is expected, and none is answered.
    """

    def __init__(self, where: Callable[[], Found | None]) -> None:
        self._where = where
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def start(cls, interface: str, where: Callable[[], Found | None]) -> Announcer:
        """Raises an `OSError`: no such interface, or another station answers on it (Linux: needs CAP_NET_RAW)."""
        listening = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            listening.bind(("::", PORT))
            group = socket.inet_pton(socket.AF_INET6, GROUP) + struct.pack("@I", socket.if_nametoindex(interface))
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
            _, announcer = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: cls(where), sock=listening
            )
        except OSError:
            listening.close()
            raise
        return announcer

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        # Only nodes of this link ask; an answer to any other address would reach whoever it was forged for.
        if not is_request(data) or not _is_link_local(str(address[0])) or self._transport is None:
            return
        found = self._where()
        if found is not None:
            self._transport.sendto(response(found), address)

    def error_received(self, exc: Exception) -> None:
        """An answer could not be delivered: the car asks again."""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _is_link_local(host: str) -> bool:
    return ipaddress.IPv6Address(host.split("%", maxsplit=1)[0]).is_link_local


def _framed(payload_type: int, payload: bytes) -> bytes:
    return HEADER.pack(VERSION, INVERSE_VERSION, payload_type, len(payload)) + payload


def _payload(datagram: bytes, payload_type: int, size: int) -> bytes | None:
    if len(datagram) != HEADER.size + size:
        return None
    header = HEADER.unpack(datagram[:HEADER.size])
    return datagram[HEADER.size:] if header == (VERSION, INVERSE_VERSION, payload_type, size) else None
