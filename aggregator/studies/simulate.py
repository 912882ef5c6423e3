"""Run a scenario in the twin: draw drivers and faults, choose who controls, replay, find out why drivers were short.

A run with an event is always paired with the same run without it (the same drivers, the same faults), so that what was
delivered, and what it cost the drivers, is measured and not guessed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import numpy as np

from aggregator.refusal import Refused
from aggregator.reports.simulation import SimulationFacts, render_simulation
from aggregator.studies.causes import find_causes
from aggregator.studies.control import CONTROLS, RuleRunner, Runner
from aggregator.studies.events import Asked, ask, event_fact, under
from aggregator.studies.folder import RESULT, new_folder, require_replaceable
from aggregator.studies.gather import (
    Rows,
    measures,
    site_facts,
    soc_fan,
    visit_columns,
)
from aggregator.studies.on_feeder import OnFeederResult, on_feeder_result
from aggregator.studies.result import result_json
from aggregator.studies.settings import Setting, settings_of
from aggregator.studies.tables import write_tables
from aggregator.studies.wear import ageing_fact, wear_columns
from twin.ageing import StayWear
from twin.drivers import Drawn
from twin.drivers import draw as draw_drivers
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultPlan
from twin.faults import draw as draw_faults
from twin.scenario import ScenarioError, load_scenario, scenario_sha256
from twin.scenario.experiment import Experiment
from twin.scenario.tables import ControlName

Progress = Callable[[str, float, str], None]
"""Told the phase, the share of it that is done (0 to 1), and how far that is in words (may be empty)."""


def _silent(_phase: str, _done: float, _where: str) -> None:
    """Nobody watches."""


_A_DAY_S = 86_400
MOST_RECORDED = 50_000_000
"""EVSE-steps over all replicas above which chargers are not recorded one by one (16 bytes each)."""


@dataclass(frozen=True)
class SimulationOptions:
    """What the command line may change of a scenario; None: as the file says.

    skip_bad: rows that cannot be true are left out and counted instead of refused.
    """

    seed: int | None = None
    replicas: int | None = None
    control: str | None = None
    skip_bad: bool = False


@dataclass(frozen=True)
class SimulationResult:
    """A finished run. outcome: with the events, if there are any; without_event: the same without them.

    scenario_sha256: of all files of the scenario, as `twin.scenario.scenario_sha256` has it. settings: its fields.
    """

    facts: SimulationFacts
    outcome: Outcome
    without_event: Outcome | None
    scenario_sha256: str
    settings: Mapping[str, Setting]


@dataclass
class _Stopwatch:
    """Wall seconds by phase, in the order in which they were first entered."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(
        self, name: str, where: Callable[[float], str] = lambda _done: ""
    ) -> Iterator[Callable[[float], None]]:
        begun = time.perf_counter()
        self.progress(name, 0.0, where(0.0))
        yield lambda done: self.progress(name, done, where(done))
        self.progress(name, 1.0, "")
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


