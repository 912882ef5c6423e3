"""What stands in the world: sites, EVSEs, vehicles, visits, schedules and the time grid they share.

Frozen and validated on construction, so that everything behind this module can trust its input.
Power is positive when a car charges (import) and negative when it discharges (export).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twin.impossible import ImpossibleValue

if TYPE_CHECKING:  # the station knows assets, and nothing of feeders
    from twin.feeder.scene import Scene


class AssetError(ImpossibleValue):
    """A value of an asset is impossible; the message names the field, the value and what was expected."""


def _require(condition: bool, field_name: str, value: object, expected: str) -> None:
    if not condition:
        raise AssetError(field_name, value, expected)


def require_utc(when: datetime, field_name: str) -> None:
    """Raise an `AssetError` if `when` is naive or not in UTC."""
    _require(when.utcoffset() == timedelta(0), field_name, when.isoformat(), "an aware UTC datetime")


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """Equal steps in UTC: step k covers the half-open interval [start + k*step, start + (k+1)*step)."""

    start: datetime
    step_s: int
    steps: int

    def __post_init__(self) -> None:
        require_utc(self.start, "start")
        _require(self.step_s > 0, "step_s", self.step_s, "a positive number of seconds")
        _require(self.steps > 0, "steps", self.steps, "at least one step")

    @property
    def end(self) -> datetime:
        return self.at(self.steps)

    @property
    def step_hours(self) -> float:
        return self.step_s / 3600.0

    def at(self, step: int) -> datetime:
        """The instant at which `step` begins."""
        return self.start + timedelta(seconds=self.step_s * step)

    def index(self, when: datetime) -> int:
        """The step that contains `when`; may lie outside [0, steps)."""
        return int((when - self.start).total_seconds() // self.step_s)

    def times(self) -> list[datetime]:
        return [self.at(step) for step in range(self.steps)]


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """Largest battery-side power in kW as a piecewise-linear function of SoC.

    soc: strictly increasing from 0 to 1; kw: not negative, one value per SoC.
    """

    soc: tuple[float, ...]
    kw: tuple[float, ...]

    def __post_init__(self) -> None:
        _require(len(self.soc) == len(self.kw) > 1, "kw", self.kw, "one power for each SoC, at least two")
        _require(self.soc[0] == 0.0 and self.soc[-1] == 1.0, "soc", self.soc, "a curve from 0 to 1")
        _require(all(a < b for a, b in pairwise(self.soc)), "soc", self.soc, "strictly increasing values")
        _require(all(p >= 0 for p in self.kw), "kw", self.kw, "powers of 0 kW or more")

    def at(self, soc: float) -> float:
        return float(np.interp(soc, self.soc, self.kw))


@dataclass(frozen=True, slots=True)
class LossCurve:
    """Conversion loss in kW at battery-side power b: standby + proportional*|b| + quadratic*b^2, 0 when idle.

    standby_kw is drawn only while power flows; proportional is per unit; quadratic_per_kw is 1/kW.
    """

    standby_kw: float = 0.0
    proportional: float = 0.0
    quadratic_per_kw: float = 0.0

    def __post_init__(self) -> None:
        _require(self.standby_kw >= 0, "standby_kw", self.standby_kw, "0 kW or more")
        _require(0 <= self.proportional < 1, "proportional", self.proportional, "a value in [0, 1)")
        _require(self.quadratic_per_kw >= 0, "quadratic_per_kw", self.quadratic_per_kw, "0 or more")


@dataclass(frozen=True, slots=True)
class Battery:
    """A traction battery with its power electronics.

    soc_min, soc_max: the window the car itself allows; energy never leaves it.
    """

    capacity_kwh: float
    charge: PowerCurve
    discharge: PowerCurve | None = None
    loss: LossCurve = field(default_factory=LossCurve)
    soc_min: float = 0.0
    soc_max: float = 1.0

    def __post_init__(self) -> None:
        _require(self.capacity_kwh > 0, "capacity_kwh", self.capacity_kwh, "more than 0 kWh")
        _require(0 <= self.soc_min < self.soc_max <= 1, "soc_min", self.soc_min, "0 <= soc_min < soc_max <= 1")


@dataclass(frozen=True, slots=True)
class Sleep:
    """A car that falls asleep in a pause of charging and does not notice when power is offered again.

    after_s: seconds at 0 kW until it sleeps. wake_kw: least offered power that wakes it; a keep-alive power of at
    least `wake_kw` during the pause keeps it awake. wake_s: how long that takes. wake_kw inf: only a replug wakes it.
    """

    after_s: float
    wake_kw: float
    wake_s: float = 0.0

    def __post_init__(self) -> None:
        _require(self.after_s > 0, "after_s", self.after_s, "more than 0 s")
        _require(self.wake_kw > 0, "wake_kw", self.wake_kw, "more than 0 kW")
        _require(self.wake_s >= 0, "wake_s", self.wake_s, "0 s or more")


class Current(StrEnum):
    AC = "ac"
    DC = "dc"


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A vehicle type as it stands at a connector.

    max_charge_kw, max_discharge_kw: limits at the connector (AC or DC side of the EVSE); 0 = cannot.
    min_discharge_kw: below this the car stops discharging.
    ac_phases, ac_max_current_a: of the on-board charger, per phase; None: only the powers limit it.
    charges_on, discharges_on: kinds of current at which it charges and discharges at all.
    """

    model: str
    battery: Battery
    max_charge_kw: float
    max_discharge_kw: float = 0.0
    min_discharge_kw: float = 0.0
    ac_phases: int = 3
    ac_max_current_a: float | None = None
    sleep: Sleep | None = None
    charges_on: frozenset[Current] = frozenset(Current)
    discharges_on: frozenset[Current] = frozenset(Current)

    def __post_init__(self) -> None:
        _require(self.ac_phases in (1, 2, 3), "ac_phases", self.ac_phases, "1, 2 or 3")
        _require(
            self.ac_max_current_a is None or self.ac_max_current_a > 0,
            "ac_max_current_a", self.ac_max_current_a, "more than 0 A",
        )
        _require(self.max_charge_kw > 0, "max_charge_kw", self.max_charge_kw, "more than 0 kW")
        _require(self.max_discharge_kw >= 0, "max_discharge_kw", self.max_discharge_kw, "0 kW or more")
        _require(
            self.max_discharge_kw == 0 or self.battery.discharge is not None,
            "max_discharge_kw", self.max_discharge_kw, "0 kW for a battery without a discharge curve",
        )


