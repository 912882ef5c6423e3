"""Envelopes against full flows, closed forms, and every corner of the box."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twin.assets import TimeGrid
from twin.feeder import ConnectionPoint, Feeder, Flow, LoadType, Solution
from twin.feeder.envelopes.audits import Audit, breaking
from twin.feeder.envelopes.boxes import Box
from twin.feeder.envelopes.dynamic import EnvelopeError, Envelopes, Guarantee, Rule, corners, envelopes, worst_mix
from twin.feeder.envelopes.rays import Problem, Ray
from twin.feeder.fuses import Fuses
from twin.feeder.scene import Limits, Scene
from twin.feeder.watched import Watched

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=8, deadline=None)
START = datetime(2026, 1, 1, tzinfo=UTC)
WIDE = Limits(unbalance=None)


def scene_of(feeder: Feeder, base_w: np.ndarray, limits: Limits = WIDE) -> Scene:
    return Scene(feeder, TimeGrid(START, 900, base_w.shape[1]), base_w, 0.2 * base_w, (), (), (), limits=limits)


def random_scene(build: Any, seed: int, *, steps: int = 2, limits: Limits = WIDE) -> Scene:
    """A street at small loads, some of which feed in; two distinct points in three are free."""
    feeder = build.feeder(seed)
    flow = Flow(feeder)
    base = np.random.default_rng(seed).uniform(-300.0, 900.0, (len(flow.terminals), steps))
    return scene_of(feeder, base, limits)


def free_points(scene: Scene) -> list[str]:
    return [point.id for point in scene.feeder.connection_points][:5]


def beyond(solution: Solution, limits: Limits) -> np.ndarray:
    """By how much every voltage, current, transformer and bus of a full flow is beyond its limit, (row, step)."""
    flow = solution.flow
    rows = sorted({flow.node_row[point.bus, phase] for point in flow.feeder.connection_points
                   for phase in point.phases})
    volts = solution.voltages_pu()[rows]
    low, high = limits.voltage_pu
    parts = [low - volts, volts - high, solution.line_loading() - limits.line_loading,
             solution.transformer_loading() - limits.transformer_loading]
    if limits.unbalance is not None:
        buses = tuple(dict.fromkeys(point.bus for point in flow.feeder.connection_points
                                    if all((point.bus, phase) in flow.node_row for phase in "abc")))
        if buses:
            parts.append(solution.unbalance(buses) - limits.unbalance)
    return np.concatenate(parts)


def at(scene: Scene, points: tuple[str, ...], net: np.ndarray) -> Solution:
    """The full flow with `points` at `net`, (point, step): each point's change spread over its phases one by one."""
    flow = scene.flow()
    p_w, q_var = scene.base_w.copy(), scene.base_var.copy()
    for row, point in enumerate(points):
        mine = [number for number, terminal in enumerate(flow.terminals) if terminal.connection_point == point]
        change = net[row] - scene.base_w[mine].sum(axis=0)
        p_w[mine] += change / len(mine)
        q_var[mine] += scene.var_per_watt * change / len(mine)
    return flow.solve(p_w, q_var)


def at_rest(scene: Scene, points: tuple[str, ...]) -> np.ndarray:
    """What is beyond its limit, or would be, without anybody's flexible power: base loads on, drawn only, fed in only.
    """
    flow = scene.flow()
    base = np.array([
        scene.base_w[[terminal.connection_point == point for terminal in flow.terminals]].sum(axis=0)
        for point in points
    ])
    return np.max([beyond(at(scene, points, net), scene.limits)
                   for net in (base, np.maximum(base, 0.0), np.minimum(base, 0.0))], axis=0)


@given(seed=SEEDS, rule=st.sampled_from(Rule))
@FEW
def test_with_all_at_their_limits_no_limit_is_crossed(build: Any, seed: int, rule: Rule) -> None:
    scene = random_scene(build, seed, limits=Limits())
    found = envelopes(scene, free_points(scene), rule=rule, guarantee=Guarantee.TOGETHER)
    allowed = np.maximum(at_rest(scene, found.points), 0.0) + 1e-7
    for net in (found.import_w, -found.export_w):
        assert (beyond(at(scene, found.points, net), scene.limits) <= allowed).all()


