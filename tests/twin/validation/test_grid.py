"""What a schedule does to the street's grid, judged by hand-made worlds and by the second engine."""

import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twin.assets import (
    AssetError,
    Battery,
    Current,
    Evse,
    PowerCurve,
    Response,
    Schedule,
    Site,
    TimeGrid,
    Vehicle,
    Visit,
    World,
)
from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Rating, Source, Transformer
from twin.feeder.scene import Limits, Scene
from twin.feeder.second_engine.check import Checker
from twin.feeder.watched import Watched
from twin.validation import BreachKind, Tolerances, ValidationReport, tangents_of, validate
from twin.validation.tangents import slopes_of, tangents_at

Floats = NDArray[np.float64]
START = datetime(2026, 3, 2, 18, tzinfo=UTC)
STEPS = 8
GRID = TimeGrid(START, 900, STEPS)
WIDE = Limits((0.5, 1.5), 1.0, 10.0, None)


def street(ampere: float = 60.0, metres: float = 100.0) -> Feeder:
    """A transformer and one cable; homes at its end."""
    km = metres / 1000.0
    return Feeder(
        name="street",
        buses=(Bus("grid", 10_000.0), Bus("head", 400.0), Bus("end", 400.0)),
        lines=(Line.of_sequence("cable", "head", "end", r1=0.642 * km, x1=0.083 * km, r0=2.5 * km, x0=0.33 * km,
                                ampacity=Rating.even(ampere, "test")),),
        source=Source("grid", short_circuit_va=100e6),
        transformers=(Transformer("trafo", "grid", "head", 100e3, 10_000.0, 400.0, 0.04, 1500.0, "Dyn5"),),
        connection_points=(ConnectionPoint("shop", "head"), ConnectionPoint("home", "end")),
    )


def scene(feeder: Feeder | None = None, *, phases: tuple[str, ...] = ("a", "a", "b"), limits: Limits = WIDE,
          home_kw: float = 0.0, grid: TimeGrid = GRID) -> Scene:
    base = np.zeros((6, grid.steps))
    base[3:] = 1000.0 * home_kw / 3.0
    names = tuple(f"evse-{k}" for k in range(len(phases)))
    return Scene(feeder or street(), grid, base, np.zeros_like(base), names, ("home",) * len(phases), phases,
                 limits=limits)


def world(where: Scene, *, arrives: tuple[float, ...] = (), kw: float = 50.0) -> World:
    """One car at every EVSE of the scene, that takes whatever it is given; arrives: minutes after the start."""
    car = Vehicle("car", Battery(400.0, PowerCurve((0.0, 1.0), (kw, kw)), PowerCurve((0.0, 1.0), (kw, kw))), kw, kw)
    evses = tuple(Evse(name, "site", Current.DC, kw, 0.0, kw, Response()) for name in where.evse_ids)
    late = (*arrives, *(0.0 for _ in evses))
    visits = tuple(
        Visit(f"car-{k}", evse.id, car, START + timedelta(minutes=late[k]), GRID.end + timedelta(hours=1), 200.0, 200.0)
        for k, evse in enumerate(evses)
    )
    flat = np.full(STEPS, 1000.0)
    return World(Site("site", "UTC", 1000.0, 1000.0), evses, visits, GRID, np.zeros(STEPS), flat, flat, feeder=where)


def follow(where: World, kw: list[float], **more: object) -> ValidationReport:
    powers = np.repeat(np.array(kw)[:, None], STEPS, axis=1)
    schedule = Schedule(GRID, tuple(evse.id for evse in where.evses), powers,
                        {visit.id: 1000.0 for visit in where.visits})
    allowed = {evse.id: 1000.0 for evse in where.evses}
    return validate(where, schedule, discharge_allowed_kw=allowed, **more)  # type: ignore[arg-type]


def kinds(report: ValidationReport) -> list[BreachKind]:
    return [breach.kind for breach in report.breaches]


def test_a_world_without_a_feeder_is_judged_as_before() -> None:
    report = follow(replace(world(scene()), feeder=None), [9.0, 9.0, 0.0])
    assert report.passed
    assert report.feeder is None


