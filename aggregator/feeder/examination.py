"""What there is to say of a feeder before anybody relies on it: its data judged, its flows worked out twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregator.feeder import apart
from aggregator.feeder.apart import finite
from twin.feeder.importers import Finding, Imported
from twin.feeder.importers.agreement import Agreement, agreement
from twin.feeder.importers.imported import Floats
from twin.feeder.network.validity import FeederFault, faults
from twin.feeder.powerflow.flow import Flow
from twin.feeder.second_engine.check import Difference, NotCheckable
from twin.feeder.second_engine.either import SecondEngine, second_engine

LONGEST = 200
"""Letters of a reason that names many elements."""

SHOWN = 5
"""Of faults or findings that say the same of several elements, so many are written out."""


@dataclass(frozen=True, slots=True)
class Case:
    """One load of the whole feeder, solved here and by the second engine.

    voltages_pu: lowest and highest of all nodes. difference: to the second engine; None: there is none.
    """

    name: str
    solved: bool
    source_kw: float
    losses_kw: float
    voltages_pu: tuple[float, float]
    line_loading: float | None
    transformer_loading: float | None
    difference: Difference | None


@dataclass(frozen=True)
class Examination:
    """A feeder judged.

    second_engine: its name, or why there is none. cases: empty if faults leave no network to solve.
    """

    imported: Imported
    faults: tuple[FeederFault, ...]
    second_engine: str
    has_second_engine: bool
    cases: tuple[Case, ...]
    agreement: Agreement | None

    @property
    def is_blocked(self) -> bool:
        """Whether there is no network to solve, or another one than the file's."""
        return bool(self.imported.unsupported) or any(fault.blocking for fault in self.faults)

    @property
    def agrees(self) -> bool:
        """Whether two engines solved every case alike."""
        return not self.is_blocked and self.has_second_engine and all(
            case.solved and case.difference is not None and case.difference.agrees for case in self.cases
        )


def examine(imported: Imported) -> Examination:
    """Judge the feeder's data, then solve it without load, with its loads as given, and with all of them at most."""
    found = faults(imported.feeder)
    if imported.unsupported or any(fault.blocking for fault in found):
        return Examination(imported, found, "not asked", False, (), None)
    flow = Flow(imported.feeder)
    engine, name = _second(imported)
    cases = tuple(_case(flow, engine, what, *powers) for what, powers in _loads(imported).items())
    return Examination(imported, found, name, engine is not None, cases, agreement(imported, flow))


def _second(imported: Imported) -> tuple[SecondEngine | None, str]:
    try:
        engine = second_engine(imported.feeder)
    except NotCheckable as error:
        return None, f"none: {_cut(str(error))}"
    return engine, engine.name


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _loads(imported: Imported) -> Mapping[str, tuple[Floats, Floats]]:
    p_w, q_var = imported.loads.given()
    cases = {"no load": (np.zeros_like(p_w), np.zeros_like(q_var))}
    if p_w.any() or q_var.any():
        cases["loads as given"] = (p_w, q_var)
    series = imported.loads.series()
    if series[0].shape[1] > 1:
        rows, most = np.arange(len(p_w)), np.abs(series[0]).argmax(axis=1)
        cases["all loads at their most"] = (series[0][rows, most][:, None], series[1][rows, most][:, None])
    return cases


def _case(flow: Flow, engine: SecondEngine | None, name: str, p_w: Floats, q_var: Floats) -> Case:
    solution = flow.solve(p_w, q_var)
    volts = solution.voltages_pu()
    lowest, highest = float(volts.min(initial=np.inf)), float(volts.max(initial=-np.inf))
    return Case(
        name, bool(solution.has_solution.all()), float(solution.source_power().real.sum()) / 1000.0,
        float(solution.losses_w().sum()) / 1000.0, (lowest, highest),
        _largest(solution.line_loading()), _largest(solution.transformer_loading()),
        None if engine is None else engine.check(solution),
    )


