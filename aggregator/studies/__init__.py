"""What-if runs: a scenario in the twin under a rule or under the service's own loop, its tables, and runs compared.

`command` is what the commands do, `simulate` runs a scenario. Who decides: `control`, and for the service's planner
`planned`, `loop` (its loop over the twin of one day) and `terms` (money and an ordinary day). What came of it:
`gather`, with `causes`, `events`, `wear`, `on_feeder` and `inverters`. How it is written: `tables`, `feeder_tables`,
`result`, `settings`, `in_words`, and `folder` where. `compare` lays runs side by side. Only the loop is handed on here:
the demo needs it without the tables' libraries.
"""

from aggregator.studies.loop import LoopController, LoopLog

__all__ = ["LoopController", "LoopLog"]
