"""The planner in a process of its own, kept warm: a solver never blocks a socket, and one that hangs is replaced.

The child is a fresh interpreter, never a fork, and talks in length-prefixed pickles over its pipes. It dies with its
parent: the end of its input ends it, mid-solve too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import queue
import signal
import struct
import sys
import threading
from typing import Any, BinaryIO

from aggregator.planning.gate import GateOutcome, PlanRequest, plan_through_gate, require_match, safe_outcome

_LENGTH = struct.Struct("!Q")
_GRACE_S = 5.0


class PlannerFault(RuntimeError):
    """The child process could not be started or is closed; the message says what it said."""


class PlannerProcess:
    """Plans requests one at a time in a child process.

    wall_timeout_s: a request that takes longer is answered with the safe plan and its child is killed. A child that is
        still starting is left to: it serves a later request. start_timeout_s: one that takes longer to start is
        replaced, too.
    """

    def __init__(self, wall_timeout_s: float = 30.0, *, start_timeout_s: float = 120.0) -> None:
        self._wall_timeout_s, self._start_timeout_s = wall_timeout_s, start_timeout_s
        self._child: asyncio.subprocess.Process | None = None
        self._coming: asyncio.Task[asyncio.subprocess.Process] | None = None
        self._turn = asyncio.Lock()
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Of the running child."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    async def start(self) -> None:
        """Start the child and wait until it has solved its self-test.

        Raises:
            PlannerFault: it ended or stayed silent.
        """
        async with self._turn:
            await self._ensure()

    async def plan(self, request: PlanRequest) -> GateOutcome:
        """The outcome of the gate; the safe plan, marked and with an alert, if the child dies, hangs or fails.

        Raises:
            RequestMismatch: problem and world do not fit each other.
            PlannerFault: the planner is closed.
        """
        require_match(request)
        async with self._turn:
            if self._is_closed:
                raise PlannerFault("the planner is closed")
            is_asked = False
            try:
                async with asyncio.timeout(self._wall_timeout_s):
                    child = await self._ensure()
                    is_asked = True
                    await _send(child, request)
                    answer = await _receive(child)
            except TimeoutError:
                if not is_asked:
                    return safe_outcome(request, "the planner process is still starting")
                await self._replace()
                return safe_outcome(request, f"the planner did not answer in {self._wall_timeout_s:g} s; replaced")
            except (asyncio.IncompleteReadError, ConnectionError, PlannerFault) as fault:
                await self._replace()
                return safe_outcome(request, f"the planner process died ({type(fault).__name__}); replaced")
            except asyncio.CancelledError:
                if is_asked:
                    await self._kill()  # its answer would be read as that of the next request
                raise
        if isinstance(answer, GateOutcome):
            return answer
        return safe_outcome(request, f"the planner failed: {answer}")

    async def aclose(self) -> None:
        """End the child; later requests raise a `PlannerFault`."""
        self._is_closed = True
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait({self._coming})
        child = self._child
        if child is not None and child.returncode is None and child.stdin is not None:
            child.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), _GRACE_S)
        await self._kill()

    async def _ensure(self) -> asyncio.subprocess.Process:
        if self.pid is not None and self._child is not None and self._coming is None:
            return self._child
        coming = self._coming or self._start_soon()
        await asyncio.wait({coming})  # whoever gives up waiting leaves the start going on
        self._coming = None
        return coming.result()

    async def _replace(self) -> None:
        """Kill the child and begin the next one at once: the next request should find it warm."""
        await self._kill()
        if self._coming is None and not self._is_closed:
            self._start_soon()

    def _start_soon(self) -> asyncio.Task[asyncio.subprocess.Process]:
        self._coming = asyncio.create_task(self._begin(), name="planner-start")
        self._coming.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may come to ask
        return self._coming

    async def _begin(self) -> asyncio.subprocess.Process:
        await self._kill()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aggregator.planning.process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        self._child = child
        try:
            ready = await asyncio.wait_for(_receive(child), self._start_timeout_s)
        except (asyncio.IncompleteReadError, TimeoutError) as fault:
            raise PlannerFault("the planner process did not start") from fault
        if ready != "ready":
            raise PlannerFault(f"the planner process failed its self-test: {ready}")
        return child

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            # Not child.kill(), which may reap a child that has just died: asyncio then misses its end and says so.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        child._transport.close()  # type: ignore[attr-defined] # noqa: SLF001 - asyncio offers no public way to close the pipes


async def _send(child: asyncio.subprocess.Process, request: PlanRequest) -> None:
    if child.stdin is None:
        raise PlannerFault("the planner has no input")
    body = pickle.dumps(request)
    child.stdin.write(_LENGTH.pack(len(body)) + body)
    await child.stdin.drain()


async def _receive(child: asyncio.subprocess.Process) -> Any:
    if child.stdout is None:
        raise PlannerFault("the planner has no output")
    (length,) = _LENGTH.unpack(await child.stdout.readexactly(_LENGTH.size))
    return pickle.loads(await child.stdout.readexactly(length))  # noqa: S301 - our own child's pipe


def main() -> None:
    """Serve requests from the standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end ends us
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a solver prints must not reach the parent as an answer
    threading.Thread(target=_read, args=(source, requests), daemon=True).start()
    _write(sink, _self_test())
    # A Pyomo model is a hundred thousand small objects in cycles: collecting them in the middle of the next build
    # doubles its time, so it is done while nobody waits.
    gc.disable()
    while True:
        gc.collect()
        request: PlanRequest = pickle.loads(requests.get())  # noqa: S301 - our own parent's pipe
        try:
            answer: object = plan_through_gate(request)
        except Exception as fault:  # noqa: BLE001 - the parent decides; the child must outlive any request
            answer = f"{type(fault).__name__}: {fault}"
        _write(sink, answer)


def _read(source: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on; the end of the input is the parent's end, and ours at once."""
    while True:
        head = source.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            os._exit(0)
        body = source.read(_LENGTH.unpack(head)[0])
        requests.put(body)


def _write(sink: BinaryIO, answer: object) -> None:
    body = pickle.dumps(answer)
    try:
        sink.write(_LENGTH.pack(len(body)) + body)
        sink.flush()
    except BrokenPipeError:
        os._exit(0)


def _self_test() -> str:
    """Import all there is to import and solve a tiny problem, so that the first real one is not the slow one."""
    from datetime import UTC, datetime  # noqa: PLC0415 - only here

    import numpy as np  # noqa: PLC0415

    from aggregator.planning.site.problem import EvDemand, Problem  # noqa: PLC0415
    from aggregator.planning.site.solve import solve  # noqa: PLC0415
    from twin.assets import TimeGrid  # noqa: PLC0415

    steps = 4
    car = EvDemand("self-test", "self-test", 0, steps, 10.0, 40.0, 15.0, 5.0, 11.0, 11.0, 0.95, 0.95, 0.01)
    grid = TimeGrid(datetime(2020, 1, 1, tzinfo=UTC), 900, steps)
    flat = np.ones(steps)
    plan = solve(Problem(grid, (car,), flat, 50 * flat, 50 * flat, 0.1 * flat, 0.05 * flat, 0.0, 1.0))
    return "ready" if plan.status == "optimal" else f"self-test ended {plan.status}"


if __name__ == "__main__":
    main()
