"""Hostile streams: a message or a named error, never anything else, and never much memory or work."""

from __future__ import annotations

import tracemalloc

import pytest

from twin.wire.exi import ExiCodec, ExiError, LimitExceeded
from twin.wire.exi.fuzz import fuzz

ISO20 = "urn:iso:std:iso:15118:-20:"


def test_twenty_thousand_hostile_streams_are_each_decoded_or_refused_by_name(codec: ExiCodec) -> None:
    report = fuzz(codec, count=20_000, seed=3)
    assert report.count == sum(report.outcomes.values()) == 20_000
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


def test_a_stream_longer_than_the_limit_is_not_looked_at(codec: ExiCodec) -> None:
    with pytest.raises(LimitExceeded, match="a stream of 65537 octets, at most 65536"):
        codec.decode(b"\x80" * 65_537, ISO20 + "DC")


def test_every_kind_of_refusal_says_where_in_the_message_it_was(codec: ExiCodec) -> None:
    stream = bytearray(codec.encode(
        '{"SessionStopReq":{"Header":{"SessionID":"0123456789ABCDEF","TimeStamp":1},"ChargingSession":"Terminate"}}',
        ISO20 + "CommonMessages"))
    with pytest.raises(ExiError, match=r"^SessionStopReq\.Header\.SessionID: "):
        codec.decode(bytes(stream[:6]), ISO20 + "CommonMessages")
