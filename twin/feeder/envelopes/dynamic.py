"""Dynamic operating envelopes: how much every connection point may draw or feed in while the feeder holds its limits.

Each direction is one ray in the space of all points' powers: from what they do anyway to all at their fuse, along a
rule of fairness. Along it an exact three-phase flow says how far the feeder bears it, every step of the day at once.

    limit(c) = max(base load of c, min(ceiling of c, reach x share of c))        equal, proportional

What customers do anyway is not the envelope's to command: a limit is never below the forecast base load, and never
below 0. Where even that crosses a limit, the step is `unfixable` and the envelopes keep it from getting worse.

What is guaranteed, at the base loads and the source voltage given, on the network given:

- `together`: with all points at their import limits, or all at their export limits, no limit is crossed.
- `mix`: nor with any mix that was found, each point anywhere between its two limits. The worst for each limit is
  looked for by ascent along exact gradients (`twin.feeder.envelopes.mixes`), and what is left is examined by exact
  flows (`twin.feeder.envelopes.audits`): with few points, of every mix of limits (`Envelopes.is_every_corner`), else
  of a sample; and of some mixes between. That is no proof for mixes that were not solved. Phases couple: a
  neighbour who feeds in on phase b can lower the voltage on phase a, so that `together` alone says nothing about a
  street where some charge and some discharge.

After `max-total`, which shares unequally, any mix can cost more than it gained; there the step has equal shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid
from twin.feeder.envelopes.audits import Audit
from twin.feeder.envelopes.mixes import hold_any_mix
from twin.feeder.envelopes.most_in_all import most_in_all
from twin.feeder.envelopes.rays import SLACK, Problem, Ray, farthest
from twin.feeder.envelopes.terms import Guarantee, Rule
from twin.feeder.fuses import Fuses
from twin.feeder.network.connections import ConnectionPoint, Envelope
from twin.feeder.network.model import Feeder
from twin.feeder.powerflow.flow import Solution
from twin.feeder.scene import Scene
from twin.feeder.watched import Watched

__all__ = ["EnvelopeError", "Envelopes", "Guarantee", "Rule", "corners", "envelopes", "worst_mix"]

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

PART: Final = 192
"""Steps that are worked out together: their derivatives by 55 points take some 100 MB."""


class EnvelopeError(ValueError):
    """Envelopes cannot be worked out or used as asked; the message names field, value and what was expected."""


@dataclass(frozen=True, eq=False)
class Envelopes:
    """Import and export limits, (point, step), W, both 0 or more, of the net power at each connection point.

    fallback_import_w, fallback_export_w: by point, where no envelope is in force (lost communication, a gap): the
        lowest of the series.
    import_bound_by, export_bound_by: by step, what keeps the limits from being higher.
    unfixable: (step,), base loads alone cross a limit or blow a fuse, or, where any mix is promised, base loads that
        come and go.
    no_solution: (step,), base loads alone have no flow; limits are 0.
    rule, guarantee: None where somebody else worked them out and does not say.
    worst_w: net power at each point in the mix found that comes nearest to a limit, (point, step); None: any mix is
        not promised, or not known.
    is_every_corner: whether all mixes of limits were solved, and not a sample of them.
    """

    feeder: str
    points: tuple[str, ...]
    grid: TimeGrid
    import_w: Floats
    export_w: Floats
    fallback_import_w: Floats
    fallback_export_w: Floats
    rule: Rule | None
    guarantee: Guarantee | None
    import_bound_by: tuple[str, ...]
    export_bound_by: tuple[str, ...]
    unfixable: Claims
    no_solution: Claims
    worst_w: Floats | None = None
    is_every_corner: bool = False

    def of(self, point: str) -> Envelope:
        """The envelope of one connection point.

        Raises:
            EnvelopeError: there is none.
        """
        row = self._row(point)
        return Envelope(self.grid, self.import_w[row].copy(), self.export_w[row].copy())

    def _row(self, point: str) -> int:
        try:
            return self.points.index(point)
        except ValueError:
            raise EnvelopeError(f"connection point {point!r}: no envelope, expected one of {len(self.points)} that "
                                "have one") from None

    def on(self, feeder: Feeder) -> Feeder:
        """`feeder` with these envelopes at its connection points; others keep what they have.

        Raises:
            EnvelopeError: a point that the feeder does not have.
        """
        strange = set(self.points) - {point.id for point in feeder.connection_points}
        if strange:
            raise EnvelopeError(f"connection point {min(strange)!r}: an envelope for a point that feeder {feeder.name} "
                                "does not have")
        return replace(feeder, connection_points=tuple(
            replace(point, envelope=self.of(point.id)) if point.id in self.points else point
            for point in feeder.connection_points
        ))


def envelopes(
    scene: Scene, points: Sequence[str] | None = None, *, rule: Rule = Rule.EQUAL,
    guarantee: Guarantee = Guarantee.MIX, most_w: float | None = None,
) -> Envelopes:
    """Work out envelopes for every step of `scene`.

    Args:
        scene: base loads, limits and the source's voltage for which the envelopes hold.
        rule: how what the feeder bears is shared out.
        guarantee: what the envelopes promise.
        points: connection points that get one; None: those of the scene's EVSEs, and without EVSEs all. The others
            draw their base load. Power above or below its base load is split evenly over a point's phases.
        most_w: ceiling of a point, where that is less than its own: what its fuse lets through, base load and vars
            included, at any voltage within the limits; without one the best line at its bus, and without any rating the
            largest transformer.

    Raises:
        EnvelopeError: an unknown point, or a ceiling that is none.
    """
    chosen = _chosen(scene, points)
    places = {point.id: point for point in scene.feeder.connection_points}
    ceilings = np.array([_ceiling(scene.feeder, places[point], most_w) for point in chosen])
    watched, fuses = Watched(scene.flow(), scene.limits), Fuses(scene.flow())
    through = [np.minimum(ceilings[:, None], fuses.most_w(scene, chosen, sign)) for sign in (1.0, -1.0)]
    problems, tops = [], []
    for first in range(0, scene.grid.steps, PART):
        part = slice(first, first + PART)
        problems.append(Problem.of(scene, chosen, watched, part))
        tops.append(_Tops(ceilings, through[0][:, part], through[1][:, part]))
    at_rest = fuses.loading(scene.flow().solve(scene.base_w, scene.base_var))
    blown: Claims = np.any(at_rest > 1.0 + SLACK, axis=0)
    audit = Audit.of(problems[0], scene.grid.steps) if guarantee is Guarantee.MIX else None
    parts = [_part(problem, top, rule, audit) for problem, top in zip(problems, tops, strict=True)]
    if rule is Rule.MAX_TOTAL and audit is not None:
        parts = [_better(_part(problem, top, Rule.EQUAL, audit), part)
                 for problem, top, part in zip(problems, tops, parts, strict=True)]
    import_w, export_w = (np.concatenate([getattr(part, name) for part in parts], axis=1)
                          for name in ("import_w", "export_w"))
    return Envelopes(
        scene.feeder.name, chosen, scene.grid, import_w, export_w, import_w.min(axis=1), export_w.min(axis=1), rule,
        guarantee, tuple(name for part in parts for name in part.import_bound_by),
        tuple(name for part in parts for name in part.export_bound_by),
        blown | np.concatenate([part.unfixable for part in parts]),
        np.concatenate([part.no_solution for part in parts]),
        None if audit is None else np.concatenate([part.worst_w for part in parts], axis=1),
        audit is not None and audit.is_every_corner,
    )


@dataclass(frozen=True, eq=False)
class _Tops:
    """Ceilings: rated, by point, which shares are measured by; and how much the fuses let through, (point, step)."""

    rated_w: Floats
    import_w: Floats
    export_w: Floats


@dataclass(frozen=True, eq=False)
class _Part:
    """Some steps of `Envelopes`."""

    import_w: Floats
    export_w: Floats
    import_bound_by: tuple[str, ...]
    export_bound_by: tuple[str, ...]
    unfixable: Claims
    no_solution: Claims
    worst_w: Floats


def _part(problem: Problem, tops: _Tops, rule: Rule, audit: Audit | None) -> _Part:
    """Envelopes that hold together; with `audit` in any mix."""
    rays = _ray(problem, tops, rule, 1.0), _ray(problem, tops, rule, -1.0)
    reached = [farthest(problem, ray) for ray in rays]
    reach = reached[0].reach, reached[1].reach
    bound_by = [one.bound_by for one in reached]
    unfixable, worst = problem.unfixable, problem.base_net
    if audit is not None:
        held = hold_any_mix(problem, rays, reach, audit)
        reach = reach[0] * held.share, reach[1] * held.share
        bound_by = [
            tuple(f"{mix} in some mix" if mix else alone for mix, alone in zip(held.bound_by, names, strict=True))
            for names in bound_by
        ]
        unfixable, worst = unfixable | held.is_restless, held.worst_w
    steps = np.arange(problem.steps)
    limits = [
        np.where(problem.no_solution, 0.0, np.maximum(sign * ray.net(one, steps), 0.0))
        for sign, ray, one in zip((1.0, -1.0), rays, reach, strict=True)
    ]
    return _Part(limits[0], limits[1], bound_by[0], bound_by[1], unfixable, problem.no_solution, worst)


def _better(equal: _Part, most: _Part) -> _Part:
    """By step `most` where it gives no less than `equal` in all, in both directions, and `equal` elsewhere.

    A box of the most in all has to shrink more than one of equal shares: neighbours that are far from equal hurt each
    other more.
    """
    take = np.logical_and.reduce([
        getattr(most, name).sum(axis=0) >= getattr(equal, name).sum(axis=0) for name in ("import_w", "export_w")
    ])

    def chosen(name: str) -> Floats:
        taken: Floats = np.where(take, getattr(most, name), getattr(equal, name))
        return taken

    def causes(name: str) -> tuple[str, ...]:
        return tuple(one if is_most else other for is_most, one, other in
                     zip(take, getattr(most, name), getattr(equal, name), strict=True))

    return _Part(
        chosen("import_w"), chosen("export_w"), causes("import_bound_by"), causes("export_bound_by"),
        np.where(take, most.unfixable, equal.unfixable), equal.no_solution, chosen("worst_w"),
    )


def corners(scene: Scene, found: Envelopes) -> tuple[Solution, Solution]:
    """The feeder with all points at their import limits, and with all at their export limits, at every step."""
    problem = Problem.of(scene, found.points, Watched(scene.flow(), scene.limits))
    steps = np.arange(scene.grid.steps)
    return problem.solve(found.import_w, steps), problem.solve(-found.export_w, steps)


def worst_mix(scene: Scene, found: Envelopes) -> Solution | None:
    """The feeder in the mix found that comes nearest to a limit, at every step; None where any mix is not promised."""
    if found.worst_w is None:
        return None
    problem = Problem.of(scene, found.points, Watched(scene.flow(), scene.limits))
    return problem.solve(found.worst_w, np.arange(scene.grid.steps))


def _chosen(scene: Scene, points: Sequence[str] | None) -> tuple[str, ...]:
    there = [point.id for point in scene.feeder.connection_points]
    wanted = tuple(dict.fromkeys(scene.evse_points or there)) if points is None else tuple(points)
    if not wanted:
        raise EnvelopeError(f"connection points of feeder {scene.feeder.name}: none, expected at least one")
    for point in wanted:
        if point not in there:
            raise EnvelopeError(f"connection point {point!r}: expected one of feeder {scene.feeder.name}")
    if len(set(wanted)) != len(wanted):
        raise EnvelopeError("points: one stands there twice, expected every connection point once")
    return wanted


def _ceiling(feeder: Feeder, point: ConnectionPoint, most_w: float | None) -> float:
    if most_w is not None and not 0.0 < most_w < np.inf:
        raise EnvelopeError(f"most_w: {most_w!r}, expected a finite number of watts above 0")
    volts = next(bus.volts for bus in feeder.buses if bus.id == point.bus) / sqrt(3.0)
    amperes = point.fuse_a or max(
        (min(line.ampacity.amperes) for line in feeder.lines
         if line.ampacity is not None and point.bus in (line.from_bus, line.to_bus)), default=None,
    )
    if amperes is None:
        # All that the feeder is fed by is more than anybody at it can ever draw.
        own = max((transformer.rated_va for transformer in feeder.transformers), default=feeder.source.short_circuit_va)
    else:
        own = amperes * volts * len(point.phases)
    return own if most_w is None else min(own, most_w)


def _ray(problem: Problem, tops: _Tops, rule: Rule, sign: float) -> Ray:
    shares = tops.rated_w if rule is Rule.PROPORTIONAL else np.ones(len(tops.rated_w))
    ceilings = tops.import_w if sign > 0.0 else tops.export_w
    ray = Ray.by_share(problem.base_net, shares, ceilings, sign)
    if rule is Rule.MAX_TOTAL:
        return most_in_all(problem, ray, farthest(problem, ray).reach, ceilings, sign)
    return ray
