"""The scenario file as it stands on disk: its tables and fields with their types, ranges and defaults.

`docs/scenario.md` explains every field to the people who write such files. Tables that speak of money, programmes and
the service's behaviour are the aggregator's and are not listed here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

AGGREGATOR_TABLES = frozenset({
    "tariff", "permits", "programmes", "signals", "demo", "forecast", "wear", "fallback", "fleet_change",
})

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
# Upper bounds are far above any site on earth: what is beyond them would overflow somewhere deep.
NotNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e6)]
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]
SignedKw = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Kwh = Annotated[float, msgspec.Meta(ge=1e-3, le=1e6)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
Horizon = Annotated[float, msgspec.Meta(ge=0.25, le=168.0)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Few = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Years = Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)]
Phases = Annotated[int, msgspec.Meta(ge=1, le=3)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Clock = Annotated[str, msgspec.Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Hourly = Annotated[list[NotNegative], msgspec.Meta(min_length=24, max_length=24)]
Protocol = Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Chemistry = Literal["nmc", "lfp", "lfp-prismatic"]
Celsius = Annotated[float, msgspec.Meta(ge=-40.0, le=80.0)]
Monthly = Annotated[list[Celsius], msgspec.Meta(min_length=12, max_length=12)]
PerUnit = Annotated[float, msgspec.Meta(gt=0.0, le=10.0)]
PowerFactor = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
PhaseNames = Literal["a", "b", "c", "ab", "ac", "bc", "abc"]
OpenFraction = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
ControlName = Literal["uncontrolled", "round_robin", "edf", "laxity", "proportional", "schedule", "planner"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table in which a misspelt key is an error."""


class SiteTable(Table, frozen=True):
    """The connection point; caps are on net power (building, PV and cars), both 0 or more."""

    timezone: Name
    import_cap_kw: NotNegative
    export_cap_kw: NotNegative = 0.0
    id: Name = "site"


class StationType(Table, frozen=True):
    """What all stations of one make share: a charger of the catalogue, or powers at the connector written out.

    Fields that are written beside `charger` change what the catalogue says. loss: of a DC charger's power electronics.
    """

    charger: Name | None = None
    vendor: Name = "Twin"
    model: Name | None = None
    current: Literal["ac", "dc"] | None = None
    max_charge_kw: Positive | None = None
    min_charge_kw: NotNegative | None = None
    max_discharge_kw: NotNegative | None = None
    ac_phases: Phases | None = None
    ac_volts: Positive | None = None
    ac_max_current_a: Positive | None = None
    response_delay_s: Seconds | None = None
    response_ramp_kw_per_s: NotNegative | None = None
    response_granularity_kw: NotNegative | None = None
    charge_bias_kw: SignedKw | None = None
    discharge_bias_kw: SignedKw | None = None
    idle_bias_kw: SignedKw | None = None
    loss_standby_kw: NotNegative | None = None
    loss_proportional: NotNegative | None = None
    loss_quadratic_per_kw: NotNegative | None = None


class StationRow(Table, frozen=True):
    """One station by its own id. type: a name in `station_types` or of the catalogue."""

    id: Name
    type: Name
    protocol: Protocol = "ocpp2.0.1"


class StationGroup(Table, frozen=True):
    """`count` like stations, called prefix01, prefix02, ...; prefix: the group's id and a dash where none is given."""

    id: Name
    type: Name
    count: Few
    prefix: Name | None = None
    protocol: Protocol = "ocpp2.0.1"


