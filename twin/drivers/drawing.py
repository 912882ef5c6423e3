"""What drivers really do: who comes, when they really leave, what they change their minds about.

Visits are redrawn for every replica. Each draw is named by (replica, EVSE, time of arrival), so that adding visits,
replicas or another kind of surprise leaves all other draws as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from twin.draws import Floats, Ints, ticks, uniforms
from twin.drivers.departures import AcnDepartures, Departures
from twin.impossible import ImpossibleValue
from twin.visits import Revisions, VisitTable, VisitTableError

# Tables that wait while their forerunner is drawn: its next one, and one more to know that this is not the last.
_AHEAD = 2


class DriverModelError(ImpossibleValue):
    """A driver model is impossible; the message names field, value and what was expected."""


@dataclass(frozen=True)
class DriverModel:
    """How drivers behave. Shares are probabilities per visit, 0 to 1; 0 switches a habit off.

    departures: when drivers really leave (default: as recorded in ACN-Data; see `twin.drivers.departures`).
    no_show_share: does not come at all.
    unplug_share: the car is unplugged at a moment spread evenly over its stay (by a neighbour, a guard, a fall).
    retarget_share: the driver changes the energy wanted, at a moment spread evenly over the stay.
    retarget_factor: range, evenly drawn, by which the energy wanted since arrival is multiplied then.
    correct_share: the driver tells the real departure when it is `correct_notice_s` away (or on arrival, if later).
    min_stay_s: nobody leaves sooner after arrival, in seconds, unless the next car is there already.
    """

    departures: Departures = field(default_factory=AcnDepartures)
    no_show_share: float = 0.0
    unplug_share: float = 0.0
    retarget_share: float = 0.0
    retarget_factor: tuple[float, float] = (0.5, 1.5)
    correct_share: float = 0.0
    correct_notice_s: float = 1800.0
    min_stay_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("no_show_share", "unplug_share", "retarget_share", "correct_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise DriverModelError(name, getattr(self, name), "a share from 0 to 1")
        low, high = self.retarget_factor
        if not 0.0 <= low <= high < np.inf:
            raise DriverModelError("retarget_factor", self.retarget_factor, "two factors, 0 <= low <= high")
        if not 0.0 <= self.correct_notice_s < np.inf:
            raise DriverModelError("correct_notice_s", self.correct_notice_s, "0 s or more")
        if not 0.0 < self.min_stay_s < np.inf:
            raise DriverModelError("min_stay_s", self.min_stay_s, "more than 0 s")

    @property
    def revises(self) -> bool:
        """Whether drivers change anything during their stay."""
        return self.retarget_share > 0.0 or self.correct_share > 0.0


@dataclass(frozen=True)
class Drawn:
    """The visits of all replicas, ready to run.

    visits: with the column `replica` (0 to replicas - 1), in order of arrival; `ids` are left out.
    row: for each of these visits, its row in the table that was given.
    revisions: what drivers change during their stay; `row` there counts in `visits`, and so names the replica too.
    no_shows: how many did not come, over all replicas. is_unplugged: whose stay was cut short, per visit drawn.
    """

    visits: VisitTable
    row: Ints
    revisions: Revisions
    no_shows: int
    is_unplugged: NDArray[np.bool_]


def draw(
    visits: VisitTable, model: DriverModel, *, replicas: int, seed: int, first_replica: int = 0,
    capacity_kwh: Floats | None = None,
) -> Drawn:
    """Redraw `visits` for each replica.

    Nobody stays beyond the next arrival at the EVSE in the same replica: the place is free when the next car comes.

    Args:
        visits: as planned or recorded. A table that has replicas already keeps them, each row in its own.
        model: how drivers behave.
        replicas: how many copies to draw.
        seed: any integer; the same seed gives the same drivers.
        first_replica: number of the first of them, so that replicas run in batches equal those run at once.
        capacity_kwh: usable energy per vehicle class; a changed target does not exceed it.

    Raises:
        DriverModelError: there is no replica to draw.
        VisitTableError: two visits of one EVSE begin at the same time, or a replica is not among those to draw.
    """
    return _realised(_intended(visits, model, replicas, seed, first_replica), model, seed, capacity_kwh, None, np.inf)


def draw_chunks(
    tables: Iterable[VisitTable], model: DriverModel, *, replicas: int, seed: int, first_replica: int = 0,
    capacity_kwh: Floats | None = None,
) -> Iterator[Drawn]:
    """Redraw tables in order of time, one at a time, as if they were one.

    A late driver makes room for the next car also where that one comes in the next table. Whoever would stay beyond
    the last arrival of the next table leaves then, so give tables of some days each. `row` counts over all tables
    given so far, and in the revisions over all visits drawn so far, as the engine counts.
    """
    given = drawn_before = 0
    for intent, following, is_last in _with_following(
        _intended(table, model, replicas, seed, first_replica) for table in tables if len(table)
    ):
        latest_s = np.inf if following is None or is_last else float(following.given.arrival_s[-1])
        drawn = _realised(intent, model, seed, capacity_kwh, following, latest_s)
        revisions = replace(drawn.revisions, row=drawn.revisions.row + drawn_before)
        yield replace(drawn, row=drawn.row + given, revisions=revisions)
        given, drawn_before = given + len(intent.given), drawn_before + len(drawn.visits)


@dataclass(frozen=True)
class _Intent:
    """What the drivers of one table would do if every place were theirs.

    given: the table. row, replica: of each visit that takes place. names: what its draws are named by, shape (3, n).
    departure_s: when the driver would leave. is_unplugged: because the stay was cut short.
    """

    given: VisitTable
    row: Ints
    replica: Ints
    names: Ints
    departure_s: Floats
    is_unplugged: NDArray[np.bool_]
    no_shows: int

    def slot(self, evses: int) -> Ints:
        slot: Ints = self.replica * evses + self.given.evse[self.row]
        return slot


def _intended(visits: VisitTable, model: DriverModel, replicas: int, seed: int, first_replica: int) -> _Intent:
    if replicas < 1:
        raise DriverModelError("replicas", replicas, "1 or more")
    row, replica = _copies(visits, replicas)
    names = np.stack([replica + first_replica, visits.evse[row], ticks(visits.arrival_s)[row]])
    leaving, missing, unplugging, moment = uniforms(seed, "driver", *names)
    comes = missing >= model.no_show_share
    no_shows = int(row.size - np.count_nonzero(comes))
    if no_shows:
        row, replica, names = row[comes], replica[comes], names[:, comes]
        leaving, unplugging, moment = leaving[comes], unplugging[comes], moment[comes]
    arrival = visits.arrival_s[row]
    stay = model.departures.stay_s(visits.declared_s[row] - arrival, visits.departure_s[row] - arrival, leaving)
    is_unplugged = unplugging < model.unplug_share
    stay = np.maximum(np.where(is_unplugged, moment * stay, stay), model.min_stay_s)
    return _Intent(visits, row, replica, names, arrival + stay, is_unplugged, no_shows)


def _realised(
    intent: _Intent, model: DriverModel, seed: int, capacity_kwh: Floats | None, following: _Intent | None,
    latest_s: float,
) -> Drawn:
    """What happens: the next car, of this table or the `following` one, takes the place; all leave by `latest_s`."""
    given, row, replica = intent.given, intent.row, intent.replica
    departure = np.minimum(np.minimum(intent.departure_s, latest_s), _next_arrival(intent))
    if following is not None and row.size and following.row.size:
        evses = int(max(given.evse.max(), following.given.evse.max())) + 1
        slots = (int(max(replica.max(), following.replica.max())) + 1) * evses
        first_s = np.full(slots, np.inf)
        # Later assignments win, so from the last arrival back to the first.
        first_s[following.slot(evses)[::-1]] = following.given.arrival_s[following.row[::-1]]
        departure = np.minimum(departure, first_s[intent.slot(evses)])
    drawn = VisitTable(
        evse=given.evse[row], vehicle=given.vehicle[row], arrival_s=given.arrival_s[row], departure_s=departure,
        declared_s=given.declared_s[row], energy_kwh=given.energy_kwh[row], target_kwh=given.target_kwh[row],
        floor_kwh=given.floor_kwh[row], replica=replica,
    )
    chances = uniforms(seed, "revision", *intent.names) if model.revises else None
    revisions = _revisions(drawn, model, chances, capacity_kwh)
    return Drawn(drawn, row, revisions, intent.no_shows, intent.is_unplugged)


def _with_following(intents: Iterable[_Intent]) -> Iterator[tuple[_Intent, _Intent | None, bool]]:
    """Each table, the one after it, and whether that one is the last."""
    waiting: list[_Intent] = []
    for intent in intents:
        waiting.append(intent)
        if len(waiting) > _AHEAD:
            yield waiting[0], waiting[1], False
            waiting.pop(0)
    for number, intent in enumerate(waiting):
        yield intent, waiting[number + 1] if number + 1 < len(waiting) else None, True


def _copies(visits: VisitTable, replicas: int) -> tuple[Ints, Ints]:
    """Row and replica of every copy of every visit, in order of arrival."""
    if visits.replica is None:
        return np.repeat(np.arange(len(visits)), replicas), np.tile(np.arange(replicas), len(visits))
    wrong = np.flatnonzero((visits.replica < 0) | (visits.replica >= replicas))
    if wrong.size:
        raise VisitTableError(int(wrong[0]), "replica", int(visits.replica[wrong[0]]), f"0 to {replicas - 1}")
    return np.arange(len(visits)), visits.replica


def _next_arrival(intent: _Intent) -> Floats:
    """When the next car of the table comes to the same slot, in seconds; infinite for the last one."""
    visits, row = intent.given, intent.row
    coming = np.full(row.size, np.inf)
    if row.size == 0:
        return coming
    slot = intent.slot(int(visits.evse.max()) + 1)
    order = np.argsort(slot, kind="stable")
    arrival = visits.arrival_s[row[order]]
    is_same = np.diff(slot[order]) == 0
    at_once = np.flatnonzero(is_same & (np.diff(arrival) <= 0.0))
    if at_once.size:
        later = int(row[order[at_once[0] + 1]])
        expected = f"a time after the visit before it at EVSE {int(visits.evse[later])}"
        raise VisitTableError(later, "arrival_s", float(visits.arrival_s[later]), expected)
    coming[order[:-1]] = np.where(is_same, arrival[1:], np.inf)
    return coming


def _revisions(
    drawn: VisitTable, model: DriverModel, chances: Floats | None, capacity_kwh: Floats | None,
) -> Revisions:
    """What drivers change, in order of time, from four uniform draws per visit (None: nothing)."""
    if chances is None:
        nobody, never = np.zeros(0, dtype=np.int64), np.zeros(0)
        return Revisions(nobody, nobody, never, never, never)
    changing, moment, factor, correcting = chances
    low, high = model.retarget_factor
    changes = np.flatnonzero(changing < model.retarget_share)
    change_s = drawn.arrival_s + moment * (drawn.departure_s - drawn.arrival_s)
    wanted = np.maximum(drawn.target_kwh - drawn.energy_kwh, 0.0)
    target = drawn.target_kwh + (low + factor * (high - low) - 1.0) * wanted
    if capacity_kwh is not None:
        # A target that was beyond the battery from the start stays what it was.
        target = np.minimum(target, np.maximum(capacity_kwh[drawn.vehicle], drawn.target_kwh))
    corrects = np.flatnonzero((correcting < model.correct_share) & (drawn.declared_s != drawn.departure_s))
    correct_s = np.maximum(drawn.departure_s - model.correct_notice_s, drawn.arrival_s)
    row = np.concatenate([changes, corrects])
    time_s = np.concatenate([change_s[changes], correct_s[corrects]])
    order = np.argsort(time_s, kind="stable")
    return Revisions(
        row=row[order], replica=np.full(row.size, -1), time_s=time_s[order],
        declared_s=np.concatenate([np.full(changes.size, np.nan), drawn.departure_s[corrects]])[order],
        target_kwh=np.concatenate([target[changes], np.full(corrects.size, np.nan)])[order],
    )
