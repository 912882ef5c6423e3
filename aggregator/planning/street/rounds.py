"""The plans of one request on a street, and what its grid teaches from round to round.

Where a plan breaks a limit here and there, its tangents are enough. Where it breaks them all along the street, the next
one is searched for with the flow inside the search: that costs more and needs fewer replays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aggregator.planning.site.checker import over_feeder
from aggregator.planning.site.problem import FeederRow, Floats, Plan, Problem
from aggregator.planning.street.lessons import (
    Change,
    Crossed,
    TangentLike,
    changes,
    crossed_by,
    most_kw,
    rows_from,
    worst_limits,
)

if TYPE_CHECKING:
    from twin.feeder.scene import Scene

Names = tuple[tuple[str, str], ...]
Toward = Callable[["Scene", Sequence[tuple[str, str]], Floats], Sequence[TangentLike]]

MOST_TANGENTS = 200
"""Limits times steps that a plan may break before the flow is taken into the search for the next one."""
MOST_WATCHED = 12
"""Limits with which a plan begins; others are met again in its replay."""
_SEARCH_FACTOR = 3.0
_MORE_ROUNDS = 3
_FORGIVEN_KW = 0.05
_TOLD = 8


class StreetRounds:
    """One request's rounds.

    scene: None where nothing is known of the grid; then every plan is the plain one and nothing is learnt.
    watched: limits, kind and name, that refused an earlier plan. time_limit_s: of one plain solve.
    toward: tangents of named limits, wherever powers of shape (evse of the scene, step) would cross them.
    """

    def __init__(self, scene: Scene | None, watched: Names, *, time_limit_s: float, toward: Toward) -> None:
        self._scene, self._time_limit_s, self._toward = scene, time_limit_s, toward
        self._watched = dict.fromkeys(watched)
        self._is_crowded = scene is not None and len(watched) >= MOST_WATCHED
        self._refused: Plan | None = None
        self._crossed: list[Crossed] = []

    @property
    def watched(self) -> Names:
        """Those given, and those that refused a plan of these rounds."""
        return tuple(self._watched)

    @property
    def more_rounds(self) -> int:
        """How many rounds more than others a crowded street is given."""
        return _MORE_ROUNDS if self._is_crowded else 0

    def known_rows(self, problem: Problem) -> tuple[FeederRow, ...]:
        """Rows of the watched limits, to begin with."""
        return () if self._is_crowded else self._rows_toward(problem, self.watched)

    def plan(self, problem: Problem) -> Plan:
        """The plan of the next round."""
        # Pyomo and HiGHS stay out of the service's own process, which needs these modules for their types only.
        from aggregator.planning.site.solve import solve  # noqa: PLC0415
        from aggregator.planning.street.search import plan_with_feeder  # noqa: PLC0415

        if self._scene is None or not self._is_crowded:
            return solve(problem, time_limit_s=self._time_limit_s)
        found = plan_with_feeder(
            problem, self._scene, time_limit_s=_SEARCH_FACTOR * self._time_limit_s, verify=False,
            beside_kw=self._scene.base_w.sum(axis=0) / 1000.0 - problem.base_kw,  # the neighbours
        )
        return replace(found.plan, seconds={name: s for name, s in found.plan.seconds.items() if name != "total"})

    def lessons(
        self, problem: Problem, plan: Plan, tangents: Sequence[TangentLike], number: int
    ) -> tuple[FeederRow, ...]:
        """Rows for the next round from what the replay of `plan` crossed, which is watched from now on."""
        if self._scene is None or not tangents:
            return ()
        if self._refused is None:
            self._refused = plan
        fresh = [name for name in worst_limits(tangents) if name not in self._watched]
        fresh = fresh[:max(0, MOST_WATCHED - len(self._watched))]
        self._watched.update(dict.fromkeys(fresh))
        self._crossed += crossed_by(tangents, self._scene.evse_ids)
        if len(tangents) > MOST_TANGENTS and not self._is_crowded:
            self._is_crowded = True
            return ()
        rows = rows_from(problem, tangents, self._scene.evse_ids, plan=plan, number=number)
        # What is taken off here moves to the next steps: a limit met for the first time holds in all of them.
        return rows + self._rows_toward(problem, fresh)

    def _rows_toward(self, problem: Problem, names: Iterable[tuple[str, str]]) -> tuple[FeederRow, ...]:
        """Rows of these limits in every step in which all cars together could cross them."""
        wanted, rows = tuple(names), tuple[FeederRow, ...]()
        if self._scene is None or not wanted:
            return rows
        for powers_kw in most_kw(problem, self._scene.evse_ids):
            if powers_kw.any():
                tangents = self._toward(self._scene, wanted, powers_kw)
                rows += rows_from(problem, tangents, self._scene.evse_ids)
        return rows

    def told(self, problem: Problem, plan: Plan) -> tuple[Plan, tuple[Change, ...]]:
        """What the grid changed beside the first plan that it refused; the dearest changes in the plan's words too."""
        if self._refused is None:
            return plan, ()
        found = changes(self._refused, plan, self._crossed)
        words = tuple(change.in_words(problem) for change in found[:_TOLD])
        return replace(plan, binding=words + plan.binding), found


def over_alert(problem: Problem, plan: Plan) -> list[str]:
    """A sentence if `plan` crosses rows of the feeder that it knew: nothing could hold them."""
    over = max(over_feeder(problem, plan.power_kw), default=0.0)
    return [f"the plan is {over:.1f} kW beyond what the feeder's rows allow"] if over > _FORGIVEN_KW else []
