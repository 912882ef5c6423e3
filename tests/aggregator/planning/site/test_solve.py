"""The plan against a second formulation, the solver-free checker, the bill, and absurd problems."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from aggregator.planning.site.checker import check
from aggregator.planning.site.problem import Commitment, Cut, CutKind, EvDemand, Problem
from aggregator.planning.site.safe import safe_plan
from aggregator.planning.site.solve import solve
from aggregator.planning.site.windows import ProblemError
from markets.bill import bill
from markets.rate import Period, RateSchedule, Season
from twin.assets import TimeGrid

MakeProblem = Callable[..., Problem]
seeds = st.integers(0, 10_000)


class Oracle:
    """The same problem written down a second time: no energy variables (cumulative sums instead), net power as one
    free variable with its import part, and scipy's own route to a solver."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.cost, self.bounds = problem, [], []
        self.rows: list[tuple[dict[int, float], float]] = []  # at most
        self.equal: list[tuple[dict[int, float], float]] = []
        self.constant = 0.0

    def variable(self, cost: float, low: float, high: float | None) -> int:
        self.cost.append(cost)
        self.bounds.append((low, high))
        return len(self.cost) - 1

    def optimum(self) -> float:
        p = self.problem
        steps = p.grid.steps
        h = np.full(steps, p.grid.step_s / 3600)
        h[0] *= p.first_step_fraction
        net = [self.variable(h[t] * p.export_price[t], -1e4, None) for t in range(steps)]
        bought = [self.variable(h[t] * (p.import_price[t] - p.export_price[t]), 0, None) for t in range(steps)]
        peak = self.variable(p.demand_price, p.peak_so_far_kw, None)
        self.constant -= p.demand_price * p.peak_so_far_kw
        balance: list[dict[int, float]] = [{net[t]: 1.0} for t in range(steps)]
        for t in range(steps):
            over = self.variable(p.cap_slack_per_kwh * h[t], 0, None)
            under = self.variable(p.cap_slack_per_kwh * h[t], 0, None)
            self.rows += [({net[t]: 1, bought[t]: -1}, 0), ({bought[t]: 1, peak: -1}, 0),
                          ({net[t]: 1, over: -1}, p.import_cap_kw[t]), ({net[t]: -1, under: -1}, p.export_cap_kw[t])]
        for ev in p.evs:
            self.add(ev, h, balance)
        for event in p.commitments:
            worst = self.variable(event.worst_per_kw, 0, None)
            for t, limit in zip(event.steps, event.max_net_kw, strict=True):
                missing = self.variable(event.shortfall_per_kwh * h[t], 0, None)
                self.rows += [({net[t]: 1, missing: -1}, limit), ({missing: 1, worst: -1}, 0)]
        self.equal += [(row, p.base_kw[t]) for t, row in enumerate(balance)]
        answer = linprog(self.cost, self.dense(self.rows), [b for _, b in self.rows], self.dense(self.equal),
                         [b for _, b in self.equal], self.bounds, method="highs-ipm")
        assert answer.status == 0, answer.message
        return float(answer.fun) + self.constant

    def dense(self, rows: list[tuple[dict[int, float], float]]) -> np.ndarray:
        matrix = np.zeros((len(rows), len(self.cost)))
        for k, (row, _) in enumerate(rows):
            matrix[k, list(row)] = list(row.values())
        return matrix

    def add(self, ev: EvDemand, h: np.ndarray, balance: list[dict[int, float]]) -> None:
        steps, stored, full = len(h), dict[int, float](), ev.energy_kwh
        first, last = max(0, ev.arrive), min(ev.depart, steps)
        later = max(0, ev.depart - steps) * self.problem.grid.step_s / 3600 * ev.max_charge_kw * ev.charge_efficiency
        price = self.problem.shortfall_per_kwh
        for t in range(first, last):
            charge = self.variable(ev.wear_per_kwh * h[t], 0, ev.max_charge_kw)
            may_discharge = min(full, ev.capacity_kwh) >= ev.floor_kwh - 1e-9
            discharge = self.variable(ev.wear_per_kwh * h[t], 0, ev.max_discharge_kw if may_discharge else 0)
            balance[t] |= {charge: -1.0, discharge: 1.0}
            stored |= {charge: h[t] * ev.charge_efficiency, discharge: -h[t] / ev.discharge_efficiency}
            full = min(full + ev.max_charge_kw * ev.charge_efficiency * h[t], ev.capacity_kwh)
            minus = {column: -value for column, value in stored.items()}
            lowest = min(ev.floor_kwh, ev.energy_kwh)
            self.rows += [(dict(stored), ev.capacity_kwh - ev.energy_kwh), (dict(minus), ev.energy_kwh - lowest)]
            below = self.variable(price * h[t], 0, None)
            self.rows.append((minus | {below: -1.0}, ev.energy_kwh - min(ev.floor_kwh, full)))
            if ev.leave_probability is not None and t < last - 1:
                early = self.variable(self.problem.early_price * ev.leave_probability[t], 0, None)
                self.rows.append((minus | {early: -1.0}, ev.energy_kwh - min(ev.target_kwh, full)))
            if ev.guard_kwh is not None:
                taken = self.variable(self.problem.guard_per_kwh_h * ev.guard_weight * h[t], 0, None)
                self.rows.append((minus | {taken: -1.0}, ev.energy_kwh - min(ev.guard_kwh[t], full)))
        short = self.variable(price, 0, None)
        self.rows.append(({column: -value for column, value in stored.items()} | {short: -1.0},
                          ev.energy_kwh - (ev.target_kwh - later)))


