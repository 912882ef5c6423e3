"""Flows against closed forms, the balance of energy and a second engine."""

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder import (
    Bus,
    Capacitor,
    Connection,
    ConnectionPoint,
    Feeder,
    FeederInvalid,
    Flow,
    LoadType,
    Primitive,
    Zip,
)
from twin.feeder.second_engine.check import Checker

SEEDS = st.integers(0, 2**32 - 1)
COUNT = settings(max_examples=25, deadline=None)


def closed_form(volts: float, impedance: complex, power: complex) -> float | None:
    """|V| at the end of one line under a constant power: the larger root of the quadratic in |V|^2, or None."""
    half = (power * impedance.conjugate()).real - volts**2 / 2.0
    inside = half**2 - abs(power * impedance) ** 2
    return None if inside < 0.0 else sqrt(-half + sqrt(inside))


@given(watts=st.floats(-150e3, 120e3), var=st.floats(-60e3, 60e3))
@COUNT
def test_one_line_meets_the_closed_form_and_its_collapse(build: Any, watts: float, var: float) -> None:
    flow = Flow(build.two_buses())
    power = np.array([[watts], [0.0], [0.0]])
    reactive = np.array([[var], [0.0], [0.0]])
    solution = flow.solve(power, reactive)
    expected = closed_form(400.0 / sqrt(3.0), 0.2 + 0.1j, complex(watts, var))
    nearly = closed_form(400.0 / sqrt(3.0), 0.2 + 0.1j, 1.002 * complex(watts, var))
    if expected is not None and nearly is not None:
        assert solution.has_solution.all()
        assert abs(solution.terminal_voltages()[0, 0]) == pytest.approx(expected, rel=1e-8)
    elif expected is None:
        assert not solution.has_solution.any()
        assert np.isnan(solution.voltages()).all()


@given(seed=SEEDS)
@COUNT
def test_random_feeders_flow_as_in_power_grid_model(build: Any, seed: int) -> None:
    feeder = build.feeder(seed)
    flow = Flow(feeder)
    solution = flow.solve(*build.power(flow, seed))
    difference = Checker(feeder).check(solution)
    assert solution.has_solution.all()
    assert difference.agrees, difference
    assert difference.voltage_pu < 1e-8


@given(seed=SEEDS, rich=st.booleans())
@COUNT
def test_what_the_source_gives_is_drawn_or_lost(build: Any, seed: int, rich: bool) -> None:
    feeder = build.rich_feeder(seed) if rich else build.feeder(seed)
    flow = Flow(feeder)
    solution = flow.solve(*build.power(flow, seed))
    drawn = solution.terminal_powers().sum(axis=0)
    assert solution.source_power().real == pytest.approx(drawn.real + solution.losses_w(), rel=1e-8, abs=1e-3)
    assert (solution.losses_w() > 0.0).all()


def test_what_a_stiff_source_gives_is_known_as_well(build: Any) -> None:
    """Its voltage falls by less than the last digit; loads at its own bus count too."""
    feeder = build.two_buses()
    feeder = replace(
        feeder, source=replace(feeder.source, short_circuit_va=1e18),
        connection_points=(*feeder.connection_points, ConnectionPoint("own", "near", "b", None, "power")),
    )
    solution = Flow(feeder).solve(np.array([[3000.0], [0.0], [-1000.0], [500.0]]))
    assert solution.source_power().real == pytest.approx(2500.0 + solution.losses_w(), abs=1e-6)


@given(seed=SEEDS)
@COUNT
def test_a_current_that_enters_a_bus_leaves_it(build: Any, seed: int) -> None:
    """Kirchhoff at every low-voltage bus but the transformer's, from line currents and loads alone."""
    feeder = build.feeder(seed)
    flow = Flow(feeder)
    solution = flow.solve(*build.power(flow, seed, steps=1))
    into = np.zeros((len(flow.nodes), 1), dtype=np.complex128)
    lines = {line.id: line for line in feeder.lines}
    for row, segment in enumerate(flow.segments):
        line = lines[segment.line]
        into[flow.node_row[line.from_bus, segment.phase]] -= solution.line_currents("from")[row]
        into[flow.node_row[line.to_bus, segment.phase]] += solution.line_currents("to")[row]
    buses = {point.id: point.bus for point in feeder.connection_points}
    for row, point in enumerate(flow.network.point_of):
        first = np.flatnonzero(flow.network.point_of == point)[0]
        if row == first:
            terminal = flow.terminals[row]
            into[flow.node_row[buses[terminal.connection_point], terminal.phase]] += solution.state[1 + point]
    free = [row for row, node in enumerate(flow.nodes) if node.bus not in {"upper", "lower"}]
    assert np.abs(into[free]).max() < 1e-6


