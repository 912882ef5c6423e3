"""What a solved feeder has to say: the worst of each kind of limit, what was lost, what the second engine found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aggregator.feeder import apart
from aggregator.feeder.given import Given
from twin.feeder.fuses import Fuses
from twin.feeder.powerflow.flow import Flow, Solution
from twin.feeder.scene import Limits
from twin.feeder.second_engine.check import Difference
from twin.feeder.watched import Kind, Watched

KIND: Final = "v2g-feeder-flow"
FILES: Final = (
    "voltages.parquet", "currents.parquet", "buses.csv", "lines.csv", "transformers.csv", "steps.csv", "one_line.svg",
    "voltage_strip.svg", "loading_strip.svg", "result.json",
)


ROUNDING: Final = 1e-9
"""Of a fuse: what is above it by less is not beyond it."""


@dataclass(frozen=True, eq=False)
class FlowRun:
    """is_sound: every step has a solution, and both engines agree about it as far as both can."""

    in_words: str
    as_json: dict[str, Any]
    is_sound: bool


@dataclass(frozen=True, eq=False)
class Told:
    """A solved feeder and what there is to say about it. engine: the second one, or why there is none."""

    what: Given
    flow: Flow
    solution: Solution
    watched: Watched
    limits: Limits
    difference: Difference | None
    engine: str

    def said(self) -> FlowRun:
        grid, solution = self.what.grid, self.solution
        missing = np.flatnonzero(~solution.has_solution)
        figures: dict[str, Any] = {
            "kind": KIND, "feeder": self.flow.feeder.name, "start": f"{grid.start:%Y-%m-%dT%H:%M:%SZ}",
            "step_s": grid.step_s, "steps": grid.steps, "files": list(FILES), "notes": list(self.what.notes),
            "no_solution": [f"{grid.at(int(step)):%Y-%m-%dT%H:%M:%SZ}" for step in missing],
        }
        feeder = self.flow.feeder
        counted = (f"{len(feeder.buses)} buses, {len(feeder.lines)} lines, {len(feeder.transformers)} transformers, "
                   f"{len(feeder.connection_points)} connection points")
        lines = [f"{feeder.name}: {counted}", *self.what.notes]
        solved = int(solution.has_solution.sum())
        span = "steady state: " if grid.steps == 1 else f"{grid.steps} steps of {grid.step_s} s: "
        lines.append(span + ("all solved" if not len(missing) else (
            f"{len(missing)} WITHOUT A SOLUTION, from {grid.at(int(missing[0])):%d %b %H:%M}; the load there is beyond "
            "what the feeder can carry"
        )))
        if solved:
            lines += self._extremes(figures)
        lines.append(self._agreement(figures))
        sound = not len(missing) and (self.difference is None or self.difference.agrees)
        figures["is_sound"] = sound
        return FlowRun("\n".join(lines), figures, sound)

    def _extremes(self, figures: dict[str, Any]) -> list[str]:
        """The worst of every kind of limit: what, where, when, and for how long it is beyond."""
        values = self.watched.values(self.solution)
        values[:, ~self.solution.has_solution] = np.nan
        hours = self.what.grid.step_hours
        steady = self.what.grid.steps == 1
        worst: dict[str, Any] = {}
        lines = []
        for kind in Kind:
            rows = np.flatnonzero(self.watched.kinds == kind)
            if not len(rows):
                continue
            row, step = np.unravel_index(np.nanargmax(values[rows]), values[rows].shape)
            place = self.watched.rows[int(rows[row])]
            value = abs(float(values[rows[row], step]))
            beyond = (values[rows] > self.watched.limit[rows][:, None]).sum(axis=1) * hours
            when = self.what.grid.at(int(step))
            worst[kind.value] = {
                "where": place.where, "phase": place.phase, "value": value, "limit": abs(place.limit),
                "at": f"{when:%Y-%m-%dT%H:%M:%SZ}", "places_beyond": int((beyond > 0).sum()),
                "hours_beyond": float(beyond.sum()),
            }
            shown = f"{value:.4f} p.u." if kind in (Kind.VOLTAGE_LOW, Kind.VOLTAGE_HIGH) else f"{100.0 * value:.1f} %"
            name = {Kind.VOLTAGE_LOW: "lowest voltage of a connection point",
                    Kind.VOLTAGE_HIGH: "highest voltage of a connection point",
                    Kind.LINE: "busiest line", Kind.TRANSFORMER: "busiest transformer",
                    Kind.UNBALANCE: "largest unbalance"}[kind]
            phase = f" phase {place.phase}" if place.phase else ""
            at = "" if kind in (Kind.LINE, Kind.TRANSFORMER) else "bus "
            moment = "" if steady else f", {when:%d %b %H:%M}"
            places = int((beyond > 0).sum())
            over = "" if not places else f"; BEYOND the limit at {places} place{'s' * (places > 1)}"
            over += "" if not places or steady else f", {beyond.sum():g} place-hours"
            lines.append(f"{name}: {shown} at {at}{place.where}{phase}{moment}{over}")
        lines += self._fuses(worst, hours)
        if self.watched.unrated:
            figures["unrated_segments"] = self.watched.unrated
            lines.append(f"{self.watched.unrated} line phases have no rating and are not judged")
        kwh = float(np.nansum(self.solution.losses_w())) * hours / 1000.0
        taken = float(np.nansum(self.solution.source_power().real)) * hours / 1000.0
        figures |= {"worst": worst, "losses_kwh": kwh, "source_kwh": taken}
        unit = "kW" if steady else "kWh"
        lines.append(f"from the grid above {round(taken, 1) + 0.0:.1f} {unit}, of which lost "
                     f"{round(kwh, 2) + 0.0:.2f} {unit}")
        return lines

    def _fuses(self, worst: dict[str, Any], hours: float) -> list[str]:
        """The fuse that carries most of what it is rated for."""
        fuses = Fuses(self.flow)
        if not len(fuses.rows):
            return []
        loading = fuses.loading(self.solution)
        number, step = np.unravel_index(np.nanargmax(loading), loading.shape)
        terminal = self.flow.terminals[fuses.rows[number]]
        value, when = float(loading[number, step]), self.what.grid.at(int(step))
        beyond = (loading > 1.0 + ROUNDING).sum(axis=1) * hours
        places = int((beyond > 0).sum())
        worst["fuse"] = {
            "where": terminal.connection_point, "phase": terminal.phase, "value": value, "limit": 1.0,
            "at": f"{when:%Y-%m-%dT%H:%M:%SZ}", "places_beyond": places, "hours_beyond": float(beyond.sum()),
        }
        steady = self.what.grid.steps == 1
        over = "" if not places else f"; BEYOND its fuse at {places} place{'s' * (places > 1)}"
        over += "" if not places or steady else f", {beyond.sum():g} place-hours"
        moment = "" if steady else f", {when:%d %b %H:%M}"
        where = f"connection point {terminal.connection_point} phase {terminal.phase}"
        return [f"busiest fuse: {100.0 * value:.1f} % of {fuses.amperes[number]:g} A at {where}{moment}{over}"]

    def _agreement(self, figures: dict[str, Any]) -> str:
        if self.difference is None:
            figures["second_engine"] = {"checked": False, "reason": self.engine}
            return f"second engine: not asked: {shortened(self.engine)}"
        one = self.difference
        figures["second_engine"] = {"engine": self.engine, **apart.as_figures(one)}
        return (f"second engine ({self.engine}): {'agrees' if one.agrees else 'DIFFERS'} over {one.steps} steps, "
                f"apart by at most {apart.in_words(one)}")


def shortened(reasons: str) -> str:
    """The first of several reasons, and how many there are."""
    first, *others = reasons.split("; ")
    return first + (f"; and {len(others)} more" if others else "")
