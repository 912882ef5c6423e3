"""Everything a day's report shows, as plain rows and arrays: what was measured and stored, never what was hoped for.

Energies of drivers are battery side; registers and powers of EVSEs are connector side; net power is import positive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.words import Refusal
from aggregator.signals.model import ReasonCode

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StepSeries:
    """Power that is constant between edges: kw[k] holds over [edges_s[k], edges_s[k+1]).

    edges_s: Unix seconds in domain time, increasing, shape (n+1,). kw: shape (n,); NaN = not measured.
    Raises a `ValueError` if the shapes do not fit or the edges do not increase.
    """

    edges_s: Floats
    kw: Floats

    def __post_init__(self) -> None:
        if self.edges_s.ndim != 1 or self.edges_s.shape != (self.kw.size + 1,):
            raise ValueError(f"edges_s: shape {self.edges_s.shape}, expected ({self.kw.size + 1},) for kw")
        if not bool((np.diff(self.edges_s) > 0).all()):
            raise ValueError("edges_s: expected increasing instants")

    @classmethod
    def regular(cls, start: datetime, step_s: float, kw: Floats) -> StepSeries:
        """Equal steps from `start` on."""
        return cls(start.timestamp() + step_s * np.arange(kw.size + 1, dtype=np.float64), kw)

    @classmethod
    def from_samples(cls, at_s: Floats, kw: Floats, end_s: float, longest_gap_s: float = np.inf) -> StepSeries:
        """Each sample holds until the next, but no longer than `longest_gap_s`; what follows a gap is not measured."""
        edges = np.append(at_s, end_s)
        late = np.flatnonzero(np.diff(edges) > longest_gap_s)
        edges = np.insert(edges, late + 1, at_s[late] + longest_gap_s)
        return cls(edges, np.insert(np.asarray(kw, dtype=np.float64), late + 1, np.nan))

    def _integrals(self, at_s: Floats) -> tuple[Floats, Floats]:
        """Energy (kW s) and measured seconds, accumulated from the first edge to each instant."""
        if self.kw.size == 0:
            return np.zeros_like(at_s), np.zeros_like(at_s)
        known = np.isfinite(self.kw)
        width = np.diff(self.edges_s)
        energy = np.concatenate(([0.0], np.cumsum(np.where(known, self.kw, 0.0) * width)))
        seconds = np.concatenate(([0.0], np.cumsum(known * width)))
        return np.interp(at_s, self.edges_s, energy), np.interp(at_s, self.edges_s, seconds)

    def window_means(self, starts_s: Floats, ends_s: Floats, coverage: float = 0.5) -> Floats:
        """Exact mean power in kW over each half-open window; NaN where less than `coverage` of it was measured."""
        e0, s0 = self._integrals(np.asarray(starts_s, dtype=np.float64))
        e1, s1 = self._integrals(np.asarray(ends_s, dtype=np.float64))
        seconds = s1 - s0
        means = np.full(seconds.shape, np.nan)
        enough = (seconds > 0) & (seconds >= coverage * (ends_s - starts_s) - 1e-9)
        np.divide(e1 - e0, seconds, out=means, where=enough)
        return means

    def means(self, start: datetime, step_s: float, count: int, coverage: float = 0.5) -> Floats:
        """Exact means over `count` equal windows from `start` on, shape (count,)."""
        edges = start.timestamp() + step_s * np.arange(count + 1, dtype=np.float64)
        return self.window_means(edges[:-1], edges[1:], coverage)

    def energy_kwh(self, start: datetime, end: datetime) -> float:
        """Energy over [start, end), of the measured part."""
        energy, _ = self._integrals(np.array([start.timestamp(), end.timestamp()]))
        return float(energy[1] - energy[0]) / 3600.0

    def measured_s(self, start: datetime, end: datetime) -> float:
        """Seconds of [start, end) that were measured."""
        _, seconds = self._integrals(np.array([start.timestamp(), end.timestamp()]))
        return float(seconds[1] - seconds[0])

    def clipped(self, low: float = -np.inf, high: float = np.inf) -> StepSeries:
        """The same edges with power clipped; `clipped(high=0)` is the discharging part."""
        return StepSeries(self.edges_s, np.clip(self.kw, low, high))


@dataclass(frozen=True)
class LimitFact:
    """A ceiling on the net power of the connection point, in force over [start, end).

    kind: "cap" is the site's own, "mandatory" came as a grid signal. factor: domain seconds per wall second at `start`.
    first_profile_s, last_profile_s: wall seconds from the POST to the first and last SetChargingProfile on the wire.
    metered_under_s: wall seconds from the POST until the meter stayed at or below the limit; None = not known.
    """

    id: str
    kind: Literal["cap", "mandatory"]
    start: datetime
    end: datetime
    max_net_kw: float
    factor: float = 1.0
    first_profile_s: float | None = None
    last_profile_s: float | None = None
    metered_under_s: float | None = None


@dataclass(frozen=True)
class SocTrace:
    """State of charge (0 to 1) at Unix seconds of domain time, equal shapes."""

    at_s: Floats
    soc: Floats


@dataclass(frozen=True)
class VisitFact:
    """One car at one EVSE. Energies are battery side, except imported and exported (connector registers).

    possible_kwh: physically possible from plug-in to the earlier of declared and real departure.
    delivered_kwh: battery energy on leaving minus on arrival. paired_delivered_kwh: the same in the run without the
    two signals. reached_at: when the requested energy was first in the battery; None = never.
    cause: what the service knows about why it fell short, in words; may be empty.
    """

    evse_id: str
    protocol: str
    arrival: datetime
    declared_departure: datetime
    real_departure: datetime
    requested_kwh: float
    possible_kwh: float
    delivered_kwh: float
    imported_kwh: float
    exported_kwh: float
    paired_delivered_kwh: float | None = None
    reached_at: datetime | None = None
    is_bidirectional: bool = False
    soc: SocTrace | None = None
    target_soc: float | None = None
    floor_soc: float | None = None
    cause: str = ""

    @property
    def need_kwh(self) -> float:
        """min(request, energy physically possible)."""
        return min(self.requested_kwh, self.possible_kwh)


@dataclass(frozen=True)
class EventInterval:
    """Half-open [start, end), usually 15 minutes, with what the site would have drawn, was asked and promised."""

    start: datetime
    end: datetime
    baseline_kw: float
    requested_net_kw: float
    committed_net_kw: float


@dataclass(frozen=True)
class EventFact:
    """An event and the decision on it. intervals: the quarter hours on which the commitment is judged.

    posted_at, decided_at: domain time. state: last state of its lifecycle.
    """

    signal_id: str
    programme: str
    state: str
    posted_at: datetime
    decided_at: datetime | None
    intervals: tuple[EventInterval, ...]
    reasons: tuple[tuple[ReasonCode, int], ...] = ()
    incentive: Decimal | None = None
    shortfall_charge: Decimal | None = None

    @property
    def start(self) -> datetime:
        return self.intervals[0].start

    @property
    def end(self) -> datetime:
        return self.intervals[-1].end


@dataclass(frozen=True)
class RoundFact:
    """One round of solve and replay. refusals: what the replay showed; empty = passed."""

    build_s: float
    solve_s: float
    replay_s: float
    refusals: tuple[Refusal, ...] = ()

    @property
    def seconds(self) -> float:
        return self.build_s + self.solve_s + self.replay_s


@dataclass(frozen=True)
class FeederChange:
    """What a limit of the street's grid took from one charger, over [start, end): mean kW less than first planned.

    was_discharging: it gives back less, instead of charging less. because: the limit, and what it would have come to.
    """

    evse_id: str
    start: datetime
    end: datetime
    kw: float
    was_discharging: bool
    because: str


@dataclass(frozen=True)
class PlanFact:
    """One plan's record. passed: its last round went through the gate. status: optimal, time_limit or safe."""

    plan_id: str
    made_at: datetime
    trigger: str
    status: str
    passed: bool
    rounds: tuple[RoundFact, ...]
    feeder_changes: tuple[FeederChange, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.rounds)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        return tuple(refusal for one in self.rounds for refusal in one.refusals)

    @property
    def was_refused_then_passed(self) -> bool:
        return self.passed and any(one.refusals for one in self.rounds[:-1]) and not self.rounds[-1].refusals


