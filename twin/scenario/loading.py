"""Load a scenario: the file, what it extends and names; stations, cars, visits and building in one checked whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twin.assets import Site, Visit
from twin.drivers import DriverModel
from twin.faults import FaultModel
from twin.importers import Imported
from twin.scenario.ageing import Ageing, ageing_of
from twin.scenario.building import net_building_kw
from twin.scenario.drawing import VisitDraw
from twin.scenario.duties import duty_sessions
from twin.scenario.experiment import Control, Course, Event, Experiment, ensemble_of, visits_of
from twin.scenario.fleet import models_of, stations_of
from twin.scenario.models import driver_model, fault_model
from twin.scenario.reading import Report, decode, import_sessions, read_tables, zone_of
from twin.scenario.rows import Frame, chosen, written_sessions
from twin.scenario.tables import EventRow, RunTable, ScenarioFile
from twin.scenario.world import DeclaredVisit, PublicScenario, Truth
from twin.scenario_error import ScenarioError
from twin.visits import VisitTable

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Scenario:
    """A loaded scenario.

    dropped: visits that are not part of it on purpose, counted by reason. bad: rows that could not be used and were
    skipped because the caller asked for it, counted by reason. run: step, replicas, seed.
    """

    _public: PublicScenario
    _truth: Truth
    dropped: Mapping[str, int]
    bad: Mapping[str, int]
    drivers: DriverModel
    faults: FaultModel | None
    control: Control
    events: tuple[Event, ...]
    ageing: Ageing | None
    run: RunTable
    _redraws: bool
    _course: Callable[[int], Course] = field(repr=False, compare=False)

    def public(self) -> PublicScenario:
        return self._public

    def truth(self) -> Truth:
        return self._truth

    def experiment(self) -> Experiment:
        """All that a simulation needs: ensemble, visits as columns, models, control and events."""
        skipped = {f"skipped: {reason}": count for reason, count in self.bad.items()}
        first = [(visit, self._truth.declared[visit.id]) for visit in self._truth.visits]

        def visits_in(replicas: int) -> VisitTable:
            courses = [first] if not self._redraws else [first, *map(self._course, range(1, replicas))]
            return visits_of(self._public, courses, is_same_in_all=not self._redraws)

        return Experiment(
            name=self._public.name,
            ensemble=ensemble_of(self._public, self._truth, self.run.step_s, self.run.replicas),
            visits=visits_in(self.run.replicas), drivers=self.drivers, faults=self.faults,
            control=self.control, events=self.events, ageing=self.ageing, seed=self.run.seed,
            dropped={**self.dropped, **skipped}, assumptions=self._public.assumptions,
            visits_in=visits_in,
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
    file = decode(path, tables, imported, report)
    return replace(assemble(path, file, imported, report), bad=dict(bad))


def assemble(path: Path, file: ScenarioFile, imported: Imported | None, report: Report) -> Scenario:
    """Put a decoded file together. Rows that cannot be true go to `report`; `Scenario.bad` is left empty.

    Raises:
        ScenarioError: anything else that cannot be true.
    """
    zone = zone_of(path, "$.site.timezone", file.site.timezone)
    start, end = _span(path, file)
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

    def course(replica: int, report: Report, dropped: Counter[str]) -> Course:
        by_rule = duty_sessions(path, file, list(stations), start, end, zone, replica=replica)
        drawn: list[tuple[Visit, DeclaredVisit]] = []
        for session in chosen([*fixed, *by_rule], frame, report, dropped):
            try:
                drawn.append(draw.visit(session))
            except ScenarioError as fault:
                report(fault)
        return drawn

    drawn = course(0, report, dropped)
    if file.truth.building is not None and file.building is not None:
        raise ScenarioError(path, "$.building", "here and in truth", "the building's load once")
    building = file.building if file.building is not None else file.truth.building
    ageing, aged = ageing_of(file.ageing, models)
    assumptions = (*file.assumptions, *(imported.assumed if imported is not None else ()), *aged)
    vehicles = {name: model.vehicle for name, model in models.items()}
    truth = Truth(
        site=site, evses=tuple(station.evse for station in stations.values()), start=start, end=end,
        visits=tuple(visit for visit, _ in drawn), declared={visit.id: declared for visit, declared in drawn},
        building_kw=net_building_kw(path, building, file.pv, file.truth.seed, start, end, zone),
    )
    try:
        truth.grid(file.run.step_s)
    except ValueError as error:
        raise ScenarioError(path, "$.run.step_s", file.run.step_s, str(error).partition("expected ")[2]) from error
    return Scenario(
        PublicScenario(file.name, start, end, site, tuple(stations.values()), vehicles, assumptions), truth,
        dropped=dict(dropped), bad={}, drivers=driver_model(path, file.drivers), faults=fault_model(path, file.faults),
        control=_control(path, file), events=_events(path, file, start, end), ageing=ageing,
        run=file.run,
        # Faults of rows are told once, with replica 0.
        _redraws=bool(file.duties) and file.run.redraw_duties,
        _course=lambda replica: course(replica, lambda _: None, Counter()),
    )


def _span(path: Path, file: ScenarioFile) -> tuple[datetime, datetime]:
    start, end = _aware(path, "$.start", file.start), _aware(path, "$.end", file.end)
    if end <= start or (end - start) % MINUTE:
        raise ScenarioError(path, "$.end", file.end.isoformat(), "whole minutes after the start")
    return start, end


def _aware(path: Path, where: str, when: datetime) -> datetime:
    if when.tzinfo is None:
        raise ScenarioError(path, where, when.isoformat(), "a time with offset", "time without offset")
    return when.astimezone(UTC)


def _control(path: Path, file: ScenarioFile) -> Control:
    table = file.control
    if (table.name == "schedule") != (table.schedule is not None):
        raise ScenarioError(path, "$.control.schedule", table.schedule, "a file exactly where the name is schedule")
    schedule = None if table.schedule is None else Path(table.schedule)
    return Control(table.name, table.discharges, schedule, table.horizon_h)


def _events(path: Path, file: ScenarioFile, start: datetime, end: datetime) -> tuple[Event, ...]:
    events: list[Event] = []
    for index, row in enumerate(file.events):
        if any(event.id == row.id for event in events):
            raise ScenarioError(path, f"$.events[{index}].id", row.id, "every event once")
        event = _event(path, f"$.events[{index}]", row, start, end)
        if row.enabled:
            events.append(event)
    return tuple(sorted(events, key=lambda event: event.start))


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
