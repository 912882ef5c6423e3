"""What happens when: one entry on SimPy's queue per instant at which anything changes, for all replicas together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import simpy
from numpy.typing import NDArray

from twin.engine.guests import Guests
from twin.engine.hardware import Letter
from twin.response import Stair
from twin.response.sleep import Alarm

_FEW = 16
"""So many slots are told apart faster one by one than by sorting an array."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Turn(IntEnum):
    """What befalls a slot, in the order in which it does so where several fall on one time."""

    FAULT_ENDS = 0
    FAULT_BEGINS = 1
    LEAVES = 2
    COMES = 3
    FALLS_BACK = 4


@dataclass(frozen=True, slots=True)
class Happening:
    """One kind of turn at several slots, each at its own time.

    rows: of `guests` for cars that come or leave, else of the intervals of the fault plan.
    """

    turn: Turn
    slots: Ints
    at_s: Floats
    rows: Ints
    guests: Guests | None

    def take(self, chosen: Ints | NDArray[np.bool_]) -> Happening:
        return replace(self, slots=self.slots[chosen], at_s=self.at_s[chosen], rows=self.rows[chosen])


@dataclass(slots=True)
class Instant:
    """Everything that happens at one time; `earlier` is what came about since the step before and is due now."""

    step: int = -1
    happenings: list[Happening] = field(default_factory=list)
    earlier: list[Happening] = field(default_factory=list)
    revisions: list[tuple[Ints, Ints]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    stairs: list[Stair] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)

    @property
    def calls_for_more(self) -> bool:
        """Something is due beside a step, drivers who change their mind, and what came about earlier."""
        return bool(self.happenings or self.letters or self.stairs or self.alarms)


class Agenda:
    """Instants in order of time, each handed to `happen` when it comes.

    due_every_s: what befalls a slot between two multiples of it is due at the second; None: at its own time.
    """

    def __init__(self, happen: Callable[[float, Instant], None]) -> None:
        self.due_every_s: float | None = None
        self._happen = happen
        self._instants: dict[float, Instant] = {}
        self._env = simpy.Environment()

    @property
    def now_s(self) -> float:
        return float(self._env.now)

    def at(self, time_s: float) -> Instant:
        """The instant at `time_s`, put on the queue when it is new."""
        instant = self._instants.get(time_s)
        if instant is None:
            instant = self._instants[time_s] = Instant()
            # The exact time travels with the event: now + (t - now) may differ from t in the last bit.
            event = self._env.timeout(max(time_s - self._env.now, 0.0), time_s)
            event.callbacks.append(self._come)
        return instant

    def expect(self, turn: Turn, at_s: Floats, slots: Ints, rows: Ints, guests: Guests | None = None) -> None:
        """Put what befalls `slots`, in order of time, on the agenda."""
        due = at_s if self.due_every_s is None else np.ceil(at_s / self.due_every_s) * self.due_every_s
        # Within one instant what came about earlier stands before what happens at its very time.
        is_earlier = at_s < due
        first = np.ones(due.size, dtype=np.bool_)
        first[1:] = (due[1:] != due[:-1]) | (is_earlier[1:] != is_earlier[:-1])
        begins = first.nonzero()[0]
        edges = [*begins.tolist(), due.size]
        for begin, end, time_s, early in zip(
            edges[:-1], edges[1:], due[begins].tolist(), is_earlier[begins].tolist(), strict=True
        ):
            instant = self.at(time_s)
            happening = Happening(turn, slots[begin:end], at_s[begin:end], rows[begin:end], guests)
            (instant.earlier if early else instant.happenings).append(happening)

    def run_until(self, time_s: float) -> None:
        """Let everything happen that happens before `time_s`."""
        if time_s > self._env.now:
            self._env.run(until=time_s)

    def _come(self, event: simpy.Event) -> None:
        time_s = float(event.value)  # type: ignore[arg-type]
        self._happen(time_s, self._instants.pop(time_s))


def in_rounds(happenings: Sequence[Happening]) -> Iterator[Sequence[Happening]]:
    """The happenings in rounds, each with no slot twice, in which what befalls one slot comes in order of time."""
    few = [slot for each in happenings if each.slots.size <= _FEW for slot in each.slots.tolist()]
    if len(few) == sum(each.slots.size for each in happenings) == len(set(few)):
        yield happenings
        return
    slots = np.concatenate([each.slots for each in happenings])
    ordered = np.sort(slots)
    if not (ordered[1:] == ordered[:-1]).any():
        yield happenings
        return
    turns = np.concatenate([np.full(each.slots.size, each.turn) for each in happenings])
    order = np.lexsort((turns, np.concatenate([each.at_s for each in happenings]), slots))
    first = np.diff(slots[order], prepend=-1).nonzero()[0]
    rounds = np.empty(slots.size, dtype=np.int64)
    rounds[order] = np.arange(slots.size) - np.repeat(first, np.diff(first, append=slots.size))
    edges = np.cumsum([0, *(each.slots.size for each in happenings)]).tolist()
    for number in range(int(rounds.max()) + 1):
        yield [
            each.take(chosen) for begin, end, each in zip(edges[:-1], edges[1:], happenings, strict=True)
            if (chosen := (rounds[begin:end] == number).nonzero()[0]).size
        ]
