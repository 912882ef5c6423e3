"""How a station speaks: one module for each OCPP version, all with the same few things to say."""

from twin.station.dialects.base import Dialect, StationControl
from twin.station.dialects.v16 import Dialect16
from twin.station.dialects.v21 import Dialect21
from twin.station.dialects.v201 import Dialect201

DIALECTS: dict[str, type[Dialect]] = {
    dialect.version: dialect for dialect in (Dialect16, Dialect201, Dialect21)
}

__all__ = ["DIALECTS", "Dialect", "Dialect16", "Dialect21", "Dialect201", "StationControl"]
