"""Say in words which limits decided a plan, dearest first.

A limit decides when its dual is not zero: the plan would cost less if it gave way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from aggregator.planning.answer import Answer, Solvable
from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.windows import Window, step_label
from aggregator.planning.street.lessons import element_words

_FELT = 1e-6  # duals below are solver noise


def binding_words(problem: Problem, spans: tuple[Window, ...], model: Any, lp: Solvable,
                  answer: Answer) -> tuple[str, ...]:
    """One sentence per deciding limit; the price is what one kW (kWh for drivers) more room would save.

    model: its attributes are what `lp` finds rows and columns by. Cars are named by their EVSE and events by their
    hours: ids of sessions and signals say nothing to a reader.
    """
    dual = answer.row_dual
    found = [
        *_runs(problem, "import cap", _felt(lp, model.import_cap, dual)),
        *_runs(problem, "export cap", _felt(lp, model.export_cap, dual)),
        *_events(problem, lp, model, dual),
        *_peak(problem, lp, model, answer),
        *_drivers(problem, spans, lp, model, dual),
        *_feeder(problem, lp, model, dual),
    ]
    found.sort(key=lambda item: -item[0])
    return tuple(words for _, words in found)


def _felt(lp: Solvable, constraint: Any, dual: Floats) -> dict[int, float]:
    prices = {index: abs(float(dual[row])) for index, row in lp.rows(constraint).items()}
    return {index: price for index, price in prices.items() if price > _FELT}


def _runs(problem: Problem, name: str, prices: dict[int, float]) -> Iterator[tuple[float, str]]:
    """Neighbouring steps make one sentence."""
    for run in _neighbours(sorted(prices)):
        worth = sum(prices[step] for step in run)
        yield worth, f"{name} {_span(problem, run)} ({worth:.3g} per kW)"


def _neighbours(steps: Iterable[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for step in steps:
        if run and step != run[-1] + 1:
            yield run
            run = []
        run.append(step)
    if run:
        yield run


def _span(problem: Problem, run: list[int]) -> str:
    return f"{step_label(problem, run[0])} to {step_label(problem, run[-1] + 1)}"


def _events(problem: Problem, lp: Solvable, model: Any, dual: Floats) -> Iterator[tuple[float, str]]:
    by_event: dict[int, dict[int, float]] = {}
    for (j, k), row in lp.rows(model.commitment).items():
        if abs(dual[row]) > _FELT:
            by_event.setdefault(j, {})[problem.commitments[j].steps[k]] = abs(float(dual[row]))
    for prices in by_event.values():
        yield from _runs(problem, "event of the grid", prices)


def _peak(problem: Problem, lp: Solvable, model: Any, answer: Answer) -> Iterator[tuple[float, str]]:
    prices = _felt(lp, model.peak_holds, answer.row_dual)
    if not prices:
        return
    peak = float(answer.x[lp.columns(model.peak)[None]])
    when = ", ".join(_span(problem, run) for run in _neighbours(sorted(prices)))
    new = peak > problem.peak_so_far_kw + _FELT
    name = "a new demand peak" if new else "the demand peak so far"
    yield sum(prices.values()), f"{name} of {peak:.1f} kW {when} ({sum(prices.values()):.3g} per kW)"


def _drivers(problem: Problem, spans: tuple[Window, ...], lp: Solvable, model: Any,
             dual: Floats) -> Iterator[tuple[float, str]]:
    for i, price in _felt(lp, model.departure, dual).items():
        span = spans[i]
        yield price, (f"target of the car at {span.ev.evse_id}, {span.need_kwh:.1f} kWh at "
                      f"{step_label(problem, span.due)} ({price:.3g} per kWh)")


def _feeder(problem: Problem, lp: Solvable, model: Any, dual: Floats) -> Iterator[tuple[float, str]]:
    by_limit: dict[tuple[str, str], dict[int, float]] = {}
    for k, price in _felt(lp, model.feeder, dual).items():
        row = problem.feeder_rows[k]
        prices = by_limit.setdefault((row.kind, row.element), {})
        prices[row.step] = prices.get(row.step, 0.0) + price
    for (kind, element), prices in by_limit.items():
        yield from _runs(problem, element_words(kind, element), prices)
