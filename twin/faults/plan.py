"""What goes wrong with chargers and links, drawn before the run so that nothing in the run changes the draws.

Every draw is keyed by (seed, replica, kind, EVSE): switching one kind of fault on, adding EVSEs or running fewer
replicas changes no other draw (common random numbers for paired runs).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
from scipy.special import ndtri

from twin.draws import Floats, Ints, ticks, uniforms
from twin.faults.renewal import Broken, Slots, failures, until_repaired
from twin.impossible import ImpossibleValue
from twin.visits import VisitTable

_HOUR_S = 3600.0
_SHORTEST_H = 1.0 / _HOUR_S
_NEVER_S, _AT_ONCE_S = 1e12, 1e-300
"""Delays (the latter as a part of the median) beyond which no figure need be told from the next."""


class FaultKind(StrEnum):
    """down: no power. stuck: the connector does not start the visit. outage: no message gets through.

    ignores: set-points are not followed, the car draws what it can. derated: less power than rated.
    """

    DOWN = "down"
    STUCK = "stuck"
    OUTAGE = "outage"
    IGNORES = "ignores"
    DERATED = "derated"


@dataclass(frozen=True)
class FaultIntervals:
    """One row per fault, ordered by start; rows of one kind and slot do not overlap.

    kind: index into `tuple(FaultKind)`. slot: replica * evses + evse. start_s, end_s: half-open, seconds after the
    start of the grid. value: fraction of the rated power that is left (derated), else 0.
    """

    kind: Ints
    slot: Ints
    start_s: Floats
    end_s: Floats
    value: Floats


@dataclass(frozen=True)
class FaultPlan:
    """All that goes wrong in a run, for every slot (replica * evses + evse).

    intervals: faults that begin and end. order_delay_s: added time from order to charger, per slot.
    order_loss: probability that one order is lost, per slot. meter_factor: what the meter shows per true kWh.
    clock_skew_s: the charger's clock minus true time. Orders are sent when they are to hold, never ahead: a clock that
        is behind (negative) starts each that much late, one that is ahead starts it when it comes, which is in time.
    fallback_after_s: time without contact after which the charger falls back to `fallback_kw` (charging only, kW).
    seed: for draws that only the run can ask for (which orders are lost).
    """

    intervals: FaultIntervals
    order_delay_s: Floats
    order_loss: Floats
    meter_factor: Floats
    clock_skew_s: Floats
    fallback_after_s: float = 300.0
    fallback_kw: Floats = field(default_factory=lambda: np.zeros(0))
    seed: int = 0


class FaultModelError(ImpossibleValue):
    """A fault model is impossible; the message names field, value and what was expected."""


@dataclass(frozen=True)
class FaultModel:
    """How often what goes wrong. Every kind is off by default, and switched on by its first field alone.

    Faults that come and go are exponential in both directions; a charger is faulty mttr / (mtbf + mttr) of the time,
    from the first second on.

    down_mtbf_h, down_mttr_h: no power: mean hours from repair to failure (0: never), and from failure to repair.
    outage_mtbf_h, outage_mttr_h: no message gets through.
    ignores_mtbf_h, ignores_mttr_h: set-points are not followed.
    derated_mtbf_h, derated_mttr_h: less power; derated_to: range, evenly drawn, of the fraction of the rating left.
    stuck_share: probability that a connector does not start a visit, which is lost then, whenever it is repaired.
        stuck_repair_h: mean hours until a next visit starts there again; 0: the next one does in any case.
    order_delay_s: median added time from order to charger, drawn once per charger; order_delay_spread: standard
        deviation of its logarithm (lognormal).
    order_loss_share: probability that one order is lost.
    meter_sd: standard deviation of the meter's error, as a fraction of the energy (normal, one draw per charger).
    clock_skew_sd_s: standard deviation of the charger's clock, seconds (normal, one draw per charger).
    fallback_after_s, fallback_kw: without contact for so long, the charger charges with so much, kW (no discharge).
    """

    down_mtbf_h: float = 0.0
    down_mttr_h: float = 24.0
    outage_mtbf_h: float = 0.0
    outage_mttr_h: float = 1.0
    ignores_mtbf_h: float = 0.0
    ignores_mttr_h: float = 24.0
    derated_mtbf_h: float = 0.0
    derated_mttr_h: float = 24.0
    derated_to: tuple[float, float] = (0.3, 0.8)
    stuck_share: float = 0.0
    stuck_repair_h: float = 0.0
    order_delay_s: float = 0.0
    order_delay_spread: float = 0.5
    order_loss_share: float = 0.0
    meter_sd: float = 0.0
    clock_skew_sd_s: float = 0.0
    fallback_after_s: float = 300.0
    fallback_kw: float = 0.0

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if name == "derated_to":
                if not 0.0 <= value[0] <= value[1] <= 1.0:
                    raise FaultModelError(name, value, "two fractions, 0 <= low <= high <= 1")
            elif name.endswith("_share"):
                if not 0.0 <= value <= 1.0:
                    raise FaultModelError(name, value, "a probability from 0 to 1")
            elif name.endswith("_h"):
                may_be_off = not name.endswith("_mttr_h")
                if not (_SHORTEST_H <= value < np.inf or (may_be_off and value == 0.0)):
                    expected = "0 (off) or a second or more, in hours" if may_be_off else "a second or more, in hours"
                    raise FaultModelError(name, value, expected)
            elif not 0.0 <= value < np.inf:
                raise FaultModelError(name, value, "0 or more")

    def swept(self, level: float, *kinds: FaultKind) -> Self:
        """The model with `level` (0 to below 1) of the chargers faulty in one of `kinds` (default: down) at any time.

        The times to repair stay, those between failures follow; a charger that is faulty at one level is faulty at
        every higher one, at the same times and more. Several kinds get equal shares.
        """
        if not 0.0 <= level < 1.0:
            raise FaultModelError("level", level, "a fraction from 0 to below 1")
        chosen = kinds or (FaultKind.DOWN,)
        if FaultKind.STUCK in chosen:
            raise FaultModelError("kinds", "stuck", "down, outage, ignores or derated; set stuck_share instead")
        each = -np.expm1(np.log1p(-level) / len(chosen))
        between: dict[str, Any] = {
            f"{kind}_mtbf_h": getattr(self, f"{kind}_mttr_h") * (1.0 - each) / each if each else 0.0 for kind in chosen
        }
        return replace(self, **between)


PUBLIC_CHARGING = FaultModel(down_mtbf_h=24.0 * 0.987 / 0.013, stuck_share=1.0 - 0.71 / 0.987)
"""Public charging in the United States: up 98.7 % of the time, and 71 % of first attempts succeed.

