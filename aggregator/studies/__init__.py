"""What-if runs: a scenario in the twin under a rule or under the service's own loop, its tables, and runs compared.

`simulate` runs a scenario, `control` and `planned` say who decides, `causes` why drivers were short, `gather`, `tables`
and `result` what is written, `folder` where, `compare` lays runs side by side; `loop` is the service's loop over the
twin of one day. Only the loop is handed on here: the demo needs it without the tables' libraries.
"""

from aggregator.studies.loop import LoopController, LoopLog

__all__ = ["LoopController", "LoopLog"]
