"""What is taken for granted of a scenario's feeder, and what of it is hardly meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from pathlib import Path
from typing import Final

from twin.assets import Evse
from twin.feeder.network.model import Feeder
from twin.feeder.network.phases import PHASES
from twin.feeder.network.validity import faults
from twin.scenario.tables import FeederTable

TOLD: Final = 3
"""Remarks about a feeder that are told word for word."""
UNEVEN: Final = 2.0
"""A phase with so many times the EVSEs of one phase that any other one has is warned of."""


def assumed(
    table: FeederTable, feeder: Feeder, points: Sequence[str], wiring: Sequence[str], homes: Sequence[str]
) -> Iterator[str]:
    """In sentences: where the feeder comes from, where EVSEs hang, and what is drawn without them."""
    licence = f" ({feeder.licence})" if feeder.licence else ""
    yield f"The grid is {feeder.name}{licence}. {feeder.provenance}".rstrip(". ") + "."
    if table.source_pu is not None:
        yield f"The grid above it stands at {table.source_pu:g} p.u., as the scenario says."
    where = {"even": "evenly spread over", "seeded": "drawn among", "listed": "in the order of"}[table.spread]
    counts = {phase: sum(phase in phases for phases in wiring) for phase in PHASES}
    yield (
        f"The {len(points)} EVSEs hang at {len(set(points))} connection points, {where} those given; on phases a, b "
        f"and c are {counts['a']}, {counts['b']} and {counts['c']}. They draw at power factor {table.power_factor:g}."
    )
    if any(len(phases) > 1 for phases in wiring):
        yield (
            "A car with fewer phases than its EVSE takes the first of them"
            + (", which are turned from EVSE to EVSE so that all phases carry alike" if table.rotate else "")
            + "; a step in which one car leaves and another comes counts as the latter's."
        )
    if table.file is not None:
        yield f"What the grid carries without EVs is read from {Path(table.file).name}."
    elif table.hourly_kw is not None:
        yield f"Each of {len(homes)} homes draws the same hourly powers on every local day."
    elif table.example is not None:
        yield f"Each of {len(homes)} homes draws the example's assumed day on every local day."
    else:
        yield "Nothing but EVs hangs on the feeder, as no load is given: every violation is theirs."
    if table.file is not None or table.hourly_kw is not None or table.example is not None:
        yield f"Homes draw at power factor {table.load_power_factor:g}; what they feed in has no reactive power."
    yield (
        "The site's load is that of all homes together; its caps are on the sum of what homes and cars draw, without "
        "the losses of the cables."
    )


def warnings_of(
    feeder: Feeder, evses: Sequence[Evse], points: Sequence[str], wiring: Sequence[str]
) -> Iterator[str]:
    """Remarks about the network, phases that fill up first, EVSEs that draw more than their fuse carries."""
    found = [str(fault) for fault in faults(feeder) if not fault.blocking]
    yield from (f"feeder {feeder.name}: {fault}" for fault in found[:TOLD])
    if len(found) > TOLD:
        yield f"feeder {feeder.name}: {len(found) - TOLD} more remarks of this kind (v2g feeder check tells them all)."
    alone = [phases for phases in wiring if len(phases) == 1]
    counts = {phase: alone.count(phase) for phase in PHASES}
    most = max(counts, key=counts.__getitem__)
    if counts[most] >= UNEVEN * max(2, *(counts[phase] for phase in PHASES if phase != most)):
        yield (
            f"{counts[most]} of {len(alone)} EVSEs of one phase hang on phase {most} ("
            + ", ".join(f"{counts[phase]} on {phase}" for phase in PHASES if phase != most)
            + "): it fills up first. EVSEs take the phase of their point: feeder.points or groups choose others."
        )
    fuses = {point.id: point.fuse_a for point in feeder.connection_points}
    volts = {point.id: bus.volts / sqrt(3.0) for point in feeder.connection_points for bus in feeder.buses
             if bus.id == point.bus}
    over = []
    for evse, point, phases in zip(evses, points, wiring, strict=True):
        amperes = 1000.0 * max(evse.max_charge_kw, evse.max_discharge_kw) / len(phases) / volts[point]
        fuse = fuses[point]
        if fuse is not None and amperes > fuse:
            over.append((amperes / fuse, f"{evse.id} can draw {amperes:.0f} A at {point}, whose fuse is {fuse:g} A"))
    if over:
        more = f" ({len(over)} EVSEs in all)" if len(over) > 1 else ""
        yield f"{max(over)[1]}{more}."
