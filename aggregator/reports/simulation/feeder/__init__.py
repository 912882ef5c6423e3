"""The feeder's section in the report of a simulation, with the EVs beside what would be without them."""

from aggregator.reports.simulation.feeder.facts import (
    CarriedRows,
    FeederFact,
    InverterRows,
    LineRows,
    PointRows,
    TransformerRow,
)

__all__ = ["CarriedRows", "FeederFact", "InverterRows", "LineRows", "PointRows", "TransformerRow"]
