"""Whole streams: the header, the root's event code, the padding.

A message is a document; a part of one that is signed is a fragment, which any element may begin.
"""

from __future__ import annotations

from typing import Any

from twin.wire.exi.bits import Source, number_bits, width_for
from twin.wire.exi.decoder import Decoder
from twin.wire.exi.encoder import ElementWriter, Encoder
from twin.wire.exi.errors import (
    ExiError,
    InvalidValue,
    LimitExceeded,
    Malformed,
    TrailingBits,
    Truncated,
    UnknownMessage,
)
from twin.wire.exi.limits import Limits
from twin.wire.exi.schema import Complex, Element, SchemaSet
from twin.wire.exi.strings import StringTable

# EXI 1.0, section 5: distinguishing bits 10, no options in the stream, version 1.
_HEADER = 0x80
# Octets that may follow a message. Teslas send one after their ContractAuthenticationReq (DIN 70121): where a draft of
# the schema has its Id required, an end without one takes four bits more.
_MOST_ZEROS = 8
_COOKIE = b"$EXI"

# Types from which every message of ISO 15118-20 is derived; the other protocols have one message, the envelope.
_MESSAGE_TYPE = "V2GMessageType"
_ENVELOPE = "V2G_Message"

# No supported schema has types that contain themselves; one of the user's own may.
_TOO_DEEP = "elements nested deeper than this interpreter can follow"


class Protocol:
    """The grammars of one namespace: how its documents and fragments are written and read."""

    def __init__(self, schema: SchemaSet) -> None:
        self._schema = schema
        self._decoder = Decoder(schema)
        self._encoder = Encoder(schema)
        # 8.5.1 and 8.5.2: documents begin with one of the global elements, fragments with any element declared.
        self._documents = [schema.elements[name] for name in sorted(schema.elements)]
        self._fragments = sorted(schema.declared)
        self._roots: dict[str, tuple[str, ElementWriter, str]] = {}
        self._strings = StringTable.initial(schema.uris, schema.names)

    @property
    def schema(self) -> SchemaSet:
        """What the namespace's files declare."""
        return self._schema

    @property
    def messages(self) -> list[Element]:
        """The elements that are messages, or the envelope of all."""
        return [each for each in self._documents if self._is_message(each)]

    def encode(self, message: Any) -> bytes:
        """The stream of `{"Name": content}`: a document for a message, a fragment for a part of one."""
        if type(message) is not dict or len(message) != 1:
            raise InvalidValue("expected an object with one key, the name of the message")
        (name, content), = message.items()
        root = self._roots.get(name)
        if root is None:
            root = self._roots[name] = self._root(name)
        start, writer, end = root
        parts = [start]
        try:
            writer(content, parts)
        except ExiError as fault:
            fault.inside(name)
            raise
        except RecursionError:
            raise LimitExceeded(f"{name}: {_TOO_DEEP}") from None
        parts.append(end)
        bits = "".join(parts)
        count = -(-len(bits) // 8)
        return bytes((_HEADER,)) + int(bits.ljust(8 * count, "0"), 2).to_bytes(count, "big")

    def _root(self, name: str) -> tuple[str, ElementWriter, str]:
        """Bits before and after the root element `name`, and its writer."""
        for number, element in enumerate(self._documents):
            if element.name.local == name and self._is_message(element):
                start = number_bits(number, width_for(len(self._documents) + 1))
                return start, self._encoder.element_writer(element), ""
        width = width_for(len(self._fragments) + 2)
        for number, found in enumerate(self._fragments):
            if found.local == name:
                writer = self._encoder.element_writer(self._schema.in_fragment(found))
                return number_bits(number, width), writer, number_bits(len(self._fragments) + 1, width)
        raise UnknownMessage(f"{name!r:.80} is no element of {self._schema.namespace}")

    def _is_message(self, element: Element) -> bool:
        if any(each.name.local == _ENVELOPE for each in self._documents):
            return element.name.local == _ENVELOPE
        type_ = self._schema.type_of(element)
        messages = any(name.local == _MESSAGE_TYPE for name in self._schema.types)
        if messages:
            return isinstance(type_, Complex) and any(base.local == _MESSAGE_TYPE for base in type_.bases)
        return element.name.uri == self._schema.namespace and not element.name.uri.endswith("xmldsig#")

    def decode(self, stream: bytes, limits: Limits, *, is_fragment: bool = False) -> dict[str, Any]:
        """The message in `stream`, or the fragment; a few octets of 0 may follow."""
        if len(stream) > limits.stream_bytes:
            raise LimitExceeded(f"a stream of {len(stream)} octets, at most {limits.stream_bytes} are read")
        if len(stream) <= 1:
            raise Truncated(f"a stream of {len(stream)} octets")
        if stream[0] != _HEADER:
            raise Malformed(f"the stream begins with {stream[0]:#04x}, expected {_HEADER:#04x}: EXI 1.0 without cookie "
                            "and options")
        # A leading one keeps the zeros; bin() puts 0b before it.
        source = Source(bin(int.from_bytes(b"\x01" + stream[1:], "big"))[3:], limits, StringTable(*self._strings))
        count = len(self._fragments) if is_fragment else len(self._documents)
        width = width_for(count + (2 if is_fragment else 1))
        number, at = source.number(0, width)
        if number >= count:
            raise Malformed(f"element number {number} of {count} that may begin a stream of {self._schema.namespace}")
        element = self._schema.in_fragment(self._fragments[number]) if is_fragment else self._documents[number]
        name = element.name.local
        try:
            content, at = self._decoder.element_reader(element)(source, at)
        except ExiError as fault:
            fault.inside(name)
            raise
        except RecursionError:
            raise LimitExceeded(f"{name}: {_TOO_DEEP}") from None
        if is_fragment:
            code, at = source.number(at, width)
            if code != count + 1:
                raise Malformed(f"{name}: something follows the fragment")
        excess = (len(source.bits) - at) // 8
        if excess > _MOST_ZEROS or (excess and "1" in source.bits[-8 * excess:]):
            raise TrailingBits(f"{name}: {excess} octets follow the message, expected at most {_MOST_ZEROS}, all of 0")
        return {name: content}