def test_a_load_holds_its_shares_of_impedance_current_and_power(build: Any) -> None:
    """The drawn power at the solved voltage is the one its law gives for that voltage."""
    kind = LoadType("mixed", Zip(0.2, 0.3, 0.5), Zip(0.7, 0.2, 0.1))
    flow = Flow(build.two_buses(kind=kind))
    solution = flow.solve(np.full((3, 1), 9000.0), np.full((3, 1), 3000.0))
    u = np.abs(solution.terminal_voltages()) / (400.0 / sqrt(3.0))
    assert (u < 0.97).all()
    expected = 9000.0 * (0.2 * u**2 + 0.3 * u + 0.5) + 3000.0j * (0.7 * u**2 + 0.2 * u + 0.1)
    assert solution.terminal_powers() == pytest.approx(expected, rel=1e-8)


def test_below_its_valid_range_a_load_is_an_impedance_without_a_jump(build: Any) -> None:
    flow = Flow(build.two_buses(kind=LoadType("narrow", valid_pu=(0.98, 1.05))))
    solution = flow.solve(np.array([[500.0, 40e3], [0.0, 0.0], [0.0, 0.0]]))
    u = np.abs(solution.terminal_voltages())[0] / (400.0 / sqrt(3.0))
    assert u[0] > 0.98
    assert u[1] < 0.9
    assert solution.terminal_powers()[0] == pytest.approx([500.0, 40e3 * (u[1] / 0.98) ** 2], rel=1e-8)


