"""Which rail a station's EVSE has: the fast one, or the wire of `twin.station.iso15118` where that is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from twin.station.fast_rail import FastRail
from twin.station.fleetfile import FleetFile, FleetFileError, StationSpec
from twin.station.rail import Rail, RailListener
from twin.station.timeline import Timeline

RailMaker = Callable[[RailListener], Rail]

_ONLY_THERE = frozenset(("iso15118", "pydantic", "aiofile", "environs"))

LOOP_WALL_S = 0.25
"""Between two charge loops of a car where a second is a second; the standard allows 0.5 s for an answer."""
LOOP_DOMAIN_S = 20.0
LEAST_LOOP_WALL_S = 0.025
"""Where time is scaled, cars talk more often: a loop of 0.25 s at 480 times would hold a set-point for two minutes."""


def loop_pause_s(factor: float) -> float:
    """Wall seconds between two charge loops at `factor` domain seconds per wall second."""
    return max(LEAST_LOOP_WALL_S, min(LOOP_WALL_S, LOOP_DOMAIN_S / factor))


def evse_id_15118(name: str) -> str:
    """An EVSE's id in the form of ISO 15118-2 Annex H.2: country, operator, E and at most 31 letters and digits."""
    outlet = "".join(letter for letter in name.upper() if letter.isascii() and letter.isalnum())
    return f"DE*V2G*E{outlet[:31] or '1'}"


def rails_of(fleet: FleetFile, timeline: Timeline) -> list[RailMaker]:
    """For each station of `fleet`, what makes its rail.

    Raises:
        FleetFileError: a station is on the wire, and this interpreter has no `iso15118`.
    """
    return [_maker(station, index, timeline) for index, station in enumerate(fleet.stations)]


def _maker(station: StationSpec, index: int, timeline: Timeline) -> RailMaker:
    if station.rail == "fast":
        return FastRail
    wire = _wire()
    if wire is None:
        raise FleetFileError(
            f"$.stations[{index}].rail: 'wire' of {station.id!r} needs the package iso15118, which this interpreter "
            "lacks; expected the station's own environment, or 'fast'"
        )
    options = wire.WireOptions(
        evse_id=evse_id_15118(station.evse.id), pause_s=lambda: loop_pause_s(timeline.clock.factor(timeline.now)),
        now=timeline.clock.now,
    )

    def make(listener: RailListener) -> Rail:
        rail: Rail = wire.WireRail(station.evse.ratings(), listener, options)
        return rail

    return make


def _wire() -> Any:
    """The room of the wire; None in an environment without what it stands on. Imported by name, so that the two
    environments may be checked apart.
    """
    try:
        return importlib.import_module("twin.station.iso15118")
    except ModuleNotFoundError as fault:
        if (fault.name or "").split(".")[0] in _ONLY_THERE:
            return None
        raise
