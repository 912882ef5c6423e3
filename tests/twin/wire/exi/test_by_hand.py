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


def test_bad_input_is_one_line_and_exit_1() -> None:
    for arguments, text in (
        (("decode", "xyz"), "xyz is not hexadecimal"),
        (("decode", "01fe8001 00000004 8040004"), "8040004 has an odd number of hexadecimal digits, expected two for"),
        (("decode", "804000", "--protocol", "sap"), "supportedAppProtocolRes"),
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
