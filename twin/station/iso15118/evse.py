"""The charging station's controller: ISO 15118-20 on top of the older languages.

How discharge is carried: over AC the EVSE names a signed target power; over DC it names limits, and either applies the
set-point itself (Dynamic) or grants the car the current it asks for within them (Scheduled).

The same class runs under the package's stock handler, where its `PowerStage` is real hardware; see docs/iso15118.md.
"""

from __future__ import annotations

from typing import Any

from iso15118.shared.messages.enums import ControlMode, ServiceV20
from iso15118.shared.messages.iso15118_20 import ac, dc
from iso15118.shared.messages.iso15118_20.common_messages import (
    DynamicScheduleExchangeResParams,
    ScheduledScheduleExchangeResParams,
    ScheduleExchangeReq,
    SelectedEnergyService,
    ServiceList,
    ServiceParameterList,
)
from iso15118.shared.messages.iso15118_20.common_types import EVSENotification, EVSEStatus, MeterInfo, RationalNumber

from twin.station.iso15118.evse_older import EvseOlder
from twin.station.iso15118.services import parameter_sets, rational, schedule, service_list, watts
from twin.station.rail import Control, Language, Transfer

NOMINAL_HZ = 50.0

_TRANSFERS = {ServiceV20.DC: Transfer.DC, ServiceV20.DC_BPT: Transfer.DC_BPT, ServiceV20.AC_BPT: Transfer.AC_BPT}


