"""A whole charge at full power in closed form: from any energy, along the curve, to a ceiling or the end of the stay.

Where nobody steers, the power of a car is the smaller of what is asked and what its curve allows: a chain of pieces,
the same for every visit of its kind. A visit enters the chain at its own energy and runs through it piece by piece;
all visits of a table take their first piece together, then their second, and so on. The closed forms are those of
`twin.battery.segment`, with which this is tested to be equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import LossCurve, Vehicle
from twin.battery import SETPOINT_TOLERANCE_KW
from twin.battery.vehicle_class import battery_kw

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Columns of a piece: energy at its end; power = LINE + SLOPE * energy; what passes the connector and what is lost where
# power is constant; losses of the pair.
KNOT, LINE, SLOPE, FLOW, LOST, STANDBY, PROPORTIONAL, QUADRATIC = range(8)

_OFF_KW: Final = 1e-12
_CLOSE: Final = 1e-12  # of the capacity: closer to the end of a piece than this counts as there


@dataclass(frozen=True, slots=True)
class Stretches:
    """One piece of the charge each of several visits, in order of visits.

    visit, piece: index of the visit, and of the row in the table of pieces. begin_h, hours: when it begins after
    plug-in, and how long it lasts. is_cut: the end of the stay ends it. energy_kwh, power_kw: in and into the battery
    at its beginning. through_kwh: through the connector. columns: of the pieces, shape (column, visit).
    """

    visit: Ints
    piece: Ints
    begin_h: Floats
    hours: Floats
    is_cut: Bools
    energy_kwh: Floats
    power_kw: Floats
    through_kwh: Floats
    columns: Floats

    def part(self, chosen: Ints) -> Stretches:
        """The chosen ones alone."""
        return Stretches(
            self.visit[chosen], self.piece[chosen], self.begin_h[chosen], self.hours[chosen], self.is_cut[chosen],
            self.energy_kwh[chosen], self.power_kw[chosen], self.through_kwh[chosen], self.columns[:, chosen],
        )


@dataclass(frozen=True, slots=True)
class Charges:
    """What visits come to: energy in the battery at the end, imported and lost, kWh; and how, piece by piece."""

    energy_kwh: Floats
    imported_kwh: Floats
    lost_kwh: Floats
    stretches: list[Stretches]


class FullCharge:
    """Kinds of cars at their connectors, each ordered its full power.

    kinds: vehicle, losses between grid and battery, and the power ordered at the connector, kW.
    """

    def __init__(self, kinds: Sequence[tuple[Vehicle, LossCurve, float]]) -> None:
        chains = [_chain(*kind) for kind in kinds]
        self.pieces = np.concatenate(chains, axis=1)
        batteries = [vehicle.battery for vehicle, _, _ in kinds]
        capacity = np.array([battery.capacity_kwh for battery in batteries])
        self._close = _CLOSE * capacity
        self._high = np.array([battery.soc_max for battery in batteries]) * capacity
        self._first = np.cumsum([0] + [chain.shape[1] for chain in chains[:-1]])
        # Ends of all pieces but the last, one row per place in the chain.
        self._knots = np.full((max(chain.shape[1] for chain in chains) - 1, len(chains)), np.inf)
        for kind, chain in enumerate(chains):
            self._knots[: chain.shape[1] - 1, kind] = chain[KNOT, :-1]

    def run(self, kind: Ints, energy_kwh: Floats, ceiling_kwh: Floats, stay_h: Floats) -> Charges:
        """Charge from `energy_kwh` for `stay_h` hours, or until `ceiling_kwh` or the car's own window ends it.

        One value per visit; kind: index into `kinds`.
        """
        close = self._close[kind]
        reach, stop = energy_kwh + close, np.minimum(self._high[kind], ceiling_kwh)
        piece = self._first[kind]
        for knots in self._knots:
            piece += knots[kind] <= reach
        energy, imported, lost = energy_kwh.copy(), np.zeros(kind.size), np.zeros(kind.size)
        stretches = []
        visit = np.flatnonzero((reach < stop) & (stay_h > 0.0))
        piece, begin_h, left_h = piece[visit], np.zeros(visit.size), stay_h[visit]
        while visit.size:
            columns = self.pieces.take(piece, axis=1)
            at = energy[visit]
            power = columns[SLOPE] * at
            power += columns[LINE]
            flows = power > _OFF_KW
            if not flows.all() and not (flows := flows | (columns[FLOW] > 0.0)).all():
                # The curve has come down to nothing: there is no way on.
                visit, piece, begin_h, left_h = visit[flows], piece[flows], begin_h[flows], left_h[flows]
                columns, at, power = columns[:, flows], at[flows], power[flows]
                if not visit.size:
                    break
            end = np.minimum(columns[KNOT], stop[visit])
            hours, moved, through, gone = _pass(columns, power, end - at, left_h)
            is_cut = hours >= left_h
            stretches.append(Stretches(visit, piece, begin_h, hours, is_cut, at, power, through, columns))
            energy[visit] = np.where(is_cut, at + moved, end)
            imported[visit] += through
            lost[visit] += gone
            goes_on = np.flatnonzero(~is_cut & (end + close[visit] < stop[visit]))
            visit, piece, left_h = visit[goes_on], piece[goes_on] + 1, left_h[goes_on] - hours[goes_on]
            begin_h = begin_h[goes_on] + hours[goes_on]
        return Charges(energy, imported, lost, stretches)


def taper(columns: Floats, power: Floats, hours: Floats) -> tuple[Floats, Floats]:
    """Energy moved into the battery and lost in `hours` from battery power `power` on, on pieces that are not level."""
    rate = columns[SLOPE]
    # A piece that rises is long left behind when power has grown by exp(100): only to be told from overflow.
    exponent = np.minimum(rate * hours, 100.0)
    moved: Floats = np.expm1(exponent)
    moved *= power / rate
    gone: Floats = columns[PROPORTIONAL] * moved
    if columns[STANDBY].any():
        gone += columns[STANDBY] * hours
    if columns[QUADRATIC].any():
        gone += columns[QUADRATIC] * power * power * np.expm1(2.0 * exponent) / (2.0 * rate)
    return moved, gone


def _pass(columns: Floats, power: Floats, way: Floats, left_h: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Hours to move `way`, at most `left_h`; and the energy moved into the battery, through the connector, and lost."""
    rate = columns[SLOPE]
    with np.errstate(divide="ignore"):
        hours = way / power
        tapers = np.flatnonzero(rate)
        chosen: Ints | slice = slice(None) if tapers.size == rate.size else tapers
        if tapers.size:
            # Where the power would come down to nothing just at the end, it never gets there.
            hours[chosen] = np.log1p(np.maximum(rate[chosen] * hours[chosen], -1.0)) / rate[chosen]
    np.minimum(hours, left_h, out=hours)
    if tapers.size == rate.size:
        moved, gone = taper(columns, power, hours)
        return hours, moved, moved + gone, gone
    moved, through, gone = power * hours, columns[FLOW] * hours, columns[LOST] * hours
    if tapers.size:
        into, wasted = taper(columns[:, tapers], power[tapers], hours[tapers])
        moved[tapers], gone[tapers], through[tapers] = into, wasted, into + wasted
    return hours, moved, through, gone


