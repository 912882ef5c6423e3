"""What a report of a simulation needs, as plain columns: the runs and the report meet here.

A *replica* is one course that the future may take. Bands are percentiles over replicas; replica 0 is shown alone where
one course says more than a band.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation.band import Band
from aggregator.reports.simulation.causes import SHORT_KWH
from aggregator.reports.simulation.feeder.facts import FeederFact
from twin.assets import TimeGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KEPT_WITHIN_KW, KEPT_WITHIN_SHARE = 0.5, 0.01
"""A promise is kept where no more than this is missing: kW, or the share of the reduction asked for if that is more."""


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
