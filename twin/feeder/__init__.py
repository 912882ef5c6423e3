"""The street's three-phase grid: what stands in it, whether its data can be right, and what flows at every step.

    network/         the feeder as frozen data in SI units, and all that can be wrong with it
    importers/       from OpenDSS, pandapower, power-grid-model and CSV;   on_disk/  our own folder, the shipped example
    powerflow/       many steps at once, by a core of our own with exact gradients
    second_engine/   the same by power-grid-model or OpenDSS: both must agree before anybody relies on a result
    scene            a feeder with what hangs on it: homes, EVSEs, limits;   watched  those limits as rows
    impact/          what EVs do to it;   thermal/  what that does to its transformers
    inverters/       what EVSEs do by themselves when voltage moves
    envelopes/       how much every connection point may draw or feed in

What most callers need of a feeder and its flow is named here.
"""

from twin.feeder.network.connections import CONSTANT_POWER, ConnectionPoint, Envelope, LoadType, Zip
from twin.feeder.network.model import (
    Bus,
    Capacitor,
    Feeder,
    Line,
    Origin,
    Paper,
    Primitive,
    Rating,
    Side,
    Source,
    Tap,
    ThermalConstants,
    Transformer,
)
from twin.feeder.network.phases import Connection
from twin.feeder.network.plausible import FeederError
from twin.feeder.network.validity import FeederFault, faults
from twin.feeder.powerflow.flow import FeederInvalid, Flow, Solution
from twin.feeder.powerflow.gradients import Gradients

__all__ = [
    "CONSTANT_POWER", "Bus", "Capacitor", "Connection", "ConnectionPoint", "Envelope", "Feeder", "FeederError",
    "FeederFault", "FeederInvalid", "Flow", "Gradients", "Line", "LoadType", "Origin", "Paper", "Primitive", "Rating",
    "Side", "Solution", "Source", "Tap", "ThermalConstants", "Transformer", "Zip", "faults",
]
