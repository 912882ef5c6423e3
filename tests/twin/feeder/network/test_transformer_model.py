"""Vector groups, taps and grounding against power-grid-model."""

from typing import Any

import numpy as np
import pytest

from twin.feeder import Bus, ConnectionPoint, Feeder, FeederError, Flow, Line, Rating, Side, Source, Tap, Transformer
from twin.feeder.network.transformer_model import Winding, vector_group
from twin.feeder.second_engine.check import Checker

GROUPS = (
    "Dyn1", "Dyn5", "Dyn7", "Dyn11", "YNyn0", "YNyn2", "YNyn6", "YNyn10", "Dzn0", "Dzn4", "Dzn6", "Yzn1", "Yzn5",
    "Yzn11", "YNzn7",
)


def behind(transformer: Transformer) -> Feeder:
    rating = Rating.even(200.0, "a test")
    line = Line.of_sequence("line", "low", "end", r1=0.05, x1=0.01, r0=0.2, x0=0.03, ampacity=rating)
    return Feeder(
        "one transformer", (Bus("high", 10_000.0), Bus("low", 400.0), Bus("end", 400.0)), (line,),
        Source("high", 1.01, 0.2, 8e7, 0.2, 2.0), (transformer,), (ConnectionPoint("p", "end"),),
    )


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("side", list(Side))
def test_every_vector_group_turns_and_grounds_as_in_power_grid_model(group: str, side: Side) -> None:
    step = 250.0 if side is Side.FROM else 10.0
    feeder = behind(Transformer(
        "t", "high", "low", 160e3, 10_000.0, 410.0, 0.045, 2350.0, group, 0.02, 460.0, Tap(side, -1, -2, 2, 0, step),
        to_grounding_ohm=(0.05, 0.02),
    ))
    flow = Flow(feeder)
    solution = flow.solve(np.array([[9000.0, -5000.0], [1000.0, 0.0], [0.0, 7000.0]]), np.full((3, 2), 500.0))
    difference = Checker(feeder).check(solution)
    assert difference.agrees, difference
    assert difference.voltage_pu < 1e-9
    assert solution.source_power().real == pytest.approx(
        solution.terminal_powers().sum(axis=0).real + solution.losses_w(), rel=1e-9
    )


def test_an_unloaded_transformer_draws_its_iron_loss() -> None:
    feeder = behind(Transformer("t", "high", "low", 160e3, 10_000.0, 400.0, 0.045, 2350.0, "Dyn11", 0.02, 460.0))
    solution = Flow(feeder).solve(np.zeros((3, 1)))
    volts = np.abs(solution.voltages()[3:6, 0]).mean() * np.sqrt(3.0)
    assert solution.losses_w()[0] == pytest.approx(460.0 * (volts / 400.0) ** 2, rel=1e-3)


def test_at_rated_current_it_loses_its_load_loss() -> None:
    """Into a short circuit at uk it takes its rated current and loses pk: the definition of both."""
    rated, uk, loss = 160e3, 0.045, 2350.0
    feeder = behind(Transformer("t", "high", "low", rated, 10_000.0, 400.0, uk, loss, "Dyn11"))
    flow = Flow(feeder)
    solution = flow.solve(np.full((3, 1), rated / 3.0))
    amperes = np.abs((flow.network.transformers @ solution.state)[3:6, 0])
    per_unit = amperes / (rated / (np.sqrt(3.0) * 400.0))
    in_transformer = solution.transformer_powers().sum(axis=(0, 1, 2)).real[0]
    assert in_transformer == pytest.approx(loss * (per_unit**2).mean(), rel=1e-9)


@pytest.mark.parametrize(("name", "upper", "lower", "clock"), [
    ("Dyn11", Winding.DELTA, Winding.GROUNDED_STAR, 11), ("YNd5", Winding.GROUNDED_STAR, Winding.DELTA, 5),
    ("Yzn12", None, None, None), ("Dyn12", None, None, None), ("Dyn", None, None, None), ("dyn11", None, None, None),
    ("YNyn1", None, None, None), ("Dd12", Winding.DELTA, Winding.DELTA, 0),
])
def test_names_of_vector_groups(name: str, upper: Any, lower: Any, clock: Any) -> None:
    if upper is None:
        with pytest.raises(FeederError, match=name):
            vector_group(name)
    else:
        group = vector_group(name)
        assert (group.upper, group.lower, group.clock) == (upper, lower, clock)