def _chain(vehicle: Vehicle, loss: LossCurve, ordered_kw: float) -> Floats:
    """The pieces of min(power for `ordered_kw`, curve) over energy, shape (column, piece), in order of energy."""
    battery = vehicle.battery
    ask = min(ordered_kw, vehicle.max_charge_kw)
    ask = ask if ask >= SETPOINT_TOLERANCE_KW else 0.0
    want = battery_kw(vehicle, ask, loss)
    losses = [loss.standby_kw, loss.proportional, loss.quadratic_per_kw]
    curve = [(battery.capacity_kwh * soc, kw) for soc, kw in zip(battery.charge.soc, battery.charge.kw, strict=True)]
    pieces: list[list[float]] = []
    for (begin, kw), (end, next_kw) in pairwise(curve):
        slope = (next_kw - kw) / (end - begin)
        line = kw - slope * begin
        crosses = (kw - want) * (next_kw - want) < 0.0
        for low, high in pairwise([begin, *([(want - line) / slope] if crosses else []), end]):
            if high - low <= _CLOSE * battery.capacity_kwh:
                continue
            if line + slope * (low + high) / 2.0 >= want:
                # Charging below the standby loss is lost as a whole.
                lost = min(loss.standby_kw, ask) + _running_loss(loss, want)
                piece = [high, want, 0.0, ask, lost, *losses]
            elif slope == 0.0:
                lost = loss.standby_kw + _running_loss(loss, kw) if kw > _OFF_KW else 0.0
                piece = [high, kw, 0.0, kw + lost if kw > _OFF_KW else 0.0, lost, *losses]
            else:
                piece = [high, line, slope, 0.0, 0.0, *losses]
            if pieces and pieces[-1][LINE:] == piece[LINE:]:
                pieces.pop()
            pieces.append(piece)
    pieces[-1][KNOT] = np.inf
    return np.array(pieces).T


def _running_loss(loss: LossCurve, battery_power_kw: float) -> float:
    return loss.proportional * battery_power_kw + loss.quadratic_per_kw * battery_power_kw * battery_power_kw
