"""The codec as its users see it: JSON text in, EXI out, and back, one set of grammars per protocol namespace."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import msgspec

from twin.wire.exi.errors import InvalidValue, LimitExceeded, SchemaError, UnknownMessage
from twin.wire.exi.limits import Limits
from twin.wire.exi.stream import Protocol
from twin.wire.exi.xsd import read_schema, read_target

_SIGNATURES = "http://www.w3.org/2000/09/xmldsig#"


class Schemas:
    """The protocols whose XSD files one folder holds, by namespace; each is read when it is first asked for."""

    def __init__(self, files: dict[str, Path], *, checks_lengths: bool = True) -> None:
        self._files = files
        self._checks_lengths = checks_lengths
        self._protocols: dict[str, Protocol] = {}

    @classmethod
    def from_folder(cls, path: Path | str) -> Schemas:
        """Find the XSD files in `path` and below.

        Raises:
            SchemaError: no schema there, or one that cannot be read.
        """
        files = {read_target(each): each for each in sorted(Path(path).rglob("*.xsd"))}
        if not files:
            raise SchemaError(f"{path}: no XSD file there, expected the folder of the ISO 15118 and DIN 70121 schemas")
        return cls(files)

    def without_lengths(self) -> Schemas:
        """The same with texts and binary values of any length, to look at messages that depart from the schemas there.

        No bit of a message depends on these lengths, so that many peers never check them. For messages only: whether
        two types of one name are the same, which fragments ask (EXI 1.0, 8.5.3), may depend on them.
        """
        return Schemas(self._files, checks_lengths=False)

    @property
    def namespaces(self) -> list[str]:
        """Namespaces that can be encoded and decoded."""
        return sorted(self._files)

    def protocol(self, namespace: str) -> Protocol:
        """The grammars of `namespace`.

        Raises:
            UnknownMessage: no file of the folder declares that namespace.
        """
        found = self._protocols.get(namespace)
        if found is None:
            path = self._files.get(namespace)
            if path is None:
                raise UnknownMessage(f"namespace {namespace!r:.120}, expected one of {', '.join(self.namespaces)}")
            found = self._protocols[namespace] = Protocol(
                read_schema(path, self._find, checks_lengths=self._checks_lengths))
        return found

    def _find(self, importer: Path, location: str) -> Path:
        """The file that `importer` names: beside it, or where the folder has it (xmldsig is one for all)."""
        name = location.rpartition("/")[2]
        beside = importer.parent / name
        if beside.is_file():
            return beside
        for path in self._files.values():
            if path.name == name:
                return path
        raise SchemaError(f"{importer}: imports {location}, which is not in the folder")


class ExiCodec:
    """EXI 1.0 as ISO 15118 and DIN 70121 use it: bit-packed, schema-informed, default options.

    A drop-in for the codec interface of the package `iso15118`: binary values are base64 or hexadecimal text as their
    schema types say, elements that may repeat are lists, an element's text beside attributes is its key `value`.
    """

    def __init__(self, schemas: Schemas, limits: Limits | None = None) -> None:
        self.schemas = schemas
        self.limits = limits or Limits()

    def encode(self, message: str, namespace: str) -> bytes:
        """JSON text `{"MessageName": {...}}` of protocol `namespace` to an EXI stream.

        Raises:
            UnknownMessage, InvalidValue: the text is not JSON, or not a message that the schema allows.
        """
        try:
            content = msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
            raise InvalidValue(f"the message is not JSON: {fault}") from None
        return self.encode_message(content, namespace)

    def encode_message(self, message: Any, namespace: str) -> bytes:
        """The same from an object of dicts, lists, strings, numbers and booleans."""
        return self.schemas.protocol(namespace).encode(message)

    def decode(self, stream: bytes, namespace: str) -> str:
        """An EXI stream of protocol `namespace` to JSON text.

        Raises:
            Truncated, Malformed, TrailingBits, LimitExceeded, InvalidValue: the stream is not such a message.
            UnknownMessage: there is no such namespace.
        """
        message = self.decode_message(stream, namespace)
        try:
            return msgspec.json.encode(message).decode()
        except RecursionError:
            raise LimitExceeded("elements nested deeper than JSON can be written") from None

    def decode_message(self, stream: bytes, namespace: str) -> dict[str, Any]:
        """The same to an object; signatures' own namespace holds fragments, all others documents."""
        protocol = self.schemas.protocol(namespace)
        return protocol.decode(stream, self.limits, is_fragment=namespace == _SIGNATURES)

    def decode_fragment(self, stream: bytes, namespace: str) -> dict[str, Any]:
        """A fragment, as signatures are made over: a part of a message that stands alone."""
        return self.schemas.protocol(namespace).decode(stream, self.limits, is_fragment=True)

    def get_version(self) -> str:
        """Name and version of this codec."""
        return "v2g-aggregator EXI 1.0"


def installed_codec(limits: Limits | None = None) -> ExiCodec:
    """The codec over the schemas inside the installed package `iso15118`, which is found but not imported.

    Raises:
        SchemaError: the package is not installed in this environment.
    """
    spec = importlib.util.find_spec("iso15118")
    if spec is None or not spec.submodule_search_locations:
        raise SchemaError("the package iso15118, whose schemas the codec reads, is not installed in this environment")
    return ExiCodec(Schemas.from_folder(Path(spec.submodule_search_locations[0]) / "shared" / "schemas"), limits)
