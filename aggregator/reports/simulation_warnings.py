"""What of a run is wrong at first sight, one line each, for the terminal, the result and the top of the report."""

from __future__ import annotations

import numpy as np

from aggregator.reports.simulation_facts import SimulationFacts
from aggregator.reports.simulation_spread import typical
from aggregator.reports.tables import figure

_NOTICED_KWH = 5e-3
"""Less than this beyond a cap is not seen in its two digits."""


def warnings(facts: SimulationFacts) -> tuple[str, ...]:
    """Caps that did not hold, and a run to which nothing came; empty where all is as it should be."""
    found = []
    over_kwh = facts.measures["over_cap_kwh"]
    if float(over_kwh.max(initial=0.0)) >= _NOTICED_KWH:
        courses = "" if facts.replicas == 1 else (
            f" (medians, P10 to P90 in brackets; over it in {int((over_kwh >= _NOTICED_KWH).sum())} of "
            f"{facts.replicas} courses)"
        )
        found.append(
            f"peak {typical(facts.measures['peak_kw'])} of {_cap(facts)}, {typical(over_kwh, 'kWh', 2)} over the "
            f"cap{courses}"
        )
    if not len(facts.visits):
        found.append("0 visits: no car came, so nothing is known of drivers or events")
    return tuple(found)


def _cap(facts: SimulationFacts) -> str:
    """The import caps in force over the run."""
    caps = np.concatenate([site.cap_kw for site in facts.sites])
    known = caps[np.isfinite(caps)]
    if not known.size:
        return "no import cap"
    low, high = float(known.min()), float(known.max())
    return figure(low, "kW") if low == high else f"{figure(low)} to {figure(high, 'kW')}"
