"""What the commands simulate, compare and scenario check do, apart from their options: progress, files, words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from aggregator.reports.comparison import differences_in_words, render_comparison
from aggregator.reports.page import GENERATOR
from aggregator.studies.compare import compare, comparison_json
from aggregator.studies.folder import new_file
from aggregator.studies.in_words import in_words
from aggregator.studies.simulate import SimulationOptions, simulate_into
from aggregator.studies.watching import stopped_cleanly, told
from twin.scenario import ScenarioCheck, check_scenario


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
    with stopped_cleanly() as stop, told(console) as tell:
        def progress(phase: str, done: float, where: str) -> None:
            stop.check()
            tell(phase, done, where)

        written = simulate_into(scenario, folder, options, progress=progress)
    return Said(written, in_words(written, folder))


def run_comparison(folders: Sequence[Path], out: Path) -> Said:
    """Compare runs and write the report to `out`.

    Raises:
        Refused: nothing was written.
    """
    facts = compare(folders)
    page = render_comparison(facts)
    new_file(out, page, GENERATOR)
    words = comparison_json(facts)
    counted = f"{out}: {len(facts.runs)} runs of {facts.replicas} course{'s' * (facts.replicas > 1)} compared"
    changed = [f"{path}: {' -> '.join(values)}" for path, *values in facts.differing]
    means = " (means over the courses, with their intervals)" if facts.replicas > 1 else ""
    lines = [f"{counted}{means}", *(f"  {one}" for one in (*changed, *differences_in_words(facts)))]
    return Said(words, "\n".join(lines))


def check_file(path: Path) -> Said:
    """Every fault of a scenario file, and what of it would be run."""
    check = check_scenario(path)
    faults = tuple(str(fault) for fault in check.faults)
    left_out = {**check.dropped, **{f"cannot be true: {reason}": count for reason, count in check.bad.items()}}
    written = {
        "file": str(path), "ok": check.is_clean, "kept": check.kept, "dropped": dict(check.dropped),
        "bad": dict(check.bad), "warnings": list(check.warnings), "assumptions": list(check.assumptions),
        "may_hide_more": check.may_hide_more, "faults": [
            {"file": fault.file, "field": fault.where, "message": str(fault)} for fault in check.faults
        ],
    }
    lines = [f"{path}: {_verdict(check)}"]
    lines += [f"  left out, {reason}: {count}" for reason, count in sorted(left_out.items())]
    lines += [f"  warning: {text}" for text in check.warnings]
    lines += [f"  assumed: {text}" for text in check.assumptions]
    return Said(written, "\n".join(lines), faults)


def _verdict(check: ScenarioCheck) -> str:
    if check.is_clean:
        return f"no faults, {check.kept} visits"
    count = len(check.faults)
    said = f"{count} fault{'s' * (count > 1)}"
    if check.scenario is None:
        return f"{said}; more may follow once they are mended" if check.may_hide_more else said
    return f"{said}, all in single rows; {check.kept} visits are left with --skip-bad"