@given(seed=SEEDS)
@FEW
def test_a_little_more_would_cross_one(build: Any, seed: int) -> None:
    scene = random_scene(build, seed)
    found = envelopes(scene, free_points(scene), guarantee=Guarantee.TOGETHER)
    allowed = np.maximum(at_rest(scene, found.points), 0.0) + 1e-7
    for watts, sign, bound_by in (
        (found.import_w, 1.0, found.import_bound_by), (found.export_w, -1.0, found.export_bound_by),
    ):
        share = watts.max(axis=0)
        more = sign * np.where(watts >= share - 1e-6, 1.003 * watts + 1.0, watts)
        crossed = (beyond(at(scene, found.points, more), scene.limits) > allowed).any(axis=0)
        held = np.array([bool(cause) for cause in bound_by])
        assert crossed[held & ~found.unfixable & (share > 1.0)].all()


@given(seed=SEEDS, rule=st.sampled_from(Rule))
@FEW
def test_no_corner_of_the_box_crosses_a_limit_when_any_mix_is_promised(build: Any, seed: int, rule: Rule) -> None:
    scene = random_scene(build, seed, steps=1, limits=Limits(voltage_pu=(0.93, 1.06)))
    found = envelopes(scene, free_points(scene), rule=rule, guarantee=Guarantee.MIX)
    base = np.array([
        scene.base_w[[terminal.connection_point == point for terminal in scene.flow().terminals]].sum(axis=0)
        for point in found.points
    ])
    ends = np.stack((-found.export_w, found.import_w))
    idle = np.stack((np.minimum(base, 0.0), np.maximum(base, 0.0)))

    def every_corner(low_high: np.ndarray) -> np.ndarray:
        return np.max([
            beyond(at(scene, found.points, np.array([low_high[end, row] for row, end in enumerate(corner)])),
                   scene.limits)
            for corner in product((0, 1), repeat=len(found.points))
        ], axis=0)

    allowed = np.maximum(every_corner(idle), 0.0) + 1e-6
    assert (every_corner(ends) <= allowed).all()


def test_a_box_whose_worst_mix_no_ascent_finds_holds_in_all_of_them(build: Any) -> None:
    """A street on which following the derivatives, and turning single points, ends in a mix that is not the worst."""
    seed = 100
    feeder = build.feeder(seed, load_types=(LoadType("power"),))
    base = np.random.default_rng(seed).uniform(-300.0, 900.0, (len(Flow(feeder).terminals), 1))
    scene = scene_of(feeder, base, Limits((0.94, 1.06)))
    found = envelopes(scene)
    assert not found.unfixable.any()
    assert found.is_every_corner
    over = max(
        float(beyond(at(scene, found.points, np.where(np.array(corner)[:, None], found.import_w, -found.export_w)),
                     scene.limits).max())
        for corner in product((False, True), repeat=len(found.points))
    )
    assert over <= 1e-7


def test_an_examination_finds_what_crosses_a_limit_in_one_corner_of_many(build: Any) -> None:
    scene = random_scene(build, 3, limits=Limits())
    points = tuple(free_points(scene))
    problem = Problem.of(scene, points, Watched(scene.flow(), scene.limits))
    together = envelopes(scene, points, guarantee=Guarantee.TOGETHER)
    most, least = together.import_w, -together.export_w
    rays = Ray.between(problem.base_net, most), Ray.between(problem.base_net, least)
    box, whole = Box(problem, rays, (np.ones(2), np.ones(2))), np.ones(2)
    audit = Audit.of(problem, 2)
    assert audit.is_every_corner
    bound = problem.bound.copy()
    corners_of_all = [np.repeat(np.array(corner)[:, None], 2, axis=1) for corner in product((0.0, 1.0), repeat=5)]
    values = box.values(corners_of_all, whole)
    worst = np.max(values, axis=0)
    row, step = np.unravel_index(np.argmax(np.where(worst > 0.1, worst / bound, 0.0)), worst.shape)
    bound = np.full_like(bound, np.inf)
    assert breaking(box, audit, [], whole, bound) == []
    second = np.sort([value[row, step] for value in values])[-2]
    bound[row, step] = 0.5 * (worst[row, step] + second)
    (mix,) = breaking(box, audit, [], whole, bound)
    assert box.values([mix], whole)[0][row, step] == pytest.approx(worst[row, step], rel=1e-12)


