"""The schema-informed grammar of a type (EXI 1.0, section 8.5.4): its states, and the events that each allows.

A state of an element's content is what the schema still allows: a stack of particles, each with the number of times
that it has occurred. Following an event gives the next stack; equal stacks are one state, made when first reached. So
a list of up to 1024 entries costs nothing until someone sends one.

    sequence(a, b*)   at the start    stack (a, 0), (b, 0)    SE(a)
                      after a         stack (b, 0)            SE(b)  EE
                      after a b       stack (b, 0)            the same state
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TypeAlias

from twin.wire.exi.bits import width_for
from twin.wire.exi.errors import SchemaError
from twin.wire.exi.schema import Attribute, Complex, Element, Group, Kind, Name, Particle, SchemaSet, Simple, Wildcard

Stack: TypeAlias = "tuple[Particle, int, Stack] | None"


class Event(IntEnum):
    """Events in the order in which a state numbers its productions (8.5.4.1.7)."""

    ATTRIBUTE = 0
    ANY_ATTRIBUTE = 1
    ELEMENT = 2
    ANY_ELEMENT = 3
    END = 4
    TEXT = 5


class Deviation(IntEnum):
    """Events that a state allows besides the schema's own, since the standards do not ask for strict (8.5.4.4.1)."""

    END = 0
    TYPE = 1
    NIL = 2
    ANY_ATTRIBUTE = 3
    UNTYPED_ATTRIBUTE = 4
    ANY_ELEMENT = 5
    TEXT = 6


@dataclass(frozen=True, slots=True)
class Production:
    """One event that a state allows, and the state after it.

    what: the attribute or element; None for events without a name.
    repeats: the element may stand more than once in its parent, so that it is a list.
    """

    event: Event
    what: Attribute | Element | None
    then: State | None
    repeats: bool = False

    @property
    def name(self) -> str:
        """The event's key in JSON; empty for those that have none."""
        return self.what.name.local if self.what is not None else ""


class State:
    """A place in a type's grammar.

    is_start: nothing of the element has been read. takes_attributes: no content has been read.
    """

    def __init__(self, grammar: Grammar, attribute: int | None, stack: Stack, *, has_value: bool) -> None:
        self._grammar = grammar
        self._attribute = attribute
        self._stack = stack
        self._has_value = has_value

    @property
    def is_start(self) -> bool:
        return self._attribute == 0

    @property
    def takes_attributes(self) -> bool:
        return self._attribute is not None

    @property
    def after_content(self) -> State:
        """The same place without attributes: where an event that the schema does not know leads from here."""
        return self if self._attribute is None else self._grammar.state(None, self._stack, has_value=self._has_value)

    @cached_property
    def productions(self) -> tuple[Production, ...]:
        """What the schema allows here, in the order of the event codes."""
        return tuple(self._grammar.productions(self._attribute, self._stack, has_value=self._has_value))

    @cached_property
    def width(self) -> int:
        """Bits of an event code here: one number more than productions, which announces a deviation."""
        return width_for(len(self.productions) + 1)

    @cached_property
    def deviations(self) -> tuple[Deviation, ...]:
        """The second part of an event code here, by number."""
        found: list[Deviation] = []
        if all(each.event is not Event.END for each in self.productions):
            found.append(Deviation.END)
        if self.is_start:
            found += [Deviation.TYPE, Deviation.NIL]
        if self.takes_attributes:
            found += [Deviation.ANY_ATTRIBUTE, Deviation.UNTYPED_ATTRIBUTE]
        return (*found, Deviation.ANY_ELEMENT, Deviation.TEXT)


