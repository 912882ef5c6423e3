"""The file that tells a station process what it emulates: stations, cars that come and go, the building beside them.

It holds the hidden truth of an emulated day (real departures, true energies), so it goes to this process and to no
service. Decoded with msgspec, whose errors carry the path (`$.stations[3].evse.max_charge_kw`); what types cannot say
is checked here and named in the same manner.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from twin.assets import AssetError, Battery, Current, Evse, LossCurve, PowerCurve, Response, Vehicle
from twin.station.rail import Control, EvseRatings, Language, Speech, Transfer

NonNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Version = Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]

LOWEST_VOLTAGE, HIGHEST_VOLTAGE = 0.8, 1.2
"""Of the nominal voltage: what an EVSE and its cars say they can work with."""

ID_TAG_LENGTH = 20  # OCPP 1.6 IdToken is a CiString20Type


class FleetFileError(ValueError):
    """The fleet file cannot be used; the message names the file, the field, the value and what was expected."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown fields are faults: a misspelt field must not silently mean its default."""


class CurveSpec(_Strict, frozen=True):
    """Largest battery-side power over SoC, piecewise linear: soc strictly increasing from 0 to 1, kw 0 or more."""

    soc: tuple[float, ...]
    kw: tuple[float, ...]


class LossSpec(_Strict, frozen=True):
    """Loss in kW at battery-side power b: standby + proportional*|b| + quadratic*b^2, 0 when idle."""

    standby_kw: NonNegative = 0.0
    proportional: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    quadratic_per_kw: NonNegative = 0.0


class VehicleSpec(_Strict, frozen=True):
    """A car with its battery. Powers are at the connector; curves are battery side; no discharge curve: it cannot."""

    model: str
    capacity_kwh: Positive
    charge: CurveSpec
    max_charge_kw: Positive
    discharge: CurveSpec | None = None
    loss: LossSpec = LossSpec()
    soc_min: Fraction = 0.0
    soc_max: Fraction = 1.0
    max_discharge_kw: NonNegative = 0.0
    min_discharge_kw: NonNegative = 0.0

    @classmethod
    def of(cls, vehicle: Vehicle) -> VehicleSpec:
        """The file form of a vehicle."""
        battery = vehicle.battery
        return cls(
            model=vehicle.model,
            capacity_kwh=battery.capacity_kwh,
            charge=CurveSpec(soc=battery.charge.soc, kw=battery.charge.kw),
            discharge=None if battery.discharge is None
            else CurveSpec(soc=battery.discharge.soc, kw=battery.discharge.kw),
            loss=LossSpec(
                standby_kw=battery.loss.standby_kw, proportional=battery.loss.proportional,
                quadratic_per_kw=battery.loss.quadratic_per_kw,
            ),
            soc_min=battery.soc_min,
            soc_max=battery.soc_max,
            max_charge_kw=vehicle.max_charge_kw,
            max_discharge_kw=vehicle.max_discharge_kw,
            min_discharge_kw=vehicle.min_discharge_kw,
        )

    def asset(self) -> Vehicle:
        """The vehicle itself. Raises an `AssetError` if a curve or limit is impossible."""
        return Vehicle(
            model=self.model,
            battery=Battery(
                capacity_kwh=self.capacity_kwh,
                charge=PowerCurve(self.charge.soc, self.charge.kw),
                discharge=None if self.discharge is None else PowerCurve(self.discharge.soc, self.discharge.kw),
                loss=LossCurve(self.loss.standby_kw, self.loss.proportional, self.loss.quadratic_per_kw),
                soc_min=self.soc_min,
                soc_max=self.soc_max,
            ),
            max_charge_kw=self.max_charge_kw,
            max_discharge_kw=self.max_discharge_kw,
            min_discharge_kw=self.min_discharge_kw,
        )


