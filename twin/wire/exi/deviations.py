"""Read what a schema does not foresee, and the standards' EXI options allow nevertheless (EXI 1.0, 8.4.3, 8.5.4.4.1).

A later edition's element in an earlier one's message, an xsi:type, text between elements: each is announced by an
escape code. Content that the schemas name is read by their grammars; what they do not name is read, counted against
the limits and left out, as the standards want extensions to be ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from twin.wire.exi.bits import Source, width_for
from twin.wire.exi.errors import ExiError, InvalidValue, Malformed
from twin.wire.exi.grammar import Deviation, Event, Grammar, State
from twin.wire.exi.schema import Attribute, Complex, Element, Name, SchemaSet, Simple
from twin.wire.exi.strings import XSD, XSI
from twin.wire.exi.values import Reader, parse_text, value_reader
from twin.wire.exi.xsd import BUILT_IN

# JSON key of an element's text, where the element has attributes besides.
TEXT_KEY = "value"

XSI_TYPE = Name("type", XSI)


class Readers(Protocol):
    """Who reads what the schemas do name."""

    def grammar(self, type_: Simple | Complex) -> Grammar:
        """The grammar of a type."""

    def element_reader(self, element: Element) -> Reader:
        """Reads the content of `element`."""


@dataclass(slots=True)
class _Open:
    """The element that is being read: where its grammar stands, and what has been found.

    texts: those of an element whose type a fragment does not tell, where text may stand between elements.
    """

    grammar: Grammar
    state: State
    owner: Name
    found: dict[str, Any]
    texts: list[str] = field(default_factory=list)

    def add(self, element: Element, value: Any) -> None:
        """A child element that the schemas name, wherever it stands."""
        key = element.name.local
        if element.name in self.grammar.repeated or key not in self.grammar.names:
            self.found.setdefault(key, []).append(value)
        else:
            self.found[key] = value


@dataclass(slots=True)
class _Learned:
    """The grammar of an element that no schema names: it consists of what the stream has shown (8.4.3).

    start, content: event codes before and after the first content, the newest first.
    """

    start: list[tuple[Event, Name | None]] = field(default_factory=list)
    content: list[tuple[Event, Name | None]] = field(default_factory=lambda: [(Event.END, None)])


# Second parts of an unknown element's event codes, before and after its first content.
_START: tuple[Event, ...] = (Event.END, Event.ATTRIBUTE, Event.ANY_ELEMENT, Event.TEXT)
_CONTENT = (Event.ANY_ELEMENT, Event.TEXT)


class Deviations:
    """Reads on where a schema's grammar ends."""

    def __init__(self, schema: SchemaSet, readers: Readers) -> None:
        self._schema = schema
        self._readers = readers

    def read_on(self, source: Source, at: int, grammar: Grammar, state: State, owner: Name,
                found: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Read an element from `state`, whose event code stands at `at`, to its end."""
        source.descend()
        here = _Open(grammar, state, owner, found)
        while True:
            source.count()
            code, at = source.number(at, here.state.width)
            if code < len(here.state.productions):
                production = here.state.productions[code]
                if production.event is Event.END:
                    break
                at = self._foreseen(source, at, here, code)
                continue
            if code > len(here.state.productions):
                raise Malformed(f"event {code} of {len(here.state.productions) + 1} that may stand here")
            number, at = source.number(at, width_for(len(here.state.deviations)))
            if number >= len(here.state.deviations):
                raise Malformed(f"deviation {number} of {len(here.state.deviations)} that may stand here")
            deviation = here.state.deviations[number]
            if deviation is Deviation.END:
                break
            at = self._deviating(source, at, here, deviation)
        source.depth -= 1
        return _closed(here), at

    def _foreseen(self, source: Source, at: int, here: _Open, code: int) -> int:
        production = here.state.productions[code]
        what = production.what
        if isinstance(what, Attribute):
            here.found[what.name.local], at = _inside(what.name.local, value_reader(what.type, what.name), source, at)
        elif isinstance(what, Element):
            value, at = _inside(what.name.local, self._readers.element_reader(what), source, at)
            here.add(what, value)
        elif production.event is Event.ANY_ELEMENT:
            at = self._any_element(source, at, here)
        elif here.grammar.value_type is not None:
            here.found[TEXT_KEY], at = value_reader(here.grammar.value_type, here.owner)(source, at)
        elif production.event is Event.ANY_ATTRIBUTE:
            return self._any_attribute(source, at, here)
        else:
            text, at = source.string(at, here.owner)
            if here.grammar.is_ambiguous:
                here.texts.append(text)
        if production.then is not None:
            here.state = production.then
        return at

    def _deviating(self, source: Source, at: int, here: _Open, deviation: Deviation) -> int:
        if deviation is Deviation.TYPE:
            name, at = read_name(source, at)
            self._retype(here, name)
        elif deviation is Deviation.NIL:
            is_nil, at = source.number(at, 1)
            if is_nil:
                here.state = here.grammar.empty
        elif deviation is Deviation.ANY_ATTRIBUTE:
            at = self._any_attribute(source, at, here)
        elif deviation is Deviation.UNTYPED_ATTRIBUTE:
            at = _untyped_attribute(source, at, here)
        elif deviation is Deviation.ANY_ELEMENT:
            at = self._any_element(source, at, here)
            here.state = here.state.after_content
        else:
            text, at = source.string(at, here.owner)
            if here.grammar.value_type is not None:
                here.found[TEXT_KEY] = parse_text(here.grammar.value_type, text)
            here.state = here.state.after_content
        return at

    def _retype(self, here: _Open, name: Name) -> None:
        """Go on with the type that the stream names, if it is known.

        It has to be derived from the one that stands there (XML Schema 1.0, part 1, 3.3.4): with any other one could
        put elements into each other without end. The values of simple types are all read as what the declared type
        allows, so that there any other simple one may stand.
        """
        type_ = self._type(name)
        if type_ is not None:
            if not _may_stand_for(here.grammar.type, type_):
                raise InvalidValue(f"xsi:type {name.local:.80}, expected a type derived from that of the element")
            here.grammar = self._readers.grammar(type_)
            here.state = here.grammar.start

    def _any_attribute(self, source: Source, at: int, here: _Open) -> int:
        """An attribute that the type does not declare; xsi:type may come this way too (8.5.4.4.1)."""
        name, at = read_name(source, at)
        if name == XSI_TYPE:
            type_name, at = read_name(source, at)
            self._retype(here, type_name)
            return at
        _, at = source.string(at, name)
        return at

    def _any_element(self, source: Source, at: int, here: _Open) -> int:
        name, at = read_name(source, at)
        element = self._schema.elements.get(name)
        if element is None:
            return self._unknown(source, at, name)
        value, at = _inside(name.local, self._readers.element_reader(element), source, at)
        here.add(element, value)
        return at

    def _unknown(self, source: Source, at: int, name: Name) -> int:
        """Read past an element that no schema names."""
        source.descend()
        learned = source.learned.setdefault(name, _Learned())
        codes, escapes = learned.start, _START
        while True:
            source.count()
            number, at = source.number(at, width_for(len(codes) + 1))
            is_new = number == len(codes)
            if is_new:
                number, at = source.number(at, width_for(len(escapes)))
                event, known = escapes[number], None
            elif number < len(codes):
                event, known = codes[number]
            else:
                raise Malformed(f"event {number} of {len(codes) + 1} that may stand in {name.local:.80}")
            if event is Event.END:
                if is_new:
                    codes.insert(0, (Event.END, None))
                source.depth -= 1
                return at
            at, known, type_ = self._unknown_event(source, at, event, known, name)
            if is_new:
                codes.insert(0, (event, known))
            if type_ is not None:
                grammar = self._readers.grammar(type_)
                _, at = self.read_on(source, at, grammar, grammar.start, name, {})
                source.depth -= 1
                return at
            if event is not Event.ATTRIBUTE:
                codes, escapes = learned.content, _CONTENT

    def _unknown_event(self, source: Source, at: int, event: Event, known: Name | None,
                       owner: Name) -> tuple[int, Name | None, Simple | Complex | None]:
        """The event's name, if it has one, and the type that it gives to the element, if it is an xsi:type."""
        if event is Event.TEXT:
            _, at = source.string(at, owner)
            return at, None, None
        if known is None:
            known, at = read_name(source, at)
        if known == XSI_TYPE and event is Event.ATTRIBUTE:
            type_name, at = read_name(source, at)
            return at, known, self._type(type_name)
        if event is Event.ATTRIBUTE:
            _, at = source.string(at, known)
        elif known in self._schema.elements:
            reader = self._readers.element_reader(self._schema.elements[known])
            _, at = _inside(known.local, reader, source, at)
        else:
            at = self._unknown(source, at, known)
        return at, known, None

    def _type(self, name: Name) -> Simple | Complex | None:
        return self._schema.types.get(name) or (BUILT_IN.get(name.local) if name.uri == XSD else None)


def _closed(here: _Open) -> dict[str, Any]:
    """What was found; peers that encode XML have no event for a text that is empty."""
    if here.grammar.value_type is not None and TEXT_KEY not in here.found:
        here.found[TEXT_KEY] = parse_text(here.grammar.value_type, "")
    if here.texts:
        here.found[TEXT_KEY] = "".join(here.texts)
    return here.found


def _may_stand_for(declared: Complex, named: Simple | Complex) -> bool:
    """Whether an element of type `declared` may say by xsi:type that it is of type `named`."""
    if declared.is_open or named is declared:
        return True
    if isinstance(declared.content, Simple) and not declared.attributes:
        return isinstance(named, Simple) or isinstance(named.content, Simple)
    return isinstance(named, Complex) and declared.name in named.bases


def _inside(name: str, reader: Reader, source: Source, at: int) -> tuple[Any, int]:
    try:
        return reader(source, at)
    except ExiError as fault:
        fault.inside(name)
        raise


def _untyped_attribute(source: Source, at: int, here: _Open) -> int:
    """An attribute whose value is text instead of what its type wants: the third part of the code says which."""
    declared = [each for each in here.state.productions if isinstance(each.what, Attribute)]
    number, at = source.number(at, width_for(len(declared) + 1))
    if number > len(declared):
        raise Malformed(f"attribute {number} of {len(declared) + 1} that may stand here")
    if number == len(declared):
        name, at = read_name(source, at)
        _, at = source.string(at, name)
        return at
    production = declared[number]
    if isinstance(production.what, Attribute) and production.then is not None:
        text, at = source.string(at, production.what.name)
        here.found[production.what.name.local] = parse_text(production.what.type, text)
        here.state = production.then
    return at


def read_name(source: Source, at: int) -> tuple[Name, int]:
    """A qualified name (7.1.7): namespace and local name, each known or spelled."""
    strings = source.strings
    uris = strings.uris()
    number, at = source.number(at, width_for(len(uris) + 1))
    if number > len(uris):
        raise Malformed(f"namespace number {number} of {len(uris)} known ones")
    if number:
        uri = uris[number - 1]
    else:
        length, at = source.unsigned(at)
        uri, at = source.characters(at, length)
        strings.add_uri(uri)
    length, at = source.unsigned(at)
    if length:
        local, at = source.characters(at, length - 1)
        strings.add_local_name(uri, local)
        return Name(local, uri), at
    known = strings.local_names(uri)
    number, at = source.number(at, width_for(len(known)))
    if number >= len(known):
        raise Malformed(f"local name number {number} of {len(known)} known ones")
    return Name(known[number], uri), at
