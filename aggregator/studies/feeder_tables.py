"""The feeder of a run as tables: connection points, lines, transformers, steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from aggregator.reports.simulation.feeder import FeederFact, InverterRows
from aggregator.studies.on_feeder import QUANTITIES


def point_columns(fact: FeederFact) -> dict[str, Any]:
    """One row per connection point. Minutes are means per course; voltages per unit of the nominal one."""
    rows = fact.points
    return {
        "point": list(rows.ids), "bus": list(rows.buses), "phases": list(rows.phases), "evses": rows.evses,
        "violation_minutes": rows.minutes, "attributable_minutes": rows.attributable,
        "unfixable_minutes": rows.unfixable, "worsened_minutes": rows.worsened, "cured_minutes": rows.cured,
        "base_violation_minutes": rows.base_minutes,
        "low_pu_p50": rows.low_pu, "low_pu_min": rows.lowest_pu, "base_low_pu": rows.base_low_pu,
        "high_pu_p50": rows.high_pu, "high_pu_max": rows.highest_pu, "base_high_pu": rows.base_high_pu,
        "within_10_share": rows.within_10, "base_within_10_share": rows.base_within_10,
        "within_15_share": rows.within_15, "base_within_15_share": rows.base_within_15,
        "en50160_share": rows.holds, "base_en50160": rows.base_holds,
    }


def line_columns(fact: FeederFact) -> dict[str, Any]:
    """One row per phase of a line that carries a current of its own: the weakest of its segments in a row."""
    rows = fact.lines
    return {
        "line": list(rows.lines), "phase": list(rows.phases), "from_bus": list(rows.from_buses),
        "to_bus": list(rows.to_buses), "segments": rows.segments, "ampacity_a": rows.amperes,
        "ampacity_source": list(rows.rated_by), "loading_p50": rows.peak, "loading_max": rows.highest,
        "base_loading": rows.base_peak, "overload_minutes": rows.minutes, "attributable_minutes": rows.attributable,
        "unfixable_minutes": rows.minutes - rows.attributable, "worsened_minutes": rows.worsened,
        "base_overload_minutes": rows.base_minutes,
    }


def carried_columns(fact: FeederFact) -> dict[str, Any]:
    """One row per transformer and per other element with a rating."""
    rows = fact.carried
    return {
        "element": list(rows.ids), "kind": list(rows.kinds), "most_loaded_at": list(rows.sides),
        "most_loaded_phase": list(rows.phases), "rated_a": rows.amperes, "loading_p50": rows.peak,
        "loading_max": rows.highest, "base_loading": rows.base_peak, "overload_minutes": rows.minutes,
        "attributable_minutes": rows.attributable, "unfixable_minutes": rows.minutes - rows.attributable,
        "worsened_minutes": rows.worsened, "base_overload_minutes": rows.base_minutes,
    }


def step_columns(fact: FeederFact) -> dict[str, Any]:
    """One row per step, without its time: the extremes over the feeder, over the courses and without EVs."""
    columns: dict[str, Any] = {}
    for name in QUANTITIES:
        band = fact.steps[name]
        columns |= {f"{name}_p10": band.p10, f"{name}_p50": band.p50, f"{name}_p90": band.p90,
                    f"{name}_mean": band.mean, f"{name}_replica0": band.first, f"{name}_base": fact.base[name]}
    if fact.transformers:
        hottest = max(fact.transformers, key=lambda row: float(np.max(row.hot_spot_c)))
        band = hottest.hot_spot
        columns |= {"hot_spot_c_p10": band.p10, "hot_spot_c_p50": band.p50, "hot_spot_c_p90": band.p90,
                    "hot_spot_c_mean": band.mean, "hot_spot_c_replica0": band.first,
                    "hot_spot_c_base": hottest.base_hot_spot}
    return {**columns, "beyond_share": fact.beyond_share, "caused_share": fact.caused_share}


def inverter_columns(rows: InverterRows) -> dict[str, Any]:
    """One row per EVSE. Energies and trips are means per course."""
    return {
        "evse": list(rows.ids), "point": list(rows.points), "phases": list(rows.phases), "rated_kva": rows.rated_kva,
        "withheld_import_kwh": rows.withheld_import_kwh, "withheld_export_kwh": rows.withheld_export_kwh,
        "trips": rows.trips,
    }
