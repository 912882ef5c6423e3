"""Octets out of what engineers paste: every form gives the same stream, and what is around it is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.wire.exi import Malformed
from twin.wire.exi.captured import Captured, captured

RESPONSE = bytes.fromhex("80400040")
ALONE = [Captured(RESPONSE, ())]
FRAMED = [Captured(RESPONSE, ("sap", "din", "iso2"))]

HEADER = b"\x01\xfe"
streams = st.binary(min_size=1, max_size=300).filter(lambda rest: HEADER not in rest).map(lambda rest: b"\x80" + rest)
forms = st.sampled_from([
    lambda octets: octets, lambda octets: octets.hex(), lambda octets: octets.hex().upper(),
    lambda octets: octets.hex(":"), lambda octets: octets.hex(" ", 4), lambda octets: octets.hex("-"),
    lambda octets: "0x" + octets.hex(), lambda octets: ", ".join(hex(each) for each in octets),
    lambda octets: "{" + ",".join(f"0x{each:02X}" for each in octets) + "};",
    lambda octets: '"' + "".join(f"\\x{each:02x}" for each in octets) + '"',
    lambda octets: octets.hex(" ").encode() + b"\n",
    lambda octets: "\n".join(f"{at:04x}  {octets[at:at + 16].hex(' ')}   ..80 40." for at in range(0, len(octets), 16)),
    lambda octets: "\n".join(f"{at:08X}: {octets[at:at + 8].hex(' ')}  {octets[at + 8:at + 16].hex(' ')}"
                             for at in range(0, len(octets), 16)),
])


@given(streams, forms)
def test_a_stream_is_the_same_in_every_form(octets: bytes, form) -> None:  # noqa: ANN001 - one of the lambdas above
    assert captured(form(octets)) == [Captured(octets, ())]


def test_the_header_in_front_says_which_protocols_it_may_be() -> None:
    for kind, protocols in ((0x8001, ("sap", "din", "iso2")), (0x8002, ("common",)), (0x8003, ("ac",)),
                            (0x8004, ("dc",)), (0x8005, ("acdp",)), (0x8006, ("wpt",)), (0x8101, ())):
        assert captured(f"01fe{kind:04x}00000004 80400040") == [Captured(RESPONSE, protocols)]


def test_messages_one_after_another_are_taken_apart() -> None:
    assert captured(bytes.fromhex("01fe800100000004") + RESPONSE + bytes.fromhex("01fe800400000004") + RESPONSE) == [
        *FRAMED, Captured(RESPONSE, ("dc",))]


@given(st.binary(max_size=80).filter(lambda around: HEADER not in around), st.binary(max_size=4))
def test_of_a_whole_network_frame_only_the_message_is_taken(before: bytes, after: bytes) -> None:
    # 60: the first octet of an IPv6 header. Four octets after it: the frame check sequence.
    frame = before + b"\x60" + bytes.fromhex("01fe800100000004") + RESPONSE + after
    assert captured(frame.hex()) == FRAMED
    assert captured(frame) == FRAMED


@pytest.mark.parametrize(("text", "why"), [
    ("xyz", "xyz is not hexadecimal"),
    ("804", "804 has an odd number of hexadecimal digits, expected two for each octet"),
    ("01fe8001", "a V2GTP header of 4 octets, expected 8"),
    ("01fe80010000000580400040", "the V2GTP header says 5 octets, 4 follow"),
    ("01fe9000000000020000", "V2GTP payload type 0x9000: a request of SECC discovery, which is not EXI"),
])
def test_what_is_no_stream_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        captured(text)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
