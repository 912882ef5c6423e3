"""Price a metered or planned load: energy in, energy out, and the increase of the billing period's peak.

Import and export are netted inside a metering step, never across steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np

from markets.rate import QUARTER_S, Floats, RateSchedule

# Minor units where the currency does not have two digits (ISO 4217).
_DIGITS = {"JPY": 0, "KRW": 0, "CLP": 0, "ISK": 0, "KWD": 3, "BHD": 3, "TND": 3, "JOD": 3, "OMR": 3}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill. quantity is kWh for energy, kW for demand; amount is not rounded, credits are negative."""

    text: str
    quantity: Decimal
    unit: str
    price: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Bill:
    """Lines and their sum.

    exact: not rounded. total: half-even to the currency's minor unit, rounded once, at the end.
    peak_kw: highest 15-minute mean import of the interval, or the peak so far where that is higher.
    """

    currency: str
    lines: tuple[Line, ...]
    peak_kw: float
    exact: Decimal
    total: Decimal

    def amount(self, unit: str) -> Decimal:
        """Sum of the lines of one unit: "kWh in", "kWh out" or "kW"."""
        return sum((line.amount for line in self.lines if line.unit == unit), Decimal(0))


def bill(rate: RateSchedule, start: datetime, step_s: int, net_kw: Floats, peak_so_far_kw: float = 0.0,
         first_step_fraction: float = 1.0) -> Bill:
    """Price step-mean net power at the connection point, import positive, within one billing period.

    Args:
        rate: prices of energy and demand.
        start: aware; step k covers [start + k*step_s, start + (k+1)*step_s).
        step_s: seconds per step.
        net_kw: shape (steps,).
        peak_so_far_kw: what the billing period has already reached; only the increase costs.
        first_step_fraction: share of the first step whose energy counts; its power still counts as a 15-minute mean.
    """
    hours = np.full(len(net_kw), step_s / 3600.0)
    hours[0] *= first_step_fraction
    bought, sold = np.maximum(net_kw, 0.0) * hours, np.maximum(-net_kw, 0.0) * hours
    energy: dict[tuple[str, str, Decimal], float] = {}
    for part in rate.parts(start, step_s, len(net_kw)):
        for unit, kwh, price in (("kWh in", bought, part.period.import_per_kwh),
                                 ("kWh out", sold, -part.period.export_per_kwh)):
            if kwh[part.step]:
                key = (part.label, unit, price)
                energy[key] = energy.get(key, 0.0) + part.share * float(kwh[part.step])
    lines = [_line(label, kwh, unit, price) for (label, unit, price), kwh in energy.items()]
    peak = max(peak_so_far_kw, peak_kw(start, step_s, net_kw))
    if peak > peak_so_far_kw:
        lines.append(_line("increase of the month's peak", peak - peak_so_far_kw, "kW", rate.demand_per_kw_month))
    exact = sum((line.amount for line in lines), Decimal(0))
    return Bill(rate.currency, tuple(lines), peak, exact, rounded(exact, rate.currency))


def peak_kw(start: datetime, step_s: int, net_kw: Floats) -> float:
    """Highest mean import over a quarter-hour of the clock; steps longer than that count as they are.

    A quarter-hour that the data covers in part counts with the mean of that part.
    """
    if len(net_kw) == 0:
        return 0.0
    if step_s >= QUARTER_S:
        return max(0.0, float(net_kw.max()))
    quarter = ((start.timestamp() + step_s * np.arange(len(net_kw))) // QUARTER_S).astype(np.int64)
    quarter -= quarter[0]
    means = np.bincount(quarter, weights=net_kw) / np.maximum(np.bincount(quarter), 1)
    return max(0.0, float(means.max()))


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Half-even to the minor unit of `currency`."""
    return amount.quantize(Decimal(1).scaleb(-_DIGITS.get(currency, 2)), rounding=ROUND_HALF_EVEN)


def _line(text: str, quantity: float, unit: str, price: Decimal) -> Line:
    amount = Decimal(repr(float(quantity)))
    return Line(text, amount, unit, price, amount * price)
