"""The tables of a run, as Parquet and as CSV: visits, connection points by step, chargers by step, the feeder.

Both files of a table hold the same rows. Numbers are rounded to 1e-6 (a millijoule is not a result), so that the CSV
of one seed is the same to the byte wherever it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from aggregator.reports.simulation import CAUSES, Band, SimulationFacts, SiteFact
from aggregator.reports.simulation.feeder import FeederFact
from aggregator.studies.feeder_tables import (
    carried_columns,
    inverter_columns,
    line_columns,
    point_columns,
    step_columns,
)
from twin.assets import TimeGrid
from twin.ensemble import Outcome

_DIGITS = 6
_FINER = {"wear_calendar": 12, "wear_cycle": 12, "wear_from_event": 12}
"""Digits of columns in which a millionth counts: a stay takes some ten-thousandths of a life."""
_TIME = pa.timestamp("ms", tz="UTC")


def write_tables(facts: SimulationFacts, outcome: Outcome, folder: Path) -> tuple[str, ...]:
    """Write every table of the run into `folder` and name the files."""
    tables = {"visits": visits_table(facts), "site": site_table(facts)}
    if outcome.evse_kwh is not None and outcome.battery_kwh is not None:
        tables["evses"] = evses_table(outcome)
    if facts.feeder is not None:
        tables |= feeder_tables(facts.feeder, facts.grid)
    names: list[str] = []
    for name, table in tables.items():
        # pyarrow's own annotations do not cover its compiled modules.
        pyarrow.parquet.write_table(  # type: ignore[no-untyped-call]
            table, folder / f"{name}.parquet", compression="zstd"
        )
        pyarrow.csv.write_csv(_as_text(table), folder / f"{name}.csv")  # type: ignore[attr-defined]
        names += [f"{name}.parquet", f"{name}.csv"]
    return tuple(names)


def visits_table(facts: SimulationFacts) -> pa.Table:
    """One row per visit and replica, by replica and arrival. Energies in kWh; `*_kwh` of the car are battery side.

    A car that is still plugged in at the end has no departure; departure_kwh and shortfall_kwh are those of the end.

    Where wear was judged, `wear_*` are shares of a battery's life, and throughput_kwh what went through the battery.
    """
    visits = facts.visits
    start = facts.grid.start
    worn: dict[str, Any] = {}
    if (wear := visits.wear) is not None:
        worn = {"throughput_kwh": wear.throughput_kwh, "wear_calendar": wear.calendar, "wear_cycle": wear.cycle,
                "wear_from_event": wear.event_calendar + wear.event_cycle}
    return _table({
        "replica": visits.replica,
        "visit": list(visits.label),
        "evse": list(visits.evse_id),
        "vehicle": list(visits.vehicle),
        "arrival": _instants(start, visits.arrival_s),
        "departure": _instants(start, np.where(visits.has_left, visits.departure_s, np.nan)),
        "declared_departure": _instants(start, visits.declared_s),
        "arrival_kwh": visits.arrival_kwh,
        "target_kwh": visits.target_kwh,
        "departure_kwh": visits.energy_kwh,
        "imported_kwh": visits.imported_kwh,
        "exported_kwh": visits.exported_kwh,
        "lost_kwh": visits.lost_kwh,
        "shortfall_kwh": visits.shortfall_kwh,
        "shortfall_from_event_kwh": visits.event_kwh,
        "full_power_kwh": visits.full_power_kwh,
        "cause": [CAUSES[index].value for index in visits.cause.tolist()],
        "has_left": visits.has_left,
        **worn,
    })


def site_table(facts: SimulationFacts) -> pa.Table:
    """One row per connection point and step: mean power in kW, import positive, over replicas and of replica 0.

    Several connection points are followed by all of them together: percentiles of a sum are no sum of percentiles.
    """
    points = facts.sites if len(facts.sites) == 1 else (*facts.sites, facts.whole)
    columns: dict[str, list[Any]] = {}
    starts = _step_starts(facts.grid)
    for site in points:
        for name, values in _site_columns(site).items():
            columns.setdefault(name, []).append(values)
    return _table({
        "site": _each([site.id for site in points], facts.grid.steps), "start": np.tile(starts, len(points)),
        **{name: np.concatenate(values) for name, values in columns.items()},
    })


def _site_columns(site: SiteFact) -> dict[str, Any]:
    def spread(name: str, band: Band) -> dict[str, Any]:
        return {f"{name}_kw_p10": band.p10, f"{name}_kw_p50": band.p50, f"{name}_kw_p90": band.p90,
                f"{name}_kw_mean": band.mean, f"{name}_kw_replica0": band.first}

    return {
        "base_kw": site.base_kw, "import_cap_kw": site.cap_kw, "export_cap_kw": site.export_cap_kw,
        **spread("net", site.net), **spread("ev", site.ev),
        **spread("charge", site.charge), **spread("discharge", site.discharge),
    }


def evses_table(outcome: Outcome) -> pa.Table:
    """One row per charger and step of replica 0: mean power in kW and battery energy at the step's end.

    battery_kwh is empty where no car stands there at the step's end.

    Raises:
        ValueError: the run did not record its chargers.
    """
    if outcome.evse_kwh is None or outcome.battery_kwh is None:
        raise ValueError("outcome.evse_kwh: None, expected a run that recorded its chargers")
    ensemble = outcome.ensemble
    grid = ensemble.grid
    return _table({
        "evse": _each([evse.id for evse in ensemble.evses], grid.steps),
        "start": np.tile(_step_starts(grid), len(ensemble.evses)),
        "power_kw": (outcome.evse_kwh[0] / grid.step_hours).ravel(),
        "battery_kwh": outcome.battery_kwh[0].ravel(),
    })


def feeder_tables(feeder: FeederFact, grid: TimeGrid) -> dict[str, pa.Table]:
    """What the run did to the feeder: by connection point, line, transformer and step; and what inverters withheld."""
    tables = {
        "feeder_points": _table(point_columns(feeder)), "feeder_lines": _table(line_columns(feeder)),
        "feeder_steps": _table({"start": _step_starts(grid), **step_columns(feeder)}),
    }
    if feeder.carried.ids:
        tables["feeder_transformers"] = _table(carried_columns(feeder))
    if feeder.inverters is not None:
        tables["feeder_inverters"] = _table(inverter_columns(feeder.inverters))
    return tables


def _each(names: list[str], times: int) -> pa.Array:
    """Every name `times` times in a row."""
    return pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), times)))


def _step_starts(grid: TimeGrid) -> Any:
    return _instants(grid.start, np.arange(grid.steps) * float(grid.step_s))


def _instants(start: datetime, seconds: Any) -> Any:
    """UTC instants to the millisecond as numpy datetimes; NaN becomes a missing value."""
    known = np.isfinite(seconds)
    milliseconds = np.round(np.where(known, seconds, 0.0) * 1000.0).astype("timedelta64[ms]")
    origin = np.datetime64(start.replace(tzinfo=None), "ms")
    return np.where(known, origin + milliseconds, np.datetime64("NaT", "ms"))


def _table(columns: Mapping[str, Any]) -> pa.Table:
    arrays = {}
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            # Adding 0 turns the negative zeros of rounding into zeros; NaN means not known.
            arrays[name] = pa.array(np.round(values, _FINER.get(name, _DIGITS)) + 0.0, from_pandas=True)
        elif isinstance(values, np.ndarray) and values.dtype.kind == "M":
            arrays[name] = pa.array(values).cast(pa.timestamp("ms")).cast(_TIME)
        else:
            arrays[name] = values if isinstance(values, pa.Array) else pa.array(values)
    return pa.table(arrays)


def _as_text(table: pa.Table) -> pa.Table:
    """Times as ISO 8601 with a Z, which every reader of CSV takes."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text = pyarrow.compute.strftime(  # type: ignore[attr-defined]
                table.column(index), format="%Y-%m-%dT%H:%M:%SZ"
            )
            table = table.set_column(index, field.name, text)
    return table
