"""The gateway to the charging stations: OCPP 1.6, 2.0.1 and 2.1 on one side, our own events and commands on the other.

`events` is what the rest of the service knows; `dialects` translate, `session` keeps each station's words in order,
`commands` carries profiles out and says what became of them, `gateway` is the server around it all.
"""

from aggregator.ocpp.access import EveryToken, StationAuth, TokenAuth
from aggregator.ocpp.counters import GatewayCounters
from aggregator.ocpp.directory import CommissionedStations, EvseAddress, StationDirectory
from aggregator.ocpp.gateway import Gateway, GatewayOptions
from aggregator.ocpp.profiles import InexpressibleProfile, InstalledProfile

__all__ = [
    "CommissionedStations", "EveryToken", "EvseAddress", "Gateway", "GatewayCounters", "GatewayOptions",
    "InexpressibleProfile", "InstalledProfile", "StationAuth", "StationDirectory", "TokenAuth",
]