def test_many_points_are_sampled_and_that_is_said(build: Any) -> None:
    feeder = build.two_buses()
    points = tuple(ConnectionPoint(f"p{number}", "far", "abc"[number % 3], 20.0, feeder.load_types[0].id)
                   for number in range(14))
    scene = scene_of(replace(feeder, connection_points=points), np.zeros((14, 2)), Limits())
    found = envelopes(scene)
    assert not found.is_every_corner
    draw = np.random.default_rng(5)
    for _ in range(200):
        net = np.where(draw.random((14, 1)) < 0.5, found.import_w, -found.export_w)
        assert (beyond(at(scene, found.points, net), scene.limits) <= 1e-7).all()
    worst = worst_mix(scene, found)
    assert worst is not None
    assert beyond(worst, scene.limits).max(axis=0) == pytest.approx([0.0, 0.0], abs=1e-5), "at a limit, not beyond"


@pytest.mark.parametrize("seed", range(4))
def test_any_mix_after_max_total_gives_no_less_than_equal_shares(build: Any, seed: int) -> None:
    scene = random_scene(build, seed, limits=Limits())
    most, equal = (envelopes(scene, free_points(scene), rule=rule) for rule in (Rule.MAX_TOTAL, Rule.EQUAL))
    for name in ("import_w", "export_w"):
        assert (getattr(most, name).sum(axis=0) >= getattr(equal, name).sum(axis=0)).all()


def test_no_fuse_is_blown_at_the_limits_of_any_point(build: Any) -> None:
    """At 0.9 p.u. and with vars of its own, a point may not draw its fuse times the rated voltage."""
    feeder = build.two_buses()
    feeder = replace(feeder, connection_points=(
        replace(feeder.connection_points[0], fuse_a=30.0),
        replace(feeder.connection_points[0], id="other", fuse_a=25.0),
    ))
    scene = Scene(feeder, TimeGrid(START, 900, 2), np.full((6, 2), 800.0), np.full((6, 2), 1500.0), (), (), (),
                  power_factor=0.95, limits=Limits((0.9, 1.1)))
    found = envelopes(scene)
    for corner in product((False, True), repeat=2):
        solution = at(scene, found.points, np.where(np.array(corner)[:, None], found.import_w, -found.export_w))
        amperes = solution.terminal_powers() / solution.terminal_voltages()[:3]
        loading = Fuses(scene.flow()).loading(solution)
        assert (loading <= 1.0).all()
        together = loading[:3] * 30.0 + loading[3:] * 25.0
        assert (together >= np.abs(amperes) - 1e-6).all()
    assert found.import_w[1, 0] < 3.0 * 25.0 * 0.9 * 400.0 / sqrt(3.0)


def test_base_loads_that_blow_a_fuse_are_said(build: Any) -> None:
    feeder = build.two_buses()
    feeder = replace(feeder, connection_points=(replace(feeder.connection_points[0], fuse_a=10.0),))
    base = np.array([[1000.0, 2500.0]] * 3)
    found = envelopes(scene_of(feeder, base), guarantee=Guarantee.TOGETHER)
    assert found.unfixable.tolist() == [False, True]
    assert found.import_w[0, 1] == pytest.approx(7500.0), "what is drawn anyway, and no more"


