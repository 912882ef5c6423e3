"""Every message of every protocol: what is written is read back, and what a schema forbids is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.wire.exi import ExiCodec, ExiError, InvalidValue, Truncated
from twin.wire.exi.samples import Samples

ISO2 = "urn:iso:15118:2:2013:MsgDef"
ISO20 = "urn:iso:std:iso:15118:-20:"
PROTOCOLS = ["urn:iso:15118:2:2010:AppProtocol", "urn:din:70121:2012:MsgDef", ISO2,
             *(ISO20 + name for name in ("CommonMessages", "AC", "DC", "WPT", "ACDP"))]
# How many messages each has, in the order above: requests and answers.
MESSAGES = dict(zip(PROTOCOLS, (2, 34, 34, 26, 4, 10, 12, 8), strict=True))
HEADER = {"SessionID": "0123456789ABCDEF", "TimeStamp": 1_700_000_000}


def number(value: int, exponent: int = 0) -> dict[str, int]:
    return {"Exponent": exponent, "Value": value}


@pytest.mark.parametrize("namespace", PROTOCOLS)
def test_every_message_of_a_protocol_comes_back_as_it_was(codec: ExiCodec, namespace: str) -> None:
    protocol = codec.schemas.protocol(namespace)
    samples = Samples(protocol.schema, seed=1, length=0.4)
    seen = set()
    for element in protocol.messages * (120 // len(protocol.messages)):
        message = {element.name.local: samples.element(element)}
        text = codec.decode(codec.encode(json.dumps(message), namespace), namespace)
        assert json.loads(text) == message
        content = message[element.name.local]
        seen |= set(content["Body"]) if element.name.local == "V2G_Message" else {element.name.local}
    assert len(seen) >= MESSAGES[namespace]


@given(st.sampled_from(PROTOCOLS), st.integers(min_value=0))
@settings(max_examples=150)
def test_a_random_message_comes_back_whatever_the_order_of_its_keys(codec: ExiCodec, namespace: str, seed: int) -> None:
    protocol = codec.schemas.protocol(namespace)
    element = protocol.messages[seed % len(protocol.messages)]
    message = {element.name.local: Samples(protocol.schema, seed).element(element)}
    assert codec.decode_message(codec.encode_message(message, namespace), namespace) == message
    assert codec.decode_message(codec.encode_message(backwards(message), namespace), namespace) == message


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(each) for each in value] if isinstance(value, list) else value


@given(st.sampled_from(PROTOCOLS), st.integers(min_value=0))
@settings(max_examples=60)
def test_no_beginning_of_a_message_is_a_message(codec: ExiCodec, namespace: str, seed: int) -> None:
    protocol = codec.schemas.protocol(namespace)
    element = protocol.messages[seed % len(protocol.messages)]
    stream = codec.encode_message({element.name.local: Samples(protocol.schema, seed).element(element)}, namespace)
    for length in {0, 1, 2, len(stream) // 2, len(stream) - 1}:
        with pytest.raises(Truncated):
            codec.decode(stream[:length], namespace)


def test_a_discharge_loop_has_the_octets_that_the_jar_of_the_package_writes(codec: ExiCodec) -> None:
    message = {"DC_ChargeLoopReq": {
        "Header": HEADER, "MeterInfoRequested": False, "EVPresentVoltage": number(400),
        "BPT_Dynamic_DC_CLReqControlMode": {
            **{key: number(1) for key in (
                "EVTargetEnergyRequest", "EVMaximumEnergyRequest", "EVMinimumEnergyRequest", "EVMaximumChargePower",
                "EVMinimumChargePower", "EVMaximumChargeCurrent", "EVMaximumVoltage", "EVMinimumVoltage",
                "EVMaximumDischargePower", "EVMinimumDischargePower")},
            "EVMaximumDischargeCurrent": number(-1)}}}
    assert codec.encode_message(message, ISO20 + "DC").hex() == (
        "8034040091a2b3c4d5e6f7880e2cfaa06281001200604800010400008200004100002080001040000820000410000208000104000082004008")


SIGNED_PARTS = [
    (ISO2, {"AuthorizationReq": {"Id": "i", "GenChallenge": "AAECAwQFBgcICQoLDA0ODw=="}}),
    (ISO2, {"MeteringReceiptReq": {
        "Id": "i", "SessionID": "0102", "SAScheduleTupleID": 1, "MeterInfo": {"MeterID": "m"}}}),
    (ISO2, {"SalesTariff": {"Id": "s", "SalesTariffID": 1, "NumEPriceLevels": 1, "SalesTariffEntry": [
        {"RelativeTimeInterval": {"start": 0}, "EPriceLevel": 1}]}}),
    (ISO2, {"ContractSignatureCertChain": {"Id": "c", "Certificate": "AAEC"}}),
    (ISO2, {"ContractSignatureEncryptedPrivateKey": {"Id": "k", "value": "AAEC"}}),
    (ISO2, {"DHpublickey": {"Id": "d", "value": "AAEC"}}),
    (ISO2, {"eMAID": {"Id": "e", "value": "DE8AA1A2B3C4D5"}}),
    (ISO20 + "CommonMessages", {"PnC_AReqAuthorizationMode": {
        "Id": "i", "GenChallenge": "AAECAwQFBgcICQoLDA0ODw==",
        "ContractCertificateChain": {"Certificate": "AAEC", "SubCertificates": {"Certificate": ["AAEC", "AQ=="]}}}}),
    (ISO20 + "CommonMessages", {"AbsolutePriceSchedule": {
        "Id": "a", "TimeAnchor": 1, "PriceScheduleID": 1, "Currency": "EUR", "Language": "en", "PriceAlgorithm": "x",
        "PriceRuleStacks": {"PriceRuleStack": [
            {"Duration": 1, "PriceRule": [{"EnergyFee": number(1), "PowerRangeStart": number(0)}]}]}}}),
    ("http://www.w3.org/2000/09/xmldsig#", {"SignedInfo": {
        "CanonicalizationMethod": {"Algorithm": "http://www.w3.org/TR/canonical-exi/"},
        "SignatureMethod": {"Algorithm": "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"},
        "Reference": [{"URI": "#id1", "DigestMethod": {"Algorithm": "a"}, "DigestValue": "AAEC"}]}}),
]


@pytest.mark.parametrize(("namespace", "part"), SIGNED_PARTS)
def test_a_signed_part_is_a_fragment_that_comes_back(codec: ExiCodec, namespace: str, part: dict[str, Any]) -> None:
    assert codec.decode_fragment(codec.encode_message(part, namespace), namespace) == part


def test_the_number_of_list_entries_is_the_schemas(codec: ExiCodec) -> None:
    offer = {"ProtocolNamespace": "urn:x", "VersionNumberMajor": 1, "VersionNumberMinor": 0, "SchemaID": 1,
             "Priority": 1}
    message = {"supportedAppProtocolReq": {"AppProtocol": [offer] * 20}}
    assert codec.decode_message(codec.encode_message(message, PROTOCOLS[0]), PROTOCOLS[0]) == message
    with pytest.raises(InvalidValue, match="AppProtocol may not stand here, expected the end"):
        codec.encode_message({"supportedAppProtocolReq": {"AppProtocol": [offer] * 21}}, PROTOCOLS[0])


def test_the_longest_power_profile_comes_back_and_a_longer_one_is_refused(codec: ExiCodec) -> None:
    profile = [{"Duration": 900, "Power": number(each, 1)} for each in range(2048)]
    message = {"PowerDeliveryReq": {
        "Header": HEADER, "EVProcessing": "Finished", "ChargeProgress": "Start",
        "EVPowerProfile": {"TimeAnchor": 1, "EVPowerProfileEntries": {"EVPowerProfileEntry": profile},
                           "Dynamic_EVPPTControlMode": {}}}}
    namespace = ISO20 + "CommonMessages"
    assert codec.decode_message(codec.encode_message(message, namespace), namespace) == message
    profile.append(profile[0])
    with pytest.raises(InvalidValue, match="EVPowerProfileEntry may not stand here"):
        codec.encode_message(message, namespace)


@pytest.mark.parametrize(("change", "text"), [
    ({"Header": {"SessionID": "01", "TimeStamp": 1}}, r"DC_ChargeLoopReq\.Header\.SessionID: 1 octets, expected 8"),
    ({"EVPresentVoltage": number(40_000)}, r"EVPresentVoltage\.Value: 40000, expected -32768 to 32767"),
    ({"EVPresentVoltage": number(400, 200)}, r"EVPresentVoltage\.Exponent: 200, expected -128 to 127"),
    ({"EVPresentVoltage": {"Value": 400}}, "EVPresentVoltage: Value may not stand here, expected Exponent"),
    ({"DisplayParameters": {"PresentSOC": 101}}, r"PresentSOC: 101, expected 0 to 100"),
    ({"EVPresentVoltage": 400.5}, "400.5, expected an object"),
])
def test_a_loop_message_with_a_value_out_of_range_is_refused(
        codec: ExiCodec, change: dict[str, Any], text: str) -> None:
    message = {"Header": HEADER, "MeterInfoRequested": False, "EVPresentVoltage": number(400),
               "Scheduled_DC_CLReqControlMode": {"EVTargetCurrent": number(1), "EVTargetVoltage": number(1)}}
    codec.encode_message({"DC_ChargeLoopReq": message}, ISO20 + "DC")
    with pytest.raises(ExiError, match=text):
        codec.encode_message({"DC_ChargeLoopReq": message | change}, ISO20 + "DC")
