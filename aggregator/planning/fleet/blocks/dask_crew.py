"""Blocks of a fleet on a Dask cluster, where one machine is not enough.

Every worker process gets a copy of the `service` when it joins (a worker plugin), so that one which is lost is replaced
by one that can go on at once, and the service may keep a warm start between two tasks. Dask gives the tasks of a lost
worker to the others by itself.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from time import monotonic
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from aggregator.planning.fleet.blocks.crew import LIVES, CrewFault

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_JOIN_S: Final = 30.0
"""How long a cluster may take until its first worker is there."""

_LOOK_AROUND_S: Final = 1.0
"""How often is looked for lost workers while no answer comes."""

_LOOKS: Final = 2
"""How often in a row a task is seen without a worker until it is handed out again, and so much more often after each
time: a busy machine is late to say who has it."""

_KEPT: Final = {"distributed.deploy.lost-worker-timeout": "1 day"}
"""Else a cluster of our own gives up, after 15 s, a worker that died twice or that takes long to come back."""

_FETCH_S, _LEAST_S = 3.0, 0.1
"""How long an answer may take from its worker to here."""


class NoDask(RuntimeError):
    """The extra `dask` is not installed, or its cluster cannot be reached; the message is one line."""


class DaskCrew(Generic[Task, Answer]):
    """An executor on the workers of a Dask cluster; a context manager that takes the service away from them again.

    A worker process has one service and works on one task at a time, however many threads it has: start one process
    per core. A task goes to the worker that had it before while that is there and free.

    Args:
        service: picklable; what it imports must be installed on the workers.
        address: of a scheduler, or None for a cluster of `workers` processes on this machine that ends with the crew.
        reach_s: seconds that a scheduler may take to answer.

    Raises:
        NoDask: see there.
    """

    def __init__(self, service: Callable[[Task], Answer], address: str | None = None, workers: int = 2, *,
                 reach_s: float = 10.0) -> None:
        self._dask = _distributed()
        self._stack = contextlib.ExitStack()
        self._name = f"v2g-service-{uuid.uuid4().hex}"
        with self._stack:
            self._client = self._connected(address, workers, reach_s)
            body = pickle.dumps(service, protocol=pickle.HIGHEST_PROTOCOL)
            try:
                self._client.register_plugin(_plugin(self._dask, body), name=self._name)
            except Exception as fault:  # whatever a foreign machine says to our code
                raise NoDask(f"the workers of the Dask cluster cannot run this program: {fault}") from fault
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @property
    def workers(self) -> int:
        """Worker processes of the cluster now, at least 1."""
        return max(1, len(self._addresses()))

    def map(self, tasks: Sequence[Task], deadline: float) -> Iterator[tuple[int, Answer]]:
        """Number and answer of each task as they come in; ends early at `deadline`, or when the caller stops.

        A task in hand at the deadline is not waited for: it ends with its own time limit, on its worker.

        Raises:
            CrewFault: a task ended more workers than Dask allows, or all of them three times. Otherwise what the
                service raised on a task.
        """
        answered: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        left: dict[int, Any] = {}
        places, losses, looked = self._hand_out(tasks, range(len(tasks)), left, answered), 0, monotonic()
        idle: Counter[int] = Counter()
        forgotten: Counter[int] = Counter()
        try:
            while left and (patience := deadline - monotonic()) > 0:
                if monotonic() - looked >= _LOOK_AROUND_S and (now := self._addresses()):
                    looked = monotonic()
                    if places.isdisjoint(now):
                        # What Dask keeps for workers that are all gone it does not give to others that come.
                        losses += 1
                        if losses >= LIVES:
                            raise CrewFault(f"all workers of the Dask cluster were lost {LIVES} times")
                        places, idle = self._hand_out(tasks, list(left), left, answered), Counter()
                    idle = Counter({number: idle[number] + 1 for number in self._idle(left)})
                    # Between the death of a worker and the start of the next Dask can lose sight of a task.
                    again = sorted(k for k, looks in idle.items() if looks >= _LOOKS * (1 + forgotten[k]))
                    forgotten.update(again)
                    for number in again:
                        if forgotten[number] >= LIVES:
                            raise CrewFault(f"the workers of task {number} were lost {LIVES} times")
                        del idle[number]
                    if again:
                        places |= self._hand_out(tasks, again, left, answered)
                try:
                    number, future = answered.get(timeout=min(_LOOK_AROUND_S, patience))
                except queue.Empty:
                    continue
                if number not in left or left[number] is not future:
                    continue  # handed out again since
                try:
                    content = self._content(future, deadline)
                except TimeoutError:  # its worker was lost with the answer; Dask works on it again
                    future.add_done_callback(partial(_tell, answered, number))
                    continue
                del left[number]
                if isinstance(content, _Raised):
                    raise content.fault
                yield number, content
        finally:
            with contextlib.suppress(Exception):  # a cluster that is gone has nothing left to cancel
                self._client.cancel(list(left.values()))

    def close(self) -> None:
        """Take the service from the workers; end those that were started here."""
        self._stack.close()

    def _connected(self, address: str | None, workers: int, reach_s: float) -> Any:
        try:
            if address is None:
                # No port that another cluster may have; workers are fresh interpreters, never forks.
                self._stack.enter_context(import_module("dask.config").set(_KEPT))
                cluster = self._stack.enter_context(self._dask.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"))
                address = cluster.scheduler_address
            client = self._stack.enter_context(self._dask.Client(address, timeout=reach_s, set_as_default=False))
            client.wait_for_workers(1, timeout=_JOIN_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise NoDask(f"no Dask cluster at {address}: {error}") from None
        self._stack.callback(self._forget)
        return client

    def _forget(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has forgotten
            self._client.unregister_worker_plugin(self._name)

    def _addresses(self) -> list[str]:
        return sorted(self._client.scheduler_info(n_workers=-1)["workers"])

    def _hand_out(self, tasks: Sequence[Task], numbers: Sequence[int], left: dict[int, Any],
                  answered: queue.SimpleQueue[tuple[int, Any]]) -> set[str]:
        """Submit some tasks; the addresses of the workers they are meant for. `answered` is told of each when done."""
        places = self._addresses()
        for number in numbers:
            future = self._client.submit(
                _serve, self._name, tasks[number], key=f"{self._name}-{uuid.uuid4().hex}", pure=False,
                workers=[places[number * len(places) // len(tasks)]] if places else None,
                allow_other_workers=bool(places))
            left[number] = future
            future.add_done_callback(partial(_tell, answered, number))
        return set(places)

    def _idle(self, left: dict[int, Any]) -> set[int]:
        """Tasks that are neither done nor with any worker, as the scheduler sees it."""
        held = {key for keys in self._client.processing().values() for key in keys}
        return {number for number, future in left.items() if not future.done() and future.key not in held}

    def _content(self, future: Any, deadline: float) -> Any:
        try:
            return future.result(timeout=max(_LEAST_S, min(_FETCH_S, deadline - monotonic())))
        except self._dask.KilledWorker as fault:
            raise CrewFault(f"a task has ended every worker it was given to ({fault})") from None
        except (self._dask.CancelledError, self._dask.client.FutureCancelledError) as fault:
            raise CrewFault(f"the Dask cluster has lost a task ({fault})") from None


def _tell(answered: queue.SimpleQueue[tuple[int, Any]], number: int, future: Any) -> None:
    answered.put((number, future))


@dataclass(frozen=True)
class _Raised:
    """What a service raised; as an answer, so that no worker logs what the caller is to say."""

    fault: Exception


class _Service:
    """What the plugin keeps in a worker process."""

    def __init__(self, body: bytes) -> None:
        self.call = pickle.loads(body)  # noqa: S301 - our own client's, through the cluster that runs its code anyway
        self.turn = threading.Lock()


def _plugin(dask: Any, body: bytes) -> Any:
    """A worker plugin that holds the service: unpickled where it arrives, once per process."""

    class ServicePlugin(dask.WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask names it
            self.service = _Service(body)

    return ServicePlugin()


def _serve(name: str, task: Any) -> Any:
    """Run on a worker: answer a task with the service that the plugin brought."""
    service: _Service = _distributed().get_worker().plugins[name].service
    with service.turn:
        try:
            return service.call(task)
        except Exception as fault:  # noqa: BLE001 - the caller decides
            return _Raised(fault)


def _distributed() -> Any:
    try:
        # By name: mypy and the import of this module must not need the extra.
        return import_module("distributed")
    except ImportError:
        raise NoDask("dask.distributed is not installed: pip install 'v2g-aggregator[dask]'") from None
