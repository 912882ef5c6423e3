"""The processes of the demo: the service as anybody would run it, and the emulated stations beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from aggregator.refusal import Refused

_STOP_WAIT_S = 8.0
_LINE_LIMIT = 1 << 22


def free_port(host: str, wanted: int) -> int:
    """`wanted` if nobody listens on it, a free port if it is 0.

    Raises:
        Refused: the port is occupied.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError:
            raise Refused(f"port {wanted} on {host} is occupied; choose another one (0 picks a free one)") from None
        return int(probe.getsockname()[1])


class Process:
    """A child whose output goes to a log file, except for the JSON lines on stdout if they are asked for."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_path: Path) -> None:
        self.name, self._process, self.log_path = name, process, log_path

    @classmethod
    async def start(
        cls, name: str, arguments: list[str], log_path: Path, *,
        environment: Mapping[str, str] | None = None, has_lines: bool = False, nice: int = 0,
        interpreter: Path | None = None,
    ) -> Process:
        """interpreter: the Python that runs it; the demo's own if None."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable if interpreter is None else str(interpreter), *arguments,
                # Never written to: its end tells the child that the demo is gone, however it went.
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if has_lines else log, stderr=log, limit=_LINE_LIMIT,
                env={**os.environ, **(environment or {})},
                # Ctrl-C is for the demo, which then stops its children in order.
                start_new_session=True,
            )
        if nice:
            os.setpriority(os.PRIO_PROCESS, process.pid, nice)
        return cls(name, process, log_path)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """The JSON lines of stdout until it closes."""
        if self._process.stdout is None:
            return
        while line := await self._process.stdout.readline():
            yield msgspec.json.decode(line)

    async def wait(self) -> int:
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_WAIT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    def last_words(self, count: int = 5) -> str:
        """The end of its log, for the one message that says why it failed."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-count:])
        return ""
