"""The car's controller in ISO 15118-2 and DIN 70121: one direction, needs told once, limits read in every loop."""

from __future__ import annotations

from typing import Any

from iso15118.evcc.controller.interface import ChargeParamsV2
from iso15118.shared.messages.datatypes import (
    DCEVChargeParams,
    EVSENotification,
    PVEAmount,
    PVEVEnergyCapacity,
    PVEVEnergyRequest,
    PVEVMaxCurrent,
    PVEVMaxCurrentLimit,
    PVEVMaxPowerLimit,
    PVEVMaxVoltage,
    PVEVMaxVoltageLimit,
    PVEVMinCurrent,
    PVEVTargetCurrent,
    PVEVTargetVoltage,
    PVRemainingTimeToBulkSOC,
    PVRemainingTimeToFullSOC,
)
from iso15118.shared.messages.din_spec import datatypes as din
from iso15118.shared.messages.enums import DCEVErrorCode, UnitSymbol
from iso15118.shared.messages.enums import Protocol as WireProtocol
from iso15118.shared.messages.iso15118_2 import datatypes as v2

from twin.station.iso15118.ev_core import EvCore
from twin.station.iso15118.evse_older import physical
from twin.station.rail import Transfer

MOST_PROFILE_ENTRIES = 24  # ChargingProfile of -2
LONGEST_S = 30_000


