"""`v2g plan`: a problem file in, a plan file and a picture out, and what it comes to in words."""

from __future__ import annotations

import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from aggregator.feeder.output import require_writable, write_files
from aggregator.planning.answer import SolverFault
from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import CrewFault
from aggregator.planning.fleet.blocks.dask_crew import DaskCrew, NoDask
from aggregator.planning.fleet.blocks.tasks import blocks_of
from aggregator.planning.fleet.files.plan_file import FORMAT, plan_bytes, summary
from aggregator.planning.fleet.files.problem_file import read_problem
from aggregator.planning.fleet.plan import Plan, relative_gap
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.monolith import Progress
from aggregator.planning.fleet.program.solver import NoPlan
from aggregator.planning.fleet.short import lacks
from aggregator.planning.fleet.solving import is_whole, solve
from aggregator.planning.fleet.why import Reason, binding, reasons
from aggregator.planning.fleet.words import (
    alarm_words,
    counted,
    lack_words,
    reasons_words,
    repair_words,
    reserve_words,
)
from aggregator.refusal import Refused
from aggregator.reports.page import GENERATOR
from aggregator.reports.page.svg import BEGINNING as SVG_BEGINNING
from aggregator.reports.plan import plan_svg, render_plan
from aggregator.studies.watching import stopped_cleanly

_SHOWN = 5
_FELT = 1e-6  # kW; below is solver noise
_LISTEN_S = 0.1
_PICTURES = (".html", ".svg")

Executor = Literal["local", "dask"]


class UsageFault(Refused):
    """An option whose value means nothing here; the message is the one line to print."""


@dataclass(frozen=True)
class PlanOptions:
    """What was asked for. explain: ids of EVs. picture: .html or .svg, or none.

    executor: where the blocks of a large fleet are solved: `workers` processes of this command, or a Dask cluster, at
    `scheduler` or with as many processes of its own.
    """

    out: Path
    picture: Path | None = None
    explain: tuple[str, ...] = ()
    gap: float = 1e-3
    time_limit_s: float = 60.0
    workers: int = 2
    executor: Executor = "local"
    scheduler: str | None = None


@dataclass(frozen=True)
class Planned:
    """A problem and its plan. reasons: of every step of the EVs that are explained, by their number."""

    problem: Problem
    plan: Plan
    options: PlanOptions
    title: str
    reasons: dict[int, tuple[Reason, ...]] = field(default_factory=dict)

    @property
    def written(self) -> dict[str, Any]:
        """For machines."""
        return summary(self.problem, self.plan)

    @property
    def files(self) -> dict[Path, bytes]:
        """What is to be written where."""
        found = {self.options.out: plan_bytes(self.problem, self.plan, self.options.out, self.reasons)}
        picture = self.options.picture
        if picture is not None:
            drawn = plan_svg(self.problem, self.plan, self.title) if picture.suffix == ".svg" else render_plan(
                self.problem, self.plan, self.title, tuple(self.reasons.items()))
            found[picture] = drawn.encode("utf-8", "replace")
        return found

    @property
    def in_words(self) -> str:
        """For people."""
        plan, problem = self.plan, self.problem
        costs = ", ".join(f"{name.replace('_', ' ')} {cost:.2f}" for name, cost in plan.outcome.costs.items()
                          if abs(cost) >= 0.005)  # noqa: PLR2004 - half a cent is what two digits show
        lines = [
            (f"{counted(len(problem.evs), 'EV')} at {counted(len(problem.sites), 'site')}, "
             f"{counted(problem.steps, 'step')}: {plan.status}, cost "
             f"{plan.objective:.2f}, proven not below {plan.bound:.2f} (gap {100 * plan.gap:.4f} %), "
             f"{sum_of(plan.seconds):.2f} s"),
            *(f"ALARM {alarm}" for alarm in alarm_words(plan)),
            f"cost: {costs or 'nothing'}",
            *self._short(), *self._events(), *self._repaired(),
            *self._decides(),
        ]
        if self.options.explain and plan.duals is None:
            lines.append("not explained: there are no prices yet that could")
        for ev, found in self.reasons.items():
            lines.append(f"{problem.evs.ids[ev]}:")
            lines += [f"  {line}" for line in reasons_words(found)]
        return "\n".join(lines)

    def _short(self) -> list[str]:
        missing, evs = self.plan.outcome.shortfall_kwh, self.problem.evs
        count = int((missing > _FELT).sum())
        if not count:
            return []
        return [f"short: {counted(count, 'EV')} by {missing.sum():.1f} kWh in all", *(
            f"  {evs.ids[lack.ev]} by {lack.missing_kwh:.1f} kWh of {evs.target_kwh[lack.ev]:.1f}; {lack_words(lack)}"
            for lack in lacks(self.problem, self.plan, _SHOWN))]

    def _events(self) -> list[str]:
        found, at = [], 0
        for event in self.problem.events:
            short_kw = self.plan.outcome.event_shortfall_kw[at:at + len(event.steps)]
            at += len(event.steps)
            most, kwh = short_kw.max(initial=0.0), self.problem.step_h * short_kw.sum()
            found.append(f"event {event.id}: " + (
                "asks for nothing, it has no steps" if not len(event.steps) else "delivered" if most <= _FELT else
                f"up to {most:.1f} kW and in all {kwh:.1f} kWh short"))
        return found

    def _decides(self) -> list[str]:
        found = binding(self.problem, self.plan)
        targets = [item for item in found if item.kind == "target"]
        lines = [f"decides: {item}" for item in found if item.kind != "target"][:_SHOWN]
        if targets:
            lines.append(f"decides: {counted(len(targets), 'target')}, most of all the {targets[0]}")
        return lines

    def _repaired(self) -> list[str]:
        found = {"repaired": repair_words(self.plan), "reserve": reserve_words(self.plan)}
        return [f"{what}: {words}" for what, words in found.items() if words]


