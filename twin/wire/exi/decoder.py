"""Decode one element after another: each state of a grammar becomes a table from event code to what is to be done.

What the schema foresees is done here. At the first event that it does not, `Deviations` reads the rest of the element.
"""

from __future__ import annotations

from typing import Any

from twin.wire.exi.bits import Source, number_bits
from twin.wire.exi.deviations import TEXT_KEY, Deviations
from twin.wire.exi.errors import ExiError
from twin.wire.exi.grammar import Event, Grammar, State
from twin.wire.exi.schema import Attribute, Complex, Element, Name, SchemaSet, Simple
from twin.wire.exi.values import Reader, checked, framed_values, small_values, value_fault, value_reader

_ONE, _LISTED, _END = range(3)

Step = tuple[int, str, Reader, "Place"]


class Place:
    """A grammar's state made ready for decoding, when a stream first comes to it."""

    __slots__ = ("state", "steps", "width")

    def __init__(self, state: State) -> None:
        self.state = state
        self.width = state.width
        self.steps: dict[str, Step] | None = None


class Decoder:
    """Readers for the elements of one schema set, made on first use and kept."""

    def __init__(self, schema: SchemaSet) -> None:
        self._schema = schema
        self._readers: dict[tuple[int, Name], Reader] = {}
        self._grammars: dict[int, Grammar] = {}
        self._places: dict[tuple[State, Name], Place] = {}
        self._deviations = Deviations(schema, self)

    def grammar(self, type_: Simple | Complex) -> Grammar:
        """The grammar of a type."""
        found = self._grammars.get(id(type_))
        if found is None:
            found = self._grammars[id(type_)] = Grammar(self._schema, type_)
        return found

    def element_reader(self, element: Element) -> Reader:
        """Reads the content of `element`, from after its start to after its end."""
        type_ = self._schema.type_of(element)
        key = (id(type_), element.name)
        found = self._readers.get(key)
        if found is None:
            if isinstance(type_, Complex):
                found = self._content_reader(self.grammar(type_), element.name)
            else:
                found = self._leaf_reader(type_, element.name)
            self._readers[key] = found
        return found

    def _place(self, state: State, owner: Name) -> Place:
        key = (state, owner)
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = Place(state)
        return found

    def _prepare(self, place: Place, grammar: Grammar, owner: Name) -> dict[str, Step]:
        """The table of a state.

        Text between elements, xs:any and what an ambiguous element of a fragment holds are not in it, so that they are
        read as deviations: there depth is counted, which nothing else bounds for them.
        """
        state = place.state
        steps: dict[str, Step] = {}
        for code, production in enumerate(state.productions):
            what, then = production.what, production.then
            step: Step | None = None
            if then is None:
                step = (_END, "", _no_value, place)
            elif isinstance(what, Element) and not grammar.is_ambiguous:
                step = (_LISTED if production.repeats else _ONE, what.name.local, self.element_reader(what),
                        self._place(then, owner))
            elif isinstance(what, Attribute):
                step = (_ONE, what.name.local, value_reader(what.type, what.name), self._place(then, owner))
            elif production.event is Event.TEXT and grammar.value_type is not None:
                step = (_ONE, TEXT_KEY, value_reader(grammar.value_type, owner), self._place(then, owner))
            if step is not None:
                steps[number_bits(code, state.width)] = step
        place.steps = steps
        return steps

    def _content_reader(self, grammar: Grammar, owner: Name) -> Reader:
        start = self._place(grammar.start, owner)
        prepare = self._prepare
        deviate = self._deviations.read_on

        def read(source: Source, at: int) -> tuple[dict[str, Any], int]:
            bits = source.bits
            here = start
            found: dict[str, Any] = {}
            key = ""
            try:
                while True:
                    steps = here.steps
                    if steps is None:
                        steps = prepare(here, grammar, owner)
                    end = at + here.width
                    step = steps.get(bits[at:end])
                    if step is None:
                        key = ""
                        return deviate(source, at, grammar, here.state, owner, found)
                    action, key, reader, here = step
                    if action == _ONE:
                        found[key], at = reader(source, end)
                    elif action == _END:
                        return found, end
                    else:
                        source.count()
                        value, at = reader(source, end)
                        if key in found:
                            found[key].append(value)
                        else:
                            found[key] = [value]
            except ExiError as fault:
                fault.inside(key)
                raise
        return read

    def _leaf_reader(self, simple: Simple, owner: Name) -> Reader:
        """An element without attributes: one bit before its value, which says that it is as the schema has it, one
        after. Both are part of the table's key where the value has a fixed number of bits.
        """
        grammar = self.grammar(simple)
        deviate = self._deviations.read_on

        def read_deviating(source: Source, at: int) -> tuple[Any, int]:
            found, at = deviate(source, at, grammar, grammar.start, owner, {})
            # xsi:type or xsi:nil may have left it without a value, or with one of another type.
            return checked(simple, found.get(TEXT_KEY)), at

        small, framed = small_values(simple), framed_values(simple)
        if small is not None and framed is not None:
            width = len(next(iter(framed)))

            def read_small(source: Source, at: int) -> tuple[Any, int]:
                end = at + width
                bits = source.bits[at:end]
                if bits in framed:
                    return framed[bits], end
                if bits[:1] == "1" or (len(bits) == width and bits[1:-1] in small):
                    return read_deviating(source, at)
                raise value_fault(bits[1:-1], small, width - 2)
            return read_small
        read_value = value_reader(simple, owner)

        after_value = grammar.start.productions[0].then or grammar.start

        def read(source: Source, at: int) -> tuple[Any, int]:
            bits = source.bits
            if bits[at:at + 1] != "0":
                return read_deviating(source, at)
            value, at = read_value(source, at + 1)
            if bits[at:at + 1] == "0":
                return value, at + 1
            return value, deviate(source, at, grammar, after_value, owner, {TEXT_KEY: value})[1]
        return read


def _no_value(_source: Source, at: int) -> tuple[None, int]:
    return None, at
