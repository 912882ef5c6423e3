"""SpiceEV scenarios: stays are rebuilt from departures and arrivals, curves from the connector to the battery."""

import copy
import json
import operator
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twin.importers import Imported, ImportOptions, read_spiceev
from twin.replay import Uncontrolled, simulate
from twin.scenario import load_scenario
from twin.scenario_error import ScenarioError

START = datetime(2024, 1, 1, tzinfo=UTC)


def at(hours: float) -> str:
    return (START + timedelta(hours=hours)).isoformat()


def event(kind: str, hours: float, **update: Any) -> dict[str, Any]:
    return {
        "signal_time": at(0), "start_time": at(hours), "vehicle_id": "van_0", "event_type": kind, "update": update,
    }


DOCUMENT: dict[str, Any] = {
    "scenario": {"start_time": at(0), "interval": 15, "n_intervals": 96, "discharge_limit": 0.4},
    "components": {
        "vehicle_types": {
            "van": {
                "name": "Van", "capacity": 76, "charging_curve": [[0, 22], [0.8, 22], [1, 2]], "v2g": True,
                "v2g_power_factor": 0.5, "battery_efficiency": 0.9,
            },
            "car": {"name": "Car", "capacity": 50, "charging_curve": [[0, 11], [1, 11]]},
        },
        "vehicles": {
            "van_0": {
                "connected_charging_station": "CS_0", "estimated_time_of_departure": at(8), "desired_soc": 0.8,
                "soc": 0.5, "vehicle_type": "van",
            },
        },
        "grid_connectors": {"GC1": {"max_power": 100, "cost": {"type": "fixed", "value": 0.3}}},
        "charging_stations": {"CS_0": {"max_power": 22, "min_power": 2.2, "parent": "GC1"}},
        "batteries": {"BAT1": {"parent": "GC1", "capacity": 350, "charging_curve": [[0, 175], [1, 175]]}},
    },
    "events": {
        "grid_operator_signals": [{"start_time": at(6)}, {"start_time": at(7)}],
        "vehicle_events": [
            event("departure", 8.25, estimated_time_of_arrival=at(17)),
            event("arrival", 17, connected_charging_station="CS_0", estimated_time_of_departure=at(32),
                  desired_soc=0.9, soc_delta=-0.25),
        ],
    },
}


def read(tmp_path: Path, change: Any = None, options: ImportOptions | None = None) -> Imported:
    document = copy.deepcopy(DOCUMENT)
    if change is not None:
        change(document)
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return read_spiceev(path, options or ImportOptions())


def test_a_stay_lasts_from_arrival_to_the_departure_event_or_to_the_declared_departure(tmp_path: Path) -> None:
    first, second = read(tmp_path).sessions
    assert (first.arrival, first.departure, first.declared_departure) == (
        START, START + timedelta(hours=8.25), START + timedelta(hours=8),
    )
    assert (second.arrival, second.departure) == (START + timedelta(hours=17), START + timedelta(hours=32))


def test_a_car_leaves_with_what_was_desired_and_comes_back_with_less(tmp_path: Path) -> None:
    first, second = read(tmp_path).sessions
    assert (first.arrival_soc, first.target_soc, first.floor_soc) == (0.5, 0.8, 0.4)
    assert second.arrival_soc == pytest.approx(0.8 - 0.25)


def test_a_car_that_is_fuller_than_desired_keeps_what_it_has(tmp_path: Path) -> None:
    def fuller(document: dict[str, Any]) -> None:
        document["components"]["vehicles"]["van_0"]["soc"] = 1.0

    assert read(tmp_path, fuller).sessions[1].arrival_soc == pytest.approx(0.75)


def test_curves_at_the_connector_become_curves_at_the_battery(tmp_path: Path) -> None:
    van, car = read(tmp_path).tables["vehicles"]
    assert van["charge_kw"] == pytest.approx([22 * 0.9, 22 * 0.9, 2 * 0.9])
    assert van["discharge_kw"] == pytest.approx([11 / 0.9, 11 / 0.9, 1 / 0.9])
    assert van["loss_proportional"] == pytest.approx(1 / 0.9 - 1)
    assert "discharge_kw" not in car  # v2g is off where the file does not say
    assert car["loss_proportional"] == pytest.approx(1 / 0.95 - 1)


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    assert read(tmp_path).left_out == {"batteries of the file": 1, "grid_operator_signals of the file": 2}


def test_files_from_before_version_1_are_read_too(tmp_path: Path) -> None:
    def older(document: dict[str, Any]) -> None:
        document["constants"] = document.pop("components")

    assert len(read(tmp_path, older).sessions) == 2


