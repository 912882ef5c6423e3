"""How fast the twin's engine is, and how that compares with the memory it has to move and with other simulators.

    python benchmarks/twin_speed.py --evse 1000 --days 1 --control prop     one case, one line RESULT {json}
    python benchmarks/twin_speed.py                                         the table of docs/benchmarks.md
    python benchmarks/twin_speed.py --peers                                 the same with ACN-Sim and EV2Gym

EV-steps are EVSEs x steps of 15 min x replicas, whether or not a car is there. One thread. Sessions: see
`twin_sessions.py`. `events` is uncontrolled; `prop` and `edf` share a cap of 40 % of the ratings of each 100 EVSEs.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from twin_sessions import STEPS_PER_DAY, Sessions, draw, draw_day, fleet, read

from twin.controllers import Controller, EarliestDeadline, Proportional, Uncontrolled
from twin.engine import run
from twin.ensemble import Outcome
from twin.faults import FaultModel
from twin.faults import draw as draw_faults

CONTROLLERS = {"events": Uncontrolled, "prop": Proportional, "edf": EarliestDeadline}
LONG_DAYS = 31
"""Longer runs draw their sessions day by day inside the run, and keep site energies and registers only."""

STREAMS = 6
"""What an update of a car has to move at least, 8 bytes each: read power, energy and register, write them back."""

FAULTS = FaultModel(down_mtbf_h=24.0 * 0.987 / 0.013, meter_sd=0.01)
"""Chargers that are up 98.7 % of the time, a day to repair, and meters of 1 %."""

PEERS = (
    "acnportal==0.3.3", "setuptools<81", "ev2gym==2.0.0", "pandapower", "multicopula", "numba", "psutil",
)
"""The last four are what ev2gym 2.0.0 imports and does not ask for."""


def measure(
    evses: int, days: int, control: str, *, replicas: int = 1, sessions: Sessions | None = None,
    has_faults: bool = False, repeats: int = 1,
) -> dict[str, float]:
    """Seconds of the best of `repeats` runs, from visits and fleet to the outcome."""
    controller: Controller = CONTROLLERS[control]()
    ensemble = fleet(evses, days, replicas, is_capped=control != "events")
    is_long = days > LONG_DAYS
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
            record_evses=evses * days * replicas <= 10_000, record_visits=not is_long,
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


def peers_seconds(evses: int) -> dict[str, float]:
    """Seconds of each peer's own simulation loop on the same day, run in a venv of its own under build/."""
    root = Path(__file__).resolve().parent.parent
    python = root / "build" / "peers" / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv")
        if uv is None:
            raise SystemExit("--peers: uv is not on the path, expected it to make build/peers")
        for step in (["venv", "--python", "3.11", str(python.parent.parent)],
                     ["pip", "install", "--python", str(python), *PEERS]):
            subprocess.run([uv, *step], check=True)  # noqa: S603 - fixed arguments
    sessions = root / "build" / f"sessions_{evses}.csv"
    write(draw_day(evses, 0), sessions)
    found = {}
    for peer in ("ev2gym", "acnsim"):
        done = subprocess.run(  # noqa: S603 - our own script
            [str(python), str(Path(__file__).with_name("twin_peers.py")), peer, str(evses), str(sessions)],
            capture_output=True, text=True, check=False,
        )
        line = next((text for text in done.stdout.splitlines() if text.startswith("RESULT ")), None)
        if line is None:
            print(f"{peer}: did not run: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            continue
        found[peer] = float(json.loads(line.removeprefix("RESULT "))["run_s"])
    return found


def write(sessions: Sessions, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = zip(sessions.evse, sessions.arrival_step, sessions.departure_step, sessions.soc_arrival, strict=True)
    path.write_text("evse,arrival_step,departure_step,soc_arrival\n" + "".join(
        f"{evse},{arrival},{departure},{float(soc)!r}\n" for evse, arrival, departure, soc in rows
    ))


def table(*, has_peers: bool) -> None:
    """All cases of docs/benchmarks.md in one process."""
    print(f"{'case':<44}{'seconds':>10}{'M EV-steps/s':>14}{'of memory bound':>17}{'MB':>7}")
    bound = memory_bound(10_000)
    cases = {
        "1,000 x 1 d, physics only": (1000, 1, "events", 1, False, 7),
        "1,000 x 1 d, full twin (cap prop, faults)": (1000, 1, "prop", 1, True, 7),
        "1,000 x 1 d, full twin (cap EDF, faults)": (1000, 1, "edf", 1, True, 7),
        "1,000 replicas of 100 x 7 d": (100, 7, "events", 1000, False, 1),
        "10,000 x 1 y, physics only": (10_000, 365, "events", 1, False, 1),
        "10,000 x 1 y, cap prop, faults, meters": (10_000, 365, "prop", 1, True, 1),
    }
    lines = {}
    for name, (evses, days, control, replicas, has_faults, repeats) in cases.items():
        found = measure(evses, days, control, replicas=replicas, has_faults=has_faults, repeats=repeats)
        rate = found["ev_steps_per_s"]
        print(f"{name:<44}{found['run_s']:>10.4f}{rate / 1e6:>14.1f}{rate / bound:>16.1%}{found['rss_mb']:>8.0f}")
        lines[name] = {**found, "of_memory_bound": round(rate / bound, 4)}
    for peer, seconds in (peers_seconds(1000) if has_peers else {}).items():
        for name in list(cases)[:3]:
            print(f"{name}: {seconds / lines[name]['run_s']:,.0f} x {peer} ({seconds:.2f} s)")
            lines[name][f"x_{peer}"] = round(seconds / lines[name]["run_s"], 1)
    print("RESULT " + json.dumps(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evse", type=int, help="EVSEs of one replica; without it the whole table is run")
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--control", choices=sorted(CONTROLLERS), default="events")
    parser.add_argument("--sessions", type=Path, help="CSV: evse, arrival_step, departure_step, soc_arrival")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--repeats", type=int, default=1, help="the best of so many runs")
    parser.add_argument("--peers", action="store_true", help="also run ACN-Sim and EV2Gym, from a venv under build/")
    given = parser.parse_args()
    if given.evse is None:
        table(has_peers=given.peers)
        return
    sessions = None if given.sessions is None else read(given.sessions)
    print("RESULT " + json.dumps(measure(
        given.evse, given.days, given.control, replicas=given.replicas, sessions=sessions, has_faults=given.faults,
        repeats=given.repeats,
    )))


if __name__ == "__main__":
    main()
