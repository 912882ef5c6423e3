"""From beliefs to a planning problem, and when it is solved again."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import numpy as np
import pytest

from aggregator.clock import ScaledClock, Segment
from aggregator.fleet.beliefs import VehicleModel
from aggregator.fleet.departures import DepartureHistory, PastStay
from aggregator.fleet.model import LiveSession, SocSource
from aggregator.planning.gate import GateOutcome, PlanRequest, safe_outcome
from aggregator.planning.site.arrivals import LearntArrivals, PastVisit
from aggregator.planning.site.forecast import ArrivalForecast, BaseLoadForecast
from aggregator.planning.site.horizon import RecedingHorizon
from aggregator.planning.site.problem import Commitment, Cut
from aggregator.planning.site.request import as_far_as_needed, build_request
from aggregator.planning.site.situation import Dispatched, SiteModel, Situation, horizon_grid
from aggregator.planning.site.solve import solve
from markets.rate import shipped_rate
from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Schedule, Site, TimeGrid, Vehicle
from twin.battery import battery_kw

ZONE = "America/Los_Angeles"
TEN = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)  # 10:00 local
STEPS = 24
CAP_KW = 100.0
LOSS = LossCurve(0.15, 0.045, 0.004)


def car(discharge_kw: float = 0.0) -> VehicleModel:
    curve = PowerCurve((0.0, 1.0), (50.0, 50.0))
    battery = Battery(60.0, curve, curve if discharge_kw else None, LOSS, soc_max=0.9)
    return VehicleModel(Vehicle("car", battery, 9.0, discharge_kw, 0.5 if discharge_kw else 0.0), 0.07)


def site(**changes: Any) -> SiteModel:
    values: dict[str, Any] = {
        "site": Site("site", ZONE, CAP_KW),
        "evses": {
            "AC": Evse("AC", "site", Current.AC, 6.656, 1.248),
            "DC": Evse("DC", "site", Current.DC, 11.0, 0.0, 11.0),
        },
        "vehicles": {"plain": car(), "bidi": car(10.0)}, "rate": shipped_rate("sce_tou_ev_4"),
        "base_load": BaseLoadForecast((40.0,) * 24, ZONE), "steps": STEPS,
    }
    return SiteModel(**(values | changes))


def session(evse_id: str = "DC", **changes: Any) -> LiveSession:
    values: dict[str, Any] = {
        "transaction_id": f"tx-{evse_id}", "evse_id": evse_id, "id_token": "card", "started_at": TEN,
        "departure": TEN + timedelta(hours=4), "target_kwh": 40.0, "requested_kwh": 10.0, "floor_kwh": 12.0,
        "capacity_kwh": 60.0, "energy_kwh": 30.0, "delivered_kwh": 0.0, "imported_kwh": 0.0, "exported_kwh": 0.0,
        "power_kw": 0.0, "vehicle_model": "bidi" if evse_id == "DC" else "plain", "v2g_consent": True,
        "soc_source": SocSource.REPORTED, "soc_at": TEN, "is_declared": True,
    }
    return LiveSession(**(values | changes))


def situation(*sessions: LiveSession, now: datetime = TEN, **changes: Any) -> Situation:
    values: dict[str, Any] = {
        "now": now, "sessions": sessions, "measured_base": None, "peak_so_far_kw": 70.0,
        "import_cap_kw": np.full(STEPS, CAP_KW), "permitted_kw": {},
    }
    return Situation(**(values | changes))


def event(first: int, *max_net_kw: float) -> Commitment:
    return Commitment("event", tuple(range(first, first + len(max_net_kw))), max_net_kw, 3.0)


@pytest.mark.parametrize(("passed_s", "fraction"), [(0, 1.0), (300, 2 / 3), (899, 1 / 900)])
def test_the_first_step_counts_as_far_as_it_lies_ahead(passed_s: int, fraction: float) -> None:
    now = TEN + timedelta(seconds=passed_s)
    request = build_request(site(), situation(session(), now=now))
    assert request.problem.grid == request.world.grid == horizon_grid(now, 900, STEPS)
    assert request.problem.grid.start == TEN
    assert request.problem.first_step_fraction == pytest.approx(fraction)
    assert request.world.begin == now


@pytest.mark.parametrize(
    ("evse_id", "permitted_kw", "discharge_kw"),
    [("DC", {"DC": 4.0}, 4.0), ("DC", {"DC": 50.0}, 10.0), ("DC", {}, 0.0), ("DC", {"DC": 0.0}, 0.0),
     ("AC", {"AC": 11.0}, 0.0)],
)
def test_nothing_is_planned_to_discharge_beyond_permit_car_and_charger(
    evse_id: str, permitted_kw: dict[str, float], discharge_kw: float
) -> None:
    request = build_request(site(), situation(session(evse_id), permitted_kw=permitted_kw))
    assert request.problem.evs[0].max_discharge_kw == discharge_kw
    assert request.discharge_allowed_kw == permitted_kw


@pytest.mark.parametrize(
    ("seen_kw", "planned_kw"), [({}, 6.656), ({"AC": 3.0}, 3.0), ({"AC": 0.2}, 1.248), ({"AC": 20.0}, 6.656)]
)
def test_a_car_seen_to_take_less_is_planned_at_less_but_can_be_told_the_minimum(
    seen_kw: dict[str, float], planned_kw: float
) -> None:
    request = build_request(site(), situation(session("AC"), draw_limits_kw=seen_kw))
    assert request.problem.evs[0].max_charge_kw == planned_kw


def test_a_car_that_is_full_charges_no_more_unless_it_may_discharge_first() -> None:
    full = session(is_full=True)
    assert build_request(site(), situation(full)).problem.evs[0].max_charge_kw == 0.0
    assert build_request(site(), situation(full, permitted_kw={"DC": 5.0})).problem.evs[0].max_charge_kw == 9.0


@pytest.mark.parametrize(("minutes_ahead", "depart"), [(240, 16), (239, 15), (10, 1), (-5, 1), (10_000, STEPS)])
def test_a_car_is_counted_on_for_whole_steps_before_its_departure(minutes_ahead: int, depart: int) -> None:
    leaving = session(departure=TEN + timedelta(minutes=minutes_ahead))
    request = build_request(site(), situation(leaving))
    assert request.problem.evs[0].depart == depart
    assert request.world.visits[0].departure == request.problem.grid.at(depart)


def test_energies_keep_within_what_the_car_itself_allows() -> None:
    (demand,) = build_request(site(), situation(session())).problem.evs
    assert demand.capacity_kwh == pytest.approx(0.9 * 60.0)
    assert (demand.energy_kwh, demand.target_kwh, demand.floor_kwh) == (30.0, 40.0, 12.0)
    assert demand.leave_probability is not None
    assert 0.0 < demand.leave_probability.sum() < 1.0


@pytest.mark.parametrize("evse_id", ["AC", "DC"])
def test_efficiencies_stand_on_the_losses_of_the_car(evse_id: str) -> None:
    (demand,) = build_request(site(), situation(session(evse_id), permitted_kw={"DC": 10.0})).problem.evs
    vehicle = site().vehicles["bidi"].vehicle
    at_rated = battery_kw(vehicle, demand.max_charge_kw) / demand.max_charge_kw
    at_a_third = battery_kw(vehicle, demand.max_charge_kw / 3) / (demand.max_charge_kw / 3)
    assert at_a_third < demand.charge_efficiency < at_rated + 0.01
    if demand.max_discharge_kw:
        assert demand.discharge_efficiency < 10.0 / -battery_kw(vehicle, -10.0) + 0.03 < 1.0


def test_a_coming_event_is_planned_with_reserve_and_examined_as_promised() -> None:
    model = site(arrivals=ArrivalForecast((2.0,) * 24, 10.0, 6.656, ZONE))
    request = build_request(model, situation(commitments=(event(8, 30.0, 25.0),)))
    assert request.promises == (event(8, 30.0, 25.0),)
    (held,) = request.problem.commitments
    assert (held.signal_id, held.steps, held.shortfall_per_kwh) == ("event", (8, 9), 3.0)
    alone = build_request(site(), situation(commitments=(event(8, 30.0, 25.0),))).problem.commitments[0]
    coming_kw = request.problem.base_kw - 40.0
    for step, promised, kw, without in zip(held.steps, (30.0, 25.0), held.max_net_kw, alone.max_net_kw, strict=True):
        assert without <= promised - model.event_reserve_kw
        # 97.5 % quantile of a sum of independent cars: 1.96 times the root of mean load times a car's power.
        assert without - kw == pytest.approx(1.96 * np.sqrt(coming_kw[step] * 6.656))


def test_a_running_event_keeps_nothing_back_but_what_the_building_does_within_a_minute() -> None:
    model = site(arrivals=ArrivalForecast((2.0,) * 24, 10.0, 6.656, ZONE))
    (held,) = build_request(model, situation(commitments=(event(0, 30.0, 30.0),))).problem.commitments
    assert held.max_net_kw == (30.0 - model.event_reserve_kw,) * 2


def test_the_plan_keeps_free_of_the_cap_what_the_replay_may_use() -> None:
    limited = np.full(STEPS, CAP_KW)
    limited[3:5] = 2.0
    request = build_request(site(reserve_kw=3.0), situation(import_cap_kw=limited))
    assert request.world.import_cap_kw.tolist() == limited.tolist()
    assert request.problem.import_cap_kw[0] == CAP_KW - 3.0
    assert request.problem.import_cap_kw[3] == 0.0


def test_the_caps_of_the_site_hold_whatever_a_limit_says() -> None:
    generous = np.full(STEPS, 500.0)
    request = build_request(site(), situation(import_cap_kw=generous, export_cap_kw=generous))
    assert (request.world.import_cap_kw == CAP_KW).all()
    assert (request.world.export_cap_kw == 0.0).all()


def test_a_limit_on_export_binds_plan_and_replay() -> None:
    limit = np.where(np.arange(STEPS) < 4, 2.0, 50.0)
    model = site(site=Site("site", ZONE, CAP_KW, export_cap_kw=20.0))
    request = build_request(model, situation(export_cap_kw=limit))
    for caps in (request.problem.export_cap_kw, request.world.export_cap_kw):
        assert caps.tolist() == [2.0] * 4 + [20.0] * (STEPS - 4)


def test_drivers_are_guarded_only_where_the_grid_asks_something() -> None:
    model, limited = site(), np.full(STEPS, CAP_KW)
    limited[2] = 50.0
    assert build_request(model, situation(session())).without_signals_kw is None
    for signalled in (situation(commitments=(event(8, 30.0),)), situation(import_cap_kw=limited)):
        free = build_request(model, signalled).without_signals_kw
        assert free is not None
        assert free.tolist() == [CAP_KW - model.reserve_kw] * STEPS


def test_cars_still_to_come_are_load_for_plan_and_replay_alike() -> None:
    model = site(arrivals=ArrivalForecast((2.0,) * 24, 10.0, 6.656, ZONE))
    request = build_request(model, situation())
    assert (request.problem.base_kw > 40.0).all()
    assert request.world.base_load_kw.tolist() == request.problem.base_kw.tolist()


def test_what_a_replay_taught_goes_into_the_next_problem() -> None:
    taught = (Cut("taper", 20.0, ev_id="tx-DC", slope_per_h=0.4),)
    request = build_request(site(), situation(session(), known_cuts=taught, peak_so_far_kw=88.0))
    assert request.problem.cuts == taught
    assert request.problem.peak_so_far_kw == 88.0


class SlowPlanner:
    """Answers with the safe plan as soon as it is let go; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[PlanRequest] = []
        self.asks = asyncio.Queue[PlanRequest]()
        self.let_go = asyncio.Semaphore(0)

    async def plan(self, request: PlanRequest) -> GateOutcome:
        self.asked.append(request)
        self.asks.put_nowait(request)
        await self.let_go.acquire()
        return safe_outcome(request, "")


