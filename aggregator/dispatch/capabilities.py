"""What chargers turned out not to do, whatever they claim: the rungs they have come down on the capability ladder.

Kept in memory and alarmed through the store; a boot with other firmware clears it, so that an update is given a chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Limitation(StrEnum):
    REFUSES_PROFILES = "refuses_profiles"
    """Answers Rejected or NotSupported to charging-only profiles: it stays on its own limits."""
    REFUSES_DISCHARGE = "refuses_discharge"
    DOES_NOT_FOLLOW = "does_not_follow"
    """Accepts profiles, but the meter shows another power."""
    NO_COMPOSITE = "no_composite_schedule"
    """Cannot say what it will do; only the meter can verify it."""


@dataclass(frozen=True, slots=True)
class CapabilityNote:
    evse_id: str
    limitation: Limitation
    detail: str
    at: datetime


class CapabilityNotes:
    """Notes by EVSE; at most one for each limitation."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, Limitation], CapabilityNote] = {}

    def note(self, evse_id: str, limitation: Limitation, detail: str, at: datetime) -> bool:
        """Remember it; False if it was known."""
        key = (evse_id, limitation)
        if key in self._notes:
            return False
        self._notes[key] = CapabilityNote(evse_id, limitation, detail, at)
        return True

    def clear(self, evse_id: str, *limitations: Limitation) -> None:
        """Forget these limitations of one EVSE; all of them if none is named."""
        for limitation in limitations or tuple(Limitation):
            self._notes.pop((evse_id, limitation), None)

    def has(self, evse_id: str, limitation: Limitation) -> bool:
        return (evse_id, limitation) in self._notes

    def may_discharge(self, evse_id: str) -> bool:
        """Nothing seen so far speaks against sending discharge orders."""
        return not (
            self.has(evse_id, Limitation.REFUSES_DISCHARGE)
            or self.has(evse_id, Limitation.DOES_NOT_FOLLOW)
            or self.has(evse_id, Limitation.REFUSES_PROFILES)
        )

    def all(self) -> tuple[CapabilityNote, ...]:
        return tuple(self._notes.values())
