"""The same messages through EXIficient and through the package's jar: equal octets, equal messages."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from twin.wire.exi import ExiCodec, InvalidValue
from twin.wire.exi.samples import Samples

SAP = "urn:iso:15118:2:2010:AppProtocol"
DIN = "urn:din:70121:2012:MsgDef"
ISO2 = "urn:iso:15118:2:2013:MsgDef"
ISO20 = "urn:iso:std:iso:15118:-20:"
COMMON = ISO20 + "CommonMessages"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
# Optional in the schemas; where one is absent the jar writes 0.
THE_JAR_WRITES_0 = frozenset({"SchemaID", "SAScheduleTupleID", "NumEPriceLevels", "EPriceLevel"})
XML = ('xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema" '
       f'xmlns:n="{SAP}"')


@pytest.mark.parametrize("namespace", [SAP, DIN, ISO2, *(ISO20 + name for name in (
    "CommonMessages", "AC", "DC", "WPT", "ACDP"))])
def test_every_message_has_the_octets_that_exificient_writes_and_the_content_that_it_reads(
        codec: ExiCodec, oracles: ModuleType, exificient: Any, namespace: str) -> None:
    protocol = codec.schemas.protocol(namespace)
    samples = Samples(protocol.schema, seed=11, length=0.4, with_empty=False)
    for element in protocol.messages * (1 if len(protocol.messages) > 1 else 40):
        content = samples.element(element)
        message, xml = {element.name.local: content}, oracles.to_xml(protocol.schema, element, content)
        stream = codec.encode_message(message, namespace)
        assert stream == exificient.encode(xml, namespace), message
        assert oracles.same_xml(exificient.decode(stream, namespace), xml), message


def test_references_to_earlier_strings_are_followed(codec: ExiCodec, oracles: ModuleType, exificient: Any) -> None:
    algorithm = {"Algorithm": "http://www.w3.org/TR/canonical-exi/"}
    content = {
        "CanonicalizationMethod": algorithm, "SignatureMethod": algorithm,
        "Reference": [{"URI": "#id1", "Transforms": {"Transform": [algorithm, {"Algorithm": "#id1"}]},
                       "DigestMethod": algorithm, "DigestValue": "AAEC"}, {
                           "Type": "#id1", "URI": "#id1", "DigestMethod": algorithm, "DigestValue": "AAEC"}]}
    schema = codec.schemas.protocol(DSIG).schema
    element = next(each for name, each in schema.elements.items() if name.local == "SignedInfo")
    xml = oracles.to_xml(schema, element, content)
    referring = exificient.encode(xml, DSIG, is_fragment=True, refers=True)
    assert codec.decode_message(referring, DSIG) == {"SignedInfo": content}
    assert len(referring) < len(codec.encode_message({"SignedInfo": content}, DSIG)) / 2


@pytest.mark.parametrize("namespace", [SAP, ISO2, COMMON, ISO20 + "AC", ISO20 + "DC"])
def test_messages_have_the_octets_and_the_json_of_the_packages_jar(
        codec: ExiCodec, jar: Any, namespace: str) -> None:
    protocol = codec.schemas.protocol(namespace)
    samples = Samples(protocol.schema, 13, THE_JAR_WRITES_0, length=0.3, with_empty=False)
    for element in protocol.messages if len(protocol.messages) > 1 else protocol.messages * 12:
        text = json.dumps({element.name.local: samples.element(element)})
        stream = codec.encode(text, namespace)
        assert stream == jar.encode(text, namespace), text
        assert json.loads(codec.decode(stream, namespace)) == json.loads(jar.decode(stream, namespace)), text


def test_messages_of_din_70121_have_the_octets_and_the_content_of_the_packages_jar(
        codec: ExiCodec, oracles: ModuleType, jar: Any) -> None:
    schema = codec.schemas.protocol(DIN).schema
    element, = codec.schemas.protocol(DIN).messages
    samples = Samples(schema, 15, THE_JAR_WRITES_0, length=0.3, with_empty=False)
    refer = oracles.referring(schema, 15)
    for _ in range(15):
        message = {"V2G_Message": refer(samples.element(element))}
        text = json.dumps(message)
        stream = codec.encode(text, DIN)
        assert stream == jar.encode(text, DIN), text
        found = json.loads(jar.decode(stream, DIN))
        oracles.unfold_signature(found)
        assert found == codec.decode_message(stream, DIN), text


def test_an_id_of_din_70121_that_refers_to_nothing_is_written_here_and_refused_by_the_jar(
        codec: ExiCodec, oracles: ModuleType, jar: Any) -> None:
    message = {"V2G_Message": {"Header": {"SessionID": "00"}, "Body": {"ContractAuthenticationReq": {"Id": "id1"}}}}
    assert codec.decode_message(codec.encode_message(message, DIN), DIN) == message
    with pytest.raises(oracles.Refused):
        jar.encode(json.dumps(message), DIN)


@pytest.mark.parametrize(("namespace", "part"), [
    (ISO2, {"AuthorizationReq": {"Id": "i", "GenChallenge": "AAECAwQFBgcICQoLDA0ODw=="}}),
    (ISO2, {"SalesTariff": {"Id": "s", "SalesTariffID": 1, "NumEPriceLevels": 1, "SalesTariffEntry": [
        {"RelativeTimeInterval": {"start": 0}, "EPriceLevel": 1}]}}),
    (ISO2, {"ContractSignatureCertChain": {"Id": "c", "Certificate": "AAEC"}}),
    (ISO2, {"ContractSignatureEncryptedPrivateKey": {"Id": "k", "value": "AAEC"}}),
    (ISO2, {"DHpublickey": {"Id": "d", "value": "AAEC"}}),
    (ISO2, {"eMAID": {"Id": "e", "value": "DE8AA1A2B3C4D5"}}),
    (COMMON, {"PnC_AReqAuthorizationMode": {
        "Id": "i", "GenChallenge": "AAECAwQFBgcICQoLDA0ODw==",
        "ContractCertificateChain": {"Certificate": "AAEC", "SubCertificates": {"Certificate": ["AAEC"]}}}}),
    (DSIG, {"SignedInfo": {
        "CanonicalizationMethod": {"Algorithm": "http://www.w3.org/TR/canonical-exi/"},
        "SignatureMethod": {"Algorithm": "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"},
        "Reference": [{"URI": "#id1",
                       "Transforms": {"Transform": [{"Algorithm": "http://www.w3.org/TR/canonical-exi/"}]},
                       "DigestMethod": {"Algorithm": "http://www.w3.org/2001/04/xmlenc#sha256"},
                       "DigestValue": "AAEC"}]}}),
])
def test_what_is_signed_has_the_octets_that_the_packages_jar_writes(
        codec: ExiCodec, jar: Any, namespace: str, part: dict[str, Any]) -> None:
    assert codec.encode_message(part, namespace) == jar.encode(json.dumps(part), namespace)


@pytest.mark.parametrize(("namespace", "name"), [
    (ISO2, "AuthorizationReq"), (ISO2, "CertificateInstallationReq"), (ISO2, "MeteringReceiptReq"),
    (ISO2, "SalesTariff"), (ISO2, "ContractSignatureCertChain"), (ISO2, "ContractSignatureEncryptedPrivateKey"),
    (ISO2, "DHpublickey"), (DIN, "SalesTariff"), (COMMON, "PnC_AReqAuthorizationMode"),
    (COMMON, "OEMProvisioningCertificateChain"), (COMMON, "SignedInstallationData"), (COMMON, "SignedMeteringData"),
    (COMMON, "AbsolutePriceSchedule"), (DSIG, "SignedInfo"), (DSIG, "Signature"),
])
def test_what_may_be_signed_has_the_octets_that_exificient_writes_for_a_fragment(
        codec: ExiCodec, oracles: ModuleType, exificient: Any, namespace: str, name: str) -> None:
    schema = codec.schemas.protocol(namespace).schema
    element = schema.in_fragment(next(each for each in schema.declared if each.local == name))
    samples = Samples(schema, seed=14, length=0.4, with_empty=False)
    for _ in range(3):
        content = samples.element(element)
        stream = codec.encode_message({name: content}, namespace)
        xml = oracles.to_xml(schema, element, content)
        assert stream == exificient.encode(xml, namespace, is_fragment=True)
        assert codec.decode_fragment(stream, namespace) == {name: content}


def test_what_is_absent_is_absent_where_the_jar_writes_a_nought(codec: ExiCodec, jar: Any) -> None:
    message = {"supportedAppProtocolRes": {"ResponseCode": "OK_SuccessfulNegotiation"}}
    stream = codec.encode_message(message, SAP)
    assert codec.decode_message(stream, SAP) == message
    of_the_jar = codec.decode_message(jar.encode(json.dumps(message), SAP), SAP)
    assert of_the_jar["supportedAppProtocolRes"]["SchemaID"] == 0


def test_a_signature_says_the_algorithm_that_was_used_where_the_jar_says_its_own(
        codec: ExiCodec, oracles: ModuleType, exificient: Any, jar: Any) -> None:
    part = {"SignedInfo": {
        "CanonicalizationMethod": {"Algorithm": "c14n"}, "SignatureMethod": {"Algorithm": "ecdsa-sha512"},
        "Reference": [{"URI": "#id1", "DigestMethod": {"Algorithm": "sha512"}, "DigestValue": "AAEC"}]}}
    schema = codec.schemas.protocol(DSIG).schema
    element = next(each for name, each in schema.elements.items() if name.local == "SignedInfo")
    xml = oracles.to_xml(schema, element, part["SignedInfo"])
    ours = codec.encode_message(part, DSIG)
    assert ours == exificient.encode(xml, DSIG, is_fragment=True)
    assert b"ecdsa-sha256" in jar.decode(jar.encode(json.dumps(part), DSIG), DSIG).encode()
    assert codec.decode_message(ours, DSIG) == part


OK = "<ResponseCode>OK_SuccessfulNegotiation</ResponseCode>"
SEVEN = "<SchemaID>7</SchemaID>"
BOTH = {"ResponseCode": "OK_SuccessfulNegotiation", "SchemaID": 7}


@pytest.mark.parametrize(("inside", "attributes", "content"), [
    (OK + "<Extra>hello</Extra>" + SEVEN, "", BOTH),
    (OK + '<E a="1" b="2">t<I q="1"/><I q="2"/><I>t</I>t</E><E a="3">x</E>' + SEVEN, "", BOTH),
    (OK + SEVEN, 'later="edition"', BOTH),
    (OK + "<SchemaID> 7 </SchemaID>", "", BOTH),
    (" x " + OK + "y" + SEVEN + "z", "", BOTH),
    (OK.replace("Code>O", 'Code q="1">O') + "<SchemaID>7<x/></SchemaID>", "", BOTH),
    (OK.replace("Code>O", 'Code xsi:type="xs:string">O') + '<SchemaID xsi:type="n:idType">7</SchemaID>', "", BOTH),
    (OK.replace("Code>O", 'Code xsi:type="xs:nonsense">O') + '<SchemaID xsi:nil="false">7</SchemaID>', "", BOTH),
    (OK + SEVEN + '<E xsi:type="xs:anyType">v<F xsi:type="xs:int">5</F></E><E xsi:type="n:idType">4</E><E>t</E>', "",
     BOTH),
    (OK + SEVEN + '<E q="3" xsi:type="n:AppProtocolType"/><E q="1">v</E>', "", BOTH),
    (SEVEN, "", {}),  # in the wrong place it is an element of that name, of which nothing is known
    ("", 'xsi:nil="true"', {}),
])
def test_what_a_later_edition_might_add_is_skipped(
        codec: ExiCodec, exificient: Any, inside: str, attributes: str, content: dict[str, Any]) -> None:
    xml = f"<n:supportedAppProtocolRes {XML} {attributes}>{inside}</n:supportedAppProtocolRes>"
    for refers in (False, True):
        stream = exificient.encode(xml, SAP, refers=refers)
        assert codec.decode_message(stream, SAP) == {"supportedAppProtocolRes": content}


@pytest.mark.parametrize("inside", [
    "<ResponseCode>Nope</ResponseCode>", OK + "<SchemaID>256</SchemaID>", OK + '<SchemaID xsi:nil="true"/>',
    OK + '<SchemaID xsi:type="xs:int">256</SchemaID>',
])
def test_text_that_no_type_allows_is_refused(codec: ExiCodec, exificient: Any, inside: str) -> None:
    xml = f"<n:supportedAppProtocolRes {XML}>{inside}</n:supportedAppProtocolRes>"
    with pytest.raises(InvalidValue):
        codec.decode_message(exificient.encode(xml, SAP), SAP)


def test_foreign_content_of_a_signature_is_skipped_and_known_content_kept(codec: ExiCodec, exificient: Any) -> None:
    foreign = 'text<u xmlns="urn:u" a="b">q</u> more<u xmlns="urn:u"/>'
    signature = (
        f'<d:Signature xmlns:d="{DSIG}"><d:SignedInfo><d:CanonicalizationMethod Algorithm="a">{foreign}'
        '</d:CanonicalizationMethod><d:SignatureMethod Algorithm="a"><d:HMACOutputLength>5</d:HMACOutputLength>'
        f'{foreign}</d:SignatureMethod><d:Reference URI=""><d:Transforms><d:Transform Algorithm="a">{foreign}'
        '<d:XPath>p</d:XPath></d:Transform></d:Transforms>'
        f'<d:DigestMethod Algorithm="a">{foreign}</d:DigestMethod><d:DigestValue>AAEC'
        f"</d:DigestValue></d:Reference></d:SignedInfo><d:SignatureValue>AAEC</d:SignatureValue><d:Object>"
        f'<d:KeyName>k</d:KeyName><x/></d:Object></d:Signature>')
    xml = (f'<c:SessionStopReq xmlns:c="{COMMON}" xmlns:h="{ISO20}CommonTypes"><h:Header><h:SessionID>0123456789ABCDEF'
           f"</h:SessionID><h:TimeStamp>1</h:TimeStamp>{signature}</h:Header><c:ChargingSession>Terminate"
           "</c:ChargingSession></c:SessionStopReq>")
    found = codec.decode_message(exificient.encode(xml, COMMON), COMMON)["SessionStopReq"]
    assert found["ChargingSession"] == "Terminate"
    signed = found["Header"]["Signature"]
    assert signed["SignedInfo"]["SignatureMethod"] == {"Algorithm": "a", "HMACOutputLength": [5]}
    assert signed["SignedInfo"]["Reference"][0]["Transforms"]["Transform"] == [{"Algorithm": "a", "XPath": ["p"]}]
    assert signed["Object"] == [{"KeyName": ["k"]}]


def test_an_element_of_the_schema_may_stand_where_a_signature_takes_anything(codec: ExiCodec, exificient: Any) -> None:
    inside = '<d:Reference><d:DigestMethod Algorithm="q"/><d:DigestValue>AAEC</d:DigestValue></d:Reference>'
    xml = (f'<d:Object xmlns:d="{DSIG}" Id="o"><d:KeyName>k</d:KeyName><d:KeyName>l</d:KeyName>'
           f"<d:Manifest>{inside}</d:Manifest></d:Object>")
    message = {"Object": {"KeyName": ["k", "l"], "Id": "o", "Manifest": {"Reference": [
        {"DigestMethod": {"Algorithm": "q"}, "DigestValue": "AAEC"}]}}}
    stream = codec.encode_message(message, DSIG)
    assert stream == exificient.encode(xml, DSIG, is_fragment=True)
    message["Object"]["Manifest"] = [message["Object"]["Manifest"]]  # what may stand anywhere may stand twice
    assert codec.decode_message(stream, DSIG) == message