@dataclass(frozen=True)
class BillLine:
    """quantity x rate = amount, before rounding differences; amount is what is charged."""

    name: str
    quantity: float
    unit: str
    rate: Decimal
    amount: Decimal


@dataclass(frozen=True)
class BillFact:
    lines: tuple[BillLine, ...]

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), Decimal(0))


@dataclass(frozen=True)
class CreditFact:
    """What a driver is credited for discharged energy (connector side)."""

    evse_id: str
    arrival: datetime
    exported_kwh: float
    amount: Decimal


@dataclass(frozen=True)
class MessageCount:
    """direction: "in" from the charger, "out" to it."""

    protocol: str
    direction: Literal["in", "out"]
    action: str
    count: int


@dataclass(frozen=True)
class Assumption:
    """One line of what the day stands on: real data with its source, or an assumption with its reason."""

    topic: str
    text: str
    is_real: bool
    source: str = ""


@dataclass(frozen=True)
class Attribution:
    name: str
    licence: str
    credit: str
    url: str = ""


@dataclass(frozen=True)
class CarriedFact:
    """One limit of the feeder under what was measured: the worst 1-minute mean, when, and how many were beyond it.

    worst, limit: in `unit`, % of a rating or p.u. of the rated voltage.
    """

    what: str
    worst: float
    limit: float
    unit: str
    at: datetime
    minutes_beyond: int


