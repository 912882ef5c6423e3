"""At which connection point each EVSE hangs, and on which phases."""

from __future__ import annotations

import random
from collections.abc import Sequence

from twin.assets import Current, Evse
from twin.feeder.network.model import Feeder
from twin.feeder.network.phases import PHASES
from twin.scenario.feeder.context import Context
from twin.scenario.fleet import group_ids
from twin.scenario.tables import FeederTable, ScenarioFile


def places_of(
    context: Context, file: ScenarioFile, table: FeederTable, feeder: Feeder, candidates: list[str], evses: list[str]
) -> list[str]:
    """Connection point of each EVSE."""
    group_of = {evse: group.id for group in file.station_groups for evse in group_ids(group)}
    for name in table.groups:
        if name not in evses and name not in group_of.values():
            raise context.fault(".groups", name, "the id of a station group or station")
    parts: dict[str, list[str]] = {}
    for evse in evses:
        part = evse if evse in table.groups else group_of.get(evse, "")
        parts.setdefault(part if part in table.groups else "", []).append(evse)
    order = {point.id: number for number, point in enumerate(feeder.connection_points)}
    found: dict[str, str] = {}
    for part, members in parts.items():
        where = f".groups.{part}" if part else ".points"
        points = table.groups[part] if part else candidates
        match table.spread:
            case "listed":
                if len(points) < len(members):
                    raise context.fault(where, f"{len(points)} points", f"one for each of {len(members)} EVSEs")
                chosen = points[:len(members)]
            case "seeded":
                draw = random.Random(f"{file.truth.seed}/feeder/{part}")
                chosen = []
                while len(chosen) < len(members):
                    # Only `random()` is promised to give the same numbers in every Python version.
                    chosen += sorted(points, key=lambda _: draw.random())
            case "even":
                ordered = sorted(points, key=order.__getitem__)
                chosen = [ordered[(2 * k + 1) * len(ordered) // (2 * len(members))] for k in range(len(members))]
        found.update(zip(members, chosen, strict=False))
    return [found[evse] for evse in evses]


def wiring_of(
    context: Context, table: FeederTable, feeder: Feeder, evses: Sequence[Evse], points: Sequence[str]
) -> list[str]:
    """Phases of each EVSE, that of its first conductor first; a car of fewer phases takes the first ones."""
    there = {point.id: point.phases for point in feeder.connection_points}
    given: Sequence[str | None]
    if isinstance(table.phases, list):
        if len(table.phases) != len(evses):
            raise context.fault(".phases", f"{len(table.phases)} entries", f"one for each of {len(evses)} EVSEs")
        given = table.phases
    else:
        given = [table.phases] * len(evses)
    turns = dict.fromkeys(PHASES, 0)
    found = []
    for evse, point, phases in zip(evses, points, given, strict=True):
        wired = evse.ac_phases if evse.current is Current.AC else len(there[point])
        own = there[point] if phases is None else phases
        if not set(own) <= set(there[point]):
            raise context.fault(".phases", own, f"among the phases {there[point]} of {point}, where {evse.id} hangs")
        if phases is None and wired > len(own):
            raise context.fault(
                ".points", point, f"a point with {wired} phases for {evse.id}: it has {len(own)} (else say ac_phases "
                "of the station, or feeder.phases)",
            )
        # The least used phase comes first, as installers turn them; of equally used ones the first by name.
        first = own.index(min(own, key=turns.__getitem__)) if table.rotate else 0
        turns[own[first]] += 1
        turned = own[first:] + own[:first]
        found.append(turned if phases is not None else turned[:wired])
    return found