Both are reported by ChargerHelp, "2025 EV Charging Reliability Report" (100,000 sessions, 2,400 chargers; uptime 98.7
to 99.9 %, lower end taken). A first attempt fails at a charger that is down or that does not start; the share of the
latter follows. Every failed first attempt is taken as a lost visit: the pessimistic reading, for the report does not
say how many succeed when tried again. Assumed, for want of a figure: 24 h from failure to repair.
"""


def draw(
    model: FaultModel, *, evses: int, replicas: int, seconds: float, seed: int, first_replica: int = 0,
    visits: VisitTable | Iterable[VisitTable] | None = None,
) -> FaultPlan:
    """Draw all that goes wrong in `replicas` copies of `evses` EVSEs over `seconds`.

    Args:
        model: what may go wrong, and how often.
        evses: EVSEs of one copy.
        replicas: how many copies.
        seconds: length of the run; no fault begins later, the last may end later.
        seed: any integer; the same seed gives the same faults.
        first_replica: number of the first copy, so that replicas run in batches equal those run at once.
        visits: needed where connectors may be stuck: as they are run, with real departures, in one table or several.

    Raises:
        FaultModelError: nothing to draw for, or connectors may be stuck and no visits are given.
    """
    for name, value in (("evses", evses), ("replicas", replicas), ("seconds", seconds)):
        if not value > 0:
            raise FaultModelError(name, value, "more than 0")
    replica = np.repeat(np.arange(replicas), evses) + first_replica
    evse = np.tile(np.arange(evses), replicas)
    drawn: dict[FaultKind, Broken] = {}
    for kind in (FaultKind.DOWN, FaultKind.OUTAGE, FaultKind.IGNORES, FaultKind.DERATED):
        between_h = getattr(model, f"{kind}_mtbf_h")
        if between_h:
            drawn[kind] = failures(
                Slots(seed, kind, replica, evse), mean_up_s=between_h * _HOUR_S,
                mean_down_s=getattr(model, f"{kind}_mttr_h") * _HOUR_S, until_s=seconds,
            )
    if model.stuck_share:
        if visits is None:
            raise FaultModelError("stuck_share", model.stuck_share, "0, or visits that may find a stuck connector")
        tables = [visits] if isinstance(visits, VisitTable) else visits
        drawn[FaultKind.STUCK] = _stuck(model, Slots(seed, FaultKind.STUCK, replica, evse), tables, evses, replicas)

    def normal(purpose: str) -> Floats:
        deviates: Floats = ndtri(uniforms(seed, purpose, replica, evse)[0])
        return deviates

    slots = evses * replicas
    return FaultPlan(
        intervals=_in_order(drawn, _fraction_left(model, seed, replica, evse, drawn.get(FaultKind.DERATED))),
        order_delay_s=_delays(model, normal("order delay")) if model.order_delay_s else np.zeros(slots),
        order_loss=np.full(slots, model.order_loss_share),
        meter_factor=np.maximum(1.0 + model.meter_sd * normal("meter"), 0.0) if model.meter_sd else np.ones(slots),
        clock_skew_s=model.clock_skew_sd_s * normal("clock") if model.clock_skew_sd_s else np.zeros(slots),
        fallback_after_s=model.fallback_after_s, fallback_kw=np.full(slots, model.fallback_kw), seed=seed,
    )


def _delays(model: FaultModel, deviates: Floats) -> Floats:
    """Lognormal delays in s; whatever is later than `_NEVER_S` never comes, so that no spread is too wide."""
    spread = max(model.order_delay_spread, 1.0)
    longest, shortest = np.log(_NEVER_S / model.order_delay_s) / spread, np.log(_AT_ONCE_S) / spread
    exponent = model.order_delay_spread * np.minimum(np.maximum(deviates, shortest), longest)
    delays: Floats = model.order_delay_s * np.exp(exponent)
    return delays


def _stuck(model: FaultModel, slots: Slots, tables: Iterable[VisitTable], evses: int, replicas: int) -> Broken:
    """When connectors are stuck, from the visits that find them so."""
    numbers, starts, ends = [np.zeros(0, dtype=np.int64)], [np.zeros(0)], [np.zeros(0)]
    for visits in tables:
        if visits.replica is None:
            row, copy = np.repeat(np.arange(len(visits)), replicas), np.tile(np.arange(replicas), len(visits))
        else:
            row, copy = np.arange(len(visits)), visits.replica
        number = copy * evses + visits.evse[row]
        is_stuck = slots.uniforms("visit", number, ticks(visits.arrival_s[row]))[0] < model.stuck_share
        numbers.append(number[is_stuck])
        starts.append(visits.arrival_s[row[is_stuck]])
        ends.append(visits.departure_s[row[is_stuck]])
    number, start, end = np.concatenate(numbers), np.concatenate(starts), np.concatenate(ends)
    if model.stuck_repair_h:
        return until_repaired(slots, number, start, model.stuck_repair_h * _HOUR_S)
    return Broken(number, start, end)


def _fraction_left(model: FaultModel, seed: int, replica: Ints, evse: Ints, derated: Broken | None) -> Floats:
    """Fraction of the rating that each derated interval leaves; named by its repair, so that sweeps keep it."""
    if derated is None:
        return np.zeros(0)
    low, high = model.derated_to
    left = uniforms(seed, "derated to", replica[derated.number], evse[derated.number], ticks(derated.end_s))[0]
    fraction: Floats = low + (high - low) * left
    return fraction


def _in_order(drawn: dict[FaultKind, Broken], fraction_left: Floats) -> FaultIntervals:
    """All kinds together, ordered by start, then kind, then slot."""
    kinds = [kind for kind in FaultKind if kind in drawn]
    if not kinds:
        nothing, never = np.zeros(0, dtype=np.int64), np.zeros(0)
        return FaultIntervals(nothing, nothing, never, never, never)
    kind = np.concatenate([np.full(drawn[each].number.size, tuple(FaultKind).index(each)) for each in kinds])
    slot = np.concatenate([drawn[each].number for each in kinds])
    start = np.concatenate([drawn[each].start_s for each in kinds])
    end = np.concatenate([drawn[each].end_s for each in kinds])
    value = np.concatenate(
        [fraction_left if each is FaultKind.DERATED else np.zeros(drawn[each].number.size) for each in kinds]
    )
    order = np.lexsort((slot, kind, start))
    return FaultIntervals(kind[order], slot[order], start[order], end[order], value[order])