@dataclass(frozen=True)
class FeederFact:
    """What the measured day did to the feeder, as two power flows have it.

    minutes: looked at; without_solution: of them. apart_pu: largest difference of both engines; do_agree: they say the
    same.
    """

    name: str
    carried: tuple[CarriedFact, ...]
    minutes: int
    without_solution: int
    apart_pu: float
    do_agree: bool


@dataclass(frozen=True)
class WireFact:
    """An EVSE that held real sessions with its cars.

    session: language, energy transfer and control mode, for the reader. charged: how many came to their charge loop;
    broken: how many did not end in good order. setup_s: wall seconds from connection to charge loop, the longest.
    """

    evse_id: str
    session: str
    charged: int
    broken: int = 0
    setup_s: float = 0.0


@dataclass(frozen=True)
class DayFacts:
    """One day of one site.

    start, end: the half-open day that is judged. net: measured at the connection point. uncontrolled: net power of the
    same day with every car at full power from plug-in. planned: net power of whichever plan was in force.
    evse_power: measured at each charger (discharge negative). cap and mandatory limits together in `limits`.
    paired_run: False = the run without signals was not made. speed: clock factor of the run. wire: chargers that held
    ISO 15118 sessions with their cars; without any, that is no criterion.
    """

    site_id: str
    timezone: str
    currency: str
    start: datetime
    end: datetime
    speed: float
    wall_s: float
    net: StepSeries
    building: StepSeries
    uncontrolled: StepSeries
    planned: StepSeries
    evse_power: dict[str, StepSeries]
    limits: tuple[LimitFact, ...]
    visits: tuple[VisitFact, ...]
    events: tuple[EventFact, ...]
    plans: tuple[PlanFact, ...]
    bill: BillFact
    uncontrolled_bill: BillFact
    credits: tuple[CreditFact, ...] = ()
    messages: tuple[MessageCount, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    notes: tuple[str, ...] = field(default=())
    program_version: str = ""
    feeder: FeederFact | None = None
    wire: tuple[WireFact, ...] = ()

    @property
    def minutes(self) -> int:
        """Whole minutes of the day."""
        return int((self.end - self.start).total_seconds() // 60)
