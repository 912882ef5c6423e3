"""How fast the twin's engine is, and how that compares with the memory it has to move and with other simulators.

    python benchmarks/twin_speed.py --evse 1000 --days 1 --control prop     one case, one line RESULT {json}
    python benchmarks/twin_speed.py                      the table of docs/benchmarks.md, with ACN-Sim and EV2Gym
    python benchmarks/twin_speed.py --without-peers      the same without these

EV-steps are EVSEs x steps of 15 min x replicas, whether or not a car is there. One thread. Sessions: see
`twin_sessions.py`. `events` is uncontrolled; `prop` and `edf` share a cap of 40 % of the ratings of each 100 EVSEs.

What is timed goes from visits and fleet to the outcome: energies of every site and step, of every visit, the ledger,
and, where a case says so, power and battery of every EVSE and step. What follows from the fleet alone (limits of each
kind of EVSE) is looked at in the first of several runs, and the best run counts. Of the peers, which keep power of
every EVSE and step too, the simulation loop alone is timed, and the better of two loops counts. Ratios are given by
the wall and by processor time: the first are hurt by whatever else the machine does meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from twin_sessions import EFFICIENCY, STEPS_PER_DAY, Sessions, draw, draw_day, fleet, read

from twin.controllers import Controller, EarliestDeadline, Proportional, Uncontrolled
from twin.engine import run
from twin.ensemble import Outcome
from twin.faults import FaultModel
from twin.faults import draw as draw_faults

CONTROLLERS = {"events": Uncontrolled, "prop": Proportional, "edf": EarliestDeadline}
LONG_DAYS = 31
"""Longer runs draw their sessions day by day inside the run, and keep site energies and registers only."""

MOST_RECORDED = 10_000
"""EVSE-days up to which a single case keeps power and battery of every EVSE and step."""

STREAMS = 6
"""What an update of a car has to move at least, 8 bytes each: read power, energy and register, write them back."""

FAULTS = FaultModel(down_mtbf_h=24.0 * 0.987 / 0.013, meter_sd=0.01)
"""Chargers that are up 98.7 % of the time, a day to repair, and meters of 1 %."""

PEERS = (
    "acnportal==0.3.3", "setuptools==80.10.2", "ev2gym==2.0.0", "gymnasium==1.4.0", "networkx==3.6.1", "numpy==2.4.6",
    "pandas==2.3.3", "scipy==1.17.1", "pandapower==3.5.6", "multicopula==0.0.2", "numba==0.68.1", "psutil==7.2.2",
)
"""The last four are what ev2gym 2.0.0 imports and does not ask for."""


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class PeerFailed(RuntimeError):
    """A peer could not be installed or run; the message says which and why."""


@dataclass(frozen=True)
class Case:
    """A line of the table. has_record: power and battery of every EVSE and step are kept; None: where there is room."""

    name: str
    evses: int
    days: int
    control: str
    replicas: int = 1
    has_faults: bool = False
    repeats: int = 1
    has_record: bool | None = None
    is_peers: bool = False


CASES = (
    Case("1,000 x 1 d, physics only", 1000, 1, "events", repeats=30, has_record=False, is_peers=True),
    Case("1,000 x 1 d, physics and record of EVSEs", 1000, 1, "events", repeats=30, has_record=True, is_peers=True),
    Case("1,000 x 1 d, full twin, cap prop, faults", 1000, 1, "prop", 1, True, 7, True, True),
    Case("1,000 x 1 d, full twin, cap EDF, faults", 1000, 1, "edf", 1, True, 7, True, True),
    Case("1,000 replicas of 100 x 7 d", 100, 7, "events", 1000, has_record=False),
    Case("10,000 x 1 y, physics only", 10_000, 365, "events", has_record=False),
    Case("10,000 x 1 y, cap prop, faults, meters", 10_000, 365, "prop", 1, True, has_record=False),
)


def measure(
    evses: int, days: int, control: str, *, replicas: int = 1, sessions: Sessions | None = None,
    has_faults: bool = False, repeats: int = 1, has_record: bool | None = None,
) -> dict[str, float]:
    """Seconds of the best of `repeats` runs, from visits and fleet to the outcome."""
    controller: Controller = CONTROLLERS[control]()
    ensemble = fleet(evses, days, replicas, is_capped=control != "events")
    is_long = days > LONG_DAYS
    if has_record is None:
        has_record = evses * days * replicas <= MOST_RECORDED
    kept = [] if is_long else [day.table() for day in ([sessions] if sessions else draw(evses, days, replicas))]
    best, least_cpu, outcome = np.inf, np.inf, None
    for _ in range(repeats):
        began, cpu = time.perf_counter(), time.process_time()
        tables = ((sessions or day).table() for day in ([sessions] if sessions else draw(evses, days, replicas)))
        faults = draw_faults(
            FAULTS, evses=evses, replicas=replicas, seconds=days * 86400.0, seed=1
        ) if has_faults else None
        outcome = run(
            ensemble, tables if is_long else kept, controller, faults=faults,
            record_evses=has_record, record_visits=not is_long,
        )
        best, least_cpu = min(best, time.perf_counter() - began), min(least_cpu, time.process_time() - cpu)
    assert outcome is not None
    return _figures(outcome, best, least_cpu, evses * days * STEPS_PER_DAY * replicas)


def _figures(outcome: Outcome, seconds: float, cpu_s: float, ev_steps: int) -> dict[str, float]:
    return {
        "evse": len(outcome.ensemble.evses), "steps": outcome.ensemble.grid.steps,
        "replicas": outcome.ensemble.replicas, "run_s": round(seconds, 5), "cpu_s": round(cpu_s, 5),
        "ev_steps_per_s": round(ev_steps / seconds),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, 1),
        "energy_kwh": float(outcome.ledger.import_kwh.sum()), "ledger_residual": outcome.ledger.relative_residual,
    }


def memory_bound(cars: int) -> float:
    """Updates of a car per second if only its `STREAMS` had to be moved: a triad of numpy over the same rows."""
    a, b, c = (np.ones(cars) for _ in range(3))
    best, rounds = np.inf, max(2_000_000 // cars, 20)
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(rounds):
            np.multiply(b, 0.25, out=a)
            np.add(a, c, out=a)
        best = min(best, time.perf_counter() - began)
    moved = 5 * 8 * cars * rounds  # the first pass reads one row and writes one, the second reads two and writes one
    return moved / best / (STREAMS * 8)


def peers(evses: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and figures of each peer's own simulation loop on the same day, run in a venv of its own under build/."""
    root = Path(__file__).resolve().parent.parent
    python = root / "build" / "peers" / "bin" / "python"
    if not python.exists():
        beside = Path(sys.executable).with_name("uv")
        uv = str(beside) if beside.exists() else shutil.which("uv")
        if uv is None:
            raise PeerFailed("uv is neither beside this Python nor on the path, expected it to make build/peers")
        for step in (["venv", "-q", "--python", "3.11", str(python.parent.parent)],
                     ["pip", "install", "-q", "--python", str(python), *PEERS]):
            if subprocess.run([uv, *step], check=False).returncode:  # noqa: S603 - fixed arguments
                shutil.rmtree(python.parent.parent, ignore_errors=True)
                raise PeerFailed(f"uv {' '.join(step[:2])} did not succeed (see above)")
    sessions = root / "build" / f"sessions_{evses}.csv"
    write(draw_day(evses, 0), sessions)
    for peer in ("ev2gym", "acnsim"):
        done = subprocess.run(  # noqa: S603 - our own script
            [str(python), str(Path(__file__).with_name("twin_peers.py")), peer, str(evses), str(sessions)],
            capture_output=True, text=True, check=False, env=os.environ | ONE_THREAD,
        )
        line = next((text for text in done.stdout.splitlines() if text.startswith("RESULT ")), None)
        if line is None:
            raise PeerFailed(f"{peer}: {done.stderr.strip().splitlines()[-1:]}")
        yield peer, json.loads(line.removeprefix("RESULT "))


