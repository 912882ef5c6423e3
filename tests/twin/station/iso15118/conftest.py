"""A car to talk with, a line that can be listened to and broken, and a station that writes down what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

IS_STATION = importlib.util.find_spec("iso15118") is not None
collect_ignore_glob = [] if IS_STATION else ["test_*.py"]  # this room is tested in the stations' environment

if IS_STATION:
    from twin.station.iso15118 import EvseController, Secc, WireOptions, WireRail, drive  # noqa: I001 - imports it quietly
    from iso15118.shared.exi_codec import EXI
    from iso15118.shared.messages.enums import Namespace

    from twin.station.iso15118.ev import EvController
    from twin.station.iso15118.framing import HEADER
    from twin.station.rail import (
        CarIntent,
        CarLimits,
        CarState,
        Control,
        EvNeeds,
        EvseRatings,
        Language,
        SessionEnd,
        SessionFault,
        Speech,
        Step,
        Transfer,
    )

PAUSE_S = 0.005
SOON_S = 60.0


class ScriptedCar:
    """A car that says what the test tells it to say and takes what it is given, within `most_kw`."""

    def __init__(self, speech: Speech, **said: Any) -> None:
        self.speech = speech
        self.limits = CarLimits(
            capacity_kwh=60.0, max_charge_kw=11.0, max_discharge_kw=10.0, max_current_a=40.0, min_charge_kw=0.1,
        )
        self.now = replace(CarState(
            soc=0.5, target_soc=0.8, min_soc=0.2, max_soc=0.9, departure_s=7200.0, target_energy_kwh=18.0,
            max_energy_kwh=24.0, min_energy_kwh=-18.0, max_v2x_energy_kwh=20.0, min_v2x_energy_kwh=-10.0,
        ), **said)
        self.most_kw = 1000.0
        self.is_cut = True  # the contactors before it are open
        self.obeys_pilot, self.pilot_kw = True, math.inf
        self.taken: list[float] = []

    def state(self) -> CarState:
        return replace(self.now, present_kw=self.present_kw)

    def take(self, power_kw: float) -> float:
        self.taken.append(min(max(power_kw, -self.most_kw), self.most_kw))
        return self.taken[-1]

    @property
    def present_kw(self) -> float:
        return self.taken[-1] if self.taken else 0.0

    def leave(self) -> None:
        """It wants to end the session."""
        self.now = replace(self.now, intent=CarIntent.STOP)


@dataclass
class Notes:
    """What a rail or an SECC told the station, in order."""

    needs_told: list[EvNeeds] = field(default_factory=list)
    flows: list[float] = field(default_factory=list)
    ends: list[SessionEnd | SessionFault] = field(default_factory=list)
    loops: list[bool] = field(default_factory=list)

    def needs(self, needs: EvNeeds) -> None:
        self.needs_told.append(needs)

    def said(self, needs: EvNeeds) -> None:
        self.needs_told.append(needs)

    def offer(self) -> tuple[Step, ...]:
        return ()

    def flowing(self, power_kw: float) -> None:
        self.flows.append(power_kw)

    def ended(self, reason: SessionEnd) -> None:
        self.ends.append(reason)

    def faulted(self, fault: SessionFault) -> None:
        self.ends.append(fault)

    def loop(self, is_in_loop: bool) -> None:
        self.loops.append(is_in_loop)

    def over(self, outcome: SessionEnd | SessionFault) -> None:
        self.ends.append(outcome)


class Stage:
    """Power electronics that let flow what they are told and note it; the car at them obeys the pilot, or does not."""

    def __init__(self, car: ScriptedCar) -> None:
        self.car = car

    def switch(self, *, is_closed: bool) -> None:
        self.car.is_cut = not is_closed
        if not is_closed and self.car.present_kw != 0.0:
            self.car.take(0.0)

    def apply(self, power_kw: float) -> float:
        return self.car.take(0.0 if self.car.is_cut else min(power_kw, self.car.pilot_kw))

    def pilot(self, power_kw: float) -> None:
        if self.car.obeys_pilot:
            self.car.pilot_kw = power_kw
            if self.car.present_kw > power_kw:
                self.apply(power_kw)

    def present_kw(self) -> float:
        return self.car.present_kw


class Relay:
    """A TCP relay in front of a station: sees every byte, and `cut` may change what is passed on, or end the line.

    cut(data, is_from_car) -> the segments to pass on, or None to close both sides.
    """

    def __init__(self, host: str, port: int) -> None:
        self._station = (host, port)
        self.seen: dict[bool, bytearray] = {True: bytearray(), False: bytearray()}
        self.cut: Callable[[bytes, bool], list[bytes] | None] = lambda data, _: [data]
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> tuple[str, int]:
        self._server = await asyncio.start_server(self._accept, self._station[0], 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._station)
        except ConnectionResetError:  # the station sends it away
            writer.transport.abort()
            return
        self._writers += [writer, there_writer]
        for source, sink, is_from_car in ((reader, there_writer, True), (there_reader, writer, False)):
            task = asyncio.create_task(self._pump(source, sink, is_from_car))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_from_car: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                self.seen[is_from_car] += data
                segments = self.cut(data, is_from_car)
                if segments is None:
                    self.sever()
                    return
                for segment in segments:
                    sink.write(segment)
                    await sink.drain()
                    await asyncio.sleep(0)
        sink.close()

    def mute(self) -> None:
        """Pass nothing on any more, in either direction; the lines stay."""
        self.cut = lambda _data, _is_from_car: []

    async def silence(self) -> None:
        """`mute`, and what was under way has arrived: nothing has come for longer than an answer is held back."""
        self.mute()
        passed, quiet = -1, 0
        while quiet < 20:
            quiet = quiet + 1 if passed == (passed := sum(map(len, self.seen.values()))) else 0
            await asyncio.sleep(0.005)

    async def ask(self, kind: int, message: dict[str, Any], namespace: Any) -> dict[str, Any]:
        """Say a message of one's own to the station in the car's place; returns the answer."""
        payload = EXI().get_exi_codec().encode_message(message, namespace)
        begin = len(self.seen[False])
        self._writers[1].write(b"\x01\xfe" + kind.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload)
        await until(lambda: len(self.seen[False]) > begin)
        (_, answer), = frames(bytes(self.seen[False][begin:]))
        decoded_answer: dict[str, Any] = EXI().get_exi_codec().decode_message(answer, namespace)
        return decoded_answer

    def say(self, data: bytes) -> None:
        """Pass on to the station what was held back."""
        self._writers[1].write(data)

    def tell(self, data: bytes) -> None:
        """Say something to the car in the station's place."""
        self.seen[False] += data
        self._writers[0].write(data)

    def sever(self) -> None:
        """Pull the plug: both connections are gone at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.sever()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def messages(self, *, is_from_car: bool) -> list[dict[str, Any]]:
        """Every message that went by after the handshake, decoded from the bytes: {name: body}."""
        return [message for name, message in decoded(bytes(self.seen[is_from_car])) if "supportedApp" not in name]


def frames(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """The V2GTP messages in a byte stream, by a reading of the header of the test's own."""
    while len(stream) >= HEADER.size:
        kind, length = int.from_bytes(stream[2:4], "big"), int.from_bytes(stream[4:8], "big")
        yield kind, stream[8:8 + length]
        stream = stream[8 + length:]


