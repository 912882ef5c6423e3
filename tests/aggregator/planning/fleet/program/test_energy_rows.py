"""Without energies as columns, and with battery limits only once they are broken, a program says the same."""

from collections.abc import Callable

import numpy as np
import pytest

from aggregator.planning.fleet.blocks.block_rows import BlockRows
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.energy_rows import EnergyRows
from aggregator.planning.fleet.program.solver import NoPlan, Solver

Make = Callable[..., Problem]


@pytest.mark.parametrize("seed", range(6))
def test_a_program_without_energies_costs_what_the_program_with_them_costs(
    make_fleet: Make, kind: dict[str, object], seed: int,
) -> None:
    problem = make_fleet(seed, **{**kind, "reserve": False})
    with_them, without = Solver(assemble(problem)), assemble(problem, energies=False)
    try:
        best = with_them.run(20.0).objective
    except NoPlan:
        with pytest.raises(NoPlan):
            Solver(without).run(20.0, BlockRows(problem, without, None))
        return
    found = Solver(without).run(20.0, BlockRows(problem, without, None))
    scale = max(1.0, abs(best))
    assert found.is_feasible
    assert found.objective == pytest.approx(best, abs=1e-7 * scale)
    assert found.bound == pytest.approx(best, abs=1e-7 * scale)


def test_no_battery_is_fuller_or_emptier_than_it_may_be(make_fleet: Make) -> None:
    limited = 0
    for seed in range(12):
        problem = make_fleet(seed, evs=10)
        program = assemble(problem, energies=False)
        rows = EnergyRows(problem, program)
        solver = Solver(program)
        loose = solver.run(20.0)
        limited += len(rows.broken(loose.x))
        x, cells, evs = solver.run(20.0, rows).x, program.cells, problem.evs
        # By hand, car by car, from the powers alone.
        charge, discharge = program.by_ev(x, "charge"), program.by_ev(x, "discharge")
        for ev in range(len(evs)):
            energy = evs.energy_kwh[ev] + problem.step_h * np.cumsum(
                charge[ev] * evs.charge_efficiency[ev] - discharge[ev] / evs.discharge_efficiency[ev])
            assert energy.max() <= evs.capacity_kwh[ev] + 1e-6
            assert energy.min() >= min(evs.floor_kwh[ev], evs.energy_kwh[ev]) - 1e-6
            own = cells.ev == ev
            stay = slice(int(evs.arrive[ev]), int(evs.depart[ev]))
            assert rows.stored(x)[own] + evs.energy_kwh[ev] == pytest.approx(energy[stay], abs=1e-9)
    assert limited > 20
