"""The car's controller: ISO 15118-20 on top of the older languages."""

from __future__ import annotations

from typing import Any

from iso15118.shared.messages.enums import ControlMode, ParameterName, ServiceV20
from iso15118.shared.messages.iso15118_20 import ac, dc
from iso15118.shared.messages.iso15118_20.common_messages import (
    ChargeProgress,
    DynamicEVPowerProfile,
    DynamicScheduleExchangeReqParams,
    DynamicScheduleExchangeResParams,
    EVPowerProfile,
    EVPowerProfileEntryList,
    MatchedService,
    PowerScheduleEntry,
    PowerToleranceAcceptance,
    ScheduledEVPowerProfile,
    ScheduledScheduleExchangeReqParams,
    ScheduledScheduleExchangeResParams,
    SelectedEnergyService,
)
from iso15118.shared.messages.iso15118_20.common_types import DisplayParameters, EVSENotification, RationalNumber

from twin.station.iso15118.ev_older import EvOlder
from twin.station.iso15118.needs import UNKNOWN_DEPARTURE_S
from twin.station.iso15118.offers import impossible_offer
from twin.station.iso15118.services import DAY_S, DYNAMIC, SCHEDULED, rational, watt_hours, watts
from twin.station.iso15118.session import AbsurdOffer
from twin.station.rail import Control

_LOOPS = (
    "dynamic_params", "bpt_dynamic_params", "scheduled_params", "bpt_scheduled_params", "dynamic_dc_charge_loop_res",
    "bpt_dynamic_dc_charge_loop_res", "scheduled_dc_charge_loop_res", "bpt_scheduled_dc_charge_loop_res",
)
_OFFERS = frozenset((
    "ACChargeParameterDiscoveryRes", "DCChargeParameterDiscoveryRes", "ChargeParameterDiscoveryRes", "DCPreChargeRes",
    "PreChargeRes", "ACChargeLoopRes", "DCChargeLoopRes", "CurrentDemandRes", "ChargingStatusRes",
))