def guarded(problem: Problem, seed: int) -> Problem:
    """The problem with a price of its own for early departures and, for some cars, a guard that grid services meet."""
    rng = np.random.default_rng(seed)
    steps = problem.grid.steps
    return replace(
        problem, early_leave_per_kwh=float(rng.uniform(0.5, 5)), guard_per_kwh_h=float(rng.uniform(0.5, 3)),
        evs=tuple(
            replace(ev, guard_weight=float(rng.choice([1.0, 20.0])),
                    guard_kwh=np.sort(rng.uniform(0, ev.target_kwh, steps)) if rng.random() < 0.6 else None)
            for ev in problem.evs))


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_optimum_is_that_of_an_independent_formulation(make_problem: MakeProblem, seed: int) -> None:
    problem = guarded(make_problem(seed, evs=3, steps=12, minimums=False), seed)
    plan = solve(problem)
    optimum = Oracle(problem).optimum()
    assert plan.bound == pytest.approx(optimum, rel=1e-6, abs=1e-6)
    if all(ev.energy_kwh >= ev.floor_kwh for ev in problem.evs):  # else discharge below the floor may be repaired
        assert plan.objective == pytest.approx(optimum, rel=1e-6, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, negative=st.booleans())
def test_the_checker_agrees_with_every_plan_to_a_millionth(make_problem: MakeProblem, seed: int, negative: bool
                                                           ) -> None:
    problem = make_problem(seed, negative=negative)
    for plan in (solve(problem), safe_plan(problem)):
        assert check(problem, plan) == ()
    assert solve(problem).bound <= solve(problem).objective + 1e-6


@settings(max_examples=30, deadline=None)
@given(seed=seeds, data=st.data())
def test_cuts_of_every_kind_are_obeyed_and_keep_the_problem_feasible(make_problem: MakeProblem, seed: int,
                                                                     data: st.DataObject) -> None:
    problem = make_problem(seed)
    kinds = get_args(CutKind)
    cuts = tuple(
        Cut(kind, data.draw(st.floats(0, 30)), step=data.draw(st.integers(0, 30)),  # type: ignore[arg-type]
            ev_id=f"car-{data.draw(st.integers(0, 6))}", slope_per_h=data.draw(st.floats(0, 2)))
        for kind in data.draw(st.lists(st.sampled_from(kinds), max_size=12)))
    cut_problem = replace(problem, cuts=cuts)
    plan = solve(cut_problem)
    assert check(cut_problem, plan) == ()
    assert check(cut_problem, safe_plan(cut_problem)) == ()
    for cut in cuts:
        if cut.kind == "power_ceiling" and cut.ev_id in plan.ev_ids and cut.step is not None and cut.step < 24:
            assert abs(plan.power_kw[plan.ev_ids.index(cut.ev_id), cut.step]) <= cut.value + 1e-6