def _largest(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else None


def in_words(examination: Examination) -> list[str]:
    """Lines for a person: what was read, what is wrong, what did not come through, how far the engines are apart."""
    feeder = examination.imported.feeder
    counted = (("bus", "buses", feeder.buses), ("line", "lines", feeder.lines),
               ("transformer", "transformers", feeder.transformers), ("capacitor", "capacitors", feeder.capacitors),
               ("other element", "other elements", feeder.primitives),
               ("connection point", "connection points", feeder.connection_points))
    parts = [f"{len(what)} {one if len(what) == 1 else many}" for one, many, what in counted if what]
    lines = [f"feeder {feeder.name}: {', '.join(parts)}"]
    blocking = [str(fault) for fault in examination.faults if fault.blocking]
    lines += _section("what is wrong, and leaves no network to solve", blocking)
    lines += _section("what did not come through unchanged", _grouped_findings(examination.imported.findings))
    lines += _section("what to look at", _grouped_faults(fault for fault in examination.faults if not fault.blocking))
    if examination.cases:
        lines.append(f"second engine: {examination.second_engine}")
        lines += [f"  {_told(case)}" for case in examination.cases]
    other = examination.agreement
    if other is not None:
        lines.append(f"largest difference to {other.program}'s own solution, loads as given: {other.as_given:.1e} p.u. "
                     f"(at {other.node})")
        if other.ranges_open is not None:
            lines.append(f"  with loads that keep to their law at any voltage, in both: {other.ranges_open:.1e} p.u.")
    return lines


def as_json(examination: Examination) -> dict[str, Any]:
    """The same for machines; a figure that is not there is null."""
    feeder, other = examination.imported.feeder, examination.agreement
    return {
        "feeder": feeder.name, "buses": len(feeder.buses), "lines": len(feeder.lines),
        "transformers": len(feeder.transformers), "capacitors": len(feeder.capacitors),
        "primitives": len(feeder.primitives), "connection_points": len(feeder.connection_points),
        "ok": not examination.is_blocked, "engines_agree": examination.agrees,
        "second_engine": examination.second_engine if examination.has_second_engine else None,
        "faults": [
            {"kind": fault.kind, "element": fault.element, "field": fault.field, "blocking": fault.blocking,
             "message": str(fault)} for fault in examination.faults
        ],
        "findings": [
            {"degree": str(finding.degree), "kind": finding.kind, "element": finding.element,
             "said": finding.said, "file": None if finding.origin is None else finding.origin.file,
             "line": None if finding.origin is None else finding.origin.line or None}
            for finding in examination.imported.findings
        ],
        "cases": [
            {"name": case.name, "solved": case.solved, "source_kw": finite(case.source_kw),
             "losses_kw": finite(case.losses_kw), "lowest_pu": finite(case.voltages_pu[0]),
             "highest_pu": finite(case.voltages_pu[1]), "line_loading": finite(case.line_loading),
             "transformer_loading": finite(case.transformer_loading),
             "difference_pu": None if case.difference is None else finite(case.difference.voltage_pu),
             "difference_a": None if case.difference is None else finite(case.difference.current_a),
             "agrees": None if case.difference is None else case.difference.agrees}
            for case in examination.cases
        ],
        "own_solution": None if other is None else {
            "program": other.program, "difference_pu": finite(other.as_given),
            "difference_ranges_open_pu": None if other.ranges_open is None else finite(other.ranges_open),
        },
    }


def _told(case: Case) -> str:
    if not case.solved:
        return f"{case.name}: NO SOLUTION"
    low, high = case.voltages_pu
    source_kw, losses_kw = round(case.source_kw, 2) + 0.0, round(case.losses_kw, 3) + 0.0
    told = f"{case.name}: {source_kw:.2f} kW from above, {losses_kw:.3f} kW lost"
    told += f", {low:.4f} to {high:.4f} p.u."
    if case.line_loading is not None:
        told += f", lines up to {case.line_loading:.0%}"
    if case.transformer_loading is not None:
        told += f", transformers up to {case.transformer_loading:.0%}"
    if case.difference is not None:
        told += f"; engines apart by {apart.in_words(case.difference)}"
        told += "" if case.difference.agrees else ": THEY DISAGREE"
    return told


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def _grouped_findings(findings: Iterable[Finding]) -> list[str]:
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for finding in findings:
        groups[finding.degree, finding.kind, finding.said[:12]].append(str(finding))
    return _shortened(groups.values())


def _grouped_faults(found: Iterable[FeederFault]) -> list[str]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    unrated: list[FeederFault] = []
    for fault in found:
        if fault.field == "ampacity" and fault.value is None:
            unrated.append(fault)
        else:
            groups[fault.kind, fault.field].append(str(fault))
    if len(unrated) <= SHOWN:
        return _shortened(([str(fault) for fault in unrated], *groups.values()))
    first = ", ".join(fault.element for fault in unrated[:SHOWN])
    said = (f"{len(unrated)} lines without a rating, so that their loading is not judged: {first}, ... (all of them "
            "with --json; v2g feeder import --ampacity gives them one)")
    return [*_shortened(groups.values()), said]


def _shortened(groups: Iterable[list[str]]) -> list[str]:
    lines = []
    for group in groups:
        lines += group[:SHOWN]
        if len(group) > SHOWN:
            lines.append(f"... and {len(group) - SHOWN} more like it (all of them with --json)")
    return lines
