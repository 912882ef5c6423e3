"""What a plan is made of: what is registered about the site, and what is believed about it at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aggregator.fleet.beliefs import VehicleModel
from aggregator.fleet.departures import DepartureHistory
from aggregator.fleet.model import LiveSession
from aggregator.planning.gate import GateOutcome
from aggregator.planning.site.arrivals import LearntArrivals
from aggregator.planning.site.forecast import ArrivalForecast, BaseLoadForecast
from aggregator.planning.site.problem import Commitment, Cut
from markets.rate import RateSchedule
from twin.assets import Evse, Schedule, Site, TimeGrid

if TYPE_CHECKING:
    from aggregator.planning.street.known import Street


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
