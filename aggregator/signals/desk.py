"""Where signals arrive: stored once, bound by our own register of programmes, handed on, followed to their end.

A mandatory limit that only takes power toward zero is applied before anyone plans; everything else waits for the
planner. The desk never decides how much is feasible: it records the decision it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from sqlalchemy.exc import SQLAlchemyError

from aggregator.clock import Clock
from aggregator.signals.limits import SET_ASIDE, Held, LimitBook, ReleaseRule
from aggregator.signals.model import Decision, GridSignal, Obligation, Programme, SignalState, named_by_sender
from aggregator.signals.openadr import SignalDraft, SignalFault, resolve_targets
from aggregator.signals.shelf import KEPT, Shelf, UnknownSignal
from aggregator.signals.views import SignalView, view_of, viewed, views_of

if TYPE_CHECKING:
    from aggregator.store import Store, Transaction

log = structlog.get_logger(__name__)

Listener = Callable[[GridSignal], Awaitable[None]]
Measure = Callable[[GridSignal], Awaitable[Mapping[str, Any]]]
Alongside = Callable[["Transaction", Sequence[GridSignal]], Awaitable[None]]
"""Writes in the same transaction; gets the signals that are in force after it."""

FAST_PATH_WAIT_S = 1.0
"""Wall seconds the sender waits at most for the first answers of the chargers."""

_PROGRESS = (
    SignalState.RECEIVED, SignalState.VALIDATED, SignalState.ACCEPTED, SignalState.PARTIAL, SignalState.SCHEDULED,
    SignalState.DISPATCHED, SignalState.ACTIVE, SignalState.MEASURED, SignalState.REPORTED, SignalState.SETTLED,
)
_BEFORE_DISPATCH = frozenset(_PROGRESS[:4])
_STORE_RETRY_S = 1.0
@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a request: one signal for each site it resolved to.

    external_id: the sender's name for it. is_new: at least one signal was not known.
    """

    signals: tuple[GridSignal, ...]
    external_id: str
    is_new: bool


