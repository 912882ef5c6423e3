"""Which of the demo's cars are on the wire, what is said of them, and what happens without the stations' Python."""

from pathlib import Path
from typing import Any

import pytest

from aggregator.demo.scene import Scene, load_scene
from aggregator.demo.wire import ON_THE_WIRE, WireLog, chosen, wire_plan
from twin.scenario import resource_path


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(resource_path("workplace_caltech.toml"))


def test_the_cars_on_the_wire_are_there_for_the_whole_event_and_can_discharge(scene: Scene) -> None:
    stations = chosen(scene)
    assert len(stations) == ON_THE_WIRE
    event, by_id = scene.tables.signals.event, {s.id: s for s in scene.scenario.public().stations}
    for name in stations:
        station = by_id[name]
        assert station.protocol == "ocpp2.1"
        assert station.evse.max_discharge_kw > 0
        assert [
            visit for visit in scene.scenario.truth().visits
            if visit.evse_id == station.evse.id and visit.arrival < event.start and visit.departure > event.end
            and visit.vehicle.max_discharge_kw > 0
        ]


def test_without_the_stations_python_all_are_on_the_fast_rail_and_it_is_said(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("V2G_STATION_PYTHON", str(tmp_path / "none"))
    plan = wire_plan(scene)
    assert plan.stations == frozenset()
    assert plan.missing.startswith("V2G_STATION_PYTHON")
    assert plan.interpreter.is_file()


def line(kind: str, station_id: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "station_id": station_id, **more}


def test_only_chargers_that_really_held_sessions_are_told_of_also_after_an_interruption(
    scene: Scene, tmp_path: Path
) -> None:
    log = WireLog(tmp_path / "wire.jsonl")
    words = {"language": "ISO 15118-20", "transfer": "DC_BPT", "control": "DynamicControl"}
    log.take(line("session_charges", "CA-311", setup_s=0.05, **words))
    log.take(line("session_broke", "CA-311", detail="x"))
    log.take(line("session_charges", "CA-311", setup_s=0.02, **words))
    log.take(line("session_broke", "CA-312", detail="it never charged"))
    log.take(line("plugged", "CA-313"))
    assert WireLog(tmp_path / "wire.jsonl").facts(scene) == log.facts(scene)
    (fact,) = log.facts(scene)
    assert (fact.evse_id, fact.charged, fact.broken, fact.setup_s) == ("CA-311", 2, 1, 0.05)
    assert fact.session == "ISO 15118-20, DC_BPT, DynamicControl"
