"""The sections of the assets file, as they are written.

Shapes and single values only; what several sections say together is checked where the file is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from aggregator.ocpp.events import OcppVersion
from aggregator.operations.access import Role
from aggregator.signals.model import Obligation
from twin.assets import Current

_HOURS = 24
PHASES = "^(a|b|c|ab|ac|bc|abc)$"

Name = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="lower-case hex SHA-256")]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SiteSection(Section):
    """The connection point and what to assume where nobody said.

    base_load_forecast_kw: building load for each local hour of the day. peak_so_far_kw: this month's billing peak.
    arrivals_per_hour: mean arrivals in each local hour of an ordinary day; without it no arrival is expected.
    arrival_energy_kwh, arrival_power_kw: what an expected car takes, and how fast.
    default_stay_h, default_request_kwh: of a driver who declared nothing.
    """

    id: Name
    name: str = ""
    timezone: Name
    import_cap_kw: Positive
    export_cap_kw: NonNegative = 0.0
    peak_so_far_kw: NonNegative = 0.0
    base_load_forecast_kw: Annotated[tuple[NonNegative, ...], Field(min_length=_HOURS, max_length=_HOURS)]
    arrivals_per_hour: Annotated[tuple[NonNegative, ...], Field(min_length=_HOURS, max_length=_HOURS)] | None = None
    arrival_energy_kwh: Positive = 10.0
    arrival_power_kw: Positive = 6.656
    default_stay_h: Positive = 8.0
    default_request_kwh: Positive = 10.0


class EvseSection(Section):
    """One EVSE and the station it belongs to. fallback_kw: its charging share when nobody tells it anything."""

    id: Name
    station_id: Name
    evse_number: Annotated[int, Field(ge=1)] = 1
    version: OcppVersion
    current: Current
    max_charge_kw: Positive
    min_charge_kw: NonNegative = 0.0
    max_discharge_kw: NonNegative = 0.0
    fallback_kw: NonNegative
    response_delay_s: NonNegative = 0.0
    response_ramp_kw_per_s: NonNegative = 0.0


class CurveSection(Section):
    """Battery-side power limit by SoC."""

    soc: tuple[float, ...]
    kw: tuple[float, ...]


class LossSection(Section):
    """Conversion losses; see `twin.assets.LossCurve`."""

    standby_kw: float = 0.0
    proportional: float = 0.0
    quadratic_per_kw: float = 0.0


class VehicleSection(Section):
    """A vehicle model. wear_per_kwh: money per kWh through the battery, each way, in the tariff's currency."""

    id: Name
    capacity_kwh: Positive
    max_charge_kw: Positive
    max_discharge_kw: NonNegative = 0.0
    min_discharge_kw: NonNegative = 0.0
    charge_curve: CurveSection
    discharge_curve: CurveSection | None = None
    loss: LossSection = LossSection()
    soc_min: float = 0.0
    soc_max: float = 1.0
    wear_per_kwh: NonNegative = 0.0


class EvsePermit(Section):
    """Interconnection approval of one EVSE; in force before `expires`."""

    evse_id: Name
    reference: Name
    grid_code: Name
    max_discharge_kw: NonNegative
    expires: AwareDatetime | None = None


class VehiclePermit(Section):
    """What a maker covers of one model at one kind of current. evse_ids: the pairs approved (needed for AC)."""

    model: Name
    current: Current
    warranty_kwh: NonNegative
    warranty_hours: NonNegative
    evse_ids: tuple[Name, ...] | None = None


class PermitsSection(Section):
    """Everything that discharge needs.

    site_export_limit_kw: None = never agreed, so no discharge at all; 0 = into the building only.
    """

    site_export_limit_kw: NonNegative | None = None
    evses: tuple[EvsePermit, ...] = ()
    vehicles: tuple[VehiclePermit, ...] = ()
    programmes: tuple[Name, ...] = ()


class ProgrammeSection(Section):
    """A programme the site is enrolled in; prices per kWh in the tariff's currency."""

    name: Name
    party: Name
    obligation: Obligation
    incentive_per_kwh: NonNegative = 0.0
    shortfall_per_kwh: NonNegative = 0.0


class ClientSection(Section):
    """An API client; its secret stands here as a digest only."""

    client_id: Name
    role: Role
    scopes: tuple[Name, ...] = ()
    secret_sha256: Digest = Field(repr=False)
    party: str = ""


class FeederEvse(Section):
    """Where one EVSE hangs; without phases on all of its point, its power split evenly."""

    evse_id: Name
    point: Name
    phases: Annotated[str, Field(pattern=PHASES)] | None = None


class FeederLoad(Section):
    """What a neighbour's connection point is expected to draw in each local hour; below 0 it feeds in."""

    point: Name
    hourly_kw: Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...],
                         Field(min_length=_HOURS, max_length=_HOURS)]


class FeederLimits(Section):
    """What the grid must hold; see `twin.feeder.scene.Limits`. unbalance = 1.0 is as good as none."""

    voltage_pu: tuple[Positive, Positive] = (0.90, 1.10)
    line_loading: Positive = 1.0
    transformer_loading: Positive = 1.0
    unbalance: Positive = 0.02


class FeederSection(Section):
    """The street's grid: a folder as `v2g feeder import` writes it, beside this file, or a shipped example.

    building_point: the connection point of the site's building; EVSEs that are not listed hang there too.
    power_factor: of the EVSEs; load_power_factor: of the building and the neighbours.
    Without loads the homes of an example draw its day; with loads they are all that is drawn.
    """

    folder: Path | None = None
    example: Literal["european_lv"] | None = None
    building_point: Name
    power_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    load_power_factor: Annotated[float, Field(gt=0, le=1)] = 0.95
    limits: FeederLimits = FeederLimits()
    evses: tuple[FeederEvse, ...] = ()
    loads: tuple[FeederLoad, ...] | None = None


class StationSection(Section):
    """A charging station's credentials for OCPP Basic authentication."""

    id: Name
    password_sha256: Digest = Field(repr=False)