@dataclass(frozen=True, slots=True)
class Response:
    """How EVSE and car together follow a new set-point: silence for delay_s, then a ramp to what they make of it.

    ramp_kw_per_s: 0 means a step. granularity_kw: set-points are rounded toward 0 to whole multiples; 0: any value.
    charge_bias_kw, discharge_bias_kw, idle_bias_kw: what flows beyond a positive, negative or zero set-point.
    """

    delay_s: float = 0.0
    ramp_kw_per_s: float = 0.0
    granularity_kw: float = 0.0
    charge_bias_kw: float = 0.0
    discharge_bias_kw: float = 0.0
    idle_bias_kw: float = 0.0

    def __post_init__(self) -> None:
        _require(self.granularity_kw >= 0, "granularity_kw", self.granularity_kw, "0 kW or more")
        _require(self.delay_s >= 0, "delay_s", self.delay_s, "0 s or more")
        _require(self.ramp_kw_per_s >= 0, "ramp_kw_per_s", self.ramp_kw_per_s, "0 kW/s or more")


@dataclass(frozen=True, slots=True)
class Evse:
    """One charging point.

    min_charge_kw: below it the car does not charge (6 A by IEC 61851-1, times voltage and phases; 0 for DC).
    max_discharge_kw: 0 for a charging-only EVSE.
    ac_phases, ac_volts, ac_max_current_a: of an AC outlet: wired phases, volts phase to neutral, amperes per phase;
        no current limit given: only the powers limit it.
    loss: of the power electronics in a DC charger, from grid to battery; None: those of the car's `Battery.loss`
        (for AC they are in the car).
    """

    id: str
    site_id: str
    current: Current
    max_charge_kw: float
    min_charge_kw: float = 0.0
    max_discharge_kw: float = 0.0
    response: Response = field(default_factory=Response)
    ac_phases: int = 3
    ac_volts: float = 230.0
    ac_max_current_a: float | None = None
    loss: LossCurve | None = None

    def __post_init__(self) -> None:
        _require(self.ac_phases in (1, 2, 3), "ac_phases", self.ac_phases, "1, 2 or 3")
        _require(self.ac_volts > 0, "ac_volts", self.ac_volts, "more than 0 V")
        _require(
            self.ac_max_current_a is None or self.ac_max_current_a > 0,
            "ac_max_current_a", self.ac_max_current_a, "more than 0 A",
        )
        _require(
            self.loss is None or self.current is Current.DC, "loss", self.current.value,
            "a DC charger (on AC the power electronics are in the car)",
        )
        _require(self.id != "", "id", self.id, "a name")
        _require(self.max_charge_kw > 0, "max_charge_kw", self.max_charge_kw, "more than 0 kW")
        _require(0 <= self.min_charge_kw <= self.max_charge_kw, "min_charge_kw", self.min_charge_kw,
                 "between 0 kW and max_charge_kw")
        _require(self.max_discharge_kw >= 0, "max_discharge_kw", self.max_discharge_kw, "0 kW or more")


