"""Read XSD files into a `SchemaSet`.

The files are part of an installed package, hence trusted; the standard library's parser reads them.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from twin.wire.exi.errors import SchemaError
from twin.wire.exi.schema import Attribute, Complex, Element, Group, Kind, Name, Particle, SchemaSet, Simple, Wildcard
from twin.wire.exi.strings import XSD


def _integer(low: int | None, high: int | None) -> Simple:
    return Simple(Kind.INTEGER, low, high)


# EXI 1.0, table 7-1: what the built-in types are written as. Others are not used by the charging protocols.
BUILT_IN: dict[str, Simple | Complex] = {
    **dict.fromkeys(("string", "normalizedString", "token", "anyURI", "ID", "IDREF", "NCName", "Name", "NMTOKEN",
                     "language"), Simple(Kind.STRING)),
    "base64Binary": Simple(Kind.BASE64),
    "hexBinary": Simple(Kind.HEX),
    "boolean": Simple(Kind.BOOLEAN),
    "integer": _integer(None, None),
    "nonNegativeInteger": _integer(0, None),
    "positiveInteger": _integer(1, None),
    "byte": _integer(-2**7, 2**7 - 1),
    "short": _integer(-2**15, 2**15 - 1),
    "int": _integer(-2**31, 2**31 - 1),
    "long": _integer(-2**63, 2**63 - 1),
    "unsignedByte": _integer(0, 2**8 - 1),
    "unsignedShort": _integer(0, 2**16 - 1),
    "unsignedInt": _integer(0, 2**32 - 1),
    "unsignedLong": _integer(0, 2**64 - 1),
    "anyType": Complex(Name("anyType", XSD), is_open=True),
}

# Facets that only describe the text, which EXI and this codec leave as it is.
_IGNORED = {"annotation", "whiteSpace"}
_LENGTHS = {"length", "minLength", "maxLength"}


class _File:
    """One XSD file: its tree, its prefixes and what its names resolve to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.prefixes: dict[str, str] = {}
        try:
            for event, item in ET.iterparse(path, events=("start-ns", "end")):  # noqa: S314 - an installed file
                if event == "start-ns":
                    self.prefixes.setdefault(item[0], item[1])
                else:
                    self.root: ET.Element = item
        except (OSError, ET.ParseError) as fault:
            raise SchemaError(f"{path}: not readable as an XML schema: {fault}") from fault
        if self.root.tag != f"{{{XSD}}}schema":
            raise SchemaError(f"{path}: the root element is {self.root.tag}, expected an XML schema")
        self.target: str = self.root.get("targetNamespace", "")
        self.qualifies_elements = self.root.get("elementFormDefault") == "qualified"
        self.qualifies_attributes = self.root.get("attributeFormDefault") == "qualified"

    def name(self, text: str) -> Name:
        prefix, _, local = text.rpartition(":")
        if prefix and prefix not in self.prefixes:
            raise SchemaError(f"{self.path}: {text} has an undeclared prefix")
        return Name(local, self.prefixes.get(prefix, ""))

    def error(self, node: ET.Element, what: str) -> SchemaError:
        return SchemaError(f"{self.path}: {what} in {node.get('name') or _tag(node)}: not supported by this codec")


def read_target(path: Path) -> str:
    """The target namespace of the schema file `path`."""
    return _File(path).target


def read_schema(path: Path, find: Callable[[Path, str], Path], *, checks_lengths: bool = True) -> SchemaSet:
    """The schema in `path` with all that it imports.

    find: where the file is that one file names to import from another: (importing file, location) -> path.
    checks_lengths: keep the lengths of texts and binary values, on which no bit of a message depends.

    Raises:
        SchemaError: a file is missing, is not a schema, or uses what the codec does not implement.
    """
    files: dict[Path, _File] = {}
    todo = [path]
    while todo:
        here = todo.pop().resolve()
        if here in files:
            continue
        files[here] = _File(here)
        todo += [find(here, node.get("schemaLocation", "")) for node in _children(files[here].root, "import")]
    return _Reader(list(files.values()), files[path.resolve()].target, checks_lengths=checks_lengths).read()