def decoded(stream: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of the messages of an ISO 15118-20 connection, by payload type (Table 12)."""
    import json  # noqa: PLC0415 - only here

    spaces = {
        0x8001: Namespace.SAP, 0x8002: Namespace.ISO_V20_COMMON_MSG, 0x8003: Namespace.ISO_V20_AC,
        0x8004: Namespace.ISO_V20_DC,
    }
    for kind, payload in frames(stream):
        message = json.loads(EXI().get_exi_codec().decode(payload, spaces[kind]))
        name = next(iter(message))
        yield name, message


async def until(holds: Callable[[], bool], within_s: float = SOON_S) -> None:
    """Wait until `holds`."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for is not ours to signal
            await asyncio.sleep(0.002)


@pytest.fixture
def bench() -> SimpleNamespace:
    """The names that tests of this room build with (a conftest cannot be imported)."""
    return SimpleNamespace(
        ScriptedCar=ScriptedCar, Notes=Notes, Stage=Stage, Relay=Relay, until=until, frames=frames, decoded=decoded,
        WireOptions=WireOptions, EvseController=EvseController, PAUSE_S=PAUSE_S,
    )


@dataclass
class Session:
    """A car at a wire rail."""

    rail: WireRail
    car: ScriptedCar
    notes: Notes

    async def charging(self) -> Session:
        await until(lambda: bool(self.rail.is_charging or self.notes.ends))
        return self

    async def flows(self, power_kw: float, within_kw: float = 0.0) -> None:
        """Wait until so much flows."""
        await until(lambda: bool(self.car.taken) and abs(self.car.present_kw - power_kw) <= within_kw)

    async def over(self) -> SessionEnd | SessionFault:
        await until(lambda: bool(self.notes.ends))
        return self.notes.ends[-1]


Plug = Callable[..., Session]


@pytest.fixture
async def plug() -> AsyncIterator[Plug]:
    """Plug a car of some speech into an EVSE that suits it; authorised unless told otherwise."""
    rails: list[WireRail] = []

    def make(speech: Speech | None = None, *, car: ScriptedCar | None = None, order_kw: float = 7.0,
             is_authorised: bool = True, options: dict[str, Any] | None = None, **ratings: Any) -> Session:
        car = car or ScriptedCar(speech or Speech())
        notes = Notes()
        rated = {"max_charge_kw": 11.0, "max_discharge_kw": 10.0, "is_dc": car.speech.transfer.is_dc,
                 "permits_ac_bpt": True, "max_current_a": 60.0} | ratings
        rail = WireRail(EvseRatings(**rated), notes, WireOptions(**({"pause_s": lambda: PAUSE_S} | (options or {}))))
        rails.append(rail)
        rail.order(order_kw)
        rail.connect(car)
        if is_authorised:
            rail.authorise()
        return Session(rail, car, notes)

    yield make
    for rail in rails:
        await rail.close()


@dataclass
class Stand:
    """An SECC alone, a relay before it, and whatever connects."""

    secc: Secc
    notes: Notes
    relay: Relay
    address: tuple[str, int]
    car: ScriptedCar

    def drive(self, controller: type[EvController] | None = None, **options: Any) -> asyncio.Task[Any]:
        """Let the car hold a session through the relay."""
        wires = WireOptions(**({"pause_s": lambda: PAUSE_S} | options))
        return asyncio.create_task(
            drive(self.car, Stage(self.car), *self.address, wires, controller or EvController)
        )

    def plug(self) -> None:
        self.secc.plug(Stage(self.car))
        self.secc.authorise()

    async def over(self) -> SessionEnd | SessionFault:
        await until(lambda: bool(self.notes.ends))
        return self.notes.ends[-1]


@pytest.fixture
async def stand() -> AsyncIterator[Callable[..., Awaitable[Stand]]]:
    """Set up an SECC behind a relay, with a car plugged in and authorised but not yet connected."""
    made: list[Stand] = []

    async def make(speech: Speech | None = None, *, order_kw: float = 7.0, options: dict[str, Any] | None = None,
                   car: ScriptedCar | None = None, **ratings: Any) -> Stand:
        car = car or ScriptedCar(speech or Speech())
        notes = Notes()
        rated = {"max_charge_kw": 11.0, "max_discharge_kw": 10.0, "is_dc": car.speech.transfer.is_dc,
                 "permits_ac_bpt": True, "max_current_a": 60.0} | ratings
        secc = Secc(EvseRatings(**rated), notes, WireOptions(**(options or {})))
        relay = Relay(*await secc.listen())
        made.append(Stand(secc, notes, relay, await relay.listen(), car))
        secc.order(order_kw)
        made[-1].plug()
        return made[-1]

    yield make
    for one in made:
        await one.secc.close()
        await one.relay.close()


def all_speeches() -> list[Speech]:
    """Every protocol, transfer and control mode that this station speaks."""
    newest = [
        Speech(Language.ISO_15118_20, transfer, control)
        for transfer in (Transfer.AC_THREE_PHASE, Transfer.DC, Transfer.AC_BPT, Transfer.DC_BPT) for control in Control
    ]
    older = [
        Speech(Language.ISO_15118_2, transfer, Control.SCHEDULED)
        for transfer in (Transfer.AC_SINGLE_PHASE, Transfer.AC_THREE_PHASE, Transfer.DC)
    ]
    return [*newest, *older, Speech(Language.DIN_70121, Transfer.DC, Control.SCHEDULED)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "every_speech" in metafunc.fixturenames:
        metafunc.parametrize("every_speech", all_speeches(), ids=lambda s: f"{s.language}-{s.transfer}-{s.control}")
