"""What became of every driver of the day: the scenario's wishes beside what chargers' registers and beliefs say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregator.config import AssetsFile, load_settings
from aggregator.config.meaning import site_defaults, site_model
from aggregator.demo.paired import SimulatedDay
from aggregator.demo.scene import Scene, target_of
from aggregator.demo.stored import Stored
from aggregator.fleet.beliefs import Beliefs
from aggregator.ocpp.events import MeterSample
from aggregator.reports.day import SocTrace, VisitFact
from aggregator.store import MeterSeries, SessionRecord
from markets.rate import load_rate
from twin.assets import Visit

_MATCH = timedelta(minutes=30)


def visit_facts(
    scene: Scene, stored: Stored, paired: SimulatedDay, assets: AssetsFile, folder: Path
) -> tuple[VisitFact, ...]:
    """Every visit of the day, in the order of the scenario."""
    truth = scene.scenario.truth()
    settings = load_settings(folder / "v2g.toml")
    model = site_model(assets, load_rate(settings.tariff), settings)
    change, changed = scene.tables.demo.fleet_change, scene.changed_visit()
    protocols = {station.id: station.protocol for station in scene.scenario.public().stations}
    facts = []
    for visit in truth.visits:
        declared = truth.declared[visit.id]
        sessions = _sessions_of(stored.sessions, visit, declared.id_token)
        moved = visit.id == changed.visit_id
        departure = change.departure.astimezone(UTC) if moved else declared.departure
        possible = truth.possible_kwh(visit)
        if not sessions:
            facts.append(VisitFact(
                visit.evse_id, protocols[visit.evse_id], visit.arrival, departure, visit.departure,
                declared.requested_kwh, possible, 0.0, 0.0, 0.0, paired.delivered_kwh.get(visit.id),
                cause="no charging session was recorded",
            ))
            continue
        beliefs = Beliefs(model.vehicles, site_defaults(assets))
        beliefs.declare(target_of(declared))
        trace = _joined([_retrace(beliefs, session, stored.meters[visit.evse_id]) for session in sessions])
        delivered = trace.delivered_kwh[-1] if trace.delivered_kwh.size else 0.0
        reached = np.flatnonzero(trace.delivered_kwh >= declared.requested_kwh - 0.2)
        vehicle = visit.vehicle
        is_bidirectional = vehicle.max_discharge_kw > 0
        facts.append(VisitFact(
            visit.evse_id, protocols[visit.evse_id], sessions[0].started_at, departure,
            sessions[-1].ended_at or visit.departure, declared.requested_kwh, possible, float(delivered),
            *_moved_kwh(sessions, stored.meters[visit.evse_id]),
            paired.delivered_kwh.get(visit.id),
            datetime.fromtimestamp(float(trace.at_s[reached[0]]), UTC) if reached.size else None,
            is_bidirectional, SocTrace(trace.at_s, trace.soc) if is_bidirectional else None,
            trace.target_soc, declared.floor_soc,
        ))
    return tuple(facts)


@dataclass(frozen=True)
class _Trace:
    at_s: NDArray[np.float64]
    delivered_kwh: NDArray[np.float64]
    soc: NDArray[np.float64]
    target_soc: float | None


def _retrace(beliefs: Beliefs, session: SessionRecord, series: MeterSeries) -> _Trace:
    """What was believed of the car after each stored meter value of its session."""
    beliefs.started(
        session.transaction_id, session.evse_id, session.id_token, session.started_at, session.import_wh_start,
        session.export_wh_start,
    )
    low = session.started_at.timestamp() * 1e6
    high = (session.ended_at or datetime.max.replace(tzinfo=UTC)).timestamp() * 1e6
    at_s, delivered, soc, target = [], [], [], None
    for index in np.flatnonzero((series.ts_us >= low) & (series.ts_us <= high)):
        at = datetime.fromtimestamp(float(series.ts_us[index]) / 1e6, UTC)
        values = (series.power_kw[index], series.import_wh[index], series.export_wh[index], series.soc[index])
        power_kw, import_wh, export_wh, reported = (None if np.isnan(v) else float(v) for v in values)
        beliefs.metered(MeterSample(
            session.evse_id, session.transaction_id, at, power_kw, import_wh, export_wh, reported
        ))
        believed = beliefs.session(session.evse_id, at)
        if believed is not None:
            at_s.append(float(series.ts_us[index]) / 1e6)
            delivered.append(believed.delivered_kwh)
            soc.append(believed.soc)
            target = believed.target_kwh / believed.capacity_kwh
    return _Trace(np.array(at_s), np.array(delivered), np.array(soc), target)


def _joined(traces: Sequence[_Trace]) -> _Trace:
    """One visit's traces as one: a day that was interrupted has two transactions for a car that stayed."""
    if len(traces) == 1:
        return traces[0]
    given, so_far = [], 0.0
    for trace in traces:
        given.append(trace.delivered_kwh + so_far)
        so_far += float(trace.delivered_kwh[-1]) if trace.delivered_kwh.size else 0.0
    return _Trace(
        np.concatenate([t.at_s for t in traces]), np.concatenate(given), np.concatenate([t.soc for t in traces]),
        traces[0].target_soc,
    )


def _moved_kwh(sessions: Sequence[SessionRecord], series: MeterSeries) -> tuple[float, float]:
    """Energy in and out by the registers; of a session that was never closed, as far as its meter values go."""
    in_wh = out_wh = 0.0
    for session in sessions:
        low = session.started_at.timestamp() * 1e6
        high = (session.ended_at or datetime.max.replace(tzinfo=UTC)).timestamp() * 1e6
        inside = (series.ts_us >= low) & (series.ts_us <= high)
        last_in, last_out = (
            register[inside & np.isfinite(register)].max(initial=0.0)
            for register in (series.import_wh, series.export_wh)
        )
        in_wh += max(session.import_wh_start, session.import_wh or 0.0, last_in) - session.import_wh_start
        out_wh += max(session.export_wh_start, session.export_wh or 0.0, last_out) - session.export_wh_start
    return float(in_wh) / 1000.0, float(out_wh) / 1000.0


def _sessions_of(sessions: Sequence[SessionRecord], visit: Visit, id_token: str) -> list[SessionRecord]:
    """The stored sessions of a visit, in order: same EVSE and card, started while the car was there."""
    return sorted(
        (
            s for s in sessions
            if s.evse_id == visit.evse_id and s.id_token == id_token
            and visit.arrival - _MATCH < s.started_at < visit.departure + _MATCH
        ),
        key=lambda s: s.started_at,
    )
