"""Load a scenario: the file, what it extends and names; stations, cars, visits and building in one checked whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from twin.assets import Site, TimeGrid, Visit
from twin.drivers import DriverModel
from twin.faults import FaultModel
from twin.importers import Imported, Session
from twin.scenario.ageing import Ageing, ageing_of
from twin.scenario.assumptions import assumed, overloads, without_effect
from twin.scenario.building import net_building_kw
from twin.scenario.drawing import VisitDraw
from twin.scenario.duties import Duties
from twin.scenario.experiment import Control, Course, Event, Experiment, ensemble_of, table_of, together
from twin.scenario.feeder import feeder_of
from twin.scenario.fleet import models_of, stations_of
from twin.scenario.models import driver_model, fault_model, settled
from twin.scenario.on_feeder import OnFeeder
from twin.scenario.reading import Report, decode, import_sessions, named, read_tables, zone_of
from twin.scenario.regular import RegularVisits
from twin.scenario.rows import Frame, chosen, written_sessions
from twin.scenario.tables import EventRow, RunTable, ScenarioFile
from twin.scenario.world import DeclaredVisit, PublicScenario, Truth, time_grid
from twin.scenario_error import ScenarioError
from twin.visits import VisitTable

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Scenario:
    """A loaded scenario.

    dropped: visits that are not part of it on purpose, counted by reason. bad: rows that could not be used and were
    skipped because the caller asked for it, counted by reason. warnings: what can be true but is hardly meant, in
    sentences. feeder: the grid on which the EVSEs hang, where the file has one. run: step, replicas, seed.
    """

    _public: PublicScenario
    _truth: Truth
    dropped: Mapping[str, int]
    bad: Mapping[str, int]
    warnings: tuple[str, ...]
    drivers: DriverModel
    faults: FaultModel | None
    control: Control
    events: tuple[Event, ...]
    ageing: Ageing | None
    feeder: OnFeeder | None
    run: RunTable
    _visits_in: Callable[[int], VisitTable] = field(repr=False, compare=False)

    def public(self) -> PublicScenario:
        return self._public

    def truth(self) -> Truth:
        return self._truth

    def experiment(self) -> Experiment:
        """All that a simulation needs: ensemble, visits as columns, models, control and events."""
        skipped = {f"skipped: {reason}": count for reason, count in self.bad.items()}
        return Experiment(
            name=self._public.name,
            ensemble=ensemble_of(self._public, self._truth, self.run.step_s, self.run.replicas),
            visits=self._visits_in(self.run.replicas), drivers=self.drivers, faults=self.faults,
            control=self.control, events=self.events, ageing=self.ageing, feeder=self.feeder, seed=self.run.seed,
            dropped={**self.dropped, **skipped}, assumptions=self._public.assumptions,
            visits_in=self._visits_in,
        )


def load_scenario(path: Path | str, *, skip_bad: bool = False) -> Scenario:
    """Read a scenario file and everything it names.

    Args:
        path: the TOML file.
        skip_bad: leave out sessions and visits that cannot be true and count them in `Scenario.bad`.

    Raises:
        ScenarioError: the first thing that cannot be true, with file, row or field, value and what was expected; with
            `skip_bad` only where it is not a session or visit.
    """
    path = Path(path)
    bad = Counter[str]()

    def report(fault: ScenarioError) -> None:
        if not skip_bad:
            raise fault
        bad[fault.reason] += 1

    tables = read_tables(path)
    imported = import_sessions(path, tables)
    try:
        file = decode(path, tables, imported, report)
        scenario = assemble(path, file, imported, report)
    except ScenarioError as fault:
        (told,) = named([fault], path, tables)
        raise told from fault
    return replace(scenario, bad=dict(bad))


def assemble(path: Path, file: ScenarioFile, imported: Imported | None, report: Report) -> Scenario:
    """Put a decoded file together. Rows that cannot be true go to `report`; `Scenario.bad` is left empty.

    Raises:
        ScenarioError: anything else that cannot be true.
    """
    file = msgspec.structs.replace(file, drivers=settled(file))
    zone = zone_of(path, "$.site.timezone", file.site.timezone)
    start, end = span_of(path, file)
    site = Site(file.site.id, file.site.timezone, file.site.import_cap_kw, file.site.export_cap_kw)
    stations, models = stations_of(path, file), models_of(path, file)
    if not stations:
        raise ScenarioError(path, "$.stations", "none", "at least one station or station group")
    fixed = written_sessions(path, file, report)
    dropped = Counter[str]()
    if imported is not None:
        for fault in imported.faults:
            report(fault)
        dropped.update(imported.left_out)
        fixed.extend(imported.sessions)
    frame = Frame(
        path, frozenset(stations), frozenset(models), start, end,
        skips_others=file.sessions is not None and file.sessions.other_stations == "skip",
        keeps_unfinished=file.run.unfinished == "keep",
    )
    draw = VisitDraw(path, stations, models, file.drivers, file.truth)
    fixed = chosen(fixed, frame, report, dropped)
    duties = Duties(path, file, list(stations), frozenset(models), start, end, zone)
    if not models and (fixed or duties.tables):
        raise ScenarioError(path, "$.vehicles", "none", "at least one, as there are visits")
    losses = tuple(duties.losses(range(file.run.replicas if file.run.redraw_duties else 1)))
    regular = RegularVisits(duties, draw, fixed, keeps_unfinished=frame.keeps_unfinished)
    by_rule = regular.rows(range(1), report, dropped)
    others = _drawn(draw, fixed, report)
    drawn = sorted([*others, *_drawn(draw, duties.sessions(by_rule), report)], key=_arrival)
    if file.truth.building is not None and file.building is not None:
        raise ScenarioError(path, "$.building", "here and in truth", "the building's load once")
    feeder = feeder_of(path, file, stations, grid_of(path, start, end, file.run.step_s), zone)
    building = file.building if file.building is not None else file.truth.building
    ageing, aged = ageing_of(file.ageing, models)
    faults = fault_model(path, file.faults)
    idle = tuple(without_effect(file, stations, models))
    assumptions = (
        *file.assumptions, *(imported.assumed if imported is not None else ()),
        *assumed(file, stations, models, faults, fixed, draw.cut),
        *(() if feeder is None else feeder.assumed), *aged, *idle,
    )
    vehicles = {name: model.vehicle for name, model in models.items()}
    truth = Truth(
        site=site, evses=tuple(station.evse for station in stations.values()), start=start, end=end,
        visits=tuple(visit for visit, _ in drawn), declared={visit.id: declared for visit, declared in drawn},
        building_kw=feeder.base_by_minute_kw() if feeder is not None
        else net_building_kw(path, building, file.pv, file.truth.seed, start, end, zone),
    )
    public = PublicScenario(file.name, start, end, site, tuple(stations.values()), vehicles, assumptions)
    return Scenario(
        public, truth, dropped=dict(+dropped), bad={},
        warnings=(*_emptiness(drawn), *losses, *overloads(site, truth.building_kw), *idle,
                  *(() if feeder is None else feeder.warnings)),
        drivers=driver_model(path, file.drivers), faults=faults, control=_control(path, file),
        events=_events(path, file, start, end), ageing=ageing, feeder=feeder, run=file.run,
        _visits_in=_Visits(public, others, regular, redraws=file.run.redraw_duties),
    )


@dataclass(frozen=True)
class _Visits:
    """All visits as columns for any number of replicas. redraws: visits by rule are others in every replica."""

    public: PublicScenario
    others: Course
    regular: RegularVisits
    redraws: bool

    def __call__(self, replicas: int) -> VisitTable:
        others = table_of(self.public, self.others)
        if not self.regular.duties.tables:
            return others
        # What cannot be true, or has no place, was told when replica 0 was read.
        rows = self.regular.rows(range(replicas if self.redraws else 1), lambda _: None, Counter())
        return together(others, self.regular.table(rows, is_same_in_all=not self.redraws), replicas)


def _drawn(draw: VisitDraw, sessions: Iterable[Session], report: Report) -> Course:
    drawn: list[tuple[Visit, DeclaredVisit]] = []
    for session in sessions:
        try:
            drawn.append(draw.visit(session))
        except ScenarioError as fault:
            report(fault)
    return drawn


def _emptiness(drawn: Course) -> tuple[str, ...]:
    return () if drawn else ("No visit takes place in the scenario's time.",)


def _arrival(drawn: tuple[Visit, DeclaredVisit]) -> datetime:
    return drawn[0].arrival


def span_of(path: Path, file: ScenarioFile) -> tuple[datetime, datetime]:
    start, end = _aware(path, "$.start", file.start), _aware(path, "$.end", file.end)
    if end <= start or (end - start) % MINUTE:
        raise ScenarioError(path, "$.end", file.end.isoformat(), "whole minutes after the start")
    return start, end


def grid_of(path: Path, start: datetime, end: datetime, step_s: int) -> TimeGrid:
    """The scenario's time in its steps. Raises a `ScenarioError` where they do not fit it."""
    try:
        return time_grid(start, end, step_s)
    except ValueError as error:
        raise ScenarioError(path, "$.run.step_s", step_s, str(error).partition("expected ")[2]) from error