def test_together_alone_can_be_broken_by_a_mix(build: Any) -> None:
    """The reason for the other guarantee: phases couple, so neighbours who do the opposite make it worse."""
    broken = 0
    for seed in range(6):
        scene = random_scene(build, seed, steps=1)
        points = tuple(free_points(scene))
        found = envelopes(scene, points, guarantee=Guarantee.TOGETHER)
        allowed = np.maximum(at_rest(scene, points), 0.0) + 1e-6
        for corner in product((False, True), repeat=len(points)):
            net = np.where(np.array(corner)[:, None], found.import_w, -found.export_w)
            broken += bool((beyond(at(scene, points, net), scene.limits) > allowed).any())
    assert broken


@given(seed=SEEDS, corner=st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5))
@settings(max_examples=15, deadline=None)
def test_no_mix_drawn_at_random_crosses_a_limit(build: Any, seed: int, corner: list[float]) -> None:
    scene = random_scene(build, seed % 5)
    found = envelopes(scene, free_points(scene), rule=Rule.PROPORTIONAL)
    assume(not found.unfixable.any())
    net = -found.export_w + np.array(corner)[:, None] * (found.import_w + found.export_w)
    assert (beyond(at(scene, found.points, net), scene.limits) <= 1e-6).all()


def test_the_import_limit_on_one_line_meets_the_closed_form(build: Any) -> None:
    """|V|^2 = (V0^2 + sqrt(V0^4 - 4 (P R V0^2 + P^2 X^2))) / 2 - P R at unity power factor, per phase."""
    feeder = build.two_buses()
    feeder = replace(feeder, lines=(replace(feeder.lines[0], ampacity=None),),
                     connection_points=(replace(feeder.connection_points[0], fuse_a=500.0),))
    scene = scene_of(feeder, np.zeros((3, 1)))
    found = envelopes(scene, guarantee=Guarantee.TOGETHER)
    volts, r, x = 400.0 / sqrt(3.0), 0.2, 0.1
    for watts, limit in ((float(found.import_w[0, 0]) / 3.0, 0.9), (-float(found.export_w[0, 0]) / 3.0, 1.1)):
        half = volts**2 / 2.0 - watts * r
        at_end = sqrt(half + sqrt(half**2 - watts**2 * (r**2 + x**2)))
        assert at_end / volts == pytest.approx(limit, abs=1e-5)


@given(seed=SEEDS)
@FEW
def test_equal_is_equal_proportional_is_of_the_fuse_and_max_total_is_most(build: Any, seed: int) -> None:
    scene = random_scene(build, seed)
    points = free_points(scene)
    fuses = np.linspace(30.0, 90.0, len(points))
    scene = replace(scene, feeder=replace(scene.feeder, connection_points=tuple(
        replace(point, fuse_a=float(fuses[points.index(point.id)])) if point.id in points else point
        for point in scene.feeder.connection_points
    )))
    ceiling = np.array([
        point.fuse_a * 400.0 / sqrt(3.0) * len(point.phases)
        for point in scene.feeder.connection_points if point.id in points and point.fuse_a is not None
    ])[:, None]
    found = {rule: envelopes(scene, points, rule=rule, guarantee=Guarantee.TOGETHER) for rule in Rule}
    base = np.array([
        scene.base_w[[terminal.connection_point == point for terminal in scene.flow().terminals]].sum(axis=0)
        for point in points
    ])
    for name, sign in (("import_w", 1.0), ("export_w", -1.0)):
        equal, shared, most = (getattr(found[rule], name) for rule in (Rule.EQUAL, Rule.PROPORTIONAL, Rule.MAX_TOTAL))
        least = np.maximum(sign * base, 0.0)
        top = np.minimum(ceiling, Fuses(scene.flow()).most_w(scene, points, sign))
        free = (equal > least + 1e-6) & (equal < top - 1e-6)
        for step in range(equal.shape[1]):
            mine = equal[free[:, step], step]
            assert mine.size == 0 or np.ptp(mine) < 1e-6
            is_free = (shared[:, step] > least[:, step] + 1e-6) & (shared[:, step] < top[:, step] - 1e-6)
            part = (shared / ceiling)[is_free, step]
            assert part.size == 0 or np.ptp(part) < 1e-9
        assert (equal >= least - 1e-9).all()
        assert (most.sum(axis=0) >= equal.sum(axis=0) - 1.0).all()
        assert (most <= np.maximum(top, least) + 1e-6).all()


