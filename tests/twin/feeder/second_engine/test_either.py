"""Which engine is asked a second time, and how much of a long solution."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from twin.feeder import Flow, Primitive
from twin.feeder.second_engine.check import NotCheckable
from twin.feeder.second_engine.either import SecondEngine, second_engine
from twin.feeder.second_engine.opendss import OpenDssChecker


def test_a_feeder_of_usual_elements_is_asked_of_power_grid_model(build: Any) -> None:
    engine = second_engine(build.feeder(1))
    flow = Flow(build.feeder(1))
    assert engine.name == "power-grid-model"
    assert engine.check(flow.solve(*build.power(flow, 1))).agrees


def test_what_power_grid_model_has_no_words_for_is_asked_of_opendss(build: Any) -> None:
    pytest.importorskip("dss")
    feeder = build.rich_feeder(1)
    flow = Flow(feeder)
    engine = second_engine(feeder)
    difference = engine.check(flow.solve(*build.power(flow, 1)))
    assert (engine.name, difference.agrees, difference.steps) == ("OpenDSS", True, 4)


def test_of_a_long_solution_an_engine_of_single_steps_is_asked_a_part_with_both_ends(build: Any) -> None:
    pytest.importorskip("dss")
    flow = Flow(build.two_buses())
    power = np.zeros((3, 2, 50))
    power[0, -1, -1] = 1e9
    solution = flow.solve(power)
    difference = SecondEngine("OpenDSS", OpenDssChecker(flow.feeder), 9).check(solution)
    assert (difference.steps, difference.solved_only_here, difference.solved_only_there) == (9, 0, 0)
    assert difference.voltage_pu < 1e-9


def test_a_feeder_that_neither_can_say_has_the_reasons_of_both(build: Any) -> None:
    pytest.importorskip("dss")
    feeder = build.two_buses()
    valve = Primitive("valve", (("far", "a"), ("far", "b")), ((1.0 + 0j, -1.0 + 0j), (0j, 1.0 + 0j)), "thing")
    with pytest.raises(NotCheckable, match=r"thing valve: a matrix.*thing valve: not reciprocal"):
        second_engine(replace(feeder, primitives=(valve,)))
