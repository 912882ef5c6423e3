"""Buses of a pandapower network, and which of them closed switches make one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from twin.feeder.importers.pandapower.reading import Reading
from twin.feeder.importers.pandapower.tables import Row
from twin.feeder.network.model import Bus
from twin.feeder.network.plausible import is_figure


def buses(reading: Reading) -> list[Bus]:
    """One for all that closed switches join; the reading knows from here on which number is which bus."""
    places = {row.index: (row.get("x"), row.get("y")) for row in reading.rows("bus_geodata")}
    kept = list(reading.rows("bus"))
    joined = _joined(reading, {row.index for row in kept})
    buses = []
    for row in kept:
        if joined[row.index] != row.index:
            continue
        volts = reading.take(row, "vn_kv") * 1000.0
        # Also of a bus that is refused: what stands at it is read all the same, so that all faults are told at once.
        reading.volts[row.name] = volts
        bus = reading.built(row, Bus, id=row.name, volts=volts, xy=_drawn_at(row, places))
        if bus is not None:
            buses.append(bus)
            reading.came("bus", bus.id)
    names = {row.index: row.name for row in kept}
    reading.bus_of = {number: names[first] for number, first in joined.items()}
    return buses


def _joined(reading: Reading, buses: set[int]) -> dict[int, int]:
    """Buses that closed switches without impedance make one, by their smallest number."""
    first = {number: number for number in buses}

    def of(number: int) -> int:
        while first[number] != number:
            number = first[number]
        return number

    for row in reading.switches():
        ends = [end for end in (row.get("bus"), row.get("element")) if isinstance(end, int)]
        is_joint = len(ends) > 1 and row.get("et") == "b" and row.get("closed") and not row.get("z_ohm")
        if is_joint and all(end in buses for end in ends):
            one, other = sorted(of(end) for end in ends)
            first[other] = one
    return {number: of(number) for number in buses}


def _drawn_at(row: Row, places: Mapping[int, tuple[Any, Any]]) -> tuple[float, float] | None:
    """Where a bus is drawn: a GeoJSON point of its own, or a row of the older table."""
    found: Any = places.get(row.index)
    if isinstance(row.get("geo"), str):
        try:
            found = msgspec.json.decode(row.get("geo"), type=dict[str, Any]).get("coordinates")
        except msgspec.DecodeError:
            return None
    if not isinstance(found, (list, tuple)) or len(found) < 2:  # noqa: PLR2004 - x and y
        return None
    x, y = found[:2]
    return (float(x), float(y)) if is_figure(x) and is_figure(y) else None
