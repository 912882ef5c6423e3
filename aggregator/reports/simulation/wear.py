"""What a simulation took of the cars' batteries: by time and by cycling, with and without the event, per stay and kWh.

All in millionths of a battery's life. What a life costs is for others to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import ABSENT, Table, figure
from aggregator.reports.simulation.facts import SimulationFacts, WearColumns

Floats = NDArray[np.float64]

MILLIONTHS = 1e6
_STAY_DIGITS, _KWH_DIGITS = 2, 3
_LITTLE_SHARE = 1e-3
"""An event that moves less than this share of all throughput more is not asked what a kWh of it took."""


@dataclass(frozen=True)
class WearTotals:
    """Sums over the visits of each course: shape (replicas,), as `WearColumns`; the event_ sums are 0 without one."""

    stays: Floats
    calendar: Floats
    cycle: Floats
    throughput_kwh: Floats
    event_calendar: Floats
    event_cycle: Floats
    event_kwh: Floats

    @classmethod
    def of(cls, wear: WearColumns, replica: NDArray[np.int64], replicas: int) -> WearTotals:
        def total(values: Floats | None) -> Floats:
            weights = None if values is None else np.nan_to_num(values)
            return np.bincount(replica, weights=weights, minlength=replicas).astype(np.float64)

        return cls(total(None), *(total(column) for column in (
            wear.calendar, wear.cycle, wear.throughput_kwh, wear.event_calendar, wear.event_cycle, wear.event_kwh,
        )))

    @property
    def life(self) -> Floats:
        both: Floats = self.calendar + self.cycle
        return both

    @property
    def event_life(self) -> Floats:
        both: Floats = self.event_calendar + self.event_cycle
        return both


def wear_totals(facts: SimulationFacts) -> WearTotals | None:
    """The sums of a run that judged wear and had visits, else None."""
    wear = facts.visits.wear
    if wear is None or facts.ageing is None or not len(facts.visits):
        return None
    return WearTotals.of(wear, facts.visits.replica, facts.replicas)


def wear_tables(facts: SimulationFacts) -> tuple[Table, ...]:
    """The wear of the run, and by class of cars."""
    totals = wear_totals(facts)
    if totals is None:
        return ()
    return _with_and_without(facts, totals), _by_class(facts)


def wear_sentence(facts: SimulationFacts) -> str:
    """What an average stay took, and what the event added; empty where wear was not judged."""
    totals = wear_totals(facts)
    if totals is None:
        return ""
    stays, life = float(totals.stays.sum()), float(totals.life.sum())
    if not life > 0.0:
        return "The stays took nothing of the batteries' lives."
    text = (
        f"A stay took {figure(MILLIONTHS * life / stays)} millionths of a battery's life on average, "
        f"{figure(100 * float(totals.cycle.sum()) / life, '%', 0)} of that by charging and discharging"
    )
    if not facts.events:
        return f"{text}."
    change = float(totals.event_life.sum()) / facts.replicas * MILLIONTHS
    verb = "added" if change >= 0.0 else "spared"
    who = "the event" if len(facts.events) == 1 else "the events"
    courses = " (mean over the courses)" if facts.replicas > 1 else ""
    return f"{text}; {who} {verb} {figure(abs(change))} millionths of one life, all cars together{courses}."


def _with_and_without(facts: SimulationFacts, totals: WearTotals) -> Table:
    stays, kwh = float(totals.stays.sum()), float(totals.throughput_kwh.sum())
    before_kwh = kwh - float(totals.event_kwh.sum())
    rows = []
    for title, life, added in (
        ("By time (age, charge and warmth)", totals.calendar, totals.event_calendar),
        ("By charging and discharging", totals.cycle, totals.event_cycle),
        ("Together", totals.life, totals.event_life),
    ):
        now, before = float(life.sum()), float((life - added).sum())
        row = [title, _per(now, stays, _STAY_DIGITS), _per(now, kwh, _KWH_DIGITS)]
        if facts.events:
            row += [_per(before, stays, _STAY_DIGITS), _per(before, before_kwh, _KWH_DIGITS)]
            row += _spread(MILLIONTHS * added)
        rows.append(tuple(row))
    moved = ["Through the batteries, kWh per course", figure(kwh / facts.replicas, "", 0), ""]
    if facts.events:
        moved += [figure(before_kwh / facts.replicas, "", 0), "", *_spread(totals.event_kwh)]
    rows.append(tuple(moved))
    head = [("Millionths of a battery's life", False), ("Per stay", True), ("Per kWh", True)]
    if facts.events:
        head += [("Without the event, per stay", True), ("Per kWh", True), ("Added by the event, all cars", True)]
        if facts.replicas > 1:
            head.append(("P10 to P90", True))
    return Table("wear", "What the stays took of the batteries", tuple(head), tuple(rows), _how(facts, totals))


def _how(facts: SimulationFacts, totals: WearTotals) -> str:
    ageing = facts.ageing
    if ageing is None:
        return ""
    low, high = min(ageing.temperature_c), max(ageing.temperature_c)
    warm = f"{low:g} °C" if low == high else f"{low:g} to {high:g} °C by month"
    text = (
        f"A life ends at {ageing.end_of_life:.0%} of the first capacity. kWh are those through the battery, in and "
        f"out. Batteries at {warm}. Each stay is judged as if it were lived every day, with a drive in what is "
        f"left of the day, until the life ends or {ageing.look_ahead_years:g} years have passed."
    )
    added_kwh = float(totals.event_kwh.sum())
    if facts.events and abs(added_kwh) > _LITTLE_SHARE * float(totals.throughput_kwh.sum()):
        kwh = figure(abs(added_kwh) / facts.replicas, "kWh") + (" more" if added_kwh > 0 else " less")
        text += (
            f" The event sent {kwh} through the batteries per course: "
            f"{figure(MILLIONTHS * float(totals.event_life.sum()) / added_kwh, '', _KWH_DIGITS)} millionths for each."
        )
    return text


def _by_class(facts: SimulationFacts) -> Table:
    visits, wear, ageing = facts.visits, facts.visits.wear, facts.ageing
    if wear is None or ageing is None:
        return Table("wear-cars", "", (), ())
    models = np.array(visits.vehicle)
    rows = []
    for model, cell in ageing.cells.items():
        these = np.flatnonzero(models == model)
        if not these.size:
            continue
        calendar, cycle = float(wear.calendar[these].sum()), float(wear.cycle[these].sum())
        rows.append((
            model, cell, figure(these.size / facts.replicas, "", 1), _per(calendar, these.size, _STAY_DIGITS),
            _per(cycle, these.size, _STAY_DIGITS), _per(cycle, float(wear.throughput_kwh[these].sum()), _KWH_DIGITS),
        ))
    return Table(
        "wear-cars", "Wear by class of car, millionths of a battery's life",
        (("Car", False), ("Ages like", False), ("Stays per course", True), ("By time, per stay", True),
         ("By cycling, per stay", True), ("By cycling, per kWh", True)), tuple(rows),
    )


def _per(life: float, of: float, digits: int) -> str:
    return figure(MILLIONTHS * life / of, "", digits) if of > 0.0 else ABSENT


def _spread(values: Floats) -> tuple[str, ...]:
    """Mean over the courses, and P10 to P90 where there are several."""
    mean = figure(float(values.mean()))
    if values.size == 1:
        return (mean,)
    low, high = np.quantile(values, (0.1, 0.9))
    return mean, f"{figure(float(low))} to {figure(float(high))}"