class VehicleTable(Table, frozen=True):
    """One class of cars: of the catalogue, or written out. Curves: largest battery-side power in kW over SoC.

    plugs: currents it is drawn for; weight: share in the draw of a visit's car. Fields that are written beside
    `catalogue` change what the catalogue says. chemistry: cell model by which the battery ages.
    """

    model: Name
    catalogue: Name | None = None
    plugs: list[Literal["ac", "dc"]] = []
    weight: Positive = 1.0
    capacity_kwh: Kwh | None = None
    charge_soc: list[Fraction] = []
    charge_kw: list[NotNegative] = []
    max_charge_kw: Positive | None = None
    discharge_soc: list[Fraction] = []
    discharge_kw: list[NotNegative] = []
    max_discharge_kw: NotNegative | None = None
    min_discharge_kw: NotNegative | None = None
    loss_standby_kw: NotNegative | None = None
    loss_proportional: NotNegative | None = None
    loss_quadratic_per_kw: NotNegative | None = None
    soc_min: Fraction | None = None
    soc_max: Fraction | None = None
    ac_phases: Phases | None = None
    ac_max_current_a: Positive | None = None
    chemistry: Chemistry | None = None


class SessionsTable(Table, frozen=True):
    """A file of recorded sessions, relative to the scenario file; `twin:NAME` is one shipped with the twin.

    claimed_only: leave out sessions whose driver is not known to have asked for anything (ACN-Data).
    other_stations: what to do with rows of stations that the scenario does not list.
    timezone: times without offset are local times there; without it they are errors.
    connector: the grid connector to take from a SpiceEV scenario that has several.
    """

    file: Name
    format: Literal["acn", "acn_json", "csv", "spiceev", "ev2gym"] = "acn"
    claimed_only: bool = True
    other_stations: Literal["error", "skip"] = "error"
    timezone: Name | None = None
    connector: Name | None = None


class VisitRow(Table, frozen=True):
    """A visit written out; what is missing is drawn as for recorded sessions.

    Wanted energy: either requested_kwh (battery side, on top of what is there) or target_soc.
    declared_departure: what the driver says; the real departure where nothing is given.
    """

    id: Name
    station: Name
    arrival: datetime
    departure: datetime
    declared_departure: datetime | None = None
    requested_kwh: NotNegative | None = None
    target_soc: Fraction | None = None
    vehicle: Name | None = None
    arrival_soc: Fraction | None = None
    floor_soc: Fraction | None = None
    v2g_consent: bool | None = None


class TimeTable(Table, frozen=True):
    """A local time of day: normal around `mean`, cut to [earliest, latest]; uniform between these without a mean."""

    mean: Clock | None = None
    sd_min: NotNegative = 0.0
    earliest: Clock | None = None
    latest: Clock | None = None


class SocTable(Table, frozen=True):
    """A state of charge: normal around `mean`, cut to [low, high]; uniform between these without a mean."""

    mean: Fraction | None = None
    sd: NotNegative = 0.0
    low: Fraction = 0.0
    high: Fraction = 1.0


class DutyTable(Table, frozen=True):
    """Visits by rule, for depots, homes and offices: on each of `days`, at each EVSE of `group` with chance `share`.

    group: a station group, a station, or "*" for all. The car leaves at the first `departure` after its arrival,
    `nights` days later where that is given. vehicle: a model; the same car at one EVSE every day. Empty: drawn by
    weight among the models that fit the plug.
    """

    id: Name
    group: Name
    arrival: TimeTable
    departure: TimeTable
    days: Annotated[tuple[Day, ...], msgspec.Meta(min_length=1)] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    share: Fraction = 1.0
    nights: Annotated[int, msgspec.Meta(ge=0, le=6)] | None = None
    arrival_soc: SocTable = SocTable(low=0.2, high=0.6)
    target_soc: Fraction = 0.8
    floor_soc: Fraction | None = None
    v2g_consent: bool | None = None
    vehicle: Name | None = None


