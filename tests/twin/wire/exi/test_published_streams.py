"""Streams that others have published, of real cars and of other codecs: we read them, and write the same octets."""

from __future__ import annotations

from typing import Any

import pytest

from twin.wire.exi import ExiCodec

SAP = "urn:iso:15118:2:2010:AppProtocol"
DIN = "urn:din:70121:2012:MsgDef"
ISO2 = "urn:iso:15118:2:2013:MsgDef"


def offer(namespace: str, major: int, minor: int, schema_id: int, priority: int) -> dict[str, Any]:
    return {"ProtocolNamespace": namespace, "VersionNumberMajor": major, "VersionNumberMinor": minor,
            "SchemaID": schema_id, "Priority": priority}


def din(session: str, name: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"V2G_Message": {"Header": {"SessionID": session}, "Body": {name: content}}}


# First: github.com/uhi22/pyPLC, exiConnector.py (from a Hyundai Ioniq). Second: github.com/FlUxIuS/V2Gdecoder, README
# (EXIficient). Third: OpenV2G main_example, as pyPLC quotes it. Fourth: a Tesla's, in github.com/EVerest/cbexigen-based
# examples. Then DIN 70121: pyPLC and its fork of OpenV2G, whose C codec was generated from the schemas.
PUBLISHED = [
    (SAP, "8000dbab9371d3234b71d1b981899189d191818991d26b9b3a232b30020000040040",
     {"supportedAppProtocolReq": {"AppProtocol": [offer("urn:din:70121:2012:MsgDef", 2, 0, 1, 1)]}}),
    (SAP, ("8000dbab9371d3234b71d1b981899189d191818991d26b9b3a232b30020000000001d75726e3a69736f3a31353131383a323a323031"
           "333a4d73674465660040000080880"),
     {"supportedAppProtocolReq": {"AppProtocol": [offer("urn:din:70121:2012:MsgDef", 2, 0, 0, 1),
                                                  offer("urn:iso:15118:2:2013:MsgDef", 2, 0, 1, 2)]}}),
    (SAP, ("8000ebab9371d34b9b79d189a98989c1d191d191818981d26b9b3a232b30010000040001b75726e3a64696e3a37303132313a323031"
           "323a4d73674465660020000100880"),
     {"supportedAppProtocolReq": {"AppProtocol": [offer("urn:iso:15118:2:2010:MsgDef", 1, 0, 1, 1),
                                                  offer("urn:din:70121:2012:MsgDef", 1, 0, 2, 2)]}}),
    (SAP, ("8000dbab9371d3234b71d1b981899189d191818991d26b9b3a232b30020000040401b75726e3a7465736c613a64696e3a323031383a"
           "4d736744656600001c0100080"),
     {"supportedAppProtocolReq": {"AppProtocol": [offer("urn:din:70121:2012:MsgDef", 2, 0, 1, 2),
                                                  offer("urn:tesla:din:2018:MsgDef", 0, 7, 2, 1)]}}),
    (SAP, "80400040", {"supportedAppProtocolRes": {"ResponseCode": "OK_SuccessfulNegotiation", "SchemaID": 1}}),
    (DIN, "809a0011d00000", din("", "SessionSetupReq", {"EVCCID": ""})),
    (DIN, "809a0011d0200003c1fc3001ac7000", din("", "SessionSetupReq", {"EVCCID": "0000F07F0C006B1C"})),
    (DIN, "809a02004080c1014181c211e0000080",
     din("0102030405060708", "SessionSetupRes", {"ResponseCode": "OK", "EVSEID": ""})),
    (DIN, "809a0232417b661514a4cb91e0202d0691559529548c0841e0fc1af4507460c0",
     din("C905ED985452932E", "SessionSetupRes", {
         "ResponseCode": "OK_NewSessionEstablished", "EVSEID": "41A455654A55230210783F", "DateTimeNow": 1684066647})),
    (DIN, "809a021a3b7c417774813311a00120024100c4",
     din("68EDF105DDD204CC", "ServiceDiscoveryRes", {
         "ResponseCode": "OK", "PaymentOptions": {"PaymentOption": ["ExternalPayment"]},
         "ChargeService": {"ServiceTag": {"ServiceID": 1, "ServiceCategory": "EVCharging"}, "FreeService": False,
                           "EnergyTransferType": "DC_extended"}})),
    (DIN, "809a001010400000",
     din("", "CableCheckReq", {"DC_EVStatus": {"EVReady": False, "EVErrorCode": "NO_ERROR", "EVRESSSOC": 0}})),
    (DIN, "809a001150400000c80006400000",
     din("", "PreChargeReq", {
         "DC_EVStatus": {"EVReady": False, "EVErrorCode": "NO_ERROR", "EVRESSSOC": 0},
         "EVTargetVoltage": {"Multiplier": 0, "Value": 0}, "EVTargetCurrent": {"Multiplier": 0, "Value": 0}})),
    (DIN, "809a02004080c1014181c210e0004080000193f0080c82800030",
     din("0102030405060708", "CurrentDemandRes", {
         "ResponseCode": "OK",
         "DC_EVSEStatus": {"EVSEIsolationStatus": "Valid", "EVSEStatusCode": "EVSE_Ready", "NotificationMaxDelay": 0,
                           "EVSENotification": "None"},
         "EVSEPresentVoltage": {"Multiplier": 0, "Value": 380}, "EVSEPresentCurrent": {"Multiplier": 0, "Value": 20},
         "EVSECurrentLimitAchieved": False, "EVSEVoltageLimitAchieved": False, "EVSEPowerLimitAchieved": False})),
]


