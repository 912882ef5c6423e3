"""A car's word as it is stored with its session, so that a restart of the service does not forget it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from aggregator.fleet.wishes import CarWord
from aggregator.ocpp.events import EvNeeds

_TIMES = ("at", "departure")


def written_needs(car: CarWord) -> dict[str, Any]:
    """As JSON; the EVSE is the session's own."""
    said = {field.name: getattr(car.said, field.name) for field in fields(EvNeeds) if field.name != "evse_id"}
    for name in _TIMES:
        said[name] = None if said[name] is None else said[name].isoformat()
    return {"said": said, "moved_kwh": car.moved_kwh}


def read_needs(evse_id: str, kept: Mapping[str, Any]) -> CarWord | None:
    """The word again; None if another version of this program wrote it in a way that cannot be read."""
    try:
        said = dict(kept["said"])
        for name in _TIMES:
            said[name] = None if said[name] is None else datetime.fromisoformat(said[name])
        return CarWord(EvNeeds(evse_id=evse_id, **said), float(kept["moved_kwh"]))
    except (KeyError, TypeError, ValueError):
        return None
