"""What EVs do to a feeder, against a plain count over single flows."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import TimeGrid, utc
from twin.feeder import Bus, Feeder, Source, Transformer
from twin.feeder.impact import judging as module
from twin.feeder.impact.judging import KINDS, EvsePowers, Impact, judge
from twin.feeder.network.connections import CONSTANT_POWER, ConnectionPoint, LoadType
from twin.feeder.powerflow.flow import Flow, Solution
from twin.feeder.powerflow.parts import Part
from twin.feeder.scene import Limits, Scene, SceneError

SEEDS = st.integers(0, 2**32 - 1)
STEPS, EVSES = 12, 5
MINUTES = 15.0
LIMITS = Limits((0.97, 1.01), 0.12, 0.05, 0.004)
"""So tight that everything is broken somewhere, with and without EVs."""


def scene(
    build: Any, seed: int, *, scale: float = 1.0, limits: Limits = LIMITS,
    make: Callable[[int], Feeder] | None = None, **choices: Any,
) -> tuple[Scene, np.ndarray]:
    """A random feeder whose base load repeats itself, and EVs that stand still in a third of the steps."""
    feeder = build.feeder(seed, **choices) if make is None else make(seed)
    draw = np.random.default_rng([seed, 4])
    flow = Flow(feeder)
    rows = len(flow.terminals)
    base = np.tile(draw.uniform(-3e3, 6e3, (2, rows, STEPS // 3)), 3)
    # Between two phases no EVSE hangs.
    places = [point for point in feeder.connection_points
              if all((point.id, phase) in flow.terminal_row for phase in point.phases)]
    points = [places[int(k)] for k in draw.integers(len(places), size=EVSES)]
    made = Scene(
        feeder, TimeGrid(utc("2025-01-14T12:00:00Z"), 900, STEPS), base[0], 0.3 * base[1],
        tuple(f"ev{k}" for k in range(EVSES)), tuple(point.id for point in points),
        tuple(point.phases for point in points), limits=limits,
    )
    kw = scale * draw.uniform(-11.0, 11.0, (EVSES, 3, STEPS))
    kw[:, draw.random((3, STEPS)) < 1.0 / 3.0] = 0.0
    return made, kw


def carried(flow: Flow, solution: Solution) -> dict[str, np.ndarray]:
    """Of every transformer the larger of its power and of any phase's current, over the rated, (step,); of every other
    element with a rating the current of any node.
    """
    found = {
        transformer.id: np.maximum(power, phases.reshape(6, *power.shape).max(axis=0)) for transformer, power, phases
        in zip(flow.feeder.transformers, solution.transformer_loading(), solution.winding_loading(), strict=True)
    }
    for primitive, loading in zip(flow.feeder.primitives, solution.primitive_loading(), strict=True):
        if primitive.amperes:
            found[primitive.id] = loading
    return found


def excesses(made: Scene, p_w: np.ndarray, q_var: np.ndarray) -> dict[tuple[str, str], tuple[float, float]]:
    """How far everything is beyond its limit at one step (below, above), from the whole flow; infinite without one."""
    flow, limits = made.flow(), made.limits
    solution = flow.solve(p_w[:, None], q_var[:, None])
    solved = bool(solution.has_solution.all())
    found: dict[tuple[str, str], tuple[float, float]] = {}
    volts: dict[str, list[float]] = defaultdict(list)
    bus_of = {point.id: point.bus for point in made.feeder.connection_points}
    rated = {bus.id: bus.volts / np.sqrt(3.0) for bus in made.feeder.buses}
    for terminal, value in zip(flow.terminals, np.abs(solution.terminal_voltages())[:, 0], strict=True):
        across = rated[bus_of[terminal.connection_point]] * (1.0 if terminal.other is None else np.sqrt(3.0))
        volts[terminal.connection_point].append(value / across)
    low, high = limits.voltage_pu
    for point, values in volts.items():
        found["point", point] = (low - min(values), max(values) - high) if solved else (np.inf, np.inf)
    for segment, value in zip(flow.segments, solution.line_loading()[:, 0], strict=True):
        found["line", f"{segment.line}.{segment.phase}"] = (-np.inf, value - limits.line_loading if solved else np.inf)
    for name, value in carried(flow, solution).items():
        found["transformer", name] = (-np.inf, value[0] - limits.transformer_loading if solved else np.inf)
    if limits.unbalance is not None:
        buses = tuple(bus.id for bus in made.feeder.buses if bus.phases == "abc" and bus.id in bus_of.values())
        if buses:
            for bus, value in zip(buses, solution.unbalance(buses)[:, 0], strict=True):
                found["unbalance", bus] = (-np.inf, value - limits.unbalance if solved else np.inf)
    return found


def slowly(made: Scene, kw: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """(total, attributable, worsened, cured) minutes of everything, (4, replica), step by step in plain Python."""
    found: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros((4, kw.shape[1])))
    for step in range(STEPS):
        without = excesses(made, made.base_w[:, step], made.base_var[:, step])
        for replica in range(kw.shape[1]):
            p_w, q_var = made.demand_w(kw[:, replica])
            here = excesses(made, p_w[:, step], q_var[:, step])
            for thing, sides in here.items():
                worse = 1e-2 if thing[0] in ("line", "transformer") else 1e-3
                bare = without[thing]
                beyond = [side > 1e-9 for side in sides]
                was = [side > 1e-9 for side in bare]
                caused = any(now and not before for now, before in zip(beyond, was, strict=True))
                deeper = any(
                    now and before and side - earlier > worse
                    for now, before, side, earlier in zip(beyond, was, sides, bare, strict=True)
                )
                found[thing][:, replica] += MINUTES * np.array([
                    any(beyond), caused, deeper and not caused, any(was) and not any(beyond),
                ])
    return dict(found)


def require_same(impact: Impact, expected: dict[tuple[str, str], np.ndarray]) -> None:
    parts = [("point", impact.points.ids, impact.points.minutes), ("line", impact.lines.ids, impact.lines.minutes),
             ("transformer", impact.transformers.ids, impact.transformers.minutes),
             ("unbalance", impact.unbalance.ids, impact.unbalance.minutes)]
    for kind, ids, minutes in parts:
        for row, name in enumerate(ids):
            found = np.stack([getattr(minutes, each)[row] for each in ("total", "attributable", "worsened", "cured")])
            np.testing.assert_array_equal(found, expected[kind, name], err_msg=f"{kind} {name}")


@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_minutes_are_those_of_a_plain_count(build: Any, seed: int) -> None:
    made, kw = scene(build, seed)
    impact = judge(made, kw, checked_steps=0)
    require_same(impact, slowly(made, kw))


@pytest.mark.parametrize("seed", [1, 2])
def test_steps_without_a_solution_break_every_limit(build: Any, seed: int) -> None:
    """EVs far too large: the feeder collapses in some steps, and in none of them without EVs."""
    made, kw = scene(build, seed, scale=40.0, limits=Limits((0.5, 1.5), 50.0, 50.0, 0.9),
                     load_types=(LoadType("power"),))
    impact = judge(made, kw, checked_steps=4)
    require_same(impact, slowly(made, kw))
    collapsed = impact.no_solution
    assert collapsed.any()
    assert not (~impact.base.has_solution).any()
    assert np.isnan(impact.course.losses_w[collapsed]).all()
    assert (impact.points.minutes.attributable >= MINUTES * collapsed.sum(axis=1)).all()
    assert impact.beyond[collapsed].all()
    assert impact.caused[collapsed].all()


@given(seed=SEEDS)
@settings(max_examples=6, deadline=None)
def test_extremes_and_courses_are_those_of_the_flows(build: Any, seed: int) -> None:
    made, kw = scene(build, seed)
    impact = judge(made, kw, nominal_volts=220.0, checked_steps=6)
    solution = made.flow().solve(*made.demand_w(kw))
    volts = np.abs(solution.terminal_voltages()) / 220.0
    np.testing.assert_allclose(impact.course.low_pu, volts.min(axis=0), rtol=1e-9)
    np.testing.assert_allclose(impact.course.high_pu, volts.max(axis=0), rtol=1e-9)
    row = [made.flow().terminal_row[point.id, point.phases[0]] for point in made.feeder.connection_points]
    single = [len(point.phases) == 1 for point in made.feeder.connection_points]
    np.testing.assert_allclose(impact.points.low_pu[single], volts[row].min(axis=2)[single], rtol=1e-9)
    loading = solution.line_loading()
    np.testing.assert_allclose(impact.course.line_loading, loading.max(axis=0), atol=1e-9)
    np.testing.assert_allclose(impact.segment_peak(impact.lines.peak), loading.max(axis=2), atol=1e-7)
    np.testing.assert_allclose(impact.winding, solution.winding_loading().max(axis=(1, 2)), atol=1e-9)
    highest = np.array([loading.max(axis=1) for loading in carried(made.flow(), solution).values()])
    np.testing.assert_allclose(impact.transformers.peak, highest, atol=1e-9)
    np.testing.assert_allclose(impact.losses_kwh, solution.losses_w().sum(axis=1) / 4000.0, rtol=1e-6)
    np.testing.assert_allclose(impact.course.import_w, solution.source_power().real, atol=1e-3)
    assert impact.checked.agrees
    assert impact.checked.steps >= 6


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_regulators_with_a_rating_are_judged_by_name(build: Any, seed: int) -> None:
    made, kw = rated(build, seed)
    impact = judge(made, kw, checked_steps=0)
    assert impact.transformers.ids[-2:] == ("reg_a", "reg_b")
    require_same(impact, slowly(made, kw))
    solution = made.flow().solve(*made.demand_w(kw))
    amperes = np.abs(solution.primitive_currents()[made.flow().primitive_rows["reg_b"]])
    loading = (amperes / np.array([9.0, 20.0])[:, None, None]).max(axis=2)
    row = len(impact.transformers.ids) - 1
    np.testing.assert_allclose(impact.transformers.peak[row], loading.max(axis=0), atol=1e-9)
    assert impact.course.transformer_loading.max() == pytest.approx(impact.transformers.peak.max())
    worst = impact.windings.most_loaded(row)
    assert (worst.element, worst.where) == ("reg_b", "lower" if loading[0].max() > loading[1].max() else "reg")
    assert worst.phase == "b"
    assert impact.transformers.minutes.total[row].any()


def rated(build: Any, seed: int) -> tuple[Scene, np.ndarray]:
    """Two of three regulators with a rating; what the third and a single-phase transformer bear nobody knows."""
    amperes = {"reg_a": (30.0, 30.0), "reg_b": (9.0, 20.0)}

    def known(feeder: Feeder) -> Feeder:
        return replace(feeder, primitives=tuple(
            replace(one, amperes=amperes.get(one.id, ())) for one in feeder.primitives
        ))

    return scene(build, seed, make=lambda number: known(build.rich_feeder(number)),
                 limits=replace(LIMITS, transformer_loading=1.0))


def test_one_loaded_phase_of_a_transformer_counts_however_idle_the_others_are() -> None:
    """30 kVA behind Dyn11: 12 kW on phase a are 120 % of its current and 46 % of the power as a whole."""
    feeder = Feeder(
        "behind a transformer", (Bus("upper", 10_000.0), Bus("lower", 400.0)), (), Source("upper"),
        (Transformer("tr", "upper", "lower", 30e3, 10_000.0, 400.0, 0.04, 500.0, "Dyn11"),),
        (ConnectionPoint("one", "lower", "a"),),
    )
    made = Scene(feeder, TimeGrid(utc("2025-01-14T12:00:00Z"), 900, 3), np.zeros((1, 3)), np.zeros((1, 3)),
                 ("ev",), ("one",), ("a",))
    impact = judge(made, np.array([[0.0, 12.0, 9.0]]))
    assert made.flow().solve(np.array([[12_000.0]])).transformer_loading().max() < 0.5
    assert impact.transformers.minutes.attributable.tolist() == [[MINUTES]]
    np.testing.assert_allclose(impact.transformers.peak, 1.2, atol=0.05)
    np.testing.assert_allclose(impact.winding[0, 0], [0.0, 1.2, 0.9], atol=0.05)
    assert impact.windings.most_loaded(0) == Part("tr", "to", "a")
    assert impact.checked.agrees


def test_any_time_is_counted_once_however_much_is_broken(build: Any) -> None:
    made, kw = scene(build, 5)
    impact = judge(made, kw, checked_steps=0)
    rows = impact.somewhere.total
    assert (rows[-1] >= rows[:-1].max(axis=0)).all()
    assert (rows[-1] <= rows[:-1].sum(axis=0)).all()
    np.testing.assert_array_equal(rows[-1], MINUTES * impact.beyond.sum(axis=1))
    np.testing.assert_array_equal(impact.somewhere.attributable[-1], MINUTES * impact.caused.sum(axis=1))
    assert rows.shape[0] == len(KINDS)


def slowly_apart(made: Scene, kw: np.ndarray, other_kw: np.ndarray) -> dict[str, np.ndarray]:
    """(attributable, cured) minutes of every point with `kw` that are not there with `other_kw`, (2, replica)."""
    found: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((2, kw.shape[1])))
    for replica in range(kw.shape[1]):
        powers, others = made.demand_w(kw[:, replica]), made.demand_w(other_kw[:, replica])
        for step in range(STEPS):
            here, there = (excesses(made, p[:, step], q[:, step]) for p, q in (powers, others))
            for (kind, name), sides in here.items():
                if kind == "point":
                    now, was = ([side > 1e-9 for side in each] for each in (sides, there[kind, name]))
                    caused = any(one and not other for one, other in zip(now, was, strict=True))
                    found[name][:, replica] += MINUTES * np.array([caused, any(was) and not any(now)])
    return dict(found)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_what_an_event_puts_beyond_a_limit_is_what_the_same_futures_without_it_lack(build: Any, seed: int) -> None:
    made, kw = scene(build, seed)
    other = kw.copy()
    changed = np.random.default_rng([seed, 5]).random((3, STEPS)) < 0.6
    other[:, changed] *= -0.5
    impact = judge(made, kw, without_event=EvsePowers(other), checked_steps=0)
    assert impact.apart is not None
    expected = slowly_apart(made, kw, other)
    found = np.stack([impact.apart.points.attributable, impact.apart.points.cured])
    for row, name in enumerate(impact.points.ids):
        np.testing.assert_array_equal(found[:, row], expected[name])
    assert found.any()
    # Neither with the event nor without it is anything else counted than alone.
    require_same(impact, slowly(made, kw))
    alone = judge(made, other, checked_steps=0)
    np.testing.assert_array_equal(impact.apart.without, alone.somewhere.attributable)
    assert not impact.apart.caused[~changed].any()


def test_reactive_power_of_inverters_is_in_the_flow(build: Any) -> None:
    made, kw = scene(build, 6)
    kvar = np.random.default_rng(6).uniform(-5.0, 5.0, kw.shape)
    kvar[:, 0] = 0.0
    kw[:, 1] = 0.0  # vars alone move voltages too
    impact = judge(made, EvsePowers(kw, kvar), nominal_volts=220.0)
    spread = made.spread().toarray()
    volts = []
    for replica in range(kw.shape[1]):
        solution = made.flow().solve(
            made.base_w + 1000.0 * spread @ kw[:, replica], made.base_var + 1000.0 * spread @ kvar[:, replica]
        )
        volts.append(np.abs(solution.terminal_voltages()).max(axis=0) / 220.0)
    np.testing.assert_allclose(impact.course.high_pu, np.array(volts), rtol=1e-9)
    assert impact.checked.agrees


def test_vars_of_another_shape_are_refused(build: Any) -> None:
    made, kw = scene(build, 6)
    with pytest.raises(SceneError, match="evse_kvar"):
        judge(made, EvsePowers(kw, kw[:, :1]))
    with pytest.raises(SceneError, match="without_event"):
        judge(made, kw, without_event=EvsePowers(kw[:, :1]))


def test_without_evs_nothing_is_theirs(build: Any) -> None:
    made, kw = scene(build, 8)
    impact = judge(made, 0.0 * kw)
    for minutes in (impact.points.minutes, impact.lines.minutes, impact.unbalance.minutes, impact.somewhere):
        assert not minutes.attributable.any()
        assert not minutes.worsened.any()
        assert not minutes.cured.any()
    np.testing.assert_array_equal(impact.points.minutes.unfixable[:, 0], impact.points.base_minutes)
    assert impact.points.base_minutes.any()
    np.testing.assert_allclose(impact.losses_kwh, impact.base_losses_kwh)


def test_keeping_the_base_and_solving_it_anew_are_the_same(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, kw = scene(build, 11)
    kept = judge(made, kw, checked_steps=0)
    monkeypatch.setattr(module, "MOST_KEPT", 0)
    monkeypatch.setattr(module, "COLUMNS", 5)
    anew = judge(made, kw, checked_steps=0)
    for name in ("low_pu", "line_loading", "losses_w"):
        np.testing.assert_allclose(getattr(anew.course, name), getattr(kept.course, name), rtol=1e-7)
        np.testing.assert_allclose(getattr(anew.base, name), getattr(kept.base, name), rtol=1e-7)
    np.testing.assert_array_equal(anew.points.minutes.total, kept.points.minutes.total)
    np.testing.assert_array_equal(anew.points.weekly.within_10, kept.points.weekly.within_10)


def test_one_course_needs_no_axis_and_progress_is_told(build: Any) -> None:
    made, kw = scene(build, 2)
    told: list[float] = []
    one = judge(made, kw[:, 1], progress=told.append)
    three = judge(made, kw, checked_steps=0)
    assert one.replicas == 1
    np.testing.assert_array_equal(one.points.minutes.total[:, 0], three.points.minutes.total[:, 1])
    assert told[-1] == 1.0


def test_a_feeder_that_the_second_engine_does_not_have_is_told(build: Any) -> None:
    feeder = build.rich_feeder(1)
    rows = len(Flow(feeder).terminals)
    made = Scene(feeder, TimeGrid(utc("2025-01-14T12:00:00Z"), 900, 2), np.zeros((rows, 2)), np.zeros((rows, 2)),
                 (), (), ())
    checked = judge(made, np.zeros((0, 2))).checked
    assert checked.difference is None
    assert not checked.agrees
    assert checked.reason


def test_points_at_one_place_are_told_alike(build: Any) -> None:
    made, kw = scene(build, 3)
    feeder = made.feeder
    first = feeder.connection_points[0]
    twin = ConnectionPoint("again", first.bus, first.phases, load_type=first.load_type)
    more = replace(feeder, connection_points=(*feeder.connection_points, twin))
    rows = len(first.phases)
    zeros = np.zeros((rows, STEPS))
    impact = judge(replace(made, feeder=more, base_w=np.concatenate((made.base_w, zeros)),
                           base_var=np.concatenate((made.base_var, zeros))), kw, checked_steps=0)
    np.testing.assert_array_equal(impact.points.minutes.total[-1], impact.points.minutes.total[0])
    np.testing.assert_array_equal(impact.points.low_pu[-1], impact.points.low_pu[0])
    assert CONSTANT_POWER.id != first.load_type


def test_powers_that_do_not_fit_are_refused(build: Any) -> None:
    made, kw = scene(build, 2)
    with pytest.raises(SceneError, match="evse_kw"):
        judge(made, kw[:, :, :5])
    with pytest.raises(SceneError, match="finite powers"):
        judge(made, np.full_like(kw, np.nan))
