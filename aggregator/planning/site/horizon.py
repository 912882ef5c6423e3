"""The receding horizon: look at the site as it is believed to be, plan the next day, hand the plan on.

Re-plans on a clock and on every change. Changes coalesce: one solve runs, at most one waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from aggregator.clock import Clock
from aggregator.fleet.beliefs import VehicleModel
from aggregator.fleet.departures import DepartureHistory
from aggregator.fleet.model import LiveSession
from aggregator.planning.gate import GateOutcome, PlanRequest, safe_outcome
from aggregator.planning.site.arrivals import LearntArrivals, at_once
from aggregator.planning.site.forecast import ArrivalForecast, BaseLoadForecast
from aggregator.planning.site.problem import Commitment, Cut, EvDemand, Problem
from markets.rate import RateSchedule
from twin.assets import Evse, Schedule, Site, TimeGrid, Visit, World

if TYPE_CHECKING:
    from aggregator.planning.street.known import Street

log = structlog.get_logger(__name__)


_GATHER_S = 0.05
"""Wall seconds for which changes gather before a plan is made of them."""


@dataclass(frozen=True)
class SiteModel:
    """What is registered about the site: it changes by configuration, not by the hour.

    arrivals: cars still to come. Learnt ones are virtual EVs, which the plan may shift within their stay; an ordinary
        day's count as load that cannot be shifted; None expects none.
    departures: when drivers leave, compared with what they declare. ready_quantile: a car is planned to be ready before
        more than this share of drivers like this one has left, for whom what is missing then counts as missing when
        they leave early; None: by the declared departure.
    outstay_share: a car that may discharge is counted on beyond its declared departure until this share of drivers like
        this one has left. What its driver wants is due as declared and stays in the car from then on; what it has
        beyond may be taken. None: until the declared departure.
    change_per_kwh: of departing from what was dispatched for the next `held_steps` steps.
    reserve_kw: kept free under the import cap for what the building does within a minute.
    event_reserve_kw: how far below a commitment the plan stays, for the same reason; the spread of arrivals comes on
        top of it. gather_kw: further below it until it begins, for what forecasts do not know.
    shortfall_per_kwh: of energy missing at the declared departure. It is far above what a quarter hour at a higher
        billed peak costs per kWh, or drivers would pay for the site's demand charge.
    early_leave_per_kwh: of energy missing when a driver leaves before that; cap_slack_per_kwh: the dearest.
    street: the grid beyond the connection point; None where nothing is known of it.
    """

    site: Site
    evses: Mapping[str, Evse]
    vehicles: Mapping[str, VehicleModel]
    rate: RateSchedule
    base_load: BaseLoadForecast
    arrivals: ArrivalForecast | LearntArrivals | None = None
    departures: DepartureHistory = field(default_factory=DepartureHistory)
    ready_quantile: float | None = None
    outstay_share: float | None = 0.5
    change_per_kwh: float = 0.01
    held_steps: int = 8
    step_s: int = 900
    steps: int = 96
    reserve_kw: float = 4.0
    event_reserve_kw: float = 1.5
    gather_kw: float = 4.0
    shortfall_per_kwh: float = 100.0
    early_leave_per_kwh: float = 5.0
    cap_slack_per_kwh: float = 1000.0
    time_limit_s: float = 3.0
    street: Street | None = None


@dataclass(frozen=True)
class Situation:
    """What is believed at one instant; all a plan depends on besides the `SiteModel`.

    import_cap_kw, export_cap_kw: shape (steps,) with limits in force; export None = the site's own.
    permitted_kw: discharge allowed now, by EVSE id.
    known_cuts: what earlier replays taught about the cars that are still here.
    draw_limits_kw: by EVSE id, what the car was seen to take where it is less than it was offered.
    cannot_charge: EVSE ids that do not draw although they were ordered to; nothing is planned to flow there.
    watched: limits of the feeder that refused an earlier plan.
    dispatched: what was dispatched last.
    """

    now: datetime
    sessions: tuple[LiveSession, ...]
    measured_base: tuple[datetime, float] | None
    peak_so_far_kw: float
    import_cap_kw: NDArray[np.float64]
    permitted_kw: Mapping[str, float]
    commitments: tuple[Commitment, ...] = ()
    known_cuts: tuple[Cut, ...] = ()
    draw_limits_kw: Mapping[str, float] = field(default_factory=dict)
    export_cap_kw: NDArray[np.float64] | None = None
    cannot_charge: frozenset[str] = frozenset()
    watched: tuple[tuple[str, str], ...] = ()
    dispatched: Dispatched | None = None


@dataclass(frozen=True)
class Dispatched:
    """Set-points in force. transactions: by EVSE id, whom they were made for."""

    schedule: Schedule
    transactions: Mapping[str, str]

    @classmethod
    def of(cls, outcome: GateOutcome) -> Dispatched:
        return cls(outcome.schedule, dict(zip(outcome.plan.evse_ids, outcome.plan.ev_ids, strict=True)))

    def power_kw(self, session: LiveSession, grid: TimeGrid, steps: int) -> NDArray[np.float64] | None:
        """Of the session in the first `steps` steps of `grid`, NaN elsewhere; None if nothing was dispatched to it."""
        ours, theirs = self.schedule, self.transactions.get(session.evse_id)
        shift, rest = divmod((grid.start - ours.grid.start).total_seconds(), grid.step_s)
        if theirs != session.transaction_id or ours.grid.step_s != grid.step_s or rest or shift < 0:
            return None
        row = ours.power_kw[ours.evse_ids.index(session.evse_id), int(shift):int(shift) + min(steps, grid.steps)]
        held = np.full(grid.steps, np.nan)
        held[:len(row)] = row
        return held


def horizon_grid(now: datetime, step_s: int, steps: int) -> TimeGrid:
    """Steps aligned to the clock; `now` lies in the first."""
    start = datetime.fromtimestamp(now.timestamp() // step_s * step_s, UTC)
    return TimeGrid(start, step_s, steps)


def as_far_as_needed(model: SiteModel, situation: Situation) -> tuple[SiteModel, Situation]:
    """The same decisions from a shorter horizon: it ends when the last car has left and the last event is over.

    What the building is expected to draw after that still counts as a peak that will come anyway.
    """
    grid = horizon_grid(situation.now, model.step_s, model.steps)
    leaves = [_last_step(grid, _stays_until(model, session, situation)) for session in situation.sessions]
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


def _base_load(
    model: SiteModel, situation: Situation, grid: TimeGrid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is drawn without the cars that are there, and how far arrivals may exceed it; each of shape (steps,)."""
    base_kw = model.base_load.expect(grid, situation.measured_base)
    if model.arrivals is None or isinstance(model.arrivals, LearntArrivals):
        return base_kw, np.zeros(grid.steps)
    coming_kw = model.arrivals.expect(grid, situation.now)
    return base_kw + coming_kw, model.arrivals.spread(coming_kw)


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
    demands = tuple(
        _demand(model, session, situation, grid)
        for session in situation.sessions
    )
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
        visits=tuple(_visit(model, session, situation, grid) for session in situation.sessions),
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
        Cut("power_ceiling", 0.0, step=int(step), ev_id=demand.id)
        for demand in demands if demand.max_discharge_kw > 0.0
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


