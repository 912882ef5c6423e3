"""Which charging stations belong to us, and where each EVSE is found.

The gateway asks; commissioning (the store) knows. Nothing is learnt from what merely connects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aggregator.ocpp.events import OcppVersion


@dataclass(frozen=True, slots=True)
class EvseAddress:
    """Where an EVSE is found on the OCPP side.

    evse_number: from 1; the connectorId of OCPP 1.6, the evseId of 2.x.
    version: the OCPP version this station was commissioned with.
    """

    evse_id: str
    station_id: str
    evse_number: int
    version: OcppVersion

    def __post_init__(self) -> None:
        if self.evse_number < 1:
            raise ValueError(f"evse_number: {self.evse_number}, expected 1 or more")


class StationDirectory(Protocol):
    """The commissioned stations. Answers at once, from memory."""

    def evse(self, evse_id: str) -> EvseAddress | None: ...

    def evses_of(self, station_id: str) -> tuple[EvseAddress, ...]:
        """The EVSEs of a station by number; empty if the station is not commissioned."""
        ...


class CommissionedStations:
    """A `StationDirectory` over a list of addresses. Raises a `ValueError` if two of them collide."""

    def __init__(self, addresses: Iterable[EvseAddress]) -> None:
        self._by_evse: dict[str, EvseAddress] = {}
        self._by_station: dict[str, dict[int, EvseAddress]] = {}
        for address in addresses:
            self.add(address)

    def add(self, address: EvseAddress) -> None:
        if address.evse_id in self._by_evse:
            raise ValueError(f"evse_id: {address.evse_id!r} is listed twice, expected unique ids")
        numbers = self._by_station.setdefault(address.station_id, {})
        if address.evse_number in numbers:
            raise ValueError(f"evse_number: {address.evse_number} of {address.station_id!r} is listed twice")
        self._by_evse[address.evse_id] = address
        numbers[address.evse_number] = address

    def evse(self, evse_id: str) -> EvseAddress | None:
        return self._by_evse.get(evse_id)

    def evses_of(self, station_id: str) -> tuple[EvseAddress, ...]:
        numbers = self._by_station.get(station_id, {})
        return tuple(numbers[number] for number in sorted(numbers))