class DriversTable(Table, frozen=True):
    """What drivers tell their app, and how far they keep to it.

    floor_soc: no discharge below it. v2g_consent_share: drivers who agree to discharge where car and EVSE can.
    departures: when drivers really leave: as recorded at workplaces (`acn`, of `acn_site`), as declared (`perfect`), by
    the early_ and late_ fields (`parametric`), as the file of sessions has it (`replay`). Where nothing is said:
    `perfect` if all visits are by rule and no `acn_site` is given, else `acn`. The other fields are those of
    `twin.drivers.DriverModel` and `twin.departures.ParametricDepartures`.
    """

    floor_soc: Fraction = 0.2
    v2g_consent_share: Fraction = 1.0
    departures: Literal["acn", "perfect", "parametric", "replay"] | None = None
    acn_site: Name = "pooled"
    early_share: Fraction = 0.3
    early_mean_min: Positive = 120.0
    late_share: Fraction = 0.0
    late_mean_min: Positive = 60.0
    no_show_share: Fraction = 0.0
    unplug_share: Fraction = 0.0
    retarget_share: Fraction = 0.0
    retarget_factor: tuple[NotNegative, NotNegative] = (0.5, 1.5)
    correct_share: Fraction = 0.0
    correct_notice_s: Seconds = 1800.0
    min_stay_s: PositiveSeconds = 60.0


class ArrivalTable(Table, frozen=True):
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


class BuildingTable(Table, frozen=True):
    """The building's load: hourly values of the local day, joined by straight lines, plus noise and steps.

    noise: AR(1) per minute with stationary noise_sd_kw and noise_memory per minute. steps: that many machines of
    step_low_kw to step_high_kw that each run once for step_low_min to step_high_min minutes.
    file: a CSV of `time` (with offset) and `power_kw` instead of hourly values; each power holds until the next row.
    """

    hourly_kw: Hourly | None = None
    file: Name | None = None
    scale: NotNegative = 1.0
    noise_sd_kw: NotNegative = 0.0
    noise_memory: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    steps: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    step_low_kw: NotNegative = 0.0
    step_high_kw: NotNegative = 0.0
    step_low_min: Count = 1
    step_high_min: Count = 1


class PvTable(Table, frozen=True):
    """Production of a PV plant behind the same meter, 0 or more: as the building's load, without noise and steps."""

    hourly_kw: Hourly | None = None
    file: Name | None = None
    scale: NotNegative = 1.0


class TruthTable(Table, frozen=True):
    """What no service can know and no recording holds: assumed, drawn from `seed`."""

    seed: int = 0
    arrival: ArrivalTable = ArrivalTable()
    building: BuildingTable | None = None


class ControlTable(Table, frozen=True):
    """Who decides the set-points.

    discharges: cars may discharge where a limit or an event asks for less than the building draws.
    between_steps: rules also share anew whenever a car comes or goes; else who comes waits for the next step.
    schedule: a CSV of `evse`, `time` (with offset) and `power_kw`; each set-point holds until the EVSE's next row.
    horizon_h: how far the planner looks ahead.
    """

    name: ControlName = "uncontrolled"
    discharges: bool = False
    between_steps: bool = True
    schedule: Name | None = None
    horizon_h: Horizon = 24.0


class EventRow(Table, frozen=True):
    """A wish of the grid: hold net import at or below max_net_kw, or reduction_kw below what it would have been.

    promised_kw: mean reduction that was promised; reduction_kw where nothing else is said. notice_s: how long before
    its start it is known. enabled: false takes the event out of a what-if.
    """

    id: Name
    start: datetime
    end: datetime
    max_net_kw: SignedKw | None = None
    reduction_kw: NotNegative | None = None
    promised_kw: NotNegative | None = None
    notice_s: Seconds = 0.0
    enabled: bool = True


class AgeingTable(Table, frozen=True):
    """What the stays take of the batteries' lives is reckoned where this table stands.

    temperature_c: of the batteries, all the time or by month of arrival. end_of_life: share of the first capacity at
    which a battery is used up. look_ahead_years: a battery that lasts longer is looked at until then. chemistry: of
    cars that say none. enabled: false leaves wear out of a what-if.
    """

    temperature_c: Celsius | Monthly = 20.0
    end_of_life: OpenFraction = 0.8
    look_ahead_years: Years = 15.0
    chemistry: Chemistry = "nmc"
    enabled: bool = True


