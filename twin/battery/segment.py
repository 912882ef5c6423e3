r"""What one car runs through between two orders: a segment of constant power or of taper, in closed form.

    power limit                 segments of an order "charge with WANT kW"
      |‾‾‾‾‾‾‾\                1  constant: WANT is below the limit
    WANT ------+\              2  taper: the limit is followed to its next knot
      |          \____ stop    3  nothing: full (or at the floor, or no longer worth the losses)

Energies are counted along the flow: u = energy while charging, u = -energy while discharging, so u always grows and
one set of formulas serves both directions. On one piece of a power curve the limit is LINE + SLOPE*u, and following
it makes power an exponential of time with RATE = SLOPE:

    moved energy    X(t) = B * t * expm1(k t) / (k t)            [kWh, t in h]
    integral of B^2      = B^2 * t * expm1(2 k t) / (2 k t)      [for the quadratic loss]
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

# Rows stand together that are read or written together: a step of constant power is one product and one sum of blocks.
# B, FLOW, LOST: battery power along the flow (kW, 0 or more), power at the connector (signed) and lost, at the start of
# the segment. RATE: of its taper. END: u at which it ends. ORDER, ASK: set-point as given and clipped. WANT: battery
# power for it.
B, FLOW, LOST, RATE, END, ORDER, ASK, WANT = range(8)
ACTING: Final = 8
"""So many rows an order changes."""
# U, IMPORT, LOSS, EXPORT: energies at the start of the segment, BEGIN_S: when that was. LINE, SLOPE, KNOT: limit and
# end of the piece of the curve. TOP, BOTTOM: clip of set-points. TO: +1 charging, -1 discharging.
U, IMPORT, LOSS, EXPORT, BEGIN_S, LINE, SLOPE, KNOT, TOP, BOTTOM, TO = range(ACTING, ACTING + 11)
MOVING: Final = ACTING + 11
"""So many rows change while a car stands there, the others only when one comes or goes."""
PLUG_E, GAINED, IS_PLUGGED = range(MOVING, MOVING + 3)
# The car: window, ratings, losses (TAKES: what 1 kW of the battery takes at the connector, without the quadratic loss),
# battery power below which a discharge feeds nothing but losses, class. They stay when it leaves.
CAR: Final = MOVING + 3
CAPACITY, LOW, HIGH, MAX_C, MAX_D, MIN_D, STANDBY, PROPORTIONAL, TAKES, QUADRATIC, OFF_KW, CLASS = range(CAR, CAR + 12)
ROWS: Final = CAR + 12

# Rows of a scratch matrix: what has happened since the segments began. MOVED, THROUGH, GONE: energy moved in the
# battery, through the connector (signed), and lost. U_NOW: u now.
MOVED, THROUGH, GONE, U_NOW, SPARE = range(5)
SCRATCH_ROWS: Final = 5


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


def move(b: Floats, hours: float | Floats, tapering: Slots, x: Floats, traits: Traits) -> NDArray[np.bool_]:
    """Fill MOVED, THROUGH, GONE and U_NOW of `x` for `hours` after the segments' begin; which have ended by then.

    Rounding may show an end a hair early, never late.
    """
    np.multiply(b[B : LOST + 1], hours, out=x[: GONE + 1])
    if tapering.size:
        h, power, rate = at_chosen(hours, tapering), b[B][tapering], b[RATE][tapering]
        # A limit that rises is long left behind when power has grown by exp(100): only to be told apart from overflow.
        grown = np.minimum(rate * h, 100.0)
        moved = power * np.expm1(grown)
        moved /= rate
        gone = b[PROPORTIONAL][tapering] * moved
        if traits.has_standby:
            gone += b[STANDBY][tapering] * h
        if traits.is_quadratic:
            gone += b[QUADRATIC][tapering] * power * power * np.expm1(2.0 * grown) / (2.0 * rate)
        through = moved + gone
        if traits.has_discharge:
            to = b[TO][tapering]
            # The last of a fading discharge must not turn into import by rounding.
            through = np.where(to < 0.0, np.minimum(gone - moved, 0.0), through)
        x[THROUGH][tapering], x[MOVED][tapering], x[GONE][tapering] = through, moved, gone
    ended: NDArray[np.bool_] = np.add(b[U], x[MOVED], out=x[U_NOW]) >= b[END]
    return ended


def book(b: Floats, at_s: float | Floats, x: Floats, *, has_discharge: bool) -> None:
    """End the segments at `at_s`, where MOVED, THROUGH and GONE of `x` hold, and begin the next ones there."""
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
    way = np.maximum(b[END] - b[U], 0.0)
    hours = np.full(power.size, np.inf)
    np.divide(way, power, out=hours, where=power > 0.0)
    tapering = b[RATE].nonzero()[0]
    if tapering.size:
        taper_hours = hours[tapering]
        hours[tapering] = taper_hours * slowing(np.maximum(b[RATE][tapering] * taper_hours, -1.0))
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


def begin(b: Floats, traits: Traits) -> Slots:
    """Begin the segments for ASK; which of them taper."""
    ask = b[ASK]
    want = wanted_kw(b, ask, traits)
    b[WANT] = b[B] = want
    b[RATE] = 0.0
    b[FLOW] = ask
    b[LOST] = lost_kw(b, slice(None), want, traits)
    limit = b[SLOPE] * b[U]
    limit += b[LINE]
    b[END] = b[KNOT]
    falling = (b[SLOPE] < 0.0).nonzero()[0]
    if falling.size:
        b[END][falling] = end_below(b, falling, want[falling], limit[falling])
    limited: Slots = (want > limit).nonzero()[0]
    if limited.size:
        follow_limit(b, limited, limit[limited], traits)
    tapering: Slots = limited[b[RATE][limited] != 0.0]
    return tapering


def end_below(b: Floats, chosen: Slots | slice, power: Floats, limit: Floats) -> Floats:
    """The u at which constant power meets a falling limit, that is `limit` now, or the next knot if that is nearer.

    The limit is linear up to the knot, so that is where it is met first.
    """
    met: Floats = b[U][chosen] + np.maximum((power - limit) / b[SLOPE][chosen], 0.0)
    np.minimum(met, b[KNOT][chosen], out=met)
    return met


def lost_kw(b: Floats, chosen: Slots | slice, power: Floats, traits: Traits) -> Floats:
    """Loss at battery power `power`, while ASK is in force. Charging below the standby loss is lost as a whole."""
    lost: Floats = b[PROPORTIONAL][chosen] * power
    if traits.is_quadratic:
        squared = power * power
        squared *= b[QUADRATIC][chosen]
        lost += squared
    if traits.has_standby:
        ask, standby = b[ASK][chosen], b[STANDBY][chosen]
        at_most = np.minimum(standby, ask)
        lost += np.where(ask < 0.0, standby, at_most) if traits.has_discharge else at_most
    return lost


def follow_limit(b: Floats, chosen: Slots | slice, limit: Floats, traits: Traits) -> None:
    """Begin the chosen segments, whose WANT is above, or touches, the limit of the curve; ASK, not 0, stands there.

    Exact about touching: a limit that falls from the wanted power on is followed, one that rises from it is left.
    """
    want, slope, knot = b[WANT][chosen], b[SLOPE][chosen], b[KNOT][chosen]
    # What rounding of u makes of the limit on a steep piece is no distance either.
    close = 4e-16 * b[CAPACITY][chosen] * slope
    close += np.sign(slope) * (1e-11 * (1.0 + want))
    close += limit
    is_limited = want > close
    # The curve is followed until its next knot, the wanted power, or the power that feeds nothing; constant power lasts
    # until the next knot, or until it meets a falling limit.
    rises, falls = slope > 0.0, slope < 0.0
    off_kw: float | Floats = 0.0
    meets = want
    power = np.where(is_limited, limit, want)
    lost = lost_kw(b, chosen, power, traits)
    if traits.has_discharge:
        to = b[TO][chosen]
        off_kw = np.where(to < 0.0, b[OFF_KW][chosen], 0.0)
        fades = falls & (to < 0.0)
        meets = np.where(fades & is_limited, off_kw, want)
        rises |= fades
        flow = to * power + lost
    else:
        flow = power + lost
    flow = np.where(is_limited, flow, b[ASK][chosen])
    bends = np.where(is_limited, rises, falls)
    is_off = is_limited & (limit <= off_kw + 1e-12)
    if np.count_nonzero(is_off):
        power[is_off] = lost[is_off] = flow[is_off] = 0.0
        is_limited &= ~is_off
        bends &= ~is_off
    end = knot
    if np.count_nonzero(bends):
        met = b[U][chosen] + np.maximum((meets - limit) / np.where(bends, slope, 1.0), 0.0)
        end = np.where(bends, np.minimum(met, knot), knot)
    b[B][chosen] = power
    b[RATE][chosen] = slope * is_limited
    b[LOST][chosen] = lost
    b[FLOW][chosen] = flow
    b[END][chosen] = end
