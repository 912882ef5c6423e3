"""Real vehicle classes and chargers by name: figures with their sources, shipped beside the code.

So that a scenario can say `nissan-leaf-40` instead of twenty numbers, and so that every number has a source.
The files are `twin/data/vehicles.toml` and `twin/data/chargers.toml`; both are checked field by field when read.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Response, Sleep, Vehicle

VEHICLES_FILE: Final = "vehicles.toml"
CHARGERS_FILE: Final = "chargers.toml"

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Phases = Annotated[int, msgspec.Meta(ge=1, le=3)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class CatalogueError(ValueError):
    """A name is not in the catalogue, or a catalogue file is wrong; the message says where and what was expected."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table in which a misspelt key is an error."""


class CurveTable(_Table, frozen=True):
    """Largest battery-side power in kW over SoC, straight lines between the points."""

    soc: list[Fraction]
    kw: list[NotNegative]

    def curve(self) -> PowerCurve:
        return PowerCurve(tuple(self.soc), tuple(self.kw))


class LossTable(_Table, frozen=True):
    """Loss in kW at battery-side power b: standby_kw + proportional*b + quadratic_per_kw*b^2."""

    standby_kw: NotNegative
    proportional: NotNegative
    quadratic_per_kw: NotNegative

    def curve(self) -> LossCurve:
        return LossCurve(self.standby_kw, self.proportional, self.quadratic_per_kw)


class SleepTable(_Table, frozen=True):
    """A car that falls asleep in a pause; see `twin.assets.Sleep`."""

    after_s: Positive
    wake_kw: Positive
    wake_s: NotNegative = 0.0


class VehicleEntry(_Table, frozen=True):
    """One vehicle class as it stands in the file.

    chemistry: the cell model of `twin.ageing.cells` that is nearest to it. capacity_kwh: usable.
    onboard_loss: from the grid to the battery on AC.
    max_charge_kw: at the connector; on AC `ac_phases` and `ac_max_current_a` limit it further.
    charges_on, discharges_on: kinds of current at which it can; a car may discharge on DC only, a bus know no AC.
    sources: for each fact that is known; assumed: for each figure that is not, why this one was taken.
    """

    model: Text
    chemistry: Literal["nmc", "lfp", "lfp-prismatic"]
    capacity_kwh: Positive
    max_charge_kw: Positive
    charge: CurveTable
    onboard_loss: LossTable
    sources: dict[str, str]
    assumed: dict[str, str] = {}
    discharge: CurveTable | None = None
    max_discharge_kw: NotNegative = 0.0
    min_discharge_kw: NotNegative = 0.0
    ac_phases: Phases = 3
    ac_max_current_a: Positive | None = None
    charges_on: frozenset[Current] = frozenset(Current)
    discharges_on: frozenset[Current] = frozenset()
    soc_min: Fraction = 0.0
    soc_max: Fraction = 1.0
    sleep: SleepTable | None = None

    def vehicle(self) -> Vehicle:
        battery = Battery(
            capacity_kwh=self.capacity_kwh, charge=self.charge.curve(),
            discharge=None if self.discharge is None else self.discharge.curve(),
            loss=self.onboard_loss.curve(), soc_min=self.soc_min, soc_max=self.soc_max,
        )
        return Vehicle(
            model=self.model, battery=battery, max_charge_kw=self.max_charge_kw,
            max_discharge_kw=self.max_discharge_kw, min_discharge_kw=self.min_discharge_kw,
            ac_phases=self.ac_phases, ac_max_current_a=self.ac_max_current_a,
            sleep=None if self.sleep is None else Sleep(self.sleep.after_s, self.sleep.wake_kw, self.sleep.wake_s),
            charges_on=self.charges_on, discharges_on=self.discharges_on,
        )


