r"""What EVSEs on a feeder really deliver as time goes by: curves that lag, trips, waiting and ramps.

A running twin asks at every instant at which power moved; between instants nothing changes. The answer says when to
ask again at the latest: when a trip is due, an inverter may come back, the next stair of a ramp begins, a curve has
gone on towards its end, or the base load changes.

    voltage  1.10 |      ____
                  |_____/    \____________________
    delivered     |=====|    .  wait   . __--==     trip after `after_s`, `delay_s` inside the band, ramp
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twin.feeder.inverters.behaviour import Behaviour, Inverter, Memory
from twin.feeder.inverters.fixed_point import Coupling
from twin.feeder.inverters.grid_codes import Trip
from twin.feeder.scene import Scene, SceneError

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

NEVER_S = np.inf
STAIR_S = 10.0
"""Of a ramp after a reconnection, which is followed in stairs from below."""

MEAN_PARTS = 20
"""Parts of the time over which a trip takes the mean: it is judged at the end of each (every 30 s of ten minutes)."""

SETTLED_PU = 1e-3
"""A curve that is so near to its end, in watts or vars per rated VA, has reached it."""

LAG_STEPS = 2.0
"""Time constants after which curves that lag are looked at again."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What flows from `now` on until somebody asks again, not later than `next_event_s`.

    delivered_kw, q_kvar, voltage_pu: (evse, replica). is_connected: not tripped. has_solution: of the flow, (replica,);
    where there is none, the supply has collapsed and nothing is delivered. settled: flow and curves agree, (replica,).
    """

    delivered_kw: Floats
    q_kvar: Floats
    voltage_pu: Floats
    is_connected: Claims
    has_solution: Claims
    settled: Claims
    next_event_s: float


class GridResponse:
    """The inverters of a scene in time, in several replicas that share its base load.

    trips, unsolved_s, unsettled_s: what happened so far: trips of each EVSE (evse, replica), and seconds without a
    solution and with one that did not settle, (replica,).

    Args:
        scene: feeder, base load and where the EVSEs hang.
        inverters: of each EVSE of the scene; None: it has no grid code.
        replicas: futures that are run side by side.
        nominal_volts: phase to neutral, what the inverters take for 1 p.u.; None: each bus's rating.

    Raises:
        SceneError: another number of inverters than EVSEs.
    """

    def __init__(
        self, scene: Scene, inverters: Sequence[Inverter | None], replicas: int = 1, *,
        nominal_volts: float | None = None,
    ) -> None:
        if len(inverters) != len(scene.evse_ids):
            raise SceneError("inverters", len(inverters), f"one for each of {len(scene.evse_ids)} EVSEs")
        self.scene, self.inverters, self.replicas = scene, tuple(inverters), replicas
        self.nominal_volts = nominal_volts
        behaviour = Behaviour(inverters, scene.var_per_watt)
        self._couple = Coupling(scene.flow(), scene.spread(), behaviour, nominal_volts)
        shape = (len(inverters), replicas)
        self.trips = np.zeros(shape, dtype=np.int64)
        self.unsolved_s, self.unsettled_s = np.zeros(replicas), np.zeros(replicas)
        self._now_s = -np.inf
        self._judges = _judges(inverters, replicas)
        self._is_connected = np.ones(shape, dtype=np.bool_)
        self._in_band_since = np.full(shape, NEVER_S)
        self._back_since = np.full(shape, -np.inf)
        self._low, self._high = np.ones(shape), np.ones(shape)
        self._constants = _Constants(inverters)
        self._memory = Memory(np.zeros(shape), *(np.ones(shape) for _ in range(5)))
        self._near, self._seen = np.ones(shape), np.ones(shape)
        self._is_lagging = np.zeros(replicas, dtype=np.bool_)
        self._step, self._ordered_kw, self._limit = -1, np.zeros(shape), np.ones(shape)
        self._delivered_kw, self._q_kvar = np.zeros(shape), np.zeros(shape)
        self._has_solution, self._settled = np.ones((2, replicas), dtype=np.bool_)

    def part(self, begin: int, end: int) -> Self:
        """A fresh one for replicas begin to end: replicas do not know of each other."""
        return type(self)(self.scene, self.inverters, end - begin, nominal_volts=self.nominal_volts)

    def answer(self, now_s: float, ordered_kw: Floats) -> Answer:
        """What the EVSEs deliver from `now_s` on.

        Args:
            now_s: seconds after the start of the scene's grid, never before an earlier one.
            ordered_kw: (evse,) or (evse, replica), positive while charging: what would flow without grid codes.

        Raises:
            ValueError: a shape that does not fit, or a time that runs back.
        """
        ordered = np.asarray(ordered_kw, dtype=np.float64).reshape(len(self.inverters), -1)
        if ordered.shape[1] != self.replicas:
            raise ValueError(f"ordered_kw: {ordered.shape[1]} replicas, expected {self.replicas}")
        if now_s < self._now_s:
            raise ValueError(f"now_s: {now_s}, expected {self._now_s} or later")
        passed = now_s - self._now_s if np.isfinite(self._now_s) else 0.0
        step = min(int(now_s // self.scene.grid.step_s), self.scene.grid.steps - 1)
        self._advance(now_s, passed)
        if passed > 0.0:
            self._go_on(passed)
        limit = self._limits(now_s)
        # A replica in which nothing is asked anew keeps its answer: replicas do not know of each other.
        is_new = (ordered != self._ordered_kw).any(axis=0) | (limit != self._limit).any(axis=0) | (step != self._step)
        columns = np.flatnonzero(is_new)
        if len(columns):
            is_first = self._step < 0
            self._step = step
            self._ordered_kw[:, columns], self._limit[:, columns] = ordered[:, columns], limit[:, columns]
            self._solve(columns, None if self._constants.are_prompt else self._now(columns, is_first=is_first))
        self._now_s = now_s
        self._watch(now_s)
        return Answer(
            self._delivered_kw.copy(), self._q_kvar.copy(), self._seen.copy(), self._is_connected.copy(),
            self._has_solution.copy(), self._settled.copy(), self._next_event_s(now_s, step),
        )

    # ------------------------------------------------------------------ flow and curves

    def _now(self, columns: NDArray[np.intp], *, is_first: bool) -> Memory:
        """Before any time has passed since the last answer; there is nothing to lag behind at the first."""
        memory = self._memory.columns(columns)
        return memory if is_first else self._constants.at_once(memory)

    def _solve(self, columns: NDArray[np.intp], lagging: Memory | None) -> None:
        """These replicas under the orders, the base load and the limits that were asked for last."""
        limit = self._limit[:, columns]
        memory: Memory | None = None
        if lagging is not None:
            memory = replace(lagging, limit_pu=limit)
        elif limit.min(initial=1.0) < 1.0:
            ones = np.ones_like(limit)
            memory = Memory(0.0 * ones, ones, ones, ones, ones, limit)
        base_w, base_var = (
            np.repeat(each[:, self._step, None], len(columns), axis=1)
            for each in (self.scene.base_w, self.scene.base_var)
        )
        found = self._couple.solve(
            base_w, base_var, 1000.0 * self._ordered_kw[:, columns], memory, self._near[:, columns]
        )
        solved = found.solution.has_solution
        self._low[:, columns], self._high[:, columns] = self._couple.extremes(
            np.where(solved, self._couple.terminal_pu(found.solution), 0.0)
        )
        self._near[:, columns] = np.where(solved, found.voltage_pu, 1.0)
        seen = self._seen[:, columns] = np.where(solved, found.voltage_pu, 0.0)
        self._delivered_kw[:, columns] = np.where(solved, found.delivered_w, 0.0) / 1000.0
        self._q_kvar[:, columns] = np.where(solved, found.q_var, 0.0) / 1000.0
        self._has_solution[columns], self._settled[columns] = solved, found.settled
        if lagging is not None and memory is not None:
            self._memory.put(columns, self._couple.behaviour.remember(seen, memory))

    def _go_on(self, passed_s: float) -> None:
        """Curves have gone on towards where the voltages that come of it lead them; the time before is as it was."""
        columns = np.flatnonzero(self._is_lagging)
        if not len(columns):
            return
        var_news, watt_news = self._constants.news(passed_s)
        ones = np.ones((len(self.inverters), len(columns)))
        memory = replace(self._memory.columns(columns), var_news=var_news * ones, watt_news=watt_news * ones)
        self._solve(columns, memory)

    # ------------------------------------------------------------------ time

    def _advance(self, now_s: float, passed: float) -> None:
        """Timers run on to now under the voltages of the last answer."""
        if self._step >= 0:
            self.unsolved_s += passed * ~self._has_solution
            self.unsettled_s += passed * (self._has_solution & ~self._settled)
        for judge in self._judges:
            rows = judge.rows
            falls = judge.is_due(now_s, passed, self._high[rows] if judge.trip.is_above else self._low[rows])
            falls &= self._is_connected[rows]
            if not falls.any():
                continue
            self.trips[rows] += falls
            self._is_connected[rows] &= ~falls
            self._in_band_since[rows] = np.where(falls, NEVER_S, self._in_band_since[rows])
        if self._is_connected.all():
            return
        waited = ~self._is_connected & (now_s >= self._in_band_since + self._constants.delay_s)
        self._is_connected |= waited
        self._back_since[waited] = now_s

    def _watch(self, now_s: float) -> None:
        """Set timers by the voltages that hold from now on."""
        for judge in self._judges:
            judge.watch(now_s, self._high[judge.rows] if judge.trip.is_above else self._low[judge.rows])
        inside = (self._low >= self._constants.band_low) & (self._high <= self._constants.band_high)
        waits = ~self._is_connected & inside
        self._in_band_since = np.where(waits, np.minimum(self._in_band_since, now_s), NEVER_S)

    def _limits(self, now_s: float) -> Floats:
        """Most power per rated VA: 0 while tripped, in stairs from below after it came back."""
        stairs = np.floor((now_s - self._back_since) / STAIR_S)
        ramp = np.minimum(stairs * STAIR_S / 60.0 * self._constants.ramp_pu_per_min, 1.0)
        return np.where(self._is_connected, ramp, 0.0)

    def _next_event_s(self, now_s: float, step: int) -> float:
        times = [(step + 1.0) * self.scene.grid.step_s if step + 1 < self.scene.grid.steps else NEVER_S]
        times += [judge.next_s(self._is_connected[judge.rows]) for judge in self._judges]
        times.append(float((self._in_band_since + self._constants.delay_s).min(initial=NEVER_S)))
        rising = self._is_connected & (self._limits(now_s) < 1.0)
        if rising.any():
            since = self._back_since[rising]
            times.append(float((since + (np.floor((now_s - since) / STAIR_S) + 1.0) * STAIR_S).min()))
        lagging = self._constants.lag_left(self._couple.behaviour, self._seen, self._memory)
        self._is_lagging = lagging < NEVER_S
        times.append(now_s + float(lagging.min(initial=NEVER_S)))
        return max(min(times), float(np.nextafter(now_s, np.inf)))


class _Constants:
    """Of all EVSEs as columns (evse, 1); EVSEs without a code are never disconnected and never lag.

    are_prompt: none of them lags.
    """

    def __init__(self, inverters: Sequence[Inverter | None]) -> None:
        codes = [None if inverter is None else inverter.code for inverter in inverters]
        back = [None if code is None else code.reconnection for code in codes]

        def column(values: list[float]) -> Floats:
            return np.array(values, dtype=np.float64).reshape(-1, 1)

        self.delay_s = column([NEVER_S if each is None else each.delay_s for each in back])
        self.ramp_pu_per_min = column([NEVER_S if each is None else each.ramp_pu_per_min for each in back])
        self.band_low = column([0.0 if each is None else each.band_pu[0] for each in back])
        self.band_high = column([NEVER_S if each is None else each.band_pu[1] for each in back])
        self._var_s = column([
            0.0 if code is None or code.volt_var is None else code.volt_var.time_constant_s for code in codes
        ])
        self._watt_s = column([
            0.0 if code is None else max(
                (curve.time_constant_s for curve in (code.volt_watt, code.charge_volt_watt) if curve is not None),
                default=0.0,
            ) for code in codes
        ])

        self.are_prompt = not ((self._var_s > 0.0).any() or (self._watt_s > 0.0).any())

    def news(self, passed_s: float) -> tuple[Floats, Floats]:
        """Share of what curves say that has come about after this time: exponential answers."""
        var, watt = (
            1.0 - np.exp(-np.divide(passed_s, constant, out=np.full_like(constant, np.inf), where=constant > 0.0))
            for constant in (self._var_s, self._watt_s)
        )
        return var, watt

    def at_once(self, memory: Memory) -> Memory:
        """Curves that do not lag follow, those that do stay where they are."""
        ones = np.ones_like(memory.var_pu)
        return replace(memory, var_news=(self._var_s == 0.0) * ones, watt_news=(self._watt_s == 0.0) * ones)

    def lag_left(self, behaviour: Behaviour, voltage_pu: Floats, memory: Memory) -> Floats:
        """Seconds after which to look again at curves that have not arrived, (replica,); inf where all have."""
        if self.are_prompt:
            return np.full(voltage_pu.shape[1], NEVER_S)
        ones = np.ones_like(memory.var_pu)
        ends = behaviour.remember(voltage_pu, replace(memory, var_news=ones, watt_news=ones))
        var = np.abs(ends.var_pu - memory.var_pu) > SETTLED_PU
        watt = (np.abs(ends.out_pu - memory.out_pu) > SETTLED_PU) | (np.abs(ends.in_pu - memory.in_pu) > SETTLED_PU)
        soonest: Floats = np.minimum(*(
            np.where(late & (constant > 0.0), constant, NEVER_S).min(axis=0, initial=NEVER_S)
            for constant, late in ((self._var_s, var), (self._watt_s, watt))
        ))
        return LAG_STEPS * soonest


class _Judge:
    """One limit of one code, of the moment: how long the voltage has been beyond it."""

    def __init__(self, trip: Trip, rows: NDArray[np.intp], replicas: int) -> None:
        self.trip, self.rows = trip, rows
        self._beyond_since = np.full((len(rows), replicas), NEVER_S)

    def is_due(self, now_s: float, passed_s: float, voltage_pu: Floats) -> Claims:  # noqa: ARG002 - as _MeanJudge
        due: Claims = now_s >= self._beyond_since + self.trip.after_s
        return due

    def watch(self, now_s: float, voltage_pu: Floats) -> None:
        beyond = _beyond(self.trip, voltage_pu)
        self._beyond_since = np.where(beyond, np.minimum(self._beyond_since, now_s), NEVER_S)

    def next_s(self, is_connected: Claims) -> float:
        return float((self._beyond_since + self.trip.after_s)[is_connected].min(initial=NEVER_S))


class _MeanJudge(_Judge):
    """One limit for the mean over a time, in parts that are judged when they end; the first mean is the voltage seen
    first.
    """

    def __init__(self, trip: Trip, rows: NDArray[np.intp], replicas: int) -> None:
        super().__init__(trip, rows, replicas)
        self._part_s = trip.mean_s / MEAN_PARTS
        self._parts: Floats | None = None
        self._sum, self._into_part_s = np.zeros((len(rows), replicas)), 0.0
        self._voltage = np.zeros((len(rows), replicas))
        self._now_s = 0.0

    def is_due(self, now_s: float, passed_s: float, voltage_pu: Floats) -> Claims:
        """The voltage has held since the last answer; its time fills parts, each judged as it ends."""
        due = np.zeros(voltage_pu.shape, dtype=np.bool_)
        self._now_s = now_s
        if self._parts is None:
            return due
        while passed_s > 0.0:
            taken = min(passed_s, self._part_s - self._into_part_s)
            self._sum += taken * voltage_pu
            self._into_part_s += taken
            passed_s -= taken
            if self._into_part_s >= self._part_s * (1.0 - 1e-9):
                self._parts = np.concatenate((self._parts[1:], self._sum[None] / self._into_part_s))
                due |= _beyond(self.trip, self._parts.mean(axis=0))
                self._sum, self._into_part_s = 0.0 * self._sum, 0.0
        return due

    def watch(self, now_s: float, voltage_pu: Floats) -> None:
        self._now_s, self._voltage = now_s, voltage_pu
        if self._parts is None:
            self._parts = np.repeat(voltage_pu[None], MEAN_PARTS, axis=0)

    def next_s(self, is_connected: Claims) -> float:
        """The end of this part, if the mean can be beyond the limit then: a voltage is, or was within the time."""
        if self._parts is None:
            return NEVER_S
        ahead = is_connected & (
            _beyond(self.trip, self._voltage) | _beyond(self.trip, self._parts).any(axis=0)
        )
        return self._now_s + self._part_s - self._into_part_s if ahead.any() else NEVER_S


def _beyond(trip: Trip, voltage_pu: Floats) -> Claims:
    beyond: Claims = voltage_pu > trip.voltage_pu if trip.is_above else voltage_pu < trip.voltage_pu
    return beyond


def _judges(inverters: Sequence[Inverter | None], replicas: int) -> tuple[_Judge, ...]:
    rows_of: dict[Trip, list[int]] = {}
    for row, inverter in enumerate(inverters):
        for trip in inverter.code.trips if inverter is not None else ():
            rows_of.setdefault(trip, []).append(row)
    return tuple(
        (_MeanJudge if trip.mean_s > 0.0 else _Judge)(trip, np.array(rows, dtype=np.intp), replicas)
        for trip, rows in rows_of.items()
    )