def test_a_base_load_that_breaks_a_limit_is_said_and_not_made_worse(build: Any) -> None:
    feeder = build.two_buses()
    feeder = replace(feeder, connection_points=(
        replace(feeder.connection_points[0], fuse_a=300.0),
        replace(feeder.connection_points[0], id="other", fuse_a=300.0),
    ))
    base = np.zeros((6, 2))
    base[:3, 1] = 40e3
    scene = scene_of(feeder, base)
    found = envelopes(scene, ["other"], guarantee=Guarantee.TOGETHER)
    assert found.unfixable.tolist() == [False, True]
    assert found.import_w[0, 0] > 1000.0
    assert found.import_w[0, 1] == pytest.approx(0.0, abs=1.0)
    assert found.export_w[0, 1] > found.export_w[0, 0] > 1000.0, "feeding in helps, so more of it is borne"


def test_a_base_load_without_a_flow_is_said_and_gets_no_envelope(build: Any) -> None:
    feeder = build.two_buses()
    base = np.zeros((3, 3))
    base[:, 1] = 1e6
    found = envelopes(scene_of(feeder, base), guarantee=Guarantee.MIX)
    assert found.no_solution.tolist() == [False, True, False]
    assert found.import_w[0, 1] == found.export_w[0, 1] == 0.0
    assert (found.import_w[0, [0, 2]] > 0.0).all()
    assert found.import_bound_by[1] == "no flow"


def test_steps_do_not_depend_on_the_steps_beside_them(build: Any) -> None:
    scene = random_scene(build, 3, steps=200)
    whole = envelopes(scene, free_points(scene), guarantee=Guarantee.TOGETHER)
    one = replace(scene, grid=TimeGrid(START, 900, 1), base_w=scene.base_w[:, 195:196],
                  base_var=scene.base_var[:, 195:196])
    alone = envelopes(one, free_points(scene), guarantee=Guarantee.TOGETHER)
    assert whole.import_w[:, 195] == pytest.approx(alone.import_w[:, 0], rel=1e-4)


def test_corners_are_the_flows_at_the_limits(build: Any) -> None:
    scene = random_scene(build, 1)
    found = envelopes(scene, free_points(scene), guarantee=Guarantee.TOGETHER)
    for end, net in zip(corners(scene, found), (found.import_w, -found.export_w), strict=True):
        assert np.abs(end.voltages() - at(scene, found.points, net).voltages()).max() < 1e-6


def test_envelopes_stand_at_the_feeders_connection_points(build: Any) -> None:
    scene = random_scene(build, 2)
    found: Envelopes = envelopes(scene, free_points(scene))
    feeder = found.on(scene.feeder)
    for point in feeder.connection_points:
        assert (point.envelope is not None) == (point.id in found.points)
    assert feeder.connection_points[0].envelope == found.of(feeder.connection_points[0].id)


def test_what_cannot_be_is_refused_by_name(build: Any) -> None:
    scene = random_scene(build, 2)
    with pytest.raises(EnvelopeError, match="'nobody'"):
        envelopes(scene, ["nobody"])
    with pytest.raises(EnvelopeError, match="twice"):
        envelopes(scene, ["p1", "p1"])
    with pytest.raises(EnvelopeError, match="at least one"):
        envelopes(scene, [])
    with pytest.raises(EnvelopeError, match="most_w"):
        envelopes(scene, most_w=0.0)
    with pytest.raises(EnvelopeError, match="'nobody'"):
        envelopes(scene, free_points(scene), guarantee=Guarantee.TOGETHER).of("nobody")
