"""Who hangs on a feeder, and by what law: connection points, their limits in time, how a load answers to voltage."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isclose
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid
from twin.feeder.network.phases import PHASES, Connection, require_ordered
from twin.feeder.network.plausible import FeederError, Most, require_positive


@dataclass(frozen=True, slots=True)
class Zip:
    """Shares of a load that go with voltage squared (impedance), with voltage (current) and with neither (power)."""

    impedance: float = 0.0
    current: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        parts = (self.impedance, self.current, self.power)
        if not all(abs(part) <= Most.RATIO.value for part in parts) or not isclose(sum(parts), 1.0):
            raise FeederError("load type", "zip", parts, "finite shares that add up to 1")


@dataclass(frozen=True, slots=True)
class LoadType:
    """How a load answers to its voltage.

    valid_pu: inside, its ZIP shares hold; outside it is a constant impedance, without a jump at the border (OpenDSS
        beyond vmaxpu, and below vminpu with vlowpu = 0).
    low_pu: where it is above 0, a load below its range falls less: from the border its current goes in a straight line
        to that of its rated impedance at this voltage, and below is that impedance (OpenDSS: vlowpu, by custom 0.5).
    jumps: outside its range it goes on from its rated power, as a load of constant power does, and not from what its
        shares make of it at the border (OpenDSS: load models 3 and 4).
    rated_volts: what 1 p.u. is, across its terminals; None: the bus's rating.
    """

    id: str
    active: Zip = field(default_factory=Zip)
    reactive: Zip = field(default_factory=Zip)
    valid_pu: tuple[float, float] = (0.0, inf)
    rated_volts: float | None = None
    connection: Connection = Connection.WYE
    low_pu: float = 0.0
    jumps: bool = False

    def __post_init__(self) -> None:
        low, high = self.valid_pu
        if not 0.0 <= low < high or low > Most.RATIO.value:
            raise FeederError(f"load type {self.id}", "valid_pu", self.valid_pu, "0 <= lowest < highest")
        if not (self.low_pu == 0.0 or 0.0 < self.low_pu < low):
            raise FeederError(f"load type {self.id}", "low_pu", self.low_pu, f"0, or above 0 and below {low:g}")
        if self.rated_volts is not None:
            require_positive(f"load type {self.id}", "rated_volts", self.rated_volts, Most.VOLTS)

    @property
    def is_constant_power(self) -> bool:
        """Whether it draws its power whatever the voltage."""
        pure = Zip()
        return self.active == pure and self.reactive == pure and self.valid_pu == (0.0, inf)


CONSTANT_POWER: Final = LoadType("constant power")


@dataclass(frozen=True)
class Envelope:
    """Most import and most export (both 0 W or more) at a connection point, one value for each step of `grid`."""

    grid: TimeGrid
    import_w: NDArray[np.float64]
    export_w: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("import_w", "export_w"):
            limits = getattr(self, name)
            if limits.shape != (self.grid.steps,):
                raise FeederError("envelope", name, limits.shape, f"shape ({self.grid.steps},)")
            if not bool(((limits >= 0) & (limits <= Most.POWER.value)).all()):
                worst = limits[~((limits >= 0) & (limits <= Most.POWER.value))][0]
                raise FeederError("envelope", name, float(worst), f"0 W or more, at most {Most.POWER}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Envelope):
            return NotImplemented
        return self.grid == other.grid and np.array_equal(self.import_w, other.import_w) and np.array_equal(
            self.export_w, other.export_w
        )

    __hash__ = None  # type: ignore[assignment] # arrays have no hash


@dataclass(frozen=True, slots=True)
class ConnectionPoint:
    """Where somebody's meter hangs on the feeder. fuse_a: per phase. envelope: limits that change with time."""

    id: str
    bus: str
    phases: str = PHASES
    fuse_a: float | None = None
    load_type: str = CONSTANT_POWER.id
    envelope: Envelope | None = None

    def __post_init__(self) -> None:
        require_ordered(f"connection point {self.id}", self.phases)
        if self.fuse_a is not None:
            require_positive(f"connection point {self.id}", "fuse_a", self.fuse_a, Most.AMPERES)
