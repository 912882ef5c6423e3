"""Share the room of each connection point among the cars that ask for it, without breaking a minimum current.

Two rules are enough for every controller: *in order* (each in turn takes all it asks for) and *by level* (one level
per connection point, as water finds it). A car charges at its minimum or not at all (IEC 61851-1: 6 A), so a share
below the minimum becomes 0 and goes on to others.

Sums over groups are taken in whole microwatts: integers add up the same in any order, so no connection point's result
depends, not even in the last bit, on which others (or which replicas) are computed beside it, and nothing that is
rounded up can exceed the room. All arrays are over the cars that ask; `room_kw` is over groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TOLERANCE_KW = 5e-7
"""A share this close below a minimum meets it (chargers forgive 1e-6 kW); a room no larger than this is none."""

_MICROWATTS_PER_KW = 1e9
_SLOPES_PER_KW = 1e12
_FARTHEST_S = 1e9


class Grouping:
    """Which group each of many values belongs to: sums over groups, and figures of groups spread over their members.

    Where the members stand in the order of their groups both go by runs, an order of magnitude faster than by index.
    """

    def __init__(self, group: Ints, groups: int) -> None:
        self.group, self.groups = group, groups
        first = np.diff(group, prepend=-1).nonzero()[0]
        is_sorted = group.size > 0 and first.size == groups and bool((group[first] == np.arange(groups)).all())
        self._first = first if is_sorted else None
        self._sizes = np.diff(first, append=group.size)

    def sum(self, values: Floats) -> Floats:
        """The sum of `values` in each group."""
        return sum_by(self.group, values, self.groups) if self._first is None else np.add.reduceat(values, self._first)

    def spread(self, of_group: Floats) -> Floats:
        """For each member the figure of its group."""
        spread: Floats = of_group[self.group] if self._first is None else np.repeat(of_group, self._sizes)
        return spread


def sum_by(group: Ints, values: Floats, groups: int) -> Floats:
    """The sum of `values` in each of `groups` groups."""
    totals: Floats = np.asarray(np.bincount(group, values, minlength=groups), dtype=np.float64)
    return totals


def order_within(group: Ints, key_s: Floats) -> Ints:
    """Indices that sort by group, then by `key_s` in whole seconds (smallest first, NaN last), then as they stand.

    One sort of plain integers that hold all three: several times faster than a lexical sort.
    """
    cars = group.size
    if cars == 0:
        return np.zeros(0, dtype=np.int64)
    seconds = np.fmax(np.fmin(np.floor(key_s), _FARTHEST_S), -_FARTHEST_S).astype(np.int64)
    seconds -= seconds.min()
    span = int(seconds.max()) + 1
    bits = cars.bit_length()
    if (int(group.max()) + 1) * span >= 1 << (63 - bits):
        return np.lexsort((seconds, group)).astype(np.int64)
    packed = ((group * span + seconds) << bits) | np.arange(cars)
    packed.sort()
    return packed & ((1 << bits) - 1)


class Queue:
    """Cars in the order in which they are served: by group, then by `key_s`, smallest first, then as they stand."""

    def __init__(self, group: Ints, key_s: Floats, groups: int) -> None:
        self.group, self._bits = group, key_s.copy().view(np.int64)
        self._order = order_within(group, key_s)
        self._sizes = np.bincount(group, minlength=groups)
        self._served: tuple[tuple[Floats, Floats, Floats], Floats] | None = None

    def is_of(self, group: Ints, key_s: Floats) -> bool:
        """These are the same cars with the same keys: nobody need be put in order anew."""
        if group is not self.group:
            return False
        return not np.count_nonzero(key_s.view(np.int64) != self._bits)  # bits, for NaN is not NaN

    def serve(self, ask_kw: Floats, least_kw: Floats, room_kw: Floats) -> Floats:
        """Each car in turn takes all it asks for until the room of its group is gone.

        ask_kw, least_kw: 0 or more, least_kw <= ask_kw where that is not 0. A car whose turn finds less than its
        minimum gets nothing, and what is left goes on to the next whose minimum fits. Returns kW per car.
        """
        order = self._order
        ask = ask_kw[order]
        given = _pour(ask, self._sizes, room_kw)
        if np.count_nonzero(least_kw):
            least = _forgiving(least_kw)[order]
            is_short = (given < least) & (given > 0.0)
            self._refuse(given, is_short, ask, least, room_kw)
        shares = np.empty_like(given)
        shares[order] = given
        return shares

    def serve_again(self, ask_kw: Floats, least_kw: Floats, room_kw: Floats) -> Floats:
        """As `serve`; where all ask the same as the last time they get the same, a row to read and not to change."""
        asked = ask_kw, least_kw, room_kw
        if self._served is None or any(
            np.count_nonzero(now != then) for now, then in zip(asked, self._served[0], strict=True)
        ):
            self._served = (ask_kw.copy(), least_kw.copy(), room_kw.copy()), self.serve(*asked)
        return self._served[1]

    def _refuse(self, given: Floats, is_short: Bools, ask: Floats, least: Floats, room_kw: Floats) -> None:
        """Give nothing where `is_short`, and what that leaves to others.

        Room that a minimum has refused is less than that minimum, so each round asks only cars of smaller minima: there
        are at most as many rounds as different minima.
        """
        place = self.group[self._order]
        while is_short.any():
            given[is_short] = 0.0
            left = room_kw - sum_by(place, given, room_kw.size)
            left[left < TOLERANCE_KW] = 0.0
            waits = np.flatnonzero((given == 0.0) & (ask > 0.0) & (least <= left[place]) & (left[place] > 0.0))
            given[waits] = _pour(ask[waits], np.bincount(place[waits], minlength=left.size), left)
            is_short = (given < least) & (given > 0.0)


def serve_in_order(ask_kw: Floats, least_kw: Floats, key_s: Floats, group: Ints, room_kw: Floats) -> Floats:
    """What a `Queue` of these cars gives to each in kW; smallest `key_s` first."""
    return Queue(group, key_s, room_kw.size).serve(ask_kw, least_kw, room_kw)


def share_by_level(
    ask_kw: Floats, least_kw: Floats, offset: Floats, key_s: Floats, group: Ints, room_kw: Floats
) -> Floats:
    """Give each car the fraction (level - offset) of its ask, within 0..1; the level of its group uses up the room.

    Cars whose share would be below their minimum pool it: in the order of `key_s` as many of them as the pool allows
    get at least the minimum, the others nothing. least_kw <= ask_kw, ask_kw > 0. Returns kW per car.
    """
    given = _at_level(ask_kw, np.zeros_like(ask_kw), offset, group, room_kw)
    least = _forgiving(least_kw)
    is_short = (given < least) & (given > 0.0)
    if is_short.any():
        is_touched = np.bincount(group[is_short], minlength=room_kw.size) > 0
        cars = np.flatnonzero(is_touched[group])
        given[cars] = _with_minima(
            ask_kw[cars], least[cars], offset[cars], key_s[cars], group[cars], room_kw, given[cars]
        )
    return given


def _with_minima(
    ask: Floats, least: Floats, offset: Floats, key_s: Floats, group: Ints, room_kw: Floats, given: Floats
) -> Floats:
    """The shares of groups in which `given`, the shares without minima, leaves a car below its minimum."""
    waits = (given < least) & (given > 0.0)
    is_served = given >= least
    pool = sum_by(group[waits], given[waits], room_kw.size)
    order = order_within(group, key_s)
    while True:
        is_served |= _fitting(waits, least, order, group, pool)
        given = np.zeros_like(ask)
        given[is_served] = _at_level(ask[is_served], least[is_served], offset[is_served], group[is_served], room_kw)
        pool = room_kw - sum_by(group, given, room_kw.size)
        waits = ~is_served & (least <= pool[group]) & (pool[group] > TOLERANCE_KW)
        if not waits.any():
            return given


def _pour(ask: Floats, sizes: Ints, room_kw: Floats) -> Floats:
    """Fill cars one after the other; sizes: how many of them stand in each group, one group behind the other.

    Whole microwatts, of which a running sum is exact up to 9 GW: what a group gets never exceeds its room by rounding.
    """
    poured = np.zeros(ask.size + 1)
    whole = ask * _MICROWATTS_PER_KW
    np.cumsum(np.ceil(whole, out=whole), out=poured[1:])
    room = np.floor(room_kw * _MICROWATTS_PER_KW)
    room += poured[np.cumsum(sizes) - sizes]
    left: Floats = np.repeat(room, sizes)
    left -= poured[:-1]
    np.maximum(left, 0.0, out=left)
    left /= _MICROWATTS_PER_KW
    return np.minimum(left, ask, out=left)


def _fitting(waits: Bools, least_kw: Floats, order: Ints, group: Ints, pool: Floats) -> Bools:
    """Those of `waits` whose minima, in order, fit into the pool of their group."""
    turn = order[waits[order]]
    turn = turn[least_kw[turn] <= pool[group[turn]]]
    fits: Bools = np.zeros(waits.size, dtype=np.bool_)
    sizes = np.bincount(group[turn], minlength=pool.size)
    fits[turn] = _pour(least_kw[turn], sizes, pool) == least_kw[turn]
    return fits


def _forgiving(least_kw: Floats) -> Floats:
    return np.maximum(least_kw - TOLERANCE_KW, 0.0)


def _at_level(ask: Floats, low: Floats, offset: Floats, group: Ints, room_kw: Floats) -> Floats:
    level = water_level(ask, low, offset, group, room_kw)
    shares: Floats = np.clip(ask * (level[group] - offset), low, ask)
    return shares


def water_level(ask: Floats, low: Floats, offset: Floats, group: Ints, room_kw: Floats) -> Floats:
    """Per group the x at which sum(clip(ask * (x - offset), low, ask)) reaches the room; inf where it never does.

    ```
    sum |          ____ sum(ask)       each car adds its ask to the slope where it leaves `low` and takes it away
        |      ___/                    where it has it all; between these points the sum is straight, so one sort
        |  ___/    <- room             and two running sums find the level
        |_/_________________ x
    ```
    ask: more than 0. A room below sum(low) gives the lowest point of the group.
    """
    groups = room_kw.size
    point = np.concatenate([offset + low / ask, offset + 1.0])
    place = np.concatenate([group, group])
    order = np.lexsort((point, place))
    point, place = point[order], place[order]
    slope = np.rint(ask * _SLOPES_PER_KW).astype(np.int64)
    rate = np.cumsum(np.concatenate([slope, -slope])[order]) / _SLOPES_PER_KW
    first = np.flatnonzero(np.diff(place, prepend=-1))
    rise = np.zeros(point.size)
    rise[1:] = rate[:-1] * np.diff(point)
    rise[first] = 0.0
    poured = np.cumsum(np.ceil(rise * _MICROWATTS_PER_KW).astype(np.int64))
    start, base = np.zeros(groups, dtype=np.int64), np.zeros(groups, dtype=np.int64)
    start[place[first]], base[place[first]] = first, poured[first]
    lowest = np.ceil(sum_by(group, low, groups) * _MICROWATTS_PER_KW).astype(np.int64)
    poured += (lowest - base)[place]
    room = np.floor(room_kw * _MICROWATTS_PER_KW).astype(np.int64)
    below = np.bincount(place[poured < room[place]], minlength=groups)
    level = np.full(groups, np.inf)
    is_met = below < np.bincount(place, minlength=groups)
    level[is_met] = point[start[is_met]]
    between = np.flatnonzero(is_met & (below > 0))
    last = start[between] + below[between] - 1
    level[between] = point[last] + (room[between] - poured[last]) / (rate[last] * _MICROWATTS_PER_KW)
    return level
