"""`python -m twin.wire.exi`: the codec by hand, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys


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
