"""Encode one element after another; keys may come in any order, since the schema says which goes first.

Only what the schemas foresee is written, and every string in full: that is what peers write, and what signatures over
EXI need, where two encodings of one message would be two messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twin.wire.exi.deviations import TEXT_KEY
from twin.wire.exi.errors import ExiError, InvalidValue, UnknownMessage
from twin.wire.exi.grammar import Event, Grammar, State
from twin.wire.exi.schema import Attribute, Complex, Element, Kind, SchemaSet, Simple
from twin.wire.exi.values import Writer, value_writer

ElementWriter = Callable[[Any, list[str]], None]


class Place:
    """A grammar's state made ready for encoding: bits, writer and next place by JSON key; `end` are the end's bits."""

    __slots__ = ("end", "state", "steps")

    def __init__(self, state: State) -> None:
        self.state = state
        self.steps: dict[str, tuple[str, ElementWriter, Place]] | None = None
        self.end: str | None = None


class Encoder:
    """Writers for the elements of one schema set, made on first use and kept."""

    def __init__(self, schema: SchemaSet) -> None:
        self._schema = schema
        self._writers: dict[int, ElementWriter] = {}
        self._places: dict[State, Place] = {}

    def element_writer(self, element: Element) -> ElementWriter:
        """Writes the content of `element`, from after its start to its end."""
        type_ = self._schema.type_of(element)
        found = self._writers.get(id(type_))
        if found is None:
            if isinstance(type_, Complex):
                found = self._content_writer(Grammar(self._schema, type_))
            else:
                found = _leaf_writer(value_writer(type_))
            self._writers[id(type_)] = found
        return found

    def _place(self, state: State) -> Place:
        found = self._places.get(state)
        if found is None:
            found = self._places[state] = Place(state)
        return found

    def _prepare(self, place: Place, grammar: Grammar) -> dict[str, tuple[str, ElementWriter, Place]]:
        state = place.state
        steps: dict[str, tuple[str, ElementWriter, Place]] = {}
        for code, production in enumerate(state.productions):
            bits, what, then = f"{code:0{state.width}b}", production.what, production.then
            if then is None:
                place.end = bits
            elif isinstance(what, Element):
                steps[what.name.local] = (bits, self.element_writer(what), self._place(then))
            elif isinstance(what, Attribute):
                steps[what.name.local] = (bits, _bare_writer(value_writer(what.type)), self._place(then))
            elif production.event is Event.TEXT and (grammar.value_type is not None or grammar.is_ambiguous):
                text = value_writer(grammar.value_type or Simple(Kind.STRING))
                steps[TEXT_KEY] = (bits, _bare_writer(text), self._place(then))
        place.steps = steps
        return steps

    def _content_writer(self, grammar: Grammar) -> ElementWriter:
        start = self._place(grammar.start)
        prepare = self._prepare
        rank = {TEXT_KEY: -1}

        def in_order(value: dict[str, Any]) -> dict[str, Any]:
            """The same object with its keys in the schema's order."""
            if len(rank) == 1:
                for name in grammar.order:
                    rank.setdefault(name, len(rank))
            unknown = [key for key, item in value.items() if key not in rank and item is not None]
            if unknown:
                raise UnknownMessage(f"{unknown[0]} is not foreseen here, expected {', '.join(grammar.order)}")
            return dict(sorted(value.items(), key=lambda item: rank.get(item[0], 0)))

        def write_items(value: dict[str, Any], parts: list[str]) -> bool:
            here = start
            for key, item in value.items():
                if item is None:
                    continue
                for each in item if type(item) is list else (item,):
                    steps = here.steps
                    if steps is None:
                        steps = prepare(here, grammar)
                    step = steps.get(key)
                    if step is None:
                        return False
                    bits, writer, here = step
                    parts.append(bits)
                    try:
                        writer(each, parts)
                    except ExiError as fault:
                        fault.inside(key)
                        raise
            if here.steps is None:
                prepare(here, grammar)
            if here.end is None:
                return False
            parts.append(here.end)
            return True

        def write(value: Any, parts: list[str]) -> None:
            if type(value) is not dict:
                raise InvalidValue(f"{value!r:.80}, expected an object")
            mark = len(parts)
            if not write_items(value, parts):
                del parts[mark:]
                ordered = in_order(value)
                if not write_items(ordered, parts):
                    raise InvalidValue(_why(start, ordered, grammar))
        return write


def _why(start: Place, value: dict[str, Any], grammar: Grammar) -> str:
    """What an object whose keys are all known and in order lacks, or has too much of."""
    state = start.state
    for key, item in value.items():
        for _ in () if item is None else item if type(item) is list else (item,):
            then = next((each.then for each in state.productions if each.name == key), None)
            if then is None:
                return f"{key} may not stand here{' again' if key in grammar.names else ''}, expected {_expected(state)}"
            state = then
    return f"incomplete, expected {_expected(state)}"


def _expected(state: State) -> str:
    return " or ".join(each.name or "the end" for each in state.productions)


def _leaf_writer(write_value: Writer) -> ElementWriter:
    def write(value: Any, parts: list[str]) -> None:
        parts.append(f"0{write_value(value)}0")
    return write


def _bare_writer(write_value: Writer) -> ElementWriter:
    def write(value: Any, parts: list[str]) -> None:
        parts.append(write_value(value))
    return write
