"""OCPP on the wire for 1.6, 2.0.1 and 2.1: frames, schema checks and one end of a connection.

Payloads stay camelCase objects as the specification writes them; who uses them translates at his own edge.
"""

from twin.wire.ocpp.frames import Call, CallError, CallResult, CallResultError, Frame, MalformedFrame, Send
from twin.wire.ocpp.peer import (
    CallFailed,
    CallRefused,
    CallTimeout,
    Handler,
    Mender,
    Peer,
    PeerClosed,
    PeerCounters,
    Transport,
    TransportClosed,
    WebSocketTransport,
)
from twin.wire.ocpp.schemas import VERSIONS, SchemaFault, check, error_code, knows

__all__ = [
    "VERSIONS", "Call", "CallError", "CallFailed", "CallRefused", "CallResult", "CallResultError", "CallTimeout",
    "Frame", "Handler", "MalformedFrame", "Mender", "Peer", "PeerClosed", "PeerCounters", "SchemaFault", "Send",
    "Transport", "TransportClosed", "WebSocketTransport", "check", "error_code", "knows",
]
