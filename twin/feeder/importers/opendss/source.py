"""The grid above an OpenDSS circuit."""

from __future__ import annotations

from cmath import phase
from collections.abc import Callable, Mapping, Sequence
from math import radians
from typing import Final

import msgspec

from twin.dss_process.extract import ElementFound
from twin.feeder.importers.imported import Degree
from twin.feeder.importers.opendss.branches import Branches
from twin.feeder.network.model import Source
from twin.feeder.network.plausible import FeederError

Say = Callable[[Degree, str, str, str], None]

PROPORTIONAL: Final = 1e-9


def source_of(
    sources: Sequence[ElementFound], branches: Branches, volts: Mapping[str, float], say: Say
) -> Source:
    """The source. Where only windings that carry no zero sequence hang at it, the size is all that is taken of that.

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
    turned = phase(times)
    if abs(times.imag) <= PROPORTIONAL * abs(times):
        turned = 0.0
    elif not branches.carries_zero_sequence(bus):
        say(Degree.APPROXIMATED, first.kind, first.name,
            "its zero sequence keeps its size only: nothing at its bus carries any")
        turned = 0.0
    return Source(bus, u_pu, angle, base**2 / abs(one), rx, abs(times), first.name, turned)


def _complex(text: str) -> complex:
    real, imaginary = msgspec.json.decode(text, type=tuple[float, float])
    return complex(real, imaginary)
