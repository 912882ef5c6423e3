"""The [feeder] section of the assets file: what it becomes, and that every fault in it is named."""

import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.config import ConfigError
from aggregator.config.assets_file import AssetsFile, dump_assets
from aggregator.demo.feeder import garage_feeder
from aggregator.operations import secret_sha256
from twin.assets import TimeGrid
from twin.feeder import LoadType
from twin.feeder.network.phases import Connection
from twin.feeder.on_disk.files import write

ASSETS: dict[str, Any] = {
    "site": {"id": "garage", "timezone": "Europe/Berlin", "import_cap_kw": 120.0,
             "base_load_forecast_kw": [30.0] * 24},
    "evses": [
        {"id": "E1", "station_id": "S1", "version": "ocpp1.6", "current": "ac", "max_charge_kw": 7.0,
         "fallback_kw": 1.0},
        {"id": "E2", "station_id": "S2", "version": "ocpp1.6", "current": "ac", "max_charge_kw": 7.0,
         "fallback_kw": 1.0},
    ],
    "vehicle_models": [{"id": "sedan", "capacity_kwh": 60.0, "max_charge_kw": 11.0,
                        "charge_curve": {"soc": [0.0, 1.0], "kw": [50.0, 50.0]}}],
    "stations": [{"id": name, "password_sha256": secret_sha256(name)} for name in ("S1", "S2")],
    "feeder": {
        "folder": "feeder", "building_point": "building", "load_power_factor": 0.8,
        "limits": {"voltage_pu": [0.95, 1.05]},
        "evses": [{"evse_id": "E1", "point": "board-ac", "phases": "b"}],
        "loads": [{"point": "board-dc", "hourly_kw": [6.0] * 23 + [-3.0]}],
    },
}
GRID = TimeGrid(datetime(2026, 5, 4, 21, 30, tzinfo=UTC), 900, 4)


def load(
    folder: Path, feeder: dict[str, Any] | None = None, *, fallback_kw: float = 1.0, building_kw: float = 30.0
) -> AssetsFile:
    assets = deepcopy(ASSETS)
    assets["site"]["base_load_forecast_kw"] = [building_kw] * 24
    for evse in assets["evses"]:
        evse["fallback_kw"] = fallback_kw
    assets["feeder"] |= feeder or {}
    assets["feeder"] = {name: value for name, value in assets["feeder"].items() if value is not None}
    write(garage_feeder(), folder / "feeder")
    (folder / "assets.toml").write_text(dump_assets(assets), "utf-8")
    return AssetsFile.load(folder / "assets.toml")


