"""How fast 100 EVs at one site are planned, beside FlexMeasures' device scheduler, array and Pyomo backend.

    python benchmarks/flexmeasures_speed.py [--evs 100] [--turns 5] [--seed 0]

One linear problem for all three: 96 steps, windows, targets that can be reached, floors, efficiencies, 60 % of the EVs
bidirectional, a building with PV, buying dearer than selling, a demand charge, import and export caps. Wear, events,
feeders, reserve and targets out of reach, which FlexMeasures' scheduler has no words for or other ones, are left out.

FlexMeasures lives in an environment of its own under build/, made by this file with uv from PyPI. Its process waits
while ours runs and the other way round; all three are run in every turn, so that what else the machine does hits them
alike, and one turn before the first does not count. Ours is everything from the problem to the judged plan
(`solve_whole`: build, transfer, solve, repair, prices, checker), theirs the call of `device_scheduler` alone.
Objectives have to agree to 1e-4.

Goals: at least 5 times as fast as its highspy backend, 20 times as its Pyomo backend.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from planner_instances import instance

from aggregator.planning.fleet.checker import violations
from aggregator.planning.fleet.files.problem_file import write_problem
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.monolith import solve_whole

PEER = ("flexmeasures==1.0.1", "highspy==1.15.1")
BACKENDS = {"highspy": ("its highspy backend", 5.0), "appsi_highs": ("its Pyomo backend", 20.0)}
HOME = Path(__file__).resolve().parent.parent / "build" / "flexmeasures"
READY = ".ready"


class PeerFailed(RuntimeError):
    """FlexMeasures could not be installed or run; the message is one line."""


def common_core(evs: int, seed: int) -> Problem:
    """One site, no wear, no events; every target is within reach of its own charger."""
    problem = instance(evs, seed, evs_per_site=evs, feeders=False, event=False)
    table, hours = problem.evs, problem.step_h
    stay_h = hours * (table.depart - table.arrive)
    most = table.energy_kwh + 0.9 * table.charge_efficiency * table.max_charge_kw * stay_h
    floor = np.minimum(table.floor_kwh, table.energy_kwh)
    target = np.maximum(floor, np.minimum(table.target_kwh, most))
    return replace(problem, evs=replace(table, target_kwh=target, floor_kwh=floor, wear_per_kwh=np.zeros(evs)))


def peer_python() -> Path:
    """The interpreter of an environment with FlexMeasures, which is made if it is not there."""
    python = HOME / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (HOME / READY).exists():
        beside = Path(sys.executable).with_name("uv")
        uv = str(beside) if beside.exists() else shutil.which("uv")
        if uv is None:
            raise PeerFailed("uv is neither beside this Python nor on the path, expected it to make build/flexmeasures")
        shutil.rmtree(HOME, ignore_errors=True)
        for step in (["venv", "-q", "--python", "3.11", str(HOME)],
                     ["pip", "install", "-q", "--python", str(python), *PEER]):
            done = subprocess.run([uv, *step], capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
            if done.returncode:
                shutil.rmtree(HOME, ignore_errors=True)
                raise PeerFailed(f"uv {step[0]}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
        (HOME / READY).touch()
    return python


class Peer:
    """FlexMeasures in a process of its own that runs when it is asked to."""

    def __init__(self, problem: Path) -> None:
        script = Path(__file__).with_name("flexmeasures_peer.py")
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [str(peer_python()), str(script), str(problem)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL)
        self._answer("ready")

    def run(self, backend: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{backend}\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._answer("RESULT ").removeprefix("RESULT "))
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self, beginning: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(beginning):
                return line
        raise PeerFailed(f"FlexMeasures ended with {self._process.wait()}")


def ours(problem: Problem) -> dict[str, Any]:
    wall, cpu = perf_counter(), process_time()
    plan = solve_whole(problem, time_limit_s=600.0)
    found = {"cost": plan.objective, "wall_s": perf_counter() - wall, "cpu_s": process_time() - cpu,
             "status": plan.status}
    assert not violations(problem, plan.schedule)
    assert plan.outcome.shortfall_kwh.max() < 1e-6, "the common core has no missed targets"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evs", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    problem = common_core(given.evs, given.seed)
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *BACKENDS)}
    with tempfile.TemporaryDirectory() as room:
        write_problem(problem, path := Path(room) / "problem.npz")
        try:
            peer = Peer(path)
        except PeerFailed as refusal:
            print(f"not compared with FlexMeasures: {refusal}")
            return
        try:
            for turn in range(given.turns + 1):
                found = {"ours": ours(problem), **{name: peer.run(name) for name in BACKENDS}}
                costs = [one["cost"] for one in found.values()]
                assert max(costs) - min(costs) <= 1e-4 * abs(costs[0]), found
                for name, one in found.items():
                    if turn:
                        seconds[name].append(one["cpu_s"])
        except PeerFailed as refusal:
            print(f"not compared with FlexMeasures: {refusal}")
            return
        finally:
            peer.close()
    spread = (max(costs) - min(costs)) / abs(costs[0])
    print(f"{given.evs} EVs, {problem.steps} steps, {given.turns} turns; cost {costs[0]:.4f}, all within {spread:.1e}; "
          f"seconds of the processor; load {os.getloadavg()[0]:.1f}")
    print(f"ours                  {median(seconds['ours']):7.3f} s")
    for name, (words, goal) in BACKENDS.items():
        ratios = [theirs / own for theirs, own in zip(seconds[name], seconds["ours"], strict=True)]
        print(f"{words:21} {median(seconds[name]):7.3f} s   {median(ratios):5.1f} times ours "
              f"(from {min(ratios):.1f} to {max(ratios):.1f}; goal {goal:g})")
    print("RESULT " + json.dumps({"evs": given.evs, **{f"{name}_s": median(taken) for name, taken in seconds.items()}}))


if __name__ == "__main__":
    main()
