"""What the commands simulate, compare and scenario check do, apart from their options: progress, files, words."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from aggregator.refusal import Refused
from aggregator.reports.simulation_comparison import render_comparison
from aggregator.reports.simulation_page import GENERATOR
from aggregator.studies.compare import compare, comparison_json
from aggregator.studies.folder import new_file
from aggregator.studies.simulate import SimulationOptions, simulate_into
from twin.scenario import ScenarioCheck, check_scenario

_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Said:
    """The answer of a command: for machines, in words, and what is wrong (one line each)."""

    written: Mapping[str, Any]
    in_words: str
    faults: tuple[str, ...] = ()


def run_simulation(
    scenario: Path, folder: Path, seed: int | None, replicas: int | None, control: str | None, console: Console, *,
    skip_bad: bool,
) -> Said:
    """Simulate into `folder`, with a progress bar on `console`.

    Raises:
        Refused: nothing was written.
    """
    options = SimulationOptions(seed, replicas, control, skip_bad)
    with _stopped_cleanly(), _bar(console) as bar:
        tasks: dict[str, Any] = {}

        def progress(phase: str, done: float) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=1.0)
            bar.update(tasks[phase], completed=done)

        written = simulate_into(scenario, folder, options, progress=progress)
    return Said(written, _in_words(written, folder))


def run_comparison(folders: Sequence[Path], out: Path) -> Said:
    """Compare runs and write the report to `out`.

    Raises:
        Refused: nothing was written.
    """
    facts = compare(folders)
    page = render_comparison(facts)
    new_file(out, page, GENERATOR)
    words = comparison_json(facts)
    return Said(words, f"{out}: {len(facts.runs)} runs of {facts.replicas} course{'s' * (facts.replicas > 1)} compared")


def check_file(path: Path) -> Said:
    """Every fault of a scenario file, and what of it would be run."""
    check = check_scenario(path)
    faults = tuple(str(fault) for fault in check.faults)
    left_out = {**check.dropped, **{f"cannot be true: {reason}": count for reason, count in check.bad.items()}}
    written = {
        "file": str(path), "ok": check.is_clean, "kept": check.kept, "dropped": dict(check.dropped),
        "bad": dict(check.bad), "assumptions": list(check.assumptions),
        "faults": [
            {"file": fault.file, "field": fault.where, "message": str(fault)} for fault in check.faults
        ],
    }
    lines = [f"{path}: {_verdict(check)}"]
    lines += [f"  left out, {reason}: {count}" for reason, count in sorted(left_out.items())]
    lines += [f"  assumed: {text}" for text in check.assumptions]
    return Said(written, "\n".join(lines), faults)


def _verdict(check: ScenarioCheck) -> str:
    if check.is_clean:
        return f"no faults, {check.kept} visits"
    count = len(check.faults)
    said = f"{count} fault{'s' * (count > 1)}"
    if check.scenario is None:
        return said
    return f"{said}, all in single rows; {check.kept} visits are left with --skip-bad"


def _in_words(written: Mapping[str, Any], folder: Path) -> str:
    summary = written["summary"]
    courses = written["replicas"]
    lines = [
        f"{folder}: {summary['visits']['mean']:.0f} cars, {summary['short_drivers']['mean']:.1f} left short by "
        f"{summary['short_kwh']['mean']:.1f} kWh together, peak {summary['peak_kw']['p50']:.1f} kW"
        + (f" (means and median over {courses} courses)" if courses > 1 else "")
    ]
    for event in written["events"]:
        kept = event["kept_share"]
        lines.append(
            f"  {event['id']}: {event['promised_kwh']['p50']:.1f} kWh promised, "
            f"{event['delivered_kwh']['p50']:.1f} kWh delivered"
            + (f", {100 * kept['p50']:.0f} % of the promise when it was due" if kept else "")
        )
    lines.append(f"  {folder / 'report.html'}")
    return "\n".join(lines)


def _bar(console: Console) -> Progress:
    """Only on a terminal; it goes when the work is done."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=console,
        transient=True, disable=not console.is_terminal,
    )


@contextmanager
def _stopped_cleanly() -> Iterator[None]:
    """A request to end (SIGTERM) ends the work as Ctrl-C does, so that what was begun is cleared away."""
    def stop(_signal: int, _frame: object) -> NoReturn:
        sys.exit(_TERMINATED)

    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise Refused("stopped; nothing was written") from None
    finally:
        signal.signal(signal.SIGTERM, former)