def _aware(path: Path, where: str, when: datetime) -> datetime:
    if when.tzinfo is None:
        raise ScenarioError(path, where, when.isoformat(), "a time with offset", "time without offset")
    return when.astimezone(UTC)


def _control(path: Path, file: ScenarioFile) -> Control:
    table = file.control
    if (table.name == "schedule") != (table.schedule is not None):
        raise ScenarioError(path, "$.control.schedule", table.schedule, "a file exactly where the name is schedule")
    schedule = None if table.schedule is None else Path(table.schedule)
    return Control(table.name, table.discharges, schedule, table.horizon_h, table.between_steps)


def _events(path: Path, file: ScenarioFile, start: datetime, end: datetime) -> tuple[Event, ...]:
    events: list[Event] = []
    for index, row in enumerate(file.events):
        if any(event.id == row.id for event in events):
            raise ScenarioError(path, f"$.events[{index}].id", row.id, "every event once")
        event = event_of(path, index, row, start, end, file.run.step_s)
        if row.enabled:
            events.append(event)
    return tuple(sorted(events, key=lambda event: event.start))


def event_of(path: Path, index: int, row: EventRow, start: datetime, end: datetime, step_s: int) -> Event:
    """One row of `events`. Raises a `ScenarioError` where it does not fit the scenario's time and steps."""
    event = _event(path, f"$.events[{index}]", row, start, end)
    for name, when in (("start", event.start), ("end", event.end)):
        if (when - start) % timedelta(seconds=step_s):
            raise ScenarioError(
                path, f"$.events[{index}].{name}", getattr(row, name).isoformat(),
                f"on a step of {step_s} s after the scenario's start (run.step_s)",
            )
    return event


def _event(path: Path, where: str, row: EventRow, start: datetime, end: datetime) -> Event:
    begins, ends = _aware(path, f"{where}.start", row.start), _aware(path, f"{where}.end", row.end)
    if not begins < ends:
        raise ScenarioError(path, f"{where}.end", row.end.isoformat(), f"after its start {row.start.isoformat()}")
    if begins < start or ends > end:
        place, when = ("start", row.start) if begins < start else ("end", row.end)
        raise ScenarioError(path, f"{where}.{place}", when.isoformat(), "a time within the scenario's")
    if (row.max_net_kw is None) == (row.reduction_kw is None):
        given = "neither" if row.max_net_kw is None else "both"
        raise ScenarioError(path, where, given, "either max_net_kw or reduction_kw")
    promised = row.promised_kw if row.promised_kw is not None else row.reduction_kw
    known_from = max(begins - timedelta(seconds=row.notice_s), start)
    return Event(row.id, begins, ends, row.max_net_kw, row.reduction_kw, promised, known_from)
