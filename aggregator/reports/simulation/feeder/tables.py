"""What a run did to the feeder, as tables: with the EVs beside what would be without them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import ABSENT, Table, figure
from aggregator.reports.simulation.facts import SimulationFacts
from aggregator.reports.simulation.feeder.facts import FeederFact
from aggregator.reports.simulation.feeder.figures import point_name, voltage_unit
from aggregator.reports.simulation.measures import MEASURES, Measure
from aggregator.reports.simulation.spread import spread

Floats = NDArray[np.float64]

_WORST = 12
"""Points and lines that are shown; the tables of the run hold all."""
_NOTICED_KWH = 0.005
_MEASURES = {measure.key: measure for measure in MEASURES}
_SHOWN = (
    "feeder_low_pu", "feeder_high_pu", "feeder_line_loading", "feeder_transformer_loading", "feeder_unbalance",
    "feeder_losses_kwh", "feeder_hot_spot_c", "feeder_ageing_h", "feeder_overload_minutes",
    "feeder_transformer_minutes", "feeder_unfixable_minutes", "feeder_unsolved",
)


def feeder_tables(facts: SimulationFacts) -> tuple[Table, ...]:
    """Side by side with and without EVs; the worst points, lines and transformers; EN 50160."""
    feeder = facts.feeder
    if feeder is None:
        return ()
    return (
        _with_and_without(facts, feeder), _point_table(facts, feeder), _line_table(facts, feeder),
        _carried_table(facts, feeder), _transformer_table(facts, feeder), _inverter_table(facts, feeder),
        _quality(facts, feeder),
    )


def _with_and_without(facts: SimulationFacts, feeder: FeederFact) -> Table:
    rows = []
    several = facts.replicas > 1
    for key in _SHOWN:
        if key not in facts.measures or key not in feeder.base_measures:
            continue
        measure, values = _MEASURES[key], facts.measures[key]
        times, unit, digits = _shown_in(feeder, measure)
        cells = [figure(times * float(np.median(values)), "", digits)]
        if several:
            cells.append(spread(times * values, digits) if np.isfinite(values).all() else ABSENT)
        title = measure.title + (f", {unit}" if unit else "")
        rows.append((title, *cells, figure(times * feeder.base_measures[key], "", digits)))
    head = [("", False), ("With EVs, median" if several else "With EVs", True)]
    if several:
        head.append(("P10 to P90", True))
    return Table("feeder-figures", "The feeder with and without EVs", (*head, ("Without EVs", True)), tuple(rows))


def _shown_in(feeder: FeederFact, measure: Measure) -> tuple[float, str, int]:
    return voltage_unit(feeder) if measure.unit == "p.u." else (measure.shown_times, measure.unit, measure.digits)


def _point_table(facts: SimulationFacts, feeder: FeederFact) -> Table:
    rows = feeder.points
    times, unit, digits = voltage_unit(feeder)
    places = rows.places
    order = places[np.lexsort((rows.lowest_pu[places], -rows.minutes[places]))][:_WORST].tolist()
    per = "" if facts.replicas == 1 else " per course"
    return Table(
        "feeder-point-rows", f"The {len(order)} worst of {len(places)} places with connection points",
        (("Points (phases)", False), ("EVSEs", True), (f"Minutes beyond{per}", True), ("Because of EVs", True),
         ("Made worse", True), (f"Lowest, {unit}", True), ("Without EVs", True), (f"Highest, {unit}", True),
         ("Without EVs", True), ("Within ±10 %, worst week", True)),
        tuple(
            (point_name(feeder, row), figure(float(rows.evses[rows.place == row].sum()), "", 0),
             figure(float(rows.minutes[row]), "", 0), figure(float(rows.attributable[row]), "", 0),
             figure(float(rows.worsened[row]), "", 0),
             *(figure(times * float(values[row]), "", digits)
               for values in (rows.lowest_pu, rows.base_low_pu, rows.highest_pu, rows.base_high_pu)),
             figure(100.0 * float(rows.within_10[row]), "%"))
            for row in order
        ),
        "Lowest and highest are over all courses." if facts.replicas > 1 else "",
    )


def _line_table(facts: SimulationFacts, feeder: FeederFact) -> Table:
    rows = feeder.lines
    order = np.argsort(-rows.highest, kind="stable")[:_WORST].tolist()
    per = "" if facts.replicas == 1 else " per course"
    several = facts.replicas > 1
    highest = [("Highest, any course", True)] if several else []
    return Table(
        "feeder-line-rows", f"The {len(order)} most loaded of {len(rows.lines)} phases of lines",
        (("Line, phase", False), ("Ampacity, A", True),
         ("Highest loading, median" if several else "Highest loading", True), *highest,
         ("Without EVs", True), (f"Minutes beyond{per}", True), ("Because of EVs", True)),
        tuple(
            (f"{rows.lines[row]}, {rows.phases[row]}", figure(float(rows.amperes[row]), "", 0),
             figure(100.0 * float(rows.peak[row]), "%", 0),
             *([figure(100.0 * float(rows.highest[row]), "%", 0)] if several else []),
             figure(100.0 * float(rows.base_peak[row]), "%", 0), figure(float(rows.minutes[row]), "", 0),
             figure(float(rows.attributable[row]), "", 0))
            for row in order
        ),
        _rated_by(feeder, order),
    )


def _rated_by(feeder: FeederFact, order: list[int]) -> str:
    sources = dict.fromkeys(feeder.lines.rated_by[row] for row in order if feeder.lines.rated_by[row])
    return f"One row for all segments in a row that carry the same. Ratings: {'; '.join(sources)}." if sources else ""


def _carried_table(facts: SimulationFacts, feeder: FeederFact) -> Table:
    """By name what carries most of its rating, and in which phase."""
    rows = feeder.carried
    order = np.argsort(-rows.highest, kind="stable")[:_WORST].tolist()
    several = facts.replicas > 1
    per = " per course" if several else ""
    which = "" if len(order) == len(rows.ids) else f": the {len(order)} most loaded of {len(rows.ids)}"
    return Table(
        "feeder-carried-rows", f"What transformers and other elements with a rating carry{which}",
        (("Element", False), ("Most loaded phase", False), ("Rated there, A", True),
         ("Highest loading, median" if several else "Highest loading", True),
         *([("Highest, any course", True)] if several else []), ("Without EVs", True),
         (f"Minutes beyond{per}", True), ("Because of EVs", True), ("Made worse", True)),
        tuple(
            (f"{rows.kinds[row]} {rows.ids[row]}", f"{rows.sides[row]}, {rows.phases[row]}",
             figure(float(rows.amperes[row]), "", 0), figure(100.0 * float(rows.peak[row]), "%", 0),
             *([figure(100.0 * float(rows.highest[row]), "%", 0)] if several else []),
             figure(100.0 * float(rows.base_peak[row]), "%", 0), figure(float(rows.minutes[row]), "", 0),
             figure(float(rows.attributable[row]), "", 0), figure(float(rows.worsened[row]), "", 0))
            for row in order
        ),
        "A transformer is as loaded as the larger of its apparent power and of the current of any phase on any side; "
        "other elements, such as regulators, as the most loaded node.",
    )


def _transformer_table(facts: SimulationFacts, feeder: FeederFact) -> Table:
    median = ", median" if facts.replicas > 1 else ""
    return Table(
        "feeder-transformers", "Transformers by their hottest winding",
        (("Transformer", False), ("kVA", True), ("Judged as", False), (f"Hot spot, °C{median}", True),
         ("Without EVs", True), (f"Life lost, h{median}", True), ("Without EVs", True)),
        tuple(
            (row.id, figure(row.rated_kva, "", 0), row.paper, figure(float(np.median(row.hot_spot_c))),
             figure(row.base_hot_spot_c), figure(float(np.median(row.life_h)), "", 3), figure(row.base_life_h, "", 3))
            for row in feeder.transformers
        ),
        "The hot spot is that of the phase that carries most at the time.",
    )


def _inverter_table(facts: SimulationFacts, feeder: FeederFact) -> Table:
    rows = feeder.inverters
    if rows is None:
        return Table("feeder-inverters", "", (), ())
    withheld = rows.withheld_import_kwh + rows.withheld_export_kwh
    touched = int(((withheld > _NOTICED_KWH) | (rows.trips > 0.0)).sum())
    order = np.lexsort((-rows.trips, -withheld))[:min(_WORST, touched)].tolist()
    per = "" if facts.replicas == 1 else " per course"
    volts = "each bus's rating" if rows.nominal_volts is None else f"{rows.nominal_volts:g} V"
    whole = (
        f"All {len(rows.ids)} together", "", "", figure(float(rows.withheld_import_kwh.sum()), "", 2),
        figure(float(rows.withheld_export_kwh.sum()), "", 2), figure(float(rows.trips.sum())),
    )
    return Table(
        "feeder-inverters", f"What inverters withheld{per}",
        (("EVSE", False), ("Point (phases)", False), ("kVA", True), ("Charging, kWh", True), ("Feeding in, kWh", True),
         ("Disconnections", True)),
        (*((rows.ids[row], f"{rows.points[row]} ({rows.phases[row]})", figure(float(rows.rated_kva[row]), "", 2),
            figure(float(rows.withheld_import_kwh[row]), "", 2), figure(float(rows.withheld_export_kwh[row]), "", 2),
            figure(float(rows.trips[row]))) for row in order), whole),
        f"{rows.code}, per unit of {volts}. {touched} of {len(rows.ids)} EVSEs were touched; those that lost most "
        "stand here. What a car could not take at one time it may have taken later.",
    )


def _quality(facts: SimulationFacts, feeder: FeederFact) -> Table:
    points, buses = feeder.points, feeder.balanced
    always = int((points.holds >= 1.0).sum())
    several = " in every course" if facts.replicas > 1 else ""
    rows = [
        (f"Points that keep both shares of the voltage{several}", f"{always} of {len(points.ids)}",
         f"{int(points.base_holds.sum())} of {len(points.ids)}"),
        ("Worst point: 10-minute means within ±10 %", figure(100.0 * float(points.within_10.min(initial=1.0)), "%"),
         figure(100.0 * float(points.base_within_10.min(initial=1.0)), "%")),
        ("Worst point: 10-minute means within +10/−15 %", figure(100.0 * float(points.within_15.min(initial=1.0)), "%"),
         figure(100.0 * float(points.base_within_15.min(initial=1.0)), "%")),
    ]
    if buses.size:
        rows.append(("Worst bus: unbalance within 2 %", figure(100.0 * float(buses.min()), "%"),
                     figure(100.0 * float(feeder.base_balanced.min()), "%")))
    days = feeder.days
    weeks = f"{len(days)} weeks from the start" if len(days) > 1 else "one week from the start"
    part = "" if days[-1] >= 7.0 else f"; the last has only {days[-1]:.3g} day{'s' * (days[-1] != 1)}"  # noqa: PLR2004 - a week
    means = "" if feeder.ten_minutes else (
        f" Steps of {facts.grid.step_s / 60.0:g} min stand in for 10-minute means, so shorter extremes are not seen."
    )
    return Table(
        "feeder-quality", "EN 50160, week by week",
        (("", False), ("With EVs", True), ("Without EVs", True)), tuple(rows),
        f"95 % of a week's 10-minute means within ±10 % of the nominal voltage, all within +10/−15 %, unbalance 95 % "
        f"within 2 %. The worst of {weeks}{part}; shares are means over the courses.{means}",
    )
