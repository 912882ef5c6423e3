"""What a run came to, in the few lines that a terminal shows: what is wrong first, then medians, then where to look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aggregator.reports.page import figure


def in_words(written: Mapping[str, Any], folder: Path) -> str:
    """The lines for `written`, the result of the run in `folder`."""
    summary, courses = written["summary"], written["replicas"]
    drivers, kwh = _typical(summary["short_drivers"], "", 0), _typical(summary["short_kwh"], "kWh")
    came = f"{_typical(summary['visits'], '', 0)} cars, {drivers} left short by {kwh} together"
    lines = [f"{folder}: {came}, peak {_typical(summary['peak_kw'], 'kW')}"]
    if courses > 1:
        lines.append(f"  medians over {courses} courses, P10 to P90 in brackets")
    lines += [f"  warning: {text}" for text in written["warnings"]]
    if summary["plugged_in"]["p90"] > 0.0:
        lines.append(
            f"  still plugged in at the end: {_typical(summary['plugged_in'], '', 0)}, still lacking "
            f"{_typical(summary['plugged_in_kwh'], 'kWh')} (not counted as short)"
        )
    if written["dropped"]:
        counts = "; ".join(f"{reason}: {count:,}" for reason, count in sorted(written["dropped"].items()))
        lines.append(f"  left out: {sum(written['dropped'].values()):,} rows of the input ({counts})")
    for event in written["events"]:
        kept = event["kept_share"]
        lines.append(
            f"  {event['id']}: {_typical(event['promised_kwh'], 'kWh')} promised, "
            f"{_typical(event['delivered_kwh'], 'kWh')} delivered"
            + (f", {_typical(kept, '%', 0, 100.0)} of the promise when it was due" if kept else "")
        )
    lines.append(f"  {folder / 'report.html'}")
    return "\n".join(lines)


def _typical(spread: Mapping[str, float], unit: str, digits: int = 1, times: float = 1.0) -> str:
    """The median; with what 8 of 10 courses lie between, where they differ in the digits that are shown."""
    median, low, high = (figure(times * spread[key], "", digits) for key in ("p50", "p10", "p90"))
    unit = f" {unit}" if unit else ""
    return f"{median}{unit}" if low == high == median else f"{median}{unit} ({low} to {high})"
