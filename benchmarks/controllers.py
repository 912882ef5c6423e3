"""The shipped workplace day and its event under no control, two rules and the service's planner: the same courses.

    python benchmarks/controllers.py --replicas 10             print the table of docs/robustness.md and RESULT lines
    python benchmarks/controllers.py --replicas 10 --write     and write the table anew

Every course is drawn once (when drivers really leave, which chargers are broken) and given to each of the four, with
and without the event. The rules take a tenth of a second, the planner some seconds of processor time per course.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from aggregator.studies.simulate import SimulationOptions, SimulationResult, simulate_scenario

Floats = NDArray[np.float64]

ROOT = Path(__file__).parent.parent
SCENARIO = ROOT / "examples" / "workplace_acn.toml"
PAGE = ROOT / "docs" / "robustness.md"
CONTROLS = ("uncontrolled", "edf", "laxity", "planner")
QUARTER = 3  # steps of 300 s
FORGIVEN_KW = 0.5
BEGIN, END = "<!-- controllers -->", "<!-- end of controllers -->"


@dataclass(frozen=True)
class Row:
    """One control over all courses: means, each with half its 95 % confidence interval.

    short_drivers, short_kwh: when leaving. ev_kwh: net energy into the cars at the chargers. peak_kw: highest step.
    promised_kwh, delivered_kwh: less net import in the event. held: share of its quarter hours at or below the level
    asked, and at or below the level promised. event_short_drivers, event_short_kwh: more than without the event.
    cpu_s: processor time per course, with and without the event together.
    """

    control: str
    replicas: int
    short_drivers: tuple[float, float]
    short_kwh: tuple[float, float]
    ev_kwh: tuple[float, float]
    peak_kw: tuple[float, float]
    promised_kwh: tuple[float, float]
    delivered_kwh: tuple[float, float]
    held_asked: float
    held_promised: float | None
    event_short_drivers: tuple[float, float]
    event_short_kwh: tuple[float, float]
    cpu_s: float


def mean(values: Floats) -> tuple[float, float]:
    """Mean over the courses and half its 95 % confidence interval (Student)."""
    n = values.size
    half = float(stdtrit(n - 1, 0.975)) * float(values.std(ddof=1)) / np.sqrt(n) if n > 1 else float("nan")
    return float(values.mean()), float(half)


def row(control: str, replicas: int) -> Row:
    began = time.process_time()
    result = simulate_scenario(SCENARIO, SimulationOptions(replicas=replicas, control=control))
    cpu_s = (time.process_time() - began) / replicas
    facts, measures = result.facts, result.facts.measures
    (event,) = facts.events
    hours = facts.grid.step_s / 3600.0
    asked, promised = held(result, control)
    # A rule promises nothing by itself: what it is asked for is no promise of its own.
    promised_kwh = event.promised_kw.sum(axis=1) * hours if control == "planner" else np.zeros(replicas)
    return Row(
        control, replicas, mean(measures["short_drivers"]), mean(measures["short_kwh"]),
        mean(measures["ev_import_kwh"] - measures["ev_export_kwh"]), mean(measures["peak_kw"]), mean(promised_kwh),
        mean(event.delivered_kw.sum(axis=1) * hours), asked, promised,
        mean(measures["event_short_drivers"]), mean(measures["event_short_kwh"]), cpu_s,
    )


def held(result: SimulationResult, control: str) -> tuple[float, float | None]:
    """Share of the event's quarter hours at or below the level asked, and below the promised one if there is one."""
    (event,) = result.facts.events
    steps = slice(event.first_step, event.first_step + event.asked_net_kw.size)
    net_kw = quarters(result.outcome.net_kw[:, 0, steps])
    asked_kw = quarters(np.tile(event.asked_net_kw, (net_kw.shape[0], 1)))
    # What was promised is a level: net import without the event less the promised reduction, where there is one.
    level_kw = quarters(np.where(event.promised_kw > 0, event.without_kw - event.promised_kw, np.inf))
    promised = float((net_kw <= level_kw + FORGIVEN_KW).mean()) if control == "planner" else None
    return float((net_kw <= asked_kw + FORGIVEN_KW).mean()), promised


def quarters(by_step: Floats) -> Floats:
    means: Floats = by_step.reshape(by_step.shape[0], -1, QUARTER).mean(axis=2)
    return means


def table(rows: list[Row]) -> str:
    def cell(value: tuple[float, float], digits: int = 0) -> str:
        return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"

    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.0f}%"

    lines = [
        f"{rows[0].replicas} courses; means and 95 % confidence intervals.", "",
        ("| | drivers short | kWh short | kWh into cars | peak kW | promised kWh | delivered kWh | asked level held | "
         "promised level held | short more | kWh short more |"),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.control} | {cell(one.short_drivers, 1)} | {cell(one.short_kwh)} | {cell(one.ev_kwh)} | "
        f"{cell(one.peak_kw)} | {cell(one.promised_kwh, 1) if one.control == 'planner' else '-'} | "
        f"{cell(one.delivered_kwh, 1)} | {share(one.held_asked)} | {share(one.held_promised)} | "
        f"{cell(one.event_short_drivers, 2)} | {cell(one.event_short_kwh, 1)} |"
        for one in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replicas", type=int, default=10, help="courses (default 10)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/robustness.md")
    options = parser.parse_args()
    rows = []
    for control in CONTROLS:
        rows.append(row(control, options.replicas))
        print("RESULT", json.dumps(asdict(rows[-1])), flush=True)
    print(table(rows))
    if options.write:
        text = PAGE.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