class Stage:
    """A running horizon over a slow planner; notes what was observed and adopted, in order."""

    def __init__(self, factor: float = 1.0, start: datetime = TEN + timedelta(minutes=1)) -> None:
        self.planner = SlowPlanner()
        self.happened: list[str] = []
        self.reasons: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        self.clock = ScaledClock([Segment(time.time(), start, factor)])
        self.horizon = RecedingHorizon(site(), self.clock, self.planner, self._observe, self._adopt)

    def _observe(self) -> Situation:
        self.happened.append("observed")
        return situation(session(), now=self.clock.now())

    async def _adopt(
        self, seen: Situation, request: PlanRequest, outcome: GateOutcome, reasons: tuple[str, ...]
    ) -> None:
        assert request.world.begin == seen.now
        assert outcome.plan.grid == request.problem.grid
        await asyncio.sleep(0.01)
        self.happened.append("adopted")
        self.reasons.put_nowait(reasons)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.horizon.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def soon(waiting: Any) -> Any:
    return await asyncio.wait_for(waiting, 30.0)


@pytest.mark.anyio
async def test_whatever_is_asked_during_a_solve_makes_one_more_plan() -> None:
    async with Stage() as stage:
        stage.horizon.request("arrival")
        await soon(stage.planner.asks.get())
        for reason in ("trim", "departure", "trim", "arrival"):
            stage.horizon.request(reason)
        stage.planner.let_go.release()
        assert await soon(stage.reasons.get()) == ("arrival",)
        await soon(stage.planner.asks.get())
        stage.planner.let_go.release()
        assert await soon(stage.reasons.get()) == ("trim", "departure", "arrival")
        await asyncio.sleep(0.05)
        assert len(stage.planner.asked) == 2
        assert stage.happened == ["observed", "adopted"] * 2  # a plan is adopted before the next look at the site


