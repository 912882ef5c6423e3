"""One unit of work: repositories over one connection, and the audit entries that commit with them.

`async with store.transaction("planner") as tx:` and then `tx.plans.add(...)`, `tx.desired.put_many(...)`: both of
them with their audit entries, or neither.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aggregator.store import audit
from aggregator.store.connection import Connection
from aggregator.store.records import JsonObject

if TYPE_CHECKING:
    from aggregator.store.repositories import (
        Alerts,
        Clients,
        Desired,
        Idempotency,
        OpenAdrObjects,
        Plans,
        Sessions,
        Signals,
        Stations,
        Targets,
    )


class Transaction:
    """What a caller does between begin and commit. Not to be shared between tasks, nor used after the block.

    actor: who acts: a client id, or a part of the service such as "planner".
    now: domain time at the start of the transaction.
    """

    stations: Stations
    sessions: Sessions
    targets: Targets
    signals: Signals
    openadr: OpenAdrObjects
    plans: Plans
    desired: Desired
    idempotency: Idempotency
    clients: Clients
    alerts: Alerts

    def __init__(self, connection: Connection, actor: str, now: datetime) -> None:
        # The repositories know signals and profiles, whose rooms import the store: loaded at first use, not before.
        from aggregator.store import repositories as rooms  # noqa: PLC0415

        self.connection = connection
        self.actor = actor
        self.now = now
        self._entries: list[audit.Draft] = []
        self.stations = rooms.Stations(self)
        self.sessions = rooms.Sessions(self)
        self.targets = rooms.Targets(self)
        self.signals = rooms.Signals(self)
        self.openadr = rooms.OpenAdrObjects(self)
        self.plans = rooms.Plans(self)
        self.desired = rooms.Desired(self)
        self.idempotency = rooms.Idempotency(self)
        self.clients = rooms.Clients(self)
        self.alerts = rooms.Alerts(self)

    def audit(self, action: str, subject: str, detail: JsonObject | None = None) -> None:
        """Record that `actor` did `action` to `subject`; it commits, or is rolled back, with the change itself.

        The repositories call it for their own writes; callers add what only they know. detail: JSON values and no
        personal data (a driver's token, a departure time beside a name), because the chain is never rewritten.
        """
        self._entries.append(audit.Draft(self.now, datetime.now(UTC), self.actor, action, subject, detail or {}))

    async def write_audit(self) -> None:
        """Append the collected entries to the chain; called by the store just before the commit."""
        await audit.append(self.connection, self._entries)
        self._entries = []