@dataclass(frozen=True, slots=True)
class PairLimits:
    """What one EVSE and one car can do together, kW at the connector, all 0 or more; a minimum below which is 0."""

    max_charge_kw: float
    min_charge_kw: float
    max_discharge_kw: float
    min_discharge_kw: float


def pair_limits(evse: Evse, vehicle: Vehicle) -> PairLimits:
    """The limits of `vehicle` at `evse`: the smaller of both ratings and, on AC, of phases and currents.

    The EVSE's minimum is 6 A on each of its phases (IEC 61851-1); a car of fewer phases needs less power for it.
    """
    most = min(evse.max_charge_kw, vehicle.max_charge_kw) if evse.current in vehicle.charges_on else 0.0
    back = min(evse.max_discharge_kw, vehicle.max_discharge_kw) if evse.current in vehicle.discharges_on else 0.0
    if evse.current is Current.DC:
        return PairLimits(most, evse.min_charge_kw, back, vehicle.min_discharge_kw)
    phases = min(evse.ac_phases, vehicle.ac_phases)
    amperes = [limit for limit in (evse.ac_max_current_a, vehicle.ac_max_current_a) if limit is not None]
    share = phases / evse.ac_phases
    wired = evse.ac_volts * phases * min(amperes) / 1000.0 if amperes else evse.max_charge_kw * share
    return PairLimits(
        min(most, wired), evse.min_charge_kw * share, min(back, wired), vehicle.min_discharge_kw
    )


def pair_loss(evse: Evse, vehicle: Vehicle) -> LossCurve:
    """Losses between grid and battery: in the charger on DC where it has a curve, else the car's."""
    return vehicle.battery.loss if evse.loss is None else evse.loss


@dataclass(frozen=True, slots=True)
class Site:
    """A connection point. Caps are on net power: import positive; export_cap_kw is a positive number."""

    id: str
    timezone: str
    import_cap_kw: float
    export_cap_kw: float = 0.0

    def __post_init__(self) -> None:
        _require(self.import_cap_kw >= 0, "import_cap_kw", self.import_cap_kw, "0 kW or more")
        _require(self.export_cap_kw >= 0, "export_cap_kw", self.export_cap_kw, "0 kW or more")