@pytest.mark.anyio
async def test_the_clock_asks_for_a_plan_at_every_quarter_of_an_hour() -> None:
    async with Stage(factor=9000.0, start=TEN + timedelta(minutes=14)) as stage:
        stage.planner.let_go = asyncio.Semaphore(100)
        assert await soon(stage.reasons.get()) == ("clock",)
        assert await soon(stage.reasons.get()) == ("clock",)
        first, second = (request.world.begin for request in stage.planner.asked[:2])
        assert first is not None
        assert second is not None
        assert first >= TEN + timedelta(minutes=15)
        assert second >= next_quarter(first)


def next_quarter(when: datetime) -> datetime:
    """The first quarter of an hour after `when`."""
    return horizon_grid(when, 900, 1).end


@pytest.mark.parametrize("peak_so_far_kw", [0.0, 46.0, 70.0])
@pytest.mark.parametrize("events", [(), (event(10, 45.0, 45.0),)])
def test_a_horizon_cut_after_the_last_car_and_event_decides_the_same(
    peak_so_far_kw: float, events: tuple[Commitment, ...]
) -> None:
    """The cost differs by what the building alone costs beyond the cut: its energy, and its rise of the peak."""
    base_kw = (40.0,) * 14 + (60.0,) * 10  # it rises at 14:00, when the car has left
    model = site(base_load=BaseLoadForecast(base_kw, ZONE))
    whole = situation(
        session(departure=TEN + timedelta(hours=2)), peak_so_far_kw=peak_so_far_kw, commitments=events,
        permitted_kw={"DC": 10.0},
    )
    less = as_far_as_needed(model, whole)
    full, short = build_request(model, whole).problem, build_request(*less).problem
    steps = short.grid.steps
    assert steps == (12 if events else 8)
    beyond = full.base_kw[steps:]
    alone = float(full.import_price[steps:] @ beyond) * full.grid.step_hours
    alone += full.demand_price * max(0.0, float(beyond.max()) - peak_so_far_kw)
    assert solve(full).objective == pytest.approx(solve(short).objective + alone, abs=1e-4)