def write(sessions: Sessions, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = zip(sessions.evse, sessions.arrival_step, sessions.departure_step, sessions.soc_arrival, strict=True)
    path.write_text("evse,arrival_step,departure_step,soc_arrival\n" + "".join(
        f"{evse},{arrival},{departure},{float(soc)!r}\n" for evse, arrival, departure, soc in rows
    ))


def table(*, has_peers: bool) -> None:
    """All cases of docs/benchmarks.md in one process."""
    print(f"load average at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'case':<42}{'wall s':>9}{'cpu s':>9}{'M EV-steps/s':>14}{'of memory bound':>17}{'MB':>6}")
    bound = memory_bound(10_000)
    lines = {}
    for case in CASES:
        found = measured(case)
        rate = found["ev_steps_per_s"]
        print(f"{case.name:<42}{found['run_s']:>9.4f}{found['cpu_s']:>9.4f}{rate / 1e6:>14.1f}{rate / bound:>16.1%}"
              f"{found['rss_mb']:>7.0f}", flush=True)
        lines[case.name] = {**found, "of_memory_bound": round(rate / bound, 4)}
    if has_peers:
        compare(lines)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")
    print("RESULT " + json.dumps(lines))


def measured(case: Case) -> dict[str, float]:
    return measure(
        case.evses, case.days, case.control, replicas=case.replicas, has_faults=case.has_faults, repeats=case.repeats,
        has_record=case.has_record,
    )


def compare(lines: dict[str, dict[str, float]]) -> None:
    """Run the peers on the day of 1,000 EVSEs and print how much faster each case of it is.

    Our runs take a tenth of a second where theirs take many, so ours are timed again beside each of theirs: one slow
    moment of a shared machine would else decide the ratio.
    """
    into = lines[CASES[0].name]["energy_kwh"] * EFFICIENCY
    print(f"the twin: {into:,.1f} kWh into batteries, physics only")
    try:
        for peer, theirs in peers(1000):
            print(f"{peer}: {theirs['run_s']:.2f} s ({theirs['cpu_s']:.2f} s of processor), "
                  f"{theirs['energy_kwh']:,.1f} kWh into batteries")
            for case in CASES:
                if case.is_peers:
                    ours, again = lines[case.name], measured(case)
                    ours |= {name: min(ours[name], again[name]) for name in ("run_s", "cpu_s")}
                    by_wall, by_cpu = theirs["run_s"] / ours["run_s"], theirs["cpu_s"] / ours["cpu_s"]
                    print(f"  {case.name:<40}{1e3 * ours['run_s']:>8.1f} ms{by_wall:>8,.0f} x by the wall"
                          f"{by_cpu:>8,.0f} x by processor time")
                    ours |= {f"x_{peer}": round(by_wall, 1), f"x_{peer}_cpu": round(by_cpu, 1)}
    except PeerFailed as failed:
        print(f"no comparison with peers: {failed}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evse", type=int, help="EVSEs of one replica; without it the whole table is run")
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--control", choices=sorted(CONTROLLERS), default="events")
    parser.add_argument("--sessions", type=Path, help="CSV: evse, arrival_step, departure_step, soc_arrival")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--repeats", type=int, default=1, help="the best of so many runs")
    parser.add_argument("--without-peers", action="store_true", help="leave out ACN-Sim and EV2Gym (build/peers)")
    given = parser.parse_args()
    if given.evse is None:
        table(has_peers=not given.without_peers)
        return
    sessions = None if given.sessions is None else read(given.sessions)
    print("RESULT " + json.dumps(measure(
        given.evse, given.days, given.control, replicas=given.replicas, sessions=sessions, has_faults=given.faults,
        repeats=given.repeats,
    )))


if __name__ == "__main__":
    main()
