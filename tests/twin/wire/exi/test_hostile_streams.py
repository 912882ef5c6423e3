"""Hostile streams: a message or a named error, never anything else, and never much memory or work."""

from __future__ import annotations

import tracemalloc

import pytest

from twin.wire.exi import ExiCodec, ExiError, LimitExceeded
from twin.wire.exi.fuzz import fuzz
from twin.wire.exi.shapes import LONG_TEXT, MARKER, referring, shapes

ISO2 = "urn:iso:15118:2:2013:MsgDef"
ISO20 = "urn:iso:std:iso:15118:-20:"


def test_ten_thousand_hostile_streams_are_each_decoded_or_refused_by_name(codec: ExiCodec) -> None:
    report = fuzz(codec, count=10_000, seed=3)
    assert report.count == sum(report.outcomes.values()) == 10_000
    truncated = [outcome for outcome in report.outcomes if outcome.startswith("truncated")]
    assert truncated == ["truncated: Truncated"]
    assert report.outcomes["longer: TrailingBits"] > 0.9 * sum(
        number for outcome, number in report.outcomes.items() if outcome.startswith("longer"))


@pytest.mark.parametrize("octets", [b"\x00" * 65_535, b"\xff" * 65_535, b"\x55" * 65_535, bytes(range(256)) * 255])
@pytest.mark.parametrize("namespace", [ISO20 + "CommonMessages", "urn:din:70121:2012:MsgDef"])
def test_the_longest_stream_of_nonsense_costs_little_memory(codec: ExiCodec, namespace: str, octets: bytes) -> None:
    codec.schemas.protocol(namespace)
    tracemalloc.start()
    try:
        with pytest.raises(ExiError):
            codec.decode(b"\x80" + octets, namespace)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def certificate_names(codec: ExiCodec, times: int) -> bytes:
    """A session's first message, in whose signature one long name stands and so many references to it."""
    signed = {"CanonicalizationMethod": {"Algorithm": "x"}, "SignatureMethod": {"Algorithm": "y"},
              "Reference": [{"DigestMethod": {"Algorithm": "z"}, "DigestValue": "AAAA"}]}
    signature = {"SignedInfo": signed, "SignatureValue": {"value": "AAAA"},
                 "KeyInfo": {"X509Data": [{"X509SubjectName": [LONG_TEXT, MARKER, MARKER]}]}}
    message = {"V2G_Message": {"Header": {"SessionID": "00", "Signature": signature},
                               "Body": {"SessionSetupReq": {"EVCCID": "010203040506"}}}}
    return referring(codec.encode_message(message, ISO2)).stream(times)


def test_thirty_thousand_references_to_a_long_text_are_refused_before_they_cost_memory(codec: ExiCodec) -> None:
    few = codec.decode_message(certificate_names(codec, 10), ISO2)["V2G_Message"]
    assert few["Header"]["Signature"]["KeyInfo"]["X509Data"] == [{"X509SubjectName": [LONG_TEXT] * 12}]
    assert few["Body"] == {"SessionSetupReq": {"EVCCID": "010203040506"}}
    stream = certificate_names(codec, 30_000)
    assert 60_000 < len(stream) <= 65_536
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match="X509SubjectName: more than 262144 characters and octets"):
            codec.decode(stream, ISO2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_no_stream_that_is_built_to_exhaust_the_decoder_is_decoded(codec: ExiCodec) -> None:
    kinds = set()
    for namespace in codec.schemas.namespaces:
        for shape in shapes(codec.schemas.protocol(namespace), seed=2):
            kinds.add(shape.kind)
            decode = codec.decode_fragment if shape.is_fragment else codec.decode_message
            with pytest.raises(ExiError):
                decode(shape.stream(4_000), namespace)
    assert kinds == {"references", "retyped", "nested", "fragments"}


def test_an_element_of_a_fragment_that_may_hold_itself_counts_as_depth(codec: ExiCodec) -> None:
    in_itself = next(each for each in shapes(codec.schemas.protocol(ISO2), seed=2) if each.kind == "fragments")
    with pytest.raises(LimitExceeded, match=r"^eMAID\.eMAID\..*: elements nested deeper than 32$"):
        codec.decode_fragment(in_itself.stream(33), ISO2)


def test_a_stream_longer_than_the_limit_is_not_looked_at(codec: ExiCodec) -> None:
    with pytest.raises(LimitExceeded, match="a stream of 65537 octets, at most 65536"):
        codec.decode(b"\x80" * 65_537, ISO20 + "DC")


def test_every_kind_of_refusal_says_where_in_the_message_it_was(codec: ExiCodec) -> None:
    stream = bytearray(codec.encode(
        '{"SessionStopReq":{"Header":{"SessionID":"0123456789ABCDEF","TimeStamp":1},"ChargingSession":"Terminate"}}',
        ISO20 + "CommonMessages"))
    with pytest.raises(ExiError, match=r"^SessionStopReq\.Header\.SessionID: "):
        codec.decode(bytes(stream[:6]), ISO20 + "CommonMessages")
