"""Worker processes that outlive the tasks they are given, and whose loss costs no more than the task they had in hand.

Every worker is a fresh interpreter, never a fork, that holds one pickled `service` and answers tasks with it over its
own pipes. One thread of the parent reads each worker, so that neither side ever waits for the other to read: a worker
that writes a long answer or a log line cannot hold up the parent that is writing it a task. A task goes to the worker
that had it before, because a service may keep a warm start for it; who has nothing left to do takes from the others.

    parent ──task──> stdin │ worker │ stdout ──answer──> reader thread ──> queue ──> parent
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, BinaryIO, Generic, Protocol, Self, TypeVar

_log = logging.getLogger(__name__)

Task = TypeVar("Task")
Answer = TypeVar("Answer")
TaskIn = TypeVar("TaskIn", contravariant=True)  # noqa: PLC0105 - a protocol asks for the variance, not for the name
AnswerOut = TypeVar("AnswerOut", covariant=True)  # noqa: PLC0105 - same

_LENGTH = struct.Struct("!Q")
_IN_HAND = 2
"""Tasks a worker has been sent and not answered: one it works on and one that waits in its pipe."""

LIVES = 3
"""Workers that a task may be lost with before it counts as the cause."""

_PATIENCE_S = 15.0
_PATIENCE = 10.0
"""After how long a worker that does not answer counts as hung: this long, and so many times the longest task so far."""

_LOOK_S = 1.0


class CrewFault(RuntimeError):
    """A task has ended every worker that it was given to, or its answer cannot be sent."""


class Executor(Protocol[TaskIn, AnswerOut]):
    """Works on numbered tasks, in any order and anywhere."""

    @property
    def workers(self) -> int:
        """How many tasks are worked on at once."""
        ...

    def map(self, tasks: Sequence[TaskIn], deadline: float) -> Iterator[tuple[int, AnswerOut]]:
        """Number and answer of each task as they come in, until all are answered or `monotonic()` is `deadline`."""
        ...


class Alone(Generic[Task, Answer]):
    """An executor that is no other process: for small problems and for a look with a debugger."""

    workers = 1

    def __init__(self, service: Callable[[Task], Answer]) -> None:
        self._service = service

    def map(self, tasks: Sequence[Task], deadline: float) -> Iterator[tuple[int, Answer]]:
        """The answers in the order of the tasks; a task that has begun is finished."""
        for number, task in enumerate(tasks):
            if monotonic() >= deadline:
                return
            yield number, self._service(task)


@dataclass(eq=False)
class _Worker:
    """One process.

    held: numbers of the tasks it has been sent and not answered, oldest first. since: when it began with the oldest.
    """

    process: subprocess.Popen[bytes]
    reader: threading.Thread | None = None
    queued: deque[int] = field(default_factory=deque)
    held: deque[int] = field(default_factory=deque)
    since: float = 0.0
    has_answered: bool = False


class Crew(Generic[Task, Answer]):
    """An executor of `workers` processes, each with a copy of `service`; a context manager that ends them.

    A worker that dies, or is silent for much longer than any task has taken, is replaced and its tasks are given out
    again; a task that was only slow gets twice the time then. A task that says how long it may take (`expected_s`) is
    given that, too. Workers that are busy at a deadline are killed, and
    replaced when the next tasks come.

    Attributes:
        replaced: workers that died by themselves, or hung, so far.
    """

    def __init__(self, service: Callable[[Task], Answer], workers: int) -> None:
        self.workers = workers
        self.replaced = 0
        self._longest = 0.0
        self._service = pickle.dumps(service, protocol=pickle.HIGHEST_PROTOCOL)
        self._answers: queue.SimpleQueue[tuple[_Worker, bytes | None]] = queue.SimpleQueue()
        self._crew: list[_Worker | None] = [None] * workers
        for place in range(workers):
            self._crew[place] = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the workers that have been started."""
        return tuple(worker.process.pid for worker in self._crew if worker is not None)

    def map(self, tasks: Sequence[Task], deadline: float) -> Iterator[tuple[int, Answer]]:
        """Number and answer of each task as they come in; ends early at `deadline`, or when the caller stops.

        Raises:
            CrewFault: a task ended three workers. Otherwise what the service raised on a task.
        """
        lost, slow = [0] * len(tasks), [0] * len(tasks)
        left = len(tasks)
        crew = [self._ready(place) for place in range(self.workers)]
        for number in range(len(tasks)):
            crew[number * self.workers // len(tasks)].queued.append(number)
        try:
            for place in range(self.workers):
                self._feed(place, tasks, lost)
            while left:
                self._replace_the_hung(tasks, lost, slow)
                answer = self._next(min(deadline, monotonic() + _LOOK_S))
                if answer is None:
                    if monotonic() >= deadline:
                        return
                    continue
                worker, body = answer
                if worker not in self._crew:
                    continue  # killed since, or lost already
                place = self._crew.index(worker)
                if body is None:
                    self._lose(place, lost)
                    self._feed(place, tasks, lost)
                    continue
                number = worker.held.popleft()
                left -= 1
                now = monotonic()
                if worker.has_answered:  # the first task waits for its interpreter
                    self._longest = max(self._longest, now - worker.since)
                worker.has_answered, worker.since = True, now
                self._feed(place, tasks, lost)
                content = pickle.loads(body)  # noqa: S301 - our own child's pipe
                if isinstance(content, _Failure):
                    raise content.fault
                yield number, content
        finally:
            self._stop_the_busy()

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        for place in range(self.workers):
            self._kill(place)

    def _next(self, deadline: float) -> tuple[_Worker, bytes | None] | None:
        try:
            return self._answers.get(timeout=max(0.0, deadline - monotonic()))
        except queue.Empty:
            return None

    def _ready(self, place: int) -> _Worker:
        """The worker of a place that has nothing in hand, another one if it is gone."""
        worker = self._crew[place]
        if worker is None or worker.process.poll() is not None:
            self._kill(place)
            worker = self._crew[place] = self._start()
        return worker

    def _feed(self, place: int, tasks: Sequence[Task], lost: list[int]) -> None:
        """Keep a worker's pipe filled, from its own queue or from the end of the longest other."""
        while True:
            worker = self._crew[place]
            if worker is None or worker.process.poll() is not None:
                # Seen dead before its reader has said so: answers that still wait in the queue will be nobody's.
                self._lose(place, lost)
                continue
            if len(worker.held) >= _IN_HAND:
                return
            source = worker.queued
            if not source:
                if worker.held:
                    return  # who still has work leaves the others theirs
                source = max((other.queued for other in self._crew if other is not None), key=len)
                if not source:
                    return
            number = source.popleft() if source is worker.queued else source.pop()
            if not worker.held:
                worker.since = monotonic()
            worker.held.append(number)
            try:
                _put(worker.process, pickle.dumps(tasks[number], protocol=pickle.HIGHEST_PROTOCOL))
            except OSError:  # it died before it could read
                self._lose(place, lost)

    def _replace_the_hung(self, tasks: Sequence[Task], lost: list[int], slow: list[int]) -> None:
        patience = max(_PATIENCE_S, _PATIENCE * self._longest)
        for place, worker in enumerate(self._crew):
            if worker is None or not worker.held:
                continue
            number = worker.held[0]
            expected = getattr(tasks[number], "expected_s", 0.0)
            if monotonic() - worker.since > expected + patience * 2.0 ** slow[number]:
                slow[number] += 1
                lost[number] -= 1  # it may only be slow, so that it is no cause of a death
                self._lose(place, lost)
                self._feed(place, tasks, lost)

    def _lose(self, place: int, lost: list[int]) -> None:
        """Replace a worker that died or hangs; what it held goes back to the front of its place's queue."""
        worker = self._crew[place]
        if worker is None:
            self._crew[place] = self._start()
            return
        # The oldest task is the one it was working on; the next had only been sent.
        for number in list(worker.held)[:1]:
            lost[number] += 1
            if lost[number] >= LIVES:
                raise CrewFault(f"task {number} has ended {LIVES} workers")
        self._kill(place)
        _log.warning("planner worker %d ended (%s); replaced", worker.process.pid, worker.process.returncode)
        self.replaced += 1
        heir = self._start()
        heir.queued.extend([*worker.held, *worker.queued])
        self._crew[place] = heir

    def _stop_the_busy(self) -> None:
        for place, worker in enumerate(self._crew):
            if worker is None:
                continue
            worker.queued.clear()
            if worker.held:
                self._kill(place)

    def _start(self) -> _Worker:
        # Not `-m`: what is pickled there must come from this module, not from one called __main__.
        entry = f"from {__name__} import main; main()"
        process = subprocess.Popen(  # noqa: S603 - this interpreter, on our own module
            [sys.executable, "-c", entry], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        worker = _Worker(process)
        # A worker reads its service before it does anything else: this cannot wait for an answer of its.
        with contextlib.suppress(OSError):
            _put(process, self._service)
        worker.reader = threading.Thread(target=self._read, args=(worker,), daemon=True)
        worker.reader.start()
        return worker

    def _read(self, worker: _Worker) -> None:
        source = worker.process.stdout
        if source is None:
            raise CrewFault("a worker has no output")
        with source:
            while (body := _get(source)) is not None:
                self._answers.put((worker, body))
        self._answers.put((worker, None))

    def _kill(self, place: int) -> None:
        worker, self._crew[place] = self._crew[place], None
        if worker is None:
            return
        worker.process.kill()
        worker.process.wait()
        if worker.reader is not None:
            worker.reader.join()
        if worker.process.stdin is not None:
            with contextlib.suppress(OSError):
                worker.process.stdin.close()


@dataclass(frozen=True)
class _Failure:
    """What a service raised."""

    fault: Exception


def _put(process: subprocess.Popen[bytes], body: bytes) -> None:
    if process.stdin is None:
        raise CrewFault("a worker has no input")
    process.stdin.write(_LENGTH.pack(len(body)) + body)
    process.stdin.flush()


def _get(source: BinaryIO | Any) -> bytes | None:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length = _LENGTH.unpack(head)[0]
    body: bytes = source.read(length)
    return body if len(body) == length else None


def main() -> None:
    """Serve tasks from the standard input until it ends; its end ends this process, in the middle of a task too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end ends us
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a solver prints must not reach the parent as an answer
    bodies: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while (body := _get(source)) is not None:
            bodies.put(body)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    service = pickle.loads(bodies.get())  # noqa: S301 - our own parent's pipe
    while True:
        task = pickle.loads(bodies.get())  # noqa: S301 - same
        try:
            answer: object = service(task)
        except Exception as fault:  # noqa: BLE001 - the parent decides; a worker outlives its tasks
            answer = _Failure(fault)
        body = _packed(answer)
        try:
            sink.write(_LENGTH.pack(len(body)) + body)
            sink.flush()
        except BrokenPipeError:
            os._exit(0)



def _packed(answer: object) -> bytes:
    try:
        return pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as fault:
        what = answer.fault if isinstance(answer, _Failure) else answer
        told = CrewFault(f"{type(what).__name__} cannot be sent to the parent ({fault}): {what}")
        return pickle.dumps(_Failure(told), protocol=pickle.HIGHEST_PROTOCOL)
