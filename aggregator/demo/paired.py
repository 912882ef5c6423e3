"""The same day again at full simulation speed: once with the loop but without the grid's signals, once uncontrolled.

Runs the service's own beliefs, planner and gate over the twin of the true day, so that each driver's energy can be
compared with what the real run delivered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregator.config import AssetsFile, load_settings
from aggregator.config.meaning import permit_book, site_defaults, site_model
from aggregator.demo.scene import Scene, load_scene, target_of
from aggregator.fleet.beliefs import Beliefs
from aggregator.fleet.model import LiveSession
from aggregator.planning.gate import GateOutcome, PlanRequest, plan_through_gate
from aggregator.signals.limits import LimitBook
from aggregator.signals.model import GridSignal
from aggregator.studies.loop import LoopController, LoopLog
from markets.rate import load_rate
from twin.assets import World
from twin.replay import Run, Uncontrolled, simulate
from twin.scenario import resource_path

_CONTROL_STEP_S = 60
_LATENCY_WALL_S = 0.4
"""From a car's arrival to its plan at the charger: building, solving, replaying, storing, sending."""


@dataclass(frozen=True)
class SimulatedDay:
    """One simulated day. net_kw, building_kw: shape (minutes,) from the scenario's start; by visit id the rest.

    delivered_kwh: battery energy on leaving minus on arrival.
    """

    net_kw: NDArray[np.float64]
    delivered_kwh: dict[str, float]
    exported_kwh: dict[str, float]
    log: LoopLog | None


def true_world(scene: Scene) -> World:
    """The day as it happens, by the minute; it ends with the scenario's window."""
    return scene.scenario.truth().world(_CONTROL_STEP_S)


def uncontrolled_day(scene: Scene) -> SimulatedDay:
    """Every car at full power from plug-in until it holds what its driver asked for."""
    return _day(simulate(true_world(scene), Uncontrolled()), None)


def loop_day(
    scene: Scene, folder: Path, signals: Sequence[GridSignal] = (), *, speed: float = 0.0,
    progress: Callable[[datetime], None] | None = None,
    plan: Callable[[PlanRequest], GateOutcome] = plan_through_gate,
) -> SimulatedDay:
    """The loop over the twin, from the configuration in `folder`, with `signals` as they are received.

    speed: clock factor of the run it is compared with, which stretches the loop's own seconds in domain time.
    plan: answers each request of the loop.
    """
    settings = load_settings(folder / "v2g.toml")
    assets = AssetsFile.load(settings.assets)
    model = site_model(assets, load_rate(settings.tariff), settings)
    permits = permit_book(assets)
    truth, change = scene.scenario.truth(), scene.tables.demo.fleet_change

    def permitted_kw(session: LiveSession, now: datetime) -> float:
        return permits.discharge_permit(session.evse_id, session, now, reconnect_after=None).allowed_kw

    controller = LoopController(
        model, Beliefs(model.vehicles, site_defaults(assets)),
        {visit_id: target_of(declared) for visit_id, declared in truth.declared.items()},
        permitted_kw=permitted_kw,
        reports_soc=frozenset(v.id for v in truth.visits if v.vehicle.max_discharge_kw > 0),
        later=[(change.at, target_of(scene.changed_visit(), change.departure))],
        signals=signals, book=LimitBook(model.site.id, {p.name: p for p in assets.programmes()}),
        peak_so_far_kw=assets.site_section.peak_so_far_kw, interval_s=settings.plan_interval_s,
        latency_s=_LATENCY_WALL_S * speed, fallback_kw=assets.fallback_kw(), progress=progress, plan=plan,
    )
    return _day(simulate(true_world(scene), controller), controller.log)


def _day(run: Run, log: LoopLog | None) -> SimulatedDay:
    return SimulatedDay(
        run.net_kw, {v: done.energy_kwh - done.visit.energy_kwh for v, done in run.visits.items()},
        {v: done.exported_kwh for v, done in run.visits.items()}, log,
    )


def save_day(day: SimulatedDay, path: Path) -> None:
    """Write what a report needs of a simulated day."""
    path.write_text(json.dumps({
        "net_kw": day.net_kw.tolist(), "delivered_kwh": day.delivered_kwh, "exported_kwh": day.exported_kwh,
    }), "utf-8")


def load_day(path: Path) -> SimulatedDay:
    raw = json.loads(path.read_text("utf-8"))
    return SimulatedDay(np.array(raw["net_kw"]), raw["delivered_kwh"], raw["exported_kwh"], None)


def main(folder: Path) -> None:
    """The day of the demo in `folder` without the grid's signals, into its `paired.json`."""
    speed = float(json.loads((folder / "demo.json").read_text("utf-8"))["speed"])
    scene = load_scene(resource_path("workplace_caltech.toml"))
    save_day(loop_day(scene, folder, speed=speed), folder / "paired.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
