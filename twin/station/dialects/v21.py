"""OCPP 2.1 as this station speaks it: 2.0.1, and set-points that may discharge, and what a V2X car says of itself."""

from __future__ import annotations

from typing import ClassVar

from twin.assets import Current, Vehicle
from twin.station.clock import iso
from twin.station.dialects.base import Payload
from twin.station.dialects.v201 import Dialect201
from twin.station.link import Message
from twin.station.session import Sample, Transaction


class Dialect21(Dialect201):
    """See the module."""

    version: ClassVar[str] = "ocpp2.1"

    def transaction_details(self) -> Payload:
        """The operation mode in force (2.1 Q01: told in transactionInfo)."""
        transaction = self.station.transaction
        if transaction is None:
            return {}
        return {"operationMode": "CentralSetpoint" if self.station.is_following_setpoint else "ChargingOnly"}

    def charging_needs(
        self, transaction: Transaction, vehicle: Vehicle, sample: Sample, energy_kwh: float
    ) -> Message | None:
        """NotifyEVChargingNeeds of a bidirectional car (2.1 Q01, K17); the departure stays unknown to the station.

        Powers in W, energies in Wh, SoC in whole percent; for AC the car does not tell its SoC.
        """
        evse = self.station.spec.evse
        if evse.max_discharge_kw <= 0 or vehicle.max_discharge_kw <= 0:
            return None
        is_dc = evse.current is Current.DC
        battery = vehicle.battery
        charge_kw = min(evse.max_charge_kw, vehicle.max_charge_kw)
        discharge_kw = min(evse.max_discharge_kw, vehicle.max_discharge_kw)
        low, high = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
        needs: Payload = {
            "requestedEnergyTransfer": "DC_BPT" if is_dc else "AC_BPT",
            "availableEnergyTransfer": ["DC", "DC_BPT"] if is_dc else ["AC_single_phase", "AC_BPT"],
            "controlMode": "ScheduledControl",
            "v2xChargingParameters": {
                "minChargePower": round(evse.min_charge_kw * 1000, 1),
                "maxChargePower": round(charge_kw * 1000, 1),
                "minDischargePower": round(vehicle.min_discharge_kw * 1000, 1),
                "maxDischargePower": round(discharge_kw * 1000, 1),
                # ISO 15118-20 counts what may still go in; below zero is what may go out.
                "evMaxEnergyRequest": round((high - energy_kwh) * 1000, 1),
                "evMinEnergyRequest": round((low - energy_kwh) * 1000, 1),
            },
        }
        if is_dc:
            needs["dcChargingParameters"] = {
                "evMaxCurrent": round(vehicle.max_charge_kw * 1000 / evse.voltage_v, 1),
                "evMaxVoltage": evse.voltage_v,
                "evMaxPower": round(vehicle.max_charge_kw * 1000, 1),
                "evEnergyCapacity": round(battery.capacity_kwh * 1000, 1),
            }
            if sample.soc is not None:
                needs["dcChargingParameters"]["stateOfCharge"] = round(sample.soc * 100)
        payload: Payload = {"evseId": 1, "chargingNeeds": needs, "timestamp": iso(sample.at)}

        def told(_: Payload) -> None:
            transaction.has_told_needs = True

        return Message("NotifyEVChargingNeeds", lambda: payload, answered=told)
