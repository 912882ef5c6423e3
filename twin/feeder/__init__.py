"""The street's three-phase grid: what stands in it, whether its data can be right, and what flows at every step.

`model` is the feeder as frozen data in SI units, `validity` says all that is wrong with one, `files` keeps it on disk
as power-grid-model JSON with a sidecar. `flow` solves many steps at once with a core of our own and gives exact
gradients; `check` solves the same with power-grid-model, which has to agree before anybody relies on a result, and
`opendss` does so for feeders that power-grid-model has no words for.
"""

from twin.feeder.flow import FeederInvalid, Flow, Solution
from twin.feeder.gradients import Gradients
from twin.feeder.model import (
    CONSTANT_POWER,
    Bus,
    Capacitor,
    Connection,
    ConnectionPoint,
    Envelope,
    Feeder,
    FeederError,
    Line,
    LoadType,
    Origin,
    Paper,
    Primitive,
    Rating,
    Side,
    Source,
    Tap,
    ThermalConstants,
    Transformer,
    Zip,
)
from twin.feeder.validity import FeederFault, faults

__all__ = [
    "CONSTANT_POWER", "Bus", "Capacitor", "Connection", "ConnectionPoint", "Envelope", "Feeder", "FeederError",
    "FeederFault", "FeederInvalid", "Flow", "Gradients", "Line", "LoadType", "Origin", "Paper", "Primitive", "Rating",
    "Side", "Solution", "Source", "Tap", "ThermalConstants", "Transformer", "Zip", "faults",
]
