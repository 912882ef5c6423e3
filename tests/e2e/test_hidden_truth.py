"""What a service cannot know changes nothing that its planner is given; and a car without a permit never discharges."""

import contextlib
import dataclasses
import pickle
import tomllib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from aggregator.clock import Segment
from aggregator.config.toml_writer import dump_assets
from aggregator.demo.configuration import Credentials, assets_tables, write_clock, write_configuration
from aggregator.demo.paired import SimulatedDay, loop_day
from aggregator.demo.scene import Scene
from aggregator.planning.gate import GateOutcome, PlanRequest, plan_through_gate
from aggregator.signals.model import GridSignal, Obligation, SignalInterval
from tests.e2e.conftest import HOST, NOON, Car, write_scenario

INSTANT = NOON + timedelta(hours=1)
CARS = [
    Car("ocpp1.6", 0.25, 8.0), Car("ocpp2.0.1", 0.30, 10.0), Car("ocpp2.1", 0.60, 5.0), Car("ocpp2.1", 0.60, 0.0),
]


class Enough(Exception):
    """The instant that a test looks at is over."""


def settle(folder: Path, scene: Scene, change: Any = None) -> None:
    """The service's configuration for `scene` in `folder`."""
    write_configuration(folder, scene, Credentials.make(scene), host=HOST, http_port=0, ocpp_port=0)
    write_clock(folder / "clock.json", [Segment(1.8e9, NOON, 60.0)])
    if change is not None:
        assets = tomllib.loads((folder / "assets.toml").read_text("utf-8"))
        change(assets)
        (folder / "assets.toml").write_text(dump_assets(assets), "utf-8")


def relief(max_net_kw: float) -> GridSignal:
    """A committed event from one to two hours after noon, known from the beginning."""
    hours = [NOON + timedelta(hours=h) for h in (1, 2)]
    return GridSignal(
        "signal", "openadr:utility", "event/site", 1, "content", NOON + timedelta(minutes=5), "Peak relief",
        Obligation.COMMITTED, "caltech-garage", (SignalInterval(hours[0], hours[1], max_net_kw),),
    )


def told(value: Any) -> Any:
    """Everything in a planner's input as plain values; arrays as their bytes."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if dataclasses.is_dataclass(value):
        return [(f.name, told(getattr(value, f.name))) for f in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return sorted((key, told(item)) for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return [told(item) for item in value]
    return value.hex() if isinstance(value, float) else repr(value)


def planner_inputs(
    folder: Path, cars: Sequence[Car], *, building_kw: float | list[float] = 30.0
) -> tuple[list[bytes], dict[str, Any]]:
    """Each request that the planner gets until INSTANT, as bytes; and the service's assets."""
    folder.mkdir()
    scene = write_scenario(folder / "scenario.toml", cars, hours=9, building_kw=building_kw)
    settle(folder, scene)
    seen: list[bytes] = []

    def watch(request: PlanRequest) -> GateOutcome:
        if request.world.begin is None or request.world.begin > INSTANT:
            raise Enough
        seen.append(pickle.dumps(told(request)))
        return plan_through_gate(request)

    with contextlib.suppress(Enough):
        loop_day(scene, folder, [relief(28.0)], plan=watch)
    known = Credentials(dict.fromkeys(Credentials.make(scene).clients, "same"), {f"S{k:02}": "x" for k in range(9)})
    return seen, assets_tables(scene, known)


def test_changing_only_hidden_truth_changes_no_input_of_the_planner(tmp_path: Path) -> None:
    inputs, assets = planner_inputs(tmp_path / "a", CARS)
    assert len(inputs) >= 4
    otherwise = [
        # Real departures after the instant, and what cars hold that report no SoC.
        dataclasses.replace(car, stays_h=1.5 + 0.5 * k, soc=car.soc if car.is_dc else car.soc + 0.2)
        for k, car in enumerate(CARS)
    ]
    noon, later = [30.0] * 14, [75.0] * 10  # local hours: the building rises an hour after the instant
    hidden, same_assets = planner_inputs(tmp_path / "b", otherwise, building_kw=noon + later)
    assert same_assets == assets
    assert hidden == inputs

    # The comparison can fail: a declaration that differs by a quarter of an hour does change the inputs.
    declared = [dataclasses.replace(CARS[0], declared_h=5.75), *CARS[1:]]
    assert planner_inputs(tmp_path / "c", declared)[0] != inputs


def exported_kwh(day: SimulatedDay) -> dict[str, float]:
    return {visit: round(kwh, 3) for visit, kwh in day.exported_kwh.items()}


def test_a_charger_without_a_permit_never_discharges_whatever_the_event_pays(tmp_path: Path) -> None:
    cars = [Car(protocol, 0.7, 0.0, declared_h=3.9, stays_h=3.9) for protocol in ("ocpp2.1", "ocpp2.1", "ocpp1.6")]
    scene = write_scenario(tmp_path / "scenario.toml", cars, hours=4, incentive_per_kwh=100_000.0)

    def no_permit_for_the_second(assets: dict[str, Any]) -> None:
        assets["permits"]["evses"] = [p for p in assets["permits"]["evses"] if p["evse_id"] != "S01"]

    settle(tmp_path, scene, no_permit_for_the_second)
    day = loop_day(scene, tmp_path, [relief(0.0)])
    sent = exported_kwh(day)
    assert sent["visit-0"] > 5.0
    assert sent["visit-1"] == 0.0
    assert sent["visit-2"] == 0.0
    assert day.log is not None
    (decision,) = day.log.decisions
    assert ("no_discharge_permit", 1) in [(code.value, count) for code, count in decision.reasons]