def test_a_cable_that_carries_too_much_on_one_phase_is_a_breach_of_the_size_the_second_engine_says() -> None:
    where = scene()
    report = follow(world(where), [9.0, 9.0, 9.0])
    assert kinds(report) == [BreachKind.LINE_OVERLOAD]
    breach = report.breaches[0]
    assert (breach.asset_id, breach.limit_value) == ("cable.a", 100.0)
    assert (breach.start, breach.end) == (START, GRID.end)

    flow = where.flow()
    solution = flow.solve(*where.demand_w(np.repeat([[9.0], [9.0], [9.0]], STEPS, axis=1)))
    amperes = Checker(where.feeder).solve(solution).from_a[0, 0]
    assert breach.worst == pytest.approx(100.0 * (amperes[0] / 60.0 - 1.0), abs=1e-4)
    assert amperes[1] < 60.0, "phase b is not over, and was not blamed"


def test_a_schedule_that_holds_is_confirmed_by_both_engines() -> None:
    report = follow(world(scene()), [5.0, 5.0, 9.0])
    assert report.passed
    assert report.feeder is not None
    assert report.feeder.difference is not None
    assert report.feeder.difference.agrees
    assert report.feeder.difference.steps >= STEPS


def test_a_peak_of_some_minutes_inside_a_step_does_not_hide_in_its_mean() -> None:
    """Two cars take 9 kW each from minute 12 on only: 3.6 kW in the mean of their first step."""
    report = follow(world(scene(), arrives=(12.0, 12.0)), [9.0, 9.0, 0.0])
    assert kinds(report) == [BreachKind.LINE_OVERLOAD]
    assert report.breaches[0].start == START + timedelta(minutes=12)
    assert report.feeder is not None
    assert report.feeder.tangents[0].step == 0


def test_what_the_homes_break_alone_is_told_and_not_blamed_unless_the_cars_make_it_worse() -> None:
    limits = Limits((0.99, 1.5), 10.0, 10.0, None)
    where = world(scene(home_kw=30.0, limits=limits))
    idle = follow(where, [0.0, 0.0, 0.0])
    assert idle.passed
    assert idle.feeder is not None
    assert {breach.kind for breach in idle.feeder.existing} == {BreachKind.VOLTAGE_LOW}
    assert {breach.asset_id for breach in idle.feeder.existing} == {"home.a", "home.b", "home.c"}

    helping = follow(where, [-3.0, 0.0, -3.0])
    assert "home.a" not in {breach.asset_id for breach in helping.breaches}

    worse = follow(where, [5.0, 0.0, 0.0])
    assert {(breach.kind, breach.asset_id) for breach in worse.breaches} >= {(BreachKind.VOLTAGE_LOW, "home.a")}
    assert idle.feeder.existing[0].limit_value == 0.99
    assert worse.breaches[0].limit_value < 0.99, "blamed from what was there without the cars"


def test_every_kind_of_limit_is_judged() -> None:
    low = follow(world(scene(limits=Limits((0.97, 1.5), 10.0, 10.0, None))), [9.0, 9.0, 0.0])
    high = follow(world(scene(limits=Limits((0.5, 1.02), 10.0, 10.0, None))), [-9.0, -9.0, 0.0])
    heavy = follow(world(scene(limits=Limits((0.5, 1.5), 10.0, 0.2, None))), [9.0, 9.0, 9.0])
    skew = follow(world(scene(limits=Limits((0.5, 1.5), 10.0, 10.0, 0.01))), [9.0, 9.0, 0.0])
    assert [kinds(report)[0] for report in (low, high, heavy, skew)] == [
        BreachKind.VOLTAGE_LOW, BreachKind.VOLTAGE_HIGH, BreachKind.TRANSFORMER_OVERLOAD, BreachKind.UNBALANCE,
    ]
    assert [report.breaches[0].asset_id for report in (low, high, heavy, skew)] == [
        "home.a", "home.a", "trafo", "end",
    ]


def test_a_load_without_a_flow_solution_is_a_breach_that_says_where_it_ends() -> None:
    where = scene(street(1000.0, 2000.0))
    report = follow(world(where), [50.0, 50.0, 0.0])
    assert BreachKind.NO_SOLUTION in kinds(report)
    assert report.breaches[0].worst == pytest.approx(100.0)
    assert report.feeder is not None
    told = [one for one in report.feeder.tangents if one.kind is not BreachKind.NO_SOLUTION]
    assert {one.step for one in told} == set(range(STEPS))
    assert all(0.0 <= one.at_kw.sum() < 100.0 for one in told)
    assert all(one.value <= one.allowed + 1e-6 for one in told)


