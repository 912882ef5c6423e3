"""What a report says of the feeder: plain columns, with the EVs and (`base`) without them.

Voltages are per unit of the nominal one; minutes are means over the courses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation.band import Band

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PointRows:
    """One row per connection point. place: row of the first point with the same bus, phases and kind of load: what is
    true of one voltage is counted once. minutes: beyond the voltage limits, mean per course; cured: only without EVs.

    low_pu, high_pu: median over the courses of each course's extreme; lowest_pu, highest_pu: over all of them.
    within_10, within_15: shares of the 10-minute means in the worst week, mean over the courses; holds: share of the
    courses in which EN 50160 is kept.
    """

    ids: tuple[str, ...]
    buses: tuple[str, ...]
    phases: tuple[str, ...]
    place: NDArray[np.intp]
    evses: NDArray[np.int64]
    minutes: Floats
    attributable: Floats
    worsened: Floats
    cured: Floats
    base_minutes: Floats
    low_pu: Floats
    high_pu: Floats
    lowest_pu: Floats
    highest_pu: Floats
    base_low_pu: Floats
    base_high_pu: Floats
    within_10: Floats
    within_15: Floats
    holds: Floats
    base_within_10: Floats
    base_within_15: Floats
    base_holds: Claims

    @property
    def places(self) -> NDArray[np.intp]:
        """Rows of the first point at each place."""
        return np.unique(self.place)

    @property
    def unfixable(self) -> Floats:
        rest: Floats = self.minutes - self.attributable
        return rest


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedRows:
    """What carries a current, a row each. phases: of each; amperes: rated.

    peak: median over the courses of each one's highest loading; highest: over all of them. minutes: over the limit,
    mean per course.
    """

    phases: tuple[str, ...]
    amperes: Floats
    peak: Floats
    highest: Floats
    base_peak: Floats
    minutes: Floats
    attributable: Floats
    worsened: Floats
    base_minutes: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class LineRows(LoadedRows):
    """One row per phase of a line that carries something: the weakest of all `segments` that carry the same."""

    lines: tuple[str, ...]
    from_buses: tuple[str, ...]
    to_buses: tuple[str, ...]
    segments: NDArray[np.int64]
    rated_by: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class CarriedRows(LoadedRows):
    """One row per transformer, and per element held as its matrix whose rating is known.

    The larger counts of a transformer's apparent power and of any phase's current, over the rated; of other elements
    the current at any node. kinds: `transformer`, or what else it is. sides (from, to, or a bus) and phases: where the
    current is highest; amperes: rated there.
    """

    ids: tuple[str, ...]
    kinds: tuple[str, ...]
    sides: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TransformerRow:
    """One transformer. peak, hot_spot_c, life_h: of each course; life_h: hours of life lost. paper: how it is judged.

    hot_spot: degrees Celsius at each step's end, over the courses. base_: without EVs.
    """

    id: str
    rated_kva: float
    paper: str
    peak: Floats
    minutes: Floats
    hot_spot_c: Floats
    life_h: Floats
    hot_spot: Band
    base_peak: float
    base_hot_spot_c: float
    base_life_h: float
    base_hot_spot: Floats


@dataclass(frozen=True, eq=False)
class InverterRows:
    """One row per EVSE whose inverter keeps to a grid code; energies and trips are means per course.

    code: its name. nominal_volts: phase to neutral, what it takes for 1 p.u.; None: each bus's rating.
    withheld_import_kwh, withheld_export_kwh: what cars would have taken and given without it, and did not.
    """

    ids: tuple[str, ...]
    points: tuple[str, ...]
    phases: tuple[str, ...]
    code: str
    nominal_volts: float | None
    rated_kva: Floats
    withheld_import_kwh: Floats
    withheld_export_kwh: Floats
    trips: Floats


@dataclass(frozen=True, eq=False)
class FeederFact:
    """The feeder under one run.

    nominal_volts: phase to neutral; None: voltages are of each bus's rating. voltage_pu, line_limit, transformer_limit,
    unbalance_limit: limits. steps: bands over the courses by quantity, and base: the same without EVs.
    balanced, base_balanced: share of the time in which each bus keeps the unbalance of EN 50160, in the worst week.
    beyond_share, caused_share: share of the courses with anything beyond its limit, and because of EVs, per step.
    unsolved: steps without solution, of each course. second_engine: what it says, in words; agrees: None if not asked.
    inverters: None where EVSEs do as they are told, whatever the voltage. pictures: SVG by name. ten_minutes: EN 50160
    is counted in true 10-minute means; days: of the weeks that it counts.
    """

    name: str
    homes_and_evs: str
    nominal_volts: float | None
    voltage_pu: tuple[float, float]
    line_limit: float
    transformer_limit: float
    unbalance_limit: float | None
    points: PointRows
    lines: LineRows
    carried: CarriedRows
    transformers: tuple[TransformerRow, ...]
    steps: Mapping[str, Band]
    base: Mapping[str, Floats]
    beyond_share: Floats
    caused_share: Floats
    balanced: Floats
    base_balanced: Floats
    unsolved: Floats
    base_unsolved: int
    base_measures: Mapping[str, float]
    second_engine: str
    agrees: bool | None
    ten_minutes: bool
    days: tuple[float, ...]
    unrated: int
    pictures: Mapping[str, str]
    inverters: InverterRows | None = None