class ResponseTable(_Table, frozen=True):
    """How the charger follows set-points; local: given at the charger, remote: sent over its back end."""

    local_delay_s: NotNegative = 0.0
    remote_delay_s: NotNegative = 0.0
    ramp_kw_per_s: NotNegative = 0.0
    granularity_kw: NotNegative = 0.0
    charge_bias_kw: float = 0.0
    discharge_bias_kw: float = 0.0
    idle_bias_kw: float = 0.0


class ChargerEntry(_Table, frozen=True):
    """One charger class as it stands in the file; powers at the grid side, `loss` from grid to battery on DC."""

    model: Text
    current: Current
    max_charge_kw: Positive
    sources: dict[str, str]
    assumed: dict[str, str] = {}
    min_charge_kw: NotNegative = 0.0
    max_discharge_kw: NotNegative = 0.0
    ac_phases: Phases = 3
    ac_volts: Positive = 230.0
    ac_max_current_a: Positive | None = None
    loss: LossTable | None = None
    response: ResponseTable = ResponseTable()

    def evse(self, evse_id: str, site_id: str, control: Literal["remote", "local"]) -> Evse:
        table = self.response
        delay = table.remote_delay_s if control == "remote" else table.local_delay_s
        return Evse(
            id=evse_id, site_id=site_id, current=self.current, max_charge_kw=self.max_charge_kw,
            min_charge_kw=self.min_charge_kw, max_discharge_kw=self.max_discharge_kw,
            response=Response(
                delay, table.ramp_kw_per_s, table.granularity_kw,
                table.charge_bias_kw, table.discharge_bias_kw, table.idle_bias_kw,
            ),
            ac_phases=self.ac_phases, ac_volts=self.ac_volts, ac_max_current_a=self.ac_max_current_a,
            loss=None if self.loss is None else self.loss.curve(),
        )


Entry = TypeVar("Entry", VehicleEntry, ChargerEntry)


def vehicle(name: str) -> Vehicle:
    """The vehicle class of that catalogue name, e.g. `nissan-leaf-40`.

    Raises:
        CatalogueError: no such name; the message lists those that exist.
    """
    return vehicle_entry(name).vehicle()


def charger(name: str, evse_id: str, site_id: str, *, control: Literal["remote", "local"] = "remote") -> Evse:
    """An EVSE of that charger class, e.g. `ac-wallbox-11`, with an id and at a site.

    control: where set-points come from; a measured charger answers its own panel faster than its back end.

    Raises:
        CatalogueError: no such name; the message lists those that exist.
    """
    return charger_entry(name).evse(evse_id, site_id, control)


def names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All names: of vehicles, of chargers."""
    return tuple(_vehicles()), tuple(_chargers())


def vehicle_entry(name: str) -> VehicleEntry:
    """The entry with its chemistry, sources and assumptions. Raises as `vehicle`."""
    return _pick(_vehicles(), name, VEHICLES_FILE)


def charger_entry(name: str) -> ChargerEntry:
    """The entry with its sources and assumptions. Raises as `charger`."""
    return _pick(_chargers(), name, CHARGERS_FILE)


def chemistry(model: str) -> str | None:
    """Cell model (see `twin.ageing.CELLS`) of a vehicle of that `Vehicle.model`; None if it is not of the catalogue."""
    return next((entry.chemistry for entry in _vehicles().values() if entry.model == model), None)


def _pick(entries: dict[str, Entry], name: str, file: str) -> Entry:
    entry = entries.get(name)
    if entry is None:
        raise CatalogueError(f"{file}: {name!r}, expected one of {', '.join(entries)}")
    return entry


@cache
def _vehicles() -> dict[str, VehicleEntry]:
    return _read(VEHICLES_FILE, VehicleEntry)


@cache
def _chargers() -> dict[str, ChargerEntry]:
    return _read(CHARGERS_FILE, ChargerEntry)


def _read(file: str, kind: type[Entry]) -> dict[str, Entry]:
    text = files("twin").joinpath("data", file).read_text(encoding="utf-8")
    try:
        return msgspec.convert(tomllib.loads(text), dict[str, kind])  # type: ignore[valid-type]
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CatalogueError(f"{file}: {error}") from error