def _last_step(grid: TimeGrid, departure: datetime) -> int:
    """Plugged for steps before this one: whole steps only, as the end of a broken step is not ours to count on."""
    return min(max(grid.index(departure), 1), grid.steps)


def _said(session: LiveSession) -> datetime:
    """The departure that was declared, be it past."""
    return session.departure if session.overdue_since is None else session.overdue_since


def _floor_kwh(session: LiveSession) -> float:
    """Below this nothing is taken; of a car whose declared departure has passed, nothing of what its driver wants."""
    if session.overdue_since is None:
        return session.floor_kwh
    return max(session.floor_kwh, min(session.target_kwh, session.energy_kwh))


def _discharge_kw(model: SiteModel, session: LiveSession, situation: Situation) -> float:
    vehicle = model.vehicles[session.vehicle_model].vehicle
    return min(model.evses[session.evse_id].max_discharge_kw, vehicle.max_discharge_kw,
               situation.permitted_kw.get(session.evse_id, 0.0))


def _stays_until(model: SiteModel, session: LiveSession, situation: Situation) -> datetime:
    """Until when the car is counted on: the declared departure, or where it can give something, what history says."""
    if model.outstay_share is None or _discharge_kw(model, session, situation) <= 0.0:
        return session.departure
    usual = model.departures.stays_until(
        model.outstay_share, situation.now, _said(session), arrival=session.started_at, id_token=session.id_token)
    return session.departure if usual is None else max(session.departure, usual)