@given(
    low=st.floats(0.85, 1.1), floor=st.floats(0.3, 0.8), jumps=st.booleans(),
    watts=st.lists(st.floats(0.0, 60e3), min_size=2, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_below_its_range_a_load_goes_in_a_straight_line_to_its_rated_impedance(
    build: Any, low: float, floor: float, jumps: bool, watts: list[float]
) -> None:
    """Against the law in plain words: amperes are interpolated between the border and `low_pu`."""
    kind = LoadType("fading", Zip(0.0, 0.6, 0.4), Zip(0.5, 0.5, 0.0), (low, 1.3), low_pu=floor, jumps=jumps)
    flow = Flow(build.two_buses(kind=kind))
    p_w = np.zeros((3, len(watts)))
    p_w[0] = watts
    solution = flow.solve(p_w, 0.4 * p_w)
    for step in np.flatnonzero(solution.has_solution):
        u = abs(solution.terminal_voltages()[0, step]) / (400.0 / sqrt(3.0))
        drawn = solution.terminal_powers()[0, step] / max(watts[step], 1e-9)
        for part, shares, told in ((drawn.real, kind.active, 1.0), (drawn.imag, kind.reactive, 0.4)):
            inside = told * (shares.impedance * u**2 + shares.current * u + shares.power)
            border = told * (1.0 if jumps else shares.impedance * low**2 + shares.current * low + shares.power) / low
            line = floor * told + (border - floor * told) * (u - floor) / (low - floor)
            expected = inside if u >= low else line * u if u >= floor else told * u**2
            assert watts[step] * (part - expected) == pytest.approx(0.0, abs=1e-3)
    assert solution.has_solution[np.array(watts) < 1e3].all() or jumps


def test_an_impossible_load_is_marked_and_leaves_the_other_steps_alone(build: Any) -> None:
    flow = Flow(build.two_buses())
    power = np.full((3, 5), 2000.0)
    alone = flow.solve(power)
    power[:, 3] = 1e7
    solution = flow.solve(power)
    assert solution.has_solution.tolist() == [True, True, True, False, True]
    assert np.isnan(solution.line_currents()[:, 3]).all()
    assert np.isnan(solution.losses_w()[3])
    others = [0, 1, 2, 4]
    assert solution.voltages()[:, others] == pytest.approx(alone.voltages()[:, others], rel=1e-12)


def test_a_load_close_to_collapse_is_still_solved_on_the_upper_branch(build: Any) -> None:
    """At 99.5 % of the largest power the fixed point alone would need hundreds of rounds."""
    volts, impedance = 400.0 / sqrt(3.0), 0.2 + 0.1j
    most = volts**2 / (2.0 * (abs(impedance) + impedance.real))
    flow = Flow(build.two_buses())
    solution = flow.solve(np.array([[0.995 * most], [0.0], [0.0]]))
    assert solution.has_solution.all()
    expected = closed_form(volts, impedance, 0.995 * most)
    assert abs(solution.terminal_voltages()[0, 0]) == pytest.approx(expected, rel=1e-6)


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_steps_replicas_and_blocks_do_not_know_of_each_other(build: Any, seed: int) -> None:
    flow = Flow(build.feeder(seed))
    power, reactive = build.power(flow, seed, steps=6)
    together = flow.solve(power, reactive).voltages()
    replicas = flow.solve(power.reshape(-1, 2, 3), reactive.reshape(-1, 2, 3))
    assert replicas.has_solution.shape == (2, 3)
    assert replicas.voltages() == pytest.approx(together.reshape(-1, 2, 3), rel=1e-8)
    one_by_one = np.concatenate([flow.solve(power[:, [k]], reactive[:, [k]]).voltages() for k in range(6)], axis=1)
    assert together == pytest.approx(one_by_one, rel=1e-8)
    in_blocks = np.concatenate([block.voltages() for block in flow.solve(power, reactive).blocks(4)], axis=1)
    assert in_blocks == pytest.approx(together, rel=1e-12)


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_the_source_voltage_may_change_from_step_to_step(build: Any, seed: int) -> None:
    feeder = build.feeder(seed)
    flow = Flow(feeder)
    power, reactive = build.power(flow, seed, steps=2)
    both = flow.solve(power, reactive, source_pu=np.array([0.98, 1.04])).voltages()
    for step, u in enumerate((0.98, 1.04)):
        other = Flow(replace(feeder, source=replace(feeder.source, u_pu=u)))
        assert both[:, [step]] == pytest.approx(other.solve(power[:, [step]], reactive[:, [step]]).voltages(), rel=1e-8)


def cut(feeder: Feeder, pieces: int) -> Feeder:
    """Every line in `pieces` equal ones, with a bus at every joint; every second piece points the other way."""
    buses, lines = list(feeder.buses), []
    for line in feeder.lines:
        joints = [Bus(f"{line.id}.{k}", 400.0, line.phases) for k in range(1, pieces)]
        buses += joints
        ends = [line.from_bus, *(joint.id for joint in joints), line.to_bus]
        for k in range(pieces):
            r, x, c = (
                tuple(tuple(value / pieces for value in row) for row in matrix)
                for matrix in (line.r_ohm, line.x_ohm, line.c_farad)
            )
            one, other = (ends[k], ends[k + 1]) if k % 2 == 0 else (ends[k + 1], ends[k])
            lines.append(replace(line, id=f"{line.id}.{k}", from_bus=one, to_bus=other, r_ohm=r, x_ohm=x, c_farad=c))
    return replace(feeder, buses=tuple(buses), lines=tuple(lines))


@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_joints_in_a_cable_are_solved_too(build: Any, seed: int) -> None:
    """Buses between, which the core never sees, agree with an engine that does see them."""
    whole = build.feeder(seed)
    parts = cut(whole, 3)
    flow = Flow(parts)
    power, reactive = build.power(flow, seed)
    solution = flow.solve(power, reactive)
    assert flow.network.keys.shape[0] < len(flow.nodes)
    difference = Checker(parts).check(solution)
    assert difference.agrees, difference
    joined = flow.segment_row
    directed = solution.line_currents()
    uncharged = [line for line in whole.lines if not any(map(any, line.c_farad))]
    for line in uncharged:
        for phase in line.phases:
            one, other = (directed[joined[f"{line.id}.{k}", phase]] for k in (0, 1))
            assert one == pytest.approx(-other, abs=1e-9)


def regulated(build: Any, tap: float) -> Feeder:
    """Two buses and behind them three regulators of almost no impedance that lift by `tap`."""
    feeder = build.two_buses()
    regulators = tuple(
        Primitive(f"reg{phase}", (("far", phase), ("lifted", phase)), build.coupled(1e5, (1.0, -1.0 / (1.0 + tap))))
        for phase in "abc"
    )
    return replace(feeder, buses=(*feeder.buses, Bus("lifted", 400.0)), primitives=regulators,
                   connection_points=(ConnectionPoint("load", "lifted", "abc", None, "power"),))


def test_a_regulator_lifts_the_voltage_and_hands_the_power_on(build: Any) -> None:
    flow = Flow(regulated(build, 0.05))
    solution = flow.solve(np.array([[5000.0], [0.0], [-3000.0]]))
    volts = np.abs(solution.voltages()[:, 0])
    assert volts[6:] == pytest.approx(1.05 * volts[3:6], rel=1e-5)
    powers = solution.primitive_powers()[flow.primitive_rows["rega"], 0]
    assert powers.real == pytest.approx([5000.0, -5000.0], abs=0.1)
    currents = np.abs(solution.primitive_currents()[flow.primitive_rows["regc"], 0])
    assert currents[0] == pytest.approx(1.05 * currents[1], rel=1e-9)


def test_a_capacitor_gives_its_vars_at_its_voltage(build: Any) -> None:
    """Three-phase, by branch and by line voltage; and all of it comes out of the source's account."""
    feeder = replace(build.two_buses(impedance=1e-4 + 1e-4j), connection_points=())
    for capacitor, expected in (
        (Capacitor("c", "far", 9e3, 400.0 / sqrt(3.0)), 9e3),
        (Capacitor("c", "far", 9e3, 460.0 / sqrt(3.0)), 9e3 / 1.15**2),
        (Capacitor("c", "far", 9e3, 400.0, "abc", Connection.DELTA), 9e3),
        (Capacitor("c", "far", 9e3, 400.0, "ac", Connection.DELTA), 9e3),
        (Capacitor("c", "far", 9e3, 400.0 / sqrt(3.0), "b"), 9e3),
    ):
        solution = Flow(replace(feeder, capacitors=(capacitor,))).solve(np.zeros((0, 1)))
        assert solution.source_power().imag == pytest.approx(-expected, rel=1e-3)


def test_a_network_without_ground_floats_about_the_middle_of_its_voltages(build: Any) -> None:
    """Behind a delta winding the three voltages to ground add up to nothing, however lopsided the load."""
    feeder = build.rich_feeder(4)
    flow = Flow(feeder)
    solution = flow.solve(*build.power(flow, 4))
    rows = [flow.node_row["island", phase] for phase in "abc"]
    volts = solution.voltages()[rows]
    assert solution.unbalance(("island",)).max() > 1e-3
    assert np.abs(volts.sum(axis=0)).max() < 0.01


def test_a_balanced_delta_load_does_what_a_balanced_star_load_does(build: Any) -> None:
    star = Flow(build.two_buses()).solve(np.full((3, 1), 5000.0), np.full((3, 1), 1000.0))
    delta = Flow(build.two_buses(connection=Connection.DELTA)).solve(np.full((3, 1), 5000.0), np.full((3, 1), 1000.0))
    assert delta.voltages() == pytest.approx(star.voltages(), rel=1e-9)
    assert delta.line_currents() == pytest.approx(star.line_currents(), rel=1e-9)
    assert delta.unbalance().max() < 1e-9


def test_a_load_between_two_phases_draws_opposite_currents_from_them(build: Any) -> None:
    feeder = build.two_buses(connection=Connection.DELTA)
    feeder = replace(feeder, connection_points=(ConnectionPoint("load", "far", "ac", None, "power"),))
    solution = Flow(feeder).solve(np.array([[6000.0]]))
    a, b, c = solution.line_currents()[:, 0]
    assert a == pytest.approx(-c, rel=1e-9)
    assert abs(b) < 1e-6
    assert solution.terminal_powers()[0, 0] == pytest.approx(6000.0, rel=1e-8)


def test_unbalance_is_that_of_the_definition(build: Any) -> None:
    """VUF of IEC 61000-4-30 from the three phase-to-phase voltages: sqrt((1 - s) / (1 + s)), s = sqrt(3 - 6 beta)."""
    solution = Flow(build.two_buses()).solve(np.array([[9000.0], [2000.0], [0.0]]))
    volts = solution.voltages()[3:6, 0]
    sides = np.abs(volts - np.roll(volts, -1)) ** 2
    beta = (sides**2).sum() / sides.sum() ** 2
    s = sqrt(3.0 - 6.0 * beta)
    assert solution.unbalance(("far",))[0, 0] == pytest.approx(sqrt((1.0 - s) / (1.0 + s)), rel=1e-6)


def test_loading_is_current_over_ampacity_per_phase(build: Any) -> None:
    solution = Flow(build.two_buses()).solve(np.array([[9000.0], [2000.0], [0.0]]))
    assert solution.line_loading()[:, 0] == pytest.approx(np.abs(solution.line_currents()[:, 0]) / 200.0)


def test_wrong_shapes_and_values_are_named(build: Any) -> None:
    flow = Flow(build.two_buses())
    with pytest.raises(ValueError, match=r"p_w: shape \(2, 4\), expected \(3, ...\), one row per terminal"):
        flow.solve(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"q_var: shape \(3, 1\), expected \(3, 4\)"):
        flow.solve(np.zeros((3, 4)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="not finite"):
        flow.solve(np.full((3, 4), np.nan))


def test_a_feeder_with_blocking_faults_is_not_solved_and_all_are_named(build: Any) -> None:
    feeder = build.two_buses()
    broken = replace(
        feeder, buses=(*feeder.buses, Bus("island", 400.0)),
        connection_points=(
            ConnectionPoint("x", "nowhere", load_type="power"), ConnectionPoint("y", "far", load_type="unheard"),
        ),
    )
    with pytest.raises(FeederInvalid, match=r"nowhere.*unheard.*island") as caught:
        Flow(broken)
    assert {fault.element for fault in caught.value.faults} == {"x", "y", "island"}


def test_elements_that_cancel_each_other_are_refused(build: Any) -> None:
    """Each is sound, together they leave a bus held by nothing."""
    feeder = build.two_buses()
    joint = ((1.0 + 0j, -1.0 + 0j), (-1.0 + 0j, 1.0 + 0j))
    against = tuple(tuple(-value for value in row) for row in joint)
    nodes = (("far", "a"), ("end", "a"))
    broken = replace(
        feeder, buses=(*feeder.buses, Bus("end", 400.0, "a")),
        primitives=(Primitive("one", nodes, joint), Primitive("other", nodes, against)),
    )
    with pytest.raises(FeederInvalid, match="a network that can be solved"):
        Flow(broken)


def test_a_network_beyond_the_memory_set_for_it_is_refused(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.feeder.network.admittance.MOST_BYTES", 1000)
    with pytest.raises(FeederInvalid, match=r"3 load points x 21 rows.*cut the feeder at its transformers"):
        Flow(build.two_buses())


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_a_network_is_the_same_worked_out_in_pieces(
    build: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    feeder = build.rich_feeder(7)
    whole = Flow(feeder)
    power, reactive = build.power(whole, 7)
    monkeypatch.setattr("twin.feeder.network.admittance.COLUMNS", columns)
    in_pieces = Flow(feeder).solve(power, reactive)
    assert in_pieces.voltages() == pytest.approx(whole.solve(power, reactive).voltages(), rel=1e-9)


def test_currents_are_the_same_along_paths_and_by_the_whole_matrix(build: Any) -> None:
    """In a street without rings and charging the sparse form is used, and leaves nothing out that could be seen."""
    lines = [build.line(f"l{k}", f"b{k - 1}" if k % 5 else "far", f"b{k}") for k in range(30)]
    feeder = build.two_buses()
    street = replace(
        feeder, buses=(*feeder.buses, *(Bus(f"b{k}", 400.0) for k in range(30))), lines=(*feeder.lines, *lines),
        connection_points=tuple(ConnectionPoint(f"p{k}", f"b{k}", "abc"[k % 3], None, "power") for k in range(30)),
    )
    flow = Flow(street)
    solution = flow.solve(np.random.default_rng(5).uniform(-3000.0, 5000.0, (30, 4)))
    assert flow.network.run_paths is not None
    dense = replace(flow.network, run_paths=None).along_lines(flow.network.run_series @ solution.state)
    assert np.abs(solution.line_currents() - dense).max() < 1e-6
    assert Flow(replace(street, lines=(*street.lines, build.line("ring", "b29", "near")))).network.run_paths is None
