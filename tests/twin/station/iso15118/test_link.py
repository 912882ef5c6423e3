"""Sessions over a pair of virtual interfaces, found by discovery. Skipped where a process may not make interfaces."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twin.station.iso15118.link import NoLink, virtual_link
from twin.station.iso15118.link_table import OLDER, StationProcess, try_link
from twin.station.iso15118.pki import make_pki
from twin.station.iso15118.sdp import GROUP, PORT, DiscoveryFailed, Found, discover, request, response
from twin.station.iso15118.secc import Secc
from twin.station.iso15118.wire_rail import find_and_drive
from twin.station.rail import EvseRatings, FaultKind, SessionEnd, SessionFault, Speech, Transfer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def link() -> Iterator[tuple[str, str]]:
    """The station's and the car's interface."""
    try:
        with virtual_link() as ends:
            if not _passes_multicast(*ends):
                pytest.skip("virtual interfaces can be made here, but no multicast passes between them")
            yield ends
    except NoLink as fault:
        pytest.skip(f"no virtual interfaces: {fault}")


def membership(interface: str) -> bytes:
    """What a socket joins the discovery's group with."""
    return socket.inet_pton(socket.AF_INET6, GROUP) + struct.pack("@I", socket.if_nametoindex(interface))


def _passes_multicast(station: str, car: str) -> bool:
    """By plain sockets of the test's own; the first datagrams may be lost while the interfaces come up."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as hearing,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking,
    ):
        hearing.bind(("::", 0))
        hearing.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership(station))
        hearing.settimeout(0.1)
        index = socket.if_nametoindex(car)
        asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        for _ in range(200):
            try:
                asking.sendto(b"?", (GROUP, hearing.getsockname()[1], 0, index))
                if hearing.recv(8) == b"?":
                    return True
            except OSError:  # also a time-out
                continue
    return False


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def station(bench: Any, link: tuple[str, str]) -> AsyncIterator[Callable[..., Any]]:
    """A `Secc` on the station's interface with a car at its plug, which has not come yet."""
    made: list[Secc] = []

    async def make(speech: Speech, **options: Any) -> Any:
        bench.car, bench.notes = bench.ScriptedCar(speech), bench.Notes()
        is_dc = speech.transfer.is_dc
        secc = Secc(
            EvseRatings(max_charge_kw=11.0, max_discharge_kw=10.0, is_dc=is_dc, permits_ac_bpt=True), bench.notes,
            bench.WireOptions(interface=link[0], **options),
        )
        made.append(secc)
        await secc.listen()
        secc.order(7.0)
        bench.secc = secc
        return bench

    yield make
    for secc in made:
        await secc.close()


def arrive(there: Any, interface: str, **options: Any) -> asyncio.Task[Any]:
    wires = there.WireOptions(pause_s=lambda: there.PAUSE_S, **options)
    return asyncio.create_task(find_and_drive(there.car, there.Stage(there.car), interface, wires))


@pytest.mark.parametrize("is_tls", [False, True], ids=["TCP", "TLS"])
@pytest.mark.parametrize("speech", [OLDER, Speech(), Speech(transfer=Transfer.AC_BPT)],
                         ids=lambda s: f"{s.language}-{s.transfer}")
async def test_a_car_finds_the_station_charges_gives_back_and_leaves(
    station: Any, link: tuple[str, str], pki: Path, speech: Speech, is_tls: bool
) -> None:
    options = {"pki": pki} if is_tls else {}
    there = await station(speech, **options)
    there.secc.plug(there.Stage(there.car))
    there.secc.authorise()
    driving = arrive(there, link[1], **options)
    await there.until(lambda: there.car.present_kw == 7.0)
    if speech.transfer.is_bidirectional:
        there.secc.order(-5.0)
        await there.until(lambda: there.car.present_kw == -5.0)
    there.car.leave()
    await there.until(lambda: bool(there.notes.ends))
    assert there.notes.ends == [SessionEnd.CAR]
    assert await driving is SessionEnd.CAR


