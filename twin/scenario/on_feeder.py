"""EVSEs on a feeder over the scenario's time: what a run of the twin does to the grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from twin.assets import Current
from twin.ensemble import Outcome
from twin.feeder.impact.judging import EvsePowers, Impact, judge
from twin.feeder.inverters.behaviour import Inverter
from twin.feeder.inverters.in_time import GridResponse
from twin.feeder.scene import Scene
from twin.scenario.ageing import months_of
from twin.visits import VisitTable

Floats = NDArray[np.float64]


class NotRecorded(ValueError):
    """The run kept no record by EVSE, so nothing can be said of the feeder."""


@dataclass(frozen=True, eq=False)
class Inverters:
    """What the EVSEs' inverters do by themselves. each: of every EVSE; nominal_volts: phase to neutral, what they take
    for 1 p.u., None: each bus's rating.
    """

    each: tuple[Inverter, ...]
    nominal_volts: float | None


@dataclass(frozen=True, eq=False)
class OnFeeder:
    """A scenario's feeder with its loads and EVSEs.

    wiring: phases of each EVSE, its first conductor's first. nominal_volts: phase to neutral, by which voltages are
    told; None: by each bus's rating. monthly_c: air around the transformer, in the twelve months of `timezone`.
    inverters: None where the EVSEs take what they are told, whatever the voltage. assumed, warnings: sentences for the
    report.
    """

    scene: Scene
    wiring: tuple[str, ...]
    nominal_volts: float | None
    monthly_c: tuple[float, ...]
    timezone: str
    inverters: Inverters | None = None
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def base_kw(self) -> Floats:
        """What all homes draw together, (step,)."""
        total: Floats = self.scene.base_w.sum(axis=0) / 1000.0
        return total

    def base_by_minute_kw(self) -> Floats:
        """The same for every minute of the scenario's time."""
        step_s, steps = self.scene.grid.step_s, self.scene.grid.steps
        if step_s >= 60:  # noqa: PLR2004 - seconds of a minute
            return np.repeat(self.base_kw, step_s // 60)
        return np.asarray(self.base_kw.reshape(steps * step_s // 60, -1).mean(axis=1))

    def ambient_c(self) -> Floats:
        """Air around the transformer in every step."""
        if len(set(self.monthly_c)) == 1:
            return np.full(self.scene.grid.steps, self.monthly_c[0])
        grid = self.scene.grid
        seconds = grid.step_s * np.arange(grid.steps, dtype=np.float64)
        return np.array(self.monthly_c)[months_of(grid, ZoneInfo(self.timezone), seconds)]

    def response(self, replicas: int) -> GridResponse | None:
        """The inverters at the start of a run of so many replicas; None where there are none."""
        if self.inverters is None:
            return None
        return GridResponse(self.scene, self.inverters.each, replicas, nominal_volts=self.inverters.nominal_volts)

    def judge(
        self, outcome: Outcome, visits: VisitTable, *, without_event: Outcome | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Impact:
        """What the run `outcome` of `visits` did to the feeder, by the mean power of every EVSE in every step.

        Where inverters acted, their vars are those that they drew in the run. without_event: of the same visits.

        Raises:
            NotRecorded: a run kept no record by EVSE.
        """
        scene, split = self._by_phases(outcome, visits)
        runs = [
            EvsePowers(split(_mean(run, run.evse_kwh)), None if run.grid is None else split(
                _mean(run, run.grid.evse_kvarh)
            ))
            for run in (outcome, without_event) if run is not None
        ]
        return judge(
            scene, runs[0], without_event=runs[1] if len(runs) > 1 else None, nominal_volts=self.nominal_volts,
            progress=progress,
        )

    def _by_phases(self, outcome: Outcome, visits: VisitTable) -> tuple[Scene, Callable[[Floats], Floats]]:
        """EVSEs at which cars of fewer phases stand, once more for those cars: on the first phases alone.

        Gives the scene, and what makes its powers of those by EVSE.
        """
        car = np.array([vehicle.ac_phases for vehicle in outcome.ensemble.vehicles], dtype=np.int64)
        wired = np.array([
            len(phases) if evse.current is Current.AC else 1
            for evse, phases in zip(outcome.ensemble.evses, self.wiring, strict=True)
        ])
        done = outcome.visits
        evse, phases = visits.evse[done.row], car[visits.vehicle[done.row]]
        if not (phases < wired[evse]).any():
            return self.scene, lambda powers: powers
        standing = _standing(outcome, visits, phases)
        ids, points, legs = (list(getattr(self.scene, f"evse_{name}")) for name in ("ids", "points", "phases"))
        moved: list[tuple[int, NDArray[np.bool_]]] = []
        for fewer in (1, 2):
            for number in np.unique(evse[(phases == fewer) & (wired[evse] > fewer)]).tolist():
                moved.append((number, standing[number] == fewer))
                ids.append(f"{ids[number]} ({fewer} of {wired[number]} phases)")
                points.append(points[number])
                legs.append("".join(sorted(self.wiring[number][:fewer])))
        scene = replace(self.scene, evse_ids=tuple(ids), evse_points=tuple(points), evse_phases=tuple(legs))

        def split(powers: Floats) -> Floats:
            parts = [powers.copy()]
            for number, here in moved:
                parts.append(np.where(here, powers[number], 0.0)[None])
                parts[0][number][here] = 0.0
            return np.concatenate(parts)

        return scene, split


def _mean(run: Outcome, by_step: Floats | None) -> Floats:
    """Mean power of each EVSE from its energy in each step, (evse, replica, step)."""
    if by_step is None:
        raise NotRecorded("outcome.evse_kwh: None, expected a run that recorded its chargers")
    power: Floats = by_step.transpose(1, 0, 2) / run.ensemble.grid.step_hours
    return power


def _standing(outcome: Outcome, visits: VisitTable, phases: NDArray[np.int64]) -> NDArray[np.int64]:
    """Phases of the car that came last before each step's end, (evse, replica, step); 0 before the first."""
    ensemble, done = outcome.ensemble, outcome.visits
    arrival = visits.arrival_s[done.row]
    step = np.clip(arrival // ensemble.grid.step_s, 0, ensemble.grid.steps - 1).astype(np.int64)
    order = np.argsort(arrival, kind="stable")  # of two that come in one step the later one counts
    comes = np.zeros((len(ensemble.evses), ensemble.replicas, ensemble.grid.steps), dtype=np.int64)
    comes[visits.evse[done.row][order], done.replica[order], step[order]] = phases[order]
    last = np.maximum.accumulate(np.where(comes > 0, np.arange(ensemble.grid.steps), 0), axis=-1)
    return np.take_along_axis(comes, last, axis=-1)
