"""What an event earns, and how the drivers' part is shared.

Amounts are Decimal; every split sums exactly to what was split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from markets.bill import rounded
from markets.performance import Performance
from markets.program import Terms

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Settlement:
    """An event in money, in the programme's currency.

    paid_kwh: delivered energy that earns; missed_kwh: committed energy that is charged.
    """

    currency: str
    delivered_kwh: Decimal
    paid_kwh: Decimal
    missed_kwh: Decimal
    incentive: Decimal
    shortfall_charge: Decimal

    @property
    def net(self) -> Decimal:
        return self.incentive - self.shortfall_charge


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: positive is a credit to `account`. The entries of one posting sum to zero."""

    account: str
    amount: Decimal
    text: str


def settle(performance: Performance, terms: Terms) -> Settlement:
    """Pay and charge by interval: energy beyond `pay_up_to` earns nothing, less than none earns nothing."""
    hours = Decimal(terms.interval_s) / _SECONDS_PER_HOUR
    delivered = paid = missed = Decimal(0)
    for interval in performance.intervals:
        committed_kw = max(Decimal(0), _exact(interval.committed_kw))
        delivered_kw = _exact(interval.delivered_kw)
        delivered += delivered_kw * hours
        paid += min(max(Decimal(0), delivered_kw), committed_kw * terms.pay_up_to) * hours
        missed += max(Decimal(0), _exact(interval.shortfall_kw) - committed_kw * terms.tolerance) * hours
    return Settlement(
        currency=terms.currency, delivered_kwh=delivered, paid_kwh=paid, missed_kwh=missed,
        incentive=rounded(paid * terms.incentive_per_kwh, terms.currency),
        shortfall_charge=rounded(missed * terms.shortfall_per_kwh, terms.currency),
    )


def driver_credits(settlement: Settlement, terms: Terms, exported_kwh: Mapping[str, float]) -> dict[str, Decimal]:
    """Each session's credit: its part, by exported energy, of the drivers' share; never negative."""
    pool = rounded(max(Decimal(0), settlement.net) * terms.driver_share, terms.currency)
    return split(pool, exported_kwh, terms.currency)


def split(amount: Decimal, weights: Mapping[str, float], currency: str) -> dict[str, Decimal]:
    """Divide `amount` by weight in minor units; what rounding leaves goes to the largest remainders, ties by name.

    Nothing is divided if no weight is positive. The parts sum exactly to the amount rounded to the minor unit.

    Raises:
        ValueError: a weight is negative.
    """
    if any(weight < 0 for weight in weights.values()):
        raise ValueError("weights: a negative weight, expected 0 or more")
    total = sum((_exact(weight) for weight in weights.values()), Decimal(0))
    if total == 0:
        return {}
    amount = rounded(amount, currency)
    unit = rounded(Decimal(1), currency).as_tuple().exponent
    quantum = Decimal(1).scaleb(int(unit))
    shares = {name: amount * _exact(weight) / total for name, weight in weights.items()}
    parts = {name: share.quantize(quantum, rounding=ROUND_FLOOR) for name, share in shares.items()}
    left = int((amount - sum(parts.values(), Decimal(0))) / quantum)
    for name in sorted(shares, key=lambda name: (parts[name] - shares[name], name))[:left]:
        parts[name] += quantum
    return parts


def postings(settlement: Settlement, credited: Mapping[str, Decimal]) -> tuple[Entry, ...]:
    """The event's ledger: the programme pays, drivers and the site receive; the amounts sum to zero."""
    to_drivers = sum(credited.values(), Decimal(0))
    entries = [Entry("programme", -settlement.net, "event pay less shortfall charge")]
    entries += [Entry(f"driver:{name}", amount, "V2G credit") for name, amount in sorted(credited.items())]
    entries.append(Entry("site", settlement.net - to_drivers, "event pay kept by the site"))
    return tuple(entries)


def _exact(value: float) -> Decimal:
    return Decimal(repr(float(value)))