@dataclass(frozen=True, slots=True)
class Visit:
    """One car at one EVSE from `arrival` to `departure` (when it really unplugs in this world).

    target_kwh: energy in the battery that the driver wants on leaving (battery side, absolute).
    floor_kwh: energy below which no discharge may take the battery.
    energy_kwh: energy in the battery at `arrival`.
    """

    id: str
    evse_id: str
    vehicle: Vehicle
    arrival: datetime
    departure: datetime
    energy_kwh: float
    target_kwh: float
    floor_kwh: float = 0.0

    def __post_init__(self) -> None:
        require_utc(self.arrival, "arrival")
        require_utc(self.departure, "departure")
        _require(self.departure > self.arrival, "departure", self.departure.isoformat(), "a time after arrival")
        capacity = self.vehicle.battery.capacity_kwh
        for name in ("energy_kwh", "target_kwh", "floor_kwh"):
            value = getattr(self, name)
            _require(0 <= value <= capacity * (1 + 1e-9), name, value, f"between 0 and {capacity} kWh")


@dataclass(frozen=True)
class World:
    """Everything a replay needs at its start: one site, its EVSEs, the visits and the building's load.

    base_load_kw: one value per step of `grid`, held constant over the step.
    import_cap_kw, export_cap_kw: one value per step; caps of the site combined with limits in force.
    begin: the replay starts here, inside the first step; defaults to the start of the grid.
    feeder: the street's grid on the same `grid`, with a place for each EVSE; its base loads are all that is drawn there
        besides these EVSEs, the site's building included. None: nothing is known of it.
    """

    site: Site
    evses: tuple[Evse, ...]
    visits: tuple[Visit, ...]
    grid: TimeGrid
    base_load_kw: NDArray[np.float64]
    import_cap_kw: NDArray[np.float64]
    export_cap_kw: NDArray[np.float64]
    begin: datetime | None = None
    feeder: Scene | None = None

    def __post_init__(self) -> None:
        if self.begin is not None:
            require_utc(self.begin, "begin")
            _require(self.grid.index(self.begin) == 0, "begin", self.begin.isoformat(), "a time in the first step")
        for name in ("base_load_kw", "import_cap_kw", "export_cap_kw"):
            shape = getattr(self, name).shape
            _require(shape == (self.grid.steps,), name, shape, f"shape ({self.grid.steps},)")
        known = {evse.id for evse in self.evses}
        _require(len(known) == len(self.evses), "evses", len(self.evses), "unique EVSE ids")
        for visit in self.visits:
            _require(visit.evse_id in known, "visits", visit.evse_id, "an EVSE of this world")
        if self.feeder is not None:
            _require(self.feeder.grid == self.grid, "feeder", self.feeder.grid, f"on the world's grid, {self.grid}")
            for evse_id in sorted(known - set(self.feeder.evse_ids)):
                _require(False, "feeder", evse_id, "a connection point for every EVSE")


@dataclass(frozen=True)
class Schedule:
    """Set-points for every EVSE: power_kw of shape (evse, step); positive charges, negative discharges.

    declared_shortfall_kwh: what the plan itself says it will miss, by visit id (kWh below target at departure).
    """

    grid: TimeGrid
    evse_ids: tuple[str, ...]
    power_kw: NDArray[np.float64]
    declared_shortfall_kwh: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = (len(self.evse_ids), self.grid.steps)
        _require(self.power_kw.shape == expected, "power_kw", self.power_kw.shape, f"shape {expected}")
        _require(bool(np.isfinite(self.power_kw).all()), "power_kw", "not finite", "finite powers")


def utc(text: str) -> datetime:
    """Parse an ISO 8601 time with offset into UTC; raise an `AssetError` if it is naive or not a time."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise AssetError("time", text, "an ISO 8601 time with offset") from None
    _require(when.tzinfo is not None, "time", text, "an ISO 8601 time with offset")
    return when.astimezone(UTC)
