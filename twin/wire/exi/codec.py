"""The codec as its users see it: JSON text in, EXI out, and back, one schema set per protocol namespace."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from twin.wire.exi.errors import SchemaError
from twin.wire.exi.limits import Limits


class Schemas:
    """The schema sets found in one folder, by protocol namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def from_folder(cls, path: Path | str) -> Schemas:
        """Read the XSD files below `path`.

        Raises:
            SchemaError: no schema there, or one that cannot be read.
        """
        return cls(Path(path))


class ExiCodec:
    """EXI 1.0 as ISO 15118 and DIN 70121 use it: bit-packed, schema-informed, default options."""

    def __init__(self, schemas: Schemas, limits: Limits | None = None) -> None:
        self.schemas = schemas
        self.limits = limits or Limits()

    def encode(self, message: str, namespace: str) -> bytes:
        """JSON text `{"MessageName": {...}}` of protocol `namespace` to an EXI stream."""
        raise NotImplementedError

    def decode(self, stream: bytes, namespace: str) -> str:
        """An EXI stream of protocol `namespace` to JSON text."""
        raise NotImplementedError

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
        raise SchemaError("the package iso15118, whose schemas the EXI codec reads, is not installed in this environment")
    return ExiCodec(Schemas.from_folder(Path(spec.submodule_search_locations[0]) / "shared" / "schemas"), limits)
