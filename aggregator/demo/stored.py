"""What one run of the demo left in the service's store, read back for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aggregator.config import load_clock, load_settings
from aggregator.demo.scene import Scene
from aggregator.reports.day import MessageCount
from aggregator.signals.model import Decision, GridSignal
from aggregator.store import MeterSeries, PlanRecord, SessionRecord, SiteSeries, Store
from aggregator.store import tables as store_tables

_DAY_MARGIN = timedelta(hours=2)


@dataclass(frozen=True)
class Stored:
    """What one run left in the store."""

    sessions: Sequence[SessionRecord]
    plans: Sequence[PlanRecord]
    site: SiteSeries
    meters: Mapping[str, MeterSeries]
    signals: Sequence[tuple[GridSignal, str, Decision | None]]
    messages: tuple[MessageCount, ...]
    limit_stamps: Mapping[str, Mapping[str, Any]]


async def read_store(folder: Path, scene: Scene) -> Stored:
    """Everything the report needs, from the database of the run in `folder`."""
    settings = load_settings(folder / "v2g.toml")
    public = scene.scenario.public()
    start, end = public.start - _DAY_MARGIN, public.end + _DAY_MARGIN
    async with await Store.open(settings.store_url, clock=load_clock(folder / "clock.json")) as store:
        async with store.read() as tx:
            sessions = await tx.sessions.all()
            plans = await tx.plans.list(limit=10_000)
            signals = [
                (signal, (await tx.signals.state(signal.id) or "received"), await tx.signals.decision(signal.id))
                for signal in await tx.signals.all()
            ]
            audit = store_tables.audit
            rows = await tx.connection.execute(
                sa.select(audit.c.subject, audit.c.detail).where(audit.c.action == "limit.applied")
            )
            stamps = {
                row.subject: row.detail if isinstance(row.detail, dict) else json.loads(row.detail) for row in rows
            }
        counts = await store.telemetry.message_counts()
        return Stored(
            sessions, sorted(plans, key=lambda plan: plan.created_at),
            await store.telemetry.site_series(public.site.id, start, end),
            {s.evse.id: await store.telemetry.meter_series(s.evse.id, start, end) for s in public.stations},
            [(signal, str(state), decision) for signal, state, decision in signals],
            tuple(
                MessageCount(key.protocol, "in" if key.direction == "in" else "out", key.action, count)
                for key, count in counts.items()
            ),
            stamps,
        )
