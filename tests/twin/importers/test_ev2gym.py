"""EV2Gym replays, exported to JSON: steps become times, kWh states of charge, amperes kilowatts."""

import copy
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from twin.importers import Imported, ImportOptions, read_ev2gym
from twin.scenario import load_scenario
from twin.scenario_error import ScenarioError

AMSTERDAM = ImportOptions(zone=ZoneInfo("Europe/Amsterdam"))
CAR = {
    "id": 0, "location": 0, "time_of_arrival": 4, "time_of_departure": 40, "battery_capacity_at_arrival": 20.0,
    "desired_capacity": 40.0, "battery_capacity": 50.0, "min_battery_capacity": 10.0, "max_ac_charge_power": 11.0,
    "max_discharge_power": -11.0, "transition_soc": 0.8, "charge_efficiency": 0.9, "discharge_efficiency": 0.9,
}
DOCUMENT: dict[str, Any] = {
    "sim_date": "2022-01-17 05:00:00", "timescale": 15, "sim_length": 96,
    "transformers": [{"max_power": [100.0] * 90 + [60.0] * 6}, {"max_power": 50}],
    "charging_stations": [{
        "id": 0, "n_ports": 2, "voltage": 230, "phases": 3, "max_charge_current": 32, "min_charge_current": 0,
        "max_discharge_current": -16,
    }],
    "EVs": [CAR, CAR | {"id": 1, "time_of_departure": 200}],
}


def read(tmp_path: Path, *, options: ImportOptions = AMSTERDAM, **changes: Any) -> Imported:
    path = tmp_path / "replay.json"
    path.write_text(json.dumps(copy.deepcopy(DOCUMENT) | changes), encoding="utf-8")
    return read_ev2gym(path, options)


def test_steps_are_local_times_and_ports_are_stations(tmp_path: Path) -> None:
    imported = read(tmp_path)
    first = imported.sessions[0]
    assert (first.station, first.arrival, first.departure) == (
        "cs0-0", datetime(2022, 1, 17, 5, tzinfo=UTC), datetime(2022, 1, 17, 14, tzinfo=UTC),
    )
    assert [row["id"] for row in imported.tables["stations"]] == ["cs0-0", "cs0-1"]


def test_energies_are_states_of_charge_and_equal_cars_share_a_model(tmp_path: Path) -> None:
    imported = read(tmp_path)
    assert [(s.arrival_soc, s.target_soc, s.floor_soc, s.vehicle) for s in imported.sessions] == [
        (0.4, 0.8, 0.2, "ev2gym-1")] * 2
    (model,) = imported.tables["vehicles"]
    assert model["charge_kw"] == pytest.approx([9.9, 9.9, 0.0])
    # One way and back keeps what EV2Gym's two efficiencies promise.
    assert 1 / (1 + model["loss_proportional"]) ** 2 == pytest.approx(0.81)


def test_powers_are_those_that_ev2gym_computes_with(tmp_path: Path) -> None:
    kind = read(tmp_path).tables["station_types"]["cs0"]
    assert kind["max_charge_kw"] == pytest.approx(0.230 * math.sqrt(3) * 32)
    assert kind["max_discharge_kw"] == pytest.approx(0.230 * math.sqrt(3) * 16)


def test_the_cap_is_the_rating_of_all_transformers_not_their_demand_response(tmp_path: Path) -> None:
    assert read(tmp_path).tables["site"]["import_cap_kw"] == 150.0


def test_efficiencies_by_ampere_are_read_as_their_mean(tmp_path: Path) -> None:
    (model,) = read(tmp_path, EVs=[CAR | {"charge_efficiency": {"6": 80, "16": 90}}]).tables["vehicles"]
    assert model["charge_kw"][0] == pytest.approx(11 * 0.85)


@pytest.mark.parametrize(
    ("car", "reason"),
    [
        ({"time_of_arrival": "x"}, "time_of_arrival is not a number"),
        ({"battery_capacity_at_arrival": 60.0}, "state of charge outside 0 to 1"),
        ({"battery_capacity_at_arrival": -1.0}, "negative energy"),
        ({"location": 7}, "unknown station"),
    ],
)
def test_a_bad_car_is_a_fault_and_the_others_are_kept(tmp_path: Path, car: dict[str, Any], reason: str) -> None:
    imported = read(tmp_path, EVs=[CAR | car, CAR])
    assert [fault.reason for fault in imported.faults] == [reason]
    assert len(imported.sessions) == 1


def test_a_replay_says_local_times_so_a_zone_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"sim_date.*with offset"):
        read(tmp_path, options=ImportOptions())


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    path = tmp_path / "replay.pkl"
    path.write_bytes(b"cbuiltins\nopen\n(S'" + str(proof).encode() + b"'\nS'w'\ntR.")
    with pytest.raises(ScenarioError, match="exported to JSON"):
        read_ev2gym(path, AMSTERDAM)
    assert not proof.exists()


def test_a_replay_becomes_a_scenario(tmp_path: Path) -> None:
    read(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "replay"\n[sessions]\nfile = "replay.json"\nformat = "ev2gym"\ntimezone = "Europe/Amsterdam"\n', "utf-8"
    )
    truth = load_scenario(path).truth()
    assert len(truth.visits) == 2  # the second one is not over at the end, and kept
    assert [visit.floor_kwh for visit in truth.visits] == [10.0, 10.0]


@pytest.mark.parametrize(("changes", "said"), [
    ({"timescale": 1e300}, r"\$, timescale: 1e\+300, expected more than 0, at most 1440 minutes"),
    ({"sim_length": 1e300}, r"\$, sim_length: 1e\+300, expected steps of 15 min"),
    ({"transformers": [{"max_power": [1, "a"]}]}, "max_power"),
])
def test_a_replay_of_impossible_length_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        read(tmp_path, **changes)


@pytest.mark.parametrize(("changes", "said"), [
    ({"n_ports": 100_000_000}, "n_ports: 100000000.0, expected 1 to 1000 ports"),
    ({"n_ports": -1}, "n_ports: -1.0, expected 1 to 1000 ports"),
    ({"phases": -3}, "phases: -3.0, expected more than 0"),
])
def test_an_impossible_station_of_a_replay_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        read(tmp_path, charging_stations=[DOCUMENT["charging_stations"][0] | changes])


@pytest.mark.parametrize(("changes", "field"), [
    ({"time_of_arrival": 1e300}, "time_of_arrival"), ({"time_of_departure": 1e12}, "time_of_departure"),
    ({"charge_efficiency": {"6": 95, "16": "a"}}, "charge_efficiency"),
])
def test_an_impossible_car_of_a_replay_is_one_fault(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    (fault,) = read(tmp_path, EVs=[CAR | changes]).faults
    assert f"$.EVs[0], {field}: " in str(fault)
