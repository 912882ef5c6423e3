"""Taking in what stations say, whatever their version: a table from actions to answers, and the answers all share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aggregator.ocpp.dialects.base import StationListener
from aggregator.ocpp.readings import write_time
from twin.wire.ocpp import CallRefused

Payload = dict[str, Any]
Answer = Callable[[StationListener, Payload], Awaitable[Payload]]


class Answering:
    """The half of a dialect that listens.

    answers: by action, beside Heartbeat and DataTransfer. acknowledged: notifications without an answer's content; who
    wants to act on them reads the message log.
    """

    def __init__(self, answers: Mapping[str, Answer], acknowledged: frozenset[str]) -> None:
        self._answers: dict[str, Answer] = {
            "Heartbeat": self._heartbeat, "DataTransfer": self._data_transfer, **answers}
        self._acknowledged = acknowledged

    async def answer(self, listener: StationListener, action: str, payload: Payload) -> Payload:
        """See `Dialect`."""
        if action in self._acknowledged:
            return {}
        reply = self._answers.get(action)
        if reply is None:
            raise CallRefused("NotSupported", f"{action} is not handled here")
        return await reply(listener, payload)

    async def _heartbeat(self, listener: StationListener, _payload: Payload) -> Payload:
        return {"currentTime": write_time(listener.now())}

    async def _data_transfer(self, _listener: StationListener, _payload: Payload) -> Payload:
        return {"status": "UnknownVendorId"}
