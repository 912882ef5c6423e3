"""Everything a day's report shows, as plain rows and arrays: what was measured and stored, never what was hoped for.

Energies of drivers are battery side; registers and powers of EVSEs are connector side; net power is import positive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from aggregator.reports.day.series import Floats, StepSeries
from aggregator.reports.words import Refusal
from aggregator.signals.model import ReasonCode


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


def visit_label(visit: VisitFact, zone: ZoneInfo) -> str:
    """A driver is named by EVSE and arrival, never by token."""
    return f"{visit.evse_id} {visit.arrival.astimezone(zone):%H:%M}"


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
