"""Stations that fall silent, talk nonsense or promise the impossible: the car ends with a reason, and takes nothing."""

from __future__ import annotations

import asyncio
import copy
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.enums import Namespace

from twin.station.iso15118 import session, wire_rail
from twin.station.iso15118.pki import make_pki
from twin.station.iso15118.tls import server_context
from twin.station.iso15118.wire_rail import drive
from twin.station.rail import Control, FaultKind, Language, SessionEnd, SessionFault, Speech, Transfer

pytestmark = pytest.mark.anyio

DC_BPT, AC_BPT = Speech(), Speech(transfer=Transfer.AC_BPT)
SCHEDULED_BPT = Speech(control=Control.SCHEDULED)
V2_DC = Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED)
V2_AC = Speech(Language.ISO_15118_2, Transfer.AC_THREE_PHASE, Control.SCHEDULED)
DIN = Speech(Language.DIN_70121, Transfer.DC, Control.SCHEDULED)
HELLO = b"\x01\xfe\x80\x01"
AGREED = HELLO + b"\x00\x00\x00\x04" + bytes.fromhex("80400040")  # OK_SuccessfulNegotiation, schema 1

_SPACES = {
    Language.DIN_70121: Namespace.DIN_MSG_DEF, Language.ISO_15118_2: Namespace.ISO_V2_MSG_DEF,
    0x8002: Namespace.ISO_V20_COMMON_MSG, 0x8003: Namespace.ISO_V20_AC, 0x8004: Namespace.ISO_V20_DC,
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pki(tmp_path_factory.mktemp("pki"))


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def liar(bench: Any) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """A TCP server of the test's own, and a car that holds its session with it."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def meet(answer: Answer, speech: Speech = DC_BPT, **options: Any) -> Any:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            try:
                await answer(reader, writer)
            except ConnectionError:
                writer.transport.abort()

        servers.append(await asyncio.start_server(accept, "127.0.0.1", 0))
        car = bench.ScriptedCar(speech)
        host, port = servers[-1].sockets[0].getsockname()
        wires = bench.WireOptions(**({"pause_s": lambda: bench.PAUSE_S} | options))
        async with asyncio.timeout(60):
            outcome = await drive(car, bench.Stage(car), host, port, wires)
        assert not any(car.taken)
        return outcome

    yield meet
    for writer in writers:
        writer.transport.abort()
    for server in servers:
        server.close()


def is_fault(outcome: Any, *kinds: FaultKind) -> SessionFault:
    assert isinstance(outcome, SessionFault), outcome
    assert outcome.kind in kinds, str(outcome)
    assert outcome.state
    assert outcome.detail
    return outcome


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(-1)


async def test_a_station_that_never_answers_is_given_up(liar: Any) -> None:
    fault = is_fault(await liar(silence, car_patience=0.1), FaultKind.TIMEOUT)
    assert fault.state == "SupportedAppProtocol"


@pytest.mark.parametrize("data", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(64), HELLO + b"\xff\xff\xff\xff", HELLO + b"\x00\x00\x00\x00",
    HELLO + struct.pack(">I", 4) + b"\xff" * 4, b"\x01\xfe\x12\x34" + struct.pack(">I", 4) + b"\x80\x40\x00\x40",
], ids=["http", "zeros", "four-gigabytes", "empty", "no-exi", "unknown-type"])
async def test_nonsense_ends_the_car_s_session(liar: Any, data: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read(-1)

    is_fault(await liar(answer), FaultKind.MALFORMED)


async def test_a_length_is_believed_only_as_far_as_bytes_come(liar: Any) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO + struct.pack(">I", 100_000) + bytes(10))
        await reader.read(-1)

    is_fault(await liar(answer, car_patience=0.1), FaultKind.TIMEOUT)


async def test_a_message_that_comes_byte_by_byte_must_still_come_in_time(liar: Any) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO + struct.pack(">I", 100_000))
        while not writer.is_closing():
            writer.write(b"\x80")
            await writer.drain()
            await asyncio.sleep(0.02)

    is_fault(await liar(answer, car_patience=0.1), FaultKind.TIMEOUT, FaultKind.LINK)


async def test_a_flood_of_answers_nobody_asked_for_ends_the_session(liar: Any) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(AGREED * 1000)
            await writer.drain()

    is_fault(await liar(answer), FaultKind.SEQUENCE, FaultKind.REFUSED, FaultKind.MALFORMED, FaultKind.LINK)


async def test_the_line_that_is_closed_after_the_handshake_is_a_broken_line(liar: Any) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(AGREED)
        await reader.read(100)
        writer.close()

    assert is_fault(await liar(answer), FaultKind.LINK).state == "SessionSetup"


async def test_a_station_that_reads_nothing_does_not_hold_the_car(liar: Any) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        await asyncio.sleep(0.5)

    is_fault(await liar(answer, car_patience=0.05), FaultKind.TIMEOUT, FaultKind.LINK)


# ---------------------------------------------------------------------- TLS

async def test_a_station_that_answers_tls_with_plain_text_is_none(liar: Any, pki: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(AGREED)
        await reader.read(-1)

    with pytest.raises(OSError, match=r"\S"):
        await liar(answer, pki=pki)


async def test_a_handshake_that_never_ends_is_given_up(
    liar: Any, pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_rail, "CONNECT_S", 0.3)
    with pytest.raises(OSError, match="handshake is taking longer"):
        await liar(silence, pki=pki)


@pytest.mark.parametrize("speech", [V2_DC, DC_BPT], ids=lambda s: s.language)
@pytest.mark.parametrize("is_half", [True, False], ids=["half", "reset"])
async def test_tls_that_is_closed_halfway_is_a_broken_line(
    bench: Any, pki: Path, speech: Speech, is_half: bool
) -> None:
    """The TCP line ends without TLS's own goodbye: at once, or in one direction while the other goes on."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(AGREED)
        await writer.drain()
        await reader.read(100)
        if is_half:
            writer.get_extra_info("socket")._sock.shutdown(socket.SHUT_WR)
        else:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context(pki))
    car = bench.ScriptedCar(speech)
    host, port = server.sockets[0].getsockname()
    wires = bench.WireOptions(pki=pki, pause_s=lambda: bench.PAUSE_S)
    async with asyncio.timeout(60):
        outcome = await drive(car, bench.Stage(car), host, port, wires)
    is_fault(outcome, FaultKind.LINK)
    server.close()


