"""The configuration keys (1.6) and device model variables (2.x) of this station: few, but true.

A key that can be written changes what the station does; one that cannot says what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twin.station.clock import iso
from twin.station.dialects.base import Setting
from twin.station.link import MAX_ATTEMPTS, RETRY_INTERVAL_S
from twin.station.profile_codec import MAX_INSTALLED, MAX_PERIODS, MAX_STACK_LEVEL

if TYPE_CHECKING:
    from twin.station.station import Station

MEASURANDS = "Energy.Active.Import.Register,Energy.Active.Export.Register,Power.Active.Import,Power.Active.Export,SoC"
LONGEST_INTERVAL_S = 86_400


def settings_of(station: Station) -> dict[str, Setting]:
    """By key in 1.6, by "Component.Variable" in 2.x."""
    heartbeat = Setting(lambda: str(round(station.link.heartbeat_s)), lambda text: _set_heartbeat(station, text))
    meter = Setting(lambda: str(round(station.meter_interval_s)), lambda text: _set_meter(station, text))
    return _keys_16(heartbeat, meter) if station.spec.version == "ocpp1.6" else _variables(station, heartbeat, meter)


def _keys_16(heartbeat: Setting, meter: Setting) -> dict[str, Setting]:
    fixed = {
        "NumberOfConnectors": "1",
        "SupportedFeatureProfiles": "Core,SmartCharging,RemoteTrigger",
        "LocalAuthorizeOffline": "true",
        "AllowOfflineTxForUnknownId": "true",
        "AuthorizeRemoteTxRequests": "false",
        "StopTransactionOnEVSideDisconnect": "true",
        "StopTransactionOnInvalidId": "true",
        "UnlockConnectorOnEVSideDisconnect": "true",
        "MeterValuesSampledData": MEASURANDS,
        "TransactionMessageAttempts": str(MAX_ATTEMPTS),
        "TransactionMessageRetryInterval": str(round(RETRY_INTERVAL_S)),
        "ChargeProfileMaxStackLevel": str(MAX_STACK_LEVEL),
        "ChargingScheduleAllowedChargingRateUnit": "Current,Power",
        "ChargingScheduleMaxPeriods": str(MAX_PERIODS),
        "MaxChargingProfilesInstalled": str(MAX_INSTALLED),
    }
    return {
        "HeartbeatInterval": heartbeat, "MeterValueSampleInterval": meter,
        **{key: _fixed(value) for key, value in fixed.items()},
    }


def _variables(station: Station, heartbeat: Setting, meter: Setting) -> dict[str, Setting]:
    evse = station.spec.evse
    fixed = {
        "OCPPCommCtrlr.MessageAttempts": str(MAX_ATTEMPTS),
        "OCPPCommCtrlr.MessageAttemptInterval": str(round(RETRY_INTERVAL_S)),
        "SampledDataCtrlr.TxUpdatedMeasurands": MEASURANDS,
        "SmartChargingCtrlr.Enabled": "true",
        "SmartChargingCtrlr.ProfileStackLevel": str(MAX_STACK_LEVEL),
        "SmartChargingCtrlr.RateUnit": "A,W",
        "SmartChargingCtrlr.PeriodsPerSchedule": str(MAX_PERIODS),
        "SmartChargingCtrlr.Entries": str(MAX_INSTALLED),
        "AuthCtrlr.OfflineTxForUnknownIdEnabled": "true",
        "TxCtrlr.StopTxOnEVSideDisconnect": "true",
        "TxCtrlr.StopTxOnInvalidId": "true",
        "TxCtrlr.TxStartPoint": "Authorized",
        "TxCtrlr.TxStopPoint": "EVConnected,Authorized",
        "ChargingStation.VendorName": station.spec.vendor,
        "ChargingStation.Model": station.spec.model,
        "EVSE.Power": str(round(evse.max_charge_kw * 1000)),
        "EVSE.SupplyPhases": str(evse.phases),
        "ISO15118Ctrlr.Enabled": str(station.spec.rail == "wire").lower(),
    }
    if station.spec.version == "ocpp2.1":
        can_discharge = evse.max_discharge_kw > 0
        fixed |= {
            "V2XChargingCtrlr.Enabled": str(can_discharge).lower(),
            "V2XChargingCtrlr.SupportedOperationModes": "ChargingOnly,CentralSetpoint,Idle" if can_discharge
            else "ChargingOnly,Idle",
            "EVSE.DischargePower": str(round(evse.max_discharge_kw * 1000)),
        }
    return {
        "OCPPCommCtrlr.HeartbeatInterval": heartbeat, "SampledDataCtrlr.TxUpdatedInterval": meter,
        "ClockCtrlr.DateTime": Setting(lambda: iso(station.now)),
        **{key: _fixed(value) for key, value in fixed.items()},
    }


def _fixed(value: str) -> Setting:
    return Setting(lambda: value)


def _interval(text: str, least: int) -> int:
    seconds = int(text)
    if not least <= seconds <= LONGEST_INTERVAL_S:
        raise ValueError(f"interval: {seconds}, expected {least} to {LONGEST_INTERVAL_S} s")
    return seconds


def _set_heartbeat(station: Station, text: str) -> None:
    station.link.heartbeat_s = float(_interval(text, 1))


def _set_meter(station: Station, text: str) -> None:
    station.change_meter_interval(float(_interval(text, 0)))
