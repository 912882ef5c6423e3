"""The second engine notices what the first got wrong."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from twin.feeder import Capacitor, Connection, Flow, Line
from twin.feeder.second_engine.check import Checker, NotCheckable


def test_another_cable_in_one_place_is_noticed(build: Any) -> None:
    feeder = build.feeder(3)
    flow = Flow(feeder)
    solution = flow.solve(*build.power(flow, 3))
    assert Checker(feeder).check(solution).agrees
    line = feeder.lines[0]
    r = tuple(tuple(1.01 * value for value in row) for row in line.r_ohm)
    other = replace(feeder, lines=(replace(line, r_ohm=r), *feeder.lines[1:]))
    assert not Checker(other).check(solution).agrees


def test_a_solution_that_belongs_to_other_loads_is_noticed(build: Any) -> None:
    flow = Flow(build.two_buses())
    solution = flow.solve(np.full((3, 2), 3000.0))
    assert not Checker(flow.feeder).check(replace(solution, demand=1.0001 * solution.demand)).agrees


def test_both_engines_call_an_impossible_load_impossible(build: Any) -> None:
    flow = Flow(build.two_buses())
    power = np.full((3, 3), 3000.0)
    power[:, 1] = 1e7
    difference = Checker(flow.feeder).check(flow.solve(power))
    assert difference.agrees
    assert difference.steps == 3
    claimed = replace(flow.solve(power), has_solution=np.array([True, False, False]))
    assert Checker(flow.feeder).check(claimed).solved_only_there == 1


def test_a_source_that_moves_moves_in_both(build: Any) -> None:
    feeder = build.feeder(8)
    flow = Flow(feeder)
    power, reactive = build.power(flow, 8, steps=3)
    assert Checker(feeder).check(flow.solve(power, reactive, source_pu=np.array([0.95, 1.0, 1.05]))).agrees


def test_transposed_and_untransposed_lines_stand_side_by_side(build: Any) -> None:
    """power-grid-model keeps them in two tables; the rows must find each other again."""
    feeder = build.feeder(5)
    lower = next(bus.id for bus in feeder.buses if bus.id == "lower")
    plain = Line.of_sequence("plain", lower, "beyond", r1=0.1, x1=0.05, r0=0.4, x0=0.1, c1=3e-7, c0=1e-7,
                             ampacity=build.rating)
    buses = (*feeder.buses, replace(feeder.buses[1], id="beyond"))
    points = (*feeder.connection_points, replace(feeder.connection_points[0], id="last", bus="beyond", phases="abc"))
    mixed = replace(feeder, buses=buses, lines=(feeder.lines[0], plain, *feeder.lines[1:]), connection_points=points)
    flow = Flow(mixed)
    difference = Checker(mixed).check(flow.solve(*build.power(flow, 5)))
    assert difference.agrees, difference


def test_all_that_is_beyond_it_is_named(build: Any) -> None:
    with pytest.raises(NotCheckable, match="connection point load: a delta load"):
        Checker(build.two_buses(connection=Connection.DELTA))
    with pytest.raises(NotCheckable) as caught:
        Checker(build.rich_feeder(0))
    for name in ("connection point d0: a delta load", "capacitor two: on phases bc", "regulator reg_a: a matrix",
                 "transformer delta: nothing grounded at its to side"):
        assert name in str(caught.value)
    assert "capacitor ring" not in str(caught.value)


@pytest.mark.parametrize("connection", list(Connection))
def test_three_phase_capacitors_are_shunts_there(build: Any, connection: Connection) -> None:
    feeder = build.feeder(6)
    capacitor = Capacitor("c", "lower", 20e3, 230.0 if connection is Connection.WYE else 400.0, "abc", connection)
    flow = Flow(replace(feeder, capacitors=(capacitor,)))
    power, reactive = build.power(flow, 6)
    assert Checker(flow.feeder).check(flow.solve(power, reactive)).agrees
    assert not Checker(feeder).check(flow.solve(power, reactive)).agrees