async def test_a_station_without_a_car_at_its_plug_is_not_found(station: Any, link: tuple[str, str]) -> None:
    there = await station(Speech())
    with pytest.raises(DiscoveryFailed, match=f"discovery on {link[1]}: nothing in 0.5 s"):
        await discover(link[1], is_tls=False, attempts=2)
    there.secc.plug(there.Stage(there.car))
    assert (await discover(link[1], is_tls=False)).port == (await there.secc.listen())[1]


async def test_a_car_that_wants_tls_does_not_take_a_station_without_it(station: Any, link: tuple[str, str]) -> None:
    there = await station(Speech())
    there.secc.plug(there.Stage(there.car))
    with pytest.raises(DiscoveryFailed, match="an answer without TLS"):
        await discover(link[1], is_tls=True, attempts=2)


async def test_datagrams_that_are_none_keep_the_station_from_nothing(station: Any, link: tuple[str, str]) -> None:
    there = await station(Speech())
    there.secc.plug(there.Stage(there.car))
    there.secc.authorise()
    index = socket.if_nametoindex(link[1])
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as noise:
        noise.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        right = request(is_tls=False)
        for datagram in (b"", b"\x01", right[:8], right + b"\0", b"\x01\xfe\x90\x02" + right[4:],
                         right[:8] + b"\x77\x77", bytes(1400), response(Found("fe80::9", 9, is_tls=False))):
            for _ in range(20):
                noise.sendto(datagram, (GROUP, PORT, 0, index))
        driving = arrive(there, link[1])
        await there.until(lambda: there.car.present_kw == 7.0)
    there.car.leave()
    assert await driving is SessionEnd.CAR


async def test_a_car_is_not_led_astray_by_answers_that_are_none(link: tuple[str, str]) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as liar:
        liar.setblocking(False)
        liar.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link[0].encode() + b"\0")
        liar.bind(("::", PORT))
        liar.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership(link[0]))
        asking = asyncio.create_task(discover(link[1], is_tls=False))
        _, car = await loop.sock_recvfrom(liar, 64)
        right = response(Found("fe80::1", 4711, is_tls=False))
        for lie in (b"", b"\xff" * 28, right[:20], right[:2] + b"\x90\x00" + right[4:],
                    response(Found("2001:db8::1", 4711, is_tls=False)), response(Found("::1", 22, is_tls=False))):
            await loop.sock_sendto(liar, lie, car)
        await loop.sock_sendto(liar, right, car)
        assert await asking == Found("fe80::1", 4711, is_tls=False)


async def test_two_stations_on_one_interface_are_refused(station: Any, link: tuple[str, str], bench: Any) -> None:
    await station(Speech())
    second = Secc(EvseRatings(max_charge_kw=11.0), bench.Notes(), bench.WireOptions(interface=link[0]))
    with pytest.raises(OSError, match="in use"):
        await second.listen()
    await second.close()


@pytest.mark.parametrize("is_tls", [False, True], ids=["TCP", "TLS"])
async def test_our_session_runs_under_the_packages_own_handler(
    link: tuple[str, str], pki: Path, is_tls: bool
) -> None:
    station_end, car_end = link
    speeches = (Speech(),) if is_tls else (OLDER, Speech())
    folder = pki if is_tls else None
    async with StationProcess.at(station_end, is_stock=True, pki=folder) as station:
        for speech in speeches:
            row = await try_link(station, car_end, speech, is_stock=True, pki=folder)
            assert row.is_green, str(row)


async def test_a_car_whose_station_vanishes_ends_with_a_reason(link: tuple[str, str], bench: Any) -> None:
    station_end, car_end = link
    car = bench.ScriptedCar(Speech())
    async with StationProcess.at(station_end, is_stock=False) as station:
        wires = bench.WireOptions(pause_s=lambda: bench.PAUSE_S)
        driving = asyncio.create_task(find_and_drive(car, bench.Stage(car), car_end, wires))
        assert await station.says("flows")
    fault = await driving
    assert isinstance(fault, SessionFault)
    assert fault.kind is FaultKind.LINK
