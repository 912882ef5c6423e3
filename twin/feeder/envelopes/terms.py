"""By what rule envelopes are shared out, and what they promise."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """How what the feeder bears is shared out."""

    EQUAL = "equal"
    """The same watts for every connection point."""
    PROPORTIONAL = "proportional"
    """The same fraction of every connection point's fuse."""
    MAX_TOTAL = "max-total"
    """As many watts as possible in all, whoever gets them."""


class Guarantee(StrEnum):
    """What envelopes promise; see `twin.feeder.envelopes.dynamic`."""

    TOGETHER = "together"
    MIX = "mix"
