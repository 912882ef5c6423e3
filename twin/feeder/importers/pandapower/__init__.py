"""Networks of pandapower as feeders, read from their JSON without pandapower.

`tables` takes the JSON apart, `reading` figures and places out of its rows, `network` leads the way, `buses`,
`branches` and `points` make the feeder.
"""

from twin.feeder.importers.pandapower.network import read_pandapower

__all__ = ["read_pandapower"]
