"""What a scenario may not hold whatever its fields mean: numbers that are none, times at the ends of the calendar, and
more of anything than a computer can go through.

The limits leave room for 10,000 EVSEs over a year and for 1,000 replicas of 100 EVSEs over a week, in quarter hours.
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

from twin.importers.cells import EARLIEST, LATEST
from twin.scenario.models import fault_model
from twin.scenario.tables import ScenarioFile
from twin.scenario_error import ScenarioError

MOST_EVSES = 100_000
MOST_MINUTES = 10 * 366 * 1440
MOST_STEPS = 1_000_000
MOST_EVSE_STEPS = 1_000_000_000
"""EVSEs x steps x replicas."""
MOST_STAIRS = 10_000
"""Stairs, of a second each, of a ramp over a charger's whole range."""
MOST_FAILURES = 10_000
"""Of one kind, at one EVSE, over the scenario's time, in the mean."""
LARGEST_INTEGER = 2**63 - 1


def require_usable(path: Path, where: str, table: object) -> None:
    """Refuse numbers that are not finite or too large for the machine, and times that no zone can show.

    Raises:
        ScenarioError: the first one, with its place.
    """
    match table:
        case dict():
            for key, value in table.items():
                require_usable(path, f"{where}.{key}", value)
        case list() | tuple():
            for number, value in enumerate(table):
                require_usable(path, f"{where}[{number}]", value)
        case float() if not math.isfinite(table):
            raise ScenarioError(path, where, table, "a finite number")
        case int() if abs(table) > LARGEST_INTEGER:
            raise ScenarioError(path, where, f"an integer of {table.bit_length()} bits", "one of at most 63 bits")
        case datetime() if not EARLIEST <= table.year < LATEST:
            raise ScenarioError(
                path, where, table.isoformat(), f"a time from the year {EARLIEST} on, before {LATEST}"
            )


def check_sizes(path: Path, file: ScenarioFile) -> None:
    """Refuse what nobody could wait for.

    Raises:
        ScenarioError: the field, and how much of it there may be.
    """
    evses = len(file.stations) + sum(group.count for group in file.station_groups)
    if evses > MOST_EVSES:
        where = "$.station_groups" if file.station_groups else "$.stations"
        raise ScenarioError(path, where, evses, f"at most {MOST_EVSES:,} EVSEs in all")
    if file.start.tzinfo is None or file.end.tzinfo is None:
        return  # told with its own words where the span is read
    seconds = (file.end - file.start).total_seconds()
    if seconds > MOST_MINUTES * 60.0:
        raise ScenarioError(path, "$.end", file.end.isoformat(), "at most 10 years after the start")
    steps = seconds / file.run.step_s
    if steps > MOST_STEPS:
        raise ScenarioError(path, "$.run.step_s", file.run.step_s, f"at most {MOST_STEPS:,} steps, not {steps:,.0f}")
    check_work(path, evses, round(steps), file.run.replicas)
    _check_ramps(path, file)
    faults = fault_model(path, file.faults)
    for kind in ("down", "outage", "ignores", "derated"):
        between_h = 0.0 if faults is None else getattr(faults, f"{kind}_mtbf_h")
        if between_h and seconds / 3600.0 / between_h > MOST_FAILURES:
            least = seconds / 3600.0 / MOST_FAILURES
            raise ScenarioError(
                path, f"$.faults.{kind}_mtbf_h", between_h,
                f"at least {least:.3g} h, or 0: at most {MOST_FAILURES:,} failures of an EVSE",
            )


def check_work(path: Path | str, evses: int, steps: int, replicas: int) -> None:
    """Refuse more EVSEs x steps x replicas than can be gone through. Raises a `ScenarioError`."""
    if evses * steps * replicas > MOST_EVSE_STEPS:
        most = f"at most {MOST_EVSE_STEPS:,} EVSEs x steps x replicas"
        product = f"{evses} x {steps} x {replicas}"
        raise ScenarioError(path, "$.run", product, f"{most}: fewer replicas, or a longer step_s")


def _check_ramps(path: Path, file: ScenarioFile) -> None:
    for name, kind in file.station_types.items():
        ramp, most = kind.response_ramp_kw_per_s, kind.max_charge_kw
        # A charger of the catalogue that is not written out is taken for a large one.
        span = (1000.0 if most is None else most) + (kind.max_discharge_kw or 0.0)
        if ramp and span / ramp > MOST_STAIRS:
            raise ScenarioError(
                path, f"$.station_types.{name}.response_ramp_kw_per_s", ramp,
                f"at least {span / MOST_STAIRS:.3g} kW/s, or 0 for a step: at most {MOST_STAIRS:,} s for {span:g} kW",
            )
