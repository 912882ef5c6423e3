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

MOVING: Final = 21
"""The first rows change while a car stands there, the others only when one comes or goes."""
# BEGIN_S, U, B, RATE: start of the segment and battery power there, along the flow (kW, 0 or more). FLOW, LOST: power
# at the connector (signed) and lost at the start. IMPORT, EXPORT, LOSS: registers at the start, kWh. TO: +1 charging,
# -1 discharging. LINE, SLOPE, KNOT: limit and end of the piece of the curve. END: u at which the segment ends at the
# latest. ORDER, ASK: set-point as given and clipped. WANT: battery power for it. TOP, BOTTOM: clip of set-points.
(
    BEGIN_S, U, B, RATE, FLOW, LOST, IMPORT, EXPORT, LOSS, TO, LINE, SLOPE, KNOT, END, ORDER, ASK, WANT, TOP, BOTTOM,
    PLUG_E, GAINED,
) = range(MOVING)
# The car: window, ratings, losses, battery power below which a discharge feeds nothing but losses, class.
CAPACITY, LOW, HIGH, MAX_C, MAX_D, MIN_D, STANDBY, PROPORTIONAL, QUADRATIC, OFF_KW, CLASS, IS_PLUGGED = range(
    MOVING, MOVING + 12
)
ROWS: Final = MOVING + 12

# Rows of a scratch matrix: what a moment inside the segments looks like.
MOVED, U_NOW, LIMIT, THROUGH, GONE, SPARE = range(6)
SCRATCH_ROWS: Final = 6


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


def move(b: Floats, hours: float | Floats, tapering: Slots, x: Floats) -> NDArray[np.bool_]:
    """Fill MOVED, U_NOW and LIMIT of `x` for `hours` after the segments' begin; which segments have ended by then.

    A segment of constant power has also ended where the limit has fallen below it: the limit is linear between both
    ends of the move, so looking at the ends is enough. Rounding may show an end a hair early, never late.
    """
    moved, u, limit = x[MOVED], x[U_NOW], x[LIMIT]
    np.multiply(b[B], hours, out=moved)
    if tapering.size:
        # A limit that rises is long left behind when power has grown by exp(100): only to be told apart from overflow.
        moved[tapering] *= growth(np.minimum(b[RATE, tapering] * at_chosen(hours, tapering), 100.0))
    np.add(b[U], moved, out=u)
    np.multiply(b[SLOPE], u, out=limit)
    limit += b[LINE]
    ended: NDArray[np.bool_] = b[B] > limit
    if tapering.size:
        ended[tapering] = False
    ended |= u >= b[END]
    return ended


def integrate(b: Floats, hours: float | Floats, tapering: Slots, x: Floats, *, is_quadratic: bool) -> None:
    """Fill THROUGH (connector energy, signed) and GONE (loss) of `x`; MOVED must stand there."""
    np.multiply(b[FLOW], hours, out=x[THROUGH])
    np.multiply(b[LOST], hours, out=x[GONE])
    if not tapering.size:
        return
    h, moved = at_chosen(hours, tapering), x[MOVED, tapering]
    gone = b[STANDBY, tapering] * h + b[PROPORTIONAL, tapering] * moved
    if is_quadratic:
        power = b[B, tapering]
        gone += b[QUADRATIC, tapering] * power * power * h * growth(2.0 * b[RATE, tapering] * h)
    to = b[TO, tapering]
    through = to * moved + gone
    # The last of a fading discharge must not turn into import by rounding.
    x[THROUGH, tapering] = np.where(to < 0.0, np.minimum(through, 0.0), through)
    x[GONE, tapering] = gone


def book(b: Floats, at_s: float | Floats, x: Floats, *, has_discharge: bool) -> None:
    """End the segments at `at_s`, where U_NOW, THROUGH and GONE of `x` hold, and begin the next ones there."""
    if has_discharge:
        b[IMPORT] += np.maximum(x[THROUGH], 0.0, out=x[SPARE])
        b[EXPORT] -= np.minimum(x[THROUGH], 0.0, out=x[SPARE])
    else:
        b[IMPORT] += x[THROUGH]
    b[LOSS] += x[GONE]
    b[U] = x[U_NOW]
    b[BEGIN_S] = at_s