class _Reader:
    def __init__(self, files: list[_File], namespace: str, *, checks_lengths: bool) -> None:
        self._files = files
        self._checks_lengths = checks_lengths
        self._set = SchemaSet(namespace)
        self._type_nodes: dict[Name, tuple[_File, ET.Element]] = {}
        self._reading: set[Name] = set()

    def read(self) -> SchemaSet:
        for file in self._files:
            self._set.uris.add(file.target)
            for node in _children(file.root, "complexType", "simpleType"):
                self._type_nodes[self._note(file, node)] = (file, node)
        for file in self._files:
            for node in _children(file.root, "element"):
                element = self._element(file, node, is_global=True)
                self._set.elements[element.name] = element
                if element.head is not None:
                    self._set.members.setdefault(element.head, []).append(element)
        for name in self._type_nodes:
            self._type(name)
        return self._set

    def _note(self, file: _File, node: ET.Element) -> Name:
        name = Name(node.get("name", ""), file.target)
        self._set.names.add(name)
        return name

    def _type(self, name: Name) -> Simple | Complex:
        if name.uri == XSD:
            if name.local not in BUILT_IN:
                raise SchemaError(f"the type xs:{name.local} is not supported by this codec")
            return self._set.types.setdefault(name, BUILT_IN[name.local])
        if name in self._set.types:
            return self._set.types[name]
        if name not in self._type_nodes:
            raise SchemaError(f"the schemas refer to type {name.local} of {name.uri}, and do not declare it")
        if name in self._reading:
            raise SchemaError(f"type {name.local} of {name.uri} is derived from itself")
        self._reading.add(name)
        file, node = self._type_nodes[name]
        found = self._simple(file, node) if _tag(node) == "simpleType" else self._complex(file, node, name)
        self._reading.discard(name)
        self._set.types[name] = found
        return found

    def _simple(self, file: _File, node: ET.Element) -> Simple:
        for child in _children(node):
            if _tag(child) != "restriction":
                raise file.error(node, f"simple type by {_tag(child)}")
            base = self._type(file.name(child.get("base", "")))
            if not isinstance(base, Simple):
                raise file.error(node, "restriction of a complex type")
            return self._restricted(file, child, base)
        raise file.error(node, "simple type without content")

    def _restricted(self, file: _File, node: ET.Element, base: Simple) -> Simple:
        values = tuple(each.get("value", "") for each in _children(node, "enumeration"))
        if values:
            if base.kind is not Kind.STRING:
                raise file.error(node, f"enumeration of {base.kind.value}")
            return replace(base, kind=Kind.ENUMERATION, values=values)
        for facet in _children(node):
            tag, value = _tag(facet), facet.get("value", "")
            if tag == "minInclusive":
                base = replace(base, low=int(value))
            elif tag == "maxInclusive":
                base = replace(base, high=int(value))
            elif tag in _LENGTHS and not self._checks_lengths:
                continue
            elif tag == "length":
                base = replace(base, shortest=int(value), longest=int(value))
            elif tag == "minLength":
                base = replace(base, shortest=int(value))
            elif tag == "maxLength":
                base = replace(base, longest=int(value))
            elif tag not in _IGNORED:
                raise file.error(node, f"facet {tag}")
        return base

    def _complex(self, file: _File, node: ET.Element, name: Name | None) -> Complex:
        is_mixed, is_abstract = node.get("mixed") == "true", node.get("abstract") == "true"
        attributes: list[Attribute] = []
        content: Simple | Particle | None = None
        bases: tuple[Name, ...] = ()
        body = node
        for child in _children(node, "complexContent", "simpleContent"):
            extensions = list(_children(child, "extension"))
            if len(extensions) != 1:
                raise file.error(node, "derivation by restriction")
            body = extensions[0]
            base_name = file.name(body.get("base", ""))
            base = self._type(base_name)
            if isinstance(base, Simple):
                content = base
            else:
                attributes, content = list(base.attributes), base.content
                is_mixed, bases = is_mixed or base.is_mixed, (base_name, *base.bases)
        own = self._content(file, body)
        if own is not None:
            if isinstance(content, Simple):
                raise file.error(node, "elements in simple content")
            content = own if content is None else Particle(Group((content, own), is_choice=False))
        attributes += [self._attribute(file, each) for each in _children(body, "attribute")]
        return Complex(name, tuple(sorted(attributes, key=lambda each: each.name)), content, is_mixed, is_abstract,
                       bases)

    def _content(self, file: _File, node: ET.Element) -> Particle | None:
        found = None
        for child in _children(node):
            tag = _tag(child)
            if tag in {"sequence", "choice"}:
                found = self._particle(file, child)
            elif tag not in {"attribute", "annotation", "complexContent", "simpleContent"}:
                raise file.error(node, tag)
        return found

    def _particle(self, file: _File, node: ET.Element) -> Particle:
        most_text = node.get("maxOccurs", "1")
        fewest, most = int(node.get("minOccurs", "1")), None if most_text == "unbounded" else int(most_text)
        tag = _tag(node)
        term: Element | Name | Wildcard | Group
        if tag in {"sequence", "choice"}:
            parts = tuple(self._particle(file, each) for each in _children(node) if _tag(each) != "annotation")
            term = Group(parts, is_choice=tag == "choice")
        elif tag == "any":
            if node.get("namespace", "##any") not in {"##any", "##other"}:
                raise file.error(node, "xs:any of named namespaces")
            term = Wildcard()
        elif tag == "element":
            term = file.name(node.get("ref", "")) if "ref" in node.attrib else self._element(file, node,
                                                                                             is_global=False)
        else:
            raise file.error(node, tag)
        return Particle(term, fewest, most)

    def _element(self, file: _File, node: ET.Element, *, is_global: bool) -> Element:
        for option in ("nillable", "default", "fixed", "form"):
            if option in node.attrib:
                raise file.error(node, option)
        is_qualified = is_global or file.qualifies_elements
        name = Name(node.get("name", ""), file.target if is_qualified else "")
        anonymous: Simple | Complex | None = None
        type_name = file.name(node.get("type", "")) if "type" in node.attrib else None
        if type_name is None:
            for child in _children(node, "complexType"):
                anonymous = self._complex(file, child, None)
            for child in _children(node, "simpleType"):
                anonymous = self._simple(file, child)
            if anonymous is None:
                raise file.error(node, "element without type")
        elif type_name.uri == XSD:
            self._type(type_name)
        head = file.name(node.get("substitutionGroup", "")) if "substitutionGroup" in node.attrib else None
        element = Element(name, type_name, anonymous, node.get("abstract") == "true", head)
        self._set.declared.setdefault(name, []).append(element)
        self._set.names.add(name)
        return element

    def _attribute(self, file: _File, node: ET.Element) -> Attribute:
        for option in ("ref", "default", "fixed", "form"):
            if option in node.attrib:
                raise file.error(node, f"attribute with {option}")
        name = Name(node.get("name", ""), file.target if file.qualifies_attributes else "")
        if "type" in node.attrib:
            kind = self._type(file.name(node.get("type", "")))
        else:
            inline = next(_children(node, "simpleType"), None)
            kind = self._simple(file, inline) if inline is not None else Simple(Kind.STRING)
        if not isinstance(kind, Simple):
            raise file.error(node, "attribute of a complex type")
        self._set.names.add(name)
        attribute = Attribute(name, kind, node.get("use") == "required")
        self._set.attributes.setdefault(name, []).append(attribute)
        return attribute


def _tag(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]


def _children(node: ET.Element, *tags: str) -> Iterator[ET.Element]:
    """Children in the XML Schema namespace."""
    for child in node:
        if child.tag.startswith(f"{{{XSD}}}") and (not tags or _tag(child) in tags):
            yield child
