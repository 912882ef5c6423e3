"""A transformer as a 6 x 6 admittance between its two sides, from its name plate and its vector group.

Star, delta and zigzag windings are treated in symmetrical components: positive and negative sequence are turned by
the clock in opposite directions, and the zero sequence passes, is shorted to ground or is blocked, by the windings.
"""

from __future__ import annotations

import re
from cmath import exp
from dataclasses import dataclass
from enum import StrEnum
from math import pi, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.model import Transformer
from twin.feeder.network.plausible import FeederError

Complex = NDArray[np.complex128]

_TURN: Final = exp(2j * pi / 3.0)
FROM_SEQUENCE: Final[Complex] = np.array([[1, 1, 1], [1, _TURN**2, _TURN], [1, _TURN, _TURN**2]])
"""Columns: zero, positive and negative sequence in phases a, b, c (Fortescue)."""
TO_SEQUENCE: Final[Complex] = FROM_SEQUENCE.conj().T / 3.0

ZIGZAG_ZERO_SEQUENCE: Final = 0.1
"""Zero- over positive-sequence impedance of a zigzag winding: its half windings on one limb nearly cancel."""


class Winding(StrEnum):
    STAR = "Y"
    GROUNDED_STAR = "YN"
    DELTA = "D"
    ZIGZAG = "Z"
    GROUNDED_ZIGZAG = "ZN"


@dataclass(frozen=True, slots=True)
class VectorGroup:
    """Windings of both sides and the clock: the lower voltage lags by 30 degrees times `clock`."""

    upper: Winding
    lower: Winding
    clock: int


def vector_group(name: str) -> VectorGroup:
    """Read `Dyn11`: upper winding in capitals, lower one in small letters, the clock from 0 to 12.

    Raises:
        FeederError: not such a name, or a clock that these windings cannot have (IEC 60076-1: even without, odd with
            one delta or zigzag winding).
    """
    match = re.fullmatch(r"(YN|Y|D|ZN|Z)(yn|y|d|zn|z)(1[0-2]|[0-9])", name)
    if match is None:
        raise FeederError("transformer", "vector_group", name, "a vector group with its clock, such as Dyn11")
    upper, lower, clock = Winding(match[1]), Winding(match[2].upper()), int(match[3]) % 12
    stars = [winding in {Winding.STAR, Winding.GROUNDED_STAR} for winding in (upper, lower)]
    if (clock % 2 == 0) != (stars[0] == stars[1]):
        raise FeederError("transformer", "vector_group", name, "a clock that these windings can have")
    return VectorGroup(upper, lower, clock)


def grounds(winding: Winding, other: Winding) -> bool:
    """Whether zero-sequence current can flow to ground in `winding` by itself, whatever stands beyond `other`."""
    return winding is Winding.GROUNDED_ZIGZAG or (winding is Winding.GROUNDED_STAR and other is Winding.DELTA)


def admittance(transformer: Transformer) -> Complex:
    """Currents into both sides (from a, b, c, to a, b, c; A) over their voltages to ground (V): shape (6, 6), siemens.

    Source: series and shunt branch on the `to` side as on the name plate, half of the shunt at each end; IEC 60909
    for the zero sequence.
    """
    if transformer.vector_group is None:
        raise FeederError(f"transformer {transformer.id}", "vector_group", None, "a vector group, such as Dyn11")
    group = vector_group(transformer.vector_group)
    from_volts, to_volts = transformer.tapped_volts
    base = to_volts**2 / transformer.rated_va
    resistance = transformer.pk_w / transformer.rated_va
    series = base * complex(resistance, sqrt(transformer.uk**2 - resistance**2))
    iron = transformer.p0_w / transformer.rated_va
    shunt = complex(iron, -sqrt(max(transformer.i0**2 - iron**2, 0.0))) / base
    ratio = from_volts / to_volts
    from_ground = complex(*transformer.from_grounding_ohm) / ratio**2
    to_ground = complex(*transformer.to_grounding_ohm)

    def sequence(impedance: complex, turn: float) -> Complex:
        """Two-port of one sequence: from side, to side."""
        tapped, through = ratio * exp(1j * turn), 1.0 / impedance
        own = through + 0.5 * shunt
        return np.array([[own / ratio**2, -through / tapped.conjugate()], [-through / tapped, own]])

    turn = group.clock * pi / 6.0
    zero = np.zeros((2, 2), dtype=np.complex128)
    if group.upper is Winding.GROUNDED_STAR and group.lower is Winding.GROUNDED_STAR:
        reversed_star = pi if group.clock in {2, 6, 10} else 0.0
        zero = sequence(series + 3.0 * (from_ground + to_ground), reversed_star)
    for side, winding, other, ground in (
        (0, group.upper, group.lower, from_ground), (1, group.lower, group.upper, to_ground),
    ):
        scale = 1.0 if side else 1.0 / ratio**2
        if winding is Winding.GROUNDED_ZIGZAG:
            zero[side, side] += scale / (ZIGZAG_ZERO_SEQUENCE * series + 3.0 * ground)
        elif grounds(winding, other):
            zero[side, side] += scale / (1.0 / (1.0 / series + shunt) + 3.0 * ground)
        elif winding is Winding.GROUNDED_STAR and other is not Winding.GROUNDED_STAR and shunt:
            # Nothing answers on the other side: what is left is the iron's branch.
            zero[side, side] += scale / (1.0 / shunt + 3.0 * ground)

    blocks = (zero, sequence(series, turn), sequence(series, -turn))
    ports = np.zeros((6, 6), dtype=np.complex128)
    for i in range(2):
        for j in range(2):
            diagonal = np.diag([block[i, j] for block in blocks])
            ports[3 * i:3 * i + 3, 3 * j:3 * j + 3] = FROM_SEQUENCE @ diagonal @ TO_SEQUENCE
    return ports