class EvController(EvOlder):
    """See the module."""

    def heard(self, message: Any) -> None:
        """A message of the station came: take its limits and targets to heart before answering it.

        Raises an `AbsurdOffer` if no station can mean them, or this car could not stand them.
        """
        said = message.body.get_message() if hasattr(message, "body") else message
        name = type(said).__name__
        if name in _OFFERS:
            fault = impossible_offer(said, self.limits)
            if fault is not None:
                raise AbsurdOffer(fault)
        if name in {"ACChargeLoopRes", "DCChargeLoopRes"}:
            self._hear_loop(said)
        elif name == "ChargeParameterDiscoveryRes":
            self._hear_parameters(said)
        elif name == "CurrentDemandRes":
            self._hear_current_demand(said)
        elif name == "ChargingStatusRes":
            self._hear_charging_status(said)

    def _hear_loop(self, said: Any) -> None:
        params = next(value for name in _LOOPS if (value := getattr(said, name, None)) is not None)
        is_over = said.evse_status is not None and said.evse_status.evse_notification is EVSENotification.TERMINATE
        if isinstance(said, ac.ACChargeLoopRes):
            target = params.evse_target_active_power
            if is_over or target is not None:
                self.evse.target_kw = 0.0 if is_over else target.get_decimal_value() / 1000.0
                self.obey(self.evse.target_kw or 0.0)
            return
        self.evse.max_charge_kw = _kw(params.evse_maximum_charge_power)
        self.evse.max_discharge_kw = self._discharge_limit(getattr(params, "evse_max_discharge_power", None))
        current = params.evse_maximum_charge_current
        self.evse.max_current_a = None if current is None else current.get_decimal_value()

    def _discharge_limit(self, limit: RationalNumber | None) -> float:
        """A discharge limit in the car's own sign; one of the other sign is none to it."""
        power_kw = _kw(limit)
        return max(-power_kw if self._speech.is_discharge_negative else power_kw, 0.0)

    # ------------------------------------------------------------------ service

    async def select_energy_service_v20(self, services: list[MatchedService]) -> SelectedEnergyService:
        """The best service of both ends, with the parameter set of the control mode that the car wants."""
        rank = {service: place for place, service in enumerate(self.config.supported_energy_services)}
        best = min((s for s in services if s.is_energy_service), key=lambda s: rank[s.service])
        wanted = DYNAMIC if self._speech.control is Control.DYNAMIC else SCHEDULED
        fitting = [found for found in best.parameter_sets if _control_mode(found) == wanted]
        chosen = (fitting or best.parameter_sets)[0]
        self.is_two_way = best.service in {ServiceV20.AC_BPT, ServiceV20.DC_BPT}
        return SelectedEnergyService(service=best.service, is_free=best.is_free, parameter_set=chosen)

    async def get_charge_params_v20(self, selected_service: SelectedEnergyService) -> Any:
        limits = self.limits
        powers: dict[str, Any] = {
            "ev_max_charge_power": watts(limits.max_charge_kw), "ev_min_charge_power": watts(limits.min_charge_kw),
        }
        discharge: dict[str, Any] = {
            "ev_max_discharge_power": self._signed(limits.max_discharge_kw * 1000.0),
            "ev_min_discharge_power": self._signed(limits.min_discharge_kw * 1000.0),
        }
        service = selected_service.service
        if service is ServiceV20.AC:
            return ac.ACChargeParameterDiscoveryReqParams(**powers)
        if service is ServiceV20.AC_BPT:
            return ac.BPTACChargeParameterDiscoveryReqParams(**powers, **discharge)
        powers |= {
            "ev_max_charge_current": rational(limits.max_current_a), "ev_min_charge_current": rational(0.0),
            "ev_max_voltage": rational(limits.max_voltage_v), "ev_min_voltage": rational(limits.min_voltage_v),
            "target_soc": _percent(self.state.target_soc),
        }
        if service is ServiceV20.DC:
            return dc.DCChargeParameterDiscoveryReqParams(**powers)
        return dc.BPTDCChargeParameterDiscoveryReqParams(
            **powers, **discharge, ev_max_discharge_current=self._signed(limits.max_current_a),
            ev_min_discharge_current=rational(0.0),
        )

    def _signed(self, magnitude: float) -> RationalNumber:
        return rational(-magnitude if self._speech.is_discharge_negative else magnitude)

    # ------------------------------------------------------------------ needs and schedules

    def _energies(self) -> dict[str, Any]:
        state = self.state
        return {
            "ev_target_energy_request": watt_hours(state.target_energy_kwh),
            "ev_max_energy_request": watt_hours(state.max_energy_kwh),
            "ev_min_energy_request": watt_hours(state.min_energy_kwh),
        }

    def _v2x(self) -> dict[str, Any]:
        state = self.state
        if state.max_v2x_energy_kwh is None or state.min_v2x_energy_kwh is None or not self.is_two_way:
            return {}  # both or none [V2G20-2681]
        return {
            "ev_max_v2x_energy_request": watt_hours(state.max_v2x_energy_kwh),
            "ev_min_v2x_energy_request": watt_hours(state.min_v2x_energy_kwh),
        }

    def _departure(self) -> int:
        return UNKNOWN_DEPARTURE_S if self.state.departure_s is None else round(self.state.departure_s)

    async def get_scheduled_se_params(
        self, selected_energy_service: SelectedEnergyService  # noqa: ARG002
    ) -> ScheduledScheduleExchangeReqParams:
        departure = None if self.state.departure_s is None else self._departure()
        return ScheduledScheduleExchangeReqParams(departure_time=departure, **self._energies())

    async def get_dynamic_se_params(
        self, selected_energy_service: SelectedEnergyService  # noqa: ARG002
    ) -> DynamicScheduleExchangeReqParams:
        least, target = _percent(self.state.min_soc), _percent(self.state.target_soc)
        return DynamicScheduleExchangeReqParams(
            departure_time=self._departure(), min_soc=least, target_soc=target, **self._energies(), **self._v2x(),
        )

    async def process_scheduled_se_params(
        self, scheduled_params: ScheduledScheduleExchangeResParams, pause: bool,
    ) -> tuple[EVPowerProfile, ChargeProgress]:
        """The first schedule, followed as it is offered."""
        chosen = scheduled_params.schedule_tuples[0]
        offered = chosen.charging_schedule.power_schedule
        profile = EVPowerProfile(
            time_anchor=offered.time_anchor,
            entry_list=EVPowerProfileEntryList(entries=offered.schedule_entry_list.entries),
            scheduled_profile=ScheduledEVPowerProfile(
                selected_schedule_tuple_id=chosen.schedule_tuple_id,
                power_tolerance_acceptance=PowerToleranceAcceptance.CONFIRMED,
            ),
        )
        return profile, ChargeProgress.STOP if pause else ChargeProgress.START

    async def process_dynamic_se_params(
        self, dynamic_params: DynamicScheduleExchangeResParams, pause: bool,  # noqa: ARG002 - the EVSE decides
    ) -> tuple[EVPowerProfile, ChargeProgress]:
        stay = PowerScheduleEntry(
            duration=min(self._departure(), DAY_S) or DAY_S, power=watts(self.limits.max_charge_kw)
        )
        profile = EVPowerProfile(
            time_anchor=0, entry_list=EVPowerProfileEntryList(entries=[stay]), dynamic_profile=DynamicEVPowerProfile(),
        )
        return profile, ChargeProgress.STOP if pause else ChargeProgress.START

    # ------------------------------------------------------------------ every loop

    async def get_display_params(self) -> DisplayParameters:
        state = self.state
        return DisplayParameters(
            present_soc=self.percent, min_soc=_percent(state.min_soc), target_soc=_percent(state.target_soc),
            max_soc=_percent(state.max_soc), charging_complete=await self.is_charging_complete(),
            battery_energy_capacity=watt_hours(self.limits.capacity_kwh),
        )

    async def get_ac_charge_loop_params_v20(self, control_mode: ControlMode, selected_service: ServiceV20) -> Any:
        limits, present = self.limits, watts(self.state.present_kw)
        is_bpt = selected_service is ServiceV20.AC_BPT
        params: dict[str, Any] = {
            **self._energies(), "ev_present_active_power": present,
            "ev_max_charge_power": watts(limits.max_charge_kw), "ev_min_charge_power": watts(limits.min_charge_kw),
        }
        if is_bpt:
            params |= {
                "ev_max_discharge_power": self._signed(limits.max_discharge_kw * 1000.0),
                "ev_min_discharge_power": self._signed(limits.min_discharge_kw * 1000.0),
            }
        if control_mode is ControlMode.SCHEDULED:
            kind = ac.BPTScheduledACChargeLoopReqParams if is_bpt else ac.ScheduledACChargeLoopReqParams
            return kind(**params)
        params |= {"departure_time": self._departure(), "ev_present_reactive_power": rational(0.0)}
        if is_bpt:
            return ac.BPTDynamicACChargeLoopReqParams(**params, **self._v2x())
        return ac.DynamicACChargeLoopReqParams(**params)

    def _scheduled_dc(self) -> dict[str, Any]:
        limits = self.limits
        return {
            **self._energies(), "ev_target_current": rational(self.target_current()),
            "ev_target_voltage": rational(self.state.voltage_v), "ev_max_charge_power": watts(limits.max_charge_kw),
            "ev_min_charge_power": watts(limits.min_charge_kw),
            "ev_max_charge_current": rational(limits.max_current_a),
            "ev_max_voltage": rational(limits.max_voltage_v), "ev_min_voltage": rational(limits.min_voltage_v),
        }

    def _discharge_dc(self) -> dict[str, Any]:
        return {
            "ev_max_discharge_power": self._signed(self.limits.max_discharge_kw * 1000.0),
            "ev_min_discharge_power": self._signed(self.limits.min_discharge_kw * 1000.0),
            "ev_max_discharge_current": self._signed(self.limits.max_current_a),
        }

    def _dynamic_dc(self) -> dict[str, Any]:
        limits = self.limits
        return {
            **self._energies(), "departure_time": self._departure(),
            "ev_max_charge_power": watts(limits.max_charge_kw), "ev_min_charge_power": watts(limits.min_charge_kw),
            "ev_max_charge_current": rational(limits.max_current_a),
            "ev_max_voltage": rational(limits.max_voltage_v), "ev_min_voltage": rational(limits.min_voltage_v),
        }

    async def get_scheduled_dc_charge_loop_params(self) -> dc.ScheduledDCChargeLoopReqParams:
        return dc.ScheduledDCChargeLoopReqParams(**self._scheduled_dc())

    async def get_bpt_scheduled_dc_charge_loop_params(self) -> dc.BPTScheduledDCChargeLoopReqParams:
        return dc.BPTScheduledDCChargeLoopReqParams(**self._scheduled_dc(), **self._discharge_dc())

    async def get_dynamic_dc_charge_loop_params(self) -> dc.DynamicDCChargeLoopReqParams:
        return dc.DynamicDCChargeLoopReqParams(**self._dynamic_dc())

    async def get_bpt_dynamic_dc_charge_loop_params(self) -> dc.BPTDynamicDCChargeLoopReqParams:
        return dc.BPTDynamicDCChargeLoopReqParams(**self._dynamic_dc(), **self._discharge_dc(), **self._v2x())


def _control_mode(parameter_set: Any) -> int | None:
    return next((p.int_value for p in parameter_set.parameters if p.name == ParameterName.CONTROL_MODE), None)


def _kw(limit: RationalNumber | None) -> float:
    return 0.0 if limit is None else float(limit.get_decimal_value()) / 1000.0


def _percent(fraction: float | None) -> int | None:
    return None if fraction is None else round(fraction * 100.0)
