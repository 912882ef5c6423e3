"""The string tables of one stream (EXI 1.0, section 7.3): names known beforehand, and strings that it has had."""

from __future__ import annotations

from collections.abc import Iterable

from twin.wire.exi.schema import Name

XML = "http://www.w3.org/XML/1998/namespace"
XSD = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"

# Appendix D.3: names that every schema-informed stream knows beforehand.
BUILT_IN_NAMES = (
    *(Name(local, XML) for local in ("base", "id", "lang", "space")),
    *(Name(local, XSI) for local in ("nil", "type")),
    *(Name(local, XSD) for local in (
        "ENTITIES", "ENTITY", "ID", "IDREF", "IDREFS", "NCName", "NMTOKEN", "NMTOKENS", "NOTATION", "Name", "QName",
        "anySimpleType", "anyType", "anyURI", "base64Binary", "boolean", "byte", "date", "dateTime", "decimal",
        "double", "duration", "float", "gDay", "gMonth", "gMonthDay", "gYear", "gYearMonth", "hexBinary", "int",
        "integer", "language", "long", "negativeInteger", "nonNegativeInteger", "nonPositiveInteger",
        "normalizedString", "positiveInteger", "short", "string", "time", "token", "unsignedByte", "unsignedInt",
        "unsignedLong", "unsignedShort")),
)

_FIRST_URIS = ("", XML, XSI, XSD)


class StringTable:
    """Namespaces and local names that a schema gives beforehand, and what a stream adds to them.

    Values are kept per element or attribute and all together, as a stream may refer to either list.
    """

    __slots__ = ("_local_names", "_uris", "_values", "all_values")

    def __init__(self, uris: tuple[str, ...], local_names: dict[str, tuple[str, ...]]) -> None:
        self._uris: list[str] | tuple[str, ...] = uris
        self._local_names: dict[str, list[str] | tuple[str, ...]] = dict(local_names)
        self._values: dict[Name, list[str]] = {}
        self.all_values: list[str] = []

    @staticmethod
    def initial(uris: Iterable[str], names: Iterable[Name]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """What the tables hold before the first event (appendix D): all that the schema names, sorted."""
        all_uris = (*_FIRST_URIS, *sorted(set(uris) - set(_FIRST_URIS)))
        local_names: dict[str, set[str]] = {uri: set() for uri in all_uris}
        for name in (*BUILT_IN_NAMES, *names):
            local_names[name.uri].add(name.local)
        return all_uris, {uri: tuple(sorted(found)) for uri, found in local_names.items()}

    def uris(self) -> list[str] | tuple[str, ...]:
        """Namespaces known by now."""
        return self._uris

    def add_uri(self, uri: str) -> None:
        """The stream has named a namespace."""
        if isinstance(self._uris, tuple):
            self._uris = list(self._uris)
        self._uris.append(uri)
        self._local_names.setdefault(uri, [])

    def local_names(self, uri: str) -> list[str] | tuple[str, ...]:
        """Local names of `uri` known by now."""
        return self._local_names[uri]

    def add_local_name(self, uri: str, local: str) -> None:
        """The stream has spelled a name."""
        known = self._local_names[uri]
        if isinstance(known, tuple):
            known = self._local_names[uri] = list(known)
        known.append(local)

    def values_of(self, owner: Name) -> list[str]:
        """Strings that the element or attribute `owner` has had."""
        return self._values.get(owner, [])

    def add_value(self, owner: Name, text: str) -> None:
        """The stream has spelled a value of `owner`."""
        self.all_values.append(text)
        self._values.setdefault(owner, []).append(text)
