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


def dump(octets: bytes, line: str, group: int, middle: str = " ") -> str:
    """Lines of 16 octets with their offset, as that tool prints them."""
    def groups(part: bytes) -> str:
        return " ".join(part[at:at + group].hex() for at in range(0, len(part), group))

    return "\n".join(line.format(at, f"{groups(octets[at:at + 8])}{middle}{groups(octets[at + 8:at + 16])}".strip())
                     for at in range(0, len(octets), 16))


streams = st.binary(min_size=1, max_size=300).filter(lambda rest: HEADER not in rest).map(lambda rest: b"\x80" + rest)
forms = st.sampled_from([
    lambda octets: octets, lambda octets: octets.hex(), lambda octets: octets.hex().upper(),
    lambda octets: octets.hex(":"), lambda octets: octets.hex(" ", 4), lambda octets: octets.hex("-"),
    lambda octets: "0x" + octets.hex(), lambda octets: ", ".join(hex(each) for each in octets),
    lambda octets: "{" + ",".join(f"0x{each:02X}" for each in octets) + "};",
    lambda octets: '"' + "".join(f"\\x{each:02x}" for each in octets) + '"',
    lambda octets: octets.hex(" ").encode() + b"\n",
    lambda octets: b"\xef\xbb\xbf" + octets.hex().encode(),
    lambda octets: octets.hex().encode("utf-16"),
    lambda octets: dump(octets, "{:04x}  {}   ..80 40.", 1),
    lambda octets: dump(octets, "{:08X}: {}", 1, middle="  "),
    lambda octets: dump(octets, "{:08x}: {:<39}  80408040 80", 2),  # xxd
    lambda octets: dump(octets, "{:08x}: {:<35}  80408040 80", 4),  # xxd -g 4
    lambda octets: dump(octets, "{:08x}  {:<49}  |80408040|", 1, middle="  ") + f"\n{len(octets):08x}\n",  # hexdump -C
    lambda octets: dump(octets, "{:07o} {}", 1) + f"\n{len(octets):07o}\n",  # od -t x1
    lambda octets: "23:14:01.120 IP6 fe80::1.49152 > ff02::1.15118: UDP\n" + dump(octets, "\t0x{:04x}:  {}", 2),
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


def test_the_packets_of_a_dump_begin_each_at_offset_0() -> None:
    ethernet = bytes(range(54))
    packets = [dump(ethernet + bytes.fromhex(head) + RESPONSE, "0x{:04x}:  {}", 2)
               for head in ("01fe800100000004", "", "01fe800400000004")]
    assert captured("\n\n".join(packets)) == [*FRAMED, Captured(RESPONSE, ("dc",))]


def test_discovery_is_left_out_beside_a_message() -> None:
    discovery = bytes.fromhex("01fe9000000000021000")
    message = bytes.fromhex("01fe800100000004") + RESPONSE
    for octets in (discovery + message, message + discovery, b"33" + discovery + message):
        assert captured(octets) == FRAMED


def test_what_begins_a_message_again_and_again_costs_no_more_than_its_length() -> None:
    with pytest.raises(Malformed, match="the V2GTP header says 33456129 octets, 3999992 follow"):
        captured(b"\x00\x00" + bytes.fromhex("01fe8001") * 1_000_000)


@pytest.mark.parametrize(("text", "why"), [
    ("xyz", "xyz is not hexadecimal"),
    ("804", "804 has an odd number of hexadecimal digits, expected two for each octet"),
    ("01fe8001", "a V2GTP header of 4 octets, expected 8"),
    ("01fe80010000000580400040", "the V2GTP header says 5 octets, 4 follow"),
    ("0000: 80 40\n0004: 00 40", "line 2 of a dump: offset 0004, expected 0002"),
    ("3333 01fe80010000000580400040", "the V2GTP header says 5 octets, 4 follow"),
    ("01fe9000000000020000", "V2GTP payload type 0x9000: a request of SECC discovery, which is not EXI"),
])
def test_what_is_no_stream_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        captured(text)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