class EvOlder(EvCore):
    """See the module."""

    def _hear_parameters(self, said: Any) -> None:
        """ChargeParameterDiscoveryRes: for AC the voltage of the mains."""
        found = getattr(said, "ac_charge_parameter", None)
        if found is not None:
            self.evse.mains_v = found.evse_nominal_voltage.get_decimal_value()

    def _hear_current_demand(self, said: Any) -> None:
        """CurrentDemandRes: limits are optional there."""
        if said.evse_max_power_limit is not None:
            self.evse.max_charge_kw = said.evse_max_power_limit.get_decimal_value() / 1000.0
        if said.evse_max_current_limit is not None:
            self.evse.max_current_a = said.evse_max_current_limit.get_decimal_value()

    def _hear_charging_status(self, said: Any) -> None:
        """ChargingStatusRes: the charger follows at once what the station allows per phase."""
        if said.ac_evse_status.evse_notification is not EVSENotification.NONE:
            self.obey(0.0)
        elif said.evse_max_current is not None:
            self.obey(said.evse_max_current.get_decimal_value() * self.evse.mains_v * self._phases() / 1000.0)

    def _phases(self) -> int:
        return 1 if self._speech.transfer is Transfer.AC_SINGLE_PHASE else self.limits.phases

    # ------------------------------------------------------------------ needs

    async def get_charge_params_v2(self, protocol: WireProtocol) -> ChargeParamsV2:  # noqa: ARG002
        departure = round(self.state.departure_s or 0.0)
        amount = self.state.target_energy_kwh * 1000.0
        mode = self.config.energy_transfer_mode
        if not self._speech.transfer.is_dc:
            mains_v = self.evse.mains_v
            most_a = min(self.limits.max_current_a, self.limits.max_charge_kw * 1000.0 / (mains_v * self._phases()))
            least_a = self.limits.min_charge_kw * 1000.0 / (mains_v * self._phases())
            return ChargeParamsV2(mode, v2.ACEVChargeParameter(
                departure_time=departure, e_amount=physical(PVEAmount, amount, UnitSymbol.WATT_HOURS),
                ev_max_voltage=physical(PVEVMaxVoltage, mains_v, UnitSymbol.VOLTAGE),
                ev_max_current=physical(PVEVMaxCurrent, most_a, UnitSymbol.AMPERE),
                ev_min_current=physical(PVEVMinCurrent, least_a, UnitSymbol.AMPERE),
            ), None)
        params = await self.get_dc_charge_params()
        return ChargeParamsV2(mode, None, v2.DCEVChargeParameter(
            departure_time=departure, dc_ev_status=await self.get_dc_ev_status(),
            ev_maximum_current_limit=params.dc_max_current_limit, ev_maximum_power_limit=params.dc_max_power_limit,
            ev_maximum_voltage_limit=params.dc_max_voltage_limit, ev_energy_capacity=params.dc_energy_capacity,
            ev_energy_request=physical(PVEVEnergyRequest, amount, UnitSymbol.WATT_HOURS),
            full_soc=None if self.state.max_soc is None else round(self.state.max_soc * 100.0),
        ))

    async def get_dc_charge_params(self) -> DCEVChargeParams:
        limits = self.limits
        return DCEVChargeParams(
            dc_max_current_limit=physical(PVEVMaxCurrentLimit, limits.max_current_a, UnitSymbol.AMPERE),
            dc_max_power_limit=physical(PVEVMaxPowerLimit, limits.max_charge_kw * 1000.0, UnitSymbol.WATT),
            dc_max_voltage_limit=physical(PVEVMaxVoltageLimit, limits.max_voltage_v, UnitSymbol.VOLTAGE),
            dc_energy_capacity=physical(PVEVEnergyCapacity, limits.capacity_kwh * 1000.0, UnitSymbol.WATT_HOURS),
            dc_target_current=physical(PVEVTargetCurrent, self.target_current(), UnitSymbol.AMPERE),
            dc_target_voltage=physical(PVEVTargetVoltage, self.state.voltage_v, UnitSymbol.VOLTAGE),
        )

    async def get_dc_ev_status(self) -> v2.DCEVStatus:
        return v2.DCEVStatus(ev_ready=True, ev_error_code=DCEVErrorCode.NO_ERROR, ev_ress_soc=self.percent)

    async def get_dc_ev_status_dinspec(self) -> din.DCEVStatus:
        return din.DCEVStatus(ev_ready=True, ev_error_code=DCEVErrorCode.NO_ERROR, ev_ress_soc=self.percent)

    async def get_dc_ev_power_delivery_parameter(self) -> v2.DCEVPowerDeliveryParameter:
        return v2.DCEVPowerDeliveryParameter(
            dc_ev_status=await self.get_dc_ev_status(), charging_complete=await self.is_charging_complete(),
        )

    async def get_remaining_time_to_full_soc(self) -> PVRemainingTimeToFullSOC:
        return physical(PVRemainingTimeToFullSOC, self._remaining_s(), UnitSymbol.SECONDS)

    async def get_remaining_time_to_bulk_soc(self) -> PVRemainingTimeToBulkSOC:
        return physical(PVRemainingTimeToBulkSOC, self._remaining_s(), UnitSymbol.SECONDS)

    def _remaining_s(self) -> float:
        """At the present power; at standstill as long as can be said."""
        power_kw = max(self.state.present_kw, 0.0)
        if power_kw <= 0.0:
            return LONGEST_S
        return min(max(self.state.max_energy_kwh, 0.0) / power_kw * 3600.0, LONGEST_S)

    # ------------------------------------------------------------------ schedules

    async def process_sa_schedules_v2(
        self, sa_schedules: list[v2.SAScheduleTuple]
    ) -> tuple[v2.ChargeProgress, int, v2.ChargingProfile]:
        """The first schedule, followed as it is offered."""
        chosen = sa_schedules[0]
        entries = [
            v2.ProfileEntryDetails(start=entry.time_interval.start, max_power=entry.p_max)
            for entry in chosen.p_max_schedule.schedule_entries
        ]
        profile = v2.ChargingProfile(profile_entries=entries[:MOST_PROFILE_ENTRIES])
        return v2.ChargeProgress.START, chosen.sa_schedule_tuple_id, profile

    async def process_sa_schedules_dinspec(self, sa_schedules: list[din.SAScheduleTupleEntry]) -> int:
        return int(sa_schedules[0].sa_schedule_tuple_id)
