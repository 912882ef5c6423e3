"""What the service counts, for Prometheus. No label names a charger, a driver or a session: cardinality stays small.

One `Metrics` per service with a registry of its own, so two services in one process do not add up.
"""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

_PLAN = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)


class Metrics:
    """Counters, gauges and histograms of one service. Times in wall seconds, powers in kW."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.ocpp_messages = Counter(
            "v2g_ocpp_messages", "OCPP messages", ["protocol", "action", "direction"], registry=registry
        )
        self.chargers_online = Gauge("v2g_chargers_online", "Connected charging stations", ["protocol"],
                                     registry=registry)
        self.sessions_open = Gauge("v2g_sessions_open", "Charging sessions under way", registry=registry)
        self.plans = Counter("v2g_plans", "Plans made", ["status", "passed"], registry=registry)
        self.plan_rounds = Histogram("v2g_plan_rounds", "Solve-and-replay rounds of a plan", registry=registry,
                                     buckets=(1, 2, 3, 4, 5, 6))
        self.plan_seconds = Histogram("v2g_plan_seconds", "Build, solve and replay", registry=registry, buckets=_PLAN)
        self.breaches = Counter("v2g_breaches", "Breaches that the replay refused", ["kind"], registry=registry)
        self.site_power_kw = Gauge("v2g_site_power_kw", "Net power at the connection point", ["site"],
                                   registry=registry)
        self.alerts_open = Gauge("v2g_alerts_open", "Open alerts", ["severity"], registry=registry)
        self.last_dispatch = Gauge("v2g_last_dispatch_timestamp_seconds",
                                   "Unix time of the last plan sent: a dead man's switch watches it", registry=registry)

    def exposition(self) -> bytes:
        """The text that `/metrics` answers with, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)
