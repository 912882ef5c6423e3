"""What a grid code has an inverter do by itself: curves over voltage, tripping, coming back; named settings in a file.

Everything is per unit of the inverter's rated VA and of the rated phase voltage, so that one code serves every size.
The file is `twin/data/grid_codes.toml`; it names the source of every figure.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from importlib.resources import files
from math import isfinite, log
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from twin.impossible import ImpossibleValue

Floats = NDArray[np.float64]

FILE: Final = "grid_codes.toml"

RESPONSE: Final = log(10.0)
"""Time constants in an open-loop response time: after it, 90 % of a step is there (IEEE 1547-2018, 3.1)."""


class GridCodeError(ImpossibleValue):
    """A setting is impossible or no code has that name; the message says which, its value and what was expected."""


class Priority(StrEnum):
    """What gives way where both together exceed the rated VA."""

    ACTIVE = "active"
    REACTIVE = "reactive"


@dataclass(frozen=True, slots=True)
class Curve:
    """Straight lines between points over voltage, level beyond the ends.

    response_s: open-loop response time; 0 answers at once.
    """

    voltage_pu: tuple[float, ...]
    value_pu: tuple[float, ...]
    response_s: float = 0.0

    def __post_init__(self) -> None:
        if len(self.voltage_pu) != len(self.value_pu) or not self.voltage_pu:
            raise GridCodeError("curve", (self.voltage_pu, self.value_pu), "as many values as voltages, at least one")
        if not (np.diff(self.voltage_pu) > 0.0).all():
            raise GridCodeError("curve: voltage_pu", self.voltage_pu, "rising voltages")
        if not np.isfinite((self.voltage_pu, self.value_pu)).all():
            raise GridCodeError("curve", (self.voltage_pu, self.value_pu), "finite numbers")
        if not (isfinite(self.response_s) and self.response_s >= 0.0):
            raise GridCodeError("curve: response_s", self.response_s, "0 s or more")

    def at(self, voltage_pu: Floats) -> Floats:
        value: Floats = np.interp(voltage_pu, self.voltage_pu, self.value_pu)
        return value

    @property
    def time_constant_s(self) -> float:
        return self.response_s / RESPONSE


@dataclass(frozen=True, slots=True)
class Trip:
    """Beyond `voltage_pu` for `after_s` the inverter disconnects.

    is_above: a limit above, judged by the highest phase; else one below, judged by the lowest. mean_s: the voltage is
    the mean over so long; 0: that of the moment.
    """

    is_above: bool
    voltage_pu: float
    after_s: float
    mean_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("voltage_pu", "after_s", "mean_s"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0.0):
                raise GridCodeError(f"trip: {name}", value, "0 or more")


@dataclass(frozen=True, slots=True)
class Reconnection:
    """After a trip: `delay_s` with every phase inside `band_pu`, then power up to a limit that rises evenly."""

    band_pu: tuple[float, float]
    delay_s: float
    ramp_pu_per_min: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.band_pu[0] < self.band_pu[1]:
            raise GridCodeError("reconnection: band_pu", self.band_pu, "0 <= lowest < highest")
        if not (isfinite(self.delay_s) and self.delay_s >= 0.0):
            raise GridCodeError("reconnection: delay_s", self.delay_s, "0 s or more")
        if not self.ramp_pu_per_min > 0.0:
            raise GridCodeError("reconnection: ramp_pu_per_min", self.ramp_pu_per_min, "above 0")


@dataclass(frozen=True, slots=True)
class GridCode:
    """Settings of one kind of inverter.

    volt_var: vars fed in per rated VA; None: the EVSE keeps its power factor. full_var_from_pu: watts per rated VA
        from which it does all of that, in proportion below, so that a charger without a car does nothing.
    var_while_charging: whether it does so while it charges too.
    volt_watt, charge_volt_watt: most power out and in, per rated VA, 0 to 1; None: no limit.
    reconnection: None: it never comes back by itself.
    """

    name: str
    volt_var: Curve | None = None
    full_var_from_pu: float = 0.2
    var_while_charging: bool = True
    volt_watt: Curve | None = None
    charge_volt_watt: Curve | None = None
    priority: Priority = Priority.REACTIVE
    trips: tuple[Trip, ...] = ()
    reconnection: Reconnection | None = None
    sources: dict[str, str] = field(default_factory=dict, compare=False, hash=False)
    assumed: dict[str, str] = field(default_factory=dict, compare=False, hash=False)

    def __post_init__(self) -> None:
        if self.volt_var is not None and max(map(abs, self.volt_var.value_pu)) > 1.0:
            raise GridCodeError(f"{self.name}: volt_var", self.volt_var.value_pu, "vars up to the rated VA, -1 to 1")
        for name in ("volt_watt", "charge_volt_watt"):
            curve: Curve | None = getattr(self, name)
            if curve is not None and not all(0.0 <= value <= 1.0 for value in curve.value_pu):
                raise GridCodeError(f"{self.name}: {name}", curve.value_pu, "limits from 0 to 1")
        if not 0.0 < self.full_var_from_pu <= 1.0:
            raise GridCodeError(f"{self.name}: full_var_from_pu", self.full_var_from_pu, "above 0, at most 1")

    def without_lag(self) -> GridCode:
        """The same with curves that answer at once."""
        var, out, into = (
            None if curve is None else replace(curve, response_s=0.0)
            for curve in (self.volt_var, self.volt_watt, self.charge_volt_watt)
        )
        return replace(self, volt_var=var, volt_watt=out, charge_volt_watt=into)

    @property
    def has_curves(self) -> bool:
        """Whether power depends on the voltage of the moment."""
        return any(curve is not None for curve in (self.volt_var, self.volt_watt, self.charge_volt_watt))


def grid_code(name: str) -> GridCode:
    """The code of that name, e.g. `ieee-1547-2018-b`.

    Raises:
        GridCodeError: no such name; the message lists those that exist.
    """
    codes = _codes()
    if name not in codes:
        raise GridCodeError(FILE, name, f"one of {', '.join(codes)}")
    return codes[name]


def grid_code_names() -> tuple[str, ...]:
    """All names."""
    return tuple(_codes())


_NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table in which a misspelt key is an error."""


