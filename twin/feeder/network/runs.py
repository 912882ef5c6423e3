"""Lines in a row, with nothing between them, as one line.

A feeder from a map has a bus at every bend of a cable: of 906 buses of the European LV feeder some 130 carry a load,
a branch or another kind of cable. Between those the current is the same and the voltage falls in proportion to the
impedance, so a flow solves the few and every other bus follows exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from twin.feeder.network.model import NO_CAPACITANCE, Feeder, Line
from twin.feeder.network.transformer_model import Complex

IN_A_ROW = 2
"""Lines at a bus that is between."""

PROPORTIONAL = 1e-10
"""Two lines are of one kind if their impedances agree to this fraction after scaling: figures printed with ten digits
do, and what it leaves of a voltage is 1e-10 of the fall along one cable."""


@dataclass(frozen=True, slots=True)
class Run:
    """A line, or several of one kind one behind the other, from one key bus to another.

    lines: their numbers in the feeder, and whether each points along the run. fractions: of the impedance, up to each
    bus between. impedance: of the whole run, ohm, (3, 3).
    """

    from_bus: str
    to_bus: str
    phases: str
    impedance: Complex
    lines: tuple[tuple[int, bool], ...]
    between: tuple[str, ...]
    fractions: tuple[float, ...]


def impedance(line: Line) -> Complex:
    """R + jX of a line in ohm, (3, 3)."""
    total: Complex = np.asarray(line.r_ohm) + 1j * np.asarray(line.x_ohm)
    return total


def runs(feeder: Feeder, keys: Iterable[str]) -> tuple[Run, ...]:
    """All lines of `feeder` in runs; `keys` are buses that must not be between (loads, source, transformers)."""
    at_bus: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(feeder.lines):
        at_bus[line.from_bus].append(number)
        at_bus[line.to_bus].append(number)
    ohms = [impedance(line) for line in feeder.lines]
    ends = set(keys) | {
        bus for bus, here in at_bus.items()
        if len(here) != IN_A_ROW
        or not _one_kind(feeder.lines[here[0]], feeder.lines[here[1]], ohms[here[0]], ohms[here[1]])
    }
    done: set[int] = set()
    found: list[Run] = []
    for start in (bus.id for bus in feeder.buses if bus.id in ends):
        for first in at_bus[start]:
            if first not in done:
                found.append(_follow(feeder, ohms, at_bus, ends, start, first))
                done.update(number for number, _ in found[-1].lines)
    return tuple(found)


def _one_kind(one: Line, other: Line, one_ohm: Complex, other_ohm: Complex) -> bool:
    if one.phases != other.phases or one.c_farad != NO_CAPACITANCE or other.c_farad != NO_CAPACITANCE:
        return False
    scale = np.abs(one_ohm).max() / np.abs(other_ohm).max()
    return bool(np.abs(one_ohm - scale * other_ohm).max() <= PROPORTIONAL * np.abs(one_ohm).max())


def _follow(
    feeder: Feeder, ohms: list[Complex], at_bus: dict[str, list[int]], ends: set[str], start: str, first: int
) -> Run:
    bus, number, lines, between = start, first, list[tuple[int, bool]](), list[str]()
    while True:
        line = feeder.lines[number]
        along = line.from_bus == bus
        lines.append((number, along))
        bus = line.to_bus if along else line.from_bus
        if bus in ends:
            break
        between.append(bus)
        here = at_bus[bus]
        number = here[1] if here[0] == number else here[0]
    lengths = np.array([np.abs(ohms[number]).max() for number, _ in lines])
    fractions = (np.cumsum(lengths) / lengths.sum())[:-1]
    total = sum(ohms[number] for number, _ in lines)
    return Run(
        start, bus, feeder.lines[first].phases, np.asarray(total), tuple(lines), tuple(between),
        tuple(float(fraction) for fraction in fractions),
    )
