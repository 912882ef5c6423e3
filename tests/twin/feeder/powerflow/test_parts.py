"""What carries most of what it can, against a plain search over the figures of the whole flow."""

from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder.powerflow.flow import Flow
from twin.feeder.powerflow.parts import Part, loading_by_part, most_loaded

STEPS = 4


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_most_loaded_part_is_the_largest_of_all_figures_of_its_element(build: Any, seed: int) -> None:
    feeder = build.rich_feeder(seed)
    one, other, *rest = feeder.primitives
    rated = replace(feeder, primitives=(replace(one, amperes=(30.0, 12.0)), other,
                                        *(replace(each, amperes=(9.0,) * len(each.nodes)) for each in rest)))
    flow = Flow(rated)
    solution = flow.solve(*build.power(flow, seed, steps=STEPS))
    parts, values = loading_by_part(solution)
    assert len(set(parts)) == len(parts) == len(values)
    for step in range(STEPS):
        expected: dict[str, dict[str, float]] = {}
        for number, transformer in enumerate(rated.transformers):
            sides = solution.winding_loading()[number, :, :, step]
            expected[transformer.id] = {transformer.id: solution.transformer_loading()[number, step]} | {
                f"{transformer.id}.{where}.{phase}": sides[side, leg]
                for side, where in enumerate(("from", "to")) for leg, phase in enumerate("abc")
            }
        for primitive in rated.primitives:
            amperes = np.abs(solution.primitive_currents()[flow.primitive_rows[primitive.id], step])
            if primitive.amperes:
                expected[primitive.id] = {
                    f"{primitive.id}.{bus}.{phase}": current / most
                    for (bus, phase), current, most in zip(primitive.nodes, amperes, primitive.amperes, strict=True)
                }
        found = most_loaded(solution, step)
        assert sorted(found) == sorted(expected)
        for element, carried in found.items():
            assert carried.loading == pytest.approx(max(expected[element].values()), rel=1e-9)
            assert expected[element][carried.part.name] == pytest.approx(carried.loading, rel=1e-9)


def test_without_a_flow_every_element_is_there_and_nothing_is_said_of_it(build: Any) -> None:
    flow = Flow(build.feeder(1, load_types=build.feeder(1).load_types[:1]))
    found = most_loaded(flow.solve(np.full((len(flow.terminals), 1), 1e9)), 0)
    assert list(found) == [transformer.id for transformer in flow.feeder.transformers]
    assert all(isnan(carried.loading) for carried in found.values())


def test_a_feeder_without_transformers_has_no_parts(build: Any) -> None:
    flow = Flow(build.two_buses())
    parts, values = loading_by_part(flow.solve(np.zeros((3, 2))))
    assert parts == ()
    assert values.shape == (0, 2)
    assert most_loaded(flow.solve(np.zeros((3, 2))), 1) == {}


@pytest.mark.parametrize(("part", "name", "words"), [
    (Part("tr", "", ""), "tr", "apparent power"),
    (Part("tr", "to", "a"), "tr.to.a", "to phase a"),
    (Part("reg1", "799r", "b"), "reg1.799r.b", "799r phase b"),
])
def test_parts_are_named_as_limits_are(part: Part, name: str, words: str) -> None:
    assert part.name == name
    assert str(part) == words