def _demand(model: SiteModel, session: LiveSession, situation: Situation, grid: TimeGrid) -> EvDemand:
    before = situation.dispatched
    evse, listed = model.evses[session.evse_id], model.vehicles[session.vehicle_model]
    vehicle = listed.vehicle
    due, depart = (_last_step(grid, when) for when in (session.departure, _stays_until(model, session, situation)))
    charge_kw = min(evse.max_charge_kw, vehicle.max_charge_kw)
    if (taken_kw := situation.draw_limits_kw.get(session.evse_id)) is not None:
        charge_kw = min(charge_kw, max(taken_kw, evse.min_charge_kw))
    discharge_kw = _discharge_kw(model, session, situation)
    return EvDemand(
        id=session.transaction_id, evse_id=session.evse_id, arrive=0, depart=depart,
        energy_kwh=session.energy_kwh, capacity_kwh=session.capacity_kwh * vehicle.battery.soc_max,
        target_kwh=session.target_kwh, floor_kwh=_floor_kwh(session),
        max_charge_kw=(
            0.0 if session.evse_id in situation.cannot_charge or (session.is_full and discharge_kw == 0.0)
            else charge_kw
        ),
        max_discharge_kw=discharge_kw,
        charge_efficiency=_charge_efficiency(listed, charge_kw),
        discharge_efficiency=_discharge_efficiency(listed, discharge_kw),
        wear_per_kwh=listed.wear_per_kwh,
        min_charge_kw=evse.min_charge_kw, min_discharge_kw=vehicle.min_discharge_kw,
        leave_probability=_leaving(model, session, situation.now, grid, grid.at(depart)),
        held_kw=None if before is None else before.power_kw(session, grid, model.held_steps),
        due=due if due < depart else None,
    )


def _leaving(
    model: SiteModel, session: LiveSession, now: datetime, grid: TimeGrid, until: datetime
) -> NDArray[np.float64]:
    """Weights of energy missing at the end of each step: the chance that the driver leaves then, and the buffer.

    At the end of the buffer the car counts as one that leaves for sure.
    """
    declared, arrival, id_token = _said(session), session.started_at, session.id_token
    leaving = model.departures.leave_probability(
        grid, now, declared, arrival=arrival, id_token=id_token, until=until)
    if model.ready_quantile is not None:
        ready = model.departures.ready_by(model.ready_quantile, now, declared, arrival=arrival, id_token=id_token)
        if ready is not None and (step := _last_step(grid, ready) - 1) < grid.steps:
            leaving[step] = 1.0
    return leaving


def _charge_efficiency(listed: VehicleModel, connector_kw: float) -> float:
    """Battery over connector energy at half power: a little less than a mixed schedule has, so cars get no less."""
    loss, battery_kw = listed.vehicle.battery.loss, 0.5 * connector_kw
    lost = loss.standby_kw + loss.proportional * battery_kw + loss.quadratic_per_kw * battery_kw**2
    return battery_kw / (battery_kw + lost)


def _discharge_efficiency(listed: VehicleModel, connector_kw: float) -> float:
    if connector_kw <= 0.0:
        return 1.0
    loss, battery_kw = listed.vehicle.battery.loss, 0.5 * connector_kw
    lost = loss.standby_kw + loss.proportional * battery_kw + loss.quadratic_per_kw * battery_kw**2
    return (battery_kw - lost) / battery_kw