absurd_ev = st.builds(
    lambda arrive, stay, energy, capacity, target, floor, up, down, least: {
        "arrive": arrive, "depart": arrive + stay, "energy_kwh": energy, "capacity_kwh": capacity,
        "target_kwh": target, "floor_kwh": floor, "max_charge_kw": up, "max_discharge_kw": down,
        "min_charge_kw": least, "min_discharge_kw": least},
    st.integers(-20, 20), st.integers(-20, 40), st.floats(0, 200), st.floats(0, 100), st.floats(0, 500),
    st.floats(0, 300), st.floats(0, 50), st.floats(0, 50), st.floats(0, 8))


@settings(max_examples=60, deadline=None)
@given(cars=st.lists(absurd_ev, max_size=4), cap=st.floats(-50, 50), export=st.floats(-10, 10),
       base=st.floats(-100, 200), price=st.floats(-5, 5), sells_for=st.floats(-5, 5),
       limit=st.floats(-1000, 1000), steps=st.lists(st.integers(-5, 15), max_size=5, unique=True))
def test_no_problem_however_absurd_is_infeasible(cars: list[dict[str, float]], cap: float, export: float, base: float,
                                                 price: float, sells_for: float, limit: float, steps: list[int]
                                                 ) -> None:
    grid = TimeGrid(datetime(2019, 7, 15, tzinfo=UTC), 900, 10)
    flat = np.ones(10)
    evs = tuple(EvDemand(id=str(i), evse_id=str(i), charge_efficiency=0.9, discharge_efficiency=0.9, wear_per_kwh=0.05,
                         leave_probability=0.01 * flat, **car)  # type: ignore[arg-type]
                for i, car in enumerate(cars))
    problem = Problem(grid, evs, base * flat, cap * flat, export * flat, price * flat, sells_for * flat, 10.0, 5.0,
                      commitments=(Commitment("e", tuple(steps), (limit,) * len(steps), 1.0),))
    plan = solve(problem)
    assert plan.status == "optimal"
    assert check(problem, plan, tolerance=1e-5) == ()
    assert check(problem, safe_plan(problem)) == ()


@settings(max_examples=25, deadline=None)
@given(seed=seeds, event_price=st.sampled_from([0.0, 10.0, 1e4]))
def test_a_car_without_a_permit_never_discharges_whatever_the_event_pays(make_problem: MakeProblem, seed: int,
                                                                         event_price: float) -> None:
    problem = make_problem(seed)
    problem = replace(
        problem, evs=tuple(replace(ev, max_discharge_kw=0.0) if row % 2 else ev for row, ev in enumerate(problem.evs)),
        commitments=(Commitment("event", tuple(range(24)), (-500.0,) * 24, event_price),))
    plan = solve(problem)
    assert plan.discharge_kw[1::2].max() == 0.0


def _rate(imports: list[Decimal], exports: list[Decimal], demand: Decimal) -> RateSchedule:
    periods = tuple(Period(f"{hour:02d}:00", f"{hour + 1:02d}:00", imports[hour], exports[hour]) for hour in range(24))
    return RateSchedule("random", "test", date(2019, 1, 1), "USD", "America/Los_Angeles", demand,
                        (Season("year", "01-01", "12-31", periods, periods),))


@settings(max_examples=30, deadline=None)
@given(seed=seeds, cents=st.lists(st.integers(-3000, 4000), min_size=24, max_size=24),
       spread=st.lists(st.integers(-300, 1500), min_size=24, max_size=24), demand=st.integers(0, 2000))