class EvseSpec(_Strict, frozen=True):
    """The one EVSE of a station (EVSE number 1, connector 1).

    voltage_v, phases: to convert ampere to watt; for DC the nominal battery voltage and 1.
    response_delay_s, response_ramp_kw_per_s: silence, then a ramp towards a new set-point (ramp 0 = step).
    permits_ac_bpt: an onboard inverter may feed in here (approved for this EVSE and the cars that come, SAE J3072).
    """

    id: Name
    current: Current
    max_charge_kw: Positive
    min_charge_kw: NonNegative = 0.0
    max_discharge_kw: NonNegative = 0.0
    voltage_v: Positive = 230.0
    phases: Literal[1, 2, 3] = 1
    response_delay_s: NonNegative = 0.0
    response_ramp_kw_per_s: NonNegative = 0.0
    permits_ac_bpt: bool = False

    @classmethod
    def of(cls, evse: Evse, *, voltage_v: float, phases: Literal[1, 2, 3] = 1) -> EvseSpec:
        """The file form of an EVSE; voltage and phases are the installer's, not the model's."""
        return cls(
            id=evse.id, current=evse.current, max_charge_kw=evse.max_charge_kw, min_charge_kw=evse.min_charge_kw,
            max_discharge_kw=evse.max_discharge_kw, voltage_v=voltage_v, phases=phases,
            response_delay_s=evse.response.delay_s, response_ramp_kw_per_s=evse.response.ramp_kw_per_s,
        )

    def asset(self, site_id: str) -> Evse:
        """The EVSE itself. Raises an `AssetError` if its limits are impossible."""
        return Evse(
            id=self.id, site_id=site_id, current=self.current, max_charge_kw=self.max_charge_kw,
            min_charge_kw=self.min_charge_kw, max_discharge_kw=self.max_discharge_kw,
            response=Response(self.response_delay_s, self.response_ramp_kw_per_s),
        )

    def ratings(self) -> EvseRatings:
        """What the EVSE says of itself on the wire."""
        most_kw, volts = max(self.max_charge_kw, self.max_discharge_kw), self.voltage_v * self.phases
        is_dc = self.current is Current.DC
        return EvseRatings(
            max_charge_kw=self.max_charge_kw, is_dc=is_dc, min_charge_kw=self.min_charge_kw,
            max_discharge_kw=self.max_discharge_kw, max_current_a=most_kw * 1000.0 / (volts * LOWEST_VOLTAGE),
            max_voltage_v=self.voltage_v * HIGHEST_VOLTAGE, min_voltage_v=self.voltage_v * LOWEST_VOLTAGE,
            voltage_v=self.voltage_v, phases=self.phases, permits_ac_bpt=self.permits_ac_bpt,
        )


class SpeechSpec(_Strict, frozen=True):
    """How a car talks on the wire; see `rail.Speech`."""

    language: Language = Language.ISO_15118_20
    transfer: Transfer = Transfer.DC_BPT
    control: Control = Control.DYNAMIC
    is_discharge_negative: bool = False
    has_contract: bool = False

    def speech(self) -> Speech:
        """Raises a `ValueError` if the language cannot say it."""
        return Speech(self.language, self.transfer, self.control, self.is_discharge_negative, self.has_contract)


class ToldSpec(_Strict, frozen=True):
    """What a driver told the car itself, and the car tells the EVSE.

    departure: when the car should be ready. target_soc: then; min_soc: never below it.
    """

    departure: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    target_soc: Fraction | None = None
    min_soc: Fraction | None = None


class VisitSpec(_Strict, frozen=True):
    """One car at this station from `arrival` to its real `departure`, both aware times.

    id_token: what the driver presents (at most 20 characters, so that every OCPP version carries it).
    energy_kwh: true energy in the battery on arrival. reports_soc: the car tells its SoC (DC, ISO 15118).
    speaks: its language on the wire; without it the newest, and all that car and EVSE can do.
    """

    id: Name
    id_token: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_TAG_LENGTH)]
    vehicle: VehicleSpec
    arrival: Annotated[datetime, msgspec.Meta(tz=True)]
    departure: Annotated[datetime, msgspec.Meta(tz=True)]
    energy_kwh: NonNegative
    reports_soc: bool = False
    speaks: SpeechSpec | None = None
    told: ToldSpec = ToldSpec()


class StationSpec(_Strict, frozen=True):
    """A charging station: its identity on the OCPP link, its EVSE and the visits it will see.

    id: last part of the WebSocket path and Basic-auth user. import_wh, export_wh: registers at the start.
    rail: how the EVSE reaches its cars: "wire" is a real DIN 70121 or ISO 15118 session, "fast" the same without one.
    """

    id: Name
    version: Version
    vendor: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    evse: EvseSpec
    firmware: Annotated[str, msgspec.Meta(max_length=50)] = "1.0.0"
    password: str = ""
    import_wh: NonNegative = 0.0
    export_wh: NonNegative = 0.0
    rail: Literal["fast", "wire"] = "fast"
    visits: tuple[VisitSpec, ...] = ()


class LoadSeries(_Strict, frozen=True):
    """The building's load: kw[k] holds over [start + k*step_s, start + (k+1)*step_s); the ends hold beyond it."""

    start: Annotated[datetime, msgspec.Meta(tz=True)]
    step_s: Positive
    kw: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]


