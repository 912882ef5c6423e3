"""`v2g feeder check`."""

from __future__ import annotations

from aggregator.feeder.options import FeederPath, JsonFlag, fail


def check(feeder: FeederPath, as_json: JsonFlag = False) -> None:
    """Judge a feeder's data and let two engines solve it: without load, with the given one, with all at most."""
    fail(f"{feeder}: {as_json}: cannot be done yet")
