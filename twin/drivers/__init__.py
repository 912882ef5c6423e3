"""What drivers really do: when they leave, whether they come, and how they change their minds.

`departures` holds the models of the departure error, `drawing` draws a course of events from them.
"""

from twin.drivers.departures import (
    AcnDepartures,
    DepartureModelError,
    Departures,
    ParametricDepartures,
    PerfectDepartures,
    RecordedDepartures,
)
from twin.drivers.drawing import Drawn, DriverModel, DriverModelError, draw, draw_chunks

__all__ = [
    "AcnDepartures", "DepartureModelError", "Departures", "Drawn", "DriverModel", "DriverModelError",
    "ParametricDepartures", "PerfectDepartures", "RecordedDepartures", "draw", "draw_chunks",
]