def test_a_car_that_does_not_draw_is_planned_nothing_and_others_are() -> None:
    request = build_request(site(), situation(session("DC"), session("AC"), cannot_charge=frozenset({"DC"})))
    power = {ev.evse_id: ev.max_charge_kw for ev in request.problem.evs}
    assert power["DC"] == 0.0
    assert power["AC"] > 0.0


def past_stays(share: float) -> DepartureHistory:
    """Two months in which everyone stayed for this share of what was declared."""
    begin = TEN - timedelta(days=30)
    return DepartureHistory.learnt((
        PastStay(f"card-{k}", begin, begin + timedelta(hours=4), begin + share * timedelta(hours=4))
        for k in range(200)), before=TEN, timezone="UTC")


def test_a_car_is_ready_before_drivers_like_this_one_leave() -> None:
    """All left in the half hour before noon, of four declared hours: the energy is there by then."""
    model = site(departures=past_stays(0.5), ready_quantile=0.1)
    (demand,) = build_request(model, situation(session())).problem.evs
    assert demand.leave_probability is not None
    assert demand.depart == 16
    assert np.flatnonzero(demand.leave_probability == 1.0).tolist() == [5]
    plan = solve(build_request(model, situation(session())).problem)
    assert plan.energy_kwh[0, 5] == pytest.approx(40.0, abs=0.01)


