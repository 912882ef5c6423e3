"""Reasons agree with what the plan does: nobody charges where it does not pay, nor rests where it does."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from aggregator.planning.fleet import NoPlan, Plan, Problem, solve
from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import Alone
from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.blocks.tasks import blocks_of
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.monolith import solve_whole
from aggregator.planning.fleet.why import binding, reasons
from aggregator.planning.linear_program import lower_bound

Make = Callable[..., Problem]


@pytest.mark.parametrize("feeders", [False, True])
def test_powers_follow_from_the_prices_that_the_reasons_name(feeders: bool, make_fleet: Make) -> None:
    cells = 0
    for seed in range(12):
        problem = make_fleet(seed, feeders=feeders)
        try:
            plan = solve_whole(problem)
        except NoPlan:
            continue
        for ev in range(len(problem.evs)):
            found = reasons(problem, plan, ev)
            assert [reason.step for reason in found] == list(range(problem.evs.arrive[ev], problem.evs.depart[ev]))
            for reason in found:
                cells += 1
                assert reason.decision != "mix"
                assert reason.forgone == pytest.approx(0.0, abs=1e-6)
                assert sum(reason.price_parts.values()) == pytest.approx(reason.site_price, abs=1e-9)
                charge = max(0.0, reason.power_kw)
                if reason.charge_worth > 1e-6:
                    assert charge == pytest.approx(problem.evs.max_charge_kw[ev], abs=1e-6)
                if reason.charge_worth < -1e-6:
                    assert charge == 0.0
                if reason.discharge_worth is not None and reason.discharge_worth > 1e-6:
                    assert -reason.power_kw == pytest.approx(problem.evs.max_discharge_kw[ev], abs=1e-6)
    assert cells > 100


def test_energy_keeps_its_value_until_the_horizon_that_the_reason_names(make_fleet: Make) -> None:
    """Between two things a battery runs into, a kWh is worth the same in every step."""
    for seed in range(12):
        problem = make_fleet(seed)
        plan = solve_whole(problem)
        for ev in range(len(problem.evs)):
            found = reasons(problem, plan, ev)
            by_step = {reason.step: reason for reason in found}
            for reason in found:
                assert reason.step <= reason.until_step < problem.evs.depart[ev]
                assert by_step[reason.until_step].energy_value == pytest.approx(reason.energy_value, abs=1e-6)
                if reason.horizon == "missing":
                    assert reason.energy_value == pytest.approx(problem.shortfall_per_kwh, abs=1e-6)
                if reason.horizon == "departure":
                    assert reason.energy_value == pytest.approx(0.0, abs=1e-6)


def test_what_a_binding_target_names_is_what_a_kwh_less_saves(make_fleet: Make) -> None:
    problem = make_fleet(4, evs=8)
    plan = solve_whole(problem)
    found = {item.where: item.per_unit for item in binding(problem, plan) if item.kind == "target"}
    assert found
    for name, per_kwh in found.items():
        easier = problem.evs.target_kwh.copy()
        easier[problem.evs.ids.index(name)] -= 1e-4
        saved = plan.bound - solve_whole(replace(problem, evs=replace(problem.evs, target_kwh=easier))).bound
        assert saved / 1e-4 == pytest.approx(per_kwh, abs=1e-3)


def test_what_a_binding_event_names_is_what_a_kw_more_saves(make_fleet: Make) -> None:
    checked = 0
    for seed in range(8):
        problem = make_fleet(seed, evs=8)
        plan = solve_whole(problem)
        for item in binding(problem, plan):
            if item.kind == "event":
                event = problem.events[0]
                wider = replace(event, max_net_kw=event.max_net_kw + 1e-4)
                saved = plan.bound - solve_whole(replace(problem, events=(wider,))).bound
                assert saved / 1e-4 == pytest.approx(item.per_unit, abs=1e-3)
                checked += 1
    assert checked


def test_limits_are_named_dearest_first(make_fleet: Make) -> None:
    problem = make_fleet(4, evs=8)
    worth = [item.per_unit for item in binding(problem, solve(problem))]
    assert worth == sorted(worth, reverse=True)
    assert np.isfinite(worth).all()


@pytest.mark.parametrize("kind", [
    {}, {"events": 0}, {"feeders": True}, {"negative": True}, {"tight": True}, {"lossless": True, "negative": True}])
def test_a_cap_is_blamed_only_where_it_binds_and_a_site_at_rest_has_a_price_of_its_own(
    kind: dict[str, object], make_fleet: Make
) -> None:
    seen = {"import_cap": 0, "export_cap": 0, "own": 0}
    for seed in range(25):
        problem = make_fleet(seed, **kind)
        plan = solve_whole(problem)
        assert plan.duals is not None
        net, sites, prices = plan.outcome.net_kw, problem.sites, plan.duals.site
        away = {"import_cap": sites.import_cap_kw - net, "export_cap": sites.export_cap_kw + net, "own": np.abs(net)}
        for name, distance_kw in away.items():
            felt = np.abs(getattr(prices, name)) > 1e-6
            assert distance_kw[felt].max(initial=0.0) < 1e-6, f"seed {seed}: {name}"
            seen[name] += int(felt.sum())
        assert (prices.import_cap >= 0).all()
        assert (prices.export_cap <= 1e-9).all()
        blamed = {(item.where, step) for item in binding(problem, plan) if item.kind.endswith("cap")
                  for step in item.steps}
        assert all(min(away["import_cap"][s, t], away["export_cap"][s, t]) < 1e-6
                   for s, t in ((problem.sites.ids.index(name), step) for name, step in blamed))
    assert seen["own"]
    assert seen["import_cap"] + seen["export_cap"]


def test_a_plan_without_prices_does_not_pretend_to_explain(make_fleet: Make) -> None:
    problem = make_fleet(2, evs=40, sites=4, steps=96)
    plan = solve_whole(problem, time_limit_s=0.0)
    assert binding(problem, plan) == ()
    with pytest.raises(ValueError, match="no prices"):
        reasons(problem, plan, 0)


def in_blocks(problem: Problem, gap: float) -> Plan:
    return decompose(problem, gap, 20.0, executor=Alone(BlockService(problem, blocks_of(problem)))).plan


@pytest.mark.parametrize("kind", [{}, {"events": 2}, {"events": 0}, {"tight": True}, {"lossless": True}],
                         ids=["an event", "two events", "no event", "caps below the building", "no losses"])
def test_prices_gathered_from_blocks_prove_the_bound_of_the_whole(make_fleet: Make, kind: dict[str, object]) -> None:
    """Put into the rows of the one program that nobody has solved, they are worth what the blocks have proven."""
    for seed in range(2):
        problem = make_fleet(seed, evs=14, sites=5, **kind)
        plan, program = in_blocks(problem, 1e-3), assemble(problem)
        assert plan.duals is not None
        duals, rows, hours = plan.duals, program.rows, problem.step_h
        if (problem.evs.energy_kwh < problem.evs.floor_kwh).any():
            continue  # its floor has rows of its own
        row_dual = np.zeros(len(program.row_lower))
        row_dual[rows["dynamics"]] = -duals.energy[program.cells.ev, program.cells.step]
        row_dual[rows["departure"]] = duals.target
        row_dual[rows["balance"]] = hours * duals.site.total.ravel()
        row_dual[rows["peak"]] = -hours * duals.site.peak.ravel()
        row_dual[rows["event"]] = -duals.event_kw
        assert lower_bound(program, row_dual) == pytest.approx(plan.bound, rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("kind", [{}, {"feeders": True}, {"below_floor": True}], ids=["sites", "feeders", "floors"])
def test_what_a_mix_forgoes_against_its_prices_is_within_the_proven_gap(
    make_fleet: Make, kind: dict[str, object],
) -> None:
    mixed = 0
    for seed in range(4):
        problem = make_fleet(seed, evs=20, sites=5, **kind)
        plan = in_blocks(problem, 5e-2)
        found = [reason for ev in range(len(problem.evs)) for reason in reasons(problem, plan, ev)]
        forgone = sum(reason.forgone for reason in found)
        assert all(reason.forgone >= 0.0 for reason in found)
        assert forgone <= plan.objective - plan.bound + 1e-6
        mixed += sum(reason.decision == "mix" for reason in found)
        for reason in found:
            assert sum(reason.price_parts.values()) == pytest.approx(reason.site_price, abs=1e-9)
    assert mixed  # or nothing has been tried


@pytest.mark.parametrize("feeders", [False, True])
def test_limits_that_cost_in_blocks_are_those_that_cost_in_one_program(make_fleet: Make, feeders: bool) -> None:
    """An event's price is the same in every optimal dual solution here; so is a target that is missed."""
    for seed in range(3):
        problem = make_fleet(seed, evs=20, sites=5, feeders=feeders)
        plan, whole = in_blocks(problem, 1e-7), solve_whole(problem)
        in_parts, at_once = ({(item.kind, item.where): item.per_unit for item in binding(problem, one)}
                             for one in (plan, whole))
        for ev in np.flatnonzero(whole.outcome.shortfall_kwh > 1e-3):
            key = ("target", problem.evs.ids[ev])
            assert in_parts[key] == pytest.approx(at_once[key], abs=1e-5)
        for key, worth in at_once.items():
            if key[0] == "event":
                assert in_parts[key] == pytest.approx(worth, rel=1e-2, abs=1e-3)
