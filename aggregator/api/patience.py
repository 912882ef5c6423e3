"""Connections that never finish their request are closed: uvicorn itself waits for them for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADER_WAIT_S = 10.0
"""Wall seconds for the head of a request, from its first byte or from the connection on."""
MAX_HEADER_BYTES = 64 * 1024


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # uvicorn chooses it by what is installed
    """uvicorn's protocol with an end to waiting for request heads, by time and by size."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_bytes = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._wait()

    def data_received(self, data: bytes) -> None:
        if not self._is_answering():
            self._head_bytes += len(data)
            self._wait()
        super().data_received(data)
        if self._is_answering():
            self._head_bytes = 0
            self._stop_waiting()
        elif self._head_bytes > MAX_HEADER_BYTES:
            self._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(HEADER_WAIT_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        if not self._is_answering():
            self.transport.close()
