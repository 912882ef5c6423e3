"""What the planner is told of money and of an ordinary day at a simulated site.

A scenario file may carry the service's own tables beside the twin's (`tariff`, `programmes`, `forecast`, `wear`): then
a simulated planner decides on the same terms as the service does at that site. What the file does not say is assumed
here, and the report says so.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggregator.planning.site.forecast import ArrivalForecast, BaseLoadForecast
from aggregator.refusal import Refused
from aggregator.signals.model import Obligation, Programme
from markets.rate import Period, RateError, RateSchedule, Season, shipped_rate
from twin.scenario.paths import resolve
from twin.scenario.reading import merged

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_PRICE_PER_KWH = Decimal("0.20")
_INCENTIVE_PER_KWH = 1.0
_SHORTFALL_PER_KWH = 2.0
_WEAR_PER_KWH = 0.075


class TermsTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ForecastTable(TermsTable):
    """What a site knows of its ordinary day, by local hour: building load and arrivals."""

    arrivals_per_hour: Annotated[tuple[NonNegative, ...], Field(min_length=24, max_length=24)]
    arrival_energy_kwh: NonNegative
    arrival_power_kw: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    base_load_kw: Annotated[tuple[NonNegative, ...], Field(min_length=24, max_length=24)]


class TariffTable(TermsTable):
    """shipped: name of a rate shipped with the package. peak_so_far_kw: highest quarter hour of the month until now."""

    shipped: str
    peak_so_far_kw: NonNegative


class ProgrammeTable(TermsTable):
    """What the grid pays for a kWh and takes for one that is missing."""

    name: str
    obligation: Obligation
    incentive_per_kwh: NonNegative = 0.0
    shortfall_per_kwh: NonNegative = 0.0


class WearTable(TermsTable):
    """per_kwh: price of battery wear per kWh of throughput."""

    per_kwh: NonNegative


class _DemoTable(BaseModel):
    wear: WearTable | None = None


class _Tables(BaseModel):
    """The tables of a scenario file that concern a planner; the others are somebody else's."""

    tariff: TariffTable | None = None
    programmes: tuple[ProgrammeTable, ...] = ()
    forecast: ForecastTable | None = None
    wear: WearTable | None = None
    demo: _DemoTable = _DemoTable()


@dataclass(frozen=True)
class Terms:
    """What a planner reckons with.

    rate: None is one price at all hours and none for the peak: a day says nothing about its month.
    peak_so_far_kw: of the month, where the rate prices the peak.
    incentive_per_kwh, shortfall_per_kwh: of an event, paid for what is delivered and for what is missing.
    base_load: None is the mean of each local hour of the scenario itself. arrivals: None expects no car.
    assumed: sentences for the report, of what no file says.
    """

    rate: RateSchedule | None = None
    peak_so_far_kw: float = 0.0
    incentive_per_kwh: float = _INCENTIVE_PER_KWH
    shortfall_per_kwh: float = _SHORTFALL_PER_KWH
    wear_per_kwh: float = _WEAR_PER_KWH
    forecast: ForecastTable | None = None
    assumed: tuple[str, ...] = ()

    def programme(self, name: str) -> Programme:
        return Programme(name, "grid", Obligation.COMMITTED, self.incentive_per_kwh, self.shortfall_per_kwh)

    def base_load(self, timezone: str) -> BaseLoadForecast | None:
        return None if self.forecast is None else BaseLoadForecast(self.forecast.base_load_kw, timezone)

    def arrivals(self, timezone: str) -> ArrivalForecast | None:
        table = self.forecast
        if table is None:
            return None
        return ArrivalForecast(table.arrivals_per_hour, table.arrival_energy_kwh, table.arrival_power_kw, timezone)


def load_terms(path: Path) -> Terms:
    """The terms of the scenario file `path` and of those that it extends.

    Raises:
        Refused: a table is faulty; the message names file, field and value.
    """
    try:
        tables = _Tables.model_validate(_raw(path))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise Refused(f"{path}: {place}: {fault.get('input')!r}, {fault['msg']}") from None
    return _terms(path, tables)


def flat_rate(timezone: str) -> RateSchedule:
    """One price at all hours: the planner then cares for drivers, caps and events alone."""
    always = (Period("00:00", "24:00", _PRICE_PER_KWH),)
    return RateSchedule(
        "flat", "assumed", date(2000, 1, 1), "EUR", timezone, Decimal(0),
        (Season("all year", "01-01", "12-31", always, always),),
    )


def _raw(path: Path) -> dict[str, object]:
    """The file over those that it extends. The twin has read all of them before: they are there and no circle."""
    tables: dict[str, object] = tomllib.loads(path.read_text("utf-8"))
    base = tables.get("extends")
    return merged(_raw(resolve(base, path)), tables) if isinstance(base, str) else tables


def _terms(path: Path, tables: _Tables) -> Terms:
    said: list[str] = []
    rate, peak_kw = None, 0.0
    if tables.tariff is not None:
        try:
            rate = shipped_rate(tables.tariff.shipped)
        except RateError as error:
            raise Refused(f"{path}: tariff.shipped: {error}") from None
        peak_kw = tables.tariff.peak_so_far_kw
    else:
        said.append(f"The planner sees one price at all hours ({_PRICE_PER_KWH} per kWh) and none for the peak.")
    committed = next((one for one in tables.programmes if one.obligation is Obligation.COMMITTED), None)
    if committed is None:
        said.append(
            f"The planner is paid {_INCENTIVE_PER_KWH:g} per kWh of an event and pays {_SHORTFALL_PER_KWH:g} for each "
            "kWh that is missing."
        )
        incentive, shortfall = _INCENTIVE_PER_KWH, _SHORTFALL_PER_KWH
    else:
        incentive, shortfall = committed.incentive_per_kwh, committed.shortfall_per_kwh
    wear = tables.wear or tables.demo.wear
    if wear is None:
        said.append(f"To the planner battery wear costs {_WEAR_PER_KWH:g} per kWh of throughput.")
    if tables.forecast is None:
        said.append(
            "The planner's forecast of the building is the mean of each local hour of this scenario; it does not know "
            "of cars that are still to come."
        )
    said.append(
        "The planner weighs early departures as ACN-Data's drivers make them, whatever the scenario's drivers do."
    )
    return Terms(
        rate, peak_kw, incentive, shortfall, _WEAR_PER_KWH if wear is None else wear.per_kwh, tables.forecast,
        tuple(said),
    )
