"""What drivers really do."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import Battery, Current, Evse, PowerCurve, Site, TimeGrid, Vehicle
from twin.controllers import Controller, EarliestDeadline, Uncontrolled
from twin.drivers import Drawn, DriverModel, DriverModelError, draw, draw_chunks
from twin.drivers.departures import ParametricDepartures, PerfectDepartures, RecordedDepartures
from twin.engine import run
from twin.ensemble import Ensemble
from twin.visits import COLUMNS, Revisions, VisitTable, VisitTableError

HOUR = 3600.0
CAPACITY = np.array([60.0, 40.0])
EVERYTHING = DriverModel(
    no_show_share=0.1, unplug_share=0.1, retarget_share=0.3, correct_share=0.3,
)


def fleet(evses: int, days: int, seed: int = 0) -> VisitTable:
    """Two visits per EVSE and day, as at a workplace that is a car park at night."""
    rng = np.random.default_rng(seed)
    evse = np.tile(np.repeat(np.arange(evses), 2), days)
    day = np.repeat(np.arange(days), 2 * evses) * 24 * HOUR
    is_evening = np.tile([False, True], evses * days)
    arrival = day + np.where(is_evening, 17.5, 7.0) * HOUR + rng.uniform(0.0, 1.5 * HOUR, evse.size)
    declared = day + np.where(is_evening, 23.5, 16.0) * HOUR
    order = np.argsort(arrival)
    energy = rng.uniform(5.0, 35.0, evse.size)
    return VisitTable(
        evse=evse[order], vehicle=rng.integers(0, 2, evse.size), arrival_s=arrival[order],
        departure_s=(declared - 0.25 * HOUR)[order], declared_s=declared[order], energy_kwh=energy,
        target_kwh=rng.uniform(10.0, 40.0, evse.size), floor_kwh=np.full(evse.size, 4.0),
        ids=tuple(f"visit {number}" for number in range(evse.size)),
    )


def by_name(drawn: Drawn) -> dict[tuple[int, int], tuple[float, ...]]:
    """Everything drawn about a visit, by its row in the given table and its replica."""
    assert drawn.visits.replica is not None
    about = {
        (row, replica): tuple(getattr(drawn.visits, name)[place] for name in COLUMNS)
        for place, (row, replica) in enumerate(zip(drawn.row.tolist(), drawn.visits.replica.tolist(), strict=True))
    }
    for row, time, declared, target in zip(
        drawn.revisions.row, drawn.revisions.time_s, drawn.revisions.declared_s, drawn.revisions.target_kwh, strict=True
    ):
        name = int(drawn.row[row]), int(drawn.visits.replica[row])
        about[name] += (float(time), *np.nan_to_num([declared, target], nan=-1.0).tolist())
    return about


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_every_visit_drawn_is_possible(evses: int, days: int, replicas: int, seed: int) -> None:
    visits = fleet(evses, days)
    drawn = draw(visits, EVERYTHING, replicas=replicas, seed=seed, capacity_kwh=CAPACITY)
    assert drawn.visits.replica is not None
    assert len(drawn.visits) + drawn.no_shows == len(visits) * replicas
    for name in ("evse", "vehicle", "arrival_s", "declared_s", "energy_kwh", "target_kwh", "floor_kwh"):
        assert (getattr(drawn.visits, name) == getattr(visits, name)[drawn.row]).all()
    last: dict[tuple[int, int], float] = {}
    for evse, replica, arrival, departure in zip(
        drawn.visits.evse.tolist(), drawn.visits.replica.tolist(), drawn.visits.arrival_s, drawn.visits.departure_s,
        strict=True,
    ):
        assert arrival >= last.get((evse, replica), 0.0)
        last[evse, replica] = departure
    changed = drawn.revisions
    assert (np.diff(changed.time_s) >= 0.0).all()
    assert (changed.time_s >= drawn.visits.arrival_s[changed.row]).all()
    assert (changed.time_s <= drawn.visits.departure_s[changed.row]).all()
    assert (changed.replica == -1).all()
    is_target = ~np.isnan(changed.target_kwh)
    assert (changed.target_kwh[is_target] <= CAPACITY[drawn.visits.vehicle[changed.row[is_target]]]).all()
    assert (changed.declared_s[~is_target] == drawn.visits.departure_s[changed.row[~is_target]]).all()


@settings(max_examples=15)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 99))
def test_the_first_replicas_are_the_same_however_many_run_and_in_batches(
    replicas: int, first: int, seed: int,
) -> None:
    visits = fleet(4, 2)
    together = by_name(draw(visits, EVERYTHING, replicas=replicas + first, seed=seed))
    begun = by_name(draw(visits, EVERYTHING, replicas=first, seed=seed))
    rest = by_name(draw(visits, EVERYTHING, replicas=replicas, seed=seed, first_replica=first))
    assert begun | {(row, replica + first): about for (row, replica), about in rest.items()} == together


def test_other_visits_change_no_draw() -> None:
    visits = fleet(6, 3)
    some = np.flatnonzero(visits.evse < 3)
    model = replace(EVERYTHING, no_show_share=0.0)
    whole = by_name(draw(visits, model, replicas=3, seed=5))
    part = by_name(draw(visits.take(some), model, replicas=3, seed=5))
    assert part == {(row, replica): whole[int(some[row]), replica] for row, replica in part}


@pytest.mark.parametrize("habit", ["no_show_share", "unplug_share", "retarget_share", "correct_share"])
def test_a_habit_leaves_all_who_do_not_have_it_alone(habit: str) -> None:
    visits = fleet(10, 1)
    without = by_name(draw(visits, DriverModel(), replicas=4, seed=2))
    having = draw(visits, replace(DriverModel(), **{habit: 0.4}), replicas=4, seed=2)
    with_it = by_name(having)
    changed = sum(without[name] != with_it.get(name) for name in without)
    unlike = having.no_shows + int(having.is_unplugged.sum()) + len(having.revisions)
    # A place that a no-show leaves free may let the car before stay longer.
    assert changed == unlike or (habit == "no_show_share" and unlike <= changed < 2 * unlike)
    assert 0.2 * len(without) < unlike < 0.6 * len(without)


def test_more_of_a_habit_only_adds_to_those_who_have_it() -> None:
    visits = fleet(10, 1)
    few, many = (
        by_name(draw(visits, DriverModel(PerfectDepartures(), no_show_share=share), replicas=4, seed=2)).keys()
        for share in (0.1, 0.3)
    )
    assert many < few


def test_shares_are_met() -> None:
    visits = fleet(100, 1)
    drawn = draw(visits, DriverModel(no_show_share=0.2, unplug_share=0.3, retarget_share=0.25), replicas=50, seed=4)
    count = 50 * len(visits)
    assert drawn.no_shows == pytest.approx(0.2 * count, abs=4 * np.sqrt(0.16 * count))
    come = len(drawn.visits)
    assert int(drawn.is_unplugged.sum()) == pytest.approx(0.3 * come, abs=4 * np.sqrt(0.21 * come))
    assert len(drawn.revisions) == pytest.approx(0.25 * come, abs=4 * np.sqrt(0.1875 * come))


def test_an_unplugged_car_leaves_evenly_over_its_stay() -> None:
    visits = fleet(200, 1)
    drawn = draw(visits, DriverModel(RecordedDepartures(), unplug_share=1.0), replicas=20, seed=4)
    planned = (visits.departure_s - visits.arrival_s)[drawn.row]
    part = (drawn.visits.departure_s - drawn.visits.arrival_s) / planned
    # Uniform: mean 1/2, variance 1/12.
    assert part.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / part.size))
    assert part.var() == pytest.approx(1 / 12, rel=0.05)
    assert part.max() <= 1.0


def test_a_changed_target_scales_what_is_still_wanted() -> None:
    visits = fleet(50, 1)
    model = DriverModel(PerfectDepartures(), retarget_share=1.0, retarget_factor=(0.5, 0.5))
    drawn = draw(visits, model, replicas=1, seed=4)
    row = drawn.row[drawn.revisions.row]
    wanted = np.maximum(visits.target_kwh - visits.energy_kwh, 0.0)[row]
    # A car that came with more than its target keeps it: nobody suddenly wants to arrive home with more.
    assert drawn.revisions.target_kwh == pytest.approx(visits.target_kwh[row] - 0.5 * wanted)


def test_a_driver_who_corrects_tells_the_real_departure_in_time() -> None:
    visits = fleet(50, 1)
    model = DriverModel(ParametricDepartures(0.5, 300.0, 0.5, 60.0), correct_share=1.0, correct_notice_s=2 * HOUR)
    drawn = draw(visits, model, replicas=2, seed=4)
    changed = drawn.revisions
    assert len(changed) == len(drawn.visits)
    departure, arrival = drawn.visits.departure_s[changed.row], drawn.visits.arrival_s[changed.row]
    assert (changed.declared_s == departure).all()
    assert changed.time_s == pytest.approx(np.maximum(departure - 2 * HOUR, arrival))


def test_a_late_driver_makes_room_for_the_next_car_that_comes() -> None:
    visits = fleet(1, 1)
    late = DriverModel(ParametricDepartures(0.0, 1.0, 1.0, 1e6))
    drawn = draw(visits, late, replicas=1, seed=0)
    assert drawn.visits.departure_s[0] == visits.arrival_s[1]
    assert drawn.visits.departure_s[1] > visits.declared_s[1] + 24 * HOUR


def test_two_cars_at_once_are_refused() -> None:
    visits = fleet(1, 1)
    twice = visits.take(np.array([0, 0, 1]))
    with pytest.raises(VisitTableError, match=r"row 1, arrival_s: .*, expected a time after the visit before it"):
        draw(twice, DriverModel(), replicas=1, seed=0)


def test_visits_that_have_replicas_keep_them() -> None:
    visits = fleet(3, 1)
    own = replace(visits, replica=np.arange(len(visits)) % 2)
    drawn = draw(own, DriverModel(), replicas=2, seed=0)
    in_all = by_name(draw(visits, DriverModel(), replicas=2, seed=0))
    assert drawn.visits.replica is not None
    assert (drawn.visits.replica == own.replica).all()
    arrival = {(row, replica): about for (row, replica), about in by_name(drawn).items()}
    same = [name for name in arrival if arrival[name][:4] == in_all[name][:4]]
    # Only who stays until the next car comes may differ: the next car is in the other replica now.
    assert len(same) >= len(arrival) / 2
    with pytest.raises(VisitTableError, match=r"row 1, replica: 1, expected 0 to 0"):
        draw(own, DriverModel(), replicas=1, seed=0)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 7), max_size=4), st.integers(0, 99))
def test_tables_in_chunks_are_drawn_as_one(cuts: list[int], seed: int) -> None:
    visits = replace(fleet(5, 8), ids=())
    whole = draw(visits, EVERYTHING, replicas=2, seed=seed, capacity_kwh=CAPACITY)
    borders = [0.0, *sorted({24.0 * HOUR * cut for cut in cuts}), np.inf]
    tables = [
        visits.take((visits.arrival_s >= begin) & (visits.arrival_s < end))
        for begin, end in pairwise(borders)
    ]
    parts = list(draw_chunks(tables, EVERYTHING, replicas=2, seed=seed, capacity_kwh=CAPACITY))
    for name in (*COLUMNS, "replica"):
        joined = np.concatenate([getattr(part.visits, name) for part in parts])
        expected = getattr(whole.visits, name)
        if name == "departure_s":
            # The last chunk but one knows all that comes; those before it see one chunk ahead.
            assert (joined <= expected).all()
            assert np.mean(joined == expected) > 0.95
        else:
            assert (joined == expected).all()
    assert (np.concatenate([part.row for part in parts]) == whole.row).all()
    assert sum(part.no_shows for part in parts) == whole.no_shows
    assert sorted(np.concatenate([part.revisions.row for part in parts]).tolist()) == sorted(
        whole.revisions.row.tolist()
    )


def ensemble(evses: int, days: int, replicas: int) -> Ensemble:
    flat = PowerCurve((0.0, 0.8, 1.0), (11.0, 11.0, 2.0))
    cars = tuple(Vehicle(f"{kwh:g} kWh", Battery(float(kwh), flat), max_charge_kw=11.0) for kwh in CAPACITY)
    cap = np.full((1, 96 * days), 4.0 * evses)
    return Ensemble(
        sites=(Site("here", "UTC", 4.0 * evses),), vehicles=cars,
        evses=tuple(Evse(f"{number}", "here", Current.AC, 11.0, min_charge_kw=4.14) for number in range(evses)),
        grid=TimeGrid(datetime(2026, 1, 5, tzinfo=UTC), 900, 96 * days), base_load_kw=np.zeros_like(cap),
        import_cap_kw=cap, export_cap_kw=np.zeros_like(cap), replicas=replicas,
    )


@pytest.mark.parametrize("controller", [Uncontrolled, EarliestDeadline])
def test_drawn_fleets_run_and_what_drivers_change_is_heard(controller: type[Controller]) -> None:
    model = replace(EVERYTHING, departures=ParametricDepartures(0.4, 120.0, 0.4, 60.0))
    drawn = draw(fleet(6, 3), model, replicas=4, seed=3, capacity_kwh=CAPACITY)
    outcome = run(ensemble(6, 3, 4), drawn.visits, controller(), revisions=drawn.revisions)
    assert len(outcome.visits.row) == len(drawn.visits)
    last_target = drawn.visits.target_kwh.copy()
    for row, target in zip(drawn.revisions.row, drawn.revisions.target_kwh, strict=True):
        last_target[row] = last_target[row] if np.isnan(target) else target
    row = outcome.visits.row
    short = np.maximum(last_target[row] - outcome.visits.energy_kwh, 0.0)
    assert outcome.visits.shortfall_kwh == pytest.approx(short, abs=1e-9)
    raised = last_target > drawn.visits.target_kwh + 1.0
    got = np.zeros(len(drawn.visits))
    got[row] = outcome.visits.energy_kwh
    assert (got[raised] > drawn.visits.target_kwh[raised] + 0.5).any()


def test_a_batch_of_replicas_runs_as_it_does_among_all() -> None:
    controller = EarliestDeadline()
    visits, energies = fleet(6, 3), []
    for first, replicas in ((0, 5), (0, 2), (2, 3)):
        drawn = draw(visits, EVERYTHING, replicas=replicas, seed=3, first_replica=first, capacity_kwh=CAPACITY)
        batch = replace(ensemble(6, 3, replicas), first_replica=first)
        energies.append(run(batch, drawn.visits, controller, revisions=drawn.revisions).import_kwh)
    assert (np.concatenate(energies[1:]) == energies[0]).all()


def test_a_fleet_drawn_in_chunks_runs_as_one() -> None:
    visits = replace(fleet(6, 6), ids=())
    # Late, but not by days: every chunk sees the next arrival at each of its EVSEs.
    model = replace(EVERYTHING, departures=ParametricDepartures(0.4, 120.0, 0.4, 30.0), no_show_share=0.0)
    whole = draw(visits, model, replicas=2, seed=3, capacity_kwh=CAPACITY)
    tables = [visits.take((visits.arrival_s // (48 * HOUR)) == pair) for pair in range(3)]
    parts = list(draw_chunks(tables, model, replicas=2, seed=3, capacity_kwh=CAPACITY))
    revisions = Revisions(*(
        np.concatenate([getattr(part.revisions, name) for part in parts])
        for name in ("row", "replica", "time_s", "declared_s", "target_kwh")
    ))
    at_once = run(ensemble(6, 6, 2), whole.visits, EarliestDeadline(), revisions=whole.revisions)
    in_turn = run(ensemble(6, 6, 2), (part.visits for part in parts), EarliestDeadline(), revisions=revisions)
    assert in_turn.digest() == at_once.digest()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: DriverModel(no_show_share=-0.1), "no_show_share: -0.1, expected a share from 0 to 1"),
        (lambda: DriverModel(retarget_factor=(2.0, 1.0)), "retarget_factor: (2.0, 1.0), expected two factors"),
        (lambda: DriverModel(correct_notice_s=-1.0), "correct_notice_s: -1.0, expected 0 s or more"),
        (lambda: DriverModel(min_stay_s=0.0), "min_stay_s: 0.0, expected more than 0 s"),
        (lambda: draw(fleet(1, 1), DriverModel(), replicas=0, seed=0), "replicas: 0, expected 1 or more"),
    ],
)
def test_an_impossible_model_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(DriverModelError) as refused:
        make()
    assert str(refused.value).startswith(told)
