"""From a situation to what the gate is asked: a planning problem, and the world in which the twin examines plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.gate import PlanRequest, safe_outcome
from aggregator.planning.site.arrivals import LearntArrivals, at_once
from aggregator.planning.site.cars import demand, last_step, stays_until, visit
from aggregator.planning.site.problem import Commitment, Cut, EvDemand, Problem
from aggregator.planning.site.situation import SiteModel, Situation, horizon_grid
from twin.assets import TimeGrid, World


def build_request(model: SiteModel, situation: Situation) -> PlanRequest:
    """Turn beliefs into a planning problem and the world in which the twin examines its answer."""
    now = situation.now
    grid = horizon_grid(now, model.step_s, model.steps)
    base_kw, spread_kw = _base_load(model, situation, grid)
    prices = model.rate.prices(grid.start, grid.step_s, grid.steps)
    fraction = (grid.at(1) - now).total_seconds() / grid.step_s
    caps = np.minimum(situation.import_cap_kw, model.site.import_cap_kw)
    export_caps = np.full(grid.steps, model.site.export_cap_kw)
    if situation.export_cap_kw is not None:
        export_caps = np.minimum(export_caps, situation.export_cap_kw)
    until = [stays_until(model, session, situation) for session in situation.sessions]
    demands = tuple(
        demand(model, session, situation, grid, end) for session, end in zip(situation.sessions, until, strict=True))
    problem = Problem(
        grid=grid, evs=demands, base_kw=base_kw,
        import_cap_kw=np.maximum(caps - model.reserve_kw, 0.0),
        export_cap_kw=export_caps,
        import_price=prices.import_per_kwh, export_price=prices.export_per_kwh,
        peak_so_far_kw=situation.peak_so_far_kw, demand_price=model.rate.demand_price_per_kw,
        shortfall_per_kwh=model.shortfall_per_kwh, early_leave_per_kwh=model.early_leave_per_kwh,
        cap_slack_per_kwh=model.cap_slack_per_kwh,
        cuts=situation.known_cuts + _held_still(model, demands, caps, base_kw, situation.commitments),
        timezone=model.site.timezone,
        commitments=tuple(_with_reserve(c, model, spread_kw) for c in situation.commitments),
        first_step_fraction=fraction, change_per_kwh=model.change_per_kwh,
    )
    expected = model.arrivals.virtual_evs(grid, now) if isinstance(model.arrivals, LearntArrivals) else ()
    world = World(
        site=model.site, evses=tuple(model.evses[evse_id] for evse_id in sorted(model.evses)),
        visits=tuple(visit(model, session, now, grid, end)
                     for session, end in zip(situation.sessions, until, strict=True)),
        grid=grid, base_load_kw=base_kw, import_cap_kw=caps,
        export_cap_kw=export_caps, begin=now,
        feeder=None if model.street is None else model.street.scene(grid, base_kw + at_once(problem, expected)),
    )
    has_signals = bool(situation.commitments) or bool((caps < model.site.import_cap_kw).any())
    return PlanRequest(
        problem=problem, world=world, promises=situation.commitments,
        discharge_allowed_kw=dict(situation.permitted_kw), time_limit_s=model.time_limit_s,
        watched=situation.watched, expected=expected,
        without_signals_kw=(
            np.full(grid.steps, max(model.site.import_cap_kw - model.reserve_kw, 0.0)) if has_signals else None
        ),
    )


def as_far_as_needed(model: SiteModel, situation: Situation) -> tuple[SiteModel, Situation]:
    """The same decisions from a shorter horizon: it ends when the last car has left and the last event is over.

    What the building is expected to draw after that still counts as a peak that will come anyway.
    """
    grid = horizon_grid(situation.now, model.step_s, model.steps)
    leaves = [last_step(grid, stays_until(model, session, situation)) for session in situation.sessions]
    if isinstance(model.arrivals, LearntArrivals):
        leaves += [min(ev.depart, grid.steps) for ev in model.arrivals.virtual_evs(grid, situation.now)]
    ends = [commitment.steps[-1] + 1 for commitment in situation.commitments]
    steps = max((1, *leaves, *ends))
    beyond_kw = float(_base_load(model, situation, grid)[0][steps:].max(initial=0.0))
    export_kw = situation.export_cap_kw
    return replace(model, steps=steps), replace(
        situation, import_cap_kw=situation.import_cap_kw[:steps],
        export_cap_kw=None if export_kw is None else export_kw[:steps],
        peak_so_far_kw=max(situation.peak_so_far_kw, beyond_kw),
    )


def without_strange(model: SiteModel, situation: Situation) -> tuple[Situation, tuple[str, ...]]:
    """The situation without the cars that no plan can be made for, and their EVSEs.

    What such a car may draw meanwhile is kept free under the cap.
    """
    good, strange = [], []
    for session in situation.sessions:
        alone = replace(situation, sessions=(session,), commitments=(), known_cuts=())
        try:
            safe_outcome(build_request(model, alone), "")
        except (ValueError, ArithmeticError):
            strange.append(session.evse_id)
        else:
            good.append(session)
    kept_free_kw = sum(model.evses[evse_id].max_charge_kw for evse_id in strange)
    remaining = replace(
        situation, sessions=tuple(good), import_cap_kw=np.maximum(situation.import_cap_kw - kept_free_kw, 0.0)
    )
    return remaining, tuple(strange)


def _base_load(
    model: SiteModel, situation: Situation, grid: TimeGrid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is drawn without the cars that are there, and how far arrivals may exceed it; each of shape (steps,)."""
    base_kw = model.base_load.expect(grid, situation.measured_base)
    if model.arrivals is None or isinstance(model.arrivals, LearntArrivals):
        return base_kw, np.zeros(grid.steps)
    coming_kw = model.arrivals.expect(grid, situation.now)
    return base_kw + coming_kw, model.arrivals.spread(coming_kw)


def _held_still(
    model: SiteModel, demands: tuple[EvDemand, ...], caps: NDArray[np.float64], base_kw: NDArray[np.float64],
    commitments: tuple[Commitment, ...],
) -> tuple[Cut, ...]:
    """No power for cars that could discharge, where a limit leaves the cars nothing.

    A limit takes charging away and never starts a discharge: what the building draws above it is not the cars' to make
    up for. Who wants that asks for it with a commitment, and its steps are left out.
    """
    asked = {step for commitment in commitments for step in commitment.steps}
    full = np.flatnonzero((caps < model.site.import_cap_kw) & (caps - model.reserve_kw <= base_kw))
    return tuple(
        Cut("power_ceiling", 0.0, step=int(step), ev_id=ev.id)
        for ev in demands if ev.max_discharge_kw > 0.0
        for step in full if int(step) not in asked
    )


def _with_reserve(commitment: Commitment, model: SiteModel, spread_kw: NDArray[np.float64]) -> Commitment:
    """The commitment as the plan holds it.

    Until it begins, energy is gathered for 39 of 40 courses of arrivals. Once it runs, what was gathered goes to the
    promise itself: to save it for arrivals that may not come would break the promise now.
    """
    is_running = commitment.steps[0] == 0
    held = tuple(
        kw - model.event_reserve_kw - (0.0 if is_running else model.gather_kw + float(spread_kw[k]))
        for k, kw in zip(commitment.steps, commitment.max_net_kw, strict=True)
    )
    return replace(commitment, max_net_kw=held)
