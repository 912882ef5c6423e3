"""What the gateway has seen since it started, for metrics and reports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from twin.wire.ocpp import PeerCounters


@dataclass(slots=True)
class GatewayCounters:
    """Every number only grows.

    messages_in, messages_out: requests by (version, action). deliveries: outcomes of commands by state.
    faults: by kind: unauthorized, unknown_path, no_subprotocol, replaced, fenced, boot_unknown, unknown_evse,
    meter_of_unknown_evse, repeated_event, started_without_register, version_unexpected, event_lost.
    wire: frames, malformed frames, schema faults and late answers of all connections together.
    """

    messages_in: Counter[tuple[str, str]] = field(default_factory=Counter)
    messages_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    deliveries: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    wire: PeerCounters = field(default_factory=PeerCounters)