def test_without_a_quantile_or_without_history_there_is_no_buffer() -> None:
    for model in (site(departures=past_stays(0.5), ready_quantile=None), site(ready_quantile=0.1)):
        (demand,) = build_request(model, situation(session())).problem.evs
        assert demand.leave_probability is not None
        assert demand.leave_probability.max() < 1.0


def test_a_car_that_may_discharge_is_counted_on_as_long_as_drivers_like_this_one_stay() -> None:
    """All stayed for half as long again as declared; the energy is due as declared all the same."""
    model = site(departures=past_stays(1.5), outstay_share=0.5)
    bidirectional = situation(session(), permitted_kw={"DC": 10.0})
    request = build_request(model, bidirectional)
    (demand,) = request.problem.evs
    assert (demand.due, demand.depart) == (16, 23)  # until half of the half hour in which they left
    assert request.world.visits[0].departure == request.problem.grid.at(23)
    assert demand.leave_probability is not None
    assert demand.leave_probability[:22].max() < 0.05
    assert as_far_as_needed(model, bidirectional)[0].steps == 23
    for other in (build_request(site(departures=past_stays(1.5), outstay_share=None), bidirectional),
                  build_request(model, situation(session())), build_request(site(), bidirectional)):
        assert (other.problem.evs[0].due, other.problem.evs[0].depart) == (None, 16)


def test_a_car_that_has_outstayed_is_counted_on_as_long_as_those_that_had() -> None:
    late = TEN + timedelta(hours=4, minutes=30)
    overdue = session(departure=late + timedelta(minutes=30), overdue_since=TEN + timedelta(hours=4))
    model = site(departures=past_stays(1.5), outstay_share=0.5)
    (demand,) = build_request(model, situation(overdue, now=late, permitted_kw={"DC": 10.0})).problem.evs
    assert (demand.due, demand.depart) == (2, 5)


