"""Floods of connections: a running session does not feel them, the next car finds room, and nothing piles up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from twin.station.iso15118 import door
from twin.station.iso15118.door import MOST_PER_PEER, MOST_UNFINISHED
from twin.station.iso15118.pki import make_pki
from twin.station.iso15118.secc import Secc
from twin.station.iso15118.wire_rail import drive
from twin.station.rail import Control, EvseRatings, FaultKind, Language, SessionEnd, Speech, Transfer

pytestmark = pytest.mark.anyio

# One car with the station's own TLS 1.3, one with the older: their handshakes take a different number of flights.
SPEECHES = (Speech(), Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED))
FLOOD = 150


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pki(tmp_path_factory.mktemp("pki"))


class Flood:
    """Connections that say nothing, each from whatever loopback address the test names."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self.lines: list[socket.socket] = []

    async def connect(self, source: str = "127.0.0.1") -> None:
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.lines.append(line)
        line.setblocking(False)
        line.bind((source, 0))
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_connect(line, self._address)

    def standing(self) -> int:
        """How many of them the station has not closed."""
        return sum(map(_stands, self.lines))

    def hang_up(self) -> None:
        for line in self.lines:
            line.close()


def _stands(line: socket.socket) -> bool:
    try:
        return line.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.fixture
async def station(bench: Any, pki: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """An SECC with TLS on 127.0.0.1, where every 127.x.x.x may be a peer of its own; and what was said to whom.

    Handshakes may take long, so that on a busy machine a flood is not over before it is counted.
    """
    monkeypatch.setattr(door, "HANDSHAKE_S", 600.0)
    bench.notes = bench.Notes()
    bench.options = bench.WireOptions(pki=pki, host="127.0.0.1", pause_s=lambda: bench.PAUSE_S)
    bench.secc = Secc(EvseRatings(max_charge_kw=11.0, max_discharge_kw=10.0), bench.notes, bench.options)
    bench.secc.order(7.0)
    bench.flood = Flood(await bench.secc.listen())
    bench.door = await bench.secc._opening
    yield bench
    bench.flood.hang_up()
    await bench.secc.close()


def plug(station: Any, speech: Speech) -> Any:
    car = station.ScriptedCar(speech)
    station.secc.plug(station.Stage(car))
    station.secc.authorise()
    return car


async def arrive(station: Any, car: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(drive(car, station.Stage(car), *await station.secc.listen(), station.options))


async def leave(station: Any, car: Any, driving: asyncio.Task[Any]) -> None:
    await station.until(lambda: car.present_kw == 7.0)
    car.leave()
    await station.until(lambda: bool(station.notes.ends))
    assert station.notes.ends.pop() is SessionEnd.CAR
    await driving


@pytest.mark.parametrize("speech", SPEECHES, ids=lambda s: s.language)
async def test_a_running_session_and_the_next_car_do_not_feel_a_flood(station: Any, speech: Speech) -> None:
    car = plug(station, speech)
    driving = await arrive(station, car)
    await station.until(lambda: car.present_kw == 7.0)
    for _ in range(FLOOD):
        await station.flood.connect()
    assert station.door.unfinished == 0  # sent away before TLS: there is nobody to wait for
    await station.until(lambda: station.flood.standing() == 0)
    assert station.door.refused == FLOOD
    loops = len(car.taken)
    await station.until(lambda: len(car.taken) > loops + 10)
    assert not station.notes.ends
    await leave(station, car, driving)
    following = plug(station, speech)
    await leave(station, following, await arrive(station, following))


@pytest.mark.parametrize("speech", SPEECHES, ids=lambda s: s.language)
async def test_a_peer_holds_no_more_than_its_share_of_the_doorway(station: Any, speech: Speech) -> None:
    car = plug(station, speech)
    for _ in range(FLOOD):
        await station.flood.connect("127.0.0.2")
    await station.until(lambda: station.door.refused == FLOOD - MOST_PER_PEER)
    assert station.door.unfinished == MOST_PER_PEER
    await leave(station, car, await arrive(station, car))
    assert station.door.unfinished == 0  # a session began: whoever stood there was sent away
    await station.until(lambda: station.flood.standing() == 0)


@pytest.mark.parametrize("speech", SPEECHES, ids=lambda s: s.language)
async def test_a_car_is_not_locked_out_by_silent_lines_from_its_own_address(station: Any, speech: Speech) -> None:
    car = plug(station, speech)
    for _ in range(MOST_PER_PEER):
        await station.flood.connect("127.0.0.1")
    await station.until(lambda: station.door.unfinished == MOST_PER_PEER)
    await leave(station, car, await arrive(station, car))
    assert station.door.refused == MOST_PER_PEER


async def test_a_car_in_its_handshake_keeps_its_place_before_silent_lines(station: Any) -> None:
    plug(station, Speech())
    await station.flood.connect("127.0.0.2")
    await station.until(lambda: station.door.unfinished == 1)
    car = station.flood.lines[0]
    car.send(b"\x16")  # its hello begins
    await station.until(lambda: station.door._guests[0].has_spoken)
    for peer in range(3, 3 + FLOOD):
        await station.flood.connect(f"127.0.0.{peer}")
    for _ in range(FLOOD):
        await station.flood.connect("127.0.0.2")
    await station.until(lambda: station.door.refused == 1 + 2 * FLOOD - MOST_UNFINISHED)
    assert _stands(car)


async def test_lines_that_are_reset_at_once_are_forgotten(station: Any) -> None:
    plug(station, Speech())
    for peer in range(2, 2 + FLOOD):
        await station.flood.connect(f"127.0.0.{peer}")
        line = station.flood.lines[-1]
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()
    await station.until(lambda: station.door.unfinished == 0)
    station.flood.lines.clear()
    car = plug(station, Speech())
    await leave(station, car, await arrive(station, car))


async def test_a_plain_line_that_is_reset_at_once_is_a_broken_line(bench: Any) -> None:
    notes = bench.Notes()
    secc = Secc(EvseRatings(max_charge_kw=11.0), notes, bench.WireOptions(host="127.0.0.1"))
    flood = Flood(await secc.listen())
    for count in range(1, 20):
        secc.plug(bench.Stage(bench.ScriptedCar(Speech())))
        await flood.connect()
        line = flood.lines.pop()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()
        await bench.until(lambda count=count: len(notes.ends) == count)
        assert notes.ends[-1].kind is FaultKind.LINK
    await secc.close()


async def test_a_flood_of_many_peers_leaves_room_for_the_car_that_comes_last(station: Any) -> None:
    car = plug(station, Speech())
    for peer in range(2, 2 + FLOOD):
        await station.flood.connect(f"127.0.0.{peer}")
    await station.until(lambda: station.door.refused == FLOOD - MOST_UNFINISHED)
    assert station.door.unfinished == MOST_UNFINISHED
    await station.until(lambda: station.flood.standing() == MOST_UNFINISHED)
    assert [_stands(line) for line in station.flood.lines[-MOST_UNFINISHED:]] == [True] * MOST_UNFINISHED
    await leave(station, car, await arrive(station, car))


async def test_a_handshake_that_is_never_finished_ends_by_itself(
    station: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "HANDSHAKE_S", 0.2)
    plug(station, Speech())
    for _ in range(MOST_PER_PEER):
        await station.flood.connect()
    await station.until(lambda: station.flood.standing() == 0)
    await station.until(lambda: station.door.unfinished == 0)
    assert station.secc.session is None


async def test_nobody_comes_in_where_no_car_is_at_the_plug(station: Any) -> None:
    await station.flood.connect()
    await station.until(lambda: station.flood.standing() == 0)
    assert station.door.refused == 1


async def test_a_closed_door_leaves_nobody_in_the_doorway(station: Any) -> None:
    plug(station, Speech())
    for peer in range(2, 6):
        await station.flood.connect(f"127.0.0.{peer}")
    await station.until(lambda: station.door.unfinished == 4)
    await station.secc.close()
    assert station.door.unfinished == 0
    await station.until(lambda: station.flood.standing() == 0)


async def test_a_process_without_free_files_accepts_again_when_it_has_some(
    station: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "NO_FILES_PAUSE_S", 0.02)
    car, listening, tries = plug(station, Speech()), station.door._listening, 0

    class Exhausted:
        """The listening socket of a process that has no descriptor left for three tries."""

        def __getattr__(self, name: str) -> Any:
            return getattr(listening, name)

        def accept(self) -> Any:
            nonlocal tries
            tries += 1
            if tries <= 3:
                raise OSError(24, "Too many open files")
            return listening.accept()

    monkeypatch.setattr(station.door, "_listening", Exhausted())
    await leave(station, car, await arrive(station, car))
    assert tries > 3
