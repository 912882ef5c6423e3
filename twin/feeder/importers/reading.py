"""Which reader a path needs: by the name of a file, by what stands in a folder, by what a JSON file says it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from twin.feeder.importers.csv_tables import TABLES, read_tables
from twin.feeder.importers.folder import read_folder
from twin.feeder.importers.imported import Imported, ImportRefused
from twin.feeder.importers.opendss import read_opendss
from twin.feeder.importers.pandapower import read_pandapower
from twin.feeder.importers.pgm_grid import read_pgm
from twin.feeder.on_disk.pgm_json import FeederFileError

EXPECTED = (
    "a folder with grid.json and feeder.json, a folder with bus.csv, line.csv, transformer.csv and connection.csv, "
    "an OpenDSS .dss file, or the JSON of pandapower or power-grid-model"
)


class _Head(msgspec.Struct):
    """What tells the two kinds of JSON apart."""

    module: str | None = msgspec.field(default=None, name="_module")
    attributes: Any = None
    is_batch: bool | None = None


def read_feeder(path: Path) -> Imported:
    """Read a feeder in any format that is known, picked by what `path` is.

    Raises:
        ImportRefused: no feeder can be made of it; all reasons at once, each with its file and line or field.
    """
    try:
        if path.is_dir():
            return read_tables(path) if any((path / name).is_file() for name in TABLES) else read_folder(path)
        if not path.exists():
            raise ImportRefused(path, f"{path}: no such file, expected {EXPECTED}")
        suffix = path.suffix.lower()
        if suffix == ".dss":
            return read_opendss(path)
        if suffix == ".csv" and path.name in TABLES:
            return read_tables(path.parent)
        if suffix == ".json":
            return _read_json(path)
    except FeederFileError as error:
        raise ImportRefused(path, str(error)) from None
    except OSError as error:
        raise ImportRefused(path, f"{path}: {error.strerror or error}") from None
    raise ImportRefused(path, f"{path}: not a feeder by its name, expected {EXPECTED}")


def _read_json(path: Path) -> Imported:
    try:
        head = msgspec.json.decode(path.read_bytes(), type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImportRefused(path, f"{path}: {error}, expected {EXPECTED}") from None
    if head.module is not None:
        return read_pandapower(path)
    if head.is_batch is None and head.attributes is None:
        raise ImportRefused(path, f"{path}: neither `_module` (pandapower) nor `is_batch` (power-grid-model), "
                            f"expected {EXPECTED}")
    if path.name == "grid.json" and (path.parent / "feeder.json").is_file():
        return read_folder(path.parent)
    return read_pgm(path)