def simulate_scenario(
    path: Path, options: SimulationOptions | None = None, *, progress: Progress = _silent
) -> SimulationResult:
    """Run the scenario file `path`.

    Raises:
        Refused: the file cannot be used, or names a controller that is not there.
    """
    options = options or SimulationOptions()
    if options.control is not None and options.control not in CONTROLS:
        raise Refused(f"--control: {options.control!r}, expected one of {', '.join(CONTROLS)}")
    watch = _Stopwatch(progress)
    with watch.phase("read the scenario"):
        experiment, digest, settings = _read(path, options)
    with watch.phase("draw drivers and faults"):
        drawn = draw_drivers(
            experiment.visits, experiment.drivers, replicas=experiment.ensemble.replicas, seed=experiment.seed,
            capacity_kwh=np.array([v.battery.capacity_kwh * v.battery.soc_max for v in experiment.ensemble.vehicles]),
        )
        faults = _faults(experiment, drawn)
    ensemble = experiment.ensemble
    runner = _runner(path, experiment, drawn, faults)
    record = ensemble.slots * ensemble.grid.steps <= MOST_RECORDED

    def outcome_of(limited: Ensemble, events: tuple[Asked, ...], name: str, *, record_evses: bool) -> Outcome:
        with watch.phase(name, lambda done: _whereabouts(experiment, done)) as tell:
            return runner(limited, events, record_evses=record_evses, tell=tell)

    def wear_of(done: Outcome) -> StayWear | None:
        if experiment.ageing is None or done.battery_kwh is None:
            return None
        with watch.phase("judge the batteries' wear"):
            return experiment.ageing.wear(done, drawn.visits)

    without: Outcome | None = None
    without_wear: StayWear | None = None
    asked: tuple[Asked, ...] = ()
    if experiment.events:
        judges = record and (experiment.ageing is not None or experiment.feeder is not None)
        without = outcome_of(ensemble, (), "run without the event", record_evses=judges)
        if judges:
            without_wear = wear_of(without)
            # The feeder asks for powers alone; nobody else asks for either.
            kept = without.evse_kwh if experiment.feeder is not None else None
            without = replace(without, evse_kwh=kept, battery_kwh=None)
        asked = tuple(ask(event, without) for event in experiment.events)
        limited = under(ensemble, asked)
        outcome = outcome_of(limited, asked, "run with the event", record_evses=record)
    else:
        outcome = outcome_of(ensemble, (), "run", record_evses=record)
    wear = wear_of(outcome)
    on_feeder: OnFeederResult | None = None
    if experiment.feeder is not None and outcome.evse_kwh is not None:
        with watch.phase("solve the feeder") as tell:
            impact = experiment.feeder.judge(outcome, drawn.visits, without_event=without, progress=tell)
            on_feeder = on_feeder_result(experiment.feeder, impact, outcome)
    if without is not None:
        without = replace(without, evse_kwh=None)
    with watch.phase("find out why drivers were short"):
        facts = _facts(experiment, drawn, faults, outcome, without, asked, runner, wear, without_wear, on_feeder)
    return SimulationResult(replace(facts, seconds=watch.seconds), outcome, without, digest, settings)


def simulate_into(
    path: Path, folder: Path, options: SimulationOptions | None = None, *,
    progress: Progress = _silent,
) -> Mapping[str, object]:
    """Run the scenario file `path` and write tables, report and result into `folder`; gives the result.

    Raises:
        Refused: nothing was written; the message says why.
    """
    require_replaceable(folder)
    result = simulate_scenario(path, options, progress=progress)
    with new_folder(folder) as partial:
        progress("write tables and report", 0.0, "")
        begun = time.perf_counter()
        files = (*write_tables(result.facts, result.outcome, partial), "report.html", RESULT)
        seconds = {**result.facts.seconds, "write tables": time.perf_counter() - begun}
        facts = replace(result.facts, seconds=seconds)
        (partial / "report.html").write_text(render_simulation(facts), "utf-8")
        written = result_json(facts, result.scenario_sha256, result.settings, files)
        (partial / RESULT).write_text(json.dumps(written, indent=1, allow_nan=False) + "\n", "utf-8")
        progress("write tables and report", 1.0, "")
    return written


def _read(path: Path, options: SimulationOptions) -> tuple[Experiment, str, Mapping[str, Setting]]:
    """The scenario as it is to be run, the hash of its files, and its fields with what `options` put in their place."""
    try:
        digest, settings = scenario_sha256(path), settings_of(path)
        experiment = load_scenario(path, skip_bad=options.skip_bad).experiment()
        experiment = experiment.with_replicas(
            experiment.ensemble.replicas if options.replicas is None else options.replicas, options.seed
        )
    except ScenarioError as error:
        raise Refused(str(error)) from None
    if options.control is not None:
        name = cast("ControlName", options.control)  # `simulate_scenario` has looked it up
        experiment = replace(experiment, control=replace(experiment.control, name=name))
    ran = {"control.name": experiment.control.name, "run.seed": experiment.seed,
           "run.replicas": experiment.ensemble.replicas}
    return experiment, digest, {**settings, **ran}


def _whereabouts(experiment: Experiment, done: float) -> str:
    """How far a run is: the planner goes through one course after the other, the rules through all of them at once."""
    grid, replicas = experiment.ensemble.grid, experiment.ensemble.replicas
    zone = ZoneInfo(experiment.ensemble.sites[0].timezone)
    in_turn = experiment.control.name == "planner"
    course = min(int(done * replicas), replicas - 1)
    part = done * replicas - course if in_turn else done
    when = (grid.start + timedelta(seconds=part * grid.step_s * grid.steps)).astimezone(zone)
    clock = f"{when:%H:%M} of the day" if grid.step_s * grid.steps <= _A_DAY_S else f"{when:%a %d %b %H:%M}"
    return f"course {course + 1} of {replicas}, {clock}" if in_turn else clock