def test_the_planned_cost_is_the_bill_of_the_plan(make_problem: MakeProblem, seed: int, cents: list[int],
                                                  spread: list[int], demand: int) -> None:
    """Including negative prices and hours in which selling pays more than buying costs."""
    problem = make_problem(seed, negative=True)
    rate = _rate([Decimal(c) / 10_000 for c in cents],
                 [Decimal(c - s) / 10_000 for c, s in zip(cents, spread, strict=True)], Decimal(demand) / 100)
    prices = rate.prices(problem.grid.start, problem.grid.step_s, problem.grid.steps)
    problem = replace(problem, import_price=prices.import_per_kwh, export_price=prices.export_per_kwh,
                      demand_price=rate.demand_price_per_kw)
    plan = solve(problem)
    priced = bill(rate, problem.grid.start, problem.grid.step_s, plan.net_kw, problem.peak_so_far_kw,
                  problem.first_step_fraction)
    assert plan.costs["energy"] + plan.costs["demand"] == pytest.approx(float(priced.exact), abs=0.01)


def test_a_car_below_its_floor_charges_first_and_never_discharges_before(make_problem: MakeProblem) -> None:
    problem = make_problem(1, evs=1)
    low = replace(problem.evs[0], arrive=0, depart=24, energy_kwh=2.0, capacity_kwh=40.0, floor_kwh=12.0,
                  target_kwh=30.0, max_charge_kw=11.0, max_discharge_kw=11.0, leave_probability=None)
    problem = replace(problem, evs=(low,), first_step_fraction=1.0, import_cap_kw=np.full(24, 200.0),
                      commitments=(Commitment("event", tuple(range(18, 24)), (-100.0,) * 6, 20.0),))
    plan = solve(problem)
    discharging = np.flatnonzero(plan.discharge_kw[0])
    assert plan.charge_kw[0, :3] == pytest.approx(11.0)
    assert len(discharging) > 0, "the event pays enough to discharge later"
    assert (plan.energy_kwh[0, discharging] >= 12.0 - 1e-6).all()


def test_a_floor_that_the_cap_keeps_out_of_reach_still_forbids_discharge(make_problem: MakeProblem) -> None:
    problem = make_problem(2, evs=1)
    low = replace(problem.evs[0], arrive=0, depart=24, energy_kwh=5.0, capacity_kwh=40.0, floor_kwh=30.0,
                  target_kwh=30.0, max_charge_kw=11.0, max_discharge_kw=11.0, min_discharge_kw=0.0)
    problem = replace(problem, evs=(low,), import_cap_kw=problem.base_kw + 3.0, base_kw=problem.base_kw,
                      commitments=(Commitment("event", tuple(range(12, 24)), (0.0,) * 12, 50.0),))
    plan = solve(problem)
    assert plan.cap_slack_kw.max() < 1e-6, "the cap is dearer than the floor"
    assert plan.discharge_kw.max() == 0.0


def test_a_solver_out_of_time_still_returns_a_followable_plan_with_a_true_bound(make_problem: MakeProblem) -> None:
    problem = make_problem(3, evs=150, steps=96)
    optimum = solve(problem, time_limit_s=60)
    hurried = solve(problem, time_limit_s=0.02)
    assert optimum.status == "optimal"
    assert hurried.status == "time_limit"
    assert check(problem, hurried) == ()
    assert hurried.bound <= optimum.objective + 1e-6
    assert hurried.objective <= safe_plan(problem).objective + 1e-9


def test_the_binding_limits_are_told_dearest_first_in_local_time(make_problem: MakeProblem) -> None:
    problem = replace(make_problem(5, cap_kw=30.0), timezone="America/Los_Angeles", base_kw=np.full(24, 25.0))
    words = solve(problem).binding
    assert any(words.startswith("import cap 0") for words in words), words


def test_every_impossible_value_is_named_at_once(make_problem: MakeProblem) -> None:
    problem = make_problem(7)
    bad = replace(problem.evs[0], charge_efficiency=0.0, max_charge_kw=-1.0)
    with pytest.raises(ProblemError) as caught:
        solve(replace(problem, evs=(bad, *problem.evs[1:]), base_kw=np.full(24, np.nan)))
    assert len(caught.value.faults) == 3
    assert "car-0: charge_efficiency: 0.0" in str(caught.value)
