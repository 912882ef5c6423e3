"""V2GTP messages out of a TCP stream, however it is cut."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.station.iso15118.framing import Frame, FrameError, LineClosed, read_frame

MESSAGES = st.lists(
    st.builds(Frame, st.integers(0, 0xFFFF), st.binary(min_size=1, max_size=300)), min_size=1, max_size=6
)


def read(segments: list[bytes], most_bytes: int = 1000) -> tuple[list[Frame], str]:
    """Feed a reader segment by segment; all frames until the stream ends."""

    async def run() -> tuple[list[Frame], str]:
        reader = asyncio.StreamReader()

        async def feed() -> None:
            for segment in segments:
                reader.feed_data(segment)
                await asyncio.sleep(0)
            reader.feed_eof()

        feeding = asyncio.create_task(feed())
        found = []
        try:
            while True:
                found.append(await read_frame(reader, most_bytes))
        except LineClosed as end:
            return found, str(end)
        finally:
            await feeding

    return asyncio.run(run())


@given(MESSAGES, st.lists(st.integers(0, 2000), max_size=20))
def test_messages_come_out_whole_however_tcp_cuts_and_joins_them(messages: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(message.to_bytes() for message in messages)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    segments = [stream[a:b] for a, b in pairwise(places)]
    assert read(segments)[0] == messages


def test_a_stream_that_ends_within_a_message_says_so() -> None:
    whole = Frame(0x8001, b"abcdef").to_bytes()
    found, end = read([whole, whole[:-2]])
    assert found == [Frame(0x8001, b"abcdef")]
    assert end == "the peer closed the connection, 2 bytes of a message missing"
    assert read([whole])[1] == "the peer closed the connection"


@pytest.mark.parametrize("header", [
    b"\x02\xfd\x80\x01\x00\x00\x00\x01",  # another version
    b"\x01\xff\x80\x01\x00\x00\x00\x01",  # not its inverse
    b"GET / HT",
    b"\x01\xfe\x80\x01\x00\x00\x00\x00",  # nothing in it
    b"\x01\xfe\x80\x01\x00\x00\x03\xe9",  # one byte more than allowed
    b"\x01\xfe\x80\x01\xff\xff\xff\xff",  # four gigabytes
])
def test_a_header_that_is_none_is_refused_before_anything_is_read_after_it(header: bytes) -> None:
    with pytest.raises(FrameError, match="V2GTP header"):
        read([header])


def test_the_longest_message_allowed_passes() -> None:
    frame = Frame(0x8002, bytes(1000))
    assert read([frame.to_bytes()])[0] == [frame]
