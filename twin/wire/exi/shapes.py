"""Streams built to exhaust a decoder: none of their octets is by chance, and flipping bits would not find them.

references: one long text, then numbers of it: two octets each, which come out as sixteen thousand characters.
retyped: an element that says by xsi:type that it is of another type, which holds an element that says so again.
nested: elements in the wrong place, each in the one before.
fragments: an element of a fragment whose type the schema leaves open, in itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import NamedTuple

from twin.wire.exi.bits import number_bits, string_bits, width_for
from twin.wire.exi.encoder import Encoder
from twin.wire.exi.grammar import Deviation, Event, Grammar, State
from twin.wire.exi.schema import Complex, Element, SchemaSet
from twin.wire.exi.stream import Protocol

LONG_TEXT = "A" * 16_384
MARKER = "a text that stands nowhere else"
_HIT = number_bits(0, 8)  # a string's length that says: one which this element has had; of only one, no number follows
_BITS = 8 * 65_535  # what is left of the longest stream after its header
_PAIRS = 40


class Shape(NamedTuple):
    """How a stream is built: bits before, and those that may stand there any number of times.

    kind: a word of the list above.
    """

    kind: str
    head: str
    unit: str
    tail: str = ""
    is_fragment: bool = False

    def stream(self, times: int) -> bytes:
        """The stream with `unit` so many times, or as often as the longest one that is read can hold it."""
        most = (_BITS - len(self.head) - len(self.tail)) // len(self.unit)
        bits = self.head + self.unit * min(times, most) + self.tail
        count = -(-len(bits) // 8)
        return b"\x80" + int(bits.ljust(8 * count, "0"), 2).to_bytes(count, "big")


def shapes(protocol: Protocol, seed: int) -> Iterator[Shape]:
    """What can be built for one namespace."""
    builder = _Builder(protocol.schema, Random(seed))
    for root, start in builder.roots():
        for each in (*builder.texts(root), *builder.retyped(root), *builder.nested(root)):
            yield each._replace(head=start + each.head)
    yield from builder.open_fragments()
    if any(name.local == "X509Data" for name in protocol.schema.declared):
        certificates = {"X509Data": {"X509SubjectName": [LONG_TEXT, MARKER, MARKER]}}
        yield referring(protocol.encode(certificates))._replace(is_fragment=True)


def referring(stream: bytes) -> Shape:
    """`stream`, in which MARKER stands as the last two of a list, with any number of references instead.

    Each is to the one string that the list has had before.
    """
    bits = f"{int.from_bytes(stream, 'big'):0{8 * len(stream)}b}"[8:]
    text = string_bits(MARKER)
    first, last = bits.index(text), bits.rindex(text)
    between, after = bits[first + len(text):last], bits[last + len(text):]
    return Shape("references", bits[:first], _HIT + between, _HIT + after)


class _Builder:
    """Bits of what the schema does not foresee."""

    def __init__(self, schema: SchemaSet, draw: Random) -> None:
        self._schema = schema
        self._draw = draw
        self._encoder = Encoder(schema)

    def roots(self) -> Iterator[tuple[Grammar, str]]:
        """Elements that begin a document, with the bits that do so."""
        names = sorted(self._schema.elements)
        width = width_for(len(names) + 1)
        complex_ = [number for number, name in enumerate(names) if self._is_complex(self._schema.elements[name])]
        for number in self._draw.sample(complex_, min(3, len(complex_))):
            yield self._grammar(self._schema.elements[names[number]]), number_bits(number, width)

    def texts(self, root: Grammar) -> Iterator[Shape]:
        """Text that the schema does not foresee, long and then referred to."""
        after = root.start.after_content
        yield Shape("references", self._deviation(root.start, Deviation.TEXT) + string_bits(LONG_TEXT),
                    self._deviation(after, Deviation.TEXT) + _HIT)

    def retyped(self, root: Grammar) -> Iterator[Shape]:
        """An element as of type T, whose first child as of type T, and so on."""
        found = list(islice(self._types_with_children(), _PAIRS))
        for grammar, code, child in self._draw.sample(found, min(3, len(found))):
            name = grammar.type.name
            if name is not None:
                named = self._encoder.name_bits(name)
                unit = code + self._deviation(self._grammar(child).start, Deviation.TYPE) + named
                yield Shape("retyped", self._deviation(root.start, Deviation.TYPE) + named, unit)

    def nested(self, root: Grammar) -> Iterator[Shape]:
        """A global element before anything else, in it the same."""
        names = [name for name, each in sorted(self._schema.elements.items()) if self._is_complex(each)]
        name = self._draw.choice(names)
        inside = self._grammar(self._schema.elements[name]).start
        named = self._encoder.name_bits(name)
        yield Shape("nested", self._deviation(root.start, Deviation.ANY_ELEMENT) + named,
                    self._deviation(inside, Deviation.ANY_ELEMENT) + named)

    def open_fragments(self) -> Iterator[Shape]:
        """Elements that may hold themselves, since a fragment does not tell their type."""
        declared = sorted(self._schema.declared)
        grammar = Grammar(self._schema, self._schema.ambiguous)
        for number, name in enumerate(declared):
            if self._schema.in_fragment(name).anonymous is self._schema.ambiguous:
                code = next(code for code, each in enumerate(grammar.start.productions)
                            if isinstance(each.what, Element) and each.what.name == name)
                yield Shape("fragments", number_bits(number, width_for(len(declared) + 2)),
                            number_bits(code, grammar.start.width), is_fragment=True)

    def _types_with_children(self) -> Iterator[tuple[Grammar, str, Element]]:
        types = [each for _, each in sorted(self._schema.types.items()) if isinstance(each, Complex)]
        self._draw.shuffle(types)
        for type_ in types:
            grammar = Grammar(self._schema, type_)
            for code, each in enumerate(grammar.start.productions):
                if each.event is Event.ELEMENT and isinstance(each.what, Element) and self._is_complex(each.what):
                    yield grammar, number_bits(code, grammar.start.width), each.what

    def _is_complex(self, element: Element) -> bool:
        return isinstance(self._schema.type_of(element), Complex)

    def _grammar(self, element: Element) -> Grammar:
        return Grammar(self._schema, self._schema.type_of(element))

    @staticmethod
    def _deviation(state: State, deviation: Deviation) -> str:
        return (number_bits(len(state.productions), state.width)
                + number_bits(state.deviations.index(deviation), width_for(len(state.deviations))))
