"""The charging station's controller in ISO 15118-2 and DIN 70121: charging only, limits and status in every loop."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from iso15118.shared.messages.datatypes import (
    DCEVSEChargeParameter,
    DCEVSEStatus,
    DCEVSEStatusCode,
    EVSENotification,
    PVEVSEMaxCurrent,
    PVEVSEMaxCurrentLimit,
    PVEVSEMaxPowerLimit,
    PVEVSEMaxVoltageLimit,
    PVEVSEMinCurrentLimit,
    PVEVSEMinVoltageLimit,
    PVEVSENominalVoltage,
    PVEVSEPeakCurrentRipple,
    PVPMax,
)
from iso15118.shared.messages.din_spec import datatypes as din
from iso15118.shared.messages.enums import EnergyTransferModeEnum, IsolationLevel, UnitSymbol
from iso15118.shared.messages.enums import Protocol as WireProtocol
from iso15118.shared.messages.iso15118_2 import datatypes as v2

from twin.station.iso15118.evse_core import EvseCore
from twin.station.iso15118.numbers import LARGEST, scaled
from twin.station.iso15118.services import DAY_S
from twin.station.rail import Transfer

DIN_MOST_ENTRIES = 12  # [V2G-DC-329]
RIPPLE_A = 1.0


def physical(kind: Any, number: float, unit: UnitSymbol) -> Any:
    """A number as ISO 15118-2 and DIN 70121 write it: a PhysicalValue of class `kind`."""
    value, multiplier = scaled(number)
    return kind(value=value, multiplier=multiplier, unit=unit)


class EvseOlder(EvseCore):
    """See the module."""

    # ------------------------------------------------------------------ offer

    async def get_supported_energy_transfer_modes(self, protocol: WireProtocol) -> list[EnergyTransferModeEnum]:  # noqa: ARG002
        if self.ratings.is_dc:
            return [EnergyTransferModeEnum.DC_EXTENDED]
        single = [EnergyTransferModeEnum.AC_SINGLE_PHASE_CORE]
        return [EnergyTransferModeEnum.AC_THREE_PHASE_CORE, *single] if self.ratings.phases > 1 else single

    async def send_rated_limits(self) -> None:
        """ChargeParameterDiscovery told the car's limits, and in these languages also what it needs."""
        mode = self.ev_data_context.selected_energy_mode
        if mode is EnergyTransferModeEnum.AC_SINGLE_PHASE_CORE:
            self.transfer = Transfer.AC_SINGLE_PHASE
        elif mode is EnergyTransferModeEnum.AC_THREE_PHASE_CORE:
            self.transfer = Transfer.AC_THREE_PHASE
        self.learn()

    def _powers(self) -> list[tuple[int, float]]:
        """Seconds and kW: these languages say no wishes here, and steps that differ in nothing else are one."""
        return [
            (sum(step.duration_s for step in same), charge_kw)
            for charge_kw, same in groupby(self.steps(), key=lambda step: step.charge_kw)
        ]

    async def get_sa_schedule_list(self, *_: Any, **__: Any) -> list[v2.SAScheduleTuple]:
        """PMax by steps; where no departure was named they must cover a day [V2G2-304]."""
        entries, start = [], 0
        powers = self._powers()
        for index, (duration_s, charge_kw) in enumerate(powers):
            is_last = index == len(powers) - 1
            # Only the last entry may say how long it lasts: the others end where the next one begins.
            duration = min(duration_s, DAY_S) if is_last else None
            entries.append(v2.PMaxScheduleEntry(
                p_max=physical(PVPMax, charge_kw * 1000.0, UnitSymbol.WATT),
                time_interval=v2.RelativeTimeInterval(start=start, duration=duration),
            ))
            start += duration_s
        return [v2.SAScheduleTuple(sa_schedule_tuple_id=1, p_max_schedule=v2.PMaxSchedule(schedule_entries=entries))]

    async def get_sa_schedule_list_dinspec(self, *_: Any, **__: Any) -> list[din.SAScheduleTupleEntry]:
        details, start = [], 0
        for duration_s, charge_kw in self._powers()[:DIN_MOST_ENTRIES]:
            details.append(din.PMaxScheduleEntryDetails(
                p_max=min(int(charge_kw * 1000.0), LARGEST),
                time_interval=din.RelativeTimeInterval(start=start, duration=min(duration_s, DAY_S)),
            ))
            start += duration_s
        powers = din.PMaxScheduleEntry(p_max_schedule_id=1, entry_details=details)
        return [din.SAScheduleTupleEntry(sa_schedule_tuple_id=1, p_max_schedule=powers)]

    # ------------------------------------------------------------------ AC

    async def get_ac_evse_status(self) -> v2.ACEVSEStatus:
        return v2.ACEVSEStatus(notification_max_delay=0, evse_notification=self._notification(), rcd=False)

    async def get_ac_charge_params_v2(self) -> v2.ACEVSEChargeParameter:
        return v2.ACEVSEChargeParameter(
            ac_evse_status=await self.get_ac_evse_status(),
            evse_nominal_voltage=physical(PVEVSENominalVoltage, self.ratings.voltage_v, UnitSymbol.VOLTAGE),
            evse_max_current=physical(
                PVEVSEMaxCurrent, self._phase_current(self.ratings.max_charge_kw), UnitSymbol.AMPERE
            ),
        )

    def _phase_current(self, power_kw: float) -> float:
        """A per phase; the car uses as many phases as it asked for."""
        phases = 1 if self.transfer is Transfer.AC_SINGLE_PHASE else self.ratings.phases
        return power_kw * 1000.0 / (self.ratings.voltage_v * phases)

    # ------------------------------------------------------------------ DC

    async def get_dc_evse_status(self) -> DCEVSEStatus:
        code = DCEVSEStatusCode.EVSE_SHUTDOWN if self.is_terminating else DCEVSEStatusCode.EVSE_READY
        return DCEVSEStatus(
            notification_max_delay=0, evse_notification=self._notification(),
            evse_isolation_status=IsolationLevel.VALID, evse_status_code=code,
        )

    async def get_dc_charge_parameters(self) -> DCEVSEChargeParameter:
        ratings = self.ratings
        return DCEVSEChargeParameter(
            dc_evse_status=await self.get_dc_evse_status(),
            evse_maximum_power_limit=physical(PVEVSEMaxPowerLimit, ratings.max_charge_kw * 1000.0, UnitSymbol.WATT),
            evse_maximum_current_limit=physical(PVEVSEMaxCurrentLimit, ratings.max_current_a, UnitSymbol.AMPERE),
            evse_maximum_voltage_limit=physical(PVEVSEMaxVoltageLimit, ratings.max_voltage_v, UnitSymbol.VOLTAGE),
            evse_minimum_current_limit=physical(PVEVSEMinCurrentLimit, 0.0, UnitSymbol.AMPERE),
            evse_minimum_voltage_limit=physical(PVEVSEMinVoltageLimit, ratings.min_voltage_v, UnitSymbol.VOLTAGE),
            evse_peak_current_ripple=physical(PVEVSEPeakCurrentRipple, RIPPLE_A, UnitSymbol.AMPERE),
        )

    async def get_evse_max_voltage_limit(self) -> PVEVSEMaxVoltageLimit:
        return physical(PVEVSEMaxVoltageLimit, self.ratings.max_voltage_v, UnitSymbol.VOLTAGE)

    async def get_evse_max_current_limit(self) -> PVEVSEMaxCurrentLimit | PVEVSEMaxCurrent:
        """AC: the set-point as current per phase. DC: the rating, for the power limit carries the set-point."""
        if self.ratings.is_dc:
            return physical(PVEVSEMaxCurrentLimit, self.ratings.max_current_a, UnitSymbol.AMPERE)
        return physical(PVEVSEMaxCurrent, self._phase_current(self.offered()[0]), UnitSymbol.AMPERE)

    async def get_evse_max_power_limit(self) -> PVEVSEMaxPowerLimit:
        return physical(PVEVSEMaxPowerLimit, self.permitted()[0] * 1000.0, UnitSymbol.WATT)

    def _notification(self) -> EVSENotification:
        return EVSENotification.STOP_CHARGING if self.is_terminating else EVSENotification.NONE
