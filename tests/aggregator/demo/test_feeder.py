"""The demo's garage on its feeder: assumed, checked, and in the way of a plan that does not look at it."""

import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from aggregator.assets_file import AssetsFile
from aggregator.demo.configuration import Credentials, write_configuration
from aggregator.demo.feeder import garage_feeder
from aggregator.demo.scene import Scene, load_scene
from twin.assets import TimeGrid
from twin.feeder import faults
from twin.feeder.check import Checker
from twin.scenario import resource_path


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(resource_path("workplace_caltech.toml"))


@pytest.fixture(scope="module")
def assets(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> AssetsFile:
    folder: Path = tmp_path_factory.mktemp("garage")
    write_configuration(folder, scene, Credentials.make(scene), host="127.0.0.1", http_port=0, ocpp_port=0)
    assert "feeder" in tomllib.loads((folder / "assets.toml").read_text("utf-8"))
    return AssetsFile.load(folder / "assets.toml")


def test_the_feeder_has_no_faults_and_says_that_it_is_assumed() -> None:
    feeder = garage_feeder()
    assert faults(feeder) == ()
    assert "assumed" in feeder.provenance
    assert all(line.ampacity is not None and "assumed" in line.ampacity.source for line in feeder.lines)


def test_every_charger_has_a_place_and_the_single_phase_ones_take_turns(scene: Scene, assets: AssetsFile) -> None:
    assert assets.street is not None
    assert assets.street.feeder == garage_feeder()
    places = assets.street.places
    assert set(places) == {station.evse.id for station in scene.scenario.public().stations}
    assert Counter(places.values()) == {
        ("board-dc", "abc"): 10, ("board-ac", "a"): 7, ("board-ac", "b"): 7, ("board-ac", "c"): 6,
    }


def test_with_the_building_alone_the_grid_is_far_from_its_limits_and_with_all_cars_beyond_one(
        scene: Scene, assets: AssetsFile) -> None:
    assert assets.street is not None
    start = scene.scenario.public().start
    grid = TimeGrid(start, 900, 56)
    there = assets.street.scene(grid, np.full(56, 60.0))
    evses = {station.evse.id: station.evse.max_charge_kw for station in scene.scenario.public().stations}
    full = np.repeat(np.array([evses[name] for name in there.evse_ids])[:, None], 56, axis=1)
    flow = there.flow()
    idle, busy = (flow.solve(*there.demand_w(share * full)) for share in (0.0, 1.0))
    assert np.nanmax(idle.line_loading()) < 0.01
    assert idle.transformer_loading().max() < 0.3
    assert 1.3 < np.nanmax(busy.line_loading()) < 2.0
    assert Checker(there.feeder).check(busy).agrees
