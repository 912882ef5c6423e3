"""The connection-point meter: exact means of EV power and building load, by period and by whole minute."""

from __future__ import annotations

from twin.station.clock import iso
from twin.station.plant import Building, Plant
from twin.station.reporter import Reporter
from twin.station.timeline import Timeline

LEAST_WALL_S = 0.06
MINUTE_S = 60.0


class SiteMeter:
    """Reports `site_meter` lines every period and `minute` lines, aligned to whole domain minutes.

    period_s: domain seconds, stretched so that no two readings are closer than 60 ms of wall time.
    """

    def __init__(
        self, plant: Plant, building: Building, timeline: Timeline, reporter: Reporter, period_s: float
    ) -> None:
        self._plant, self._building = plant, building
        self._timeline, self._reporter = timeline, reporter
        self._period_s = period_s
        self._reading = (timeline.now, 0.0)
        self._minute = (timeline.now, 0.0)

    def start(self) -> None:
        begin = self._timeline.now
        energy = self._plant.ev_kwh()
        self._reading = self._minute = (begin, energy)
        self._timeline.at(self._next_reading(begin), self._read)
        self._timeline.at(_next_minute(begin), self._read_minute)

    def _next_reading(self, at: float) -> float:
        return self._timeline.clock.next_tick(at, self._period_s, LEAST_WALL_S)

    def _read(self, at: float) -> None:
        begin, before = self._reading
        energy = self._plant.ev_kwh()
        self._reading = (at, energy)
        ev_kw = (energy - before) * 3600.0 / (at - begin)
        building_kw = self._building.mean_kw(begin, at)
        self._reporter.report({
            "type": "site_meter", "at": iso(at), "start": iso(begin),
            "import_kw": round(ev_kw + building_kw, 6), "ev_kw": round(ev_kw, 6),
        })
        self._timeline.at(self._next_reading(at), self._read)

    def _read_minute(self, at: float) -> None:
        begin, before = self._minute
        energy = self._plant.ev_kwh()
        self._minute = (at, energy)
        if at - begin == MINUTE_S:  # the first one is cut by the start of the process and says nothing about a minute
            ev_kw = (energy - before) * 3600.0 / MINUTE_S
            building_kw = self._building.mean_kw(begin, at)
            self._reporter.report({
                "type": "minute", "start": iso(begin), "net_kw": round(ev_kw + building_kw, 6),
                "ev_kw": round(ev_kw, 6), "building_kw": round(building_kw, 6),
            })
        self._timeline.at(_next_minute(at), self._read_minute)


def _next_minute(at: float) -> float:
    return (at // MINUTE_S + 1.0) * MINUTE_S
