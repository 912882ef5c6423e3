"""The planning problem and its answer, as plain arrays and names.

`Problem -> Plan` is the interface of every solver path; nothing here knows Pyomo, HiGHS, the twin or HTTP.
The base problem is V2G-LP1 for one site: energies are battery side, powers are step averages at the connector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EvDemand:
    """One plugged (or announced) EV over the horizon.

    arrive, depart: plugged for arrive <= step < depart.
    due: the target is wanted at the end of `due - 1`, and from then on the car holds it until it leaves: only what it
        has beyond may be taken. None = by `depart`.
    energy_kwh: in the battery at the start of `arrive`; target_kwh: wanted when it is due.
    floor_kwh: lowest energy discharge may reach (only as far as it is reachable).
    leave_probability: shape (steps,), chance that the driver unplugs at the end of that step although the
        declared departure is later; missing energy then is priced with that weight. Zeros = trust the driver.
    guard_kwh: shape (steps,), energy at the end of each step that a grid service may not take from this driver: what
        the car would hold without any signal, as far as the target. None = nothing to guard.
    guard_weight: times the price of the guard; taking back what a car holds weighs more than delivering it later.
    held_kw: shape (steps,), the set-point that was dispatched for each step, discharge below 0; NaN where there is
        none. To plan another one costs `Problem.change_per_kwh`.
    min_charge_kw, min_discharge_kw: charging is 0 or at least this; repaired after the LP.
    max_discharge_kw: 0 unless every permit is in force.
    """

    id: str
    evse_id: str
    arrive: int
    depart: int
    energy_kwh: float
    capacity_kwh: float
    target_kwh: float
    floor_kwh: float
    max_charge_kw: float
    max_discharge_kw: float
    charge_efficiency: float
    discharge_efficiency: float
    wear_per_kwh: float
    min_charge_kw: float = 0.0
    min_discharge_kw: float = 0.0
    leave_probability: Floats | None = None
    guard_kwh: Floats | None = None
    guard_weight: float = 1.0
    held_kw: Floats | None = None
    due: int | None = None


@dataclass(frozen=True)
class Commitment:
    """An event: net import at or below max_net_kw in `steps`, or pay for the shortfall.

    shortfall_per_kwh: price of each kWh above max_net_kw.
    asked_net_kw: what was asked, where less was promised: each kWh between the two still earns asked_per_kwh if it is
        delivered, which is part of shortfall_per_kwh. Empty = no more than max_net_kw.
    worst_per_kw: small price of the largest shortfall, so that what is missing spreads evenly over the steps and the
        most that can be promised throughout shows.
    """

    signal_id: str
    steps: tuple[int, ...]
    max_net_kw: tuple[float, ...]
    shortfall_per_kwh: float
    worst_per_kw: float = 0.05
    asked_net_kw: tuple[float, ...] = ()
    asked_per_kwh: float = 0.0


CutKind = Literal[
    "power_ceiling", "taper", "energy_margin", "floor_margin", "site_headroom", "export_headroom", "event_margin"
]


@dataclass(frozen=True)
class Cut:
    """What the replay taught: a constraint added to the next solve.

    power_ceiling: EV `ev_id` cannot charge above `value` kW in `step` (below -value when discharging);
        without a step it holds in all of them.
    taper: EV `ev_id` cannot charge above `value` - `slope_per_h` * (its mean energy in the step in kWh) kW.
    energy_margin: raise the target of `ev_id` by `value` kWh.
    floor_margin: raise the floor of `ev_id` by `value` kWh.
    site_headroom: keep `value` kW free under the import cap in `step`; export_headroom: under the export cap.
    event_margin: hold net import `value` kW below the commitment in `step`.
    """

    kind: CutKind
    value: float
    step: int | None = None
    ev_id: str | None = None
    slope_per_h: float = 0.0


@dataclass(frozen=True)
class FeederRow:
    """What the street's grid allows in one step: the sum of per_kw[ev] times the EV's power stays at or below most_kw.

    kind, element: which limit it is, as the gate names it. per_kw: by EV id, discharge counting negative; the largest
    is 1 or -1, so that both sides are kW of the EV that matters most.
    """

    kind: str
    element: str
    step: int
    per_kw: Mapping[str, float]
    most_kw: float


@dataclass(frozen=True)
class Problem:
    """One site over one horizon.

    base_kw, import_cap_kw, export_cap_kw, import_price, export_price: shape (steps,).
    first_step_fraction: share of step 0 that still lies ahead, in (0, 1]; its energy counts only that much.
    Prices are per kWh; demand_price per kW of monthly peak above peak_so_far_kw.
    shortfall_per_kwh: price of energy missing at departure, and per hour of each kWh below the reachable floor.
    early_leave_per_kwh: price of energy missing when a driver leaves before the declared departure; None = the same.
    guard_per_kwh_h: price of each kWh below a driver's guard, per hour, times the driver's guard_weight.
    cap_slack_per_kwh: price of crossing the cap (dearest).
    change_per_kwh: price of each kWh by which a plan departs from what was dispatched: among plans that cost nearly
        the same it keeps set-points where they are.
    timezone: in which the plan's words tell the time.
    feeder_rows: what the grid beyond the connection point allows; crossing one costs as much as crossing the cap.
    """

    grid: TimeGrid
    evs: tuple[EvDemand, ...]
    base_kw: Floats
    import_cap_kw: Floats
    export_cap_kw: Floats
    import_price: Floats
    export_price: Floats
    peak_so_far_kw: float
    demand_price: float
    shortfall_per_kwh: float = 5.0
    cap_slack_per_kwh: float = 100.0
    commitments: tuple[Commitment, ...] = ()
    cuts: tuple[Cut, ...] = ()
    first_step_fraction: float = 1.0
    timezone: str = "UTC"
    early_leave_per_kwh: float | None = None
    guard_per_kwh_h: float = 2.0
    feeder_rows: tuple[FeederRow, ...] = ()
    change_per_kwh: float = 0.0

    @property
    def early_price(self) -> float:
        """Per kWh missing at an early departure."""
        return self.shortfall_per_kwh if self.early_leave_per_kwh is None else self.early_leave_per_kwh


@dataclass(frozen=True)
class Plan:
    """The answer to a Problem.

    charge_kw, discharge_kw: shape (ev, step), both 0 or more; net EV power is charge - discharge.
    energy_kwh: shape (ev, step), end of step. net_kw: shape (step,), site import positive.
    objective, bound: cost incl. penalties, and a proven lower bound; gap is relative.
    costs: parts by name: energy, demand, wear, shortfall, early_leave, floor, guard, event_shortfall, unearned (what an
        event asked beyond the promise and does not get), cap_slack, feeder, change; they sum to objective.
    shortfall_kwh: by EV id, below target (and the margin that cuts added) when it is due, or at any time after.
    cap_slack_kw: shape (step,). event_shortfall_kw: by signal id, one value per step of the commitment; like the
        shortfall of drivers it is a declaration, so it includes the margin that cuts added.
    binding: what decided, in words, dearest first.
    status: optimal, time_limit or safe (the fallback that charges early within the cap).
    repair_cost: what the minimum powers and single directions cost beyond the relaxed optimum.
    """

    grid: TimeGrid
    ev_ids: tuple[str, ...]
    evse_ids: tuple[str, ...]
    charge_kw: Floats
    discharge_kw: Floats
    energy_kwh: Floats
    net_kw: Floats
    objective: float
    bound: float
    gap: float
    costs: dict[str, float]
    shortfall_kwh: dict[str, float]
    cap_slack_kw: Floats
    event_shortfall_kw: dict[str, tuple[float, ...]]
    binding: tuple[str, ...]
    status: Literal["optimal", "time_limit", "safe"]
    seconds: dict[str, float] = field(default_factory=dict)
    repair_cost: float = 0.0

    @property
    def power_kw(self) -> Floats:
        """Shape (ev, step): positive charges, negative discharges."""
        return self.charge_kw - self.discharge_kw
