"""A scenario's feeder: which one, what its homes draw over the scenario's time, and where each EVSE hangs on it."""

from twin.scenario.feeder.of_scenario import feeder_faults, feeder_of

__all__ = ["feeder_faults", "feeder_of"]
