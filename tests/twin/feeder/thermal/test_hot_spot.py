"""Hot spot and ageing against printed examples, fine difference equations, quadrature and an independent program."""

import json
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from twin.feeder import Flow
from twin.feeder.network.model import Paper, ThermalConstants, Transformer
from twin.feeder.thermal.hot_spot import (
    LoadingUnknown,
    Standard,
    ThermalCourse,
    ThermalState,
    ageing_rate,
    run,
    steady,
    winding_loading,
)

REFERENCE = Path(__file__).with_name("hot_spot_reference.json")
POWER = ThermalConstants(52.0, 26.0, 6.0, 0.8, 1.3, 210.0, 10.0, 0.5, 2.0, 2.0)


def transformer(
    constants: ThermalConstants | None = None, paper: Paper | None = Paper.NORMAL, name: str = "t"
) -> Transformer:
    return Transformer(
        name, "upper", "lower", 250e3, 10_000.0, 400.0, 0.04, 3250.0, "Dyn5", paper=paper,
        thermal=constants or ThermalConstants(),
    )


def state(top_oil_c: float, ambient_c: float, gradient_k: float = 0.0, oil_gradient_k: float = 0.0) -> ThermalState:
    return ThermalState(*(np.array([value]) for value in (top_oil_c, ambient_c, gradient_k, oil_gradient_k)))


constants = st.builds(
    ThermalConstants,
    top_oil_rise_k=st.floats(30.0, 65.0), hot_spot_gradient_k=st.floats(10.0, 35.0), loss_ratio=st.floats(2.0, 12.0),
    oil_exponent=st.floats(0.7, 1.0), winding_exponent=st.floats(1.2, 2.0), oil_minutes=st.floats(60.0, 240.0),
    winding_minutes=st.floats(3.0, 12.0), k11=st.floats(0.4, 1.0), k21=st.floats(1.0, 3.0), k22=st.floats(1.0, 2.5),
)
loadings = st.lists(st.floats(0.0, 1.8), min_size=2, max_size=8).map(np.array)


