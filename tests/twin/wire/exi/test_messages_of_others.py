"""Messages of other implementations, real cars and stations: we read what their publishers do, and write their octets.

The octets, where each was published and what its source says of it are in messages_of_others.toml beside this file.
"""

from __future__ import annotations

import tomllib
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from twin.wire.exi import ExiCodec, ExiError, InvalidValue
from twin.wire.exi.__main__ import PROTOCOLS

SOURCES = tomllib.loads(Path(__file__).with_name("messages_of_others.toml").read_text(encoding="utf-8"))
MESSAGES = {f"{source} {number} {message['is']}": message
            for source, each in SOURCES.items() for number, message in enumerate(each["messages"], start=1)}


def having(note: str) -> Any:
    chosen = {name: message for name, message in MESSAGES.items() if note in message}
    return pytest.mark.parametrize("message", chosen.values(), ids=chosen.keys())


def lacking(*notes: str) -> Any:
    chosen = {name: message for name, message in MESSAGES.items() if not set(notes) & set(message)}
    return pytest.mark.parametrize("message", chosen.values(), ids=chosen.keys())


def read(codec: ExiCodec, message: dict[str, Any]) -> dict[str, Any]:
    decode = codec.decode_fragment if message.get("fragment") else codec.decode_message
    return decode(bytes.fromhex(message["exi"]), PROTOCOLS[message["as"]])


def write(codec: ExiCodec, found: dict[str, Any], message: dict[str, Any]) -> str:
    return codec.encode_message(found, PROTOCOLS[message["as"]]).hex()


def parts(content: Any, name: str) -> list[Any]:
    """Every content of an element of that name in `content`."""
    if isinstance(content, list):
        return [part for each in content for part in parts(each, name)]
    if not isinstance(content, dict):
        return []
    return [part for key, each in content.items() for part in ([each] if key == name else parts(each, name))]


def agrees(found: dict[str, Any], message: dict[str, Any]) -> None:
    """`found` is the message that its source names, with what the source says of it."""
    name, content = next(iter(found.items()))
    if name == "V2G_Message":
        (name, body), = content["Body"].items()
        content = {"Header": content["Header"], **body}
    assert name == message["is"]
    assert "has" not in message or message["has"] in content
    for path, value in message.get("says", {}).items():
        here: Any = content
        for step in path.split("."):
            here = here[int(step)] if isinstance(here, list) else here[step]
        assert here == value, path


@lacking("differs", "lengths", "refused", "shorter")
def test_a_message_of_others_is_read_as_they_do_and_written_to_the_same_octets(
        codec: ExiCodec, message: dict[str, Any]) -> None:
    found = read(codec, message)
    agrees(found, message)
    assert write(codec, found, message) == message["exi"]


@having("signs")
def test_what_others_signed_has_in_our_octets_the_digest_that_they_signed(
        codec: ExiCodec, message: dict[str, Any]) -> None:
    found = read(codec, message)
    part, = parts(found, message["signs"])
    (reference,), = parts(found, "Reference")
    assert reference["URI"] == f"#{part['Id']}"
    stream = codec.encode_message({message["signs"]: part}, PROTOCOLS[message["as"]])
    assert sha256(stream).digest() == b64decode(reference["DigestValue"])


@having("signer")
def test_a_signature_by_others_holds_over_our_octets(codec: ExiCodec, message: dict[str, Any]) -> None:
    found = read(codec, message)
    stream = codec.encode_message({"SignedInfo": parts(found, "SignedInfo")[0]}, PROTOCOLS["xmldsig"])
    value = b64decode(parts(found, "SignatureValue")[0]["value"])
    signature = utils.encode_dss_signature(*(int.from_bytes(half) for half in (value[:32], value[32:])))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(message["signer"]))
    key.verify(signature, stream, ec.ECDSA(hashes.SHA256()))


@having("shorter")
def test_a_message_that_refers_to_its_own_texts_is_read_as_the_one_that_repeats_them(
        codec: ExiCodec, message: dict[str, Any]) -> None:
    found = read(codec, message)
    agrees(found, message)
    ours = write(codec, found, message)
    assert len(ours) > len(message["exi"])
    assert ours in {each["exi"] for each in MESSAGES.values() if each["is"] == message["is"]}


@having("differs")
def test_a_message_that_others_write_otherwise_is_read_as_they_do(codec: ExiCodec, message: dict[str, Any]) -> None:
    found = read(codec, message)
    agrees(found, message)
    ours = write(codec, found, message)
    assert ours != message["exi"]
    assert read(codec, {**message, "exi": ours}) == found


@having("lengths")
def test_a_message_with_a_length_that_its_schema_forbids_is_refused_but_can_be_looked_at(
        codec: ExiCodec, lenient: ExiCodec, message: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        read(codec, message)
    found = read(lenient, message)
    agrees(found, message)
    assert write(lenient, found, message) == message["exi"]


@lacking("refused", "fragment")
def test_without_lengths_a_message_is_read_no_other_way(
        codec: ExiCodec, lenient: ExiCodec, message: dict[str, Any]) -> None:
    if "lengths" not in message:
        assert read(lenient, message) == read(codec, message)


@having("refused")
def test_a_stream_that_is_not_what_its_schema_says_is_refused_by_name(
        codec: ExiCodec, message: dict[str, Any]) -> None:
    with pytest.raises(ExiError) as refused:
        read(codec, message)
    assert type(refused.value).__name__ == message["refused"]


def test_all_eight_protocols_have_messages_of_others() -> None:
    distinct = {(message["as"], message["is"]) for message in MESSAGES.values()}
    assert len(MESSAGES) > 400
    assert len(distinct) > 115
    assert {protocol for protocol, _ in distinct} == {*PROTOCOLS} - {"xmldsig"}


@pytest.fixture(scope="module")
def lenient(codec: ExiCodec) -> ExiCodec:
    return ExiCodec(codec.schemas.without_lengths())
