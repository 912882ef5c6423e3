"""`python -m twin.wire.exi`: the codec by hand, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[4]


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "twin.wire.exi", *arguments], input=text, capture_output=True,
                          text=True, check=False, timeout=60)


def test_a_stream_becomes_json_with_or_without_its_transport_header() -> None:
    for octets in ("80400040", "01FE8001 00000004 80400040"):
        done = run("decode", octets, "--protocol", "sap")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "supportedAppProtocolRes": {"ResponseCode": "OK_SuccessfulNegotiation", "SchemaID": 1}}


def test_json_becomes_a_stream_from_the_command_line_and_from_standard_input() -> None:
    message = '{"supportedAppProtocolRes":{"ResponseCode":"OK_SuccessfulNegotiation","SchemaID":1}}'
    assert run("encode", message, "--protocol", "sap").stdout == "80400040\n"
    assert run("encode", "-", "--protocol", "sap", text=message).stdout == "80400040\n"


def test_without_a_protocol_all_that_fit_are_shown() -> None:
    shown = json.loads(run("decode", "809a0011d0200003c1fc3001ac7000").stdout)
    assert shown["V2G_Message"]["Body"] == {"SessionSetupReq": {"EVCCID": "0000F07F0C006B1C"}}


def test_a_file_and_standard_input_hold_octets_or_hexadecimal_text(tmp_path: Path) -> None:
    octets, response = bytes.fromhex("01fe80010000000480400040"), {
        "supportedAppProtocolRes": {"ResponseCode": "OK_SuccessfulNegotiation", "SchemaID": 1}}
    (tmp_path / "octets").write_bytes(octets)
    (tmp_path / "text").write_text("0000  01 fe 80 01 00 00 00 04  80 40 00 40   .........@.@\n")
    for name in ("octets", "text"):
        assert json.loads(run("decode", "--file", str(tmp_path / name), "--protocol", "sap").stdout) == response
    assert json.loads(run("decode", "-", "--protocol", "sap", text="80:40:00:40\n").stdout) == response


def test_messages_one_after_another_become_a_list() -> None:
    done = run("decode", "01fe80010000000480400040 01fe80010000000480480080")
    assert [each["supportedAppProtocolRes"]["ResponseCode"] for each in json.loads(done.stdout)] == [
        "OK_SuccessfulNegotiation", "Failed_NoNegotiation"]


def test_of_several_messages_those_that_can_be_read_are_shown_and_the_others_named() -> None:
    done = run("decode", "01fe800100000004 80400040 01fe800100000003 ffffff 01fe800100000004 80400040")
    assert done.returncode == 1
    whole, broken, after = json.loads(done.stdout)
    assert whole == after == {
        "supportedAppProtocolRes": {"ResponseCode": "OK_SuccessfulNegotiation", "SchemaID": 1}}
    why = "the stream begins with 0xff, expected 0x80: EXI 1.0 without cookie and options"
    assert broken == {"refused": why, "exi": "ffffff"}
    assert done.stderr == f"refused: message 2 of 3: {why}\n"
    none = run("decode", "01fe800100000003 ffffff 01fe800100000003 ffffff")
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr == f"refused: message 1 of 2: {why}\n"


def test_what_only_looks_like_a_part_of_a_signature_elsewhere_is_not_shown_beside_a_message() -> None:
    assert json.loads(run("decode", "80400040").stdout) == {
        "supportedAppProtocolRes": {"ResponseCode": "OK_SuccessfulNegotiation", "SchemaID": 1}}


def test_a_message_that_ends_early_is_refused_with_the_place_in_the_protocols_that_have_it() -> None:
    truncated = "01fe8004000000168034041ea65fc99ba76c4d8cdbfe1b60628100120064"
    assert run("decode", truncated).stderr == (
        "refused: no protocol has such a message: urn:iso:std:iso:15118:-20:DC: DC_ChargeLoopReq."
        "Scheduled_DC_CLReqControlMode: the stream ends at bit 168, inside a value of 3 bits\n")


def test_a_message_whose_lengths_its_schema_forbids_is_shown_with_a_note() -> None:
    done = run("decode", "809802000000000000000011e0001d15594d14c480")
    assert done.returncode == 0
    assert json.loads(done.stdout)["V2G_Message"]["Body"]["SessionSetupRes"]["EVSEID"] == "EVSE1"
    assert done.stderr == (
        "note: outside its schema: V2G_Message.Body.SessionSetupRes.EVSEID: 5 characters, expected 7 to 37\n")


def test_bad_input_is_one_line_and_exit_1() -> None:
    for arguments, text in (
        (("decode", "xyz"), "xyz is not hexadecimal"),
        (("decode", "01fe8001 00000004 8040004"), "8040004 has an odd number of hexadecimal digits, expected two for"),
        (("decode", "804000", "--protocol", "sap"), "supportedAppProtocolRes"),
        (("decode",), "nothing to decode, expected HEX or --file FILE"),
        (("decode", "80400040", "--file", "x"), "HEX and --file together, expected one of them"),
        (("decode", "--file", "/nowhere"), "/nowhere: No such file or directory"),
        (("encode", "{}", "--protocol", "dc"), "one key"),
        (("encode", "{}", "--protocol", "gsm"), "protocol gsm, expected sap"),
        (("--schemas", "/nowhere", "decode", "80400040"), "/nowhere: no XSD file there"),
    ):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("refused: ")
        assert text in done.stderr
        assert done.stderr.count("\n") == 1
    assert run("explode").returncode == 2


@pytest.mark.parametrize("count", ["-3", "0", "many"])
def test_a_number_of_hostile_streams_that_is_none_is_refused(count: str) -> None:
    done = run("fuzz", "--count", count)
    assert done.returncode == 2
    assert f"{count}, expected a number of at least 1" in done.stderr


def test_as_many_hostile_streams_are_tried_as_were_asked_for() -> None:
    assert "\n25 hostile streams in " in run("fuzz", "--count", "25").stdout


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    with subprocess.Popen([sys.executable, "-m", "twin.wire.exi", "decode", "80400040", "--protocol", "sap"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()  # before the command has started: whatever it writes finds no reader
        assert running.stderr.read() == ""
    assert running.returncode == 0


@pytest.mark.parametrize("page", ["README.md", "docs/iso15118.md"])
def test_the_examples_of_the_pages_work(page: str) -> None:
    examples = re.findall(r"^v2g exi decode ([0-9a-f]+)(?: --protocol ([a-z0-9]+))?", (REPOSITORY / page).read_text(),
                          re.MULTILINE)
    assert examples
    for octets, protocol in examples:
        done = run("decode", octets, *(("--protocol", protocol) if protocol else ()))
        assert done.returncode == 0, done.stderr
        assert "OK_SuccessfulNegotiation" in done.stdout
