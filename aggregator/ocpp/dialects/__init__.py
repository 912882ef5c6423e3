"""One module per OCPP version: what a station says becomes our events, what we command becomes its messages.

A dialect knows payloads and nothing else: no socket, no order, no store. 2.0.1 and 2.1 share most words (`v2`).
"""

from aggregator.ocpp.dialects.base import BootAnswer, CarNeeds, Dialect, Request, StationListener
from aggregator.ocpp.dialects.v2 import Dialect21, Dialect201
from aggregator.ocpp.dialects.v16 import Dialect16
from aggregator.ocpp.events import OcppVersion

DIALECTS: dict[OcppVersion, Dialect] = {
    OcppVersion.V21: Dialect21(),
    OcppVersion.V201: Dialect201(),
    OcppVersion.V16: Dialect16(),
}
"""In the order in which the gateway prefers them."""

__all__ = [
    "DIALECTS", "BootAnswer", "CarNeeds", "Dialect", "Dialect16", "Dialect21", "Dialect201", "Request",
    "StationListener",
]
