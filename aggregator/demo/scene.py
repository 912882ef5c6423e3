"""The demo's scenario: the twin's part (site, cars, truth) and the aggregator's (prices, permits, signals)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field, ValidationError

from aggregator.fleet.model import DepartureTarget
from aggregator.refusal import Refused
from aggregator.studies.terms import (
    ForecastTable,
    NonNegative,
    ProgrammeTable,
    TariffTable,
    TermsTable,
    WearTable,
)
from markets.rate import RateSchedule, shipped_rate
from twin.scenario import DeclaredVisit, Scenario, load_scenario


class PermitsTable(TermsTable):
    """One approval for every bidirectional EVSE and vehicle model of the scenario."""

    grid_code: str
    reference: str
    max_discharge_kw: NonNegative
    expires: AwareDatetime
    site_export_limit_kw: NonNegative
    warranty_kwh: NonNegative
    warranty_hours: NonNegative


class EventTable(TermsTable):
    """An event of the utility: hold net import at or below max_net_kw."""

    programme: str
    posted: AwareDatetime
    start: AwareDatetime
    end: AwareDatetime
    max_net_kw: float


class LimitTable(TermsTable):
    """A mandatory limit, unannounced: posted when it starts."""

    programme: str
    start: AwareDatetime
    minutes: Annotated[int, Field(gt=0)]
    max_net_kw: NonNegative

    @property
    def end(self) -> datetime:
        return self.start + timedelta(minutes=self.minutes)


class SignalsTable(TermsTable):
    event: EventTable
    limit: LimitTable


class FallbackTable(TermsTable):
    ac_kw: NonNegative
    dc_kw: NonNegative


class FleetChangeTable(TermsTable):
    """At `at` the fleet manager moves the departure of the car at `evse`."""

    at: AwareDatetime
    evse: str
    departure: AwareDatetime


class DemoTable(TermsTable):
    wear: WearTable
    fallback: FallbackTable
    fleet_change: FleetChangeTable


class AggregatorTables(TermsTable):
    """The tables of a scenario file that the twin skips."""

    forecast: ForecastTable
    tariff: TariffTable
    permits: PermitsTable
    programmes: tuple[ProgrammeTable, ...]
    signals: SignalsTable
    demo: DemoTable


@dataclass(frozen=True)
class Scene:
    """A scenario with both its parts read and checked."""

    path: Path
    scenario: Scenario
    tables: AggregatorTables
    rate: RateSchedule

    def declared(self) -> Mapping[str, DeclaredVisit]:
        """What each driver's app says on plug-in, by visit id."""
        return self.scenario.truth().declared

    def changed_visit(self) -> DeclaredVisit:
        """The visit whose departure the fleet manager moves.

        Raises:
            Refused: no car stands at that EVSE then.
        """
        change = self.tables.demo.fleet_change
        for visit in self.scenario.truth().visits:
            if visit.evse_id == change.evse and visit.arrival <= change.at < visit.departure:
                return self.declared()[visit.id]
        raise Refused(f"{self.path}: demo.fleet_change.evse: {change.evse!r}, expected an EVSE with a car at that time")


def load_scene(path: Path) -> Scene:
    """Read a scenario file with the aggregator's tables.

    Raises:
        ScenarioError: the twin's part is faulty. Refused: the aggregator's part is.
    """
    scenario = load_scenario(path)
    raw = tomllib.loads(path.read_text("utf-8"))
    try:
        tables = AggregatorTables.model_validate({
            name: raw[name] for name in AggregatorTables.model_fields if name in raw
        })
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise Refused(f"{path}: {place}: {fault.get('input')!r}, {fault['msg']}") from None
    return Scene(path, scenario, tables, shipped_rate(tables.tariff.shipped))


def target_of(declared: DeclaredVisit, departure: datetime | None = None) -> DepartureTarget:
    """The declaration as the service takes it."""
    return DepartureTarget(
        declared.id_token, departure or declared.departure, declared.requested_kwh, declared.vehicle_model,
        declared.v2g_consent, declared.floor_soc,
    )