# ---------------------------------------------------------------------- a real station whose answers are changed

class Forger:
    """Changes what a real station says, message by message, by name."""

    def __init__(self, relay: Any, bench: Any, speech: Speech, *, repeats: bool) -> None:
        self._relay, self._bench, self._speech, self._repeats = relay, bench, speech, repeats
        self._forgeries: dict[str, Callable[[dict[str, Any]], None]] = {}
        self.forged: list[bytes] = []
        relay.cut = self._cut

    def forge(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        self._forgeries[name] = change

    def _cut(self, data: bytes, is_from_car: bool) -> list[bytes]:
        if not is_from_car:
            return [self._forged(kind, payload) for kind, payload in self._bench.frames(data)]
        if self.forged and self._repeats:  # the real station is not asked any more
            for _ in self._bench.frames(data):
                self._relay.tell(self.forged[-1])
            return []
        return [data]

    def _forged(self, kind: int, payload: bytes) -> bytes:
        space = _SPACES.get(self._speech.language) or _SPACES.get(kind)
        codec = EXI().get_exi_codec()
        try:
            message = codec.decode_message(payload, space)
        except (ValueError, KeyError):  # the handshake
            return b"\x01\xfe" + struct.pack(">HI", kind, len(payload)) + payload
        holder = message.get("V2G_Message", {}).get("Body", message)
        name = next(iter(holder))
        is_forged = name in self._forgeries
        if is_forged:
            said = copy.deepcopy(holder[name])
            self._forgeries[name](said)
            holder[name] = said
            payload = codec.encode_message(message, space)
        data = b"\x01\xfe" + struct.pack(">HI", kind, len(payload)) + payload
        if is_forged:
            self.forged.append(data)
        return data


def rational(value: int, exponent: int = 0) -> dict[str, int]:
    return {"Exponent": exponent, "Value": value}


def physical(value: int, unit: str, multiplier: int = 0) -> dict[str, Any]:
    return {"Value": value, "Unit": unit, "Multiplier": multiplier}


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set the field at `a/b/c`."""
    def change(said: dict[str, Any]) -> None:
        *way, last = path.split("/")
        for step in way:
            said = said[step]
        assert last in said, (last, said)
        said[last] = value

    return change


async def meet(stand: Any, bench: Any, speech: Speech, name: str, change: Callable[[dict[str, Any]], None],
               *, repeats: bool = False, **options: Any) -> tuple[Any, Any]:
    """A car at a real station one of whose messages is forged (and then said for ever): its outcome, and the stand."""
    there = await stand(speech, order_kw=7.0, options={"loop_silence_s": 60.0, "station_patience": 100.0})
    forger = Forger(there.relay, bench, speech, repeats=repeats)
    forger.forge(name, change)
    async with asyncio.timeout(60):
        outcome = await there.drive(**options)
    assert forger.forged
    return outcome, there


HUGE = rational(32767, 100)
OFFER = "BPT_DC_CPDResEnergyTransferMode"
LIES = [
    (DC_BPT, "DC_ChargeParameterDiscoveryRes", put(f"{OFFER}/EVSEMinimumVoltage", rational(900))),
    (DC_BPT, "DC_ChargeParameterDiscoveryRes", put(f"{OFFER}/EVSEMaximumVoltage", rational(100))),
    (DC_BPT, "DC_ChargeParameterDiscoveryRes", put(f"{OFFER}/EVSEMaximumChargePower", HUGE)),
    (DC_BPT, "DC_ChargeParameterDiscoveryRes",
     put(f"{OFFER}/EVSEMaximumChargePower", rational(-5000))),
    (DC_BPT, "DC_ChargeLoopRes", put("EVSEPresentVoltage", rational(1500))),
    (DC_BPT, "DC_ChargeLoopRes", put("EVSEPresentCurrent", HUGE)),
    (DC_BPT, "DC_ChargeLoopRes", put("BPT_Dynamic_DC_CLResControlMode/EVSEMaximumChargePower", HUGE)),
    (SCHEDULED_BPT, "DC_ChargeLoopRes", put("BPT_Scheduled_DC_CLResControlMode/EVSEMaximumChargePower", rational(-1))),
    (AC_BPT, "AC_ChargeParameterDiscoveryRes", put("BPT_AC_CPDResEnergyTransferMode/EVSEMaximumChargePower", HUGE)),
    (AC_BPT, "AC_ChargeLoopRes", put("BPT_Dynamic_AC_CLResControlMode/EVSETargetActivePower", HUGE)),
    (AC_BPT, "AC_ChargeLoopRes", put("BPT_Dynamic_AC_CLResControlMode/EVSETargetActivePower", rational(-32767, 100))),
    (V2_DC, "ChargeParameterDiscoveryRes", put("DC_EVSEChargeParameter/EVSEMaximumVoltageLimit", physical(100, "V"))),
    (V2_DC, "CurrentDemandRes", put("EVSEPresentVoltage", physical(1500, "V"))),
    (V2_DC, "CurrentDemandRes", put("EVSEMaximumPowerLimit", physical(-100, "W"))),
    (DIN, "CurrentDemandRes", put("EVSEPresentVoltage", physical(1500, "V"))),
    (V2_AC, "ChargeParameterDiscoveryRes", put("AC_EVSEChargeParameter/EVSENominalVoltage", physical(0, "V"))),
    (V2_AC, "ChargingStatusRes", put("EVSEMaxCurrent", physical(-16, "A"))),
]


@pytest.mark.parametrize(("speech", "name", "lie"), LIES, ids=range(len(LIES)))
async def test_limits_that_no_station_has_end_the_car_s_session(
    stand: Any, bench: Any, speech: Speech, name: str, lie: Callable[[dict[str, Any]], None]
) -> None:
    outcome, there = await meet(stand, bench, speech, name, lie)
    is_fault(outcome, FaultKind.ABSURD, FaultKind.MALFORMED)
    assert all(0.0 <= kw <= 7.0 for kw in there.car.taken)
    await bench.until(lambda: bool(there.notes.ends))
    assert there.car.present_kw == 0.0


@pytest.mark.parametrize(("speech", "name", "state"), [
    (DC_BPT, "AuthorizationRes", "Authorization"), (DC_BPT, "ScheduleExchangeRes", "ScheduleExchange"),
    (DC_BPT, "DC_CableCheckRes", "DCCableCheck"), (AC_BPT, "ScheduleExchangeRes", "ScheduleExchange"),
    (V2_AC, "AuthorizationRes", "Authorization"), (V2_DC, "ChargeParameterDiscoveryRes", "ChargeParameterDiscovery"),
    (V2_DC, "CableCheckRes", "CableCheck"), (DIN, "ContractAuthenticationRes", "ContractAuthentication"),
    (DIN, "ChargeParameterDiscoveryRes", "ChargeParameterDiscovery"), (DIN, "CableCheckRes", "CableCheck"),
])
async def test_a_station_that_is_never_ready_is_given_up_after_the_ongoing_timeout(
    stand: Any, bench: Any, monkeypatch: pytest.MonkeyPatch, speech: Speech, name: str, state: str
) -> None:
    monkeypatch.setattr(session, "ONGOING_S", 0.0005)
    word = "Ongoing_WaitingForCustomerInteraction" if name == "AuthorizationRes" and speech is V2_AC else "Ongoing"
    outcome, there = await meet(
        stand, bench, speech, name, put("EVSEProcessing", word), repeats=True, car_patience=1000.0
    )
    fault = is_fault(outcome, FaultKind.TIMEOUT)
    assert fault.state == state
    assert "put off for 0.5 s" in fault.detail
    assert not any(there.car.taken)
    asked = bytes(there.relay.seen[True]).count(b"\x01\xfe\x80")
    assert asked < 200  # nor does it ask as fast as it is put off


@pytest.mark.parametrize("speech", [DC_BPT, V2_DC, DIN], ids=lambda s: s.language)
async def test_a_voltage_that_never_comes_ends_precharge(
    stand: Any, bench: Any, monkeypatch: pytest.MonkeyPatch, speech: Speech
) -> None:
    monkeypatch.setattr(session, "ONGOING_S", 0.0005)
    name = "DC_PreChargeRes" if speech is DC_BPT else "PreChargeRes"
    low = rational(20) if speech is DC_BPT else physical(20, "V")
    outcome, there = await meet(stand, bench, speech, name, put("EVSEPresentVoltage", low), car_patience=1000.0)
    is_fault(outcome, FaultKind.TIMEOUT)
    assert not any(there.car.taken)


@pytest.mark.parametrize("speech", [DC_BPT, AC_BPT, V2_DC, V2_AC, DIN], ids=lambda s: f"{s.language}-{s.transfer}")
async def test_a_station_that_falls_silent_or_hangs_up_after_any_message_leaves_a_car_that_says_so(
    stand: Any, speech: Speech
) -> None:
    for count in range(1, 13):
        there = await stand(speech)
        left = count

        def cut(data: bytes, is_from_car: bool, hangs_up: bool = count % 2 == 1) -> list[bytes] | None:
            nonlocal left
            left -= not is_from_car
            if left >= 0 or is_from_car:
                return [data]
            return None if hangs_up else []

        there.relay.cut = cut
        outcome = await there.drive(car_patience=100.0 if count % 2 else 0.1)
        is_fault(outcome, FaultKind.LINK if count % 2 else FaultKind.TIMEOUT)
        there.relay.sever()


@pytest.mark.parametrize("order_kw", [7.0, -5.0])
async def test_spoilt_answers_never_hang_the_car_nor_lead_it_beyond_its_own_limits(
    stand: Any, bench: Any, every_speech: Speech, order_kw: float
) -> None:
    rng = random.Random(f"station {every_speech}{order_kw}")
    for _ in range(2):
        there = await stand(every_speech, order_kw=order_kw, options={"loop_silence_s": 60.0, "follow_s": 60.0})
        place, seen = rng.randrange(900), 0

        def cut(data: bytes, is_from_car: bool, place: int = place) -> list[bytes]:
            nonlocal seen
            begin, seen = seen, seen + len(data) * (not is_from_car)
            if is_from_car or not begin <= place < seen:
                return [data]
            spoilt, index = bytearray(data), place - begin
            spoilt[index:index + rng.randrange(4)] = rng.randbytes(rng.randrange(1, 4))
            return [bytes(spoilt)]

        there.relay.cut = cut
        driving = there.drive(car_patience=0.2)
        await bench.until(lambda there=there, driving=driving: driving.done() or len(there.car.taken) > 8)
        there.car.leave()
        async with asyncio.timeout(60):
            outcome = await driving
        assert isinstance(outcome, SessionFault | SessionEnd)
        assert all(-10.0 <= kw <= 11.0 for kw in there.car.taken)
        there.relay.sever()
