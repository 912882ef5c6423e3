"""What the running service tells of itself: messages counted into the store, gauges and plans for Prometheus."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from aggregator.config import AssetsFile
from aggregator.fleet.desk import FleetDesk
from aggregator.live import LivePicture
from aggregator.loop import Loop
from aggregator.ocpp.gateway import Gateway
from aggregator.operations.metrics import Metrics
from aggregator.planning.gate import GateOutcome
from aggregator.store import MessageKey, Store
from aggregator.store.telemetry import TelemetryRefusedError

log = structlog.get_logger(__name__)

_COUNT_EVERY_S = 1.0


@dataclass
class Counting:
    """Counts and gauges, once a second.

    told, stored: what of the gateway's messages Prometheus and the store have already.
    """

    store: Store
    assets: AssetsFile
    gateway: Gateway
    fleet: FleetDesk
    loop: Loop
    picture: LivePicture
    metrics: Metrics
    told: Counter[MessageKey] = field(default_factory=Counter)
    stored: Counter[MessageKey] = field(default_factory=Counter)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_EVERY_S)
            try:
                await self.count()
                async with self.store.read() as tx:
                    self.picture.alerts = tuple(await tx.alerts.open())
                self.gauge()
            except (SQLAlchemyError, TelemetryRefusedError):  # a full disk: readiness says so, counting can wait
                log.exception("messages could not be counted, trying again", every_s=_COUNT_EVERY_S)

    async def count(self) -> None:
        """Move the gateway's message counts into the metrics and the store; what that refuses is tried again next time.

        Raises:
            TelemetryRefusedError: the database did not take them.
        """
        counters = self.gateway.counters
        fresh: Counter[MessageKey] = Counter()
        for direction, counted in (("in", counters.messages_in), ("out", counters.messages_out)):
            for (version, action), count in counted.items():
                fresh[MessageKey(version, action, direction)] = count
        for (protocol, action, direction), count in (fresh - self.told).items():
            self.metrics.ocpp_messages.labels(protocol, action, direction).inc(count)
        self.told = fresh
        if news := fresh - self.stored:
            # Taken as stored before it is: who is cancelled while waiting has handed it over all the same.
            before, self.stored = self.stored, fresh
            try:
                await self.store.telemetry.count_messages(news)
            except (SQLAlchemyError, TelemetryRefusedError):
                self.stored = before
                raise

    def gauge(self) -> None:
        """The state of this moment, for Prometheus."""
        sections = self.assets.evse_sections
        for version in {section.version for section in sections}:
            online = sum(s.version is version and self.gateway.is_online(s.id) for s in sections)
            self.metrics.chargers_online.labels(version.value).set(online)
        self.metrics.sessions_open.set(len(self.fleet.beliefs.evse_ids()))
        if self.loop.power.import_kw is not None:
            self.metrics.site_power_kw.labels(self.loop.model.site.id).set(self.loop.power.import_kw)
        for severity in ("info", "warning", "critical"):
            count = sum(alert.severity == severity for alert in self.picture.alerts)
            self.metrics.alerts_open.labels(severity).set(count)


def count_plan(metrics: Metrics, outcome: GateOutcome) -> None:
    """A plan was adopted and sent: its verdict, rounds, seconds and what the twin refused on the way."""
    metrics.plans.labels(outcome.plan.status, str(outcome.passed).lower()).inc()
    metrics.plan_rounds.observe(len(outcome.rounds))
    metrics.plan_seconds.observe(sum(outcome.seconds().values()))
    metrics.last_dispatch.set_to_current_time()
    for each in outcome.rounds:
        for refusal in each.refusals:
            metrics.breaches.labels(refusal.kind).inc()
