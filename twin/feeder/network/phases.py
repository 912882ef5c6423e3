"""The three phases, and what the branches of a load or a capacitor join: a phase and ground, or two phases."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from twin.feeder.network.plausible import FeederError

PHASES: Final = "abc"


def require_ordered(element: str, phases: str) -> None:
    """Raise a `FeederError` unless `phases` names some phases, each once and in their order."""
    if not phases or phases != "".join(phase for phase in PHASES if phase in phases):
        raise FeederError(element, "phases", phases, "one to three of a, b and c, in this order")


class Connection(StrEnum):
    WYE = "wye"
    DELTA = "delta"


def branches(phases: str, connection: Connection) -> tuple[str, ...]:
    """What the branches of a load or a capacitor join: one phase (and ground) each, in delta two phases each."""
    if connection is Connection.WYE:
        return tuple(phases)
    return ("ab", "bc", "ca") if phases == PHASES else (phases,)
