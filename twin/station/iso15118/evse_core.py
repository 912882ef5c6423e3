"""The charging station's controller, what all languages share: authorisation, set-point, power, the car's needs.

order(kw) --> permitted() --> what the loop response offers --> what flows (stage.apply)
                          `-> over AC at once: the control pilot (stage.pilot)

Power flows only while the car stays in its charge loop. Any other request (PowerDelivery once more, a renegotiation)
opens the contactors until the next loop request, however long the car makes of it. Between two requests two alarms
watch the car: over DC it must not be silent for long, over AC it must follow what it is permitted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from iso15118.secc.controller.ev_data import (
    EVACCLLimits,
    EVACCPDLimits,
    EVDataContext,
    EVDCCLLimits,
    EVDCCPDLimits,
    EVRatedLimits,
    EVSessionLimits,
)
from iso15118.secc.controller.evse_data import (
    EVSEACCLLimits,
    EVSEACCPDLimits,
    EVSEDataContext,
    EVSEDCCLLimits,
    EVSEDCCPDLimits,
    EVSERatedLimits,
    EVSESessionLimits,
)
from iso15118.secc.controller.interface import AuthorizationResponse
from iso15118.secc.controller.simulator import SimEVSEController
from iso15118.shared.messages.enums import AuthorizationStatus, CpState, IsolationLevel
from iso15118.shared.messages.enums import Protocol as WireProtocol
from iso15118.shared.states import State

from twin.station.iso15118.alarm import Alarm
from twin.station.iso15118.needs import Memory, needs_of
from twin.station.iso15118.numbers import quantised_kw
from twin.station.iso15118.obedience import Obedience
from twin.station.iso15118.plausible import impossible, impossible_target
from twin.station.iso15118.services import DAY_S
from twin.station.iso15118.session import ImpossibleRequest
from twin.station.rail import Control, EvNeeds, EvseRatings, Language, Step, Transfer

ASK_AGAIN_S = 1.0  # an authorisation request is held for so long before it is answered "ongoing" (its timeout is 2 s)
PILOT_LEAST_A = 6.0  # a duty cycle of 10 % (IEC 61851-1 Table A.8): the pilot cannot say less and still permit charging


class PowerStage(Protocol):
    """The EVSE's power electronics, contactors and meter."""

    def switch(self, *, is_closed: bool) -> None:
        """Close or open the contactors; open, nothing flows, whatever the car draws. Told only what is new."""

    def apply(self, power_kw: float) -> float:
        """Let so much flow from now on (DC; over AC the car's charger does); returns what really flows."""

    def pilot(self, power_kw: float) -> None:
        """AC: the control pilot permits so much charging from now on (IEC 61851-1 A.3: a nominal duty cycle).

        The car takes the lower of this and of what it reads in its loop, so a duty cycle is rounded up.
        """

    def present_kw(self) -> float:
        """What the meter shows now."""


@dataclass(frozen=True, slots=True)
class Registers:
    """The meter: energy in Wh into the car and out of it over its life."""

    import_wh: int
    export_wh: int


@dataclass(frozen=True, slots=True)
class EvseSettings:
    """What an EVSE controller is told once.

    evse_id: as ISO 15118-2 Annex H writes it. now: domain POSIX seconds. meter: registers, if the station has a meter.
    offer: the schedule offered to cars that plan (Scheduled control, ISO 15118-2); by default, or if it is empty, the
        ratings for a day.
    follow_within_s: how long an AC car may take to follow a smaller set-point before the contactors open.
    quiet_s: over DC nothing flows while the car has been silent in its loop for longer.
    on_needs, on_loop: the car said something new; its charge loop began (True) or ended (False).
    """

    evse_id: str = "DE*V2G*E0001"
    now: Callable[[], float] = time.time
    meter: Callable[[], Registers] | None = None
    offer: Callable[[], Sequence[Step]] | None = None
    follow_within_s: float = 5.0
    quiet_s: float = 2.0
    on_needs: Callable[[EvNeeds], None] = lambda _: None
    on_loop: Callable[[bool], None] = lambda _: None