def time_to_end(b: Floats) -> tuple[Floats, Floats]:
    """Hours from their begin until the segments end by themselves (inf where they do not), and u there."""
    u, power, slope = b[U], b[B], b[SLOPE]
    # A constant power may meet the falling limit before the next knot.
    above = power - b[LINE]
    above -= slope * u
    end = np.full(u.size, np.inf)
    np.divide(above, slope, out=end, where=(slope < 0.0) & (b[RATE] == 0.0))
    end += u
    np.minimum(end, b[END], out=end)
    way = end - u
    np.maximum(way, 0.0, out=way)
    hours = np.full(u.size, np.inf)
    np.divide(way, power, out=hours, where=power > 0.0)
    tapering = np.flatnonzero(b[RATE])
    if tapering.size:
        taper_hours = hours[tapering]
        hours[tapering] = taper_hours * slowing(np.maximum(b[RATE, tapering] * taper_hours, -1.0))
    return hours, end


class Traits(NamedTuple):
    """What occurs in a fleet at all; what does not is not computed (the results are the same to the last bit)."""

    has_discharge: bool
    has_standby: bool
    is_quadratic: bool


def wanted_kw(b: Floats, ask: Floats, traits: Traits) -> Floats:
    """Battery power for connector power `ask`, both along the flow: the root of c = b + loss(b)."""
    if traits.has_discharge:
        to, through = b[TO], np.abs(ask)
        if traits.has_standby:
            through = np.where(ask == 0.0, 0.0, np.maximum(through - to * b[STANDBY], 0.0))
        slope = to * b[PROPORTIONAL]
    else:
        to, through = None, np.maximum(ask - b[STANDBY], 0.0) if traits.has_standby else ask
        slope = b[PROPORTIONAL].copy()
    slope += 1.0
    if not traits.is_quadratic:
        power: Floats = np.divide(through, slope, out=slope)
        return power
    bend = 4.0 * b[QUADRATIC]
    if to is not None:
        bend *= to
    bend *= through
    bend += slope * slope
    np.maximum(bend, 0.0, out=bend)
    slope += np.sqrt(bend, out=bend)
    through = 2.0 * through
    through /= slope
    return through


def begin(b: Floats, limit: Floats, traits: Traits) -> None:
    """Begin the segments for ASK, where the limits of the curves are `limit` now."""
    ask = b[ASK]
    want = b[WANT] = wanted_kw(b, ask, traits)
    b[B] = want
    b[RATE] = 0.0
    b[FLOW] = ask
    b[LOST] = lost_kw(b, slice(None), want, traits)
    b[END] = b[KNOT]
    limited = np.flatnonzero(want > limit)
    if limited.size:
        follow_limit(b, limited, limit[limited], traits)


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
    # The curve is followed until its next knot, the wanted power, or the power that feeds nothing.
    off_kw: float | Floats = 0.0
    to: float | Floats = 1.0
    meets, bends = want, slope > 0.0
    if traits.has_discharge:
        to = b[TO][chosen]
        off_kw = np.where(to < 0.0, b[OFF_KW][chosen], 0.0)
        meets = np.where(bends, want, off_kw)
        bends |= (slope < 0.0) & (to < 0.0)
    is_off = is_limited & (limit <= off_kw + 1e-12)
    power = np.where(is_limited, limit, want)
    lost = lost_kw(b, chosen, power, traits)
    flow = np.where(is_limited, to * power + lost, b[ASK][chosen])
    power[is_off] = lost[is_off] = flow[is_off] = 0.0
    is_limited &= ~is_off
    end = knot
    bends &= is_limited
    if bends.any():
        met = b[U][chosen] + np.maximum((meets - limit) / np.where(bends, slope, 1.0), 0.0)
        end = np.where(bends, np.minimum(met, knot), knot)
    b[B][chosen] = power
    b[RATE][chosen] = slope * is_limited
    b[LOST][chosen] = lost
    b[FLOW][chosen] = flow
    b[END][chosen] = end
