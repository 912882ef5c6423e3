"""Run an ensemble: all EVSEs of all replicas in one array, SimPy for the events, exact between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twin.controllers import Controller
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultPlan
from twin.visits import Revisions, VisitTable


class VisitsOverlap(ValueError):
    """Two cars would stand at one EVSE at the same time."""


def run(
    ensemble: Ensemble,
    visits: VisitTable | Iterable[VisitTable],
    controller: Controller,
    *,
    faults: FaultPlan | None = None,
    revisions: Revisions | None = None,
    response: bool = True,
    record_evses: bool = True,
    record_visits: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run `ensemble` through the visits under `controller` to the end of its grid."""
    raise NotImplementedError
