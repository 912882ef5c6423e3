"""How far our solution of an imported feeder is from the one of the program whose file it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from twin.feeder.importers.imported import Floats, Imported
from twin.feeder.network.model import Feeder
from twin.feeder.powerflow.flow import Flow


@dataclass(frozen=True, slots=True)
class Agreement:
    """Largest difference of the complex voltages, per unit of the bus, over all nodes; NaN: we found no solution.

    as_given: loads with their ranges. ranges_open: loads that keep to their law at any voltage, in both; None: the
    other program did not solve that. node: where the first is largest.
    """

    program: str
    as_given: float
    ranges_open: float | None
    node: str


def agreement(imported: Imported, flow: Flow | None = None) -> Agreement | None:
    """Compare with `imported.reference`; None where there is none.

    Raises:
        FeederInvalid: the feeder cannot be solved.
    """
    reference = imported.reference
    if reference is None:
        return None
    apart, node = _apart(flow or Flow(imported.feeder), imported.loads.given(), reference.volts)
    opened = None
    if reference.volts_open:
        kinds = tuple(replace(kind, valid_pu=(0.0, inf), low_pu=0.0) for kind in imported.feeder.load_types)
        feeder: Feeder = replace(imported.feeder, load_types=kinds)
        opened, _ = _apart(Flow(feeder), imported.loads.given(), reference.volts_open)
    return Agreement(reference.program, apart, opened, node)


def _apart(
    flow: Flow, loads: tuple[Floats, Floats], volts: Mapping[tuple[str, str], complex]
) -> tuple[float, str]:
    solution = flow.solve(*loads)
    ours = solution.voltages()[:, 0]
    theirs = np.array([volts.get((node.bus, node.phase), np.nan) for node in flow.nodes])
    known = ~np.isnan(theirs)
    if not solution.has_solution[0] or not known.any():
        return float("nan"), ""
    apart = np.where(known, np.abs(ours - theirs) / flow.network.node_volts, 0.0)
    worst = int(np.argmax(apart))
    return float(apart[worst]), f"{flow.nodes[worst].bus}.{flow.nodes[worst].phase}"