@pytest.mark.parametrize(("energy_kwh", "least_kwh"), [(39.4, 39.4), (47.0, 40.0)])
def test_an_overdue_car_gives_an_event_nothing_of_what_its_driver_wants(energy_kwh: float, least_kwh: float) -> None:
    """Not even what would be there again in half an hour; what it has beyond it gives."""
    late = TEN + timedelta(hours=4, minutes=30)
    overdue = session(departure=late + timedelta(minutes=30), overdue_since=TEN + timedelta(hours=4),
                      energy_kwh=energy_kwh)
    asks = situation(overdue, now=late, permitted_kw={"DC": 10.0}, commitments=(event(0, 20.0, 20.0, 20.0, 20.0),))
    request = build_request(site(departures=past_stays(1.5)), asks)
    assert request.world.visits[0].floor_kwh == request.problem.evs[0].floor_kwh == least_kwh
    plan = solve(request.problem)
    assert plan.energy_kwh.min() >= least_kwh - 1e-6
    assert (plan.discharge_kw.max() > 1.0) == (energy_kwh > least_kwh)


def dispatched(power_kw: np.ndarray, transaction: str = "tx-DC", start: datetime = TEN) -> Dispatched:
    schedule = Schedule(TimeGrid(start, 900, power_kw.shape[1]), ("AC", "DC"), power_kw)
    return Dispatched(schedule, {"DC": transaction})


def test_set_points_in_force_are_held_in_the_steps_of_the_new_plan() -> None:
    power = np.vstack((np.zeros(8), np.arange(8.0)))
    later = TEN + timedelta(minutes=33)
    model = site(held_steps=4)
    (demand,) = build_request(model, situation(session(), now=later, dispatched=dispatched(power))).problem.evs
    assert demand.held_kw is not None
    assert demand.held_kw[:4].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert np.isnan(demand.held_kw[4:]).all()


@pytest.mark.parametrize("before", [
    dispatched(np.ones((2, 8)), "tx-of-another"), dispatched(np.ones((2, 8)), start=TEN + timedelta(minutes=7)), None])
def test_a_car_that_was_not_dispatched_to_holds_to_nothing(before: Dispatched | None) -> None:
    (demand,) = build_request(site(), situation(session(), dispatched=before)).problem.evs
    assert demand.held_kw is None


def test_a_schedule_that_is_over_holds_nothing() -> None:
    old = dispatched(np.ones((2, 8)), start=TEN - timedelta(hours=3))
    (demand,) = build_request(site(), situation(session(), dispatched=old)).problem.evs
    assert demand.held_kw is not None
    assert np.isnan(demand.held_kw).all()


def busy_mornings() -> LearntArrivals:
    """Three cars at eleven, on every day of four weeks."""
    eleven = TEN + timedelta(hours=1.5)
    arrivals = LearntArrivals.learnt(
        [PastVisit(eleven - timedelta(days=day), eleven + timedelta(hours=5) - timedelta(days=day), 9.0)
         for day in range(1, 29) for _ in range(3)],
        before=TEN, power_kw=6.656, timezone=ZONE)
    assert arrivals is not None
    return arrivals


def test_learnt_arrivals_are_virtual_evs_and_no_load_of_the_building() -> None:
    request = build_request(site(arrivals=busy_mornings()), situation(session()))
    assert (request.problem.base_kw == 40.0).all()
    assert [ev.id for ev in request.problem.evs] == ["tx-DC"]
    assert sum(ev.target_kwh for ev in request.expected) == pytest.approx(27.0, rel=0.05)


def test_a_shortened_horizon_still_sees_the_cars_to_come() -> None:
    leaves_soon = session(departure=TEN + timedelta(minutes=30))
    model, _ = as_far_as_needed(site(arrivals=busy_mornings()), situation(leaves_soon))
    last = max(ev.depart for ev in busy_mornings().virtual_evs(horizon_grid(TEN, 900, STEPS), TEN))
    assert model.steps == min(last, STEPS) > 2