def test_the_printed_example_of_iec_60076_7_comes_out() -> None:
    # IEC 60076-7, example of an ONAF power transformer under six load steps (g_r = 14.5 K, H = 1.4, R = 1000): at the
    # end of the third, its own equations end at 89.8 and 128.1 where it prints 89.2 and 127.
    steps = ((1.0, 190, 61.9, 83.8), (0.6, 365, 44.4, 54.1), (1.5, 500, 89.2, 127.0), (0.3, 705, 35.0, 37.6),
             (2.1, 730, 67.9, 138.6), (0.0, 745, 60.3, 75.3))
    loading, before = [], 0
    for load, minute, _, _ in steps:
        loading += [load] * ((minute - before) // 5)
        before = minute
    unit = transformer(ThermalConstants(38.3, 1.4 * 14.5, 1000.0, 0.8, 1.3, 150.0, 7.0, 0.5, 2.0, 2.0))
    course = run([unit], np.array([loading]), 25.6, 300.0, initial=state(25.6 + 12.7, 25.6))
    for load, minute, oil, hot in steps:
        margin = 1.1 if load == 1.5 else 0.1
        assert course.top_oil_c[0, minute // 5 - 1] == pytest.approx(oil, abs=margin)
        assert course.hot_spot_c[0, minute // 5 - 1] == pytest.approx(hot, abs=margin)


@pytest.mark.parametrize(
    ("standard", "paper", "printed"),
    [
        (Standard.IEC, Paper.NORMAL, {80: 0.125, 86: 0.25, 98: 1.0, 104: 2.0, 110: 4.0, 122: 16.0, 140: 128.0}),
        (Standard.IEC, Paper.UPGRADED, {80: 0.036, 92: 0.145, 98: 0.282, 104: 0.536, 110: 1.0, 122: 3.29, 140: 17.2}),
        (Standard.IEEE, Paper.UPGRADED, {80: 0.0358, 100: 0.3499, 110: 1.0, 120: 2.7089, 130: 6.9842, 140: 17.1995}),
        (Standard.IEEE, Paper.NORMAL, {95: 1.0}),
    ],
)
def test_ageing_rates_are_those_of_the_printed_tables(
    standard: Standard, paper: Paper, printed: dict[int, float]
) -> None:
    # IEC 60076-7, table of relative ageing rates; IEEE C57.91, table of ageing acceleration factors.
    assert ageing_rate(list(printed), paper, standard) == pytest.approx(np.array(list(printed.values())), rel=5e-3)


def fine_differences(
    constants: ThermalConstants, loading: np.ndarray, ambient: np.ndarray, minutes: float, parts: int
) -> tuple[list[float], list[float]]:
    """The difference equations of IEC 60076-7 as printed, with steps so small that they are the differential ones."""
    c = constants
    gradient = loading[0] ** c.winding_exponent * c.hot_spot_gradient_k
    oil = ambient[0] + ((1 + c.loss_ratio * loading[0] ** 2) / (1 + c.loss_ratio)) ** c.oil_exponent * c.top_oil_rise_k
    one, two = c.k21 * gradient, (c.k21 - 1) * gradient
    top, hot = [], []
    dt = minutes / parts
    for load, air in zip(loading, ambient, strict=True):
        for _ in range(parts):
            gradient = load**c.winding_exponent * c.hot_spot_gradient_k
            rise = ((1 + c.loss_ratio * load**2) / (1 + c.loss_ratio)) ** c.oil_exponent * c.top_oil_rise_k
            oil += dt / (c.k11 * c.oil_minutes) * (rise - (oil - air))
            one += dt / (c.k22 * c.winding_minutes) * (c.k21 * gradient - one)
            two += dt / (c.oil_minutes / c.k22) * ((c.k21 - 1) * gradient - two)
        top.append(oil)
        hot.append(oil + one - two)
    return top, hot


@settings(max_examples=40)
@given(constants, loadings, st.floats(1.0, 60.0))
def test_a_step_of_any_length_ends_where_fine_difference_equations_end(
    constants: ThermalConstants, loading: np.ndarray, minutes: float
) -> None:
    ambient = 20.0 - 3.0 * np.arange(len(loading))
    course = run([transformer(constants)], loading[None], ambient, minutes * 60.0)
    parts = 400
    coarse, fine = (np.array(fine_differences(constants, loading, ambient, minutes, n)) for n in (parts, 2 * parts))
    # Euler's method errs in proportion to its step: what two of them tell together errs far less.
    top, hot = 2.0 * fine - coarse
    assert course.top_oil_c[0] == pytest.approx(top, abs=0.02)
    assert course.hot_spot_c[0] == pytest.approx(hot, abs=0.02)


def clause_7(constants: ThermalConstants, loading: np.ndarray, ambient: np.ndarray, minutes: float) -> list[float]:
    """IEEE C57.91, clause 7, equation by equation, one number at a time."""
    c = constants
    rated, n, m = c.top_oil_rise_k, c.oil_exponent, c.winding_exponent / 2.0
    oil = rated * ((loading[0] ** 2 * c.loss_ratio + 1) / (c.loss_ratio + 1)) ** n
    gradient = c.hot_spot_gradient_k * loading[0] ** (2 * m)
    found = []
    for load, air in zip(loading, ambient, strict=True):
        end = rated * ((load**2 * c.loss_ratio + 1) / (c.loss_ratio + 1)) ** n
        tau = c.oil_minutes
        if n != 1.0 and abs(end - oil) > 1e-3:
            tau *= (end / rated - oil / rated) / ((end / rated) ** (1 / n) - (oil / rated) ** (1 / n))
        oil = (end - oil) * (1 - exp(-minutes / tau)) + oil
        end = c.hot_spot_gradient_k * load ** (2 * m)
        gradient = (end - gradient) * (1 - exp(-minutes / c.winding_minutes)) + gradient
        found.append(air + oil + gradient)
    return found


@given(constants, loadings, st.floats(1.0, 60.0))
def test_ieee_c57_91_is_followed_equation_by_equation(
    constants: ThermalConstants, loading: np.ndarray, minutes: float
) -> None:
    ambient = 20.0 - 3.0 * np.arange(len(loading))
    course = run([transformer(constants)], loading[None], ambient, minutes * 60.0, standard=Standard.IEEE)
    assert course.hot_spot_c[0] == pytest.approx(clause_7(constants, loading, ambient, minutes), abs=2e-3)


@pytest.mark.parametrize("constants", [ThermalConstants(), POWER])
def test_an_independent_program_finds_the_same_temperatures(constants: ThermalConstants) -> None:
    # transformer-thermal-model 0.6.0 (MPL-2.0) over a day of quarter hours; benchmarks/transformer_ageing_speed.py.
    told = json.loads(REFERENCE.read_text(encoding="utf-8"))
    figures = told["power" if constants == POWER else "distribution"]
    air = told["ambient_c"]
    course = run(
        [transformer(constants)], np.array([told["loading"]]), np.array(air), 900.0, initial=state(air[0], air[0])
    )
    assert course.top_oil_c[0] == pytest.approx(np.array(figures["top_oil_c"]), abs=2e-6)
    assert course.hot_spot_c[0] == pytest.approx(np.array(figures["hot_spot_c"]), abs=2e-6)


@pytest.mark.parametrize("standard", Standard)
@pytest.mark.parametrize("paper", Paper)
@pytest.mark.parametrize("minutes", [1.0, 15.0, 60.0])
def test_loss_of_life_is_the_integral_of_the_ageing_rate(standard: Standard, paper: Paper, minutes: float) -> None:
    loading = np.array([0.3, 1.4, 0.0, 1.1])
    unit = transformer(POWER, paper)
    course = run([unit], loading[None], 25.0, minutes * 60.0, standard=standard)

    def rate(share: float, before: ThermalState, load: float) -> float:
        part = run([unit], np.array([[load]]), 25.0, minutes * 60.0 * max(share, 1e-12), standard=standard,
                   initial=before)
        return float(ageing_rate(part.hot_spot_c[0, 0], paper, standard))

    now = steady([unit], loading[:1], 25.0, standard)
    for step, load in enumerate(loading):
        mean = quad(rate, 0.0, 1.0, args=(now, load), epsrel=1e-8)[0]
        # For IEEE the oil's time constant is that of the whole step, not of its parts.
        assert course.ageing_rate[0, step] == pytest.approx(mean, rel=2e-2 if standard is Standard.IEEE else 5e-3)
        now = run([unit], np.array([[load]]), 25.0, minutes * 60.0, standard=standard, initial=now).final
    assert course.loss_of_life_h[0] == pytest.approx(course.ageing_rate[0].sum() * minutes / 60.0)
    assert course.equivalent_ageing[0] == pytest.approx(course.ageing_rate[0].mean())


def test_steps_cut_in_parts_end_at_the_same_temperatures_and_the_same_loss_of_life() -> None:
    loading = np.random.default_rng(3).uniform(0.0, 1.5, (1, 96))
    whole = run([transformer(POWER)], loading, 20.0, 900.0)
    parts = run([transformer(POWER)], np.repeat(loading, 15, axis=1), 20.0, 60.0)
    assert whole.hot_spot_c[0] == pytest.approx(parts.hot_spot_c[0, 14::15], abs=1e-9)
    assert whole.loss_of_life_h == pytest.approx(parts.loss_of_life_h, rel=1e-3)
    assert whole.peak_hot_spot_c == pytest.approx(parts.peak_hot_spot_c, abs=0.2)


@pytest.mark.parametrize("standard", Standard)
def test_a_run_that_goes_on_from_another_is_one_run(standard: Standard) -> None:
    loading = np.random.default_rng(4).uniform(0.0, 1.5, (1, 50))
    air = np.linspace(0.0, 30.0, 50)
    whole = run([transformer()], loading, air, 900.0, standard=standard)
    first = run([transformer()], loading[:, :20], air[:20], 900.0, standard=standard)
    second = run([transformer()], loading[:, 20:], air[20:], 900.0, standard=standard, initial=first.final)
    assert whole.hot_spot_c[0, 20:] == pytest.approx(second.hot_spot_c[0], abs=1e-9)
    assert whole.loss_of_life_h == pytest.approx(first.loss_of_life_h + second.loss_of_life_h)


@pytest.mark.parametrize("standard", Standard)
def test_a_constant_load_stays_in_the_steady_state(standard: Standard) -> None:
    course = run([transformer(POWER)], np.full((1, 10), 0.9), 20.0, 900.0, standard=standard)
    assert course.hot_spot_c[0] == pytest.approx(np.full(10, steady([transformer(POWER)], np.array([0.9]), 20.0,
                                                                   standard).hot_spot_c[0]))


def test_rated_load_at_twenty_degrees_ends_at_the_rated_rises() -> None:
    for standard in Standard:
        ended = steady([transformer()], np.array([1.0]), 20.0, standard)
        assert ended.hot_spot_c[0] == pytest.approx(20.0 + 55.0 + 23.0)


def test_transformers_and_replicas_do_not_know_of_each_other() -> None:
    draw = np.random.default_rng(5)
    units = [transformer(name="a"), transformer(POWER, Paper.UPGRADED, "b")]
    loading = draw.uniform(0.0, 1.5, (2, 3, 40))
    together = run(units, loading, 20.0, 900.0)
    assert together.ageing_rate.shape == (2, 3, 40)
    for number, unit in enumerate(units):
        for replica in range(3):
            alone = run([unit], loading[number, replica][None], 20.0, 900.0)
            assert together.hot_spot_c[number, replica] == pytest.approx(alone.hot_spot_c[0])
            assert together.loss_of_life_h[number, replica] == pytest.approx(alone.loss_of_life_h[0], rel=1e-3)
            assert together.peak_hot_spot_c[number, replica] == pytest.approx(alone.peak_hot_spot_c[0], abs=0.5)


def both_papers(standard: Standard) -> ThermalCourse:
    return run([transformer(paper=Paper.UPGRADED, name="known"), transformer(paper=None, name="unknown")],
               np.full((2, 4), 1.2), 20.0, 900.0, standard=standard)


@pytest.mark.parametrize("standard", Standard)
def test_a_transformer_of_unknown_paper_is_told_for_both(standard: Standard) -> None:
    course = both_papers(standard)
    assert course.papers == ((0, Paper.UPGRADED), (1, Paper.NORMAL), (1, Paper.UPGRADED))
    assert course.loss_of_life_h[1] > 2.0 * course.loss_of_life_h[2] == pytest.approx(2.0 * course.loss_of_life_h[0])
    assert [course.reference_c(row) for row in range(3)] == [110.0, 98.0 if standard is Standard.IEC else 95.0, 110.0]


def test_the_peak_between_the_ends_of_steps_counts() -> None:
    # k21 = 2: after a jump of load the winding overshoots within the hour.
    overshooting = ThermalConstants(45.0, 35.0, 8.0, 0.8, 1.3, 150.0, 7.0, 0.5, 3.0, 1.0)
    course = run([transformer(overshooting)], np.array([[0.2, 1.6]]), 20.0, 7200.0)
    fine = run([transformer(overshooting)], np.repeat([[0.2, 1.6]], 120, axis=1), 20.0, 60.0)
    assert course.peak_hot_spot_c[0] > course.hot_spot_c.max() + 5.0
    assert course.peak_hot_spot_c == pytest.approx(fine.hot_spot_c.max(axis=1), abs=1.0)


def test_a_loading_that_nobody_knows_is_refused_by_transformer_and_step() -> None:
    loading = np.ones((2, 5))
    loading[1, 3] = np.nan
    with pytest.raises(LoadingUnknown, match="transformer b, step 3: nan"):
        run([transformer(name="a"), transformer(name="b")], loading, 20.0, 900.0)
    loading[1, 3] = -0.1
    with pytest.raises(ValueError, match=r"transformer b, step 3: -0\.1, expected 0 or more"):
        run([transformer(name="a"), transformer(name="b")], loading, 20.0, 900.0)


@pytest.mark.parametrize(
    ("loading", "ambient", "step_s", "named"),
    [
        (np.ones((2, 3)), 20.0, 900.0, "loading: shape"), (np.ones((1, 0)), 20.0, 900.0, "loading: shape"),
        (np.ones((1, 3)), np.nan, 900.0, "ambient_c"), (np.ones((1, 3)), 20.0, 0.0, "step_s"),
    ],
)
def test_what_does_not_fit_is_refused(loading: np.ndarray, ambient: float, step_s: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        run([transformer()], loading, ambient, step_s)


def test_the_most_loaded_phase_heats_its_winding(build: Any) -> None:
    flow = Flow(build.feeder(1))
    draw = np.random.default_rng(1)
    solution = flow.solve(draw.uniform(0.0, 6000.0, (len(flow.terminals), 3)))
    loading = winding_loading(solution)
    unit = flow.feeder.transformers[0]
    power, volts = solution.transformer_powers(), np.abs(solution.voltages())
    for step in range(3):
        over = [
            abs(power[0, side, phase, step]) / volts[flow.node_row[bus, "abc"[phase]], step]
            / (unit.rated_va / np.sqrt(3.0) / rated)
            for side, (bus, rated) in enumerate(((unit.from_bus, unit.from_volts), (unit.to_bus, unit.to_volts)))
            for phase in range(3)
        ]
        assert loading[0, step] == pytest.approx(max(over))
    assert (loading[0] > solution.transformer_loading()[0]).all()
