"""What a schedule that the street's grid refused teaches: exact tangents in, rows of the next problem out.

The figures come from the gate's examination; nothing here knows the twin's replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aggregator.planning.site.problem import FeederRow, Floats, Plan, Problem
from aggregator.planning.site.windows import step_label

_MARGIN = {"voltage_low": 5e-4, "voltage_high": 5e-4, "unbalance": 3e-4}
_LOADING_MARGIN = 0.01
"""Kept free of a limit, for what its tangent misses and for the seconds in which chargers answer; more each round."""

_FELT = 1e-9
_MATTERS = 0.005
"""Of the largest effect on a limit: less is left to the next tangent."""
_PER_PHASE = 2
_ACTS = 0.1
"""Of the largest effect on a limit: what acts less on it is moved for the sake of the others, not by the limit."""
_TOLD_KW = 0.1


class TangentLike(Protocol):
    """A limit of the feeder that is linear around `at_kw`; see `twin.validation.tangents`."""

    @property
    def kind(self) -> str: ...
    @property
    def asset_id(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def value(self) -> float: ...
    @property
    def allowed(self) -> float: ...
    @property
    def at_kw(self) -> Floats: ...
    @property
    def per_kw(self) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Change:
    """What a limit of the feeder took from one EVSE, first <= step < last.

    kw: mean by which it charges (negative first power: discharges) less than in the plan that was refused.
    because: the limit in words, and what it would have come to.
    """

    evse_id: str
    first: int
    last: int
    kw: float
    was_discharging: bool
    kind: str
    element: str
    because: str

    def in_words(self, problem: Problem) -> str:
        verb = "gives" if self.was_discharging else "gets"
        span = f"{step_label(problem, self.first)} to {step_label(problem, self.last)}"
        return f"{self.evse_id} {verb} {self.kw:.1f} kW less from {span}: {self.because}"


def rows_from(
    problem: Problem, tangents: Iterable[TangentLike], evse_ids: Sequence[str], *, plan: Plan | None = None,
    number: int = 1,
) -> tuple[FeederRow, ...]:
    """Rows that keep the next plan on the right side of every tangent.

    Args:
        problem: whose EVs stand at the EVSEs.
        tangents: of limits.
        evse_ids: what the entries of the tangents' arrays are.
        plan: the plan whose replay crossed these limits: the row then takes off its excess, whatever chargers and
            tapers added within the step. None: the rows hold where the tangents were taken.
        number: of the round; margins grow with it.
    """
    column = {evse_id: at for at, evse_id in enumerate(evse_ids)}
    rows = []
    for tangent in _worst(tangents):
        there = [
            (index, ev.id, column[ev.evse_id]) for index, ev in enumerate(problem.evs)
            if ev.arrive <= tangent.step < ev.depart
        ]
        slopes = {ev_id: float(tangent.per_kw[at]) for _, ev_id, at in there}
        scale = max((abs(slope) for slope in slopes.values()), default=0.0)
        if scale <= _FELT:
            continue
        margin = number * _MARGIN.get(tangent.kind, _LOADING_MARGIN)
        # Where the replay was beyond the limit the plan's own powers are the point; else the tangent's.
        if plan is not None and tangent.value > tangent.allowed:
            point = sum(slopes[ev_id] * float(plan.power_kw[index, tangent.step]) for index, ev_id, _ in there)
        else:
            point = sum(slopes[ev_id] * float(tangent.at_kw[at]) for _, ev_id, at in there)
        # Without any EV no limit is crossed that they are to blame for: a row never asks for discharge.
        rows.append(FeederRow(
            str(tangent.kind), tangent.asset_id, tangent.step,
            {ev_id: slope / scale for ev_id, slope in slopes.items() if abs(slope) > _MATTERS * scale},
            max(0.0, (tangent.allowed - margin - tangent.value + point) / scale),
        ))
    return tuple(rows)


def _worst(tangents: Iterable[TangentLike]) -> Iterator[TangentLike]:
    """The two worst of each step, kind and phase: what lies behind them on the same cable follows."""
    taken: dict[tuple[int, str, str], int] = {}
    for tangent in sorted(tangents, key=lambda one: one.allowed - one.value):
        key = (tangent.step, str(tangent.kind), tangent.asset_id.rpartition(".")[2])
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= _PER_PHASE:
            yield tangent


def worst_limits(tangents: Iterable[TangentLike]) -> tuple[tuple[str, str], ...]:
    """Kind and name of the limits that were crossed, those first that were crossed in most steps and by most."""
    felt: dict[tuple[str, str], float] = {}
    for tangent in tangents:
        name = (str(tangent.kind), tangent.asset_id)
        felt[name] = felt.get(name, 0.0) + (tangent.value - tangent.allowed) / abs(tangent.allowed)
    return tuple(sorted(felt, key=lambda name: -felt[name]))


def most_kw(problem: Problem, evse_ids: Sequence[str]) -> tuple[Floats, Floats]:
    """What all EVs of a problem may draw and feed in (negative) at once, each (evse, step)."""
    column = {evse_id: at for at, evse_id in enumerate(evse_ids)}
    draws, feeds = np.zeros((len(evse_ids), problem.grid.steps)), np.zeros((len(evse_ids), problem.grid.steps))
    for ev in problem.evs:
        span = slice(max(ev.arrive, 0), max(ev.depart, 0))
        draws[column[ev.evse_id], span] = ev.max_charge_kw
        feeds[column[ev.evse_id], span] = -ev.max_discharge_kw
    return draws, feeds


@dataclass(frozen=True, slots=True)
class Crossed:
    """A limit that a plan was refused for, in one step. per_kw: of the EVSEs that act on it; words: what it came to."""

    kind: str
    element: str
    step: int
    per_kw: Mapping[str, float]
    words: str


def crossed_by(
    tangents: Iterable[TangentLike], evse_ids: Sequence[str], *, tells_limit: bool = False
) -> tuple[Crossed, ...]:
    """What the report keeps of the tangents of a refused plan; those nearest to their limit, or furthest beyond, first.

    tells_limit: whether the words say what would be allowed: of limits that are reached, not crossed.
    """
    return tuple(
        Crossed(str(one.kind), one.asset_id, one.step,
                {evse_ids[at]: float(one.per_kw[at])
                 for at in np.flatnonzero(np.abs(one.per_kw) > _ACTS * np.abs(one.per_kw).max()).tolist()},
                f"{element_words(str(one.kind), one.asset_id)} at {_figure(one, one.value)}"
                + (f" of {_figure(one, one.allowed)}" if tells_limit else ""))
        for one in sorted(tangents, key=lambda one: one.allowed - one.value)
    )


def _figure(tangent: TangentLike, value: float) -> str:
    if tangent.kind in ("voltage_low", "voltage_high"):
        return f"{abs(value):.3f} p.u."
    return f"{100.0 * value:.{1 if tangent.kind == 'unbalance' else 0}f} %"


def changes(refused: Plan, accepted: Plan, crossed: Sequence[Crossed]) -> tuple[Change, ...]:
    """What the limits that `refused` crossed took from each EVSE, largest energy first.

    crossed: worst first; what an EVSE gave up in a step is told of the worst limit that it acts on there.
    """
    row_of = {ev_id: row for row, ev_id in enumerate(accepted.ev_ids)}
    by_step: dict[int, list[Crossed]] = {}
    for one in crossed:
        by_step.setdefault(one.step, []).append(one)
    found: list[Change] = []
    for row, (ev_id, evse_id) in enumerate(zip(refused.ev_ids, refused.evse_ids, strict=True)):
        if ev_id not in row_of:
            continue
        less = refused.power_kw[row] - accepted.power_kw[row_of[ev_id]]
        told: list[tuple[int, Crossed]] = []
        for step in sorted(by_step):
            cause = next((one for one in by_step[step] if less[step] * one.per_kw.get(evse_id, 0.0) > 0.0), None)
            if cause is not None and abs(less[step]) >= _TOLD_KW:
                told.append((step, cause))
        for run in _runs(told):
            steps = [step for step, _ in run]
            cause = run[0][1]
            found.append(Change(
                evse_id, steps[0], steps[-1] + 1, float(np.abs(less[steps]).mean()),
                bool(refused.power_kw[row, steps[0]] < 0.0), cause.kind, cause.element, cause.words,
            ))
    return tuple(sorted(found, key=lambda change: -change.kw * (change.last - change.first)))


def _runs(told: Sequence[tuple[int, Crossed]]) -> Iterator[list[tuple[int, Crossed]]]:
    run: list[tuple[int, Crossed]] = []
    for step, cause in told:
        if run and (step != run[-1][0] + 1 or (cause.kind, cause.element) != (run[-1][1].kind, run[-1][1].element)):
            yield run
            run = []
        run.append((step, cause))
    if run:
        yield run


def element_words(kind: str, element: str) -> str:
    """A limit of the feeder in words: `line cable-2 phase b`."""
    where, _, phase = element.rpartition(".")
    place = f"{where} phase {phase}" if where and phase in ("a", "b", "c") else element
    return f"{_ELEMENTS.get(kind, kind)} {place}"


_ELEMENTS = {
    "voltage_low": "lowest voltage at", "voltage_high": "highest voltage at", "line_overload": "line",
    "transformer_overload": "transformer", "unbalance": "unbalance at", "no_solution": "power flow of",
}
