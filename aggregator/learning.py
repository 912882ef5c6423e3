"""What the sessions of past days teach the planner: how many cars come, and when drivers really leave.

Learnt anew when a local day begins, from what was stored before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from aggregator.fleet.departures import DepartureHistory, PastStay
from aggregator.planning.site.arrivals import LearntArrivals, PastVisit
from aggregator.planning.site.situation import SiteModel

if TYPE_CHECKING:
    from aggregator.store import SessionRecord, Store, TargetRecord

_SAID_WITHIN = timedelta(minutes=30)
"""What a driver declares within this time of plugging in counts as said on arrival; later ones know more."""


async def learn(model: SiteModel, store: Store, now: datetime, *, days: int, virtual_evs: bool) -> SiteModel:
    """`model` with what the last `days` days before the local day of `now` teach."""
    since = now - timedelta(days=days)
    async with store.read() as tx:
        sessions, targets = await tx.sessions.all(since), await tx.targets.all(since - timedelta(days=1))
    return taught(model, sessions, targets, now, virtual_evs=virtual_evs)


def taught(
    model: SiteModel, sessions: Sequence[SessionRecord], targets: Sequence[TargetRecord], now: datetime, *,
    virtual_evs: bool,
) -> SiteModel:
    """`model` with what these sessions teach; where they are too few, what is configured stays."""
    zone = ZoneInfo(model.site.timezone)
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    departures = DepartureHistory.learnt(
        past_stays(sessions, targets), before=today, timezone=model.site.timezone, prior=model.departures.prior)
    if not virtual_evs:
        return replace(model, departures=departures)
    arrivals = LearntArrivals.learnt(
        past_visits(sessions), before=today, power_kw=_one_car_kw(model), timezone=model.site.timezone)
    return replace(model, departures=departures, arrivals=arrivals or model.arrivals)


def past_visits(sessions: Iterable[SessionRecord]) -> list[PastVisit]:
    """Of sessions that are over and drew something."""
    return [
        PastVisit(session.started_at, session.ended_at, kwh) for session in sessions
        if session.ended_at is not None and session.ended_at > session.started_at and (kwh := _drawn_kwh(session)) > 0.0
    ]


def past_stays(sessions: Iterable[SessionRecord], targets: Iterable[TargetRecord]) -> list[PastStay]:
    """Of sessions that are over and whose driver had declared a departure when they began."""
    said: dict[str, list[tuple[datetime, datetime]]] = {}
    for target in targets:
        if target.declared_at is not None:
            said.setdefault(target.id_token, []).append((target.declared_at, target.departure))
    found = []
    for session in sessions:
        begin = session.started_at
        declared = [
            (at, departure) for at, departure in said.get(session.id_token, ())
            if at <= begin + _SAID_WITHIN and departure > begin
        ]
        if session.ended_at is not None and session.ended_at > begin and declared:
            found.append(PastStay(session.id_token, begin, max(declared)[1], session.ended_at))
    return found


def next_day(model: SiteModel, now: datetime) -> datetime:
    """When the site's next local day begins."""
    local = now.astimezone(ZoneInfo(model.site.timezone))
    return (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(now.tzinfo)


def _drawn_kwh(session: SessionRecord) -> float:
    return 0.0 if session.import_wh is None else (session.import_wh - session.import_wh_start) / 1000.0


def _one_car_kw(model: SiteModel) -> float:
    if model.arrivals is not None:
        return model.arrivals.power_kw
    return float(np.median([evse.max_charge_kw for evse in model.evses.values()]))
