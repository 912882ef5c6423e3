"""What of a run is wrong at first sight, one line each, for the terminal, the result and the top of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation_facts import SimulationFacts
from aggregator.reports.simulation_feeder import feeder_warnings
from aggregator.reports.simulation_spread import typical
from aggregator.reports.tables import figure

Floats = NDArray[np.float64]

_NOTICED_KWH = 5e-3
"""Less than this beyond a cap is not seen in its two digits."""

_NOTICED_KW = 0.05
"""Less than this is not seen in one digit."""


def warnings(facts: SimulationFacts) -> tuple[str, ...]:
    """Caps that did not hold, events that ask for more than they bear, no visits; empty where all is well."""
    found = []
    given_kwh = facts.whole.over_export_cap_kwh
    drawn_kwh = facts.measures["over_cap_kwh"] - given_kwh
    if _is_noticed(drawn_kwh):
        cap = _cap([site.cap_kw for site in facts.sites], "no import cap")
        found.append(f"peak {typical(facts.measures['peak_kw'])} of {cap}, {_over(drawn_kwh, 'the cap')}")
    if _is_noticed(given_kwh):
        cap = _cap([site.export_cap_kw for site in facts.sites], "no export cap")
        found.append(
            f"gave the grid up to {typical(facts.whole.export_peak_kw)} of {cap}, {_over(given_kwh, 'the export cap')}"
        )
    export_cap_kw = {site.id: site.export_cap_kw for site in facts.sites}
    for event in facts.events:
        caps = export_cap_kw[event.site_id][event.first_step:event.first_step + event.steps]
        beyond_kw = float((-caps - event.asked_net_kw).max(initial=0.0))
        if beyond_kw >= _NOTICED_KW:
            found.append(f"{event.name}: asks up to {figure(beyond_kw, 'kW')} more than the export cap lets out")
    found += feeder_warnings(facts)
    if not len(facts.visits):
        found.append("0 visits: no car came, so nothing is known of drivers or events")
    return tuple(found)


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
