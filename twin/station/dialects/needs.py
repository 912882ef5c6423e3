"""What a car said it needs, as NotifyEVChargingNeeds carries it (OCPP 2.0.1 K15, 2.1 K15 to K18 and Q01).

Powers in W and energies in Wh as they were read off the wire, SoC in whole percent; V2X limits are those that car and
EVSE share (V2XChargingParametersType). OCPP 2.0.1 has whole numbers and no word for discharge.
"""

from __future__ import annotations

from typing import Any

from twin.station.clock import iso
from twin.station.fleetfile import EvseSpec
from twin.station.rail import EvNeeds, Transfer
from twin.station.session import CarNeeds

Payload = dict[str, Any]

_ONE_WAY = {Transfer.DC_BPT: Transfer.DC, Transfer.AC_BPT: Transfer.AC_THREE_PHASE}


def needs_payload_21(needs: CarNeeds, evse: EvseSpec) -> Payload:
    """The request of OCPP 2.1."""
    said = needs.said
    transfer = said.transfer
    charging: Payload = {
        "requestedEnergyTransfer": transfer.value,
        "availableEnergyTransfer": [t.value for t in (_plain(transfer, evse), transfer) if t],
        "controlMode": said.control.value,
        "mobilityNeedsMode": "EVCC",
    }
    if not transfer.is_bidirectional:
        charging["availableEnergyTransfer"] = [transfer.value]
    v2x = _given({
        "minChargePower": _milli(max(evse.min_charge_kw, said.min_charge_kw or 0.0)),
        "maxChargePower": _milli(_least(evse.max_charge_kw, said.max_charge_kw)),
        "minDischargePower": _milli(said.min_discharge_kw),
        "maxDischargePower": _milli(_least(evse.max_discharge_kw, said.max_discharge_kw)),
        "evTargetEnergyRequest": _milli(said.target_energy_kwh),
        "evMaxEnergyRequest": _milli(said.max_energy_kwh),
        "evMinEnergyRequest": _milli(said.min_energy_kwh),
        "evMaxV2XEnergyRequest": _milli(said.max_v2x_energy_kwh),
        "evMinV2XEnergyRequest": _milli(said.min_v2x_energy_kwh),
        "targetSoC": _percent(said.target_soc),
    })
    if transfer.is_bidirectional:
        charging["v2xChargingParameters"] = v2x
    charging |= _parameters(needs.said, evse)
    if needs.departure is not None:
        charging["departureTime"] = iso(needs.departure)
    return {"evseId": 1, "chargingNeeds": charging, "timestamp": iso(needs.at)}


def needs_payload_201(needs: CarNeeds, evse: EvseSpec) -> Payload:
    """The request of OCPP 2.0.1."""
    charging: Payload = {"requestedEnergyTransfer": _plain(needs.said.transfer, evse).value}
    charging |= {
        name: {key: round(value) for key, value in group.items()}
        for name, group in _parameters(needs.said, evse).items()
    }
    if needs.departure is not None:
        charging["departureTime"] = iso(needs.departure)
    return {"evseId": 1, "chargingNeeds": charging}


def _plain(transfer: Transfer, evse: EvseSpec) -> Transfer:
    """The same transfer in one direction only."""
    if transfer is Transfer.AC_BPT and evse.phases == 1:
        return Transfer.AC_SINGLE_PHASE
    return _ONE_WAY.get(transfer, transfer)


def _parameters(said: EvNeeds, evse: EvseSpec) -> Payload:
    current_a = said.max_charge_current_a
    if current_a is None:
        current_a = (said.max_charge_kw or evse.max_charge_kw) * 1000.0 / (evse.voltage_v * evse.phases)
    voltage_v = evse.voltage_v if said.max_voltage_v is None else said.max_voltage_v
    energy = said.target_energy_kwh if said.target_energy_kwh is not None else said.max_energy_kwh
    if said.transfer.is_dc:
        return {"dcChargingParameters": _given({
            "evMaxCurrent": round(current_a, 1), "evMaxVoltage": round(voltage_v, 1),
            "evMaxPower": _milli(said.max_charge_kw), "evEnergyCapacity": _milli(said.capacity_kwh),
            "energyAmount": _milli(energy), "stateOfCharge": _percent(said.present_soc),
        })}
    least_a = said.min_charge_current_a
    if least_a is None:
        least_a = (said.min_charge_kw or 0.0) * 1000.0 / (evse.voltage_v * evse.phases)
    return {"acChargingParameters": {
        "energyAmount": _milli(energy) or 0.0, "evMinCurrent": round(least_a, 1),
        "evMaxCurrent": round(current_a, 1), "evMaxVoltage": round(voltage_v, 1),
    }}


def _least(evse_kw: float, car_kw: float | None) -> float:
    return evse_kw if car_kw is None else min(evse_kw, car_kw)


def _milli(kilo: float | None) -> float | None:
    return None if kilo is None else round(kilo * 1000.0, 1) + 0.0


def _percent(share: float | None) -> int | None:
    return None if share is None else round(share * 100)


def _given(values: Payload) -> Payload:
    return {name: value for name, value in values.items() if value is not None}
