"""Which of the demo's cars hold real ISO 15118 sessions with their chargers, and in which Python they can."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aggregator.demo.scene import Scene
from aggregator.reports.day import WireFact
from aggregator.stations import NoStationInterpreter, station_interpreter
from twin.assets import Visit

ON_THE_WIRE = 4
"""One more than the criterion asks for: a driver may leave early."""


@dataclass(frozen=True)
class WirePlan:
    """interpreter: what runs the stations. stations: whose cars are on the wire. missing: why there are none, or ""."""

    interpreter: Path
    stations: frozenset[str] = frozenset()
    missing: str = ""


def wire_plan(scene: Scene) -> WirePlan:
    """The stations' own environment and its cars on the wire; without one, this Python and the fast rail for all."""
    try:
        return WirePlan(station_interpreter(), chosen(scene))
    except NoStationInterpreter as fault:
        return WirePlan(Path(sys.executable), missing=str(fault))


def chosen(scene: Scene) -> frozenset[str]:
    """The bidirectional stations whose cars have most room for more than their drivers want, over the whole event."""
    event, truth = scene.tables.signals.event, scene.scenario.truth()
    there = [
        visit for visit in truth.visits
        if visit.vehicle.max_discharge_kw > 0 and visit.arrival < event.start and visit.departure > event.end
    ]
    best = {visit.evse_id for visit in sorted(there, key=lambda v: (-_room_kwh(scene, v), v.evse_id))[:ON_THE_WIRE]}
    return frozenset(s.id for s in scene.scenario.public().stations if s.evse.id in best and s.protocol == "ocpp2.1")


def _room_kwh(scene: Scene, visit: Visit) -> float:
    battery = visit.vehicle.battery
    return battery.capacity_kwh * battery.soc_max - visit.energy_kwh - scene.declared()[visit.id].requested_kwh


_KINDS = ("session_charges", "session_broke")


@dataclass
class WireLog:
    """What the stations said of their sessions, by station id.

    file: keeps it for a day that is interrupted and resumed.
    """

    file: Path
    words: dict[str, str] = field(default_factory=dict)
    charged: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    setup_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file.is_file():
            for line in self.file.read_text("utf-8").splitlines():
                self._count(json.loads(line))

    def take(self, line: Mapping[str, Any]) -> None:
        """A line of the stations' process; it counts if it is about a session."""
        if line["type"] in _KINDS:
            with self.file.open("a", encoding="utf-8") as kept:
                kept.write(json.dumps(line) + "\n")
            self._count(line)

    def _count(self, line: Mapping[str, Any]) -> None:
        name = line["station_id"]
        if line["type"] == "session_broke":
            self.broken[name] += 1
        else:
            self.charged[name] += 1
            self.words[name] = f"{line['language']}, {line['transfer']}, {line['control']}"
            self.setup_s[name] = max(self.setup_s.get(name, 0.0), float(line["setup_s"]))

    def facts(self, scene: Scene) -> tuple[WireFact, ...]:
        """What the report says of the chargers that really held sessions."""
        return tuple(
            WireFact(s.evse.id, self.words[s.id], self.charged[s.id], self.broken[s.id], self.setup_s[s.id])
            for s in scene.scenario.public().stations if s.id in self.words
        )
