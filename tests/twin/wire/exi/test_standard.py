"""The EXI standard on small schemas of our own: bits written down by hand, and properties for all values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.wire.exi import (
    ExiCodec,
    InvalidValue,
    LimitExceeded,
    Limits,
    Malformed,
    SchemaError,
    Schemas,
    TrailingBits,
    Truncated,
    UnknownMessage,
)
from twin.wire.exi.bits import octet_bits, string_bits, unsigned_bits

HEADER = "10000000"

ORDER = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="urn:order" targetNamespace="urn:order"
    elementFormDefault="qualified">
  <xs:element name="order" type="orderType"/>
  <xs:complexType name="orderType">
    <xs:sequence>
      <xs:element name="number" type="xs:unsignedInt"/>
      <xs:element name="colour" minOccurs="0">
        <xs:simpleType><xs:restriction base="xs:string">
          <xs:enumeration value="red"/><xs:enumeration value="green"/><xs:enumeration value="blue"/>
        </xs:restriction></xs:simpleType>
      </xs:element>
      <xs:choice minOccurs="0">
        <xs:element name="weight" type="xs:int"/>
        <xs:element name="percent">
          <xs:simpleType><xs:restriction base="xs:byte">
            <xs:minInclusive value="10"/><xs:maxInclusive value="100"/>
          </xs:restriction></xs:simpleType>
        </xs:element>
      </xs:choice>
      <xs:element name="line" type="lineType" minOccurs="0" maxOccurs="3"/>
      <xs:element name="paid" type="xs:boolean" minOccurs="0"/>
      <xs:element name="big" type="xs:integer" minOccurs="0"/>
      <xs:element name="key" type="xs:hexBinary" minOccurs="0"/>
      <xs:element name="seal" type="xs:base64Binary" minOccurs="0"/>
    </xs:sequence>
  </xs:complexType>
  <xs:complexType name="lineType">
    <xs:simpleContent><xs:extension base="xs:string">
      <xs:attribute name="size" type="xs:unsignedByte"/>
      <xs:attribute name="article" type="xs:string" use="required"/>
    </xs:extension></xs:simpleContent>
  </xs:complexType>
</xs:schema>
"""


# boxType may hold a mark; fullType, derived from it, a box besides, which may then be a fullType again.
BOXES = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="urn:box" targetNamespace="urn:box"
    elementFormDefault="qualified">
  <xs:element name="box" type="boxType"/>
  <xs:element name="node" type="nodeType"/>
  <xs:complexType name="boxType">
    <xs:sequence><xs:element name="mark" type="xs:boolean" minOccurs="0"/></xs:sequence>
  </xs:complexType>
  <xs:complexType name="fullType">
    <xs:complexContent><xs:extension base="boxType">
      <xs:sequence><xs:element name="child" type="boxType" minOccurs="0"/></xs:sequence>
    </xs:extension></xs:complexContent>
  </xs:complexType>
  <xs:complexType name="nodeType">
    <xs:sequence><xs:element name="node" type="nodeType" minOccurs="0"/></xs:sequence>
  </xs:complexType>
  <xs:complexType name="otherType">
    <xs:sequence><xs:element name="mark" type="xs:boolean" minOccurs="0"/></xs:sequence>
  </xs:complexType>
