"""Pictures of a feeder as SVG that needs nothing else: a one-line diagram, a strip over time, two side by side."""

from aggregator.reports.feeder.canvas import BEGINNING, side_by_side
from aggregator.reports.feeder.heat_strip import heat_strip
from aggregator.reports.feeder.one_line import one_line

__all__ = ["BEGINNING", "heat_strip", "one_line", "side_by_side"]
