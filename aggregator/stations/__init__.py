"""Start emulated charging stations: find the interpreter that has ISO 15118, and turn a scenario into their file.

The stations run in an environment of their own (`twin.station`), because the package that speaks ISO 15118 pins old
versions of what the service stands on; only files, sockets and standard streams lie between the two.
"""

from aggregator.stations.emulation import fleet_of, on_the_wire
from aggregator.stations.interpreter import NoStationInterpreter, station_interpreter

__all__ = ["NoStationInterpreter", "fleet_of", "on_the_wire", "station_interpreter"]
