"""What-if runs: the service's own loop over the twin instead of over real chargers, at full simulation speed."""

from aggregator.studies.loop import LoopController, LoopLog

__all__ = ["LoopController", "LoopLog"]