class FeederLimitsTable(Table, frozen=True):
    """What the grid has to hold. voltage_pu: of nominal_volts where that is given, else of each bus's rating.

    unbalance: negative- over positive-sequence voltage.
    """

    voltage_pu: tuple[PerUnit, PerUnit] = (0.9, 1.1)
    line_loading: Positive = 1.0
    transformer_loading: Positive = 1.0
    unbalance: Positive = 0.02


class InvertersTable(Table, frozen=True):
    """What the EVSEs' inverters do by themselves: a name of `twin/data/grid_codes.toml`.

    rated_kva: of each; None: the larger of its charging and discharging power. nominal_volts: phase to neutral, what
    they take for 1 p.u.; None: as the feeder. lag: their curves take the time that the code says; false: none.
    """

    grid_code: Name
    rated_kva: Positive | None = None
    nominal_volts: Positive | None = None
    lag: bool = False


class FeederTable(Table, frozen=True):
    """The grid on which homes and EVSEs hang: a shipped one or the folder of one.

    hourly_kw, file: what is drawn without EVs: hourly powers of every home on a local day, or a CSV of `time` (with
    offset) and a column of kW for each connection point. homes: points that draw hourly_kw.
    points, groups, spread: where EVSEs hang: points for all, or by station group or station; evenly spread in the
    feeder's order, drawn by truth.seed, or one after the other. phases: of all EVSEs or of each; rotate: the first
    conductor is another phase from EVSE to EVSE. source_pu: of the grid above; None: as the feeder says. ambient_c: air
    around the transformer, all the time or by month.
    """

    example: Literal["european_lv"] | None = None
    folder: Name | None = None
    hourly_kw: Hourly | None = None
    file: Name | None = None
    homes: list[Name] = []
    scale: NotNegative = 1.0
    load_power_factor: PowerFactor = 0.95
    points: list[Name] = []
    groups: dict[str, list[Name]] = {}
    spread: Literal["even", "seeded", "listed"] = "even"
    phases: PhaseNames | list[PhaseNames] | None = None
    rotate: bool = True
    power_factor: PowerFactor = 1.0
    nominal_volts: Positive | None = None
    source_pu: PerUnit | None = None
    inverters: InvertersTable | None = None
    limits: FeederLimitsTable = FeederLimitsTable()
    ambient_c: Celsius | Monthly = 20.0


class RunTable(Table, frozen=True):
    """step_s: length of a step, at which controllers are asked and energies recorded; divides the scenario's time.

    replicas: how many courses the future may take. seed: of drivers and faults.
    redraw_duties: visits by rule are drawn anew in every replica.
    unfinished: visits that are not over when the scenario ends are left out, or kept without being judged.
    """

    step_s: Count = 900
    replicas: Few = 1
    seed: int = 0
    redraw_duties: bool = True
    unfinished: Literal["drop", "keep"] = "drop"


class ScenarioFile(Table, frozen=True):
    """The whole file."""

    name: Name
    start: datetime
    end: datetime
    site: SiteTable
    station_types: dict[str, StationType] = {}
    stations: list[StationRow] = []
    station_groups: list[StationGroup] = []
    vehicles: list[VehicleTable] = []
    sessions: SessionsTable | None = None
    visits: list[VisitRow] = []
    duties: list[DutyTable] = []
    drivers: DriversTable = DriversTable()
    truth: TruthTable = TruthTable()
    building: BuildingTable | None = None
    pv: PvTable | None = None
    feeder: FeederTable | None = None
    control: ControlTable = ControlTable()
    faults: dict[str, Any] = {}
    events: list[EventRow] = []
    ageing: AgeingTable | None = None
    run: RunTable = RunTable()
    assumptions: list[str] = []