</xs:schema>
"""


def schemas(folder: Path, *texts: str) -> Schemas:
    for number, text in enumerate(texts):
        (folder / f"s{number}.xsd").write_text(text, encoding="utf-8")
    return Schemas.from_folder(folder)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> ExiCodec:
    return ExiCodec(schemas(tmp_path_factory.mktemp("orders"), ORDER))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> ExiCodec:
    return ExiCodec(schemas(tmp_path_factory.mktemp("boxes"), BOXES))


def stream(*bits: str) -> bytes:
    text = HEADER + "".join("".join(bits).split())
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def read(codec: ExiCodec, *bits: str) -> Any:
    return codec.decode_message(stream(*bits), "urn:order")["order"]


# One global element: its code has one bit, 0. After <number> eight elements or the end may follow: codes of 4 bits,
# 0 colour, 1 weight, 2 percent, 3 line, 4 paid, 5 big, 6 key, 7 seal, 8 the end, 9 a deviation.
START = "0"
NUMBER_7 = "0 0 00000111 0"  # its event code, its text's, the value, its end


@pytest.mark.parametrize(("content", "bits"), [
    ({"number": 7}, [NUMBER_7, "1000"]),
    # 300 in octets of seven bits, the lowest first: 0101100 with "more", then 0000010.
    ({"number": 300}, ["0 0 10101100 00000010 0", "1000"]),
    # Three names need two bits. After <colour>: 7 elements or the end, still 4 bits.
    ({"number": 7, "colour": "blue"}, [NUMBER_7, "0000 0 10 0", "0111"]),
    # Signs come first, and -1 is written as 0. After the choice 5 elements or the end are left: 3 bits.
    ({"number": 7, "weight": -1}, [NUMBER_7, "0001 0 1 00000000 0", "101"]),
    ({"number": 7, "weight": 5}, [NUMBER_7, "0001 0 0 00000101 0", "101"]),
    # A range of 91 values needs seven bits, counted from its lowest.
    ({"number": 7, "percent": 12}, [NUMBER_7, "0010 0 0000010 0", "101"]),
    # Attributes go by name: article before size, whatever the schema's order. Text is written as length + 2.
    ({"number": 7, "line": [{"article": "a", "size": 3, "value": "xy"}]},
     [NUMBER_7, "0011", "0 00000011 01100001", "00 00000011", "0 00000100 01111000 01111001", "0", "101"]),
    ({"number": 7, "line": [{"article": "a", "value": ""}]},
     [NUMBER_7, "0011", "0 00000011 01100001", "01 00000010", "0", "101"]),
    # After the third line no fourth: 4 elements or the end, which is 4 of 3 bits.
    ({"number": 7, "line": [{"article": "a", "value": ""}] * 3},
     [NUMBER_7, "0011 0 00000011 01100001 01 00000010 0", "000 0 00000011 01100001 01 00000010 0",
      "000 0 00000011 01100001 01 00000010 0", "100"]),
    ({"number": 7, "paid": True}, [NUMBER_7, "0100 0 1 0", "011"]),
    ({"number": 7, "key": "0AFF"}, [NUMBER_7, "0110 0 00000010 00001010 11111111 0", "01"]),
    ({"number": 7, "seal": "AAE="}, [NUMBER_7, "0111 0 00000010 00000000 00000001 0", "0"]),
])
def test_a_message_is_written_and_read_as_the_standard_numbers_its_events(
        orders: ExiCodec, content: dict[str, Any], bits: list[str]) -> None:
    assert orders.encode_message({"order": content}, "urn:order") == stream(START, *bits)
    assert read(orders, START, *bits) == content


# A deviation after <number> is 9 in 4 bits; then 0 is the other element, 1 text, in 1 bit, since the end is foreseen.
@pytest.mark.parametrize(("bits", "content"), [
    # An element <x> of no namespace: namespace 1 of 5 known ones, a new name of one letter. Of its own events nothing
    # is known yet: no bits for the first part, then two that say text. After it the end is known: 0 of one bit.
    (["1001 0", "001 00000010 01111000", "11", "00000011 01111001", "0", "1000"], {"number": 7}),
    # Text that the schema does not foresee.
    (["1001 1", "00000011 01111001", "1000"], {"number": 7}),
])
def test_what_the_schema_does_not_foresee_is_read_and_left_out(
        orders: ExiCodec, bits: list[str], content: dict[str, Any]) -> None:
    assert read(orders, START, NUMBER_7, *bits) == content


def test_an_element_may_end_before_the_schema_wants_it(orders: ExiCodec) -> None:
    # Before <number>: deviations end, xsi:type, xsi:nil, attribute, untyped attribute, element, text: 3 bits.
    assert read(orders, START, "1 000") == {}


def test_text_may_stand_for_a_typed_value(orders: ExiCodec) -> None:
    # In <number>: 1 is a deviation, text is the last of 7; then the end is 0 of those that do not take attributes.
    text = "1 110 00000101" + octet_bits(b" 12")
    assert read(orders, START, "0", text, "1 00", "1000") == {"number": 12}


def test_text_that_is_no_such_value_is_refused_with_its_place(orders: ExiCodec) -> None:
    with pytest.raises(InvalidValue, match=r"^order\.number: '1x', expected an integer"):
        read(orders, START, "0", "1 110 00000100" + octet_bits(b"1x"), "1 00", "1000")


def test_a_known_string_is_found_in_its_own_list_and_in_that_of_all(orders: ExiCodec) -> None:
    first = "0011 0 00000011 01100001 01 00000011 01100010 0"  # article a, text b
    # The article again, as number 0 of one known article: no bits. The text, as number 0 of two known strings: one.
    second = "000 0 00000000 01 00000001 0 0"
    assert read(orders, START, NUMBER_7, first, second, "101")["line"] == [
        {"article": "a", "value": "b"}, {"article": "a", "value": "a"}]


def test_a_reference_to_a_string_that_was_not_there_is_refused(orders: ExiCodec) -> None:
    with pytest.raises(Malformed, match="string number 0 of 0"):
        read(orders, START, NUMBER_7, "0011 0 00000001")


def test_a_value_may_have_a_type_of_its_own_if_it_is_one_of_the_schema(orders: ExiCodec) -> None:
    # xsi:type is deviation 1 of 7; unsignedByte is the 45th of 46 names of the schema language, in 6 bits.
    typed = f"1 001 100 00000000 {44:06b} 0 00000111 0"
    assert read(orders, START, "0", typed, "1000") == {"number": 7}


# <box> is the first of two global elements: 00. In boxType 0 is mark, 1 the end, 2 a deviation, in 2 bits; of 6
# deviations 0 is xsi:type. Of the namespaces urn:box is the fifth, of its 8 names fullType the fourth.
FULL = "10 000 101 00000000 011"
# In fullType 0 is mark, 1 child, 2 the end; after the child 0 is the end, in 1 bit.
CHILD, EMPTY_BOX, CLOSED = "01", "01", "0"


def in_each_other(levels: int) -> bytes:
    return stream("00", (FULL + CHILD) * levels, EMPTY_BOX, CLOSED * levels)


def test_an_element_may_be_of_a_type_that_is_derived_from_its_own(boxes: ExiCodec) -> None:
    assert boxes.decode_message(in_each_other(2), "urn:box") == {"box": {"child": {"child": {}}}}


@pytest.mark.parametrize("says", [
    "10 000 101 00000000 111",  # as xsi:type: otherType, the last of the 8 names
    "10 010 011 00000000 1 101 00000000 111",  # as any attribute (2), whose name is xsi:type
    "10 000 100 00000000 001111",  # xs:boolean, the 16th of 46 names
])
def test_an_element_of_a_type_that_is_not_derived_from_its_own_is_refused(boxes: ExiCodec, says: str) -> None:
    with pytest.raises(InvalidValue, match=r"^box: xsi:type (otherType|boolean), expected a type derived"):
        boxes.decode_message(stream("00", says, EMPTY_BOX), "urn:box")


def test_derived_types_inside_each_other_count_as_depth(boxes: ExiCodec) -> None:
    assert boxes.decode(in_each_other(32), "urn:box").count("child") == 32
    for levels in (33, 3000):
        with pytest.raises(LimitExceeded, match="nested deeper than 32"):
            boxes.decode(in_each_other(levels), "urn:box")


def test_a_type_that_contains_itself_is_followed_as_far_as_the_interpreter_can(boxes: ExiCodec) -> None:
    def nodes(levels: int) -> bytes:
        return stream("01", "00" * levels, "01", "0" * levels)

    message: dict[str, Any] = {}
    for _ in range(11):
        message = {"node": message}
    assert boxes.decode_message(nodes(10), "urn:box") == message
    assert boxes.encode_message(message, "urn:box") == nodes(10)
    for levels in range(100, 1000, 50):
        try:
            assert boxes.decode(nodes(levels), "urn:box").count("node") == levels + 1
        except LimitExceeded as refused:
            assert "deeper" in str(refused)  # noqa: PT017 - either is right: it depends on the frames that stand already
    with pytest.raises(LimitExceeded, match="node: elements nested deeper"):
        boxes.decode_message(nodes(5000), "urn:box")
    for _ in range(5000):
        message = {"node": message}
    with pytest.raises(LimitExceeded, match="node: elements nested deeper"):
        boxes.encode_message(message, "urn:box")


def test_a_value_that_is_declared_nil_is_refused_where_one_is_needed(orders: ExiCodec) -> None:
    with pytest.raises(InvalidValue, match=r"order\.number"):
        read(orders, START, "0", "1 010 1", "0", "1000")


def test_keys_come_in_any_order_and_without_value_count_as_absent(orders: ExiCodec) -> None:
    content = {"paid": True, "colour": None, "line": [{"value": "v", "article": "a"}], "number": 1}
    message = orders.encode_message({"order": content}, "urn:order")
    assert orders.decode_message(message, "urn:order")["order"] == {
        "number": 1, "line": [{"article": "a", "value": "v"}], "paid": True}


@pytest.mark.parametrize(("content", "error", "text"), [
    ({}, InvalidValue, "order: incomplete, expected number"),
    ({"number": 1, "size": 2}, UnknownMessage, "order: 'size' is not foreseen here, expected number, colour, weight"),
    ({"number": -1}, InvalidValue, r"order\.number: -1, expected 0 to 4294967295"),
    ({"number": True}, InvalidValue, r"order\.number: True, expected an integer"),
    ({"number": "1"}, InvalidValue, r"order\.number: '1', expected an integer"),
    ({"number": 1, "colour": "pink"}, InvalidValue, r"order\.colour: 'pink', expected red \| green \| blue"),
    ({"number": 1, "percent": 9}, InvalidValue, r"order\.percent: 9, expected 10 to 100"),
    ({"number": 1, "weight": 1, "percent": 10}, InvalidValue, "order: percent may not stand here, expected line or"),
    ({"number": 1, "paid": 1}, InvalidValue, r"order\.paid: 1, expected False \| True"),
    ({"number": 1, "key": "xyz"}, InvalidValue, r"order\.key: 'xyz', expected text in hexBinary"),
    ({"number": 1, "seal": "a"}, InvalidValue, r"order\.seal: 'a', expected text in base64Binary"),
    ({"number": 1, "line": [{"article": "a", "value": ""}] * 4}, InvalidValue, "order: line may not stand here"),
    ({"number": 1, "line": [{"value": ""}]}, InvalidValue, r"order\.line: value may not stand here, expected article"),
    ({"number": 1, "line": ["text"]}, InvalidValue, r"order\.line: 'text', expected an object"),
    ({"number": 1, "line": [{"article": "\ud800", "value": ""}]}, InvalidValue, "half of a surrogate pair"),
])
def test_a_message_that_the_schema_forbids_is_refused_with_field_value_and_what_was_expected(
        orders: ExiCodec, content: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        orders.encode_message({"order": content}, "urn:order")


@pytest.mark.parametrize(("octets", "error", "text"), [
    (b"", Truncated, "a stream of 0 octets"),
    (b"\x80", Truncated, "a stream of 1 octets"),
    (b"$EXI\x80\x00", Malformed, "begins with 0x24, expected 0x80"),
    (b"\xa0\x00", Malformed, "begins with 0xa0"),
    (b"\x80\x80", Malformed, "element number 1 of 1"),
    (stream(START, NUMBER_7, "1000") + b"\x01", TrailingBits, "1 octets follow"),
    (stream(START, NUMBER_7, "1000") + bytes(9), TrailingBits, "9 octets follow the message, expected at most 8"),
    (stream(START, NUMBER_7, "1111"), Malformed, "event 15 of 10"),
    (stream(START, NUMBER_7, "0000 0 11 0"), InvalidValue, r"order\.colour: number 3 of a type with 3 values"),
    (stream(START, NUMBER_7, "0010 0 1111111 0"), InvalidValue, r"order\.percent: .* expected 10 to 100"),
])
def test_a_stream_that_is_no_message_is_refused_with_what_is_wrong(
        orders: ExiCodec, octets: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        orders.decode_message(octets, "urn:order")


@pytest.mark.parametrize("zeros", [1, 8])
def test_a_few_octets_of_0_may_follow_a_message(orders: ExiCodec, zeros: int) -> None:
    octets = stream(START, NUMBER_7, "1000")
    assert orders.decode_message(octets + bytes(zeros), "urn:order") == orders.decode_message(octets, "urn:order")


def test_each_limit_is_refused_before_anything_is_made(orders: ExiCodec) -> None:
    tight = ExiCodec(orders.schemas, Limits(stream_bytes=200, depth=3, events=20, string_characters=5, octets=4,
                                            integer_octets=3))

    def refused(*bits: str) -> str:
        with pytest.raises(LimitExceeded) as caught:
            read(tight, START, *bits)
        return str(caught.value)

    assert "201 octets, at most 200" in refused("0" * 1599)
    assert "string of 6 characters, at most 5" in refused(NUMBER_7, "0011 0", string_bits("abcdef"))
    assert "binary value of 5 octets, at most 4" in refused(NUMBER_7, "0110 0 00000101")
    assert "more than 3 octets" in refused("0 0 11111111 11111111 11111111")
    deeper = "1001 0 001 00000010 01111000"  # an unknown element, then others in it, each a new one
    inside = "".join(f"10 001 00000010 {97 + n:08b}" for n in range(5))
    assert "nested deeper than 3" in refused(NUMBER_7, deeper, inside)
    text = "1001 1 00000011 01111001"
    assert "more than 20 elements" in refused(NUMBER_7, text * 30)


def test_references_count_as_what_they_refer_to_and_octets_as_characters(orders: ExiCodec) -> None:
    tight = ExiCodec(orders.schemas, Limits(content=12))
    # A line with twice three characters, one with references to both; a key and a seal, each of four octets.
    first = f"0011 0 {string_bits('abc')} 01 {string_bits('abc')} 0"
    again = "000 0 00000000 01 00000000 0"
    key, seal = "011 0 00000100" + "0" * 33, "00 0 00000100" + "0" * 33
    line = {"article": "abc", "value": "abc"}
    assert read(tight, START, NUMBER_7, first, again, "101")["line"] == [line, line]
    assert read(tight, START, NUMBER_7, first, key, "01")["key"] == "00000000"
    for more in (again + again + "100", key + seal + "0"):
        assert read(orders, START, NUMBER_7, first, more)["number"] == 7
        with pytest.raises(LimitExceeded, match="more than 12 characters and octets of values in one message"):
            read(tight, START, NUMBER_7, first, more)


@given(st.integers(min_value=0, max_value=2**200))
def test_an_unsigned_integer_is_its_digits_to_the_base_128_lowest_first(number: int) -> None:
    bits = unsigned_bits(number)
    digits = [int(bits[at:at + 8], 2) for at in range(0, len(bits), 8)]
    assert all(digit >= 128 for digit in digits[:-1])
    assert digits[-1] < 128
    assert sum((digit % 128) * 128**power for power, digit in enumerate(digits)) == number
    assert len(digits) == 1 or digits[-1] > 0


@given(st.integers(min_value=-2**200, max_value=2**200))
def test_integers_of_any_size_come_back(orders: ExiCodec, number: int) -> None:
    text = f'{{"order":{{"number":1,"big":{number}}}}}'
    assert orders.decode(orders.encode(text, "urn:order"), "urn:order") == text


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.text(st.characters(codec="utf-8"), max_size=60))
def test_text_comes_back_in_every_script(orders: ExiCodec, article: str, value: str) -> None:
    message = {"order": {"number": 1, "line": [{"article": article, "value": value}] * 2}}
    assert orders.decode_message(orders.encode_message(message, "urn:order"), "urn:order") == message


@given(st.binary(max_size=200))
def test_binary_values_come_back(orders: ExiCodec, octets: bytes) -> None:
    message = {"order": {"number": 1, "key": octets.hex().upper()}}
    assert orders.decode_message(orders.encode_message(message, "urn:order"), "urn:order") == message


def schema_of(body: str) -> str:
    return (f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="urn:a" targetNamespace="urn:a">{body}'
            "</xs:schema>")


@pytest.mark.parametrize(("body", "text"), [
    ('<xs:simpleType name="a"><xs:union memberTypes="xs:int xs:string"/></xs:simpleType>', "simple type by union in a"),
    ('<xs:simpleType name="a"><xs:list itemType="xs:int"/></xs:simpleType>', "simple type by list in a"),
    ('<xs:simpleType name="a"><xs:restriction base="xs:ID"><xs:pattern value="x"/></xs:restriction></xs:simpleType>',
     "facet pattern"),
    ('<xs:simpleType name="a"><xs:restriction base="xs:double"/></xs:simpleType>', "type xs:double is not supported"),
    ('<xs:simpleType name="a"><xs:restriction base="b"/></xs:simpleType>', "type b of urn:a, and do not declare it"),
    ('<xs:simpleType name="a"><xs:restriction base="a"/></xs:simpleType>', "type a of urn:a is derived from itself"),
    ('<xs:element name="a" type="xs:int" nillable="true"/>', "nillable in a"),
    ('<xs:element name="a"/>', "element without type in a"),
    ('<xs:complexType name="a"><xs:all><xs:element name="b" type="xs:int"/></xs:all></xs:complexType>', "all in a"),
    ('<xs:complexType name="a"><xs:anyAttribute/></xs:complexType>', "anyAttribute in a"),
    ('<xs:element name="a" type="q:int"/>', "q:int has an undeclared prefix"),
])
def test_what_a_schema_uses_and_the_codec_does_not_implement_is_named(tmp_path: Path, body: str, text: str) -> None:
    found = schemas(tmp_path, schema_of(body))
    with pytest.raises(SchemaError, match=text):
        found.protocol("urn:a")


def test_a_folder_without_schemas_or_with_a_broken_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no XSD file there"):
        Schemas.from_folder(tmp_path)
    (tmp_path / "broken.xsd").write_text("<xs:schema")
    with pytest.raises(SchemaError, match=r"broken\.xsd: not readable"):
        Schemas.from_folder(tmp_path)
    (tmp_path / "broken.xsd").write_text("<other/>")
    with pytest.raises(SchemaError, match="the root element is other"):
        Schemas.from_folder(tmp_path)


def test_an_import_that_is_not_in_the_folder_is_named(tmp_path: Path) -> None:
    found = schemas(tmp_path, schema_of('<xs:import namespace="urn:b" schemaLocation="../b.xsd"/>'))
    with pytest.raises(SchemaError, match=r"imports \.\./b\.xsd, which is not in the folder"):
        found.protocol("urn:a")


def test_an_unknown_namespace_or_message_is_named_with_those_that_are_known(orders: ExiCodec) -> None:
    with pytest.raises(UnknownMessage, match="'urn:x', expected one of urn:order"):
        orders.encode_message({"order": {}}, "urn:x")
    with pytest.raises(UnknownMessage, match="'bill' is no element of urn:order"):
        orders.encode_message({"bill": {}}, "urn:order")
    for wrong in ([], {}, {"a": 1, "b": 2}, "order"):
        with pytest.raises(InvalidValue, match="an object with one key"):
            orders.encode_message(wrong, "urn:order")
    for text in ("{", '{"order":"\ud800"}', '{"order":' * 5000, "", "\xff"):
        with pytest.raises(InvalidValue, match="not JSON"):
            orders.encode(text, "urn:order")
