"""Ageing of a fleet's batteries, day by day, and what a kWh through a battery takes of its life.

All cars at once: a day is one array of SoC traces. Wear leaves the twin as a fraction of life per kWh; what a life
costs is for others to say. The laws of the cells are in `twin.ageing.cells`.

SoC is relative to the capacity the battery has on that day. A faded battery that runs through the same SoC trace
therefore moves less energy, and its cycles count less against those of its tests, which are counted in capacity when
new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.ageing.cells import CELLS, CellModel, Fade, Floats, Stress, anode_potential

HOURS_PER_DAY: Final = 24.0
DAYS_PER_YEAR: Final = 365.0
RESTING_C_RATE: Final = 0.01
"""1/h. Slower changes of SoC are storage and do not count into the mean C-rate (as in the fits of the models)."""
COLDEST_C, HOTTEST_C = -40.0, 80.0
SAME_KWH: Final = 1e-9
"""Daily throughputs closer than this are the same."""
ROUNDING: Final = 1e-9
"""A SoC this far outside 0..1 is rounding, and is cut."""
LOOK_AHEAD_DAYS: Final = 30.0
"""Step of `wear`. The laws are exact under constant stress; only the cycles' slow shrinking with fade is stepped."""


class AgeingError(ValueError):
    """A trace or temperature is impossible; the message names the field, the value and what was expected."""


def _require(condition: bool, field: str, value: object, expected: str) -> None:
    if not condition:
        raise AgeingError(f"{field}: {value!r}, expected {expected}")


def day_stress(soc: Floats, temperature_c: float | Floats, hours: float | Floats = HOURS_PER_DAY) -> Stress:
    """What one span of `hours` means for the batteries.

    Args:
        soc: shape (car, sample), 0..1, equally spaced; the first sample at the start, the last at the end of the span.
        temperature_c: of the batteries: one number, shape (car,), or shape (car or 1, sample).
        hours: length of the span, one number or shape (car,); the models count depth of discharge by day, so a day is
            the right choice.

    Raises:
        AgeingError: a SoC outside 0..1 or not a number, temperatures of another shape or outside -40 to 80 °C.
    """
    _require(soc.ndim == 2 and soc.shape[1] > 1, "soc", soc.shape, "shape (cars, samples), two samples or more")  # noqa: PLR2004 - (cars, samples)
    _require(bool(np.all(np.asarray(hours) > 0.0)), "hours", np.min(hours), "more than 0 h")
    lowest, highest = soc.min(axis=1), soc.max(axis=1)
    for extreme in (lowest, highest):
        wrong = ~((extreme >= -ROUNDING) & (extreme <= 1.0 + ROUNDING))
        if wrong.any():
            car = int(np.argmax(wrong))
            raise AgeingError(f"soc of car {car}: {float(extreme[car])!r}, expected values between 0 and 1")
    if lowest.min() < 0.0 or highest.max() > 1.0:
        soc = np.clip(soc, 0.0, 1.0)
    moved = np.abs(np.diff(soc, axis=1))
    resting = np.asarray(RESTING_C_RATE * hours / (soc.shape[1] - 1)).reshape(-1, 1)
    felt = np.where(moved < resting, 0.0, moved)
    return Stress(
        soc=soc, anode_v=anode_potential(soc), kelvin=_kelvin(temperature_c, soc.shape), depth=highest - lowest,
        c_rate=felt.sum(axis=1) / hours, cycles=0.5 * moved.sum(axis=1), days=hours / HOURS_PER_DAY,
    )


def _kelvin(temperature_c: float | Floats, shape: tuple[int, ...]) -> Floats:
    celsius = np.asarray(temperature_c, dtype=np.float64)
    if celsius.ndim < 2:  # noqa: PLR2004 - one number, or one per car
        celsius = celsius.reshape(-1, 1)
    cars, samples = celsius.shape
    _require(
        celsius.ndim == 2 and cars in (1, shape[0]) and samples in (1, shape[1]),  # noqa: PLR2004 - (cars, samples)
        "temperature_c", celsius.shape, f"one number, or a shape that fits {shape}",
    )
    is_possible = bool(((celsius >= COLDEST_C) & (celsius <= HOTTEST_C)).all())
    _require(is_possible, "temperature_c", (float(celsius.min()), float(celsius.max())),
             f"temperatures between {COLDEST_C:g} and {HOTTEST_C:g} °C")
    kelvin: Floats = celsius + 273.15
    return kelvin


