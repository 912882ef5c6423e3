"""Signals as a utility may see them: with their answer and history, in kW, counts and codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggregator.signals.model import Decision, GridSignal, SignalState
from aggregator.signals.shelf import UnknownSignal

if TYPE_CHECKING:
    from aggregator.store import Store, Transaction
    from aggregator.store.records import SignalTransition


@dataclass(frozen=True, slots=True)
class SignalView:
    """A signal with its answer and history, fit for the utility's eyes: kW, counts and codes, no driver."""

    signal: GridSignal
    state: SignalState
    decision: Decision | None
    transitions: tuple[SignalTransition, ...]


async def view_of(store: Store, signal_id: str, party: str | None) -> SignalView:
    """One signal with its history; see `SignalDesk.view`."""
    async with store.read() as tx:
        signal = await tx.signals.get(signal_id)
        if signal is None or (party is not None and _party(signal) != party):
            raise UnknownSignal(signal_id)
        return await viewed(tx, signal)


async def views_of(store: Store, party: str | None, external_id: str | None) -> list[SignalView]:
    """Signals in order of receipt; see `SignalDesk.views`."""
    async with store.read() as tx:
        return [
            await viewed(tx, signal)
            for signal in sorted(await tx.signals.all(), key=lambda signal: (signal.received_at, signal.revision))
            if (party is None or _party(signal) == party)
            and (external_id is None or signal.external_id == f"{external_id}/{signal.site_id}")
        ]


async def viewed(tx: Transaction, signal: GridSignal) -> SignalView:
    """`signal` as the transaction finds it."""
    transitions = await tx.signals.transitions(signal.id)
    state = transitions[-1].state if transitions else SignalState.RECEIVED
    return SignalView(signal, state, await tx.signals.decision(signal.id), tuple(transitions))


def _party(signal: GridSignal) -> str:
    return signal.source.partition(":")[2]