class SignalDesk:
    """Receives, revises, cancels and follows grid signals.

    programmes: what was registered when the sites enrolled; the obligation comes from there.
    on_mandatory: applies a limit that moves power toward zero, now. on_signal: something changed, plan again.
    measure: what was delivered, asked once after the end; without it a signal is never called measured.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        programmes: Sequence[Programme],
        site_ids: Sequence[str],
        on_mandatory: Listener,
        on_signal: Listener,
        *,
        measure: Measure | None = None,
        release: ReleaseRule | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._programmes = {(programme.name, programme.party): programme for programme in programmes}
        self._site_ids = tuple(site_ids)
        self._on_mandatory = on_mandatory
        self._on_signal = on_signal
        self._measure = measure
        release = release or ReleaseRule()
        by_name = {programme.name: programme for programme in programmes}
        self._shelf = Shelf((LimitBook(site_id, by_name, release) for site_id in site_ids), clock)
        self._receiving = asyncio.Lock()
        self._applying: dict[str, asyncio.Task[None]] = {}
        self._applied: set[str] = set()
        self._measured: set[str] = set()

    def book(self, site_id: str | None = None) -> LimitBook:
        """The limits of a site; without a name, of the only site.

        Raises:
            KeyError: no such site.
        """
        return self._shelf.books[self._site_ids[0] if site_id is None else site_id]

    def programme(self, name: str, party: str) -> Programme | None:
        """The enrolment of `party` in the programme `name`, if there is one."""
        return self._programmes.get((name, party))

    async def recover(self) -> None:
        """Fill the limit books from the store; to be called once, before anything is received."""
        async with self._store.read() as tx:
            for signal in await tx.signals.all():
                if signal.end > self._clock.now() - KEPT:
                    seen = await viewed(tx, signal)
                    ended_at = seen.transitions[-1].at if seen.state in SET_ASIDE else None
                    if ended_at is None or signal.start <= ended_at:
                        self._shelf.keep(Held(signal, seen.state, seen.decision, ended_at))

    async def receive(
        self,
        draft: SignalDraft,
        *,
        protocol: str,
        party: str,
        external_id: str,
        actor: str,
        is_named: bool = True,
        alongside: Alongside | None = None,
    ) -> Receipt:
        """Accept what `party` asks: durable when this returns, once however often it is sent.

        Args:
            draft: what was asked.
            protocol: "openadr" or "native"; with the party it names the source.
            party: who asks, from the access token.
            external_id: the sender's name for it; the same name with other content is a new revision.
            actor: who is written into the audit chain.
            is_named: False if the sender has no name for it and `external_id` was drawn here: then it is the same
                request as one that asked exactly this, is not over and was not withdrawn.
            alongside: writes that belong into the same transaction; left out for a request that was known.

        Raises:
            SignalFault: the party is not enrolled in the programme, or a target resolves to nothing.
        """
        programme = self._programmes.get((draft.programme, party))
        if programme is None:
            raise SignalFault("programme", draft.programme, "a programme that this party has enrolled the site in")
        sites = resolve_targets(draft.targets, self._site_ids)
        source = f"{protocol}:{party}"
        async with self._receiving:
            now = self._clock.now()
            if not is_named and (same := self._shelf.same(source, draft.content_hash, now)):
                return Receipt(same, named_by_sender(same[0]), is_new=False)
            self._shelf.require_room(source, external_id, draft, now)
            fresh: list[GridSignal] = []
            current: list[GridSignal] = []
            dropped: list[Held] = []
            async with self._store.transaction(actor) as tx:
                for site_id in self._site_ids:
                    latest = await tx.signals.by_external(source, f"{external_id}/{site_id}")
                    known = await _in_force(tx, latest)
                    if site_id in sites and known is not None and known.content_hash == draft.content_hash:
                        current.append(known)
                        continue
                    if site_id in sites:
                        signal = GridSignal(
                            id=uuid.uuid4().hex, source=source, external_id=f"{external_id}/{site_id}",
                            revision=latest.revision + 1 if latest else 1, content_hash=draft.content_hash,
                            received_at=now, programme=programme.name, obligation=programme.obligation,
                            site_id=site_id, intervals=draft.intervals, priority=draft.priority,
                        )
                        await tx.signals.add(signal)
                        fresh.append(signal)
                    if known is not None:
                        state = SignalState.SUPERSEDED if site_id in sites else SignalState.CANCELLED
                        await tx.signals.transition(known.id, state, now, "replaced by what the sender asks now")
                        dropped.append(Held(known, state, ended_at=now))
                if alongside is not None:
                    await alongside(tx, (*current, *fresh))
            for held in dropped:
                self._shelf.drop(held)
            for signal in fresh:
                self._shelf.keep(Held(signal, SignalState.RECEIVED))
        await asyncio.gather(*(self._hand_on(signal, now) for signal in fresh))
        for held in dropped:
            if held.state is SignalState.CANCELLED:
                await self._tell(held.signal)
        return Receipt((*current, *fresh), external_id, is_new=bool(fresh))

    async def cancel(
        self, *, protocol: str, party: str, external_id: str, actor: str, alongside: Alongside | None = None
    ) -> tuple[GridSignal, ...]:
        """Cancel what `party` sent under `external_id`; nothing to cancel is no fault."""
        source = f"{protocol}:{party}"
        async with self._receiving:
            now = self._clock.now()
            dropped: list[Held] = []
            async with self._store.transaction(actor) as tx:
                for site_id in self._site_ids:
                    known = await _in_force(tx, await tx.signals.by_external(source, f"{external_id}/{site_id}"))
                    if known is not None and known.end > now:
                        await tx.signals.transition(known.id, SignalState.CANCELLED, now, "withdrawn by the sender")
                        dropped.append(Held(known, SignalState.CANCELLED, ended_at=now))
                if alongside is not None:
                    await alongside(tx, ())
            for held in dropped:
                self._shelf.drop(held)
        for held in dropped:
            await self._tell(held.signal)
        return tuple(held.signal for held in dropped)

    async def record_decision(self, decision: Decision) -> None:
        """Store an answer. Before dispatch it is the signal's state; later it only corrects the promise.

        Raises:
            UnknownSignal: the signal is not held (any more).
            ValueError: not one promised value per interval, or a state that is no answer.
        """
        held = self._shelf.one(decision.signal_id)
        if len(decision.committed_net_kw) != len(held.signal.intervals):
            raise ValueError(
                f"committed_net_kw: {len(decision.committed_net_kw)} values, "
                f"expected one for each of {len(held.signal.intervals)} intervals"
            )
        answers = (SignalState.ACCEPTED, SignalState.PARTIAL, SignalState.OPTED_OUT, SignalState.REJECTED)
        if decision.state not in answers:
            raise ValueError(f"state: {decision.state.value}, expected an answer to a signal")
        async with self._store.transaction("planner") as tx:
            await tx.signals.decide(decision)
            held = self._shelf.one(decision.signal_id)
            state = held.state
            if state in _BEFORE_DISPATCH and decision.state is not state:
                detail = f"{decision.committed_kw:.1f} of {decision.requested_kw:.1f} kW"
                detail += f": {'; '.join(decision.feeder_limits)}" if decision.feeder_limits else ""
                await tx.signals.transition(decision.signal_id, decision.state, decision.decided_at, detail)
                state = decision.state
        self._shelf.keep(Held(held.signal, state, decision))

    async def advance(self, signal_id: str, state: SignalState, detail: str = "") -> bool:
        """Move a signal forward in its lifecycle; False if it is there or further already, or set aside.

        Raises:
            UnknownSignal: the signal is not held (any more).
        """
        if not self._may_advance(self._shelf.one(signal_id), state):
            return False
        async with self._store.transaction("signals") as tx:
            held = self._shelf.one(signal_id)  # again: another writer may have been before us
            if not self._may_advance(held, state):
                return False
            await tx.signals.transition(signal_id, state, self._clock.now(), detail)
        self._shelf.keep(Held(held.signal, state, held.decision, held.ended_at))
        return True

    @staticmethod
    def _may_advance(held: Held, state: SignalState) -> bool:
        if held.state in SET_ASIDE:
            return False
        return state not in _PROGRESS or _PROGRESS.index(state) > _PROGRESS.index(held.state)

    async def view(self, signal_id: str, party: str | None) -> SignalView:
        """One signal with its history. party: only what this party sent; None sees all.

        Raises:
            UnknownSignal: there is none, or it is another party's.
        """
        return await view_of(self._store, signal_id, party)

    async def views(self, party: str | None, external_id: str | None = None) -> list[SignalView]:
        """Signals in order of receipt, all revisions. external_id: as the sender called it."""
        return await views_of(self._store, party, external_id)

    async def run(self) -> None:
        """Follow signals through time: applied and active at their start, measured after their end."""
        while True:
            self._shelf.changed.clear()
            now = self._clock.now()
            for held in self._shelf.all():
                try:
                    await self._follow(held, now)
                except UnknownSignal:  # withdrawn while we looked
                    continue
                except SQLAlchemyError:
                    log.exception("a signal's state could not be stored, trying again", signal_id=held.signal.id)
                    await asyncio.sleep(_STORE_RETRY_S)
                    self._shelf.changed.set()
            upcoming = [at for held in self._shelf.all() for at in self._next_instants(held, now)]
            wait_s = self._clock.wall_seconds_until(min(upcoming)) if upcoming else None
            # Not wait_for: until Python 3.12 it can swallow a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._shelf.changed.wait()

    async def _follow(self, held: Held, now: datetime) -> None:
        signal = held.signal
        if held.state in SET_ASIDE:
            return
        if signal.start <= now < signal.end:
            if is_fast(signal) and signal.id not in self._applied:
                await self._apply(signal)
            await self.advance(signal.id, SignalState.ACTIVE)
        elif signal.end <= now and self._measure is not None and signal.id not in self._measured:
            self._measured.add(signal.id)
            if held.state in (SignalState.REPORTED, SignalState.SETTLED):
                return
            try:
                measured = await self._measure(signal)
            except Exception:  # the measurement is someone else's; the signal's end must not stop the desk
                log.exception("signal could not be measured", signal_id=signal.id)
                return
            await self.advance(signal.id, SignalState.MEASURED, orjson.dumps(dict(measured)).decode())
            await self.advance(signal.id, SignalState.REPORTED)

    def _next_instants(self, held: Held, now: datetime) -> Iterable[datetime]:
        if held.state in SET_ASIDE:
            return []
        return [at for at in (held.signal.start, held.signal.end) if at > now]

    async def _hand_on(self, signal: GridSignal, now: datetime) -> None:
        if is_fast(signal) and signal.start <= now:
            await self._apply(signal)
        await self._tell(signal)

    async def _apply(self, signal: GridSignal) -> None:
        """Start the limit now, once, whoever sees it first: its receipt or the clock.

        The sender waits a moment for it, never for a charger that does not answer.
        """
        task = self._applying.get(signal.id)
        if task is None:
            if signal.id in self._applied:
                return
            self._applied.add(signal.id)
            task = self._applying[signal.id] = asyncio.create_task(self._apply_and_record(signal))
            task.add_done_callback(lambda _: self._applying.pop(signal.id, None))
        await asyncio.wait({task}, timeout=FAST_PATH_WAIT_S)

    async def _apply_and_record(self, signal: GridSignal) -> None:
        try:
            await self._on_mandatory(signal)
        except Exception:  # the limit stands in the book: the fast loop and the planner hold it from there
            log.exception("mandatory limit could not be applied at once", signal_id=signal.id)
            return
        await self.advance(signal.id, SignalState.DISPATCHED, "applied before planning")

    async def _tell(self, signal: GridSignal) -> None:
        self._shelf.changed.set()
        try:
            await self._on_signal(signal)
        except Exception:  # the signal is stored and in the book: the next plan has it, and the sender may know so
            log.exception("nobody could be told of the signal", signal_id=signal.id)


def is_fast(signal: GridSignal) -> bool:
    """True for a mandatory limit that only takes power toward zero: it starts no discharge and raises no import."""
    return signal.obligation is Obligation.MANDATORY and all(
        interval.max_net_kw >= 0 and interval.min_net_kw <= 0 for interval in signal.intervals
    )


async def _in_force(tx: Transaction, signal: GridSignal | None) -> GridSignal | None:
    if signal is None or await tx.signals.state(signal.id) in SET_ASIDE:
        return None
    return signal