class FleetAgeing:
    """The batteries of a fleet growing old together.

    cell: a model of `twin.ageing.cells`, or its name. All cars begin new.

    Raises:
        AgeingError: no model of that name, or no car.
    """

    def __init__(self, cell: CellModel | str, cars: int) -> None:
        _require(cars > 0, "cars", cars, "one car or more")
        self.cell = cell_model(cell)
        self.cars = cars
        self.days: float | Floats = 0.0
        self._cycles = np.zeros(cars)
        self._state = self.cell.fresh(cars)
        self._fade = self.cell.fade(self._state)

    @property
    def fade(self) -> Fade:
        """What ageing has taken so far."""
        return self._fade

    @property
    def capacity(self) -> Floats:
        """Present capacity of each car, 1 when new."""
        return self._fade.capacity

    @property
    def cycles(self) -> Floats:
        """Equivalent full cycles of each car so far, in capacity when new."""
        return self._cycles.copy()

    def live(self, soc: Floats, temperature_c: float | Floats, hours: float | Floats = HOURS_PER_DAY) -> None:
        """Let a span of `hours` pass; arguments and errors as of `day_stress`."""
        self.endure(day_stress(soc, temperature_c, hours))

    def endure(self, stress: Stress, times: float | Floats = 1.0) -> None:
        """Let the span of `stress` pass `times` times over (the cycles at the health of the start)."""
        self._pass(stress, self.cell.means(stress), times)

    def endure_in_turn(self, duties: Sequence[tuple[Stress, Floats]], times: float | Floats) -> None:
        """`endure` each of `duties`, given with the means of its cell model, which need not be taken again."""
        for stress, means in duties:
            self._pass(stress, means, times)

    def _pass(self, stress: Stress, means: Floats, times: float | Floats) -> None:
        _require(stress.soc.shape[0] == self.cars, "stress", stress.soc.shape, f"{self.cars} cars")
        health = self._fade.capacity
        days, cycles = stress.days * times, stress.cycles * health * times
        self._state = self.cell.advance(self._state, means, stress.depth, days, cycles, stress.c_rate * health)
        self._fade = self.cell.fade(self._state)
        self.days = self.days + days
        self._cycles += cycles


def cell_model(cell: CellModel | str) -> CellModel:
    """The model of that name. Raises an `AgeingError` if there is none."""
    if not isinstance(cell, str):
        return cell
    _require(cell in CELLS, "cell", cell, f"one of {', '.join(CELLS)}")
    return CELLS[cell]


@dataclass(frozen=True)
class Wear:
    """What a way of living takes of the batteries' lives, each of shape (car,).

    A life is used up when capacity falls to `end_of_life`. Figures are means over the time until then, or over the
    years that were looked ahead if the battery lasts longer.

    years: that time. calendar_per_day, cycle_per_day: fraction of life per day.
    per_kwh: fraction of life that cycling takes per kWh through the battery, charged and discharged kWh both counted;
        0 for a car that does not cycle.
    """

    years: Floats
    calendar_per_day: Floats
    cycle_per_day: Floats
    per_kwh: Floats
    has_ended: NDArray[np.bool_]

    @property
    def per_day(self) -> Floats:
        """Fraction of life per day in all."""
        both: Floats = self.calendar_per_day + self.cycle_per_day
        return both


def wear(
    cell: CellModel | str, soc: Floats, temperature_c: float | Floats, capacity_kwh: float | Floats, *,
    end_of_life: float = 0.8, look_ahead_years: float = 15.0,
) -> Wear:
    """What living like this, day after day, takes of each battery's life.

    Args:
        cell: model or its name.
        soc: one day, shape (car, sample), or several that repeat, shape (car, day, sample); as for `day_stress`.
        temperature_c: as for `day_stress`, the same for all days.
        capacity_kwh: of the new battery, one number or shape (car,).
        end_of_life: relative capacity at which a battery is used up, 0..1.
        look_ahead_years: where the mean ends at the latest.

    Raises:
        AgeingError: as `day_stress`, or end_of_life not between 0 and 1, or no time to look ahead.
    """
    days = soc[:, None, :] if soc.ndim == 2 else soc  # noqa: PLR2004 - one day
    stresses = [day_stress(days[:, day], temperature_c) for day in range(days.shape[1])]
    return wear_of(
        cell, stresses, capacity_kwh, end_of_life=end_of_life, look_ahead_years=look_ahead_years
    )


