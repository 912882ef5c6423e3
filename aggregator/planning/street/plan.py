"""A plan under a feeder's limits, and everything that was found out on the way to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from aggregator.planning.site.problem import Plan, Problem
from aggregator.planning.site.windows import step_label
from aggregator.planning.street.rows import RowKind
from aggregator.planning.street.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Round:
    """What one pass through the flow found.

    cost: of the schedule alone. violations: attributable (row, step). worst_percent: the largest of them.
    rows: kept after the round. without_solution: steps that the flow could not solve.
    """

    cost: float
    violations: int
    worst_percent: float
    rows: int
    without_solution: int


@dataclass(frozen=True, slots=True)
class BindingRow:
    """A limit of the feeder that decides.

    phase: empty for all of them together. price: what one per cent more room in this step would save, as the last
        program has it (in which moves had a price, so a saving that is smaller than a move's price does not show).
    """

    kind: RowKind
    element: str
    phase: str
    step: int
    price: float


@dataclass(frozen=True)
class GridPlan:
    """A plan and what the feeder says of it.

    plan: its bound is the least cost under what any schedule that the feeder holds must keep (`bound`): proven,
        at least the cost of the same problem without a feeder.
    rounds: one by one; the plan is that of the last. violations: (row, step) that break because of EVs, 0 unless time
        or rounds ran out. unfixable: those that break without any EV.
    verdict: of the second engine; None: it was not asked.
    slack_percent_h: limits crossed, per cent times hours, by kind. binding: dearest first.
    blind_cost: of the plan without a feeder. tangent_cost: least cost under the tangents at this schedule, moves free;
        how much the search left, to first order, and no proof. NaN: not asked for.
    seconds: by phase: program, flow, rows, verdict, tangent, total (without tangent).
    """

    plan: Plan
    rounds: tuple[Round, ...]
    violations: int
    unfixable: int
    verdict: Verdict | None
    slack_percent_h: dict[RowKind, float]
    binding: tuple[BindingRow, ...]
    blind_cost: float
    tangent_cost: float
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def grid_cost(self) -> float:
        """What the feeder's limits cost."""
        return self.plan.objective - self.blind_cost

    @property
    def holds(self) -> bool:
        """Whether nothing breaks because of EVs, in both engines (in one where the other cannot express the feeder)."""
        verdict = self.verdict
        return self.violations == 0 and (verdict is None or verdict.difference is None or verdict.agrees)


def binding_words(problem: Problem, binding: tuple[BindingRow, ...]) -> tuple[str, ...]:
    """One sentence for each limit of the feeder that decides, dearest first."""
    limits: dict[tuple[str, str, str], list[BindingRow]] = {}
    for row in binding:
        limits.setdefault((row.kind, row.element, row.phase), []).append(row)
    worth = {limit: sum(row.price for row in rows) for limit, rows in limits.items()}
    sentences = []
    for kind, element, phase in sorted(limits, key=lambda limit: -worth[limit]):
        steps = [row.step for row in limits[kind, element, phase]]
        where = f"{kind.replace('_', ' ')} {'at' if 'voltage' in kind else 'of'} {element}"
        between = f"{step_label(problem, min(steps))} to {step_label(problem, max(steps) + 1)}"
        sentences.append(f"{where}{f' phase {phase}' if phase else ''}, {len(steps)} steps between {between} "
                         f"({worth[kind, element, phase]:.3g} per per cent)")
    return tuple(sentences)
