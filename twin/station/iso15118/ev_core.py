"""The car's controller, what all languages share: its state loop by loop, and how much it takes of what is offered.

Everything is deterministic; the numbers are the `Car`'s. Over AC the car's charger obeys the target it has read; over
DC the car asks for a current within the limits it has read, and the EVSE's electronics decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iso15118.evcc.controller.simulator import SimEVController
from iso15118.evcc.evcc_config import EVCCConfig
from iso15118.shared.messages.enums import EnergyTransferModeEnum, ServiceV20
from iso15118.shared.messages.enums import Protocol as WireProtocol
from iso15118.shared.messages.iso15118_20.common_types import RationalNumber

from twin.station.iso15118.numbers import scaled
from twin.station.rail import Car, CarIntent, Language, Speech, Transfer

SAME_VOLTAGE_V = 20.0  # PreCharge is done when the EVSE stands this close to the battery (IEC 61851-23 CC.3.5)

_ENERGY_MODES = {
    Transfer.AC_SINGLE_PHASE: EnergyTransferModeEnum.AC_SINGLE_PHASE_CORE,
    Transfer.AC_THREE_PHASE: EnergyTransferModeEnum.AC_THREE_PHASE_CORE,
    Transfer.DC: EnergyTransferModeEnum.DC_EXTENDED,
}
# A car that can give back also takes a service that cannot, if that is all it is offered.
_SERVICES = {
    Transfer.AC_BPT: [ServiceV20.AC_BPT, ServiceV20.AC], Transfer.DC_BPT: [ServiceV20.DC_BPT, ServiceV20.DC],
    Transfer.DC: [ServiceV20.DC], Transfer.AC_SINGLE_PHASE: [ServiceV20.AC], Transfer.AC_THREE_PHASE: [ServiceV20.AC],
}


def protocol_of(speech: Speech) -> WireProtocol:
    """The application protocol that a car of this speech names in its handshake."""
    if speech.language is Language.DIN_70121:
        return WireProtocol.DIN_SPEC_70121
    if speech.language is Language.ISO_15118_2:
        return WireProtocol.ISO_15118_2
    return WireProtocol.ISO_15118_20_DC if speech.transfer.is_dc else WireProtocol.ISO_15118_20_AC


def config_of(speech: Speech) -> EVCCConfig:
    """The package's configuration of a car; its own loader would shuffle the protocols."""
    config = EVCCConfig(use_tls=False)
    config.supported_protocols = [protocol_of(speech)]
    config.supported_energy_services = _SERVICES[speech.transfer]
    config.energy_transfer_mode = _ENERGY_MODES.get(speech.transfer)
    return config


@dataclass(slots=True)
class Heard:
    """What the car last read from the EVSE: limits of 0 or more, or a signed target; None is not said yet.

    mains_v: nominal AC voltage, phase to neutral.
    """

    target_kw: float | None = None
    max_charge_kw: float = 0.0
    max_discharge_kw: float = 0.0
    max_current_a: float | None = None
    mains_v: float = 230.0


class EvCore(SimEVController):
    """See the module.

    flow: lets power flow through the car (AC: its onboard charger); returns what really flows.
    is_two_way: the service chosen for this session carries discharge.
    pause_s: how long the car waits between two loops, wall seconds.
    """

    def __init__(
        self, car: Car, flow: Callable[[float], float], pause_s: Callable[[], float], ev_id: str = "02000000E001",
    ) -> None:
        self._speech = car.speech
        super().__init__(config_of(self._speech))
        self._car, self._flow, self._pause_s, self._ev_id = car, flow, pause_s, ev_id
        self.limits = car.limits
        self.state = car.state()
        self.evse = Heard()
        self.is_two_way = False
        self._has_stopped = False

    # ------------------------------------------------------------------ power

    def reaches(self) -> float:
        """The power in kW that the car wants of what the EVSE allows: all of it, in the direction it is allowed in.

        A limit of 0 is no invitation: only a discharge limit above 0, with charging limited to 0, starts discharge.
        """
        if self.evse.max_charge_kw > 0.0:
            return min(self.evse.max_charge_kw, self.limits.max_charge_kw)
        if self.is_two_way:
            return -min(self.evse.max_discharge_kw, self.limits.max_discharge_kw)
        return 0.0

    def target_current(self) -> float:
        """The DC current in A that goes with it."""
        most = min(self.limits.max_current_a, self.evse.max_current_a or self.limits.max_current_a)
        current = self.reaches() * 1000.0 / self.state.voltage_v
        return min(max(current, -most), most)

    def obey(self, target_kw: float) -> None:
        """The onboard charger follows a signed target as far as it can."""
        least = -self.limits.max_discharge_kw if self.is_two_way else 0.0
        self._flow(min(max(target_kw, least), self.limits.max_charge_kw))

    # ------------------------------------------------------------------ the loop

    async def charge_loop_delay(self) -> float:
        return self._pause_s()

    async def continue_charging(self) -> bool:
        """Once per loop: look at the car."""
        if self._has_stopped:
            return False
        self.state = self._car.state()
        return self.state.intent is CarIntent.STAY

    @property
    def wants_pause(self) -> bool:
        """It ends its session, to go on with it later."""
        return self.state.intent is CarIntent.PAUSE

    async def ready_to_charge(self) -> bool:
        return await self.continue_charging()

    async def stop_charging(self) -> None:
        self._has_stopped = True

    async def enable_charging(self, enabled: bool) -> None:
        if not enabled and not self._speech.transfer.is_dc:
            self._flow(0.0)

    async def is_charging_complete(self) -> bool:
        full = 1.0 if self.state.max_soc is None else self.state.max_soc
        return self.state.soc >= full or self._has_stopped

    async def welding_detection_has_finished(self) -> bool:
        return True

    # ------------------------------------------------------------------ identity and battery

    async def get_evcc_id(self, protocol: WireProtocol, iface: str) -> str:  # noqa: ARG002 - a car need not ask its NIC
        """A locally administered MAC address before -20, there an id of 17 or more characters like a VIN."""
        if protocol in {WireProtocol.ISO_15118_2, WireProtocol.DIN_SPEC_70121}:
            return self._ev_id
        return f"V2GTWIN{self._ev_id}"

    async def get_present_voltage(self) -> RationalNumber:
        value, exponent = scaled(self.state.voltage_v)
        return RationalNumber(value=value, exponent=exponent)

    async def get_target_voltage(self) -> RationalNumber:
        return await self.get_present_voltage()

    async def is_precharged(self, present_voltage_evse: RationalNumber) -> bool:
        return abs(float(present_voltage_evse.get_decimal_value()) - self.state.voltage_v) <= SAME_VOLTAGE_V

    @property
    def percent(self) -> int:
        return round(self.state.soc * 100.0)
