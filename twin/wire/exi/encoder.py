"""Encode one element after another; keys may come in any order, since the schema says which goes first.

Only what the schemas foresee is written, and every string in full: that is what peers write, and what signatures over
EXI need, where two encodings of one message would be two messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twin.wire.exi.bits import number_bits, unsigned_bits, width_for
from twin.wire.exi.deviations import TEXT_KEY
from twin.wire.exi.errors import ExiError, InvalidValue, UnknownMessage
from twin.wire.exi.grammar import Event, Grammar, Production, State
from twin.wire.exi.schema import Attribute, Complex, Element, Kind, Name, SchemaSet, Simple
from twin.wire.exi.strings import StringTable
from twin.wire.exi.values import Writer, value_writer

ElementWriter = Callable[[Any, list[str]], None]
Step = tuple[str, ElementWriter, "Place"]


class Place:
    """A grammar's state made ready for encoding: bits, writer and next place by JSON key; `end` are the end's bits."""

    __slots__ = ("end", "state", "steps")

    def __init__(self, state: State) -> None:
        self.state = state
        self.steps: dict[str, Step] | None = None
        self.end: str | None = None


class Encoder:
    """Writers for the elements of one schema set, made on first use and kept."""

    def __init__(self, schema: SchemaSet) -> None:
        self._schema = schema
        self._strings = StringTable.initial(schema.uris, schema.names)
        self._writers: dict[int, ElementWriter] = {}
        self._places: dict[State, Place] = {}

    def name_bits(self, name: Name) -> str:
        """A name as xs:any and xsi:type write it (7.1.7).

        Those of the schema are known beforehand, and no others are written.
        """
        uris, local_names = self._strings
        known = local_names[name.uri]
        return (number_bits(uris.index(name.uri) + 1, width_for(len(uris) + 1)) + unsigned_bits(0)
                + number_bits(known.index(name.local), width_for(len(known))))

    def element_writer(self, element: Element) -> ElementWriter:
        """Writes the content of `element`, from after its start to its end."""
        type_ = self._schema.type_of(element)
        found = self._writers.get(id(type_))
        if found is None:
            if isinstance(type_, Complex):
                found = _ContentWriter(self, Grammar(self._schema, type_)).write
            else:
                found = _leaf_writer(value_writer(type_))
            self._writers[id(type_)] = found
        return found

    def place(self, state: State) -> Place:
        """Where the writing of an element stands."""
        found = self._places.get(state)
        if found is None:
            found = self._places[state] = Place(state)
        return found

    def prepare(self, place: Place, grammar: Grammar) -> dict[str, Step]:
        """The table of a state that is written to for the first time."""
        state = place.state
        steps: dict[str, Step] = {}
        for code, production in enumerate(state.productions):
            bits, what, then = number_bits(code, state.width), production.what, production.then
            if then is None:
                place.end = bits
            elif isinstance(what, Element):
                steps[what.name.local] = (bits, self.element_writer(what), self.place(then))
            elif isinstance(what, Attribute):
                steps[what.name.local] = (bits, _bare_writer(value_writer(what.type)), self.place(then))
            elif production.event is Event.TEXT and (grammar.value_type is not None or grammar.is_ambiguous):
                text = value_writer(grammar.value_type or Simple(Kind.STRING))
                steps[TEXT_KEY] = (bits, _bare_writer(text), self.place(then))
            elif production.event is Event.ANY_ELEMENT:
                for name, element in sorted(self._schema.elements.items()):
                    writer = self.element_writer(element)
                    steps.setdefault(name.local, (bits + self.name_bits(name), writer, self.place(then)))
        place.steps = steps
        return steps


class _ContentWriter:
    """Writes elements of one complex type."""

    def __init__(self, encoder: Encoder, grammar: Grammar) -> None:
        self._grammar = grammar
        self._start = encoder.place(grammar.start)
        self._prepare = encoder.prepare

    def write(self, value: Any, parts: list[str]) -> None:
        if type(value) is not dict:
            raise InvalidValue(f"{value!r:.80}, expected an object")
        mark = len(parts)
        if self._write_items(value, parts):
            return
        del parts[mark:]
        ordered = self._ordered(value)
        if not self._write_items(ordered, parts):
            raise InvalidValue(self._why(ordered))

    def _write_items(self, value: dict[str, Any], parts: list[str]) -> bool:
        """Write the keys as they come, until one is not what the schema wants there: then False."""
        here = self._start
        key = ""
        try:
            for key, item in value.items():
                if item is None:
                    continue
                for each in item if type(item) is list else (item,):
                    step = (here.steps or self._prepare(here, self._grammar)).get(key)
                    if step is None:
                        return False
                    bits, writer, here = step
                    parts.append(bits)
                    writer(each, parts)
        except ExiError as fault:
            fault.inside(key)
            raise
        if here.steps is None:
            self._prepare(here, self._grammar)
        if here.end is None:
            return False
        parts.append(here.end)
        return True

    def _ordered(self, value: dict[str, Any]) -> dict[str, Any]:
        """The same object with its keys in the schema's order."""
        order = self._grammar.order
        rank = {key: number for number, key in enumerate(order)} | {TEXT_KEY: len(order)}
        for key, item in value.items():
            if self._grammar.takes_any:
                rank.setdefault(key, len(rank))
            if key not in rank and item is not None:
                raise UnknownMessage(f"{key!r:.80} is not foreseen here, expected {', '.join(order) or 'nothing'}")
        return dict(sorted(((key, item) for key, item in value.items() if item is not None),
                           key=lambda item: rank[item[0]]))

    def _why(self, value: dict[str, Any]) -> str:
        """What an object whose keys are all known and in order lacks, or has too much of."""
        state = self._grammar.start
        for key, item in value.items():
            for _ in item if type(item) is list else (item,):
                then = next((each.then for each in state.productions if _key(each) == key), None)
                if then is None:
                    return f"{key} may not stand here, expected {_expected(state)}"
                state = then
        return f"incomplete, expected {_expected(state)}"


def _key(production: Production) -> str:
    return TEXT_KEY if production.event is Event.TEXT else production.name


def _expected(state: State) -> str:
    return " or ".join(_key(each) or ("the end" if each.event is Event.END else "anything")
                       for each in state.productions)


def _leaf_writer(write_value: Writer) -> ElementWriter:
    def write(value: Any, parts: list[str]) -> None:
        parts.append(f"0{write_value(value)}0")
    return write


def _bare_writer(write_value: Writer) -> ElementWriter:
    def write(value: Any, parts: list[str]) -> None:
        parts.append(write_value(value))
    return write