def _faults(experiment: Experiment, drawn: Drawn) -> FaultPlan | None:
    if experiment.faults is None:
        return None
    ensemble = experiment.ensemble
    grid = ensemble.grid
    return draw_faults(
        experiment.faults, evses=len(ensemble.evses), replicas=ensemble.replicas,
        seconds=float(grid.step_s * grid.steps), seed=experiment.seed, visits=drawn.visits,
    )


def _runner(path: Path, experiment: Experiment, drawn: Drawn, faults: FaultPlan | None) -> Runner:
    if experiment.control.name == "planner":
        from aggregator.studies.planned import PlannerRunner  # noqa: PLC0415 - only this control needs the solver
        from aggregator.studies.terms import load_terms  # noqa: PLC0415 - as above

        return PlannerRunner(experiment, drawn, load_terms(path))
    return RuleRunner(experiment.control, drawn, faults, experiment.feeder)


def _facts(
    experiment: Experiment, drawn: Drawn, faults: FaultPlan | None, outcome: Outcome,
    without: Outcome | None, asked: tuple[Asked, ...], runner: Runner, wear: StayWear | None,
    without_wear: StayWear | None, on_feeder: OnFeederResult | None,
) -> SimulationFacts:
    visits = replace(drawn.visits, ids=tuple(experiment.visits.ids[row] for row in drawn.row.tolist())) \
        if experiment.visits.ids else drawn.visits
    rows = Rows.of(outcome, visits)
    changed = np.unique(drawn.revisions.row)
    verdict = find_causes(outcome, visits, rows, without_event=without, faults=faults, changed=changed)
    worn = None
    if wear is not None:
        paired = None if without is None or without_wear is None else (without, without_wear)
        worn = wear_columns(wear, rows, visits, paired)
    columns = visit_columns(outcome, visits, rows, verdict.cause, verdict.full_power_kwh, verdict.event_kwh, worn)
    # Caps are judged without the event: what an event asks is promised and delivered, or not; it is no rating.
    sites, whole = site_facts(replace(outcome, ensemble=experiment.ensemble))
    events = () if without is None else tuple(
        event_fact(one, outcome, without, runner.committed.get(one.event.id)) for one in asked
    )
    outcome.ledger.check()
    counts = dict(outcome.occurrences)
    if drawn.no_shows:
        counts["no_show"] = drawn.no_shows
    if drawn.is_unplugged.any():
        counts["unplugged"] = int(drawn.is_unplugged.sum())
    ensemble = experiment.ensemble
    return SimulationFacts(
        name=experiment.name, control=experiment.control.name, seed=experiment.seed, replicas=ensemble.replicas,
        grid=ensemble.grid, timezone=ensemble.sites[0].timezone, evses=len(ensemble.evses),
        assumptions=_told_once((*experiment.assumptions, *runner.assumed)), notes=_notes(experiment, outcome),
        dropped=experiment.dropped,
        sites=sites, whole=whole, soc=soc_fan(outcome, visits), visits=columns, events=events,
        measures={**measures(outcome, columns, whole, events), **({} if on_feeder is None else on_feeder.measures)},
        occurrences=counts,
        residual=outcome.ledger.relative_residual, digest=outcome.digest(), program_version=version("v2g-aggregator"),
        ageing=None if wear is None or experiment.ageing is None else ageing_fact(experiment.ageing, ensemble),
        feeder=None if on_feeder is None else on_feeder.fact,
    )


def _told_once(texts: Sequence[str]) -> tuple[str, ...]:
    """Without what another text says word for word: a scenario's author and its importer may assume the same."""
    plain = [text.rstrip(". ").casefold() for text in texts]
    return tuple(
        text for k, text in enumerate(texts)
        if not any(plain[k] in other and (plain[k] != other or j < k) for j, other in enumerate(plain) if j != k)
    )


def _notes(experiment: Experiment, outcome: Outcome) -> tuple[str, ...]:
    notes = []
    if experiment.events and experiment.control.name != "planner":
        notes.append(
            "An event reaches this controller as a lower cap of the connection point while it runs; it neither looks "
            "ahead to it nor prepares for it."
        )
    if outcome.evse_kwh is None:
        notes.append(
            f"Chargers were not recorded one by one (more than {MOST_RECORDED:,} charger steps), so there is no table "
            "of chargers and no picture of the state of charge"
            + (", and the batteries' wear is not known." if experiment.ageing is not None else ".")
            + (" Nor was the feeder judged." if experiment.feeder is not None else "")
        )
    if experiment.ensemble.replicas == 1:
        notes.append("One course of drivers and faults was run: nothing is known about how much others would differ.")
    return tuple(notes)