def test_only_the_chosen_grid_connector_is_taken(tmp_path: Path) -> None:
    def second(document: dict[str, Any]) -> None:
        parts = document["components"]
        parts["grid_connectors"]["GC2"] = {"max_power": 50}
        parts["charging_stations"]["CS_1"] = {"max_power": 11, "parent": "GC2"}

    with pytest.raises(ScenarioError, match=r"grid connector.*GC1, GC2"):
        read(tmp_path, second)
    imported = read(tmp_path, second, ImportOptions(connector="GC2"))
    assert [row["id"] for row in imported.tables["stations"]] == ["CS_1"]
    assert not imported.sessions
    assert imported.left_out["at another grid connector"] == 2


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("components", "vehicles", "van_0", "vehicle_type"), "bus", "vehicle_type: 'bus', expected a vehicle type"),
        (("components", "vehicles", "van_0", "connected_charging_station"), "CS_9", "'CS_9', expected a charging st"),
        (("components", "vehicles", "van_0", "desired_soc"), 1.5, "desired_soc: 1.5, expected a state of charge"),
        (("components", "vehicles", "van_0", "estimated_time_of_departure"), None, "estimated_time_of_departure: None"),
    ],
)
def test_a_bad_stay_is_a_fault_with_its_place(tmp_path: Path, where: tuple[str, ...], value: Any, said: str) -> None:
    def change(document: dict[str, Any]) -> None:
        for key in where[:-1]:
            document = document[key]
        document[where[-1]] = value

    fault = read(tmp_path, change).faults[0]
    assert said in str(fault)
    assert "van_0" in str(fault)


def test_a_drive_that_needs_more_than_the_battery_holds_is_a_fault(tmp_path: Path) -> None:
    def far(document: dict[str, Any]) -> None:
        document["events"]["vehicle_events"][1]["update"]["soc_delta"] = -0.9

    (fault,) = read(tmp_path, far).faults
    assert fault.reason == "state of charge outside 0 to 1"


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("scenario", "start_time"), "2024-01-01T00:00:00", "with offset"),
        (("components", "charging_stations"), [], r"charging_stations: 'list', expected an object"),
        (("components", "vehicle_types", "van", "charging_curve"), [[0, 22]], "charging_curve"),
        (("components", "vehicle_types", "van", "battery_efficiency"), 0, "battery_efficiency: 0"),
        (("events", "vehicle_events", 0, "vehicle_id"), "nobody", r"vehicle_events\[0\], vehicle_id: 'nobody'"),
        (("events", "vehicle_events", 0, "event_type"), "crash", "event_type: 'crash'"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(
    tmp_path: Path, where: tuple[Any, ...], value: Any, said: str
) -> None:
    def change(document: Any) -> None:
        for key in where[:-1]:
            document = document[key]
        document[where[-1]] = value

    with pytest.raises(ScenarioError, match=said):
        read(tmp_path, change)


def test_a_scenario_of_three_lines_runs_a_spiceev_file(tmp_path: Path) -> None:
    read(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text('name = "imported"\n[sessions]\nfile = "scenario.json"\nformat = "spiceev"\n', encoding="utf-8")
    scenario = load_scenario(path)
    truth = scenario.truth()
    assert len(truth.visits) == 2
    assert scenario.public().site.import_cap_kw == 100.0
    run = simulate(truth.world(900), Uncontrolled(), response=False)
    # Closed form: 22 kW at the connector, 0.9 of it in the battery, below the taper all the way from 0.5 to 0.8.
    needed_h = 0.3 * 76 / (22 * 0.9)
    assert run.visits[truth.visits[0].id].imported_kwh == pytest.approx(22 * needed_h, rel=1e-9)
    assert np.isclose(run.visits[truth.visits[0].id].energy_kwh, 0.8 * 76, rtol=1e-9)


@pytest.mark.parametrize(("place", "wrong"), [
    ("components.batteries", None), ("events", None), ("events", []), ("events.fixed_load", 1),
    ("events.vehicle_events", None), ("events.vehicle_events", {}), ("scenario.interval", 1e300),
    ("scenario.n_intervals", 10**400),
])
def test_a_part_of_another_kind_is_named(tmp_path: Path, place: str, wrong: object) -> None:
    document = copy.deepcopy(DOCUMENT)
    *tables, field = place.split(".")
    reduce(operator.getitem, tables, document)[field] = wrong
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"\$\."):
        read_spiceev(path, ImportOptions())
