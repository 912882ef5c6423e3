"""Segments of many slots under way: where they have led, which have ended, and what an order makes of them.

One slot per EVSE, struct-of-arrays in numpy. Between two orders every slot runs through segments of constant power
or of taper that have closed forms (see `twin.battery.segment`), so nothing depends on how finely time is cut. Time
passes by moving the clock alone. Whoever looks finds, for all slots at once, where their segments have led; the few
whose segments have ended meanwhile are turned over, each at its own time.
"""

from __future__ import annotations

import math

import numpy as np

from twin.battery.segment import (
    ASK,
    BEGIN_S,
    BOTTOM,
    CAPACITY,
    CLASS,
    END,
    HOURS_PER_SECOND,
    IS_PLUGGED,
    MAX_D,
    MEET,
    MIN_D,
    MOVING,
    NO_PIECE,
    ORDER,
    ROWS,
    SCRATCH_ROWS,
    SECONDS_PER_HOUR,
    TAKES,
    TO,
    TOP,
    U_NOW,
    Floats,
    Slots,
    Traits,
    U,
    begin,
    book,
    follow,
    move,
    time_to_end,
)
from twin.battery.setpoint import SETPOINT_TOLERANCE_KW
from twin.battery.vehicle_class import ClassTable


class RunningSegments:
    """The rows of all slots, the clock, and what is known of the time since the segments began.

    What a slot's rows say holds from the begin of its segment. `_settle_all` books all segments up to now; `_settled`
    does so for some, whose rows are then changed and written back.
    """

    def __init__(self, n: int, *, keep_history: bool) -> None:
        self.n = n
        self.now_s = 0.0
        self._classes = ClassTable()
        self._traits = Traits(has_discharge=False, has_standby=False, is_quadratic=False, has_rises=False)
        self._all = np.arange(n, dtype=np.intp)
        self._b = np.zeros((ROWS, n))
        self._b[[TO, CAPACITY, TAKES]] = 1.0
        self._b[[MEET, END]] = np.inf
        for number, value in NO_PIECE:
            self._b[number] = value
        self._b[CLASS] = -1.0
        # Rows of one slot each, many times faster to write through than the matrix.
        self._row = tuple(self._b)
        self._x = np.zeros((SCRATCH_ROWS, n))
        self._present = 0
        # All segments begin now: the rows say all, and nothing has happened since.
        self._is_settled = True
        # The hours since the segments' begin that the scratch matrix is filled for; None: it is out of date.
        self._hours: float | Floats | None = None
        # All segments began at this time, NaN where they differ.
        self._began_s = 0.0
        self._history: list[tuple[Slots, Floats, Floats, Floats]] | None = [] if keep_history else None

    def _look(self) -> float | Floats:
        """Fill the scratch matrix for now, if segments began before; hours since they did."""
        if self._is_settled:
            return 0.0
        if self._hours is not None:
            return self._hours
        b, x = self._b, self._x
        if math.isnan(self._began_s):
            hours: float | Floats = (self.now_s - self._row[BEGIN_S]) * HOURS_PER_SECOND
        else:
            hours = (self.now_s - self._began_s) * HOURS_PER_SECOND
        ended = move(b, hours, x, self._traits).nonzero()[0]
        if ended.size:
            left = self._turn_over(ended, b.take(ended, axis=1), self.now_s, x, ended)
            if isinstance(hours, float):
                hours = np.full(self.n, hours)
            hours[ended] = left
        self._hours = hours
        return hours

    def _since(self, scratch_row: int) -> Floats:
        """MOVED, THROUGH or GONE of all slots since their segments began."""
        self._look()
        return np.zeros(self.n) if self._is_settled else self._x[scratch_row]

    def _settle_all(self) -> None:
        """Book all segments up to now and restart them there."""
        if self._is_settled:
            return
        if self._present or self._history is not None:
            self._look()
            self._end_segments(self._all, self._b, self._x, self.now_s)
        else:
            self._row[BEGIN_S].fill(self.now_s)  # where nobody is, nothing flows
        self._began_s = self.now_s
        self._is_settled, self._hours = True, None

    def _moved(self, slots: Slots, at_s: Floats | None) -> tuple[Floats, Floats]:
        """Rows of `slots` and their scratch rows at `at_s`."""
        b = self._b.take(slots, axis=1)
        x = np.empty((SCRATCH_ROWS, slots.size))
        until = self.now_s if at_s is None else at_s
        hours = (until - b[BEGIN_S]) * HOURS_PER_SECOND
        if at_s is not None and ((hours < 0.0).any() or (at_s > self.now_s).any()):
            raise self._wrong_time(at_s)
        ended = move(b, hours, x, self._traits).nonzero()[0]
        if ended.size:
            part = b.take(ended, axis=1)
            self._turn_over(slots[ended], part, until if at_s is None else at_s[ended], x, ended)
            b[:, ended] = part
        return b, x

    def _settled(self, slots: Slots, at_s: Floats | None) -> Floats:
        """Rows of `slots`, their segments booked up to `at_s` and restarted there, to be written back."""
        if self._is_settled and at_s is None:
            return self._b.take(slots, axis=1)
        b, x = self._moved(slots, at_s)
        begin_s: float | Floats = self.now_s if at_s is None else at_s
        self._end_segments(slots, b, x, begin_s)
        self._unsettle(begin_s)
        return b

    def _unsettle(self, begin_s: float | Floats) -> None:
        """Some segments begin anew at `begin_s`: what was seen of all is out of date, unless all begin now."""
        if self._is_settled and isinstance(begin_s, float):
            return
        self._is_settled = False
        self._hours = None
        if not isinstance(begin_s, float) or begin_s != self._began_s:
            self._began_s = math.nan

    def _wrong_time(self, at_s: float | Floats) -> ValueError:
        return ValueError(
            f"at_s: {float(np.min(at_s))!r} to {float(np.max(at_s))!r}, expected between the last look at a slot, "
            f"or order to it, and now ({self.now_s!r})"
        )

    def _end_segments(self, slots: Slots, b: Floats, x: Floats, at_s: float | Floats) -> None:
        """Book the segments and restart them at `at_s`; `x` is filled."""
        self._record(slots, at_s, b, x[U_NOW])
        book(b, at_s, x, has_discharge=self._traits.has_discharge)

    def _turn_over(
        self, slots: Slots, b: Floats, until_s: float | Floats, x: Floats, columns: Slots
    ) -> Floats:
        """Let the segments of `slots` that end by `until_s` end, each at its own time, until none does any more.

        b: their rows, written back to the state too. x: gets what has happened since then in `columns`. Returns the
        hours that the segments run by then.
        """
        left: Floats = (until_s - b[BEGIN_S]) * HOURS_PER_SECOND
        part, chosen, remaining = b, self._all[: slots.size], left
        while True:
            hours = time_to_end(part)
            # Rounding may have shown an end a hair early.
            is_over = hours <= remaining
            over = is_over.nonzero()[0]
            if over.size < hours.size:
                if not over.size:
                    break
                chosen, part, hours = chosen[over], part.take(over, axis=1), hours[over]
            scratch, end = np.empty((SCRATCH_ROWS, chosen.size)), part[END].copy()
            move(part, hours, scratch, self._traits)
            until = until_s if isinstance(until_s, float) else until_s[chosen]
            begin_s = hours * SECONDS_PER_HOUR
            begin_s += part[BEGIN_S]
            self._record(slots[chosen], begin_s, part, end)
            book(part, begin_s, scratch, has_discharge=self._traits.has_discharge)
            # Where the next segment begins must be the knot itself, to the last bit.
            part[U] = end
            self._classes.place(part, has_discharge=self._traits.has_discharge)
            follow(part, self._traits)
            remaining = until - begin_s
            remaining *= HOURS_PER_SECOND
            np.maximum(remaining, 0.0, out=remaining)
            ended_too = move(part, remaining, scratch, self._traits).nonzero()[0]
            x[:, columns[chosen]] = scratch
            left[chosen] = remaining
            if part is not b:
                b[:MOVING, chosen] = part[:MOVING]
            if not ended_too.size:
                break
            chosen, part, remaining = chosen[ended_too], part.take(ended_too, axis=1), remaining[ended_too]
        self._b[:MOVING, slots] = b[:MOVING]
        self._began_s = math.nan
        return left

    def _order(self, b: Floats, connector_kw: Floats) -> None:
        """Begin the segments for new set-points, the old ones being booked."""
        is_both_ways = self._traits.has_discharge or bool(connector_kw.min(initial=0.0) < 0.0)
        if is_both_ways:
            turns = (connector_kw * b[TO] < 0.0) & ((connector_kw > 0.0) | (b[MAX_D] > 0.0)) & (b[IS_PLUGGED] > 0.0)
            if turns.any():
                self._turn_round(b, turns.nonzero()[0])
        b[ORDER] = connector_kw
        ask = np.minimum(connector_kw, b[TOP], out=b[ASK])
        if is_both_ways:
            np.maximum(ask, b[BOTTOM], out=ask)
            least = np.where(ask < 0.0, b[MIN_D] - SETPOINT_TOLERANCE_KW, 0.0)
            ask *= np.abs(ask) >= np.maximum(least, SETPOINT_TOLERANCE_KW)
        else:
            ask *= ask >= SETPOINT_TOLERANCE_KW
        begin(b, self._traits)

    def _turn_round(self, b: Floats, chosen: Slots) -> None:
        """Let the chosen cars look along the other direction of flow."""
        self._traits = self._traits._replace(has_discharge=True)
        part = b.take(chosen, axis=1)
        part[U] = -part[U]
        part[TO] = -part[TO]
        self._classes.place(part, has_discharge=self._traits.has_discharge)
        b[:MOVING, chosen] = part[:MOVING]

    def _record(self, slots: Slots, ends_s: float | Floats, b: Floats, end_u: Floats) -> None:
        if self._history is not None:
            self._history.append((slots, np.full(slots.size, ends_s), end_u.copy(), b.copy()))
