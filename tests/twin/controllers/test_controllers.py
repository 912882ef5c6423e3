"""Controllers share the room of a connection point: checked by what must always hold and against plain-Python rules."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import Battery, Current, Evse, PowerCurve, Schedule, Site, TimeGrid, Vehicle, utc
from twin.controllers.lending import spare_discharge_kw
from twin.controllers.rules import (
    EarliestDeadline,
    FollowSchedule,
    Proportional,
    ProportionalToLaxity,
    RoomSharing,
    RoundRobin,
    ScheduleMismatch,
    Uncontrolled,
)
from twin.controllers.sharing import Grouping, Queue, serve_in_order
from twin.controllers.view import Floats, Ints, laxity_s
from twin.ensemble import Ensemble

GRID = TimeGrid(utc("2019-07-15T13:00:00Z"), 900, 8)
CAR = Vehicle("car", Battery(60.0, PowerCurve((0.0, 1.0), (11.0, 11.0)), PowerCurve((0.0, 1.0), (11.0, 11.0))), 11.0)
EPS = 2e-6
SHARING = [Proportional, EarliestDeadline, RoundRobin, ProportionalToLaxity]


@dataclass
class Fleet:
    """A `FleetView` with every array at hand."""

    ensemble: Ensemble
    is_plugged: np.ndarray
    energy_kwh: Floats
    target_kwh: Floats
    floor_kwh: Floats
    declared_s: Floats
    capacity_kwh: Floats
    efficiency: Floats
    max_charge_kw: Floats
    min_charge_kw: Floats
    max_discharge_kw: Floats
    min_discharge_kw: Floats
    site: Ints
    room_kw: Floats
    export_room_kw: Floats
    visit: Ints
    vehicle: Ints
    now_s: float = 0.0
    step: int = 0


def ensemble(sites: list[int], replicas: int = 1) -> Ensemble:
    """As many EVSEs as `sites` has entries, each at the connection point of that number."""
    places = tuple(Site(f"S{number}", "UTC", 100.0) for number in range(max(sites) + 1))
    evses = tuple(Evse(f"E{k}", f"S{number}", Current.AC, 22.0, 0.0, 11.0) for k, number in enumerate(sites))
    still = np.zeros((len(places), GRID.steps))
    return Ensemble(places, evses, (CAR,), GRID, still, still + 100.0, still, replicas)


@dataclass(frozen=True)
class Car:
    """One EVSE of a fleet; `missing_kwh` below target, None for an empty EVSE."""

    site: int
    missing_kwh: float | None
    declared_s: float = 3600.0
    max_kw: float = 11.0
    min_kw: float = 0.0
    back_kw: float = 0.0
    least_back_kw: float = 0.0
    above_floor_kwh: float = 10.0


def fleet(cars: list[Car], room_kw: list[float], *, now_s: float = 0.0, export_room_kw: float = 100.0) -> Fleet:
    """One replica. Targets are 40 kWh of 60."""
    plugged = np.array([car.missing_kwh is not None for car in cars])

    def column(values: list[float], empty: float = math.nan) -> Floats:
        return np.where(plugged, np.array(values, dtype=float), empty)

    energy = column([40.0 - (car.missing_kwh or 0.0) for car in cars])
    return Fleet(
        ensemble([car.site for car in cars] + [len(room_kw) - 1])
        if max(car.site for car in cars) < len(room_kw) - 1 else ensemble([car.site for car in cars]),
        plugged, energy, column([40.0] * len(cars)), energy - [car.above_floor_kwh for car in cars],
        column([car.declared_s for car in cars]), column([60.0] * len(cars)), column([0.95] * len(cars)),
        column([car.max_kw for car in cars], 0.0), column([car.min_kw for car in cars], 0.0),
        column([car.back_kw for car in cars], 0.0), column([car.least_back_kw for car in cars], 0.0),
        np.array([car.site for car in cars]), np.array(room_kw), np.full(len(room_kw), export_room_kw),
        np.where(plugged, np.arange(len(cars)), -1), np.where(plugged, 0, -1), now_s,
        int(now_s // GRID.step_s),
    )


def side_by_side(fleets: list[Fleet]) -> Fleet:
    """The fleets as replicas of one ensemble."""
    first = fleets[0]
    joined = {
        name: np.concatenate([getattr(each, name) for each in fleets])
        for name in Fleet.__dataclass_fields__ if isinstance(getattr(first, name), np.ndarray) and name != "site"
    }
    site = np.concatenate([each.site + k * first.room_kw.size for k, each in enumerate(fleets)])
    return replace(first, **joined, site=site, ensemble=replace(first.ensemble, replicas=len(fleets)))


POWERS = st.sampled_from([3.68, 7.36, 11.04, 22.08])
MINIMA = st.sampled_from([0.0, 1.38, 4.14])


@st.composite
def cars(draw: st.DrawFn) -> Car:
    most = draw(POWERS)
    return Car(
        draw(st.integers(0, 2)), draw(st.none() | st.just(0.0) | st.floats(0.1, 30.0)),
        draw(st.sampled_from([-900.0, 1800.0, 1800.0, 3600.0]) | st.floats(-3600.0, 36000.0)),
        most, min(draw(MINIMA), most),
        draw(st.sampled_from([0.0, 11.0])), draw(st.sampled_from([0.0, 1.5])), draw(st.floats(0.0, 20.0)),
    )


def fleets(rooms: st.SearchStrategy[float]) -> st.SearchStrategy[Fleet]:
    return st.builds(
        fleet, st.lists(cars(), min_size=1, max_size=9), st.lists(rooms, min_size=3, max_size=3),
        now_s=st.sampled_from([0.0, 1800.0]),
    )


ROOMS = st.sampled_from([0.0, 4.14, 8.28, 11.04]) | st.floats(0.0, 120.0)
FLEETS = fleets(ROOMS)


def per_site(view: Fleet, kw: Floats) -> Floats:
    return np.bincount(view.site, kw, minlength=view.room_kw.size)


def asks(view: Fleet) -> Floats:
    return np.where(view.is_plugged & (view.target_kwh - view.energy_kwh > 1e-6), view.max_charge_kw, 0.0)


@pytest.mark.parametrize("rule", SHARING)
@settings(max_examples=80, deadline=None)
@given(view=FLEETS)
def test_the_room_is_kept_and_used_by_cars_that_want_energy_and_by_no_share_below_a_minimum(
        rule: Callable[[], RoomSharing], view: Fleet) -> None:
    kw, ask = rule().setpoints(view), asks(view)
    used = per_site(view, kw)
    assert (used <= view.room_kw + 1e-9).all()
    assert (kw >= 0.0).all()
    assert (kw <= ask).all()
    assert ((kw == 0.0) | (kw >= view.min_charge_kw - EPS)).all()
    left = (view.room_kw - used)[view.site]
    is_held_back = (kw < ask) & (left > EPS)
    assert (kw[is_held_back] == 0.0).all()
    assert (view.min_charge_kw[is_held_back] > left[is_held_back] - EPS).all()


@pytest.mark.parametrize("rule", SHARING)
@settings(max_examples=60, deadline=None)
@given(people=st.lists(cars(), min_size=1, max_size=8), rooms=st.lists(ROOMS, min_size=9, max_size=9),
       seed=st.integers(0, 99))
def test_replicas_do_not_disturb_each_other_in_a_single_bit(
        rule: Callable[[], RoomSharing], people: list[Car], rooms: list[float], seed: int) -> None:
    draw = np.random.default_rng(seed)
    copies = [
        fleet([replace(car, missing_kwh=draw.uniform(0.0, 30.0)) for car in people], rooms[k:k + 3]) for k in (0, 3, 6)
    ]
    together = rule().setpoints(side_by_side(copies))
    alone = np.concatenate([rule().setpoints(copy) for copy in copies])
    assert together.tobytes() == alone.tobytes()


def served_in_turn(view: Fleet, key: Floats) -> Floats:
    """The rule in plain Python: ask one car after the other, and those refused again as long as one can still join."""
    ask, given_kw = asks(view), np.zeros(view.site.size)
    for place in range(view.room_kw.size):
        room = view.room_kw[place]
        line = [k for k in range(view.site.size) if view.site[k] == place and ask[k] > 0.0]
        for k in sorted(line, key=lambda k: (math.floor(key[k]), k)):
            share = min(ask[k], room)
            if share >= view.min_charge_kw[k] - EPS / 4:
                given_kw[k] = share
                room -= share
    return given_kw


@settings(max_examples=100, deadline=None)
@given(view=FLEETS)
def test_earliest_deadline_is_the_plain_rule_of_one_car_after_the_other(view: Fleet) -> None:
    assert EarliestDeadline().setpoints(view) == pytest.approx(served_in_turn(view, view.declared_s), abs=EPS)


@settings(max_examples=100, deadline=None)
@given(view=FLEETS)
def test_proportional_is_one_fraction_for_all_that_no_minimum_lifts_or_drops(view: Fleet) -> None:
    kw, ask = Proportional().setpoints(view), asks(view)
    for place in range(view.room_kw.size):
        served = (view.site == place) & (kw > 0.0)
        if not served.any():
            continue
        fraction = kw[served] / ask[served]
        free = fraction[kw[served] > view.min_charge_kw[served] + EPS]
        if free.size:
            assert free == pytest.approx(np.full(free.size, free[0]), abs=1e-6)
            assert (fraction >= free[0] - 1e-6).all()


@settings(max_examples=100, deadline=None)
@given(view=FLEETS)
def test_proportional_without_minima_is_the_schoolbook_share(view: Fleet) -> None:
    view = replace(view, min_charge_kw=np.zeros(view.site.size))
    expected = []
    for k, wish in enumerate(asks(view).tolist()):
        total = sum(other for j, other in enumerate(asks(view).tolist()) if view.site[j] == view.site[k])
        expected.append(wish * min(1.0, view.room_kw[view.site[k]] / total) if total else 0.0)
    assert Proportional().setpoints(view) == pytest.approx(expected, abs=1e-9)


def level_by_bisection(view: Fleet, place: int, smoothing_s: float) -> Floats:
    """Shares at one connection point without minima, by halving the level until it is known."""
    ask, here = asks(view), view.site == place
    laxity = np.where(ask > 0, laxity_s(view, np.arange(view.site.size)), 0.0)
    low, high = -1e6, 1e6

    def shares(level: float) -> Floats:
        return np.where(here, ask * np.clip((level - laxity) / smoothing_s, 0.0, 1.0), 0.0)

    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if shares(middle).sum() > view.room_kw[place] else (middle, high)
    return shares(low)


@settings(max_examples=80, deadline=None)
@given(view=FLEETS, smoothing_s=st.sampled_from([300.0, 900.0, 7200.0]))
def test_laxity_shares_are_those_of_the_level_that_uses_up_the_room(view: Fleet, smoothing_s: float) -> None:
    view = replace(view, min_charge_kw=np.zeros(view.site.size))
    kw = ProportionalToLaxity(smoothing_s=smoothing_s).setpoints(view)
    expected = sum(level_by_bisection(view, place, smoothing_s) for place in range(3))
    assert kw == pytest.approx(expected, abs=EPS)


def test_least_laxity_gets_most_and_a_car_that_is_late_anyway_gets_all() -> None:
    view = fleet([Car(0, 10.0, 7200.0), Car(0, 10.0, 5400.0), Car(0, 20.0, 3600.0)], [18.0])
    kw = ProportionalToLaxity(smoothing_s=3600.0).setpoints(view)
    assert kw[2] == 11.0
    assert 0.0 < kw[0] < kw[1] < 11.0
    assert kw.sum() == pytest.approx(18.0)


def test_laxity_is_time_left_minus_time_needed_at_full_power() -> None:
    view = fleet([Car(0, 9.5, 7200.0, 10.0)], [5.0], now_s=900.0)
    assert laxity_s(view, np.array([0])) == pytest.approx([7200.0 - 900.0 - 3600.0])


def test_minimum_currents_that_do_not_all_fit_go_to_the_earliest_departures() -> None:
    people = [Car(0, 10.0, declared, 11.0, 4.14) for declared in (7200.0, 3600.0, 5400.0)]
    assert Proportional().setpoints(fleet(people, [9.0])).tolist() == pytest.approx([0.0, 4.5, 4.5])


@given(st.lists(st.integers(0, 4), max_size=30), st.booleans())
def test_groups_add_up_and_spread_the_same_whatever_the_order_of_their_members(
    groups: list[int], is_sorted: bool
) -> None:
    group = np.array(sorted(groups) if is_sorted else groups, dtype=np.int64)
    values, figures = np.sin(np.arange(1.0, group.size + 1.0)), np.arange(5.0)
    grouping = Grouping(group, 5)
    expected = [sum(value for value, place in zip(values, group, strict=True) if place == k) for k in range(5)]
    assert grouping.sum(values) == pytest.approx(expected, abs=1e-12)
    assert grouping.spread(figures).tolist() == group.tolist()


@given(st.integers(0, 2**32))
def test_a_queue_that_is_kept_serves_as_one_that_is_made_anew(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, 12)
    key = np.where(rng.random(12) < 0.2, np.nan, rng.integers(0, 5, 12) * 600.0)
    kept = Queue(group, key, 3)
    assert kept.is_of(group, key.copy())
    assert not kept.is_of(group, np.where(np.arange(12) == seed % 12, 7.0, key))
    for _ in range(6):
        ask, room = rng.choice([0.0, 3.7, 11.0], 12), rng.choice([0.0, 9.0, 25.0, np.inf], 3)
        least = rng.choice([0.0, 1.4], 12)
        for _ in range(2):
            served = kept.serve_again(ask, np.minimum(least, ask), room)
            assert served.tolist() == serve_in_order(ask, np.minimum(least, ask), key, group, room).tolist()
            assert (np.bincount(group, served, minlength=3) <= room + 1e-12).all()


def test_an_order_of_departures_that_is_kept_follows_who_comes_and_who_changes_his_mind() -> None:
    rule, view = EarliestDeadline(), fleet([Car(0, 20.0, 7200.0), Car(0, 20.0, 3600.0)], [11.0])
    assert rule.setpoints(view).tolist() == [0.0, 11.0]
    view.declared_s[0] = 1800.0
    assert rule.setpoints(view).tolist() == [11.0, 0.0]
    view.declared_s[0], view.target_kwh[0] = np.nan, np.nan
    assert rule.setpoints(view).tolist() == [0.0, 11.0]


def test_round_robin_gives_every_car_the_same_number_of_turns() -> None:
    view = fleet([Car(0, 20.0)] * 5, [22.0])
    rule, turns = RoundRobin(), np.zeros(5)
    for step in range(10):
        view.now_s, view.step = step * 900.0, step
        turns += rule.setpoints(view) > 0.0
    assert turns.tolist() == [4.0] * 5


def test_round_robin_starts_anew_in_a_new_run() -> None:
    view = fleet([Car(0, 20.0)] * 5, [22.0])
    rule = RoundRobin()
    first = rule.setpoints(view).tolist()
    view.now_s = 900.0
    assert rule.setpoints(view).tolist() != first
    view.now_s = 0.0
    assert rule.setpoints(view).tolist() == first


def test_uncontrolled_takes_no_notice_of_the_room() -> None:
    assert Uncontrolled().setpoints(fleet([Car(0, 10.0), Car(0, None)], [5.0])).tolist() == [11.0, 0.0]


@settings(max_examples=100, deadline=None)
@given(view=fleets(st.floats(-60.0, 0.0)), rule=st.sampled_from(SHARING))
def test_without_leave_to_discharge_missing_room_stops_charging_and_no_more(
        view: Fleet, rule: type[RoomSharing]) -> None:
    assert (rule().setpoints(view) == 0.0).all()


@settings(max_examples=200, deadline=None)
@given(view=fleets(st.floats(-60.0, 30.0)), rule=st.sampled_from(SHARING))
def test_discharge_makes_room_and_takes_nothing_that_the_driver_needs(view: Fleet, rule: type[RoomSharing]) -> None:
    kw, ask = rule(discharges=True).setpoints(view), asks(view)
    back, charge = np.maximum(-kw, 0.0), np.maximum(kw, 0.0)
    # No more charges than there is room together with what is given back.
    assert (per_site(view, charge) <= np.maximum(view.room_kw + per_site(view, back), 0.0) + 1e-9).all()
    assert (charge <= ask).all()
    assert (back <= view.max_discharge_kw).all()
    assert ((back == 0.0) | (back >= view.min_discharge_kw - EPS)).all()
    gives = np.flatnonzero(back)
    after = view.energy_kwh[gives] - back[gives] * 0.25
    left_h = np.maximum(view.declared_s[gives] - view.now_s - 900.0, 0.0) / 3600.0
    assert (after >= view.floor_kwh[gives] - 1e-6).all()
    assert (after + view.max_charge_kw[gives] * 0.95 * left_h >= view.target_kwh[gives] - 1e-6).all()
    # Nobody discharges for cars that could wait: what is given back covers missing room and those in a hurry alone.
    slots = np.flatnonzero(ask)
    hurry = np.zeros(kw.size)
    hurry[slots] = np.where(laxity_s(view, slots) < 900.0, charge[slots], 0.0)
    needed = np.maximum(per_site(view, hurry) - view.room_kw, 0.0)
    over = per_site(view, back) - needed
    assert (over <= view.min_discharge_kw.max() + view.min_charge_kw.max() + EPS).all()
    # Room that is still missing is missing because nobody has more to give.
    missing = (-view.room_kw - per_site(view, back))[view.site]
    spare = np.where(view.max_discharge_kw > 0.0, spare_discharge_kw(view, np.arange(view.site.size)), 0.0)
    could = view.is_plugged & (missing > EPS) & (back < spare - EPS)
    assert (view.min_discharge_kw[could] > missing[could] - EPS).all()


def test_the_car_with_most_time_to_spare_discharges_first() -> None:
    early = Car(0, 0.0, 7200.0, back_kw=11.0)
    view = fleet([early, replace(early, declared_s=36000.0)], [-8.0])
    assert EarliestDeadline(discharges=True).setpoints(view).tolist() == [0.0, -8.0]


def test_a_car_that_must_charge_now_does_so_from_a_car_that_can_wait() -> None:
    view = fleet([Car(0, 10.0, 3600.0), Car(0, 10.0, 36000.0), Car(0, 0.0, 36000.0, back_kw=11.0)], [-2.0])
    assert EarliestDeadline().setpoints(view).tolist() == [0.0, 0.0, 0.0]
    assert EarliestDeadline(discharges=True).setpoints(view).tolist() == pytest.approx([9.0, 0.0, -11.0])


def test_one_schedule_serves_all_replicas_and_unnamed_evses_stay_at_rest() -> None:
    power = np.array([[1.0] * 8, [2.0] * 4 + [3.0] * 4])
    view = replace(fleet([Car(0, 1.0)] * 3, [50.0]), ensemble=ensemble([0] * 3, replicas=2), step=4)
    assert FollowSchedule(Schedule(GRID, ("E2", "E0"), power)).setpoints(view).tolist() == [3.0, 0.0, 1.0] * 2


def test_each_replica_follows_its_own_schedule() -> None:
    plans = [Schedule(GRID, ("E0",), np.full((1, 8), kw)) for kw in (4.0, -5.0)]
    view = replace(fleet([Car(0, 1.0)], [50.0]), ensemble=ensemble([0], replicas=2))
    assert FollowSchedule(plans).setpoints(view).tolist() == [4.0, -5.0]
    view = replace(view, ensemble=view.ensemble.part(1, 2))
    assert FollowSchedule(plans).part(1, 2).setpoints(view).tolist() == [-5.0]


@pytest.mark.parametrize(("schedules", "said"), [
    ([Schedule(GRID, ("ghost",), np.zeros((1, 8)))], "ghost"),
    ([Schedule(TimeGrid(GRID.start, 900, 4), ("E0",), np.zeros((1, 4)))], "grid"),
    ([Schedule(GRID, ("E0", "E0"), np.zeros((2, 8)))], "twice"),
    ([Schedule(GRID, ("E0",), np.zeros((1, 8)))] * 3, "3, expected 1 or one for each of the 2"),
])
def test_a_schedule_of_another_fleet_is_refused(schedules: list[Schedule], said: str) -> None:
    view = replace(fleet([Car(0, 1.0)], [50.0]), ensemble=ensemble([0], replicas=2))
    with pytest.raises(ScheduleMismatch, match=said):
        FollowSchedule(schedules).setpoints(view)
