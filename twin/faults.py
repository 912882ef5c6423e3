"""What goes wrong with chargers and links, drawn before the run so that nothing in the run changes the draws.

Every draw is keyed by (seed, replica, kind, EVSE): switching one kind of fault on, adding EVSEs or running fewer
replicas changes no other draw (common random numbers for paired runs).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    clock_skew_s: the charger's clock minus true time; it starts a schedule's step that much too early.
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
