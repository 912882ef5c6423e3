"""Inverters against a slow bisection on a feeder of two buses, the plain flow, and what their codes promise."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from twin.feeder import Flow
from twin.feeder.inverters import fixed_point as inverters
from twin.feeder.inverters.behaviour import Behaviour, Inverter
from twin.feeder.inverters.fixed_point import TOLERANCE_PU, InverterSolution, solve_with_inverters
from twin.feeder.inverters.grid_codes import Curve, GridCode, GridCodeError, Priority, grid_code, grid_code_names

RATED_VA = 10_000.0
BASE_V = 400.0 / np.sqrt(3.0)
PLAIN = GridCode("plain")
STEEP = GridCode(
    "steep", volt_var=Curve((0.95, 0.99, 1.01, 1.05), (0.6, 0.0, 0.0, -0.6)), volt_watt=Curve((1.03, 1.06), (1.0, 0.0)),
    charge_volt_watt=Curve((0.92, 0.96), (0.0, 1.0)),
)


def curves(lowest: float, highest: float, sign: float) -> st.SearchStrategy[Curve]:
    """Falling (sign -1) or rising curves over the voltages of a street."""
    return st.tuples(
        st.lists(st.floats(0.88, 1.12), min_size=2, max_size=4, unique=True).map(sorted)
        .filter(lambda volts: min(high - low for low, high in pairwise(volts)) > 0.005),
        st.lists(st.floats(lowest, highest), min_size=4, max_size=4),
    ).map(lambda both: Curve(tuple(both[0]), tuple(sorted(both[1], reverse=sign < 0)[:len(both[0])])))


codes = st.builds(
    GridCode, st.just("drawn"), volt_var=st.none() | curves(-0.6, 0.6, -1.0),
    full_var_from_pu=st.sampled_from([0.2, 0.9]), var_while_charging=st.booleans(),
    volt_watt=st.none() | curves(0.0, 1.0, -1.0), charge_volt_watt=st.none() | curves(0.0, 1.0, 1.0),
    priority=st.sampled_from(Priority),
)


def far_voltage(impedance: complex, p_w: float, q_var: float) -> float | None:
    """Upper solution of a load of P + jQ behind an impedance: the quadratic in V^2; p.u., None where there is none."""
    r, x = impedance.real, impedance.imag
    b = BASE_V**2 - 2.0 * (r * p_w + x * q_var)
    c = (r**2 + x**2) * (p_w**2 + q_var**2)
    inside = b**2 - 4.0 * c
    return None if inside < 0.0 or b < 0.0 else float(np.sqrt((b + np.sqrt(inside)) / 2.0) / BASE_V)


def slow(impedance: complex, code: GridCode, order_w: float, base_w: float) -> tuple[float, float, float]:
    """Bisection on the voltage: what comes of a voltage falls as it rises, so they meet once."""
    behaviour = Behaviour([Inverter(code, RATED_VA)])

    def powers(u: float) -> tuple[float, float]:
        p, q = behaviour.powers(np.array([[order_w]]), np.array([[u]]))
        return float(p[0, 0]), float(q[0, 0])

    low, high = 0.5, 1.5
    for _ in range(60):
        middle = 0.5 * (low + high)
        p, q = powers(middle)
        came = far_voltage(impedance, base_w + p, q)
        if came is not None and came > middle:
            low = middle
        else:
            high = middle
    return low, *powers(low)


class Street:
    """The two buses: three phases that do not couple, an EVSE on phase a."""

    def __init__(self, build: Any, impedance: complex, phases: tuple[str, ...] = ("a",)) -> None:
        self.flow = Flow(build.two_buses(impedance=impedance))
        rows = [["abc".index(phase) for phase in own] for own in phases]
        self.spread = csr_array(np.array(
            [[(row in own) / len(own) for own in rows] for row in range(3)], dtype=np.float64
        ))

    def solve(self, codes: list[GridCode | None], orders_w: np.ndarray, base_w: np.ndarray) -> InverterSolution:
        those = [None if code is None else Inverter(code, RATED_VA) for code in codes]
        return solve_with_inverters(self.flow, base_w, None, orders_w, self.spread, those)


@settings(max_examples=60)
@given(
    codes, st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=6), st.floats(-4000.0, 4000.0),
    st.floats(0.02, 0.5), st.floats(0.02, 0.5),
)
def test_flow_and_curves_meet_where_a_slow_bisection_finds_them(
    build: Any, code: GridCode, orders: list[float], base: float, r: float, x: float
) -> None:
    orders_w = RATED_VA * np.array([orders])
    base_w = np.zeros((3, len(orders)))
    base_w[0] = base
    found = Street(build, complex(r, x)).solve([code], orders_w, base_w)
    assert found.settled.all()
    for column, order in enumerate(orders_w[0]):
        u, p, q = slow(complex(r, x), code, order, base)
        assert found.voltage_pu[0, column] == pytest.approx(u, abs=1e-7)
        # A curve may be as steep as 200 per p.u.: 1e-7 of voltage is 0.2 W.
        assert found.delivered_w[0, column] == pytest.approx(p, abs=1.0)
        assert found.q_var[0, column] == pytest.approx(q, abs=1.0)


@given(codes, st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=5), st.floats(0.7, 1.3))
def test_no_more_is_delivered_than_ordered_and_never_beyond_the_rating(
    code: GridCode, orders: list[float], voltage: float
) -> None:
    orders_w = RATED_VA * np.array([orders])
    p, q = Behaviour([Inverter(code, RATED_VA)]).powers(orders_w, np.full(orders_w.shape, voltage))
    assert (np.abs(p) <= np.abs(orders_w) + 1e-9).all()
    assert (p * orders_w >= 0.0).all()
    assert (p**2 + q**2 <= RATED_VA**2 * (1.0 + 1e-9)).all()


def test_without_a_function_it_is_the_plain_flow(build: Any) -> None:
    orders = np.random.default_rng(1).uniform(-6000.0, 6000.0, (2, 5))
    base = np.random.default_rng(2).uniform(0.0, 2000.0, (3, 5))
    street = Street(build, 0.2 + 0.1j, ("a", "abc"))
    plain = street.flow.solve(base + street.spread @ orders)
    for codes in ([None, None], [PLAIN, None]):
        found = street.solve(codes, orders, base)
        assert np.array_equal(found.solution.state, plain.state)
        assert np.array_equal(found.delivered_w, orders)
        assert found.settled.all()


def test_an_evse_on_three_phases_answers_to_their_mean(build: Any) -> None:
    street = Street(build, 0.3 + 0.2j, ("abc",))
    base = np.array([[6000.0], [0.0], [-6000.0]])
    found = street.solve([STEEP], np.array([[-9000.0]]), base)
    volts = np.abs(found.solution.terminal_voltages())[:, 0] / BASE_V
    assert found.voltage_pu[0, 0] == pytest.approx(volts.mean(), abs=1e-9)
    assert np.ptp(volts) > 0.02


def test_each_priority_gives_way_where_it_says() -> None:
    orders, high = np.array([[-10_000.0]]), np.array([[1.2]])
    code = replace(STEEP, volt_watt=None)
    for priority, p, q in ((Priority.REACTIVE, -8000.0, 6000.0), (Priority.ACTIVE, -10_000.0, 0.0)):
        found = Behaviour([Inverter(replace(code, priority=priority), RATED_VA)]).powers(orders, high)
        assert [float(each[0, 0]) for each in found] == pytest.approx([p, q])


def test_high_voltage_draws_vars_and_low_voltage_feeds_them_in() -> None:
    behaviour = Behaviour([Inverter(grid_code("ieee-1547-2018-b"), RATED_VA)])
    _, q = behaviour.powers(np.full((1, 3), -5000.0), np.array([[0.92, 1.0, 1.05]]))
    assert q[0] == pytest.approx([-4400.0, 0.0, 2200.0])


def test_a_charger_that_stands_still_does_nothing() -> None:
    for name in grid_code_names():
        p, q = Behaviour([Inverter(grid_code(name), RATED_VA)]).powers(np.zeros((1, 2)), np.array([[0.9, 1.1]]))
        assert not p.any()
        assert not q.any()


def test_what_discharges_into_a_high_voltage_is_held_down_where_it_would_break_the_band(build: Any) -> None:
    street = Street(build, 0.5 + 0.2j)
    orders, nothing = np.array([[-10_000.0]]), np.zeros((3, 1))
    free = street.solve([None], orders, nothing)
    held = street.solve([grid_code("ieee-1547-2018-b")], orders, nothing)
    assert np.abs(free.solution.terminal_voltages()).max() / BASE_V > 1.08
    assert np.abs(held.solution.terminal_voltages()).max() / BASE_V < 1.08
    assert -10_000.0 < held.delivered_w[0, 0] < -3000.0


def test_orders_that_have_no_flow_are_brought_down_to_one_where_the_code_can(build: Any) -> None:
    # 60 kW on one phase behind 0.5 ohm have no solution; import falls with voltage, so that there is one.
    street = Street(build, 0.5 + 0.2j)
    code = replace(STEEP, volt_var=None)
    orders, nothing = np.array([[60_000.0, 1000.0]]), np.zeros((3, 2))
    wild = solve_with_inverters(street.flow, nothing, None, orders, street.spread, [None])
    assert wild.solution.has_solution.tolist() == [False, True]
    assert wild.settled.tolist() == [False, True]
    assert np.isnan(wild.delivered_w[0, 0])
    tame = solve_with_inverters(street.flow, nothing, None, orders, street.spread, [Inverter(code, 60_000.0)])
    assert tame.settled.all()
    assert 0.92 < tame.voltage_pu[0, 0] < 0.96


def test_a_search_that_runs_out_of_rounds_says_so(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inverters, "ROUNDS", 1)
    orders = np.array([[-10_000.0, 100.0]])
    found = Street(build, 0.5 + 0.2j).solve([STEEP], orders, np.zeros((3, 2)))
    assert found.solution.has_solution.all()
    assert found.settled.tolist() == [False, True]
    assert found.mismatch_pu[0] > TOLERANCE_PU >= found.mismatch_pu[1]
    assert np.isfinite(found.delivered_w).all()


def test_shapes_of_replicas_and_steps_are_kept_and_columns_do_not_know_of_each_other(build: Any) -> None:
    street = Street(build, 0.3 + 0.2j, ("a", "b"))
    draw = np.random.default_rng(3)
    orders, base = draw.uniform(-10_000.0, 10_000.0, (2, 4, 300)), draw.uniform(-2000.0, 3000.0, (3, 4, 300))
    together = street.solve([STEEP, grid_code("vde-ar-n-4105-2018")], orders, base)
    assert together.delivered_w.shape == (2, 4, 300)
    assert together.solution.losses_w().shape == together.settled.shape == (4, 300)
    alone = street.solve([STEEP, grid_code("vde-ar-n-4105-2018")], orders[:, 2, 250:], base[:, 2, 250:])
    assert together.settled.all()
    assert together.voltage_pu[:, 2, 250:] == pytest.approx(alone.voltage_pu, abs=1e-7)


def test_shapes_that_do_not_fit_are_refused(build: Any) -> None:
    street = Street(build, 0.3 + 0.2j)
    with pytest.raises(ValueError, match="base_w: shape"):
        street.solve([PLAIN], np.zeros((1, 2)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="orders_w: shape"):
        street.solve([PLAIN], np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="spread: shape"):
        street.solve([PLAIN, PLAIN], np.zeros((2, 3)), np.zeros((3, 3)))


def test_every_figure_of_the_file_has_a_source() -> None:
    for name in grid_code_names():
        code = grid_code(name)
        for part in ("volt_var", "volt_watt", "charge_volt_watt"):
            assert getattr(code, part) is None or part in code.sources
        assert {"trips", "reconnect"} <= code.sources.keys()


def test_category_b_defaults_are_those_of_ieee_1547() -> None:
    code = grid_code("ieee-1547-2018-b")
    volts = np.array([0.92, 0.95, 0.98, 1.02, 1.05, 1.08])
    assert code.volt_var.at(volts) == pytest.approx([0.44, 0.22, 0.0, 0.0, -0.22, -0.44])
    assert code.volt_watt.at(np.array([1.06, 1.08, 1.10])) == pytest.approx([1.0, 0.5, 0.0])
    assert (code.reconnection.delay_s, code.reconnection.ramp_pu_per_min) == (300.0, 0.2)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: grid_code("ieee-1547"), "expected one of ieee-1547-2018-a"),
        (lambda: Curve((1.0, 0.9), (0.0, 1.0)), "rising voltages"),
        (lambda: Curve((1.0, 1.1), (0.0,)), "as many values as voltages"),
        (lambda: GridCode("x", volt_var=Curve((1.0,), (1.2,))), "up to the rated VA"),
        (lambda: GridCode("x", volt_watt=Curve((1.0,), (-0.1,))), "limits from 0 to 1"),
        (lambda: Inverter(PLAIN, 0.0), "rated_va"),
    ],
)
def test_impossible_settings_are_refused_by_name(make: Callable[[], object], named: str) -> None:
    with pytest.raises(GridCodeError, match=named):
        make()
