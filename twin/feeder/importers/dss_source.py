"""The grid above an OpenDSS circuit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import radians
from typing import Final

import msgspec

from twin.dss_process.extract import ElementFound
from twin.feeder.importers.dss_branches import Branches
from twin.feeder.importers.imported import Degree
from twin.feeder.network.model import Bus, FeederError, Line, Source

Say = Callable[[Degree, str, str, str], None]

PROPORTIONAL: Final = 1e-9
STIFF: Final = 1e-7
"""Impedance of the source behind an impedance that is a line of its own, as a part of that."""


def source_of(
    sources: Sequence[ElementFound], branches: Branches, volts: Mapping[str, float], say: Say
) -> tuple[Source, tuple[Bus, ...], tuple[Line, ...]]:
    """The source, and a bus and a line of its own where its zero sequence is no multiple of its positive sequence.

    Where only windings that carry no zero sequence hang at the source, its size is all that is taken of it.

    Raises:
        FeederError: there is no source.
    """
    if not sources:
        raise FeederError("circuit", "vsource", None, "a source")
    first = sources[0]
    for element in sources[1:]:
        say(Degree.UNSUPPORTED, element.kind, element.name, "is a second source, expected one")
    bus, values = first.buses[0], first.values
    if first.nodes != [1, 2, 3, 0, 0, 0] or values["sequence"] != "Positive":
        say(Degree.UNSUPPORTED, first.kind, first.name, "expected a source from ground to phases 1, 2 and 3")
    one, zero = (_complex(str(values[name])) for name in ("Z1", "Z0"))
    base = volts[bus]
    if not base or not abs(one) or one.real < 0.0 or one.imag <= 0.0:
        raise FeederError(f"vsource {first.name}", "Z1", one, "an impedance with a reactance above 0")
    u_pu = float(values["pu"]) * float(values["basekv"]) * 1000.0 / base
    angle = radians(float(values["angle"]))
    rx, times = one.real / one.imag, zero / one
    if abs(times.imag) <= PROPORTIONAL * abs(times) or not branches.carries_zero_sequence(bus):
        if abs(times.imag) > PROPORTIONAL * abs(times):
            say(Degree.APPROXIMATED, first.kind, first.name,
                "its zero sequence keeps its size only: nothing at its bus carries any")
        return Source(bus, u_pu, angle, base**2 / abs(one), rx, abs(times), first.name), (), ()
    name = f"{bus} behind source"
    say(Degree.ASSUMED, first.kind, first.name,
        f"its impedance stands as a line of its own between {bus} and the bus {name!r}")
    line = Line.of_sequence(f"{first.name} impedance", name, bus, r1=one.real, x1=one.imag, r0=zero.real, x0=zero.imag)
    return (
        Source(name, u_pu, angle, base**2 / (abs(one) * STIFF), rx, 1.0, first.name), (Bus(name, base),), (line,)
    )


def _complex(text: str) -> complex:
    real, imaginary = msgspec.json.decode(text, type=tuple[float, float])
    return complex(real, imaginary)
