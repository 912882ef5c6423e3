"""Feeders that power-grid-model has no words for, from the command line: OpenDSS is the second engine."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aggregator.cli import app
from twin.feeder import Bus, Connection, ConnectionPoint, Feeder, Line, LoadType, Rating, Source
from twin.feeder.on_disk.files import write

pytest.importorskip("dss")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["feeder", *(str(argument) for argument in arguments)])


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A stiff source, a cable, and a customer who is connected from phase to phase."""
    rating = Rating.even(90.0, "a test")
    line = Line.of_sequence("line", "near", "far", r1=0.2, x1=0.1, r0=0.2, x0=0.1, ampacity=rating)
    write(Feeder(
        "a street", (Bus("near", 400.0), Bus("far", 400.0)), (line,), Source("near"), (),
        (ConnectionPoint("across", "far", "ab", 32.0, "delta"),),
        (LoadType("delta", connection=Connection.DELTA),), licence="none", provenance="drawn",
    ), tmp_path / "street")
    return tmp_path / "street"


def test_flow_asks_opendss(street: Path, tmp_path: Path) -> None:
    (tmp_path / "loads.csv").write_text("time,across\n2026-05-01T10:00:00Z,3000\n2026-05-01T10:15:00Z,9000\n")
    result = run("flow", street, "--loads", tmp_path / "loads.csv")
    assert result.exit_code == 0, result.output
    assert "second engine (OpenDSS): agrees over 2 steps" in result.output
    told = json.loads(run("flow", street, "--loads", tmp_path / "loads.csv", "--json").output)["second_engine"]
    assert (told["engine"], told["checked"], told["agrees"]) == ("OpenDSS", True, True)


def test_envelope_asks_opendss(street: Path, tmp_path: Path) -> None:
    result = run("envelope", street, "-o", tmp_path / "envelope.json", "--unbalance", "0", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)["second_engine"]
    assert (told["engine"], told["checked"], told["agrees"]) == ("OpenDSS", True, True)