class FleetFile(_Strict, frozen=True):
    """Everything one station process emulates.

    end: the process ends by itself once the clock has passed it and every car has left.
    site_meter_period_s: domain seconds between readings of the connection-point meter (never under 60 ms wall).
    meter_interval_s: domain seconds between meter values of a transaction (never under 100 ms wall); the CSMS may
        change it by configuration.
    meter_max_wall_s: if given, a meter value comes at least this often in wall seconds, so that a phase of the
        scaled clock at factor 1 is not blind for a whole meter interval.
    """

    site_id: Name
    end: Annotated[datetime, msgspec.Meta(tz=True)]
    building: LoadSeries
    stations: Annotated[tuple[StationSpec, ...], msgspec.Meta(min_length=1)]
    site_meter_period_s: Positive = 1.0
    meter_interval_s: Positive = 60.0
    meter_max_wall_s: Positive | None = None


def encode_fleet(fleet: FleetFile) -> bytes:
    """The file's bytes: indented JSON, times with offset."""
    return msgspec.json.format(msgspec.json.encode(fleet), indent=1)


def decode_fleet(content: bytes, source: str = "fleet") -> FleetFile:
    """Read and check a fleet.

    Raises:
        FleetFileError: a field is missing, of a wrong type, unknown or impossible; the message names `source` and it.
    """
    try:
        fleet = msgspec.json.decode(content, type=FleetFile)
    except msgspec.MsgspecError as fault:
        raise FleetFileError(f"{source}: {fault}") from None
    _check(fleet, source)
    return fleet


def load_fleet(path: Path) -> FleetFile:
    """Read a fleet file. Raises a `FleetFileError` if it cannot be read or is faulty."""
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise FleetFileError(f"{path}: {fault.strerror}") from None
    return decode_fleet(content, str(path))


def _check(fleet: FleetFile, source: str) -> None:
    seen: dict[str, int] = {}
    visit_ids: set[str] = set()
    for index, station in enumerate(fleet.stations):
        path = f"{source}: $.stations[{index}]"
        if station.id in seen:
            raise FleetFileError(f"{path}.id: {station.id!r}, expected another id than $.stations[{seen[station.id]}]")
        seen[station.id] = index
        if "/" in station.id or ":" in station.id:
            raise FleetFileError(f"{path}.id: {station.id!r}, expected no '/' and no ':' (a path and a user name)")
        try:
            station.evse.asset(fleet.site_id)
        except AssetError as fault:
            raise FleetFileError(f"{path}.evse.{fault}") from None
        _check_visits(station, path, visit_ids)


def _check_visits(station: StationSpec, path: str, visit_ids: set[str]) -> None:
    previous_end: datetime | None = None
    for index, visit in enumerate(station.visits):
        field = f"{path}.visits[{index}]"
        if visit.id in visit_ids:
            raise FleetFileError(f"{field}.id: {visit.id!r}, expected an id not used by another visit")
        visit_ids.add(visit.id)
        if visit.departure - visit.arrival <= timedelta(0):
            raise FleetFileError(f"{field}.departure: {visit.departure.isoformat()}, expected a time after arrival")
        if previous_end is not None and visit.arrival < previous_end:
            raise FleetFileError(
                f"{field}.arrival: {visit.arrival.isoformat()}, expected a time not before the departure of the "
                f"car before it, {previous_end.isoformat()}"
            )
        previous_end = visit.departure
        try:
            visit.vehicle.asset()
        except AssetError as fault:
            raise FleetFileError(f"{field}.vehicle.{fault}") from None
        _check_speech(visit, station.evse, field)
        if visit.energy_kwh > visit.vehicle.capacity_kwh:
            raise FleetFileError(
                f"{field}.energy_kwh: {visit.energy_kwh}, expected at most {visit.vehicle.capacity_kwh} kWh"
            )


def _check_speech(visit: VisitSpec, evse: EvseSpec, field: str) -> None:
    if visit.speaks is None:
        return
    try:
        speech = visit.speaks.speech()
    except ValueError as fault:
        raise FleetFileError(f"{field}.speaks: {fault}") from None
    if speech.transfer.is_dc != (evse.current is Current.DC):
        raise FleetFileError(f"{field}.speaks.transfer: {speech.transfer.value!r}, expected a {evse.current} transfer")
    if speech.transfer.is_bidirectional and visit.vehicle.max_discharge_kw == 0:
        raise FleetFileError(f"{field}.speaks.transfer: {speech.transfer.value!r}, expected a car that can discharge")
