"""Tasks of a real Dask cluster on this machine: answered once, by whichever workers are left."""

import gc
import math
import operator
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from aggregator.planning.fleet import Problem
from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import CrewFault
from aggregator.planning.fleet.blocks.dask_crew import DaskCrew, NoDask
from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.blocks.tasks import blocks_of
from aggregator.planning.fleet.checker import violations

pytestmark = pytest.mark.timeout(300)  # clusters wait for a processor on a busy machine
pytest.importorskip("distributed", reason="the extra dask is not installed")
SOON = 100.0
Make = Callable[..., Problem]


class Pool:
    """A service that does as it is told; one cluster serves all tests of this file."""

    def __call__(self, task: tuple[Callable[..., object], object]) -> object:
        work, given = task
        return work(given)


@pytest.fixture(scope="module")
def crew() -> Iterator[DaskCrew[tuple[Callable[..., object], object], object]]:
    with DaskCrew(Pool(), workers=2) as found:
        yield found
    gc.collect()  # tasks whose fault nobody fetched are told when they are collected: here, not within another test


Working = DaskCrew[tuple[Callable[..., object], object], object]


def pids(crew: DaskCrew[Any, Any], count: int) -> list[int]:
    """Of so many workers, once that many answer; one that a test has killed may still be listed."""
    until = monotonic() + SOON
    while monotonic() < until:
        found = [pid for pid in crew._client.run(os.getpid, on_error="return").values() if isinstance(pid, int)]
        if len(found) == count:
            return found
        time.sleep(0.2)
    raise AssertionError(f"there are not {count} workers")


def test_every_task_is_answered_once_under_its_number(crew: Working) -> None:
    tasks = [(operator.neg, k) for k in range(50)]
    assert crew.workers == 2
    assert sorted(crew.map(tasks, monotonic() + SOON)) == [(k, -k) for k in range(50)]


def test_what_a_service_raises_reaches_the_caller_as_it_was(crew: Working) -> None:
    with pytest.raises(ValueError, match=r"math domain|nonnegative"):
        list(crew.map([(math.sqrt, 1.0), (math.sqrt, -1.0)], monotonic() + SOON))


def test_at_the_deadline_the_answers_so_far_are_kept_and_the_crew_goes_on(crew: Working) -> None:
    for patience_s in (1.0, 5.0, 25.0):  # on a busy machine even the short one may take that long
        began = monotonic()
        found = dict(crew.map([(operator.neg, 1), (time.sleep, 2.5 * patience_s)], began + patience_s))
        took_s = monotonic() - began
        if found and took_s < 2.4 * patience_s:
            break
    assert found == {0: -1}
    assert took_s < 2.4 * patience_s
    assert dict(crew.map([(operator.neg, 1), (operator.neg, 2)], monotonic() + SOON)) == {0: -1, 1: -2}


def test_a_killed_worker_costs_no_task(crew: Working) -> None:
    victim = pids(crew, 2)[0]
    done: dict[int, object] = {}
    for number, answer in crew.map([(operator.neg, k) for k in range(200)], monotonic() + SOON):
        done[number] = answer
        if len(done) == 5:
            os.kill(victim, signal.SIGKILL)
    assert done == {k: -k for k in range(200)}


def test_when_all_workers_are_lost_those_that_take_their_place_go_on(crew: Working) -> None:
    victims = pids(crew, 2)
    done: dict[int, object] = {}
    for number, answer in crew.map([(operator.neg, k) for k in range(200)], monotonic() + SOON):
        done[number] = answer
        if len(done) == 5:
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
    assert done == {k: -k for k in range(200)}


def test_a_task_that_ends_every_worker_is_said_to(crew: Working) -> None:
    pids(crew, 2)
    with pytest.raises(CrewFault, match=r"has ended every worker|were lost 3 times"):
        list(crew.map([(os._exit, 7)], monotonic() + SOON))


def test_a_fleet_planned_on_a_cluster_that_loses_a_worker_is_planned_as_by_processes_of_its_own(
    make_fleet: Make,
) -> None:
    problem = make_fleet(3, evs=40, sites=8, steps=12)
    expected = decompose(problem, gap=1e-6)
    with DaskCrew(BlockService(problem, blocks_of(problem)), workers=2) as crew:
        victims = pids(crew, 2)

        def lose(number: int, _bound: float, _cost: float) -> None:
            if number == 1:
                os.kill(victims[0], signal.SIGKILL)

        found = decompose(problem, gap=1e-6, executor=crew, progress=lose)
    assert len(found.passes) > 1
    assert found.plan.objective == pytest.approx(expected.plan.objective, rel=2e-6)
    assert found.plan.status == expected.plan.status == "optimal"
    assert not violations(problem, found.plan.schedule)


def test_no_cluster_at_an_address_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NoDask, match=f"no Dask cluster at tcp://127.0.0.1:{port}") as refused:
        DaskCrew(operator.neg, address=f"tcp://127.0.0.1:{port}", reach_s=0.5)
    assert "\n" not in str(refused.value)
