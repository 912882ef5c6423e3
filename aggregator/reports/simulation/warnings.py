"""What of a run is wrong at first sight, one line each, for the terminal, the result and the top of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import figure
from aggregator.reports.simulation.facts import KEPT_WITHIN_KW, KEPT_WITHIN_SHARE, SimulationFacts
from aggregator.reports.simulation.feeder.words import feeder_warnings
from aggregator.reports.simulation.spread import typical

Floats = NDArray[np.float64]

_NOTICED_KWH = 5e-3
"""Less than this beyond a cap is not seen in its two digits."""

_NOTICED_KW = 0.05
"""Less than this is not seen in one digit."""

_MANY_SHORT = 0.1
"""Share of the drivers who left from which on their being short is the first thing to know of a run."""


def warnings(facts: SimulationFacts) -> tuple[str, ...]:
    """Drivers short, caps that did not hold, a feeder beyond its limits, events that ask for more than they bear, no
    visits; empty where all is well. What is above a cap by no more than a promise may lack stands last, and says so.
    """
    found: list[str] = [*_short(facts)]
    small: list[str] = []
    for line, is_small in (*_drawn(facts), *_given(facts)):
        (small if is_small else found).append(line)
    export_cap_kw = {site.id: site.export_cap_kw for site in facts.sites}
    for event in facts.events:
        caps = export_cap_kw[event.site_id][event.first_step:event.first_step + event.steps]
        beyond_kw = float((-caps - event.asked_net_kw).max(initial=0.0))
        if beyond_kw >= _NOTICED_KW:
            found.append(f"{event.name}: asks up to {figure(beyond_kw, 'kW')} more than the export cap lets out")
    found += feeder_warnings(facts)
    if not len(facts.visits):
        found.append("0 visits: no car came, so nothing is known of drivers or events")
    return (*found, *small)


def _short(facts: SimulationFacts) -> Iterator[str]:
    """Where at least one driver in ten left short."""
    short, left = facts.measures["short_drivers"], facts.measures["visits"] - facts.measures["plugged_in"]
    if float(short.sum()) > 0.0 and float(short.sum()) >= _MANY_SHORT * float(left.sum()):
        yield (
            f"{typical(short, '', 0)} of {typical(left, '', 0)} drivers left short, lacking "
            f"{typical(facts.measures['short_kwh'], 'kWh')} together"
        )


def _drawn(facts: SimulationFacts) -> Iterator[tuple[str, bool]]:
    """More than a cap lets in, and whether that is within the tolerance."""
    over_kwh = facts.measures["over_cap_kwh"] - facts.whole.over_export_cap_kwh
    if _is_noticed(over_kwh):
        caps, peak_kw = [site.cap_kw for site in facts.sites], facts.measures["peak_kw"]
        line = f"peak {typical(peak_kw)} of {_cap(caps, 'no import cap')}, {_over(over_kwh, 'the cap')}"
        yield _judged(line, float(peak_kw.max()), caps)


def _given(facts: SimulationFacts) -> Iterator[tuple[str, bool]]:
    """More than a cap lets out, and whether that is within the tolerance."""
    over_kwh = facts.whole.over_export_cap_kwh
    if _is_noticed(over_kwh):
        caps, peak_kw = [site.export_cap_kw for site in facts.sites], facts.whole.export_peak_kw
        line = f"gave the grid up to {typical(peak_kw)} of {_cap(caps, 'no export cap')}, " + _over(
            over_kwh, "the export cap")
        yield _judged(line, max(float(site.export_peak_kw.max()) for site in facts.sites), caps)


def _judged(line: str, peak_kw: float, caps: Sequence[Floats]) -> tuple[str, bool]:
    """The peak above the lowest cap is the most that any step can be above its own."""
    lowest_kw = float(np.concatenate(caps).min())
    above_kw = peak_kw - lowest_kw
    if above_kw > max(KEPT_WITHIN_KW, KEPT_WITHIN_SHARE * lowest_kw):
        return line, False
    return f"{line}: at most {figure(above_kw, 'kW', 2)}, within what a promise may lack", True


def _is_noticed(over_kwh: Floats) -> bool:
    return float(over_kwh.max(initial=0.0)) >= _NOTICED_KWH


def _over(over_kwh: Floats, cap: str) -> str:
    """How much flowed beyond a cap, one value per course, and in how many of them."""
    courses = "" if over_kwh.size == 1 else (
        f" (medians, P10 to P90 in brackets; over it in {int((over_kwh >= _NOTICED_KWH).sum())} of "
        f"{over_kwh.size} courses)"
    )
    return f"{typical(over_kwh, 'kWh', 2)} over {cap}{courses}"


def _cap(of_sites: Sequence[Floats], none: str) -> str:
    """The caps in force over the run."""
    caps = np.concatenate(of_sites)
    known = caps[np.isfinite(caps)]
    if not known.size:
        return none
    low, high = float(known.min()), float(known.max())
    return figure(low, "kW") if low == high else f"{figure(low)} to {figure(high, 'kW')}"
