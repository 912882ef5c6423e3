"""What goes wrong with chargers and links."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from twin.assets import Battery, Current, Evse, PowerCurve, Site, TimeGrid, Vehicle
from twin.controllers import Uncontrolled
from twin.engine import run
from twin.ensemble import Ensemble
from twin.faults import PUBLIC_CHARGING, FaultKind, FaultModel, FaultModelError, FaultPlan, draw
from twin.visits import VisitTable

HOUR, DAY = 3600.0, 86_400.0
EVERYTHING = FaultModel(
    down_mtbf_h=200.0, down_mttr_h=10.0, outage_mtbf_h=50.0, ignores_mtbf_h=300.0, derated_mtbf_h=100.0,
    stuck_share=0.2, order_delay_s=2.0, order_loss_share=0.05, meter_sd=0.02, clock_skew_sd_s=20.0, fallback_kw=3.0,
)
# The field that switches each kind on, and what of a plan it may touch.
SWITCHES = ("down_mtbf_h", "outage_mtbf_h", "ignores_mtbf_h", "derated_mtbf_h", "stuck_share", "order_delay_s",
            "order_loss_share", "meter_sd", "clock_skew_sd_s")
PER_SLOT = ("order_delay_s", "order_loss", "meter_factor", "clock_skew_s", "fallback_kw")

Row = tuple[FaultKind, int, float, float, float]


def workplace(evses: int, days: int) -> VisitTable:
    evse, day = np.tile(np.arange(evses), days), np.repeat(np.arange(days), evses)
    arrival = day * DAY + 8 * HOUR + evse * 60.0
    zero = np.zeros(evse.size)
    return VisitTable(evse, evse * 0, arrival, arrival + 8 * HOUR, arrival + 8 * HOUR, zero + 10, zero + 40, zero)


def rows(plan: FaultPlan, kind: FaultKind | None = None) -> list[Row]:
    faults = plan.intervals
    kinds = tuple(FaultKind)
    columns = (faults.kind.tolist(), faults.slot.tolist(), faults.start_s.tolist(), faults.end_s.tolist(),
               faults.value.tolist())
    return [
        (kinds[each], slot, start, end, value) for each, slot, start, end, value in zip(*columns, strict=True)
        if kind is None or kinds[each] is kind
    ]


def drawn(
    model: FaultModel, *, evses: int = 10, replicas: int = 3, days: int = 10, seed: int = 1, first: int = 0,
) -> FaultPlan:
    return draw(
        model, evses=evses, replicas=replicas, seconds=days * DAY, seed=seed, first_replica=first,
        visits=workplace(evses, days),
    )


@settings(max_examples=20)
@given(st.integers(0, 999), st.floats(0.5, 500.0), st.floats(0.1, 50.0), st.just(0.0) | st.floats(0.01, 5.0))
def test_intervals_are_in_order_and_those_of_one_kind_and_slot_do_not_overlap(
    seed: int, between_h: float, repair_h: float, stuck_h: float,
) -> None:
    model = replace(EVERYTHING, down_mtbf_h=between_h, down_mttr_h=repair_h, stuck_repair_h=stuck_h)
    plan = drawn(model, seed=seed)
    faults = plan.intervals
    assert (np.diff(faults.start_s) >= 0.0).all()
    assert (faults.end_s > faults.start_s).all()
    until: dict[tuple[FaultKind, int], float] = {}
    for kind, slot, start, end, value in rows(plan):
        assert 0 <= slot < 30
        assert start >= until.get((kind, slot), 0.0)
        until[kind, slot] = end
        low, high = model.derated_to if kind is FaultKind.DERATED else (0.0, 0.0)
        assert low <= value <= high


def test_a_model_of_nothing_draws_nothing() -> None:
    plan = draw(FaultModel(), evses=4, replicas=2, seconds=DAY, seed=1)
    assert rows(plan) == []
    assert plan.order_delay_s.tolist() == plan.order_loss.tolist() == plan.clock_skew_s.tolist() == [0.0] * 8
    assert plan.meter_factor.tolist() == [1.0] * 8


@pytest.mark.parametrize(
    ("kind", "between_h", "repair_h"),
    [(FaultKind.DOWN, 500.0, 24.0), (FaultKind.OUTAGE, 20.0, 1.0), (FaultKind.IGNORES, 30.0, 30.0),
     (FaultKind.DERATED, 200.0, 50.0)],
)
def test_availability_is_mean_up_over_mean_up_and_down(kind: FaultKind, between_h: float, repair_h: float) -> None:
    evses, days = 1_000, 60
    model = replace(FaultModel(), **{f"{kind}_mtbf_h": between_h, f"{kind}_mttr_h": repair_h})
    plan = draw(model, evses=evses, replicas=1, seconds=days * DAY, seed=9)
    faulty = np.minimum(plan.intervals.end_s, days * DAY) - plan.intervals.start_s
    share = repair_h / (between_h + repair_h)
    each = np.bincount(plan.intervals.slot, faulty, minlength=evses) / (days * DAY)
    assert each.mean() == pytest.approx(share, abs=4.0 * each.std() / np.sqrt(evses))


@pytest.mark.parametrize("switch", SWITCHES)
def test_switching_a_kind_off_leaves_all_others_as_they_were(switch: str) -> None:
    all_on, one_off = drawn(EVERYTHING), drawn(replace(EVERYTHING, **{switch: 0.0}))
    kind = next((kind for kind in FaultKind if switch.startswith(kind)), None)
    touched = {"order_delay_s": "order_delay_s", "order_loss_share": "order_loss", "meter_sd": "meter_factor",
               "clock_skew_sd_s": "clock_skew_s"}.get(switch)
    assert rows(one_off) == [row for row in rows(all_on) if row[0] is not kind]
    assert (kind is None) or rows(all_on, kind)
    for column in PER_SLOT:
        same = (getattr(all_on, column) == getattr(one_off, column)).all()
        assert same == (column != touched)


@settings(max_examples=10)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_the_first_replicas_are_the_same_however_many_run_and_in_batches(first: int, rest: int, seed: int) -> None:
    evses = 10
    whole = drawn(EVERYTHING, replicas=first + rest, seed=seed)
    begun = drawn(EVERYTHING, replicas=first, seed=seed)
    later = drawn(EVERYTHING, replicas=rest, seed=seed, first=first)
    moved = [(kind, slot + first * evses, *about) for kind, slot, *about in rows(later)]
    assert sorted(rows(begun) + moved) == sorted(rows(whole))
    for column in PER_SLOT:
        assert (np.concatenate([getattr(begun, column), getattr(later, column)]) == getattr(whole, column)).all()


def test_more_evses_change_nothing_for_those_that_were_there() -> None:
    few, many = drawn(EVERYTHING, evses=5, replicas=1), drawn(EVERYTHING, evses=9, replicas=1)
    assert [row for row in rows(many) if row[1] < 5] == rows(few)
    for column in PER_SLOT:
        assert (getattr(many, column)[:5] == getattr(few, column)).all()


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1, 0.3])
def test_a_swept_model_has_that_share_of_chargers_faulty_at_any_time(level: float) -> None:
    evses, kinds = 20_000, (FaultKind.DOWN, FaultKind.IGNORES)
    for chosen in ((), kinds):
        plan = draw(FaultModel().swept(level, *chosen), evses=evses, replicas=1, seconds=3 * DAY, seed=5)
        for at in (0.0, 1.7 * DAY):
            now = (plan.intervals.start_s <= at) & (at < plan.intervals.end_s)
            faulty = np.unique(plan.intervals.slot[now]).size
            assert faulty == pytest.approx(evses * level, abs=4.0 * np.sqrt(evses * level * (1.0 - level)))


@settings(max_examples=10)
@given(st.integers(0, 999))
def test_a_charger_that_is_faulty_at_one_level_is_faulty_at_every_higher_one(seed: int) -> None:
    before: list[Row] = []
    kinds = (FaultKind.DOWN, FaultKind.DERATED)
    for level in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3):
        plan = draw(FaultModel().swept(level, *kinds), evses=40, replicas=2, seconds=20 * DAY, seed=seed)
        now = rows(plan)
        for kind, slot, start, end, value in before:
            inside = [row for row in now if row[:2] == (kind, slot) and row[2] <= start and end <= row[3]]
            assert len(inside) == 1
            assert kind is FaultKind.DOWN or end < inside[0][3] or value == inside[0][4]
        before = now
    assert before


def test_a_share_of_visits_finds_a_stuck_connector_and_loses_the_visit() -> None:
    visits = workplace(200, 10)
    plan = draw(FaultModel(stuck_share=0.29), evses=200, replicas=5, seconds=10 * DAY, seed=3, visits=visits)
    stuck = rows(plan, FaultKind.STUCK)
    assert len(stuck) == pytest.approx(0.29 * 10_000, abs=4 * np.sqrt(0.29 * 0.71 * 10_000))
    stays = set(zip(visits.evse.tolist(), visits.arrival_s.tolist(), visits.departure_s.tolist(), strict=True))
    assert all((slot % 200, start, end) in stays for _, slot, start, end, _ in stuck)


def test_a_stuck_connector_is_stuck_for_all_who_come_before_it_is_repaired() -> None:
    visits = workplace(300, 30)
    model = FaultModel(stuck_share=0.02, stuck_repair_h=48.0)
    plan = draw(model, evses=300, replicas=1, seconds=30 * DAY, seed=3, visits=visits)
    lasting = plan.intervals.end_s - plan.intervals.start_s
    assert stats.kstest(lasting, "expon", args=(0.0, 48 * HOUR)).pvalue > 1e-3
    alone = draw(replace(model, stuck_repair_h=0.0), evses=300, replicas=1, seconds=30 * DAY, seed=3, visits=visits)
    for _, slot, start, _, _ in rows(alone):
        assert any(s == slot and a <= start < b for _, s, a, b, _ in rows(plan))


def test_stuck_connectors_are_the_same_from_one_table_or_from_several() -> None:
    visits = workplace(20, 10)
    half = len(visits) // 2
    tables = [visits.take(np.arange(half)), visits.take(np.arange(half, len(visits)))]
    one, several = (
        draw(EVERYTHING, evses=20, replicas=2, seconds=10 * DAY, seed=3, visits=given) for given in (visits, tables)
    )
    assert rows(one) == rows(several)


def test_the_twin_gives_stuck_visits_nothing_and_chargers_that_are_down_no_power() -> None:
    evses, replicas = 8, 5
    site, grid = Site("here", "UTC", 1e4), TimeGrid(datetime(2026, 1, 5, tzinfo=UTC), 900, 2 * 96)
    zero = np.zeros((1, grid.steps))
    car = Vehicle("car", Battery(100.0, PowerCurve((0.0, 1.0), (11.0, 11.0))), max_charge_kw=11.0)
    fleet = Ensemble(
        (site,), tuple(Evse(f"{n}", "here", Current.AC, 11.0) for n in range(evses)), (car,), grid, zero, zero + 1e4,
        zero, replicas=replicas,
    )
    visits = replace(workplace(evses, 2), target_kwh=np.full(2 * evses, 100.0))
    model = FaultModel(down_mtbf_h=20.0, down_mttr_h=3.0, stuck_share=0.3)
    plan = draw(model, evses=evses, replicas=replicas, seconds=2 * DAY, seed=4, visits=visits)
    done = run(fleet, visits, Uncontrolled(), faults=plan, response=False).visits
    for row, replica, imported in zip(done.row, done.replica, done.imported_kwh, strict=True):
        slot, arrival, departure = replica * evses + visits.evse[row], visits.arrival_s[row], visits.departure_s[row]
        mine = [fault for fault in rows(plan) if fault[1] == slot and fault[2] < departure and fault[3] > arrival]
        down_s = sum(min(end, departure) - max(start, arrival) for kind, _, start, end, _ in mine
                     if kind is FaultKind.DOWN)
        is_stuck = any(kind is FaultKind.STUCK for kind, *_ in mine)
        possible = 0.0 if is_stuck else min(11.0 * (departure - arrival - down_s) / HOUR, 90.0)
        assert imported == pytest.approx(possible, rel=1e-9, abs=1e-12)


def test_errors_of_meters_clocks_and_links_follow_their_distributions() -> None:
    plan = draw(EVERYTHING, evses=2_000, replicas=2, seconds=DAY, seed=6, visits=workplace(2_000, 1))
    assert stats.kstest(plan.meter_factor, "norm", args=(1.0, 0.02)).pvalue > 1e-3
    assert stats.kstest(plan.clock_skew_s, "norm", args=(0.0, 20.0)).pvalue > 1e-3
    assert stats.kstest(plan.order_delay_s, "lognorm", args=(0.5, 0.0, 2.0)).pvalue > 1e-3
    assert (plan.order_loss == 0.05).all()
    assert (plan.fallback_kw == 3.0).all()
    together = np.corrcoef([plan.meter_factor, plan.clock_skew_s, np.log(plan.order_delay_s)])
    assert np.abs(together - np.eye(3)).max() < 4.0 / np.sqrt(4_000)


def test_public_charging_is_up_and_starts_as_often_as_reported() -> None:
    visits = workplace(400, 1)
    plan = draw(PUBLIC_CHARGING, evses=400, replicas=50, seconds=DAY, seed=2, visits=visits)
    at_arrival = np.tile(visits.arrival_s, 50)
    kinds = {FaultKind.DOWN: 0.013, FaultKind.STUCK: 1.0 - 0.71 / 0.987}
    fails = np.zeros(20_000, dtype=np.bool_)
    for kind, share in kinds.items():
        mine = plan.intervals.kind == tuple(FaultKind).index(kind)
        slot, start, end = plan.intervals.slot[mine], plan.intervals.start_s[mine], plan.intervals.end_s[mine]
        hit = np.zeros(20_000, dtype=np.bool_)
        hit[slot[(start <= at_arrival[slot]) & (at_arrival[slot] < end)]] = True
        assert hit.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20_000))
        fails |= hit
    assert fails.mean() == pytest.approx(0.29, abs=4 * np.sqrt(0.29 * 0.71 / 20_000))


def test_every_switch_is_off_by_default() -> None:
    model = FaultModel()
    assert all(getattr(model, switch) == 0.0 for switch in SWITCHES)
    assert set(SWITCHES) < {each.name for each in fields(FaultModel)}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FaultModel(down_mtbf_h=-1.0), "down_mtbf_h: -1.0, expected 0 (off) or a second or more, in hours"),
        (lambda: FaultModel(down_mtbf_h=1e-9), "down_mtbf_h: 1e-09, expected 0 (off) or a second or more, in hours"),
        (lambda: FaultModel(meter_sd=float("nan")), "meter_sd: nan, expected 0 or more"),
        (lambda: FaultModel(down_mttr_h=0.0), "down_mttr_h: 0.0, expected a second or more, in hours"),
        (lambda: FaultModel(stuck_share=1.5), "stuck_share: 1.5, expected a probability from 0 to 1"),
        (lambda: FaultModel(derated_to=(0.9, 0.2)), "derated_to: (0.9, 0.2), expected two fractions"),
        (lambda: FaultModel().swept(1.0), "level: 1.0, expected a fraction from 0 to below 1"),
        (lambda: FaultModel().swept(0.1, FaultKind.STUCK), "kinds: 'stuck', expected down, outage, ignores or derated"),
        (lambda: draw(FaultModel(), evses=0, replicas=1, seconds=1.0, seed=0), "evses: 0, expected more than 0"),
        (
            lambda: draw(FaultModel(stuck_share=0.1), evses=1, replicas=1, seconds=1.0, seed=0),
            "stuck_share: 0.1, expected 0, or visits",
        ),
    ],
)
def test_an_impossible_model_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(FaultModelError) as refused:
        make()
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize("spread", [0.5, 50.0, 1e6, 1e308])
@pytest.mark.parametrize("median_s", [1e-3, 2.0, 1e9])
def test_delays_of_any_spread_are_finite_and_half_of_them_below_the_median(median_s: float, spread: float) -> None:
    model = FaultModel(order_delay_s=median_s, order_delay_spread=spread)
    delays = draw(model, evses=2000, replicas=1, seconds=DAY, seed=5).order_delay_s
    assert np.isfinite(delays).all()
    assert np.mean(delays < median_s) == pytest.approx(0.5, abs=0.05)
