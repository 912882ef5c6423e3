"""The rail between an EVSE and the car at it: what a charging session offers and needs, whatever carries it.

`FastRail` moves the same physics without a wire; `WireRail` (twin.station.iso15118) holds a real DIN 70121,
ISO 15118-2 or ISO 15118-20 session over TCP. The station sees only this file, and plain data.

    station --order(kw)--> Rail --car.take(kw)--> battery          power positive = charging, negative = discharging
    station <--listener--- Rail <--car.state()--- battery
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Language(StrEnum):
    """What the car speaks on the wire."""

    DIN_70121 = "DIN 70121"
    ISO_15118_2 = "ISO 15118-2"
    ISO_15118_20 = "ISO 15118-20"


class Transfer(StrEnum):
    """Energy transfer mode, in the words of OCPP 2.1 EnergyTransferModeEnumType."""

    AC_SINGLE_PHASE = "AC_single_phase"
    AC_THREE_PHASE = "AC_three_phase"
    DC = "DC"
    AC_BPT = "AC_BPT"
    DC_BPT = "DC_BPT"

    @property
    def is_dc(self) -> bool:
        return self in {Transfer.DC, Transfer.DC_BPT}

    @property
    def is_bidirectional(self) -> bool:
        return self in {Transfer.AC_BPT, Transfer.DC_BPT}


class Control(StrEnum):
    """ISO 15118-20 control mode, in the words of OCPP 2.1 ControlModeEnumType; older languages know only schedules."""

    SCHEDULED = "ScheduledControl"
    DYNAMIC = "DynamicControl"


@dataclass(frozen=True, slots=True)
class Speech:
    """How a car wants to talk.

    is_discharge_negative: it writes and reads discharge limits below zero; cars exist that do and that do not.
    has_contract: it asks for Plug & Charge (ISO 15118-2 and -20, TLS only) instead of external identification.
    """

    language: Language = Language.ISO_15118_20
    transfer: Transfer = Transfer.DC_BPT
    control: Control = Control.DYNAMIC
    is_discharge_negative: bool = False
    has_contract: bool = False

    def __post_init__(self) -> None:
        if self.transfer.is_bidirectional and self.language is not Language.ISO_15118_20:
            raise ValueError(f"speech: {self.transfer} in {self.language}, expected {Language.ISO_15118_20}")
        if self.control is Control.DYNAMIC and self.language is not Language.ISO_15118_20:
            raise ValueError(f"speech: {self.control} in {self.language}, expected {Language.ISO_15118_20}")
        if self.language is Language.DIN_70121 and not self.transfer.is_dc:
            raise ValueError(f"speech: {self.transfer} in {self.language}, expected {Transfer.DC}")


@dataclass(frozen=True, slots=True)
class EvseRatings:
    """What the EVSE can do: kW, A and V at the connector, all 0 or more.

    voltage_v: nominal (AC: phase to neutral). permits_ac_bpt: this EVSE may let an onboard inverter feed in; given per
    EVSE-vehicle pair by whoever granted the interconnection (SAE J3072 works so), so it is an argument, not a default.
    """

    max_charge_kw: float
    is_dc: bool = True
    min_charge_kw: float = 0.0
    max_discharge_kw: float = 0.0
    min_discharge_kw: float = 0.0
    max_current_a: float = 250.0
    max_voltage_v: float = 1000.0
    min_voltage_v: float = 150.0
    voltage_v: float = 230.0
    phases: int = 3
    permits_ac_bpt: bool = False


@dataclass(frozen=True, slots=True)
class CarLimits:
    """What the car says it can do: kW, A and V at the connector, all 0 or more; capacity in kWh."""

    capacity_kwh: float
    max_charge_kw: float
    min_charge_kw: float = 0.0
    max_discharge_kw: float = 0.0
    min_discharge_kw: float = 0.0
    max_current_a: float = 250.0
    max_voltage_v: float = 500.0
    min_voltage_v: float = 200.0
    phases: int = 3


class CarIntent(StrEnum):
    """What the car wants of the session it is in."""

    STAY = "stay"
    STOP = "stop"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class CarState:
    """The car at this instant, as it would say it; nothing here is checked, cars may lie.

    soc, target_soc, min_soc, max_soc: 0..1. departure_s: domain seconds from now. Energies in kWh that may still go
    in: to reach the target, at most, at least. v2x energies: what may cycle in addition, as ISO 15118-20 counts it.
    present_kw: signed power at the connector; voltage_v: DC battery voltage.
    """

    soc: float
    target_soc: float | None = None
    min_soc: float | None = None
    max_soc: float | None = None
    departure_s: float | None = None
    target_energy_kwh: float = 0.0
    max_energy_kwh: float = 0.0
    min_energy_kwh: float = 0.0
    max_v2x_energy_kwh: float | None = None
    min_v2x_energy_kwh: float | None = None
    voltage_v: float = 400.0
    present_kw: float = 0.0
    intent: CarIntent = CarIntent.STAY


class Car(Protocol):
    """The car's side: its battery and what its driver told it. The station implements it over the twin's physics."""

    @property
    def limits(self) -> CarLimits: ...

    @property
    def speech(self) -> Speech: ...

    def state(self) -> CarState:
        """The car now. Called once per charge loop."""

    def take(self, power_kw: float) -> float:
        """Let `power_kw` flow until told otherwise; returns the kW that really flows now (taper, full, empty)."""


@dataclass(frozen=True, slots=True)
class EvNeeds:
    """What the EVSE read off the wire about the car, quantised as it came. What the language cannot say is None.

    Powers and currents are magnitudes. SoC 0..1, energies kWh, departure in domain seconds from now.
    """

    language: Language
    transfer: Transfer
    control: Control
    departure_s: float | None = None
    present_soc: float | None = None
    target_soc: float | None = None
    min_soc: float | None = None
    max_soc: float | None = None
    capacity_kwh: float | None = None
    target_energy_kwh: float | None = None
    max_energy_kwh: float | None = None
    min_energy_kwh: float | None = None
    max_v2x_energy_kwh: float | None = None
    min_v2x_energy_kwh: float | None = None
    max_charge_kw: float | None = None
    min_charge_kw: float | None = None
    max_discharge_kw: float | None = None
    min_discharge_kw: float | None = None
    max_charge_current_a: float | None = None
    min_charge_current_a: float | None = None
    max_discharge_current_a: float | None = None
    min_discharge_current_a: float | None = None
    max_voltage_v: float | None = None
    min_voltage_v: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """For `duration_s` domain seconds the EVSE offers up to these powers, both 0 or more.

    price_level: from 1 (charge now) to `PRICE_LEVELS` (rather not): what the present plan would like; no limit.
    """

    duration_s: int
    charge_kw: float
    discharge_kw: float = 0.0
    price_level: int = 1


PRICE_LEVELS = 3


class SessionEnd(StrEnum):
    """Why a session ended in good order, or because the plug was pulled."""

    CAR = "the car ended it"
    PAUSED = "the car paused it"
    STATION = "the station stopped it"
    UNPLUGGED = "the plug was pulled"


class FaultKind(StrEnum):
    """What broke a session."""

    TIMEOUT = "the car stopped answering"
    LINK = "the line broke"
    VERSION = "no common protocol version"
    MALFORMED = "a message that is none"
    SEQUENCE = "a message out of order"
    IMPOSSIBLE = "the car asked the impossible"
    ABSURD = "the station said the impossible"
    REFUSED = "the car refused or gave up"
    INTERNAL = "the station's own fault"


@dataclass(frozen=True, slots=True)
class SessionFault:
    """What broke, the state of the standard in which it did, and one human sentence."""

    kind: FaultKind
    state: str
    detail: str

    def __str__(self) -> str:
        return f"{self.state}: {self.kind}: {self.detail}"


class RailListener(Protocol):
    """The station's side. For every `connect` exactly one of `ended` and `faulted` comes, after `flowing(0.0)`."""

    def needs(self, needs: EvNeeds) -> None:
        """The car said what it needs: before the charge loop, and whenever it says something else in the loop."""

    def offer(self) -> Sequence[Step]:
        """What the EVSE offers a car that plans, from now on; empty: its ratings for a day."""

    def flowing(self, power_kw: float) -> None:
        """From now on the car was given this; called when it changes. `car.take` was called before."""

    def ended(self, reason: SessionEnd) -> None:
        """The session is over, 0 A; the plug may still be in."""

    def faulted(self, fault: SessionFault) -> None:
        """The session broke, 0 A; the next `connect` works."""


class Rail(Protocol):
    """One EVSE's way to its car; one session at a time. Calls never block; callbacks come from the event loop."""

    @property
    def is_charging(self) -> bool:
        """The session is in its charge loop: power may flow."""

    def connect(self, car: Car) -> None:
        """The plug goes in: a session begins. Raises a `RuntimeError` if a session still runs."""

    def authorise(self) -> None:
        """The driver is let in; the session waits for this before it may charge."""

    def order(self, power_kw: float) -> None:
        """The central set-point, signed; obeyed at the next charge loop, kept for the sessions to come."""

    def stop(self) -> None:
        """Stop hard: 0 kW now, and the session is terminated. Nothing happens if none runs."""

    def disconnect(self) -> None:
        """The plug is pulled, in whatever state: 0 kW now. Nothing happens if no session runs."""

    async def close(self) -> None:
        """The process ends: nothing of a session is left running."""
