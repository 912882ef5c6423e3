"""A fleet and its copies, and what a run of them came to: what the engine takes and gives.

One *replica* is one course that the future may take (drivers and faults redrawn). All replicas run at once in one
array: slot = replica * evses + evse, and likewise connection point = replica * sites + site.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twin.assets import AssetError, Evse, Response, Site, TimeGrid, Vehicle
from twin.ledger import Ledger

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_RATINGS = attrgetter(
    "current", "max_charge_kw", "min_charge_kw", "max_discharge_kw", "ac_phases", "ac_volts", "ac_max_current_a", "loss"
)
"""What makes the kind of an EVSE: all that `pair_limits` and `pair_loss` look at."""

_AT_ONCE = Response()


@dataclass(frozen=True)
class Ensemble:
    """`replicas` copies of the same EVSEs at the same sites over the same time.

    grid: controllers are asked, and energies recorded, at its steps.
    base_load_kw, import_cap_kw, export_cap_kw: shape (site, step), held constant over the step; caps are 0 or more.
    first_replica: number of the first copy in the whole study, so that a part of it draws what the whole would draw.
    """

    sites: tuple[Site, ...]
    evses: tuple[Evse, ...]
    vehicles: tuple[Vehicle, ...]
    grid: TimeGrid
    base_load_kw: Floats
    import_cap_kw: Floats
    export_cap_kw: Floats
    replicas: int = 1
    first_replica: int = 0

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

    def part(self, begin: int, end: int) -> Self:
        """The replicas [begin, end) alone."""
        return replace(self, replicas=end - begin, first_replica=self.first_replica + begin)

    @property
    def slots(self) -> int:
        return self.replicas * len(self.evses)

    @cached_property
    def site_of_evse(self) -> Ints:
        """Index of the site of each EVSE."""
        index = {site.id: number for number, site in enumerate(self.sites)}
        return np.array([index[evse.site_id] for evse in self.evses], dtype=np.int64)

    @cached_property
    def kinds(self) -> tuple[tuple[Evse, ...], Ints]:
        """One EVSE for each kind of ratings, and the kind of every EVSE."""
        number: dict[object, int] = {}
        first: list[Evse] = []
        kind = np.empty(len(self.evses), dtype=np.int64)
        for place, evse in enumerate(self.evses):
            kind[place] = number.setdefault(_RATINGS(evse), len(first))
            if kind[place] == len(first):
                first.append(evse)
        return tuple(first), kind

    @cached_property
    def is_slow_to_respond(self) -> bool:
        """Some hardware or car does not follow a set-point at once and exactly."""
        return any(evse.response != _AT_ONCE for evse in self.evses) or any(
            vehicle.sleep is not None for vehicle in self.vehicles
        )


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

    @classmethod
    def merge(cls, parts: Sequence[Self], replicas: Sequence[int]) -> Self:
        """Parts of a study, one after the other; replicas: how many copies each part stands for."""
        first = np.concatenate([[0], np.cumsum(replicas)])
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__
        }
        columns["replica"] = np.concatenate([
            part.replica + offset for part, offset in zip(parts, first, strict=False)
        ])
        return cls(**columns)

    @classmethod
    def in_order(cls, parts: Sequence[VisitOutcome]) -> VisitOutcome:
        """Pieces of one run as one, in the order of their rows, replica by replica."""
        if not parts:
            return _NO_VISITS
        row, replica = (np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "replica"))
        order: Ints | slice
        if (np.diff(row) < 0).any():
            order = np.lexsort((row, replica))
        elif (np.diff(replica) < 0).any():
            order = np.argsort(replica.astype(np.min_scalar_type(replica.max())), kind="stable")
        else:
            order = slice(None)
        return cls(row=row[order], replica=replica[order], **{
            name: np.concatenate([getattr(part, name) for part in parts])[order]
            for name in cls.__dataclass_fields__ if name not in ("row", "replica")
        })


_NO_VISITS = VisitOutcome(
    np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0),
    np.zeros(0), np.zeros(0, dtype=np.bool_),
)


def _joined(name: str, parts: Sequence[Floats | None]) -> Floats | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    if len(known) < len(parts):
        raise ValueError(f"{name}: recorded in {len(known)} of {len(parts)} parts, expected in all or in none")
    return np.concatenate(known)


@dataclass(frozen=True)
class GridRecord:
    """What the grid made of what cars would have taken or given.

    withheld_import_kwh, withheld_export_kwh: per slot (replica * evses + evse), 0 or more. trips: disconnections by
    grid protection, per slot. unsolved_s: seconds without a power flow, in which nothing was delivered; unsettled_s:
    those in which flow and inverters did not agree; per replica.
    evse_kvarh: reactive energy that each EVSE drew in each step, shape (replica, evse, step); None where EVSEs were not
        recorded.
    """

    withheld_import_kwh: Floats
    withheld_export_kwh: Floats
    trips: Ints
    unsolved_s: Floats
    unsettled_s: Floats
    evse_kvarh: Floats | None = None

    @classmethod
    def merge(cls, parts: Sequence[GridRecord | None]) -> GridRecord | None:
        """Of runs side by side: replicas in order. Raises a `ValueError` if only some of them stood on a grid."""
        known = [part for part in parts if part is not None]
        if not known:
            return None
        if len(known) < len(parts):
            raise ValueError(f"grid: recorded in {len(known)} of {len(parts)} parts, expected in all or in none")
        imported, exported, trips, unsolved, unsettled = (
            np.concatenate([getattr(part, name) for part in known])
            for name in ("withheld_import_kwh", "withheld_export_kwh", "trips", "unsolved_s", "unsettled_s")
        )
        kvarh = _joined("evse_kvarh", [part.evse_kvarh for part in known])
        return cls(imported, exported, trips, unsolved, unsettled, kvarh)


_OFF_THE_EDGE = 1.0 / np.pi
"""Added before rounding down, so that round figures (2.5 Wh, 0.05 Wh) do not lie where rounding turns."""


def _tenths_of_wh(energy_kwh: Floats) -> bytes:
    tenths: NDArray[np.int64] = np.floor(energy_kwh * 1e4 + _OFF_THE_EDGE).astype("<i8")
    return tenths.tobytes()


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Energies in kWh, exact integrals.

    import_kwh, export_kwh: shape (replica, site, step), all EVSEs of the site in that step, both 0 or more.
    evse_kwh, battery_kwh: shape (replica, evse, step), net energy through the connector in the step, and energy in the
        battery at its end (NaN without a car); None where they were not recorded.
    ledger: per slot over the whole run. occurrences: what went wrong, counted by kind over all replicas.
    metered_import_kwh, metered_export_kwh: per slot over the whole run, as a drifting meter shows them; None where all
        meters are true.
    """

    ensemble: Ensemble
    import_kwh: Floats
    export_kwh: Floats
    evse_kwh: Floats | None
    battery_kwh: Floats | None
    visits: VisitOutcome
    ledger: Ledger
    occurrences: Mapping[str, int] = field(default_factory=dict)
    metered_import_kwh: Floats | None = None
    metered_export_kwh: Floats | None = None
    grid: GridRecord | None = None

    @classmethod
    def merge(cls, parts: Sequence[Self]) -> Self:
        """Put runs of the same fleet side by side: the replicas of the first, then those of the second, ...

        Raises:
            ValueError: no parts, or parts that recorded different things.
        """
        if not parts:
            raise ValueError("parts: none, expected at least one outcome")
        if len(parts) == 1:
            return parts[0]
        ensemble = replace(parts[0].ensemble, replicas=sum(part.ensemble.replicas for part in parts))
        occurrences: Counter[str] = Counter()
        for part in parts:
            occurrences.update(part.occurrences)
        return cls(
            ensemble=ensemble,
            import_kwh=np.concatenate([part.import_kwh for part in parts]),
            export_kwh=np.concatenate([part.export_kwh for part in parts]),
            evse_kwh=_joined("evse_kwh", [part.evse_kwh for part in parts]),
            battery_kwh=_joined("battery_kwh", [part.battery_kwh for part in parts]),
            visits=VisitOutcome.merge([part.visits for part in parts], [part.ensemble.replicas for part in parts]),
            ledger=Ledger(*(
                np.concatenate([getattr(part.ledger, name) for part in parts])
                for name in ("import_kwh", "export_kwh", "battery_kwh", "loss_kwh")
            )),
            occurrences=dict(occurrences),
            metered_import_kwh=_joined("metered_import_kwh", [part.metered_import_kwh for part in parts]),
            metered_export_kwh=_joined("metered_export_kwh", [part.metered_export_kwh for part in parts]),
            grid=GridRecord.merge([part.grid for part in parts]),
        )

    def digest(self) -> str:
        """SHA-256 (hex) over what happened: registers of every slot, every visit's energies, and the counts.

        Energies enter in whole tenths of a watt-hour, which is far above rounding and far below a meter's last digit,
        so equal runs have equal digests whatever their tick, batches of replicas or executor. Records by step are left
        out because they depend on the grid.
        """
        visits, ledger = self.visits, self.ledger
        order = np.lexsort((visits.row, visits.replica))
        tally = hashlib.sha256()
        for count in (self.ensemble.replicas, len(self.ensemble.evses), visits.row.size):
            tally.update(count.to_bytes(8, "little"))
        for whole in (visits.replica, visits.row, visits.has_left):
            tally.update(whole[order].astype("<i8").tobytes())
        for name in ("energy_kwh", "imported_kwh", "exported_kwh", "lost_kwh", "shortfall_kwh"):
            tally.update(_tenths_of_wh(getattr(visits, name)[order]))
        for name in ("import_kwh", "export_kwh", "battery_kwh", "loss_kwh"):
            tally.update(_tenths_of_wh(getattr(ledger, name)))
        for kind, count in sorted(self.occurrences.items()):
            tally.update(f"{kind}={count};".encode())
        return tally.hexdigest()

    @property
    def net_kw(self) -> Floats:
        """Mean power of each connection point with its building: shape (replica, site, step)."""
        hours = self.ensemble.grid.step_hours
        power: Floats = (self.import_kwh - self.export_kwh) / hours + self.ensemble.base_load_kw
        return power
