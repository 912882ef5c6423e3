"""What a report of a simulation needs, as plain columns: the runs and the report meet here.

A *replica* is one course that the future may take. Bands are percentiles over replicas; replica 0 is shown alone where
one course says more than a band.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation_band import Band
from aggregator.reports.simulation_feeder_facts import FeederFact
from twin.assets import TimeGrid

__all__ = [
    "CAUSES", "CAUSE_WORDS", "KEPT_WITHIN_KW", "KEPT_WITHIN_SHARE", "MEASURES", "SHORT_KWH", "AgeingFact", "Band",
    "Cause", "EventFact", "FeederFact", "Measure", "SimulationFacts", "SiteFact", "SocFan", "VisitColumns",
    "WearColumns",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHORT_KWH = 0.2
"""A driver is short when more than this is missing, as everywhere in the service."""

KEPT_WITHIN_KW, KEPT_WITHIN_SHARE = 0.5, 0.01
"""A promise is kept where no more than this is missing: kW, or the share of the reduction asked for if that is more."""


class Cause(StrEnum):
    """Why a driver left with less than was wanted; the first that holds, in this order. Who has not left has none.

    event: the same course without the event leaves this driver with what was wanted.
    stay: full power from arrival to the declared departure would not have sufficed.
    left_early: full power would have sufficed until the declared departure, but the driver left before it was done.
    fault: something was wrong with this charger, its link or its meter while the car stood there.
    changed: the driver changed the departure or the wish while the car was charging.
    early_and_shared: there was power enough for a prompt charge; it was planned for later and the driver left early.
    shared: others under the same cap, or the controller's own choice, took the power.
    """

    NONE = "none"
    EVENT = "event"
    STAY = "stay"
    LEFT_EARLY = "left_early"
    FAULT = "fault"
    CHANGED = "changed"
    EARLY_AND_SHARED = "early_and_shared"
    SHARED = "shared"


CAUSES = tuple(Cause)
CAUSE_WORDS: Mapping[Cause, str] = {
    Cause.NONE: "not short",
    Cause.EVENT: "the grid event",
    Cause.STAY: "stay too short for the wish, even at full power",
    Cause.LEFT_EARLY: "left early, before full power could have done it",
    Cause.FAULT: "a faulty charger or link",
    Cause.CHANGED: "changed the wish or the departure on the way",
    Cause.EARLY_AND_SHARED: "left early, while charging was planned for later",
    Cause.SHARED: "too little power for all under the cap",
}


@dataclass(frozen=True)
class SiteFact:
    """Mean power of one connection point per step, kW, import positive; charge and discharge are 0 or more.

    cap_kw, export_cap_kw: in force, events aside. over_cap_kwh: energy beyond the caps, one value per replica.
    over_export_cap_kwh: the part of it that was given to the grid. export_peak_kw: highest power given, 0 or more.
    """

    id: str
    base_kw: Floats
    cap_kw: Floats
    export_cap_kw: Floats
    net: Band
    ev: Band
    charge: Band
    discharge: Band
    over_cap_kwh: Floats
    over_export_cap_kwh: Floats
    export_peak_kw: Floats


@dataclass(frozen=True)
class SocFan:
    """State of charge (0 to 1) of the cars that stand at a charger at the end of each step, over cars and replicas."""

    p10: Floats
    p50: Floats
    p90: Floats


@dataclass(frozen=True)
class WearColumns:
    """What each visit took of its battery's life (1 is a whole life), row by row as in `VisitColumns`.

    calendar: by time, SoC and warmth. cycle: by charging and discharging. throughput_kwh: both through the battery.
    event_calendar, event_cycle, event_kwh: how much of these the event added (NaN without one).
    """

    calendar: Floats
    cycle: Floats
    throughput_kwh: Floats
    event_calendar: Floats
    event_cycle: Floats
    event_kwh: Floats


@dataclass(frozen=True)
class VisitColumns:
    """One row per visit and replica, by replica and arrival. Times in seconds after the start of the grid.

    full_power_kwh: battery energy that this charger at full power, without faults, caps and events, would have reached
    by the earlier of declared and real departure (known where the driver was short, else NaN).
    event_kwh: shortfall that the event added, from the paired run (NaN without one). cause: index into `CAUSES`.
    has_left: False for a car still plugged in at the end: energy_kwh and shortfall_kwh are then those of the end.
    wear: None where it was not asked for.
    """

    label: tuple[str, ...]
    replica: Ints
    evse_id: tuple[str, ...]
    vehicle: tuple[str, ...]
    arrival_s: Floats
    departure_s: Floats
    declared_s: Floats
    arrival_kwh: Floats
    target_kwh: Floats
    energy_kwh: Floats
    imported_kwh: Floats
    exported_kwh: Floats
    lost_kwh: Floats
    shortfall_kwh: Floats
    has_left: NDArray[np.bool_]
    full_power_kwh: Floats
    event_kwh: Floats
    cause: Ints
    wear: WearColumns | None = None

    def __len__(self) -> int:
        return int(self.replica.size)

    @property
    def is_short(self) -> NDArray[np.bool_]:
        """Left with too little; nothing is said of cars that are still plugged in."""
        short: NDArray[np.bool_] = self.has_left & (self.shortfall_kwh > SHORT_KWH)
        return short


@dataclass(frozen=True)
class EventFact:
    """A grid event, by the same replicas with and without it.

    first_step, steps: the steps it covers. asked_net_kw: hold the connection point at or below it, per step.
    promised_kw, delivered_kw: reduction below the run without the event as it was promised and as it came about, of
        shape (replica, step of the event). promised_from: where the promise comes from, in words.
    without_kw: net power without the event, shape (replica, step of the event).
    """

    name: str
    site_id: str
    first_step: int
    asked_net_kw: Floats
    promised_kw: Floats
    promised_from: str
    delivered_kw: Floats
    without_kw: Floats

    @property
    def steps(self) -> int:
        return int(self.asked_net_kw.size)

    def promised_kwh(self, step_hours: float) -> Floats:
        """Energy of the promise in each replica."""
        energy: Floats = self.promised_kw.sum(axis=1) * step_hours
        return energy

    def delivered_kwh(self, step_hours: float) -> Floats:
        """Energy of the reduction in each replica."""
        energy: Floats = self.delivered_kw.sum(axis=1) * step_hours
        return energy

    def due_kwh(self, step_hours: float) -> Floats:
        """What was delivered of the promise when it was due; more in one step makes up for no other."""
        energy: Floats = np.clip(self.delivered_kw, 0.0, np.maximum(self.promised_kw, 0.0)).sum(axis=1) * step_hours
        return energy

    def is_kept(self) -> NDArray[np.bool_]:
        """Whether a step of a course kept its promise, up to the tolerance; shape (replica, step of the event)."""
        asked_kw = np.maximum(self.without_kw - self.asked_net_kw, 0.0)
        tolerance_kw = np.maximum(KEPT_WITHIN_KW, KEPT_WITHIN_SHARE * asked_kw)
        kept: NDArray[np.bool_] = self.delivered_kw >= self.promised_kw - tolerance_kw
        return kept

    def kept_share(self) -> Floats:
        """`due_kwh` as a share of the promise in each replica.

        A course that needed to do nothing kept it; NaN everywhere if nothing was promised in any.
        """
        promised = self.promised_kwh(1.0)
        share = np.full(promised.shape, 1.0 if promised.any() else np.nan)
        np.divide(self.due_kwh(1.0), promised, out=share, where=promised > 0.0)
        return share


@dataclass(frozen=True)
class AgeingFact:
    """By what the wear of batteries was judged. cells: by vehicle, in words with their source.

    temperature_c: of the batteries in the twelve months. end_of_life: share of the capacity when new.
    """

    cells: Mapping[str, str]
    temperature_c: tuple[float, ...]
    end_of_life: float
    look_ahead_years: float


@dataclass(frozen=True)
class SimulationFacts:
    """Everything the report of one run says.

    whole: all sites together (the site itself where there is one). measures: see `MEASURES`, one value per replica.
    ageing: None where wear was not asked for or not known. feeder: None where there is none or nothing is known of it.
    dropped: rows of the scenario's files that are not part of the run, by reason. occurrences: of faults, by kind,
    over all replicas. residual: largest relative residual of the energy ledger of any charger.
    """

    name: str
    control: str
    seed: int
    replicas: int
    grid: TimeGrid
    timezone: str
    evses: int
    assumptions: tuple[str, ...]
    notes: tuple[str, ...]
    dropped: Mapping[str, int]
    sites: tuple[SiteFact, ...]
    whole: SiteFact
    soc: SocFan | None
    visits: VisitColumns
    events: tuple[EventFact, ...]
    measures: Mapping[str, Floats]
    occurrences: Mapping[str, int]
    residual: float
    digest: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    program_version: str = ""
    ageing: AgeingFact | None = None
    feeder: FeederFact | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a run that replicas can be compared by. less_is_better: None where neither is.

    shown_times: factor from the figure as it is kept (shares as fractions) to the unit in which it is shown.
    """

    key: str
    title: str
    unit: str
    digits: int = 1
    less_is_better: bool | None = None
    shown_times: float = 1.0

    @property
    def difference_unit(self) -> str:
        """Of a difference between two figures: from 184 % to 88 % is 96 points, not 96 %."""
        return "percentage points" if self.unit == "%" else self.unit


