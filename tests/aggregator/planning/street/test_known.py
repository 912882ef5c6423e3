"""The street in the receding horizon: what a request's world knows of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from aggregator.demo.feeder import garage_feeder
from aggregator.fleet.beliefs import VehicleModel
from aggregator.planning.site.forecast import ArrivalForecast, BaseLoadForecast
from aggregator.planning.site.request import as_far_as_needed, build_request
from aggregator.planning.site.situation import SiteModel, Situation, horizon_grid
from aggregator.planning.street.known import Neighbour, Street
from markets.rate import shipped_rate
from twin.assets import Battery, Current, Evse, PowerCurve, Site, Vehicle
from twin.feeder.scene import SceneError

ZONE = "Europe/Berlin"
NOW = datetime(2026, 5, 4, 9, 7, tzinfo=UTC)
STREET = Street(garage_feeder(), "building", {"E1": ("board-ac", "a"), "E2": ("board-dc", "abc")},
                (Neighbour("board-dc", BaseLoadForecast((3.0,) * 24, ZONE)),))


def model(street: Street | None) -> SiteModel:
    curve = PowerCurve((0.0, 1.0), (50.0, 50.0))
    return SiteModel(
        site=Site("site", ZONE, 100.0),
        evses={name: Evse(name, "site", Current.AC, 7.0, 1.0) for name in ("E1", "E2")},
        vehicles={"car": VehicleModel(Vehicle("car", Battery(60.0, curve), 11.0), 0.05)},
        rate=shipped_rate("sce_tou_ev_4"), base_load=BaseLoadForecast((30.0,) * 24, ZONE), street=street, steps=8,
        arrivals=ArrivalForecast((4.0,) * 24, 5.0, 7.0, ZONE),
    )


def situation(**changes: object) -> Situation:
    plain = Situation(now=NOW, sessions=(), measured_base=None, peak_so_far_kw=0.0,
                      import_cap_kw=np.full(8, 100.0), permitted_kw={}, watched=(("line_overload", "cable-ac.a"),))
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_request_brings_the_street_with_what_its_problem_expects_of_the_building() -> None:
    request = build_request(model(STREET), situation())
    scene = request.world.feeder
    assert scene is not None
    assert scene.grid == request.world.grid == horizon_grid(NOW, 900, 8)
    assert request.watched == (("line_overload", "cable-ac.a"),)
    rows = scene.flow().terminal_row
    building = sum(scene.base_w[rows["building", phase]] for phase in "abc")
    assert building == pytest.approx(1000.0 * request.problem.base_kw)
    assert (building > 30_000.0).all(), "cars still to come are counted at the building's point"
    assert scene.base_w[rows["board-dc", "b"]] == pytest.approx(np.full(8, 1000.0))


def test_a_shorter_horizon_shortens_the_street_too() -> None:
    request = build_request(*as_far_as_needed(model(STREET), situation(now=NOW + timedelta(minutes=1))))
    assert request.world.feeder is not None
    assert request.world.feeder.grid.steps == request.problem.grid.steps == 1


def test_a_site_without_a_street_is_planned_as_before() -> None:
    assert build_request(model(None), situation()).world.feeder is None


def test_a_place_that_the_feeder_does_not_have_is_refused() -> None:
    with pytest.raises(SceneError, match="board-xy"):
        build_request(model(replace(STREET, places={"E1": ("board-xy", "a"), "E2": ("board-dc", "abc")})), situation())
