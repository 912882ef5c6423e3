r"""What one car runs through between two orders: a segment of constant power and of taper, in closed form.

    power limit                 segments of an order "charge with WANT kW"
      |‾‾‾‾‾‾‾\                1  constant until MEET, where the limit has come down to it, then along the limit until
    WANT ------+\                 the piece of the curve ends
      |          \____ stop    2  along the next piece
                               3  nothing: full (or at the floor, or no longer worth the losses)

Energies are counted along the flow: u = energy while charging, u = -energy while discharging, so u always grows and
one set of formulas serves both directions. On one piece of a power curve the limit is LINE + SLOPE*u, or HEIGHT where
that is less (a level with the fall behind it is one piece). Following the line makes power an exponential of time with
the rate k = SLOPE:

    moved energy    X(t) = B * t * expm1(k t) / (k t)            [kWh, t in h]
    integral of B^2      = X * (B + k X / 2)                     [for the quadratic loss]
    time to move dx      = dx / B * log1p(k dx / B) / (k dx / B)

Matrices are of shape (row, slot); rows are named by the constants below.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Slots = NDArray[np.intp]

HOURS_PER_SECOND: Final = 1.0 / 3600.0
SECONDS_PER_HOUR: Final = 3600.0
_NOBODY = np.zeros(0, dtype=np.intp)

# Rows stand together that are read or written together: a step of constant power is one product and one sum of blocks.
# B, FLOW, LOST: battery power along the flow (kW, 0 or more), power at the connector (signed) and lost, at the start of
# the segment. MEET: u from which the line is followed (inf: never). END: u at which it ends. ORDER, ASK: set-point as
# given and clipped. WANT: battery power for it.
B, FLOW, LOST, MEET, END, ORDER, ASK, WANT = range(8)
ACTING: Final = 8
"""So many rows an order changes."""
# U, IMPORT, LOSS, EXPORT: energies at the start of the segment, BEGIN_S: when that was. LINE, SLOPE, HEIGHT, KNOT:
# limit and end of the piece of the curve; one that is level to its end has an infinite line. TOP, BOTTOM: clip of
# set-points. TO: +1 charging, -1 discharging.
U, IMPORT, LOSS, EXPORT, BEGIN_S, LINE, SLOPE, HEIGHT, KNOT, TOP, BOTTOM, TO = range(ACTING, ACTING + 12)
MOVING: Final = ACTING + 12
"""So many rows change while a car stands there, the others only when one comes or goes."""
PLUG_E, GAINED, IS_PLUGGED = range(MOVING, MOVING + 3)
# The car: window, ratings, losses (TAKES: what 1 kW of the battery takes at the connector, without the quadratic loss),
# battery power below which a discharge feeds nothing but losses, class. They stay when it leaves.
CAR: Final = MOVING + 3
CAPACITY, LOW, HIGH, MAX_C, MAX_D, MIN_D, STANDBY, PROPORTIONAL, TAKES, QUADRATIC, OFF_KW, CLASS = range(CAR, CAR + 12)
ROWS: Final = CAR + 12

NO_PIECE: Final = ((LINE, np.inf), (SLOPE, -1.0), (HEIGHT, 0.0), (KNOT, np.inf))
"""The piece of an empty slot, and of a car that may go no further: no power, without an end."""

# Rows of a scratch matrix: what has happened since the segments began. MOVED, THROUGH, GONE: energy moved in the
# battery, through the connector (signed), and lost. U_NOW, B_NOW: u and battery power now.
MOVED, THROUGH, GONE, U_NOW, B_NOW, SPARE = range(6)
SCRATCH_ROWS: Final = 6

_LEAST_KW = 1e-300
"""Power that has died away along a curve: nothing, but may be divided by."""


def growth(y: Floats) -> Floats:
    """expm1(y) / y, and its limit 1 at y = 0."""
    still = y == 0.0
    divisor = np.where(still, 1.0, y)
    return np.where(still, 1.0, np.expm1(divisor) / divisor)


def slowing(z: Floats) -> Floats:
    """log1p(z) / z for z >= -1, and its limits 1 at z = 0 and inf at z = -1."""
    still = z == 0.0
    divisor = np.where(still, 1.0, z)
    with np.errstate(divide="ignore"):
        return np.where(still, 1.0, np.log1p(divisor) / divisor)


def at_chosen(hours: float | Floats, chosen: Slots) -> float | Floats:
    """`hours` of the chosen segments; one number stands for all."""
    return hours if isinstance(hours, float) else hours[chosen]


class Traits(NamedTuple):
    """What occurs in a fleet at all; what does not is not computed (the results are the same to the last bit)."""

    has_discharge: bool
    has_standby: bool
    is_quadratic: bool
    has_rises: bool


def move(b: Floats, hours: float | Floats, x: Floats, traits: Traits) -> NDArray[np.bool_]:
    """Fill `x` (but SPARE) for `hours` after the segments' begin; which have ended by then.

    Rounding may show an end a hair early, never late.
    """
    np.multiply(b[B : LOST + 1], hours, out=x[: GONE + 1])
    u = np.add(b[U], x[MOVED], out=x[U_NOW])
    x[B_NOW] = b[B]
    met = (u > b[MEET]).nonzero()[0]
    if met.size:
        _move_along(b, hours, met, x, traits)
    ended: NDArray[np.bool_] = u >= b[END]
    return ended


def _move_along(b: Floats, hours: float | Floats, met: Slots, x: Floats, traits: Traits) -> None:
    """Fill `x` for segments that have met the line, or followed it from their begin on."""
    power, rate, u = b[B][met], b[SLOPE][met], b[U][met]
    level = b[MEET][met]
    level -= u
    np.maximum(level, 0.0, out=level)
    level_h = level / power
    h = at_chosen(hours, met) - level_h
    moved = rate * h
    if traits.has_rises:
        # A limit that rises is long left behind when power has grown by exp(100): only to be told apart from overflow.
        np.minimum(moved, 100.0, out=moved)
    np.expm1(moved, out=moved)
    moved *= power
    moved /= rate
    # Power is linear in the energy moved; the integral of its square over time is that of itself over energy.
    fallen = rate * moved
    if traits.has_standby or traits.is_quadratic:
        gone = b[PROPORTIONAL][met] * moved
        gone += b[STANDBY][met] * h
        gone += b[QUADRATIC][met] * moved * (power + 0.5 * fallen)
        gone += b[LOST][met] * level_h
        moved += level
    else:
        moved += level
        gone = b[PROPORTIONAL][met] * moved
    power += fallen
    x[B_NOW][met] = np.maximum(power, _LEAST_KW, out=power)
    through = moved + gone
    if traits.has_discharge:
        # The last of a fading discharge must not turn into import by rounding.
        through = np.where(b[TO][met] < 0.0, np.minimum(gone - moved, 0.0), through)
    x[MOVED][met], x[THROUGH][met], x[GONE][met] = moved, through, gone
    moved += u
    x[U_NOW][met] = moved


def book(b: Floats, at_s: float | Floats, x: Floats, *, has_discharge: bool) -> None:
    """End the segments at `at_s`, where `x` holds, and begin the next ones there."""
    b[B] = x[B_NOW]
    if has_discharge:
        b[IMPORT] += np.maximum(x[THROUGH], 0.0, out=x[SPARE])
        b[EXPORT] -= np.minimum(x[THROUGH], 0.0, out=x[SPARE])
        b[LOSS] += x[GONE]
        b[U] += x[MOVED]
    else:
        b[U : LOSS + 1] += x[: GONE + 1]
    b[BEGIN_S] = at_s


def time_to_end(b: Floats) -> Floats:
    """Hours from their begin until the segments end by themselves (inf where they do not)."""
    power = b[B]
    hours: Floats = b[END] - b[U]
    np.maximum(hours, 0.0, out=hours)
    still = power == 0.0
    np.divide(hours, power, out=hours, where=~still)
    hours[still] = np.inf
    meets = ((b[END] > b[MEET]) & ~still).nonzero()[0]
    if meets.size:
        u, meet, power = b[U][meets], b[MEET][meets], power[meets]
        along_h = (b[END][meets] - np.maximum(meet, u)) / power
        along_h *= slowing(np.maximum(b[SLOPE][meets] * along_h, -1.0))
        hours[meets] = np.maximum(meet - u, 0.0) / power + along_h
    return hours


def wanted_kw(b: Floats, ask: Floats, traits: Traits) -> Floats:
    """Battery power for connector power `ask`, both along the flow: the root of c = b + loss(b)."""
    if traits.has_discharge:
        to, through = b[TO], np.abs(ask)
        if traits.has_standby:
            through = np.where(ask == 0.0, 0.0, np.maximum(through - to * b[STANDBY], 0.0))
        slope = to * b[PROPORTIONAL]
        slope += 1.0
    else:
        to, through = None, np.maximum(ask - b[STANDBY], 0.0) if traits.has_standby else ask
        slope = b[TAKES]
    if not traits.is_quadratic:
        power: Floats = through / slope
        return power
    bend: Floats = 4.0 * b[QUADRATIC]
    if to is not None:
        bend *= to
    bend *= through
    bend += slope * slope
    np.maximum(bend, 0.0, out=bend)
    np.sqrt(bend, out=bend)
    bend += slope
    np.divide(2.0 * through, bend, out=bend)
    return bend


def begin(b: Floats, traits: Traits) -> None:
    """Begin the segments for ASK."""
    b[WANT] = wanted_kw(b, b[ASK], traits)
    follow(b, traits)


def follow(b: Floats, traits: Traits) -> None:
    """Begin segments for ASK and WANT where the slots now stand on their curves.

    A limit that falls is followed from where it comes down to the power. One that rises is followed from the begin on,
    if it is below the wanted power, until it reaches that. A discharge ends where it feeds nothing.
    """
    want, u, slope, knot = b[WANT], b[U], b[SLOPE], b[KNOT]
    line = slope * u
    line += b[LINE]
    limit = np.minimum(line, b[HEIGHT])
    rising = (slope > 0.0).nonzero()[0] if traits.has_rises else _NOBODY
    if rising.size:
        # What rounding of u makes of the limit on a steep piece is no distance: one that is touched is left.
        close = line[rising] + (4e-16 * b[CAPACITY][rising] * slope[rising] + 1e-11 * (1.0 + want[rising]))
        limit[rising[want[rising] <= close]] = np.inf
    power = np.minimum(want, limit, out=b[B])
    lost_kw(b, power, traits, out=b[LOST])
    b[FLOW], b[END] = b[ASK], knot
    meet = np.subtract(power, line, out=b[MEET])
    meet /= slope
    meet += u
    if rising.size:
        is_limited = np.isfinite(limit[rising])
        meet[rising] = np.where(is_limited, u[rising], np.inf)
        reach = u[rising] + np.maximum(want[rising] - line[rising], 0.0) / slope[rising]
        b[END][rising] = np.where(is_limited, np.minimum(reach, knot[rising]), knot[rising])
    off_kw: float | Floats = 1e-12
    if traits.has_discharge:
        back = ((b[TO] < 0.0) & (slope < 0.0)).nonzero()[0]
        off_kw = np.where(b[TO] < 0.0, b[OFF_KW] + 1e-12, 1e-12)
        fed = u[back] + np.maximum((b[OFF_KW][back] - line[back]) / slope[back], 0.0)
        b[END][back] = np.minimum(fed, knot[back])
    is_limited = want > limit
    if np.count_nonzero(is_limited):
        flow = b[TO] * power + b[LOST] if traits.has_discharge else power + b[LOST]
        np.copyto(b[FLOW], flow, where=is_limited)
        is_limited &= limit <= off_kw
        off = is_limited.nonzero()[0]
        if off.size:
            power[off] = b[LOST][off] = b[FLOW][off] = 0.0
            meet[off], b[END][off] = np.inf, knot[off]


def lost_kw(b: Floats, power: Floats, traits: Traits, out: Floats) -> None:
    """Loss at battery power `power`, while ASK is in force. Charging below the standby loss is lost as a whole."""
    np.multiply(b[PROPORTIONAL], power, out=out)
    if traits.is_quadratic:
        squared = power * power
        squared *= b[QUADRATIC]
        out += squared
    if traits.has_standby:
        ask, standby = b[ASK], b[STANDBY]
        at_most = np.minimum(standby, ask)
        out += np.where(ask < 0.0, standby, at_most) if traits.has_discharge else at_most
