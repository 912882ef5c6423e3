"""TLS and Plug & Charge with the test PKI that our own command makes."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.enums import Namespace

from twin.station.iso15118.__main__ import main
from twin.station.iso15118.contracts import UntrustedContract, check_contract
from twin.station.iso15118.framing import HEADER
from twin.station.iso15118.pki import CERTIFICATES, EMAID, KEYS, PASSWORD, make_pki
from twin.station.iso15118.secc import Secc
from twin.station.iso15118.tls import client_context
from twin.station.rail import Control, EvseRatings, FaultKind, Language, SessionEnd, Speech, Transfer

# The package reads certificates by properties that cryptography has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Properties that return a na")

OLDER = Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pki(tmp_path_factory.mktemp("pki"))


def load(pki: Path, name: str) -> x509.Certificate:
    return x509.load_der_x509_certificate((pki / CERTIFICATES / f"{name}Cert.der").read_bytes())


@pytest.mark.parametrize("chain", [
    ("seccLeaf", "cpoSubCA2", "cpoSubCA1", "v2gRootCA"), ("cpsLeaf", "cpsSubCA2", "cpsSubCA1", "v2gRootCA"),
    ("contractLeaf", "moSubCA2", "moSubCA1", "moRootCA"), ("oemLeaf", "oemSubCA2", "oemSubCA1", "oemRootCA"),
])
def test_every_certificate_is_issued_by_the_next_and_says_that_it_is_for_tests(
    pki: Path, chain: tuple[str, ...]
) -> None:
    certificates = [load(pki, name) for name in chain]
    for issued, issuer in zip(certificates, [*certificates[1:], certificates[-1]], strict=True):
        issued.verify_directly_issued_by(issuer)
        assert "TEST KEYS" in issued.subject.rfc4514_string()
    lengths = [c.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length for c in certificates]
    assert lengths == [None, 0, 1, None]
    key = load_pem_private_key((pki / KEYS / f"{chain[0]}.key").read_bytes(), PASSWORD.encode())
    assert key.public_key() == certificates[0].public_key()


def test_the_contract_carries_an_emaid(pki: Path) -> None:
    common_name, = load(pki, "contractLeaf").subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert common_name.value == EMAID


def test_the_command_makes_a_pki_once_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pki", str(tmp_path / "made")]
    assert main(command) == 0
    assert "not for production" in capsys.readouterr().out
    assert main(command) == 1
    said = capsys.readouterr()
    assert "exists already" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("speech", [OLDER, Speech(), Speech(Language.ISO_15118_20, Transfer.AC_BPT)], ids=str)
async def test_a_session_over_tls_charges(plug: Any, pki: Path, speech: Speech) -> None:
    session = await plug(speech, options={"pki": pki}).charging()
    await session.flows(7.0, 0.01)
    session.car.leave()
    assert await session.over() is SessionEnd.CAR


@pytest.mark.anyio
@pytest.mark.parametrize("language", [Language.ISO_15118_2, Language.ISO_15118_20])
async def test_plug_and_charge_between_own_ends(plug: Any, pki: Path, language: Language) -> None:
    control = Control.SCHEDULED if language is Language.ISO_15118_2 else Control.DYNAMIC
    speech = Speech(language, Transfer.DC, control, has_contract=True)
    session = await plug(speech, options={"pki": pki, "accepts_contracts": True}).charging()
    await session.flows(7.0)
    assert session.rail.secc.is_by_contract
    session.car.leave()
    assert await session.over() is SessionEnd.CAR


@pytest.mark.anyio
@pytest.mark.parametrize("speech", [OLDER, Speech()], ids=lambda s: s.language)
async def test_a_car_without_a_contract_charges_where_contracts_are_accepted(
    plug: Any, pki: Path, speech: Speech
) -> None:
    session = await plug(speech, options={"pki": pki, "accepts_contracts": True}).charging()
    await session.flows(7.0)
    assert not session.rail.secc.is_by_contract


@pytest.mark.anyio
async def test_a_contract_of_another_root_is_refused(plug: Any, pki: Path, tmp_path: Path) -> None:
    stranger = make_pki(tmp_path / "stranger")
    # Sub-CAs that did not issue the contract stand between it and the root.
    for name in ("moSubCA2Cert.der", "moSubCA1Cert.der", "moRootCACert.der"):
        (stranger / CERTIFICATES / name).write_bytes((pki / CERTIFICATES / name).read_bytes())
    speech = Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED, has_contract=True)
    session = plug(speech, options={"pki": stranger, "accepts_contracts": True})
    fault = await session.over()
    assert fault.kind is FaultKind.REFUSED
    assert not any(session.car.taken)


@pytest.mark.anyio
async def test_a_car_that_does_not_know_the_root_ends_the_handshake(
    bench: Any, pki: Path, tmp_path: Path
) -> None:
    there = await _secc(bench, pki)
    host, port = await there.listen()
    strange = client_context(make_pki(tmp_path / "other"), is_newest=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(host, port, ssl=strange)
    await there.close()


def without_certificate(pki: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A car that shows no certificate of its own, over either version of TLS."""
    if version is ssl.TLSVersion.TLSv1_2:
        return client_context(pki, is_newest=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = version
    context.load_verify_locations(pki / CERTIFICATES / "v2gRootCACert.pem")
    return context


@pytest.mark.anyio
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("protocol", "answer"), [
    ("urn:iso:std:iso:15118:-20:DC", "Failed_NoNegotiation"),
    ("urn:iso:15118:2:2013:MsgDef", "OK_SuccessfulNegotiation"),
])
async def test_iso_20_is_not_spoken_to_a_car_without_a_certificate(
    bench: Any, pki: Path, version: ssl.TLSVersion, protocol: str, answer: str
) -> None:
    there = await _secc(bench, pki)
    car = await Caller.connect(there, without_certificate(pki, version))
    assert (await car.hello(protocol))["supportedAppProtocolRes"]["ResponseCode"] == answer
    car.hang_up()
    await there.close()


