"""What a refused replay teaches the next solve: breaches in, cuts out.

The linear model lacks taper, power-dependent losses, response times and the minute inside the step; each cut carries
one of these back as a number, as narrow as it can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.site.problem import Cut, EvDemand, Floats, Plan, Problem
from aggregator.planning.site.windows import step_hours

# A set-point that was not followed counts from here: below lie the seconds a charger takes to answer.
_GAP_KW, _GAP_SHARE, _GAP_KWH = 0.1, 0.03, 0.02
# A minute's mean is over for a few seconds only, the headroom must hold it for the whole step.
_HEADROOM_KW, _HEADROOM_FACTOR = 0.05, 1.1
_EVENT_KW = 0.1
_ENERGY_KWH = 0.05
# Losses depend on the power, and the next plan spreads the energy over other powers: the lesson is given with room.
_MARGIN_KWH = 0.15


@dataclass(frozen=True, slots=True)
class Refusal:
    """One breach in the steps of the problem: kind, asset, first <= step < last, the largest excess, beyond what."""

    kind: str
    asset_id: str
    first: int
    last: int
    worst: float
    limit: float = 0.0


@dataclass(frozen=True)
class Replayed:
    """What the replay showed, in the order of the problem.

    power_kw: shape (ev, step), positive charges. energy_kwh: shape (ev, step), end of step.
    over_import_kw, over_export_kw: shape (step,), the worst minute's excess over the site's caps, 0 or less if none.
    event_over_kw: by signal id, excess over the promise per step.
    """

    power_kw: Floats
    energy_kwh: Floats
    over_import_kw: Floats
    over_export_kw: Floats
    event_over_kw: Mapping[str, tuple[float, ...]]


def learn(problem: Problem, plan: Plan, replayed: Replayed, refusals: tuple[Refusal, ...]) -> tuple[Cut, ...]:
    """Cuts that would have avoided the refusals; permits teach nothing, they are enforced.

    A cap that was refused before and is refused again elsewhere has met the seconds in which chargers answer: these
    move with the plan, so the second lesson holds in every step.
    """
    cuts: list[Cut] = []
    rows = {ev.id: row for row, ev in enumerate(problem.evs)}
    for refusal in refusals:
        if refusal.kind == "departure" and refusal.asset_id in rows:
            cuts += _late_energy(problem, plan, replayed, rows[refusal.asset_id], refusal)
        elif refusal.kind == "site_cap":
            cuts += _headroom(problem, plan, replayed, refusal)
        elif refusal.kind == "event":
            cuts += _event(problem, plan, replayed, refusal)
        elif refusal.kind == "evse_rating":
            cuts += _rating(problem, plan, refusal)
        elif refusal.kind == "floor" and refusal.asset_id in rows:
            cuts.append(_floor(problem, plan, replayed, rows[refusal.asset_id], refusal))
    if any(cut.kind == "site_headroom" for cut in problem.cuts):
        again = max((cut.value for cut in cuts if cut.kind == "site_headroom"), default=0.0)
        cuts += [Cut("site_headroom", again, step=step) for step in range(problem.grid.steps) if again > 0]
    return merge(tuple(cuts))


def merge(cuts: tuple[Cut, ...]) -> tuple[Cut, ...]:
    """One cut per kind, EV and step: the tightest, as breaches of one replay tell of the same excess."""
    tightest: dict[tuple[str, str | None, int | None, float], Cut] = {}
    for cut in cuts:
        key = (cut.kind, cut.ev_id, cut.step, cut.slope_per_h)
        held = tightest.get(key)
        is_tighter = held is None or (cut.value < held.value if cut.kind == "power_ceiling" else cut.value > held.value)
        if is_tighter:
            tightest[key] = cut
    return tuple(tightest.values())


def _late_energy(problem: Problem, plan: Plan, replayed: Replayed, row: int, refusal: Refusal) -> list[Cut]:
    """The taper where the car did not follow, and a margin for the losses that it does not explain."""
    ev, hours = problem.evs[row], step_hours(problem)
    real = np.maximum(0.0, replayed.power_kw[row])
    gap = plan.charge_kw[row] - real
    is_felt = (gap > np.maximum(_GAP_KW, _GAP_SHARE * plan.charge_kw[row])) & (gap * hours > _GAP_KWH)
    cuts = _taper(ev, plan.charge_kw[row], real, replayed.energy_kwh[row], is_felt)
    explained = ev.charge_efficiency * float((gap * hours)[is_felt].sum())
    left = refusal.worst - explained
    if left > _ENERGY_KWH or not cuts:
        cuts.append(Cut("energy_margin", max(left, 0.0) + _MARGIN_KWH, ev_id=ev.id))
    return cuts


def _taper(ev: EvDemand, planned: Floats, real: Floats, energy: Floats, is_felt: NDArray[np.bool_]) -> list[Cut]:
    """A line through what the car took at its lowest and its highest energy, else ceilings for the steps.

    A taper falls with energy and bends downwards, so such a line is safe between its points; beyond them the next
    replay adds another.
    """
    felt = np.flatnonzero(is_felt)
    mean = (energy + np.concatenate(([ev.energy_kwh], energy[:-1]))) / 2
    points = [(float(mean[step]), float(real[step])) for step in felt]
    followed = np.flatnonzero((planned > 0) & ~is_felt)
    before = followed[followed < felt[0]] if len(felt) else followed
    if len(before):  # the last step in which it still took all
        points.append((float(mean[before[-1]]), float(real[before[-1]])))
    if len(points) > 1:
        (low, at_low), (high, at_high) = min(points), max(points)
        slope = (at_low - at_high) / (high - low) if high - low > _ENERGY_KWH else 0.0
        if slope > 0:
            return [Cut("taper", at_low + slope * low, ev_id=ev.id, slope_per_h=slope)]
    return [_ceiling(ev, int(step), float(real[step])) for step in felt]


def _headroom(problem: Problem, plan: Plan, replayed: Replayed, refusal: Refusal) -> list[Cut]:
    cuts: list[Cut] = []
    for step in range(refusal.first, refusal.last):
        weak, missing = _undelivered(problem, plan, replayed, step)
        cuts += weak
        for kind, over in (("site_headroom", replayed.over_import_kw[step]),
                           ("export_headroom", replayed.over_export_kw[step])):
            excess = float(over) - (missing if kind == "site_headroom" else 0.0)
            if excess > 0:
                cuts.append(Cut(kind, excess * _HEADROOM_FACTOR + _HEADROOM_KW, step=step))  # type: ignore[arg-type]
    return cuts


def _event(problem: Problem, plan: Plan, replayed: Replayed, refusal: Refusal) -> list[Cut]:
    event = next((event for event in problem.commitments if event.signal_id == refusal.asset_id), None)
    if event is None:
        return []
    over = dict(zip(event.steps, replayed.event_over_kw[refusal.asset_id], strict=True))
    cuts: list[Cut] = []
    for step in range(refusal.first, refusal.last):
        weak, missing = _undelivered(problem, plan, replayed, step)
        cuts += weak
        if over.get(step, 0.0) - missing > 0:
            cuts.append(Cut("event_margin", over[step] - missing + _EVENT_KW, step=step))
    return cuts


def _floor(problem: Problem, plan: Plan, replayed: Replayed, row: int, refusal: Refusal) -> Cut:
    """The car had less in its battery than the plan believed when it began to discharge."""
    steps = slice(max(refusal.first - 1, 0), refusal.last)
    believed = float((plan.energy_kwh[row, steps] - replayed.energy_kwh[row, steps]).max())
    return Cut("floor_margin", max(believed, refusal.worst, 0.0) + _ENERGY_KWH, ev_id=problem.evs[row].id)


def _undelivered(problem: Problem, plan: Plan, replayed: Replayed, step: int) -> tuple[list[Cut], float]:
    """Ceilings for EVs that discharged less than planned in `step` (a floor, a curve), and the kW they missed."""
    cuts, missing = [], 0.0
    for row, ev in enumerate(problem.evs):
        planned, real = plan.discharge_kw[row, step], max(0.0, -float(replayed.power_kw[row, step]))
        if planned - real > max(3 * _GAP_KW, 2 * _GAP_SHARE * planned):
            cuts.append(_ceiling(ev, step, real))
            missing += float(planned) - real
    return cuts, missing


def _rating(problem: Problem, plan: Plan, refusal: Refusal) -> list[Cut]:
    """Whatever was asked beyond the EVSE's rating is taken off."""
    return [
        _ceiling(ev, step, max(0.0, abs(float(plan.power_kw[row, step])) - refusal.worst))
        for row, ev in enumerate(problem.evs) if ev.evse_id == refusal.asset_id
        for step in range(refusal.first, refusal.last) if ev.arrive <= step < ev.depart
    ]


def _ceiling(ev: EvDemand, step: int, kw: float) -> Cut:
    return Cut("power_ceiling", kw, step=step, ev_id=ev.id)
