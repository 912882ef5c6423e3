"""A fleet and its copies, and what a run of them came to: what the engine takes and gives.

One *replica* is one course that the future may take (drivers and faults redrawn). All replicas run at once in one
array: slot = replica * evses + evse, and likewise connection point = replica * sites + site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twin.assets import AssetError, Evse, Site, TimeGrid, Vehicle
from twin.ledger import Ledger

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Ensemble:
    """`replicas` copies of the same EVSEs at the same sites over the same time.

    grid: controllers are asked, and energies recorded, at its steps.
    base_load_kw, import_cap_kw, export_cap_kw: shape (site, step), held constant over the step; caps are 0 or more.
    """

    sites: tuple[Site, ...]
    evses: tuple[Evse, ...]
    vehicles: tuple[Vehicle, ...]
    grid: TimeGrid
    base_load_kw: Floats
    import_cap_kw: Floats
    export_cap_kw: Floats
    replicas: int = 1

    def __post_init__(self) -> None:
        shape = (len(self.sites), self.grid.steps)
        for name in ("base_load_kw", "import_cap_kw", "export_cap_kw"):
            if getattr(self, name).shape != shape:
                raise AssetError(name, getattr(self, name).shape, f"shape {shape}")
        if self.replicas < 1:
            raise AssetError("replicas", self.replicas, "1 or more")
        if len({evse.id for evse in self.evses}) != len(self.evses):
            raise AssetError("evses", len(self.evses), "unique EVSE ids")
        sites = {site.id for site in self.sites}
        for evse in self.evses:
            if evse.site_id not in sites:
                raise AssetError("evses", evse.site_id, f"a site of this ensemble for EVSE {evse.id}")

    @property
    def slots(self) -> int:
        return self.replicas * len(self.evses)

    @property
    def site_of_evse(self) -> Ints:
        """Index of the site of each EVSE."""
        index = {site.id: number for number, site in enumerate(self.sites)}
        return np.array([index[evse.site_id] for evse in self.evses], dtype=np.int64)


@dataclass(frozen=True)
class VisitOutcome:
    """What each visit came to; row k belongs to row k of the visits that were given, for its replica.

    row, replica: which visit of which copy. energy_kwh: in the battery on leaving (or at the end of the grid where
    `has_left` is False). imported_kwh, exported_kwh, lost_kwh: through the connector, and on the way; all 0 or more.
    shortfall_kwh: below the target that was in force, 0 or more.
    """

    row: Ints
    replica: Ints
    energy_kwh: Floats
    imported_kwh: Floats
    exported_kwh: Floats
    lost_kwh: Floats
    shortfall_kwh: Floats
    has_left: NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Energies in kWh, exact integrals.

    import_kwh, export_kwh: shape (replica, site, step), all EVSEs of the site in that step, both 0 or more.
    evse_kwh, battery_kwh: shape (replica, evse, step), net energy through the connector in the step, and energy in the
        battery at its end (NaN without a car); None where they were not recorded.
    ledger: per slot over the whole run. occurrences: what went wrong, counted by kind over all replicas.
    """

    ensemble: Ensemble
    import_kwh: Floats
    export_kwh: Floats
    evse_kwh: Floats | None
    battery_kwh: Floats | None
    visits: VisitOutcome
    ledger: Ledger
    occurrences: Mapping[str, int] = field(default_factory=dict)

    @property
    def net_kw(self) -> Floats:
        """Mean power of each connection point with its building: shape (replica, site, step)."""
        hours = self.ensemble.grid.step_hours
        power: Floats = (self.import_kwh - self.export_kwh) / hours + self.ensemble.base_load_kw
        return power