class EvseCore(SimEVSEController):
    """See the module. One object per EVSE; a new session starts with fresh contexts."""

    refused: str | None  # what no car may ask or do, and this one did

    def __init__(self, ratings: EvseRatings, stage: PowerStage, settings: EvseSettings | None = None) -> None:
        super().__init__()
        self.ratings = ratings
        self.settings = settings or EvseSettings()
        self.is_terminating = False
        self.is_in_loop = False
        self.order_kw = 0.0
        self._stage = stage
        self._is_elsewhere = self._is_closed = False
        self._given_kw = 0.0
        self._obedience = Obedience(self.settings.follow_within_s)
        self._judgement = Alarm(self._judge)
        self._silence = Alarm(self._hush)
        self._heard_at = 0.0
        self._is_authorised = False
        self._decided = asyncio.Event()
        self._begin()

    # ------------------------------------------------------------------ what the station does

    def authorise(self) -> None:
        """The driver is let in."""
        self._is_authorised = True
        self._decided.set()

    def order(self, power_kw: float) -> None:
        """The set-point from now on, signed; it reaches the car in the next charge loop.

        Over DC what flows is cut at once to what is still permitted: the electronics are the EVSE's. Over AC the
        pilot is, and the contactors; they open if the car has not followed within `follow_within_s`.
        """
        self.order_kw = power_kw
        if not self.is_in_loop:
            return
        charge_kw, discharge_kw = self.offered()
        if not self.ratings.is_dc:
            self._signal(charge_kw)
            return
        allowed_kw = min(max(self._given_kw, -discharge_kw), charge_kw)
        if allowed_kw != self._given_kw:
            self.apply(allowed_kw)

    def terminate(self) -> None:
        """Nothing flows any more, and the next loop response tells the car to end the session."""
        self.is_terminating = True
        self._decided.set()
        self.apply(0.0)
        self._switch()

    def permitted(self) -> tuple[float, float]:
        """The most that may flow now in kW, as (charge, discharge), as the wire writes it; at most one is not 0.

        A set-point of 0 permits neither. A car that still needs its minimum energy is not discharged
        (ISO 15118-20 8.3.5.3.15: EVMinimumEnergyRequest above 0).
        """
        if self.is_terminating:
            return 0.0, 0.0
        if self.order_kw >= 0.0:
            return quantised_kw(min(self.order_kw, self.ratings.max_charge_kw)), 0.0
        if not self.transfer.is_bidirectional or (self.ev_data_context.min_energy_request or 0.0) > 0.0:
            return 0.0, 0.0
        return 0.0, quantised_kw(min(-self.order_kw, self.ratings.max_discharge_kw))

    def offered(self) -> tuple[float, float]:
        """`permitted`, as the car is told now; over AC it is judged by this."""
        permit = self.permitted()
        if self.is_in_loop and not self.ratings.is_dc:
            self._obedience.permit(_now(), *permit)
            self._expect_judgement()
        return permit

    def apply(self, power_kw: float) -> float:
        """Let `power_kw` flow if the contactors are closed."""
        self._given_kw = (power_kw if self.is_in_loop and not self._is_elsewhere else 0.0) or 0.0  # no -0.0
        return self._stage.apply(self._given_kw)

    def heard(self, *, is_loop_request: bool) -> None:
        """A request came, not yet answered. Raises an `ImpossibleRequest` if the car was found not to obey."""
        self._is_elsewhere = not is_loop_request
        if self._is_elsewhere and self._given_kw != 0.0:
            self.apply(0.0)
        self._heard_at = _now()
        if is_loop_request and self.ratings.is_dc and not self._silence.is_set:
            self._silence.set(self._heard_at + self.settings.quiet_s)
        self._look_at_flow()
        self._refuse(self.refused)

    # ------------------------------------------------------------------ contactors

    def _switch(self) -> None:
        is_closed = (
            self.is_in_loop and not self._is_elsewhere and not self.is_terminating and self.refused is None
        )
        if is_closed != self._is_closed:
            self._is_closed = is_closed
            self._stage.switch(is_closed=is_closed)

    def _signal(self, charge_kw: float) -> None:
        phases = 1 if self.transfer is Transfer.AC_SINGLE_PHASE else self.ratings.phases
        self._stage.pilot(max(charge_kw, PILOT_LEAST_A * self.ratings.voltage_v * phases / 1000.0))

    # ------------------------------------------------------------------ between two requests

    def _expect_judgement(self) -> None:
        at = self._obedience.judge_at()
        if at is not None and not self._judgement.is_set:
            self._judgement.set(at)

    def _judge(self) -> None:
        self._look_at_flow()
        self._expect_judgement()

    def _hush(self) -> None:
        """Over DC a silent car gets nothing until it asks again; when it is given up the session decides."""
        until = self._heard_at + self.settings.quiet_s
        if until > _now():
            self._silence.set(until)
        elif self.is_in_loop:
            self.apply(0.0)

    def _look_at_flow(self) -> None:
        if self.is_in_loop and not self.ratings.is_dc and self.refused is None:
            # A permit runs out when its alarm rings, not before: it knows whether the process stood still.
            at = min(_now(), math.nextafter(self._judgement.at, 0.0))
            self.refused = self._obedience.breach(at, self._stage.present_kw())
        self._switch()

    # ------------------------------------------------------------------ a session begins and ends

    def _begin(self) -> None:
        """Fresh contexts: the package's defaults are shared by all sessions of a process."""
        self.ev_data_context = EVDataContext(
            rated_limits=EVRatedLimits(ac_limits=EVACCPDLimits(), dc_limits=EVDCCPDLimits()),
            session_limits=EVSessionLimits(ac_limits=EVACCLLimits(), dc_limits=EVDCCLLimits()),
        )
        self.evse_data_context = EVSEDataContext(
            rated_limits=EVSERatedLimits(ac_limits=EVSEACCPDLimits(), dc_limits=EVSEDCCPDLimits()),
            session_limits=EVSESessionLimits(ac_limits=EVSEACCLLimits(), dc_limits=EVSEDCCLLimits()),
        )
        self.language = Language.ISO_15118_20
        self.transfer = Transfer.DC if self.ratings.is_dc else self._ac_transfer()
        self.control = Control.SCHEDULED
        self.refused = None
        self.is_limiting = False
        self._memory = Memory()
        self.has_negative_discharge = False

    def reset_ev_data_context(self) -> None:
        self._begin()

    def set_selected_protocol(self, protocol: WireProtocol) -> None:
        """The first thing a session settles; the stock handler reuses the controller for one session after another."""
        super().set_selected_protocol(protocol)
        self._begin()
        if protocol is WireProtocol.DIN_SPEC_70121:
            self.language = Language.DIN_70121
        elif protocol is WireProtocol.ISO_15118_2:
            self.language = Language.ISO_15118_2

    def _ac_transfer(self) -> Transfer:
        return Transfer.AC_THREE_PHASE if self.ratings.phases > 1 else Transfer.AC_SINGLE_PHASE

    async def set_hlc_charging(self, is_ongoing: bool) -> None:
        """PowerDelivery started or stopped the transfer: contactors close or open."""
        if not is_ongoing:
            self.apply(0.0)
        if is_ongoing == self.is_in_loop:
            return
        self.is_in_loop = is_ongoing
        self._is_elsewhere = False  # it is the PowerDelivery that leads into the loop
        if is_ongoing:
            charge_kw, discharge_kw = self.permitted()
            self._obedience.begin(_now(), charge_kw, discharge_kw)
            if not self.ratings.is_dc:
                self._signal(charge_kw)
        else:
            self._judgement.cancel()
            self._silence.cancel()
        self._switch()
        self.settings.on_loop(is_ongoing)

    async def stop_charger(self) -> None:
        await self.set_hlc_charging(False)

    # ------------------------------------------------------------------ what the car says

    def learn(self, *, is_telling: bool = True) -> None:
        """Look at what the car has said so far. Raises an `ImpossibleRequest` if no car can mean it."""
        needs = needs_of(self.ev_data_context, self.language, self.transfer, self.control)
        self._refuse(impossible(needs, self.ratings))
        if is_telling and self._memory.is_news(needs, self.settings.now()):
            self.settings.on_needs(needs)

    def check_target(self, voltage_v: float, current_a: float) -> None:
        """Raises an `ImpossibleRequest` if a DC car asks for a voltage or current that cannot be."""
        self._refuse(impossible_target(voltage_v, current_a, self.ratings))

    def _refuse(self, fault: str | None) -> None:
        if fault is not None:
            self.refused = fault
            raise ImpossibleRequest(fault)

    async def send_display_params(self) -> None:
        self.learn()

    # ------------------------------------------------------------------ what the package asks

    async def get_evse_id(self, protocol: WireProtocol) -> str:
        if protocol is WireProtocol.DIN_SPEC_70121:
            return _din_id(self.settings.evse_id)
        return self.settings.evse_id

    async def is_authorized(self, *_: Any, **__: Any) -> AuthorizationResponse:
        """Held back for a while: the car asks again at once if it is answered "ongoing"."""
        try:
            async with asyncio.timeout(ASK_AGAIN_S):
                await self._decided.wait()
        except TimeoutError:
            return AuthorizationResponse(AuthorizationStatus.ONGOING)
        is_welcome = self._is_authorised and not self.is_terminating
        return AuthorizationResponse(AuthorizationStatus.ACCEPTED if is_welcome else AuthorizationStatus.REJECTED)

    def steps(self) -> Sequence[Step]:
        """The schedule offered to a car that plans."""
        offered = () if self.settings.offer is None else self.settings.offer()
        return offered or (Step(DAY_S, self.ratings.max_charge_kw, self.ratings.max_discharge_kw),)

    async def get_cp_state(self) -> CpState:
        return CpState.C2

    async def is_contactor_closed(self) -> bool:
        return True

    async def is_contactor_opened(self) -> bool:
        return True

    async def get_cable_check_status(self) -> IsolationLevel:
        return IsolationLevel.VALID

    async def set_present_protocol_state(self, state: State) -> None:
        """The session's state is on the session."""

    async def session_ended(self, current_state: str, reason: str) -> None:  # noqa: ARG002 - the session says why
        """The stock handler's session is over; the next driver has to be let in anew."""
        await self.stop_charger()
        self.is_terminating = self._is_authorised = False
        self._decided.clear()

    def measure(self, voltage_v: float) -> None:
        """What the meter shows goes into the next response."""
        power_kw = self._stage.present_kw()
        self.evse_data_context.present_active_power = power_kw * 1000.0
        self.evse_data_context.present_voltage = voltage_v
        self.evse_data_context.present_current = power_kw * 1000.0 / voltage_v if voltage_v > 0.0 else 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()


def _din_id(evse_id: str) -> str:
    """An EVSE id as hex digits (DIN SPEC 91286: digits as they are, `*` as A); other characters have no place."""
    digits = "".join("A" if sign == "*" else sign for sign in evse_id if sign.isdigit() or sign == "*")[:32]
    return digits if len(digits) % 2 == 0 else digits + "0"
