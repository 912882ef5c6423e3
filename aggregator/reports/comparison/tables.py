"""The tables of a comparison: what was changed, means side by side, differences with their intervals."""

from __future__ import annotations

from aggregator.reports.comparison.cells import cell, interval, signed, title, verdict, worth
from aggregator.reports.comparison.facts import ComparisonFacts
from aggregator.reports.page import ABSENT, Table, figure
from aggregator.reports.simulation import CAUSE_WORDS, MEASURES, Cause


def difference_tables(facts: ComparisonFacts) -> list[Table]:
    made, zero = [], {measure.key for measure in facts.always_zero}
    for number, (run, differences) in enumerate(zip(facts.runs[1:], facts.differences, strict=True), 1):
        rows = tuple(
            (title(one.measure), cell(one.measure, float(facts.runs[0].measures[one.measure.key].mean()), 1),
             cell(one.measure, float(run.measures[one.measure.key].mean()), 1),
             signed(one, one.mean) + (" points" if one.measure.unit == "%" else ""),
             interval(one), worth(one), verdict(one))
            for one in differences if one.measure.key not in zero
        )
        made.append(Table(
            f"difference-table-{number}", f"{run.label} minus {facts.runs[0].label}",
            (("Mean per course", False), (facts.runs[0].label, True), (run.label, True), ("Difference", True),
             (f"{facts.confidence:.0%} interval", True), ("If not paired", True),
             ("Beyond chance", False)), rows, _folded(facts),
        ))
    return made


def _folded(facts: ComparisonFacts) -> str:
    """What is left out of the tables because there is nothing of it."""
    zero = [measure.title[0].lower() + measure.title[1:] for measure in facts.always_zero]
    return f"Zero in all runs: {'; '.join(zero)}." if zero else ""


def changed(facts: ComparisonFacts) -> Table:
    rows = facts.differing
    one_file = len({run.scenario_sha256 for run in facts.runs}) == 1
    if not rows:
        rows = (("No field of the twin's tables" if not one_file else "No field", *(ABSENT for _ in facts.runs)),)
    note = "" if one_file or facts.differing else (
        "The files are not the same to the byte: remarks, or tables of the service (prices, programmes), differ."
    )
    return Table("changed-fields", "Fields of the scenarios that differ",
                 (("Field", False), *((run.label, False) for run in facts.runs)), rows, note)


def side_by_side(facts: ComparisonFacts) -> Table:
    zero = {measure.key for measure in facts.always_zero}
    rows = tuple(
        (title(measure), *(
            cell(measure, float(run.measures[measure.key].mean())) if measure.key in run.measures else ABSENT
            for run in facts.runs
        ))
        for measure in MEASURES
        if measure.key not in zero and any(measure.key in run.measures for run in facts.runs)
    )
    return Table("side-by-side", "Means over the courses", (("", False), *((run.label, True) for run in facts.runs)),
                 rows, _folded(facts))


def causes(facts: ComparisonFacts) -> Table:
    rows = tuple(
        (CAUSE_WORDS[cause][0].upper() + CAUSE_WORDS[cause][1:],
         *(figure(run.causes.get(cause.value, 0.0), "", 1) for run in facts.runs))
        for cause in Cause if any(run.causes.get(cause.value) for run in facts.runs)
    )
    return Table("causes-side-by-side", "Why drivers left short, drivers per course",
                 (("", False), *((run.label, True) for run in facts.runs)), rows)


def runs(facts: ComparisonFacts) -> Table:
    rows = tuple((run.label, run.scenario, run.control.replace("_", " ")) for run in facts.runs)
    return Table("runs", "The runs", (("Folder", False), ("Scenario", False), ("Control", False)), rows,
                 f"Seed {facts.seed}, {facts.replicas} course{'s' if facts.replicas > 1 else ''} each.")