def test_engines_that_disagree_let_nothing_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.feeder.second_engine.check.LIMIT_PU", 0.0)  # no two engines agree to the last bit
    report = follow(world(scene()), [5.0, 5.0, 9.0])
    assert kinds(report) == [BreachKind.ENGINES_DISAGREE]
    assert 0.0 < report.breaches[0].worst < 1e-7


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-15.0, 15.0), min_size=3, max_size=3), st.integers(0, 2))
def test_tangents_are_the_change_that_a_second_flow_shows(kw: list[float], moved: int) -> None:
    where = scene(limits=Limits(unbalance=0.02), home_kw=12.0)
    powers = np.array(kw)[:, None]
    step = np.zeros(1, dtype=np.intp)
    flow = where.flow()
    watched = Watched(flow, where.limits)
    nudge = np.zeros((3, 1))
    nudge[moved] = 1e-3
    low, mid, high = (flow.solve(*where.demand_of(powers + d, step)) for d in (-nudge, 0.0 * nudge, nudge))
    slopes = slopes_of(where, watched, mid)[0, :, moved]
    measured = (watched.values(high) - watched.values(low))[:, 0] / 2e-3
    tame = np.abs(watched.values(mid)[:, 0]) > 1e-3  # a current that is nothing has no direction
    assert np.allclose(slopes[tame], measured[tame], rtol=1e-4, atol=1e-6)

    rows = [(int(row), 0) for row in np.flatnonzero(tame)]
    found = tangents_at(where, watched, mid, powers, np.zeros((len(watched.rows), STEPS)), step, rows)
    assert [one.per_kw[moved] for one in found] == pytest.approx(slopes[tame].tolist())


def test_tangents_toward_a_limit_touch_it_where_it_is_crossed() -> None:
    where = scene()
    most = np.full((3, STEPS), 11.0)
    found = tangents_of(where, [(BreachKind.LINE_OVERLOAD, "cable.a"), (BreachKind.LINE_OVERLOAD, "unknown")], most)
    assert [one.step for one in found] == list(range(STEPS))
    for one in found:
        assert one.value == pytest.approx(1.0, abs=0.002)
        assert one.per_kw[0] == pytest.approx(1.0 / (60.0 * 400.0 / sqrt(3) / 1000.0), rel=0.1)
    assert tangents_of(where, [(BreachKind.LINE_OVERLOAD, "cable.c")], most) == ()


def test_futures_count_the_replicas_in_which_the_feeder_breaks() -> None:
    report = follow(world(scene(), arrives=(0.0, 0.0)), [9.0, 9.0, 0.0], replicas=5)
    assert report.futures is not None
    counted = [count for count in report.futures.breaches if count.kind is BreachKind.LINE_OVERLOAD]
    assert [(count.asset_id, count.replicas) for count in counted] == [("cable.a", 5)]
    assert counted[0].worst == pytest.approx(report.breaches[0].worst, abs=1e-6)


def test_a_world_refuses_a_feeder_of_another_time_or_without_a_place_for_an_evse() -> None:
    with pytest.raises(AssetError, match="feeder"):
        replace(world(scene()), feeder=scene(grid=TimeGrid(START, 900, STEPS + 1)))
    with pytest.raises(AssetError, match=r"evse-2.*connection point"):
        replace(world(scene()), feeder=scene(phases=("a", "a")))


def test_a_scene_travels_without_what_can_be_made_again() -> None:
    where = scene()
    where.flow()
    where.spread()
    sent = pickle.dumps(where)
    assert len(sent) < 20_000
    back = pickle.loads(sent)  # noqa: S301 - our own
    assert back.flow() is where.flow(), "the same feeder is made ready once"
    assert np.array_equal(back.spread().toarray(), where.spread().toarray())


def test_a_thousandth_over_a_limit_is_forgiven_and_no_more() -> None:
    where = scene()
    flow = where.flow()
    loading = float(np.nanmax(flow.solve(*where.demand_w(np.full((3, STEPS), 6.0))).line_loading()))
    for over, passes in ((1.001, True), (1.003, False)):
        tight = replace(where, limits=Limits((0.5, 1.5), loading / over, 10.0, None))
        assert follow(world(tight), [6.0, 6.0, 6.0]).passed is passes
    exact = replace(where, limits=Limits((0.5, 1.5), loading / 1.001, 10.0, None))
    assert not follow(world(exact), [6.0, 6.0, 6.0], tolerances=Tolerances(loading=0.0)).passed