class Grammar:
    """The grammar of one type."""

    def __init__(self, schema: SchemaSet, type_: Simple | Complex) -> None:
        self._schema = schema
        self.type = type_ if isinstance(type_, Complex) else Complex(None, content=type_)
        self._states: dict[tuple[int | None, Stack, bool], State] = {}

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        return self.type.attributes

    @property
    def is_ambiguous(self) -> bool:
        """Whether a fragment has an element here whose name has several types."""
        return self.type is self._schema.ambiguous

    @cached_property
    def start(self) -> State:
        """Where an element of this type begins."""
        content = self.type.content
        stack: Stack = (content, 0, None) if isinstance(content, Particle) else None
        return self.state(0, stack, has_value=isinstance(content, Simple))

    @cached_property
    def empty(self) -> State:
        """Where an element of this type goes on after xsi:nil: attributes, then its end."""
        return self.state(0, None, has_value=False)

    @property
    def value_type(self) -> Simple | None:
        """The type of the element's text, if it is simple."""
        return self.type.content if isinstance(self.type.content, Simple) else None

    def state(self, attribute: int | None, stack: Stack, *, has_value: bool) -> State:
        key = (attribute, stack, has_value)
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = State(self, attribute, stack, has_value=has_value)
        return found

    def productions(self, attribute: int | None, stack: Stack, *, has_value: bool) -> Iterator[Production]:
        if self.type.is_open:
            yield from self._open(attribute)
            return
        if attribute is not None:
            for index in range(attribute, len(self.attributes)):
                yield Production(Event.ATTRIBUTE, self.attributes[index],
                                 self.state(index + 1, stack, has_value=has_value))
                if self.attributes[index].required:
                    return
        if has_value:
            yield Production(Event.TEXT, None, self.state(None, None, has_value=False))
            return
        found: list[Production] = []
        seen: set[Name] = set()
        for term, rest in _firsts(stack):
            found += self._production(term, rest, seen)
        yield from sorted(found, key=lambda each: each.event)
        if self.type.is_mixed:
            yield Production(Event.TEXT, None, self.state(None, stack, has_value=False))

    def _open(self, attribute: int | None) -> Iterator[Production]:
        """Everything: xs:anyType, or what a fragment's ambiguous element may hold (8.5.3)."""
        start, content = self.state(0, None, has_value=False), self.state(None, None, has_value=False)
        schema = self._schema
        if attribute is not None:
            for name in sorted(schema.attributes) if self.is_ambiguous else ():
                found = schema.attributes[name]
                same = all(each.type == found[0].type for each in found)
                type_ = found[0].type if same else Simple(Kind.STRING)
                yield Production(Event.ATTRIBUTE, Attribute(name, type_, required=False), start)
            yield Production(Event.ANY_ATTRIBUTE, None, start)
        for name in sorted(schema.declared) if self.is_ambiguous else ():
            yield Production(Event.ELEMENT, schema.in_fragment(name), content, repeats=True)
        yield Production(Event.ANY_ELEMENT, None, content)
        yield Production(Event.END, None, None)
        yield Production(Event.TEXT, None, content)

    def _production(self, term: Element | Name | Wildcard | None, rest: Stack, seen: set[Name]) -> Iterator[Production]:
        if term is None:
            yield Production(Event.END, None, None)
            return
        then = self.state(None, rest, has_value=False)
        if isinstance(term, Wildcard):
            yield Production(Event.ANY_ELEMENT, None, then)
            return
        for element in (self._schema.substitutes(term) if isinstance(term, tuple) else [term]):
            if element.name in seen:
                raise SchemaError(f"element {element.name.local} stands twice in one state of its parent")
            seen.add(element.name)
            yield Production(Event.ELEMENT, element, then, element.name in self.repeated)

    @cached_property
    def repeated(self) -> frozenset[Name]:
        """Elements that are lists in JSON.

        Such are those that may stand more than once or between text; and all, where one name has two places in the
        type (PGPData): so do the XML bindings that peers use.
        """
        places = self._places
        if self.type.is_mixed or len({each for each, _ in places}) < len(places):
            return frozenset(each for each, _ in places)
        return frozenset(each for each, is_list in places if is_list)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Local names of the type's attributes and elements, which are its keys in JSON, in the schema's order."""
        names = (*(each.name for each in self.attributes), *(each for each, _ in self._places))
        return tuple(dict.fromkeys(each.local for each in names))

    @cached_property
    def names(self) -> frozenset[str]:
        """The same as a set."""
        return frozenset(self.order)

    @cached_property
    def takes_any(self) -> bool:
        """Whether elements may stand in it that its type does not name."""
        content = self.type.content
        return isinstance(content, Particle) and _has_wildcard(content)

    @cached_property
    def _places(self) -> list[tuple[Name, bool]]:
        """Every place of an element in the type, and whether it may be taken more than once."""
        content = self.type.content
        return list(self._places_in(content, is_list=False)) if isinstance(content, Particle) else []

    def _places_in(self, particle: Particle, *, is_list: bool) -> Iterator[tuple[Name, bool]]:
        is_list = is_list or particle.most != 1
        term = particle.term
        if isinstance(term, Group):
            for part in term.parts:
                yield from self._places_in(part, is_list=is_list)
        elif not isinstance(term, Wildcard):
            for element in (self._schema.substitutes(term) if isinstance(term, tuple) else [term]):
                yield element.name, is_list


def _has_wildcard(particle: Particle) -> bool:
    term = particle.term
    return isinstance(term, Wildcard) or (isinstance(term, Group) and any(map(_has_wildcard, term.parts)))


def _is_optional(particle: Particle) -> bool:
    if particle.fewest == 0:
        return True
    if not isinstance(particle.term, Group):
        return False
    gather = any if particle.term.is_choice else all
    return gather(_is_optional(part) for part in particle.term.parts) or not particle.term.parts


def _push(particle: Particle, count: int, rest: Stack) -> Stack:
    """`rest` below a particle that has occurred `count` times; exhausted ones are left out, so that equal is equal."""
    if particle.most is None:
        count = min(count, particle.fewest)
    elif count >= particle.most:
        return rest
    return (particle, count, rest)


def _firsts(stack: Stack) -> Iterator[tuple[Element | Name | Wildcard | None, Stack]]:
    """What may come next, in the schema's order, each with the stack after it; None is the end."""
    while stack is not None:
        particle, count, rest = stack
        yield from _inside(particle.term, _push(particle, count + 1, rest))
        if count < particle.fewest and not _is_optional(particle):
            return
        stack = rest
    yield None, None


def _inside(term: Element | Name | Wildcard | Group, rest: Stack) -> Iterator[tuple[Element | Name | Wildcard, Stack]]:
    if not isinstance(term, Group):
        yield term, rest
        return
    if term.is_choice:
        for part in term.parts:
            yield from _inside(part.term, _push(part, 1, rest))
        return
    for index, part in enumerate(term.parts):
        below = rest
        for later in reversed(term.parts[index + 1:]):
            below = (later, 0, below)
        yield from _inside(part.term, _push(part, 1, below))
        if not _is_optional(part):
            return