def _visit(model: SiteModel, session: LiveSession, situation: Situation, grid: TimeGrid) -> Visit:
    now, until = situation.now, _stays_until(model, session, situation)
    vehicle, capacity_kwh = model.vehicles[session.vehicle_model].vehicle, session.capacity_kwh
    if capacity_kwh != vehicle.battery.capacity_kwh:  # the car says another size than its model has: it knows better
        vehicle = replace(vehicle, battery=replace(vehicle.battery, capacity_kwh=capacity_kwh))
    return Visit(
        id=session.transaction_id, evse_id=session.evse_id, vehicle=vehicle, arrival=now,
        departure=max(grid.at(_last_step(grid, until)), now + timedelta(seconds=1)),
        energy_kwh=min(session.energy_kwh, capacity_kwh), target_kwh=min(session.target_kwh, capacity_kwh),
        floor_kwh=min(_floor_kwh(session), capacity_kwh),
    )


class Planner(Protocol):
    """Solves one request; the service runs it in a child process."""

    async def plan(self, request: PlanRequest) -> GateOutcome: ...


class RecedingHorizon:
    """Re-plans every `interval_s` of domain time and after each `request`.

    observe: takes the reasons for the plan and returns the situation now.
    adopt: takes the outcome; it stores, dispatches and decides on signals.
    on_left_out: called with the EVSEs whose cars cannot be planned for; the others are planned without them.
    retry_s: wall seconds after a plan that could not be made or adopted; chargers keep their profiles meanwhile.
    """

    def __init__(
        self, model: SiteModel, clock: Clock, planner: Planner,
        observe: Callable[[], Situation],
        adopt: Callable[[Situation, PlanRequest, GateOutcome, tuple[str, ...]], Awaitable[None]],
        interval_s: int = 900,
        *,
        on_left_out: Callable[[tuple[str, ...]], Awaitable[None]] | None = None,
        retry_s: float = 5.0,
    ) -> None:
        self.fault: str | None = None
        """Why the latest plan could not be made or adopted; None if it could."""
        self._on_left_out, self._retry_s = on_left_out, retry_s
        self.model = model
        """What the next plan is made from; replaced when a day has taught something."""
        self._clock, self._planner = clock, planner
        self._observe, self._adopt, self._interval_s = observe, adopt, interval_s
        self._reasons: list[str] = []
        self._wake = asyncio.Event()

    def request(self, reason: str) -> None:
        """Ask for a plan soon; many asks before the next solve make one plan."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick())
            tasks.create_task(self._plan_forever())

    async def _tick(self) -> None:
        while True:
            now = self._clock.now().timestamp()
            following = (now // self._interval_s + 1) * self._interval_s
            await self._clock.sleep_until(datetime.fromtimestamp(following, UTC))
            self.request("clock")

    async def _plan_forever(self) -> None:
        while True:
            await self._wake.wait()
            # A car's start and its driver's declaration come moments apart: one plan for both, not a blind one first.
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            reasons, self._reasons = tuple(self._reasons), []
            try:
                await self._plan_once(reasons)
            except Exception as fault:  # a strange site must not end planning; health and log tell of it
                log.exception("no plan could be made or adopted, trying again", retry_s=self._retry_s)
                self.fault = type(fault).__name__
                self._reasons = list(dict.fromkeys((*reasons, *self._reasons)))
                await asyncio.sleep(self._retry_s)
                self._wake.set()

    async def _plan_once(self, reasons: tuple[str, ...]) -> None:
        situation = self._observe()
        left_out: tuple[str, ...] = ()
        try:
            request = build_request(self.model, situation)
            outcome = await self._planner.plan(request)
        except (ValueError, ArithmeticError):
            log.exception("the site as it is believed to be cannot be planned for")
            situation, left_out = without_strange(self.model, situation)
            request = build_request(self.model, situation)
            outcome = await self._planner.plan(request)
        if left_out:
            names = ", ".join(left_out)
            alert = f"cars that cannot be planned for are left out: {names}"
            outcome = replace(outcome, alerts=(*outcome.alerts, alert))
            if self._on_left_out is not None:
                await self._on_left_out(left_out)
        await self._adopt(situation, request, outcome, reasons)
        self.fault = None


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
