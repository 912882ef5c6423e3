"""The planning problem as the arrays a solver takes, built without a Pyomo model in between.

The same V2G-LP1 as in `model`, column for column and row for row, written in numpy: for fleets for which a hundred
thousand Pyomo objects cost more than the solve, and for callers that add rows of their own. A property test holds both
equal.

    columns  charge, discharge, energy per plugged (ev, step); what is missing; what the site buys and sells
    rows     dynamics, tapers, departures, floors, guards; balance, caps, peak; commitments

Columns and rows stand in the order in which the model's compiler puts them: among plans that cost the same the solver
then finds the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from aggregator.planning.linear_program import LinearProgram
from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.windows import Window, event_limits, site_limits, step_hours, unearned_kw, windows

Ints = NDArray[np.intp]
NONE = -1
"""Stands for no column."""

_COLUMNS = (
    "charge", "discharge", "bought", "sold", "over_import", "over_export", "peak", "shortfall", "early", "floor",
    "guard", "missing", "worst", "unearned", "over_feeder", "moved", "energy", "is_buying",
)
_ROWS = (
    "dynamics", "taper", "departure", "stays_ready", "early", "floor", "guard", "balance", "import_cap", "export_cap",
    "peak_holds", "buys", "sells", "commitment", "worst_holds", "asked", "feeder", "moved_up", "moved_down",
)
"""Order of the kinds; within one they stand as they were added."""


@dataclass(frozen=True, eq=False)
class Program(LinearProgram):
    """The linear program of a site, and where in it everything stands.

    binaries: columns that are 0 or 1.
    charge, discharge, energy: column of (ev, step), -1 where there is none.
    bought, sold, over_import, over_export: column of each step; peak: one column.
    rows: the rows of each kind by name, in their order. keys: what each of them is for: the step of caps and peaks, the
        EV of departures, (event, its step) of commitments, the number of the feeder's row.
    """

    binaries: Ints
    charge: Ints
    discharge: Ints
    energy: Ints
    bought: Ints
    sold: Ints
    over_import: Ints
    over_export: Ints
    peak: int
    rows: dict[str, Ints]
    keys: dict[str, tuple[Any, ...]]

    def powers(self, x: Floats) -> tuple[Floats, Floats]:
        """Charge and discharge of shape (ev, step) in kW, 0 or more."""
        padded = np.append(np.maximum(0.0, x[:len(self.cost)]), 0.0)
        return padded[self.charge], padded[self.discharge]


def assemble(problem: Problem, spans: Sequence[Window] | None = None) -> Program:
    """The program of `problem`; `spans` are its `windows`, where somebody has them already."""
    builder = _Builder(problem, tuple(spans) if spans is not None else windows(problem))
    builder.evs()
    builder.site()
    builder.events()
    builder.feeder()
    builder.changes()
    return builder.program()


class _Builder:
    """Columns and rows as they are added, block by block."""

    def __init__(self, problem: Problem, spans: tuple[Window, ...]) -> None:
        self.problem, self.spans = problem, spans
        self.steps = problem.grid.steps
        self.hours = step_hours(problem)
        self._columns: list[tuple[Floats, Floats, Floats]] = []
        self._column_kinds: list[tuple[str, int]] = []
        self._width = self._height = 0
        self._entries: list[tuple[Ints, Ints, Floats]] = []
        self._limits: list[tuple[Floats, Floats]] = []
        self._rows: dict[str, Ints] = {}
        self._keys: dict[str, tuple[Any, ...]] = {}
        self.offset = 0.0
        self.charge_kw = self._of_spans("charge_kw")
        self.discharge_kw = self._of_spans("discharge_kw")

    def _of_spans(self, name: str) -> Floats:
        """A series of every window, (ev, step)."""
        return np.array([getattr(span, name) for span in self.spans], dtype=float).reshape(-1, self.steps)

    def _of_ev(self, name: str) -> Floats:
        """A figure of every EV."""
        return np.array([getattr(span.ev, name) for span in self.spans], dtype=float)

    def add_columns(
        self, name: str, cost: Floats | float, lower: Floats | float, upper: Floats | float, count: int
    ) -> Ints:
        columns = np.arange(self._width, self._width + count, dtype=np.intp)
        self._columns.append((_full(cost, count), _full(lower, count), _full(upper, count)))
        self._column_kinds.append((name, count))
        self._width += count
        return columns

    def add_rows(
        self, name: str, lower: Floats | float, upper: Floats | float, count: int,
        *terms: tuple[Ints, Floats | float], keys: tuple[Any, ...] = (),
    ) -> Ints:
        """Rows with one entry of each term; a term's column -1 leaves it out."""
        rows = np.arange(self._height, self._height + count, dtype=np.intp)
        for columns, values in terms:
            there = columns != NONE
            self._entries.append((rows[there], columns[there], _full(values, count)[there]))
        self._limits.append((_full(lower, count), _full(upper, count)))
        self._height += count
        self._rows[name] = np.concatenate((self._rows[name], rows)) if name in self._rows else rows
        self._keys[name] = (*self._keys.get(name, ()), *keys)
        return rows

    def evs(self) -> None:
        spans, hours = self.spans, self.hours
        first = np.array([span.first for span in spans], dtype=np.intp)
        last = np.array([span.last for span in spans], dtype=np.intp)
        lower, upper = (np.array([getattr(span, name) for span in spans], dtype=float)
                        for name in ("lower_kwh", "upper_kwh"))
        ticks = np.arange(self.steps)
        plugged = (first[:, None] <= ticks) & (ticks < last[:, None])
        ev, step = np.nonzero(plugged)  # by EV, then by step: the cell before is the step before
        cells = len(ev)
        wear, stored, drawn = self._of_ev("wear_per_kwh"), self._of_ev("charge_efficiency"), self._of_ev(
            "discharge_efficiency")
        charge = self.add_columns("charge", hours[step] * wear[ev], 0.0, self.charge_kw[ev, step], cells)
        can = self.discharge_kw[ev, step] > 0
        discharge = np.full(cells, NONE, dtype=np.intp)
        discharge[can] = self.add_columns(
            "discharge", (hours[step] * wear[ev])[can], 0.0, self.discharge_kw[ev, step][can], int(can.sum()))
        energy = self.add_columns("energy", 0.0, lower[ev], upper[ev], cells)
        before = np.where(step == first[ev], NONE, energy - 1)
        start = np.where(before == NONE, self._of_ev("energy_kwh")[ev], 0.0)
        self.add_rows("dynamics", start, start, cells, (energy, 1.0), (before, -1.0),
                      (charge, -hours[step] * stored[ev]), (discharge, hours[step] / drawn[ev]))
        self.charge, self.discharge, self.energy = (self._grid(ev, step, at) for at in (charge, discharge, energy))

        # charge <= at_empty - slope * mean energy of the step
        for row, span in enumerate(spans):
            own = slice(span.first, span.last)
            for line in span.tapers if span.first < span.last else ():
                half = line.slope_per_h / 2
                limit = np.full(span.last - span.first, line.at_empty_kw)
                limit[0] -= half * span.ev.energy_kwh
                at = self.energy[row, own]
                self.add_rows("taper", -np.inf, limit, len(at), (self.charge[row, own], 1.0), (at, half),
                              (np.append(NONE, at[:-1]), half))

        need, known = np.array([span.need_kwh for span in spans]), self._of_ev("energy_kwh")
        leaving = np.flatnonzero((first < last) & (need > lower))
        shortfall = self.add_columns(
            "shortfall", self.problem.shortfall_per_kwh, 0.0, (need - lower)[leaving], len(leaving))
        due = np.array([span.due for span in spans], dtype=np.intp)
        self.add_rows("departure", need[leaving], np.inf, len(leaving), (self.energy[leaving, due[leaving] - 1], 1.0),
                      (shortfall, 1.0), keys=tuple(leaving.tolist()))
        after = (due[leaving, None] <= ticks) & (ticks < last[leaving, None]) & (self.discharge_kw[leaving] > 0)
        at, then = np.nonzero(after)
        self.add_rows("stays_ready", need[leaving[at]], np.inf, len(at), (self.energy[leaving[at], then], 1.0),
                      (shortfall[at], 1.0))
        never = np.array([span.first == span.last and span.matters for span in spans], dtype=bool)
        self.offset += self.problem.shortfall_per_kwh * float(np.maximum(0.0, need - known)[never].sum())
        self._missing_energy(lower, known)

    def _missing_energy(self, lower: Floats, known: Floats) -> None:
        """What early leavers, drivers below their floor and guarded drivers miss; all soft."""
        problem, hours, plugged = self.problem, self.hours, self.energy != NONE
        leave, early = self._of_spans("leave"), self._of_spans("early_target_kwh")
        self._missing("early", plugged & (leave > 0) & (early > lower[:, None]), early, problem.early_price * leave)
        floor = self._of_spans("floor_kwh")
        below = np.array([span.starts_below_floor for span in self.spans], dtype=bool)[:, None]
        self._missing("floor", plugged & below & (floor > lower[:, None]), floor,
                      np.broadcast_to(problem.shortfall_per_kwh * hours, plugged.shape))
        guard, weight = self._of_spans("guard_kwh"), self._of_ev("guard_weight")
        # Only where this plan could hold less: a car that never discharges cannot fall below what it came with.
        least = np.where(self.discharge_kw.any(axis=1), lower, known)
        self._missing("guard", plugged & (guard > least[:, None]), guard,
                      problem.guard_per_kwh_h * weight[:, None] * hours)

    def _missing(self, name: str, where: NDArray[np.bool_], wanted: Floats, price: Floats) -> None:
        ev, step = np.nonzero(where)
        lower = np.array([span.lower_kwh for span in self.spans], dtype=float)
        want = wanted[ev, step]
        missing = self.add_columns(name, price[ev, step], 0.0, want - lower[ev], len(ev))
        self.add_rows(name, want, np.inf, len(ev), (self.energy[ev, step], 1.0), (missing, 1.0))

    def _grid(self, ev: Ints, step: Ints, columns: Ints) -> Ints:
        grid = np.full((len(self.spans), self.steps), NONE, dtype=np.intp)
        grid[ev, step] = columns
        return grid

    def site(self) -> None:
        problem, steps, hours = self.problem, self.steps, self.hours
        most = np.maximum(0.0, problem.base_kw + self.charge_kw.sum(axis=0))
        least = np.maximum(0.0, self.discharge_kw.sum(axis=0) - problem.base_kw)
        import_limit, export_limit = site_limits(problem)
        self.bought_most = most
        self.bought = self.add_columns("bought", hours * problem.import_price, 0.0, most, steps)
        self.sold = self.add_columns("sold", -hours * problem.export_price, 0.0, least, steps)
        slack = hours * problem.cap_slack_per_kwh
        self.over_import = self.add_columns(
            "over_import", slack, 0.0, np.maximum(0.0, most - import_limit), steps)
        self.over_export = self.add_columns(
            "over_export", slack, 0.0, np.maximum(0.0, least - export_limit), steps)
        so_far = problem.peak_so_far_kw
        self.peak = self.add_columns("peak", problem.demand_price, so_far, max(so_far, float(most.max())), 1)
        self.offset -= problem.demand_price * so_far  # only the increase of the peak is paid

        balance = self.add_rows("balance", problem.base_kw, problem.base_kw, steps, (self.bought, 1.0),
                                (self.sold, -1.0))
        for columns, sign in ((self.charge, -1.0), (self.discharge, 1.0)):
            ev, step = np.nonzero(columns != NONE)
            self._entries.append((balance[step], columns[ev, step], np.full(len(ev), sign)))
        every = tuple(range(steps))
        self.add_rows("import_cap", -np.inf, import_limit, steps, (self.bought, 1.0), (self.sold, -1.0),
                      (self.over_import, -1.0), keys=every)
        self.add_rows("export_cap", -np.inf, export_limit, steps, (self.sold, 1.0), (self.bought, -1.0),
                      (self.over_export, -1.0), keys=every)
        self.add_rows("peak_holds", -np.inf, 0.0, steps, (self.bought, 1.0), (np.repeat(self.peak, steps), -1.0),
                      keys=every)

        # Where selling pays more than buying costs, one binary per step keeps the meter from doing both.
        both = np.flatnonzero((problem.export_price > problem.import_price) & (most > 0) & (least > 0))
        self.binaries = self.add_columns("is_buying", 0.0, 0.0, 1.0, len(both))
        self.add_rows("buys", -np.inf, 0.0, len(both), (self.bought[both], 1.0), (self.binaries, -most[both]))
        self.add_rows("sells", -np.inf, least[both], len(both), (self.sold[both], 1.0), (self.binaries, least[both]))

    def events(self) -> None:
        events, beyond = zip(self.problem.commitments, event_limits(self.problem), strict=True), unearned_kw(
            self.problem)
        for number, (event, found) in enumerate(events):
            known = [at for at in found if at is not None]
            if not known:
                continue
            at, limit = np.array([step for step, _ in known]), np.array([kw for _, kw in known])
            most = np.maximum(0.0, self.bought_most[at] - limit)
            missing = self.add_columns("missing", self.hours[at] * event.shortfall_per_kwh, 0.0, most, len(at))
            worst = self.add_columns("worst", event.worst_per_kw, 0.0, float(most.max()), 1)
            self.add_rows("commitment", -np.inf, limit, len(at), (self.bought[at], 1.0), (self.sold[at], -1.0),
                          (missing, -1.0), keys=tuple((number, k) for k, at in enumerate(found) if at is not None))
            self.add_rows("worst_holds", -np.inf, 0.0, len(at), (missing, 1.0), (np.repeat(worst, len(at)), -1.0))
            more = np.array([kw for kw, at in zip(beyond[number], found, strict=True) if at is not None])
            is_open = (more > 0) & (self.bought_most[at] > limit - more)
            own, more = at[is_open], more[is_open]
            unearned = self.add_columns("unearned", self.hours[own] * event.asked_per_kwh, 0.0, more, len(own))
            self.add_rows("asked", -np.inf, limit[is_open] - more, len(own), (self.bought[own], 1.0),
                          (self.sold[own], -1.0), (missing[is_open], -1.0), (unearned, -1.0))

    def feeder(self) -> None:
        """Rows of the grid beyond the connection point, each with what it is crossed by; as in `model`."""
        number = {span.ev.id: row for row, span in enumerate(self.spans)}
        for k, row in enumerate(self.problem.feeder_rows):
            ev = np.array([number[ev_id] for ev_id in row.per_kw], dtype=np.intp)
            per_kw = np.array(list(row.per_kw.values()), dtype=float)
            flows = [(self.charge, self.charge_kw, per_kw), (self.discharge, self.discharge_kw, -per_kw)]
            most = sum(float(np.maximum(0.0, value * limit[ev, row.step]) @ (columns[ev, row.step] != NONE))
                       for columns, limit, value in flows)
            if most <= row.most_kw:
                continue
            over = self.add_columns(
                "over_feeder", self.hours[row.step] * self.problem.cap_slack_per_kwh, 0.0, most - row.most_kw, 1)
            terms = [
                (columns[ev[at:at + 1], row.step], float(value[at]))
                for columns, _, value in flows for at in range(len(ev))
            ]
            self.add_rows("feeder", -np.inf, row.most_kw, 1, *terms, (over, -1.0), keys=(k,))

    def changes(self) -> None:
        """What is moved >= |charge - discharge - held|, for every cell that has a set-point to hold to."""
        held = self._of_spans("held_kw")
        ev, step = np.nonzero(~np.isnan(held))
        at, charge, discharge = held[ev, step], self.charge[ev, step], self.discharge[ev, step]
        most = np.maximum(at + self.discharge_kw[ev, step], self.charge_kw[ev, step] - at)
        moved = self.add_columns("moved", self.problem.change_per_kwh * self.hours[step], 0.0, most, len(ev))
        self.add_rows("moved_up", -at, np.inf, len(ev), (moved, 1.0), (charge, -1.0), (discharge, 1.0))
        self.add_rows("moved_down", at, np.inf, len(ev), (moved, 1.0), (charge, 1.0), (discharge, -1.0))

    def program(self) -> Program:
        column = _ranks(_COLUMNS, self._column_kinds)
        row = np.empty(self._height, dtype=np.intp)
        row[np.concatenate([self._rows[name] for name in _ROWS if name in self._rows])] = np.arange(self._height)
        rows, columns, values = (np.concatenate(part) for part in zip(*self._entries, strict=True))
        matrix = csr_array(coo_array((values, (row[rows], column[columns])), shape=(self._height, self._width)))
        cost, lower, upper = (_placed(np.concatenate(part), column) for part in zip(*self._columns, strict=True))
        row_lower, row_upper = (_placed(np.concatenate(part), row) for part in zip(*self._limits, strict=True))
        own = np.append(column, NONE)  # no column stays none
        return Program(
            cost, self.offset, lower, upper, row_lower, row_upper, matrix, own[self.binaries], own[self.charge],
            own[self.discharge], own[self.energy], own[self.bought], own[self.sold], own[self.over_import],
            own[self.over_export], int(own[self.peak[0]]), {name: row[at] for name, at in self._rows.items()},
            self._keys,
        )


def _ranks(order: Sequence[str], kinds: Sequence[tuple[str, int]]) -> Ints:
    """The final place of every column as it was added, from the kinds of the blocks in which they came."""
    kind = np.repeat([order.index(name) for name, _ in kinds], [count for _, count in kinds])
    place = np.empty(len(kind), dtype=np.intp)
    place[np.argsort(kind, kind="stable")] = np.arange(len(kind))
    return place


def _placed(values: Floats, place: Ints) -> Floats:
    placed = np.empty_like(values)
    placed[place] = values
    return placed


def _full(value: Floats | float, count: int) -> Floats:
    return np.broadcast_to(np.asarray(value, dtype=float), (count,))
