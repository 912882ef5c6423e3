"""Two environments, one source: the stations run on the wire and the physics alone, with or without ISO 15118 beside.

The room of the wire is the only one that needs the package `iso15118`, which pins a pydantic that the service cannot
live with.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

import twin.station
import twin.wire
from twin.station.fleetfile import encode_fleet

HAS_ISO15118 = find_spec("iso15118") is not None
THE_WIRE = "twin.station.iso15118"
ONLY_IN_THE_SERVICE = ("fastapi", "sqlalchemy", "pydantic-settings", "typer", "structlog", "pyomo", "highspy", "httpx")
ONLY_AT_THE_STATION = ("iso15118", "py4j", "aiofile", "environs")


def modules() -> list[str]:
    found = ["twin.station", "twin.wire"]
    for package in (twin.station, twin.wire):
        found += [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", lambda _: None)]
    return [name for name in found if not name.endswith("__main__") and (HAS_ISO15118 or not name.startswith(THE_WIRE))]


@pytest.mark.parametrize("name", ONLY_IN_THE_SERVICE if HAS_ISO15118 else ONLY_AT_THE_STATION)
def test_what_belongs_to_the_other_environment_is_not_installed_here(name: str) -> None:
    with pytest.raises(PackageNotFoundError):
        distribution(name)


def test_every_module_of_station_and_wire_is_imported_here() -> None:
    names = modules()
    assert any(name.startswith(THE_WIRE) for name in names) is HAS_ISO15118
    assert len(names) > 20
    for name in names:
        importlib.import_module(name)


def test_the_station_pulls_in_nothing_that_is_only_in_one_environment() -> None:
    """In an interpreter of its own: what other tests have imported would hide it."""
    wanted = [name for name in modules() if not name.startswith(THE_WIRE)]
    code = (
        "import importlib, sys\n"
        f"for name in {wanted!r}: importlib.import_module(name)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())
    foreign = {"pydantic", "fastapi", "sqlalchemy", "typer", "pyomo", "highspy", "iso15118", "aggregator", "markets"}
    assert loaded & foreign == set()


def test_each_environment_has_its_own_pydantic() -> None:
    major = int(distribution("pydantic").version.split(".")[0])
    assert major == (1 if HAS_ISO15118 else 2)


if not HAS_ISO15118:  # elsewhere the wire can be had

    def test_a_station_on_the_wire_is_refused_in_one_line_without_the_package(kit: Any, tmp_path: Path) -> None:
        spec = msgspec.structs.replace(kit.station("ocpp2.1"), rail="wire")
        file = tmp_path / "stations.json"
        file.write_bytes(encode_fleet(kit.fleet(spec)))
        told = subprocess.run(
            [sys.executable, "-m", "twin.station", "--fleet", str(file), "--ocpp", "ws://127.0.0.1:9"],
            capture_output=True, text=True, check=False, timeout=60,
        )
        assert told.returncode == 1
        lines = told.stderr.strip().splitlines()
        assert len(lines) == 1
        assert "$.stations[0].rail" in lines[0]
        assert "iso15118" in lines[0]