@pytest.mark.anyio
async def test_a_contract_signed_over_the_challenge_of_another_session_is_refused(
    plug: Any, bench: Any, pki: Path
) -> None:
    said: list[bytes] = []
    options = {"pki": pki, "accepts_contracts": True, "tap": lambda data, _: said.append(data)}
    session = await plug(Speech(has_contract=True), options=options).charging()
    session.rail.disconnect()
    codec, space = EXI().get_exi_codec(), Namespace.ISO_V20_COMMON_MSG
    common = (codec.decode_message(data[8:], space) for data in said if data[2:4] == b"\x80\x02")
    recorded = next(message for message in common if "AuthorizationReq" in message)

    notes = bench.Notes()
    there = Secc(EvseRatings(max_charge_kw=11.0, max_discharge_kw=10.0), notes, bench.WireOptions(
        pki=pki, accepts_contracts=True))
    there.plug(bench.Stage(bench.ScriptedCar(Speech())))
    there.authorise()
    thief = await Caller.connect(there, client_context(pki, is_newest=True))
    await thief.hello("urn:iso:std:iso:15118:-20:DC")
    header = {"SessionID": "0" * 16, "TimeStamp": 1}
    answer = await thief.ask(0x8002, {"SessionSetupReq": {"Header": header, "EVCCID": "WMIV1234567890ABCDEX"}}, space)
    header = {"SessionID": answer["SessionSetupRes"]["Header"]["SessionID"], "TimeStamp": 1}
    answer = await thief.ask(0x8002, {"AuthorizationSetupReq": {"Header": header}}, space)
    assert "PnC_ASResAuthorizationMode" in answer["AuthorizationSetupRes"]
    recorded["AuthorizationReq"]["Header"]["SessionID"] = header["SessionID"]  # it is not signed
    answer = await thief.ask(0x8002, recorded, space)
    assert answer["AuthorizationRes"]["ResponseCode"] == "FAILED"
    await bench.until(lambda: bool(notes.ends))
    assert notes.ends[0].kind is FaultKind.REFUSED
    assert "GenChallenge" in notes.ends[0].detail
    thief.hang_up()
    await there.close()


def test_a_message_about_a_contract_does_not_name_the_driver(pki: Path, tmp_path: Path) -> None:
    stranger = make_pki(tmp_path / "stranger")
    leaf = (stranger / CERTIFICATES / "contractLeafCert.der").read_bytes()
    with pytest.raises(UntrustedContract) as unknown:
        check_contract(leaf, [], pki)
    with pytest.raises(UntrustedContract) as expired:
        check_contract(leaf, [], stranger, dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
    for fault in (unknown, expired):
        assert EMAID not in str(fault.value)
        assert "SHA-256" in str(fault.value)


class Caller:
    """A car of the test's own: sends messages as bytes and reads the answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, there: Secc, context: ssl.SSLContext) -> Caller:
        return cls(*await asyncio.open_connection(*await there.listen(), ssl=context, server_hostname="secc"))

    async def hello(self, protocol: str) -> dict[str, Any]:
        return await self.ask(0x8001, {"supportedAppProtocolReq": {"AppProtocol": [{
            "ProtocolNamespace": protocol, "VersionNumberMajor": 1 + (":-20:" not in protocol),
            "VersionNumberMinor": 0, "SchemaID": 1, "Priority": 1,
        }]}}, Namespace.SAP)

    async def ask(self, kind: int, message: dict[str, Any], namespace: Namespace) -> dict[str, Any]:
        codec = EXI().get_exi_codec()
        payload = codec.encode_message(message, namespace)
        self.writer.write(HEADER.pack(1, 0xFE, kind, len(payload)) + payload)
        async with asyncio.timeout(60):
            *_, length = HEADER.unpack(await self.reader.readexactly(HEADER.size))
            answer: dict[str, Any] = codec.decode_message(await self.reader.readexactly(length), namespace)
        return answer

    def hang_up(self) -> None:
        self.writer.transport.abort()


async def _secc(bench: Any, pki: Path) -> Secc:
    secc = Secc(EvseRatings(max_charge_kw=11.0), bench.Notes(), bench.WireOptions(pki=pki))
    secc.plug(bench.Stage(bench.ScriptedCar(Speech())))
    return secc


def test_keys_last_ninety_days(pki: Path) -> None:
    leaf = load(pki, "seccLeaf")
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == dt.timedelta(days=91)