class _VoltVarTable(_Table, frozen=True):
    voltage_pu: list[float]
    injected_pu: list[float]
    full_from_pu: float
    response_s: _NotNegative = 0.0


class _VoltWattTable(_Table, frozen=True):
    voltage_pu: list[float]
    limit_pu: list[float]
    response_s: _NotNegative = 0.0

    def curve(self) -> Curve:
        return Curve(tuple(self.voltage_pu), tuple(self.limit_pu), self.response_s)


class _TripTable(_Table, frozen=True):
    above: bool
    voltage_pu: _NotNegative
    after_s: _NotNegative
    mean_s: _NotNegative = 0.0


class _ReconnectTable(_Table, frozen=True):
    band_pu: tuple[float, float]
    delay_s: _NotNegative
    ramp_pu_per_min: float


class _CodeTable(_Table, frozen=True):
    name: str
    sources: dict[str, str]
    assumed: dict[str, str] = {}
    volt_var: _VoltVarTable | None = None
    volt_watt: _VoltWattTable | None = None
    charge_volt_watt: _VoltWattTable | None = None
    var_while_charging: bool = True
    priority: Priority = Priority.REACTIVE
    trips: list[_TripTable] = []
    reconnect: _ReconnectTable | None = None

    def code(self) -> GridCode:
        var, back = self.volt_var, self.reconnect
        return GridCode(
            self.name,
            None if var is None else Curve(tuple(var.voltage_pu), tuple(var.injected_pu), var.response_s),
            0.2 if var is None else var.full_from_pu,
            self.var_while_charging,
            None if self.volt_watt is None else self.volt_watt.curve(),
            None if self.charge_volt_watt is None else self.charge_volt_watt.curve(),
            self.priority,
            tuple(Trip(trip.above, trip.voltage_pu, trip.after_s, trip.mean_s) for trip in self.trips),
            None if back is None else Reconnection(back.band_pu, back.delay_s, back.ramp_pu_per_min),
            self.sources, self.assumed,
        )


@cache
def _codes() -> dict[str, GridCode]:
    text = files("twin").joinpath("data", FILE).read_text(encoding="utf-8")
    return {
        name: table.code() for name, table in msgspec.convert(tomllib.loads(text), dict[str, _CodeTable]).items()
    }
