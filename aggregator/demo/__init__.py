"""A day at a workplace site through the whole loop, with everything around the service emulated.

The service itself runs unchanged as a process of its own and knows nothing of this folder: stations, meter, drivers,
fleet manager and utility reach it over their own protocols. `day` is the demo itself; `scene` and `configuration` set
the stage, `people`, `processes` and `pacing` play the day, `stored`, `evidence` and `paired` judge it.
"""

from aggregator.demo.day import DemoOptions, DemoOutcome, run_demo

__all__ = ["DemoOptions", "DemoOutcome", "run_demo"]
