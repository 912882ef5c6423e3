"""Published ageing models of lithium-ion cells, for many batteries at once.

Each model turns the stress of a span of time (SoC, temperature, depth, speed and number of cycles) into lost capacity,
split into what the calendar took and what cycling took. The laws are those that NREL identified from ageing tests and
that BLAST-Lite carries; here they are solved exactly over the span instead of by small steps, so that under constant
stress one year in one step equals 365 days:

    power law   y = k x^p              sigmoid   y = a tanh((k x)^p / 2)

with x days for calendar ageing and equivalent full cycles for cycling. When stress changes, the law of the new stress
goes on from the loss already there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAS_CONSTANT: Final = 8.3144
SECONDS_PER_DAY: Final = 86400.0


@dataclass(frozen=True)
class Stress:
    """What the batteries of a fleet endure in a span of time.

    soc, anode_v: shape (car, sample), equally spaced, first at the start and last at the end; SoC 0..1, and the
        potential of the graphite anode against lithium in V at that SoC.
    kelvin: battery temperature, shape (car or 1, sample or 1).
    depth: largest minus smallest SoC. c_rate: mean of |dSoC/dt| in 1/h. cycles: equivalent full cycles, half of the
        sum of |dSoC|. All three of shape (car,), relative to the present capacity.
    days: length of the span, one number or shape (car,).
    """

    soc: Floats
    anode_v: Floats
    kelvin: Floats
    depth: Floats
    c_rate: Floats
    cycles: Floats
    days: float | Floats


@dataclass(frozen=True)
class Fade:
    """What ageing has taken, each of shape (car,): calendar and cycle loss of capacity (their sum is the loss) and
    growth of resistance, all relative to a new battery; resistance is None where the model has none.
    """

    calendar: Floats
    cycle: Floats
    resistance: Floats | None

    @property
    def capacity(self) -> Floats:
        """Present capacity, 1 when new."""
        left: Floats = 1.0 - self.calendar - self.cycle
        return left


class CellModel(Protocol):
    """The ageing of one kind of cell. State is an array of shape (law, car); `advance` returns a new one."""

    @property
    def source(self) -> str: ...

    def fresh(self, cars: int) -> Floats: ...

    def means(self, stress: Stress) -> Floats:
        """What the law needs of the course of SoC and temperature, averaged over the span: shape (figure, car)."""
        ...

    def advance(
        self, state: Floats, means: Floats, depth: Floats, days: float | Floats, cycles: Floats, c_rate: Floats
    ) -> Floats:
        """State after a further `days` of cycles of `depth`; `cycles` and `c_rate` in capacity when new."""
        ...

    def fade(self, state: Floats) -> Fade: ...


def time_mean(values: Floats) -> Floats:
    """Mean over the span by the trapezoid rule, shape (car, sample) -> (car,)."""
    if values.shape[1] == 1:
        return values[:, 0]
    ends = 0.5 * (values[:, 0] + values[:, -1])
    mean: Floats = (values.sum(axis=1) - ends) / (values.shape[1] - 1)
    return mean


def power_law(y: Floats, x: float | Floats, k: Floats, p: float) -> Floats:
    """The loss after a further x on the curve y = k x^p."""
    after: Floats = k * ((y / k) ** (1.0 / p) + x) ** p
    return after


def sigmoid_law(y: Floats, x: float | Floats, most: Floats | float, k: Floats | float, p: Floats | float) -> Floats:
    """The loss after a further x on the curve y = most * tanh((k x)^p / 2); stands still where y has reached `most`."""
    share = y / most
    is_below = share < 1.0
    z = 2.0 * np.arctanh(np.where(is_below, share, 0.0))
    after: Floats = most * np.tanh(0.5 * (z ** (1.0 / p) + k * x) ** p)
    return np.where(is_below, np.maximum(after, y), y)


def anode_potential(soc: Floats) -> Floats:
    """Potential of a graphite anode against lithium in V.

    Fit of Safari and Delacourt, J. Electrochem. Soc. 158 (2011) A562, doi:10.1149/1.3567007; stoichiometry 0.0085 to
    0.78 over SoC after Schimpe et al., J. Electrochem. Soc. 165 (2018) A181, doi:10.1149/2.1181714jes.
    """
    x = 0.0085 + (0.78 - 0.0085) * soc
    volts: Floats = (
        0.6379
        + 0.5416 * np.exp(-305.5309 * x)
        + 0.044 * np.tanh((0.1958 - x) / 0.1088)
        - 0.1978 * np.tanh((x - 1.0571) / 0.0854)
        - 0.6875 * np.tanh((x + 0.0117) / 0.0529)
        - 0.0175 * np.tanh((x - 0.5692) / 0.0875)
    )
    return volts


@dataclass(frozen=True)
class NmcGraphite:
    """Kokam 75 Ah NMC-graphite pouch cell.

    K. Smith, A. Saxon, M. Keyser, B. Lundstrom, Z. Cao, A. Roc, "Life prediction model for grid-connected Li-ion
    battery energy storage system", American Control Conference 2017, doi:10.23919/ACC.2017.7963578; coefficients as
    NREL carries them in BLAST-Lite 1.1 (Nmc111_Gr_Kokam75Ah). Tested between 0 and 55 °C at 1C and 80 to 100 % depth;
    no influence of the C-rate. Capacity is the smaller of the lithium left and the active material left.
    """

    source: str = "Kokam 75 Ah, NMC-graphite (Smith et al., ACC 2017)"

    LITHIUM_TIME, LITHIUM_CYCLES, MATERIAL, R_TIME, R_CYCLES = range(5)
    SPARE_MATERIAL = 1.01
    """Active material of a new cell, relative to what its lithium can use."""
    LEAST_MATERIAL_LIFE = 500.0
    """Full cycles; floor of a fit that turns negative below 0 °C at full depth, where it was never tested."""

    def fresh(self, cars: int) -> Floats:
        state = np.zeros((5, cars))
        state[self.MATERIAL] = 1e-8
        return state

    def means(self, stress: Stress) -> Floats:
        inverse_t = (273.15 + 35.0) / stress.kelvin
        by_time = time_mean(2.66e7 * np.exp(inverse_t * (-17.8 - (5.21 / 0.123) * stress.anode_v)))
        cars = by_time.shape
        heat = np.broadcast_to(time_mean(np.exp(-18.4 * inverse_t)), cars)
        celsius = np.broadcast_to(time_mean(stress.kelvin) - 273.15, cars)
        return np.stack((by_time, heat, celsius, stress.soc.mean(axis=1)))

    def advance(
        self, state: Floats, means: Floats, depth: Floats, days: float | Floats, cycles: Floats, c_rate: Floats
    ) -> Floats:
        del c_rate
        aged_by_time, heat, celsius, mean_soc = means
        aged_by_cycles = 3.80e3 * heat * np.exp(1.04 * np.exp(depth * depth))
        material_life = np.maximum(1e4 + 153.0 * (celsius - 55.0) * depth * mean_soc / 0.6, self.LEAST_MATERIAL_LIFE)
        return np.stack((
            power_law(state[self.LITHIUM_TIME], days, aged_by_time, 0.357),
            power_law(state[self.LITHIUM_CYCLES], cycles, aged_by_cycles, 0.778),
            sigmoid_law(state[self.MATERIAL], cycles, 1.0, 1.0 / material_life, 10.0),
            power_law(state[self.R_TIME], days, 0.0570 * aged_by_time, 1.25),
            power_law(state[self.R_CYCLES], cycles, 4.87 * aged_by_cycles, 0.712),
        ))

    def fade(self, state: Floats) -> Fade:
        calendar = state[self.LITHIUM_TIME]
        material = self.SPARE_MATERIAL - state[self.MATERIAL]
        cycle = np.maximum(state[self.LITHIUM_CYCLES], 1.0 - calendar - material)
        by_film = 1.0 + state[self.R_TIME] + state[self.R_CYCLES]
        resistance = np.maximum(by_film, -0.08 + 1.09 / material)
        return Fade(calendar, cycle, resistance - 1.0)


@dataclass(frozen=True)
class LfpGraphite:
    """Sony-Murata 3 Ah LFP-graphite cell.

    Tests of M. Naumann et al.: J. Energy Storage 17 (2018) 153, doi:10.1016/j.est.2018.01.019 (calendar) and
    J. Power Sources 451 (2020) 227666, doi:10.1016/j.jpowsour.2019.227666 (cycles). Capacity model: P. Gasper et al.,
    J. Electrochem. Soc. 169 (2022) 080518, doi:10.1149/1945-7111/ac86a8; resistance: Naumann et al. Cycling was tested
    at 25 and 45 °C only and does not depend on temperature. The break-in term, which counts above three full cycles a
    day only, is left out. Tested with deep cycles: near 18 % depth the fit lets the wear of cycles all but vanish, so
    for shallow cycles `LfpPrismatic` is the safer guess.
    """

    source: str = "Sony-Murata 3 Ah, LFP-graphite (Naumann et al. 2018, 2020; Gasper et al. 2022)"

    TIME, CYCLES, R_TIME, R_CYCLES = range(4)

    def fresh(self, cars: int) -> Floats:
        return np.zeros((4, cars))

    def means(self, stress: Stress) -> Floats:
        t, volts = stress.kelvin, stress.anode_v
        root = np.sqrt(volts)
        most = time_mean(0.989687151293590 * np.exp(root * (8742.06309157261 / t - 2881067.56019324 / t**2)))
        bend = time_mean(0.000332850281062177 * np.exp(
            np.exp(np.log(volts) / 3.0) * (734553185711.369 / t**4 - 3284991315.45121 / t**3)
            + np.sqrt(root) * (0.00127227593657290 * t**2 - 2.82161575620780e-06 * t**3)
        ))
        off = stress.soc - 0.5
        r_heat = time_mean(3.4194e-10 * np.exp(-71827.0 / GAS_CONSTANT * (1.0 / t - 1.0 / 298.15)))
        return np.stack((most, bend, r_heat * time_mean(1.5604 - 3.3903 * off * off * off)))

    def advance(
        self, state: Floats, means: Floats, depth: Floats, days: float | Floats, cycles: Floats, c_rate: Floats
    ) -> Floats:
        most, bend, r_rest = means
        wear = np.abs(
            -6.81260579372875e-06 + 2.59615973160844e-05 * depth + 2.11559710307295e-06 * np.exp(depth**2 * c_rate**3)
        )  # the fit changes its sign near 18 % depth; the modulus is the publisher's
        r_cycle = (0.0021 - 0.002 * c_rate) * (6.8477 * (depth - 0.5) ** 3 + 0.91882)
        power = 1.12847759334355
        return np.stack((
            sigmoid_law(state[self.TIME], days, most, 0.000130510034211874, bend),
            power_law(state[self.CYCLES], cycles, wear**power, power),
            state[self.R_TIME] + r_rest * days * SECONDS_PER_DAY,
            state[self.R_CYCLES] + r_cycle * cycles / 100.0,
        ))

    def fade(self, state: Floats) -> Fade:
        return Fade(state[self.TIME], state[self.CYCLES], state[self.R_TIME] + state[self.R_CYCLES])


@dataclass(frozen=True)
class LfpPrismatic:
    """Large prismatic LFP-graphite cell of more than 250 Ah.

    P. Gasper et al., "Degradation and modeling of large-format commercial lithium-ion cells as a function of chemistry,
    design, and aging conditions", J. Energy Storage 73 (2023) 109042, doi:10.1016/j.est.2023.109042; coefficients as
    in BLAST-Lite 1.1 (Lfp_Gr_250AhPrismatic). Tested from 10 to 45 °C with charging up to 0.65C. No resistance model.
    """

    source: str = "LFP-graphite, prismatic, more than 250 Ah (Gasper et al. 2023)"

    TIME, CYCLES = range(2)

    def fresh(self, cars: int) -> Floats:
        return np.zeros((2, cars))

    def means(self, stress: Stress) -> Floats:
        t = stress.kelvin
        by_time = time_mean(8.37e4 * np.exp((-5.21e3 - 3.56e3 * stress.anode_v) / t))
        heat = time_mean(np.exp(2.19e3 / t) + np.exp(-1.55e5 / t))
        return np.stack((by_time, np.broadcast_to(heat, by_time.shape)))

    def advance(
        self, state: Floats, means: Floats, depth: Floats, days: float | Floats, cycles: Floats, c_rate: Floats
    ) -> Floats:
        by_time, heat = means
        by_cycles = (4.38e-8 + 1.55e-8 * depth + 1.68e-7 * c_rate) * heat
        return np.stack((
            power_law(state[self.TIME], days, by_time, 0.526),
            power_law(state[self.CYCLES], cycles, by_cycles, 0.828),
        ))

    def fade(self, state: Floats) -> Fade:
        return Fade(state[self.TIME], state[self.CYCLES], None)


CELLS: Final[Mapping[str, CellModel]] = MappingProxyType({
    "nmc": NmcGraphite(), "lfp": LfpGraphite(), "lfp-prismatic": LfpPrismatic(),
})
"""Cell models by name; a catalogue vehicle's `chemistry` is one of these names."""
