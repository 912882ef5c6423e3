"""Random messages that a schema allows: what the codec is examined with, against itself and against others."""

from __future__ import annotations

from base64 import b64encode
from random import Random
from typing import Any

from twin.wire.exi.grammar import Event, Grammar, Production, State
from twin.wire.exi.schema import Attribute, Complex, Element, Kind, SchemaSet, Simple

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/#&<>'\"éßΩ漢😀"
_LONGEST = 40
_CHOICE = 0.95  # how likely one of several alternatives is there, where none need be
_BITS = 80  # of an integer without bounds


class Samples:
    """Draws messages; equal seeds draw equal ones.

    always: local names of optional elements that every message has, for peers that cannot leave them out.
    length: how likely an optional element or one more list entry is, 0..1.
    with_empty: whether texts and binary values may be empty.
    """

    def __init__(self, schema: SchemaSet, seed: int, always: frozenset[str] = frozenset(), length: float = 0.5,
                 *, with_empty: bool = True) -> None:
        self._schema = schema
        self._random = Random(seed)
        self._always = always
        self._length = length
        self._shortest = 0 if with_empty else 1
        self._grammars: dict[int, Grammar] = {}
        self._turns: dict[tuple[State, str], int] = {}

    def element(self, element: Element) -> Any:
        """Content of `element`, in the shape of its JSON."""
        type_ = self._schema.type_of(element)
        if isinstance(type_, Simple):
            return self.value(type_)
        grammar = self._grammars.get(id(type_))
        if grammar is None:
            grammar = self._grammars[id(type_)] = Grammar(self._schema, type_)
        return self._content(grammar)

    def _content(self, grammar: Grammar) -> dict[str, Any]:
        found: dict[str, Any] = {}
        state = grammar.start
        while True:
            production = self._choose(state, grammar)
            what, then = production.what, production.then
            if then is None:
                return found
            if isinstance(what, Element):
                content = self.element(what)
                if production.repeats:
                    found.setdefault(what.name.local, []).append(content)
                else:
                    found[what.name.local] = content
            elif isinstance(what, Attribute):
                found[what.name.local] = self.value(what.type)
            elif grammar.value_type is not None:
                found["value"] = self.value(grammar.value_type)
            state = then

    def _choose(self, state: State, grammar: Grammar) -> Production:
        can = [each for each in state.productions if self._is_drawn(each, grammar)]
        for index, each in enumerate(can):
            if each.name in self._always:
                can = can[:index + 1]
        *some, last = self._alternatives(can)
        is_list = any(each.repeats for each in can)
        if is_list and last[0].event is Event.END and self._random.random() > self._length:
            return last[0]
        group = next((each for each in some if self._random.random() < (self._length if len(each) == 1 else _CHOICE)),
                     last)
        key = (state, group[0].name)
        turn = self._turns[key] = self._turns.get(key, -1) + 1
        return group[turn % len(group)]

    @staticmethod
    def _alternatives(productions: list[Production]) -> list[list[Production]]:
        """Those that lead to the same place: one of them is taken, each in its turn, so that none is left out."""
        groups: dict[State | None, list[Production]] = {}
        for each in productions:
            groups.setdefault(each.then, []).append(each)
        return list(groups.values())

    def _is_drawn(self, production: Production, grammar: Grammar) -> bool:
        if production.event is Event.ANY_ELEMENT:
            return False
        if production.event is Event.TEXT:
            return grammar.value_type is not None
        what = production.what
        if not isinstance(what, Element):
            return True
        type_ = self._schema.type_of(what)
        return not (what.is_abstract or (isinstance(type_, Complex) and type_.is_abstract))

    def value(self, simple: Simple) -> Any:
        """A value of `simple`, often at its bounds."""
        draw = self._random
        if simple.kind is Kind.BOOLEAN:
            return draw.choice((False, True))
        if simple.kind is Kind.ENUMERATION:
            return draw.choice(simple.values)
        if simple.kind is Kind.INTEGER:
            low = -2**_BITS if simple.low is None else simple.low
            high = 2**_BITS if simple.high is None else simple.high
            near = draw.choice((low, high, low + 1, high - 1, 0, 1, -1, 127, 128, draw.randint(low, high),
                                draw.randint(-2**draw.randint(1, 16), 2**draw.randint(1, 16))))
            return min(max(near, low), high)
        longest = min(_LONGEST if simple.longest is None else simple.longest, max(simple.shortest, _LONGEST))
        shortest = max(simple.shortest, self._shortest)
        length = draw.choice((shortest, longest, draw.randint(shortest, longest)))
        if simple.kind is Kind.STRING:
            return "".join(draw.choices(_LETTERS, k=length))
        octets = draw.randbytes(length)
        return octets.hex().upper() if simple.kind is Kind.HEX else b64encode(octets).decode()