def faults(folder: Path, feeder: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as refused:
        load(folder, feeder)
    return {fault.field: str(fault) for fault in refused.value.faults}


def test_the_section_becomes_a_street_with_building_neighbours_and_evses_at_their_places(tmp_path: Path) -> None:
    street = load(tmp_path).street
    assert street is not None
    assert street.limits.voltage_pu == (0.95, 1.05)
    scene = street.scene(GRID, np.array([30.0, 30.0, 60.0, 60.0]))
    assert dict(zip(scene.evse_ids, zip(scene.evse_points, scene.evse_phases, strict=True), strict=True)) == {
        "E1": ("board-ac", "b"), "E2": ("building", "abc"),
    }
    rows = scene.flow().terminal_row
    assert scene.base_w[rows["building", "a"]] == pytest.approx([10e3, 10e3, 20e3, 20e3])
    # From 23:30 local time on: an eighth, and five eighths, of the way from -3 kW at 23:30 to 6 kW at 0:30.
    assert scene.base_w[rows["board-dc", "c"], [0, 2]] == pytest.approx([-1875.0 / 3.0, 2625.0 / 3.0])
    assert scene.base_var[rows["building", "a"]] == pytest.approx(0.75 * scene.base_w[rows["building", "a"]])
    assert scene.base_var[rows["board-dc", "c"], 0] == pytest.approx(
        0.75 * max(0.0, scene.base_w[rows["board-dc", "c"], 0])), "what is fed in makes no reactive power"


def test_without_the_section_nothing_is_known_of_the_street(tmp_path: Path) -> None:
    assets = {name: value for name, value in ASSETS.items() if name != "feeder"}
    (tmp_path / "assets.toml").write_text(dump_assets(assets), "utf-8")
    assert AssetsFile.load(tmp_path / "assets.toml").street is None


def test_the_shipped_example_brings_its_homes(tmp_path: Path) -> None:
    street = load(tmp_path, {
        "folder": None, "example": "european_lv", "building_point": "home-1", "evses": [], "loads": None,
        "limits": {"voltage_pu": [0.9, 1.1]},
    }, building_kw=2.0).street
    assert street is not None
    assert len(street.neighbours) == 55
    scene = street.scene(GRID, np.zeros(4))
    assert 5e3 < scene.base_w.sum(axis=0).mean() < 60e3


def test_every_fault_is_named_with_its_place(tmp_path: Path) -> None:
    found = faults(tmp_path, {
        "building_point": "nowhere",
        "evses": [{"evse_id": "E9", "point": "board-ac"}, {"evse_id": "E1", "point": "board-xy"}],
        "loads": [{"point": "board-zz", "hourly_kw": [1.0] * 24}],
    })
    assert set(found) == {
        "feeder.building_point", "feeder.evses[0].evse_id", "feeder.evses[1].point", "feeder.loads[0].point",
    }
    assert "'nowhere', expected a connection point of the feeder, such as building" in found["feeder.building_point"]


@pytest.mark.parametrize(("feeder", "field", "words"), [
    ({"folder": None}, "feeder", "either folder or example"),
    ({"example": "european_lv"}, "feeder", "either folder or example"),
    ({"folder": "missing"}, "feeder.folder", "the folder of a feeder"),
    ({"limits": {"voltage_pu": [1.1, 0.9]}}, "feeder.limits.voltage_pu", "lowest < highest"),
    ({"evses": [{"evse_id": "E1", "point": "board-ac", "phases": "ba"}]}, "feeder.evses[0].phases", "pattern"),
    ({"evses": [{"evse_id": "E1", "point": "board-ac"}] * 2}, "feeder.evses", "one place, not several"),
    ({"power_factor": 0.0}, "feeder.power_factor", "greater than 0"),
    ({"loads": [{"point": "board-dc", "hourly_kw": [1.0] * 23}]}, "feeder.loads[0].hourly_kw",
     "'23 values', expected at least 24"),
])
def test_what_cannot_be_is_refused(tmp_path: Path, feeder: dict[str, Any], field: str, words: str) -> None:
    found = faults(tmp_path, feeder)
    assert list(found) == [field]
    assert words in found[field]


def test_a_feeder_that_no_second_engine_can_check_is_refused(tmp_path: Path) -> None:
    """No plan on it could ever be called valid."""
    plain = garage_feeder()
    delta = LoadType("delta", connection=Connection.DELTA)
    points = (replace(plain.connection_points[0], load_type="delta"), *plain.connection_points[1:])
    write(replace(plain, load_types=(*plain.load_types, delta), connection_points=points), tmp_path / "delta")
    assert "second engine" in faults(tmp_path, {"folder": "delta"})["feeder.folder"]


def test_a_feeder_with_an_island_is_refused_with_the_element(tmp_path: Path) -> None:
    plain = garage_feeder()
    write(replace(plain, lines=plain.lines[:1]), tmp_path / "island")
    assert "board-ac" in faults(tmp_path, {"folder": "island"})["feeder.folder"]


WEAK = {"limits": {"voltage_pu": [0.95, 1.05], "line_loading": 0.05}}
"""Five of a hundred of 125 A: one charger of 1.4 kW on phase b of the board."""


def test_fallback_shares_that_the_feeder_does_not_bear_are_refused_with_those_it_would(tmp_path: Path) -> None:
    assert load(tmp_path, WEAK, fallback_kw=1.4).street is not None
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, WEAK, fallback_kw=2.0)
    (fault,) = refused.value.faults
    assert fault.field == "evses.fallback_kw"
    assert "line cable-ac phase b at 8 % of at most 5 %" in str(fault)
    told = float(str(fault).partition("it would bear E1 ")[2].split()[0])
    assert "E2" not in str(fault), "the other one hangs on a bus of its own"
    assert 1.35 < told < 1.5
    assets = deepcopy(ASSETS)
    for at, share in enumerate((told, 2.0)):
        assets["evses"][at]["fallback_kw"] = share
    assets["feeder"] |= WEAK
    (tmp_path / "assets.toml").write_text(dump_assets(assets), "utf-8")
    assert AssetsFile.load(tmp_path / "assets.toml").street is not None, "what was proposed is accepted"


def test_a_feeder_that_is_full_without_chargers_bears_next_to_nothing_more(tmp_path: Path) -> None:
    found = load(tmp_path, {"limits": {"transformer_loading": 0.1, "voltage_pu": [0.95, 1.05]}}, fallback_kw=0.0)
    assert found.street is not None, "what is there anyway is not the chargers' to answer for"
    with pytest.raises(ConfigError, match=r"it would bear E1 0\.0\d+ kW, E2 0\.0\d+ kW"):
        load(tmp_path, {"limits": {"transformer_loading": 0.1, "voltage_pu": [0.95, 1.05]}}, fallback_kw=1.0)


def test_a_site_without_a_feeder_does_not_wait_for_power_flows(tmp_path: Path) -> None:
    assets = {name: value for name, value in ASSETS.items() if name != "feeder"}
    (tmp_path / "assets.toml").write_text(dump_assets(assets), "utf-8")
    program = (
        "import sys, pathlib, aggregator.service\n"
        "from aggregator.config.assets_file import AssetsFile\n"
        "AssetsFile.load(pathlib.Path(sys.argv[1]))\n"
        "heavy = {'power_grid_model', 'scipy', 'highspy', 'pyomo', 'pandas', 'twin.feeder'}\n"
        "sys.exit(', '.join(sorted(heavy & sys.modules.keys())) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "assets.toml")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
