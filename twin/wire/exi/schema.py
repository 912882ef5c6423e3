"""What a set of XSD files declares: elements, types and particles, as far as the charging protocols use XML Schema.

Anything else in a schema file (unions, lists, groups, complex restrictions, patterns) is refused with its name: a
grammar that left it out would still decode, and decode wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

UNBOUNDED = None


class Name(NamedTuple):
    """A qualified name; in EXI's order, which is by local name first."""

    local: str
    uri: str


class Kind(Enum):
    """How EXI represents a simple value (EXI 1.0, 7.1)."""

    STRING = "string"
    BASE64 = "base64Binary"
    HEX = "hexBinary"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    ENUMERATION = "enumeration"


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple type with the facets that the protocols use.

    low, high: inclusive bounds of an integer, None where it has none.
    shortest, longest: characters of a string, octets of a binary value.
    values: of an enumeration, in the schema's order.
    """

    kind: Kind
    low: int | None = None
    high: int | None = None
    shortest: int = 0
    longest: int | None = None
    values: tuple[str, ...] = ()



@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a complex type."""

    name: Name
    type: Simple
    required: bool


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    """An element declaration; its type is looked up when it is needed, because types refer to each other.

    head: the element whose place it may take (substitution group).
    """

    name: Name
    type_name: Name | None
    anonymous: Simple | Complex | None
    is_abstract: bool = False
    head: Name | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Wildcard:
    """xs:any: EXI writes all of the protocols' wildcards (##any, ##other) alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A sequence, or a choice between its parts."""

    parts: tuple[Particle, ...]
    is_choice: bool


@dataclass(frozen=True, slots=True, eq=False)
class Particle:
    """Something that occurs `fewest` to `most` times (None: without bound); an element reference is its name."""

    term: Element | Name | Wildcard | Group
    fewest: int = 1
    most: int | None = 1


@dataclass(frozen=True, slots=True, eq=False)
class Complex:
    """A complex type: attributes in EXI's order, then simple content, elements, or nothing.

    is_mixed: text may stand between the elements.
    is_open: everything may stand anywhere: xs:anyType, and what a fragment holds of elements with several types.
    """

    name: Name | None
    attributes: tuple[Attribute, ...] = ()
    content: Simple | Particle | None = None
    is_mixed: bool = False
    is_abstract: bool = False
    bases: tuple[Name, ...] = ()
    is_open: bool = False


@dataclass(slots=True)
class SchemaSet:
    """One protocol's schema with all that it imports.

    elements: global declarations; declared, attributes: every declaration, local ones too, by name.
    names: every name of an element, attribute or type, for the string tables.
    """

    namespace: str
    elements: dict[Name, Element] = field(default_factory=dict)
    declared: dict[Name, list[Element]] = field(default_factory=dict)
    types: dict[Name, Simple | Complex] = field(default_factory=dict)
    attributes: dict[Name, list[Attribute]] = field(default_factory=dict)
    names: set[Name] = field(default_factory=set)
    uris: set[str] = field(default_factory=set)
    members: dict[Name, list[Element]] = field(default_factory=dict)

    ambiguous: Complex = field(default_factory=lambda: Complex(None, is_open=True))

    def in_fragment(self, name: Name) -> Element:
        """The element `name` where nothing says which of its declarations is meant (8.5.3)."""
        found = self.declared[name]
        types = {id(self.type_of(each)) for each in found}
        return found[0] if len(types) == 1 else Element(name, None, self.ambiguous)

    def type_of(self, element: Element) -> Simple | Complex:
        """The type of `element`."""
        if element.type_name is not None:
            return self.types[element.type_name]
        if element.anonymous is None:
            raise TypeError(f"element {element.name.local} has no type")
        return element.anonymous

    def substitutes(self, name: Name) -> list[Element]:
        """The elements that may stand where `name` is referred to, in EXI's order (8.5.4.1.6)."""
        found = {name: self.elements[name]}
        todo = [name]
        while todo:
            for member in self.members.get(todo.pop(), ()):
                if member.name not in found:
                    found[member.name] = member
                    todo.append(member.name)
        return [found[each] for each in sorted(found)]
