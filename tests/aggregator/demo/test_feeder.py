"""The demo's garage on its feeder: assumed, checked, and in the way of a plan that does not look at it."""

import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from aggregator.config import AssetsFile
from aggregator.demo.carried import carried
from aggregator.demo.configuration import Credentials, write_configuration
from aggregator.demo.feeder import garage_feeder
from aggregator.demo.scene import Scene, load_scene
from aggregator.reports.day import StepSeries
from twin.assets import TimeGrid
from twin.feeder import faults
from twin.feeder.second_engine.check import Checker
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


def test_the_fallback_shares_are_lowered_to_what_the_second_engine_bears(scene: Scene, assets: AssetsFile) -> None:
    """All chargers out of contact at once, and the building at its worst."""
    street, said = assets.street, scene.tables.demo.fallback
    assert street is not None
    there = street.worst_day(max(scene.tables.forecast.base_load_kw), "America/Los_Angeles")
    fallback = assets.fallback_kw()
    for kw, is_borne in ((lambda name: fallback[name], True),
                         (lambda name: said.ac_kw if street.places[name][0] == "board-ac" else said.dc_kw, False)):
        shares = np.repeat(np.array([kw(name) for name in there.evse_ids])[:, None], 24, axis=1)
        amperes = Checker(there.feeder).solve(there.flow().solve(*there.demand_w(shares))).from_a
        assert bool(np.nanmax(amperes[:, 1]) <= 125.0 * 1.0005) is is_borne
    on_c = {fallback[name] for name, place in street.places.items() if place == ("board-ac", "c")}
    assert on_c == {said.ac_kw}, "the phase with six chargers bears what the scenario says"
    assert all(said.dc_kw - 0.3 < fallback[name] for name, place in street.places.items() if place[0] == "board-dc")


def test_what_the_grid_carried_is_what_the_second_engine_says_of_the_meters(assets: AssetsFile) -> None:
    """Five cars of phase c draw in the second of two hours; the building is not measured for some minutes."""
    assert assets.street is not None
    on_c = [evse_id for evse_id, place in assets.street.places.items() if place == ("board-ac", "c")][:5]
    grid = TimeGrid(datetime(2019, 7, 15, 17, tzinfo=UTC), 900, 8)
    building = np.full(120, 48.0)
    building[70:75] = np.nan
    told = carried(
        assets.street, grid, StepSeries.regular(grid.start, 60.0, building),
        {evse_id: StepSeries.regular(grid.start, 3600.0, np.array([0.0, 6.656])) for evse_id in on_c},
    )
    there = assets.street.scene(grid, np.full(8, 48.0))
    kw = np.array([[0.0] * 4 + [6.656 if name in on_c else 0.0] * 4 for name in there.evse_ids])
    answers = Checker(there.feeder).solve(there.flow().solve(*there.demand_w(kw)))
    amperes = answers.from_a[-1, [line.id for line in there.feeder.lines].index("cable-ac"), 2]

    line = next(one for one in told.carried if one.what == "line cable-ac phase c")
    assert line.worst == pytest.approx(100.0 * amperes / 125.0, rel=1e-6)
    assert line.worst > 100.0
    assert line.minutes_beyond == 60
    assert line.at >= grid.at(4)
    assert (told.minutes, told.without_solution, told.do_agree) == (120, 0, True)
    assert {one.what for one in told.carried if one.minutes_beyond} == {"line cable-ac phase c"}