def wear_of(
    cell: CellModel | str, stresses: Sequence[Stress], capacity_kwh: float | Floats, *,
    end_of_life: float = 0.8, look_ahead_years: float = 15.0,
) -> Wear:
    """What living through `stresses` in turn, over and over, takes of each battery's life; the rest as `wear`."""
    _require(0.0 < end_of_life < 1.0, "end_of_life", end_of_life, "a capacity between 0 and 1")
    _require(look_ahead_years > 0.0, "look_ahead_years", look_ahead_years, "more than 0 years")
    fleet, life = FleetAgeing(cell, stresses[0].soc.shape[0]), 1.0 - end_of_life
    duties = [(stress, fleet.cell.means(stress)) for stress in stresses]
    round_days = sum(np.broadcast_to(stress.days, fleet.cars) for stress in stresses)
    steps = max(math.ceil(look_ahead_years * DAYS_PER_YEAR / LOOK_AHEAD_DAYS), 1)
    step_days = look_ahead_years * DAYS_PER_YEAR / steps
    ends_at = np.zeros((4, fleet.cars))  # days, calendar loss, cycle loss, cycles: where each car's mean ends
    alive = np.ones(fleet.cars, dtype=np.bool_)
    before = np.zeros((4, fleet.cars))
    for step in range(1, steps + 1):
        fleet.endure_in_turn(duties, step_days / round_days)
        after = np.stack(
            (np.full(fleet.cars, step * step_days), fleet.fade.calendar, fleet.fade.cycle, fleet.cycles)
        )
        loss_before, loss_after = before[1] + before[2], after[1] + after[2]
        ends = alive & (loss_after >= life)
        reached = np.where(ends, (life - loss_before) / np.where(ends, loss_after - loss_before, 1.0), 1.0)
        ends_at = np.where(alive, before + reached * (after - before), ends_at)
        alive &= ~ends
        before = after
        if not alive.any():
            break
    lived, calendar, cycle, cycles = ends_at
    kwh = 2.0 * cycles * capacity_kwh
    return Wear(
        years=lived / DAYS_PER_YEAR, calendar_per_day=calendar / life / lived, cycle_per_day=cycle / life / lived,
        per_kwh=np.where(kwh > 0.0, cycle / life / np.where(kwh > 0.0, kwh, 1.0), 0.0), has_ended=~alive,
    )


def wear_per_kwh(
    cell: CellModel | str, soc: Floats, temperature_c: float | Floats, capacity_kwh: float | Floats, *,
    end_of_life: float = 0.8, look_ahead_years: float = 15.0,
) -> Floats:
    """Fraction of life that cycling takes per kWh through the battery (charged and discharged kWh both counted).

    Shape (car,); arguments and errors as of `wear`.
    """
    return wear(
        cell, soc, temperature_c, capacity_kwh, end_of_life=end_of_life, look_ahead_years=look_ahead_years
    ).per_kwh


def marginal_wear_per_kwh(
    cell: CellModel | str, soc: Floats, instead_of: Floats, temperature_c: float | Floats,
    capacity_kwh: float | Floats, *, end_of_life: float = 0.8, look_ahead_years: float = 15.0,
) -> Floats:
    """Fraction of life taken per further kWh by living like `soc` instead of like `instead_of`, calendar included.

    The price of a service: what vehicle-to-grid adds over plain charging. It may be negative, where resting at a lower
    SoC spares more than the cycles take. NaN for a car with the same throughput in both. Other arguments and errors as
    of `wear`; kWh are those of the first day of both lives, at full capacity.
    """
    ways = [
        wear(cell, way, temperature_c, capacity_kwh, end_of_life=end_of_life, look_ahead_years=look_ahead_years)
        for way in (soc, instead_of)
    ]
    further_kwh = (_daily_swing(soc) - _daily_swing(instead_of)) * capacity_kwh
    is_same = np.abs(further_kwh) < SAME_KWH
    further_wear = ways[0].per_day - ways[1].per_day
    return np.where(is_same, np.nan, further_wear / np.where(is_same, 1.0, further_kwh))


def _daily_swing(soc: Floats) -> Floats:
    """Mean over the days of the sum of |dSoC|, shape (car,)."""
    swing: Floats = np.abs(np.diff(soc, axis=-1)).sum(axis=-1)
    return swing if swing.ndim == 1 else swing.mean(axis=1)