@pytest.mark.parametrize(("namespace", "octets", "message"), PUBLISHED)
def test_a_published_stream_is_read_and_written_as_its_authors_did(
        codec: ExiCodec, namespace: str, octets: str, message: dict[str, Any]) -> None:
    octets += "0" * (len(octets) % 2)
    assert codec.decode_message(bytes.fromhex(octets), namespace) == message
    assert codec.encode_message(message, namespace).hex() == octets


# github.com/FlUxIuS/V2Gdecoder, README: a signed answer with a tariff, and what that tool makes of it.
SIGNED = (
    "809802107f860d7bae65dd8a891a1d1d1c0e8bcbddddddcb9dcccb9bdc99cbd5148bd8d85b9bdb9a58d85b0b595e1a50d5a1d1d1c0e8bcbdddd"
    "ddcb9dcccb9bdc99cbcc8c0c0c4bcc0d0bde1b5b191cda59cb5b5bdc9948d958d91cd84b5cda184c8d4d9002b4b218906236964310246874747"
    "03a2f2f7777772e77332e6f72672f54522f63616e6f6e6963616c2d6578694852d0e8e8e0745e5eeeeeee5cee665cdee4ce5e646060625e6068"
    "5ef0dad8cadcc646e6d0c2646a6c84165aa773adf12a841e302f171698e9c4d1e6bb2afdac13826f13ba6a09532c82a28414000000000005"
    "01c030a0161005696431001000100240880e201081203840110260a88032940000081030c08018503f03102400c0c3010031039804461800080"
)


def test_a_published_signed_tariff_is_read_as_its_authors_did(codec: ExiCodec) -> None:
    message = codec.decode_message(bytes.fromhex(SIGNED), ISO2)["V2G_Message"]
    signature = message["Header"]["Signature"]
    assert signature["SignedInfo"]["Reference"][0]["DigestValue"] == "stU7nW+JVCDxgXi4tMdOJo812VftYJwTeJ3TUEqZZBU="
    assert signature["SignatureValue"] == {"value": ""}  # the stream has no event for an empty text
    answer = message["Body"]["ChargeParameterDiscoveryRes"]
    schedule, = answer["SAScheduleList"]["SAScheduleTuple"]
    assert schedule["SalesTariff"]["Id"] == "id1"
    assert [(each["RelativeTimeInterval"]["start"], each["EPriceLevel"])
            for each in schedule["SalesTariff"]["SalesTariffEntry"]] == [(0, 1), (1800, 4), (3600, 2), (5400, 3)]
    assert schedule["PMaxSchedule"]["PMaxScheduleEntry"] == [
        {"RelativeTimeInterval": {"start": 0, "duration": 7200}, "PMax": {"Multiplier": 3, "Unit": "W", "Value": 11}}]
    assert answer["DC_EVSEChargeParameter"]["EVSEMaximumPowerLimit"] == {"Multiplier": 3, "Unit": "W", "Value": 63}