class EvseController(EvseOlder):
    """See the module."""

    # ------------------------------------------------------------------ services and schedules

    async def get_energy_service_list(self) -> ServiceList:
        return service_list(self.ratings)

    async def get_service_parameter_list(self, service_id: int) -> ServiceParameterList:
        return parameter_sets(ServiceV20.get_by_id(service_id), self.ratings)

    async def get_schedule_exchange_params(
        self, selected_energy_service: SelectedEnergyService, control_mode: ControlMode,
        schedule_exchange_req: ScheduleExchangeReq,  # noqa: ARG002 - the context has taken it in
    ) -> ScheduledScheduleExchangeResParams | DynamicScheduleExchangeResParams:
        is_dynamic = control_mode is ControlMode.DYNAMIC
        self.control = Control.DYNAMIC if is_dynamic else Control.SCHEDULED
        self._choose(selected_energy_service.service)
        self.learn()
        if is_dynamic:
            return DynamicScheduleExchangeResParams()
        return schedule(
            self.steps(), time_anchor=self.settings.now(), is_two_way=self.transfer.is_bidirectional,
            has_negative_discharge=self.has_negative_discharge,
        )

    async def send_rated_limits(self) -> None:
        """ChargeParameterDiscovery told the car's limits; what it needs follows with ScheduleExchange in -20."""
        if self.language is not Language.ISO_15118_20:
            await super().send_rated_limits()
            return
        rated = self.ev_data_context.rated_limits
        limits = rated.dc_limits if self.transfer.is_dc else rated.ac_limits
        self.has_negative_discharge = (limits.max_discharge_power or 0.0) < 0.0
        self.learn(is_telling=False)

    def _choose(self, service: ServiceV20) -> None:
        self.transfer = _TRANSFERS.get(service) or self._ac_transfer()

    def _discharge_watts(self, power_kw: float) -> RationalNumber:
        """A discharge limit in the sign that the car speaks: cars of both readings exist, and expect their own."""
        return watts(-power_kw if self.has_negative_discharge else power_kw)

    def _discharge_amperes(self) -> RationalNumber:
        limit = self.ratings.max_current_a
        return rational(-limit if self.has_negative_discharge else limit)

    # ------------------------------------------------------------------ every loop

    async def get_evse_status(self) -> EVSEStatus | None:
        if not self.is_terminating:
            return None
        return EVSEStatus(notification_max_delay=0, evse_notification=EVSENotification.TERMINATE)

    async def get_meter_info_v20(self) -> MeterInfo | None:
        if self.settings.meter is None:
            return None
        registers = self.settings.meter()
        return MeterInfo(
            meter_id=self.settings.evse_id[:32], charged_energy_reading_wh=registers.import_wh,
            bpt_discharged_energy_reading_wh=registers.export_wh, meter_timestamp=round(self.settings.now()),
        )

    # ------------------------------------------------------------------ AC

    async def get_ac_charge_params_v20(
        self, energy_service: ServiceV20
    ) -> ac.ACChargeParameterDiscoveryResParams | ac.BPTACChargeParameterDiscoveryResParams:
        self._choose(energy_service)
        ratings = self.ratings
        common: dict[str, Any] = {
            "evse_max_charge_power": watts(ratings.max_charge_kw),
            "evse_min_charge_power": watts(ratings.min_charge_kw),
            "evse_nominal_frequency": rational(NOMINAL_HZ),
        }
        if energy_service is not ServiceV20.AC_BPT:
            return ac.ACChargeParameterDiscoveryResParams(**common)
        # The car's sign is not known yet when this is built; the standard's own examples are positive.
        return ac.BPTACChargeParameterDiscoveryResParams(
            **common, evse_max_discharge_power=watts(ratings.max_discharge_kw),
            evse_min_discharge_power=watts(ratings.min_discharge_kw),
        )

    async def get_ac_charge_loop_params_v20(self, control_mode: ControlMode, selected_service: ServiceV20) -> Any:
        """The signed target of all phases together: without the values of phases two and three it is their sum."""
        charge_kw, discharge_kw = self.offered()
        self.measure(self.ratings.voltage_v)
        kind = _AC_LOOPS[selected_service is ServiceV20.AC_BPT, control_mode is ControlMode.DYNAMIC]
        return kind(
            evse_target_active_power=watts(charge_kw - discharge_kw),
            evse_present_active_power=watts(self._stage.present_kw()),
        )

    # ------------------------------------------------------------------ DC

    async def get_dc_charge_params_v20(
        self, energy_service: ServiceV20
    ) -> dc.DCChargeParameterDiscoveryResParams | dc.BPTDCChargeParameterDiscoveryResParams:
        self._choose(energy_service)
        ratings = self.ratings
        common: dict[str, Any] = {
            "evse_max_charge_power": watts(ratings.max_charge_kw),
            "evse_min_charge_power": watts(ratings.min_charge_kw),
            "evse_max_charge_current": rational(ratings.max_current_a), "evse_min_charge_current": rational(0.0),
            "evse_max_voltage": rational(ratings.max_voltage_v), "evse_min_voltage": rational(ratings.min_voltage_v),
        }
        if energy_service is not ServiceV20.DC_BPT:
            return dc.DCChargeParameterDiscoveryResParams(**common)
        return dc.BPTDCChargeParameterDiscoveryResParams(
            **common, evse_max_discharge_power=watts(ratings.max_discharge_kw),
            evse_min_discharge_power=watts(ratings.min_discharge_kw),
            evse_max_discharge_current=rational(ratings.max_current_a), evse_min_discharge_current=rational(0.0),
        )

    async def get_dc_charge_loop_params_v20(self, control_mode: ControlMode, selected_service: ServiceV20) -> Any:
        charge_kw, discharge_kw = self.permitted()
        ratings = self.ratings
        limits: dict[str, Any] = {
            "evse_maximum_charge_power": watts(charge_kw), "evse_minimum_charge_power": watts(0.0),
            "evse_maximum_charge_current": rational(ratings.max_current_a),
            "evse_maximum_voltage": rational(ratings.max_voltage_v),
        }
        is_two_way = selected_service is ServiceV20.DC_BPT
        if is_two_way:
            limits |= {
                "evse_max_discharge_power": self._discharge_watts(discharge_kw),
                "evse_min_discharge_power": watts(0.0),
                "evse_max_discharge_current": self._discharge_amperes(),
                "evse_min_voltage": rational(ratings.min_voltage_v),
            }
        return _DC_LOOPS[is_two_way, control_mode is ControlMode.DYNAMIC](**limits)

    async def send_charging_command(
        self, ev_target_voltage: float | None, ev_target_current: float | None, is_precharge: bool = False,  # noqa: ARG002
        is_session_bpt: bool = False,  # noqa: ARG002 - the DC loop passes it in the place of is_precharge
    ) -> None:
        """PreCharge asks for a voltage, the loops for a current; in Dynamic control for nothing, and the EVSE decides.

        Which of them it is follows from the contactors, not from the flag: the package's DC loop passes
        is_session_bpt as is_precharge.
        """
        voltage = self.ev_data_context.present_voltage if ev_target_voltage is None else ev_target_voltage
        self.check_target(voltage or 0.0, ev_target_current or 0.0)
        if not self.is_in_loop:
            self.evse_data_context.present_voltage = voltage or 0.0
            return
        charge_kw, discharge_kw = self.permitted()
        most_kw = self.ratings.max_current_a * (voltage or 0.0) / 1000.0
        if ev_target_current is not None:
            wanted_kw = (voltage or 0.0) * ev_target_current / 1000.0
            power_kw = min(max(wanted_kw, -discharge_kw), charge_kw)
        else:
            power_kw = self._within_the_car(charge_kw, discharge_kw, voltage or 0.0)
        self.is_limiting = ev_target_current is not None and power_kw != wanted_kw
        self.apply(min(max(power_kw, -most_kw), most_kw))
        self.measure(voltage or 0.0)

    def _within_the_car(self, charge_kw: float, discharge_kw: float, voltage_v: float) -> float:
        """The set-point within what the car said it can; below its least it cannot at all."""
        limits = self.ev_data_context.session_limits.dc_limits
        is_charge = discharge_kw == 0.0
        name = "charge" if is_charge else "discharge"
        power_kw = charge_kw if is_charge else discharge_kw
        most, least = getattr(limits, f"max_{name}_power"), getattr(limits, f"min_{name}_power")
        current = getattr(limits, f"max_{name}_current")
        if most is not None:
            power_kw = min(power_kw, abs(most) / 1000.0)
        if current is not None:
            power_kw = min(power_kw, abs(current) * voltage_v / 1000.0)
        if least is not None and power_kw < abs(least) / 1000.0:
            return 0.0
        return power_kw if is_charge else -power_kw

    async def is_evse_power_limit_achieved(self) -> bool:
        return self.is_limiting

    async def is_evse_current_limit_achieved(self) -> bool:
        return self.is_limiting


_AC_LOOPS: dict[tuple[bool, bool], type] = {
    (False, False): ac.ScheduledACChargeLoopResParams, (False, True): ac.DynamicACChargeLoopResParams,
    (True, False): ac.BPTScheduledACChargeLoopResParams, (True, True): ac.BPTDynamicACChargeLoopResParams,
}
_DC_LOOPS: dict[tuple[bool, bool], type] = {
    (False, False): dc.ScheduledDCChargeLoopResParams, (False, True): dc.DynamicDCChargeLoopRes,
    (True, False): dc.BPTScheduledDCChargeLoopResParams, (True, True): dc.BPTDynamicDCChargeLoopRes,
}
