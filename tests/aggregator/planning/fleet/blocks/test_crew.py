"""Workers that die, hang or chatter cost no more than the task they had in hand."""

import math
import operator
import os
import signal
import time
from time import monotonic

import pytest

from aggregator.planning.fleet.blocks import crew as crew_module
from aggregator.planning.fleet.blocks.crew import Alone, Crew, CrewFault

SOON = 60.0


def test_every_task_is_answered_once_under_its_number() -> None:
    with Crew(operator.neg, 2) as crew:
        assert dict(crew.map(list(range(50)), monotonic() + SOON)) == {k: -k for k in range(50)}


def test_a_crew_and_nobody_but_oneself_answer_the_same() -> None:
    tasks = [4.0, 9.0, 16.0]
    with Crew(math.sqrt, 1) as crew:
        assert sorted(crew.map(tasks, monotonic() + SOON)) == sorted(Alone(math.sqrt).map(tasks, monotonic() + SOON))


def test_a_killed_worker_is_replaced_and_no_task_is_lost() -> None:
    with Crew(operator.neg, 2) as crew:
        done = {}
        for number, answer in crew.map(list(range(200)), monotonic() + SOON):
            done[number] = answer
            if len(done) == 5:
                os.kill(crew.pids[0], signal.SIGKILL)
        assert done == {k: -k for k in range(200)}
        # Killed with tasks in hand it is replaced in the middle, killed with none before the next tasks.
        assert dict(crew.map([1, 2], monotonic() + SOON)) == {0: -1, 1: -2}


def test_a_worker_found_dead_while_its_answers_still_wait_gives_its_tasks_back() -> None:
    """Its death is seen before its last answers have been taken: when it is to be given the next task."""
    with Crew(operator.neg, 1) as crew:
        done = {}
        for number, answer in crew.map(list(range(8)), monotonic() + SOON):
            done[number] = answer
            if number == 0:
                time.sleep(0.3)  # what it has in hand is answered meanwhile
                os.kill(crew.pids[0], signal.SIGKILL)
                time.sleep(0.2)
        assert done == {k: -k for k in range(8)}
        assert crew.replaced == 1


def test_a_worker_that_dies_of_a_task_is_replaced_until_the_task_is_the_cause() -> None:
    with Crew(os._exit, 1) as crew:
        with pytest.raises(CrewFault, match="task 0 has ended 3 workers"):
            list(crew.map([7], monotonic() + SOON))
        assert crew.replaced == 2


def test_a_worker_that_hangs_is_killed_at_the_deadline_and_the_next_tasks_find_another() -> None:
    with Crew(time.sleep, 2) as crew:
        hung = crew.pids
        assert list(crew.map([600.0, 600.0], monotonic() + 1.0)) == []
        assert dict(crew.map([0.0, 0.0], monotonic() + SOON)) == {0: None, 1: None}
        assert not set(hung) & set(crew.pids)


def test_a_service_that_prints_more_than_a_pipe_holds_neither_blocks_nor_spoils_an_answer(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Crew(print, 1) as crew:
        assert dict(crew.map(["x" * 300_000] * 3, monotonic() + SOON)) == {0: None, 1: None, 2: None}
    assert capfd.readouterr().err.count("x") >= 600_000


def test_what_a_service_raises_reaches_the_caller_as_it_was() -> None:
    with Crew(math.sqrt, 2) as crew, pytest.raises(ValueError, match=r"math domain|nonnegative"):
        list(crew.map([1.0, -1.0, 4.0], monotonic() + SOON))


def test_an_answer_that_cannot_be_sent_is_said_so() -> None:
    with Crew(memoryview, 1) as crew, pytest.raises(CrewFault, match="cannot be sent"):
        list(crew.map([b"ab"], monotonic() + SOON))


def test_a_worker_that_hangs_is_replaced_and_its_task_done_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_PATIENCE_S", 2.0)
    monkeypatch.setattr(crew_module, "_PATIENCE", 1.0)  # of the longest task so far, in which an interpreter started
    with Crew(operator.neg, 2) as crew:
        # Both have answered, so none is still starting when one is stopped.
        assert len(dict(crew.map(list(range(20)), monotonic() + SOON))) == 20
        stopped = crew.pids[0]
        os.kill(stopped, signal.SIGSTOP)
        assert dict(crew.map(list(range(20)), monotonic() + SOON)) == {k: -k for k in range(20)}
        assert crew.replaced >= 1
        assert stopped not in crew.pids
        with pytest.raises(ProcessLookupError):
            os.kill(stopped, 0)


def test_a_task_that_is_only_slow_gets_more_time_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(crew_module, "_LOOK_S", 0.1)
    with Crew(time.sleep, 1) as crew:
        assert list(crew.map([2.0], monotonic() + SOON)) == [(0, None)]
        assert crew.replaced >= 1


def test_closing_a_crew_leaves_no_process_behind() -> None:
    crew = Crew(time.sleep, 2)
    pids = crew.pids
    crew.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
