"""One repository per noun: they translate records to rows, keep the rules that need the database, and audit.

Reached through a `Transaction` (`tx.sessions`, `tx.desired`, ...). Every write that changes state leaves its audit
entry in the same transaction; measured progress of a session (`sessions.update`) is telemetry and leaves none.
"""

from aggregator.store.repositories.access import Clients, Idempotency
from aggregator.store.repositories.alerts import Alerts
from aggregator.store.repositories.desired import Desired
from aggregator.store.repositories.openadr import OpenAdrObjects
from aggregator.store.repositories.plans import Plans
from aggregator.store.repositories.sessions import Sessions, UnknownSessionError
from aggregator.store.repositories.signals import Signals, UnknownSignalError
from aggregator.store.repositories.stations import Stations
from aggregator.store.repositories.targets import Targets

__all__ = [
    "Alerts",
    "Clients",
    "Desired",
    "Idempotency",
    "OpenAdrObjects",
    "Plans",
    "Sessions",
    "Signals",
    "Stations",
    "Targets",
    "UnknownSessionError",
    "UnknownSignalError",
]