def sum_of(seconds: dict[str, float]) -> float:
    """All phases together."""
    return seconds.get("total", sum(seconds.values()))


def run_plan(path: Path, options: PlanOptions, console: Console) -> Planned:
    """Read, solve, explain and write.

    Raises:
        Unreadable, ProblemFaults: the file is no problem that could be planned.
        UsageFault: an option names an EV that is not there, or a file of a kind that is not written.
        Refused: hard limits exclude every plan, the solver failed, or a file cannot be written. Nothing was.
    """
    with stopped_cleanly():
        _require_names(path, options)
        problem = read_problem(path)
        number = {name: k for k, name in enumerate(problem.evs.ids)}
        for name in options.explain:
            if name not in number:
                raise UsageFault(f"--explain {name}: no such EV in {path}")
        plan = _planned(path, problem, options, console)
        chosen = dict.fromkeys(number[name] for name in options.explain) if plan.duals is not None else {}
        planned = Planned(problem, plan, options, f"Plan of {path.name}",
                          {ev: reasons(problem, plan, ev) for ev in chosen})
        write_files(planned.files)
    return planned


def _require_names(path: Path, options: PlanOptions) -> None:
    """Refuse before the work what could not be written after it."""
    out, picture = options.out, options.picture
    if picture is not None and picture.suffix not in _PICTURES:
        raise UsageFault(f"--picture {picture}: ends with {picture.suffix or 'nothing'!r}, expected .html or .svg")
    if out.suffix in _PICTURES:
        raise UsageFault(f"{out}: is the name of a picture, expected .json or .npz (the picture is --picture)")
    try:
        for name in (out, *(() if picture is None else (picture,))):
            if name.exists() and path.exists() and name.samefile(path):
                raise Refused(f"{name}: is the problem itself, expected another name")
    except OSError as error:
        raise Refused(f"{out}: {error.strerror or error}") from None
    beginnings = {out: b"PK" if out.suffix == ".npz" else f'{{"format": "{FORMAT}"'.encode()}
    if picture is not None:
        beginnings[picture] = SVG_BEGINNING if picture.suffix == ".svg" else b"<!doctype html>"
    require_writable(beginnings, ())
    for name in beginnings:
        place = next((one for one in name.absolute().parents if one.exists()), Path("/"))
        if not place.is_dir():
            raise Refused(f"{name}: {place} is no folder")
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise Refused(f"{name}: nothing can be written into {place} ({error.strerror or error})") from None
    if out.suffix == ".npz" and out.is_file() and out.stat().st_size and not _is_plan(out):
        raise Refused(f"{out}: is there and is no plan, expected a new name")
    if picture is not None and picture.suffix == ".html" and picture.is_file() and picture.stat().st_size:
        _require_report(picture)


def _is_plan(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as found:
            return "summary.npy" in found.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _require_report(path: Path) -> None:
    """What begins like any page is replaced only if it says that a report of ours it is."""
    with path.open("rb") as file:
        if f'content="{GENERATOR}"'.encode() not in file.read(2000):
            raise Refused(f"{path}: is there and is no earlier report, expected a new name")


def _planned(path: Path, problem: Problem, options: PlanOptions, console: Console) -> Plan:
    try:
        with told(console) as progress:
            return _attended(problem, options, progress)
    except NoPlan as refusal:
        raise Refused(f"{path}: {refusal}; {_why_none(problem)}") from None
    except NoDask as refusal:
        raise Refused(f"--executor dask: {refusal}") from None
    except (SolverFault, CrewFault) as fault:
        raise Refused(f"{path}: {fault}") from None


def _attended(problem: Problem, options: PlanOptions, progress: Progress) -> Plan:
    """Solve in a thread: a signal to end must not wait until the solver looks up."""
    found: list[Plan | BaseException] = []

    def work() -> None:
        try:
            found.append(_solved(problem, options, progress))
        except BaseException as fault:  # noqa: BLE001 - raised again where it is waited for
            found.append(fault)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(_LISTEN_S)
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _solved(problem: Problem, options: PlanOptions, progress: Progress) -> Plan:
    gap, limit = options.gap, options.time_limit_s
    if options.executor == "local" or is_whole(problem):
        return solve(problem, gap=gap, time_limit_s=limit, workers=options.workers, progress=progress)
    with DaskCrew(BlockService(problem, blocks_of(problem)), options.scheduler, options.workers) as crew:
        return solve(problem, gap=gap, time_limit_s=limit, progress=progress, executor=crew)


@contextmanager
def told(console: Console) -> Iterator[Progress]:
    """Passes on `console`: one line that changes on a terminal, a line each without one."""

    def in_words(number: int, bound: float, cost: float) -> str:
        return f"pass {number}: bound {bound:.2f}, cost {cost:.2f}, gap {100 * relative_gap(cost, bound):.4f} %"

    if not console.is_terminal:
        yield lambda number, bound, cost: console.print(in_words(number, bound, cost), highlight=False, soft_wrap=True)
        return
    with Bar(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=console,
             transient=True) as bar:
        task = bar.add_task("planning", total=None)
        yield lambda number, bound, cost: bar.update(task, description=in_words(number, bound, cost))


def _why_none(problem: Problem) -> str:
    if problem.limit_per_kwh is None:
        return "limit_per_kwh is null, which makes caps, lines and voltages hard; give it a price"
    return "the reactive load of a feeder alone breaks its voltages, or its export has no room"