MEASURES: tuple[Measure, ...] = (
    Measure("visits", "Cars that came", "", 0),
    Measure("short_drivers", "Drivers who left short", "", 1, less_is_better=True),
    Measure("short_kwh", "Energy they lacked", "kWh", 1, less_is_better=True),
    Measure("plugged_in", "Cars still plugged in at the end", "", 1),
    Measure("plugged_in_kwh", "Energy those still lacked then", "kWh", 1),
    Measure("peak_kw", "Highest power drawn at a connection point (mean of a step)", "kW", 1, less_is_better=True),
    Measure("over_cap_kwh", "Energy beyond the caps", "kWh", 2, less_is_better=True),
    Measure("site_import_kwh", "Drawn from the grid", "kWh", 0),
    Measure("site_export_kwh", "Given to the grid", "kWh", 0),
    Measure("ev_import_kwh", "Into the cars, at the connector", "kWh", 0),
    Measure("ev_export_kwh", "Out of the cars, at the connector", "kWh", 0),
    Measure("battery_kwh", "Gained by the batteries", "kWh", 0),
    Measure("loss_kwh", "Lost on the way", "kWh", 0, less_is_better=True),
    Measure("event_delivered_kwh", "Reduction delivered in events", "kWh", 1, less_is_better=False),
    Measure("event_kept_share", "Share of the promise that was kept", "%", 1, less_is_better=False, shown_times=100.0),
    Measure("event_short_drivers", "Drivers short who were not without the event", "", 1, less_is_better=True),
    Measure("event_short_kwh", "Energy lacking to all who left, more than without the event", "kWh", 1,
            less_is_better=True),
    Measure("throughput_kwh", "Through the batteries, in and out", "kWh", 0),
    Measure("wear_calendar", "Battery life used by time at the chargers, all cars", "millionths of a life", 1,
            less_is_better=True, shown_times=1e6),
    Measure("wear_cycle", "Battery life used by charging and discharging, all cars", "millionths of a life", 1,
            less_is_better=True, shown_times=1e6),
    Measure("wear", "Battery life used, all cars", "millionths of a life", 1, less_is_better=True, shown_times=1e6),
    Measure("event_wear", "Battery life used because of an event", "millionths of a life", 1, less_is_better=True,
            shown_times=1e6),
    Measure("feeder_caused_minutes", "Time in which EVs put the feeder beyond a limit", "min", 0, less_is_better=True),
    Measure("feeder_plain_minutes", "The same in the run without the event", "min", 0, less_is_better=True),
    Measure("feeder_event_minutes", "Time in which the event put the feeder beyond a limit", "min", 0,
            less_is_better=True),
    Measure("feeder_voltage_minutes", "Voltage beyond its limits because of EVs, all connection points", "min", 0,
            less_is_better=True),
    Measure("feeder_event_voltage_minutes", "Voltage beyond its limits because of the event, all connection points",
            "min", 0, less_is_better=True),
    Measure("feeder_unfixable_minutes", "Voltage beyond its limits without EVs too, all connection points", "min", 0),
    Measure("feeder_overload_minutes", "Time in which EVs overload a line of the feeder", "min", 0,
            less_is_better=True),
    Measure("feeder_transformer_minutes", "Time in which EVs overload a transformer of the feeder", "min", 0,
            less_is_better=True),
    Measure("feeder_low_pu", "Lowest voltage at a connection point", "p.u.", 3, less_is_better=False),
    Measure("feeder_high_pu", "Highest voltage at a connection point", "p.u.", 3),
    Measure("feeder_line_loading", "Highest loading of a line's phase", "%", 1, less_is_better=True, shown_times=100.0),
    Measure("feeder_transformer_loading", "Highest loading of a transformer", "%", 1, less_is_better=True,
            shown_times=100.0),
    Measure("feeder_unbalance", "Highest unbalance of voltages", "%", 2, less_is_better=True, shown_times=100.0),
    Measure("feeder_losses_kwh", "Lost in the feeder", "kWh", 1, less_is_better=True),
    Measure("feeder_unsolved", "Steps in which the feeder cannot carry what is asked", "", 0, less_is_better=True),
    Measure("feeder_hot_spot_c", "Hottest spot of a transformer", "°C", 1, less_is_better=True),
    Measure("feeder_ageing_h", "Life that a transformer lost", "h", 3, less_is_better=True),
    Measure("withheld_import_kwh", "Charging that inverters withheld", "kWh", 1, less_is_better=True),
    Measure("withheld_export_kwh", "Feeding in that inverters withheld", "kWh", 1, less_is_better=True),
    Measure("inverter_trips", "Disconnections by grid protection, all EVSEs", "", 1, less_is_better=True),
    Measure("inverter_unsolved_s", "Time without a power flow, in which nothing was delivered", "s", 0,
            less_is_better=True),
    Measure("inverter_unsettled_s", "Time in which flow and inverters did not agree", "s", 0, less_is_better=True),
)
