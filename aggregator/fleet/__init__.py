"""The cars at the chargers as the service believes them: who is plugged in, what they want, what they hold.

Everything here is built from what chargers, meters, drivers' apps and fleet systems say; how sure and how old
each estimate is travels with it. `desk` takes in what they say (as far as it is `plausible`), `beliefs` is what follows
from it, `wishes` whose word counts; `departures` and `leaving` know when drivers really leave, `draw` what a car takes.
"""

from aggregator.fleet.beliefs import Beliefs, UnknownVehicleModel, VehicleModel
from aggregator.fleet.departures import DepartureErrors, DepartureHistory, PastStay
from aggregator.fleet.model import DepartureTarget, LiveSession, SocSource
from aggregator.fleet.site_power import SitePower

__all__ = [
    "Beliefs", "DepartureErrors", "DepartureHistory", "DepartureTarget", "LiveSession", "PastStay", "SitePower",
    "SocSource", "UnknownVehicleModel", "VehicleModel",
]
