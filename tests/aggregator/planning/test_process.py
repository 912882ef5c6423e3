"""The planner's own process: warm, killable, never in the way."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from aggregator.planning.gate import PlanRequest
from aggregator.planning.process import PlannerFault, PlannerProcess
from aggregator.planning.site.problem import Problem
from twin.assets import World

pytestmark = pytest.mark.anyio
MakeProblem = Callable[..., Problem]
MakeWorld = Callable[..., World]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, so that the warm child is shared."""
    return "asyncio"


@pytest.fixture(scope="module")
async def planner() -> AsyncIterator[PlannerProcess]:
    process = PlannerProcess(wall_timeout_s=90.0)
    await process.start()
    yield process
    await process.aclose()


def small(make_problem: MakeProblem, make_world: MakeWorld) -> PlanRequest:
    problem = make_problem(3, evs=3, steps=12)
    return PlanRequest(problem, make_world(problem), discharge_allowed_kw={
        ev.evse_id: ev.max_discharge_kw for ev in problem.evs})


def long(make_problem: MakeProblem, make_world: MakeWorld) -> PlanRequest:
    """Takes seconds, so that something can happen to it meanwhile."""
    problem = make_problem(3, evs=300, steps=96)
    return PlanRequest(problem, make_world(problem), time_limit_s=60.0)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_killed_mid_solve_yields_a_safe_plan_and_the_next_call_works(
        planner: PlannerProcess, make_problem: MakeProblem, make_world: MakeWorld) -> None:
    request = long(make_problem, make_world)
    running = asyncio.create_task(planner.plan(request))
    await asyncio.sleep(0.8)
    assert not running.done()
    old = planner.pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    outcome = await running
    assert outcome.plan.status == "safe"
    assert not outcome.passed
    assert "died" in outcome.alerts[0]

    again = await planner.plan(small(make_problem, make_world))
    assert again.plan.status == "optimal"
    assert again.passed
    assert planner.pid not in (None, old)


async def test_a_child_that_takes_too_long_is_killed_for_the_next_call_to_replace(
        planner: PlannerProcess, make_problem: MakeProblem, make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
        ) -> None:
    old = planner.pid
    monkeypatch.setattr(planner, "_wall_timeout_s", 0.5)
    began = time.monotonic()
    outcome = await planner.plan(long(make_problem, make_world))
    assert outcome.plan.status == "safe"
    assert "did not answer" in outcome.alerts[0]
    assert time.monotonic() - began < 30, "the solver itself was given 60 s"
    assert old is not None
    assert not is_alive(old)
    monkeypatch.undo()
    assert (await planner.plan(small(make_problem, make_world))).plan.status == "optimal"


async def test_a_problem_that_cannot_be_meant_is_answered_safely_and_the_child_lives(
        planner: PlannerProcess, make_problem: MakeProblem, make_world: MakeWorld) -> None:
    request = small(make_problem, make_world)
    bad = replace(request.problem.evs[0], charge_efficiency=7.0)
    outcome = await planner.plan(replace(request, problem=replace(
        request.problem, evs=(bad, *request.problem.evs[1:]))))
    assert outcome.plan.status == "safe"
    assert "charge_efficiency: 7.0" in outcome.alerts[0]
    before = planner.pid
    assert (await planner.plan(request)).passed
    assert planner.pid == before


async def test_a_cancelled_request_leaves_no_answer_behind_for_the_next(
        planner: PlannerProcess, make_problem: MakeProblem, make_world: MakeWorld) -> None:
    running = asyncio.create_task(planner.plan(long(make_problem, make_world)))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    request = small(make_problem, make_world)
    assert len((await planner.plan(request)).plan.ev_ids) == len(request.problem.evs)


async def test_after_closing_there_is_no_child_and_no_planning(
        planner: PlannerProcess, make_problem: MakeProblem, make_world: MakeWorld) -> None:
    await planner.plan(small(make_problem, make_world))
    pid = planner.pid
    await planner.aclose()
    assert pid is not None
    assert not is_alive(pid)
    with pytest.raises(PlannerFault):
        await planner.plan(small(make_problem, make_world))


def test_the_child_dies_with_its_parent() -> None:
    """A parent killed without a chance to clean up leaves nothing running."""
    code = ("import asyncio\nfrom aggregator.planning.process import PlannerProcess\n"
            "async def main():\n p = PlannerProcess()\n await p.start()\n print(p.pid, flush=True)\n"
            " await asyncio.sleep(60)\nasyncio.run(main())\n")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 60
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def test_the_service_does_not_load_the_solver_to_talk_to_the_planner() -> None:
    code = "import sys, aggregator.planning.process; print('pyomo' in sys.modules, 'highspy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]
