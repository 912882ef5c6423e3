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

from twin.station.iso15118.__main__ import main
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


async def _secc(bench: Any, pki: Path) -> Secc:
    secc = Secc(EvseRatings(max_charge_kw=11.0), bench.Notes(), bench.WireOptions(pki=pki))
    secc.plug(bench.Stage(bench.ScriptedCar(Speech())))
    return secc


def test_keys_last_ninety_days(pki: Path) -> None:
    leaf = load(pki, "seccLeaf")
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == dt.timedelta(days=91)
