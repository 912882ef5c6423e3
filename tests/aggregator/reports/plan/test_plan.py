"""The page and the picture of a fleet's plan show what the plan says, whatever fleet it is and however it is named."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from aggregator.planning.fleet import Event, Evs, Plan, Problem, Sites, read_problem, solve
from aggregator.planning.fleet.why import reasons
from aggregator.reports.page import Figure
from aggregator.reports.plan import plan_page, plan_svg, render_plan
from aggregator.reports.plan.car_figures import car_figures
from aggregator.reports.plan.figures import HourAxis, power_figures
from tests.aggregator.reports.conftest import shown

EXAMPLE = Path(__file__).parents[4] / "examples" / "fleet_three_sites.json"
Explained = tuple[tuple[int, Any], ...]


@pytest.fixture(scope="module")
def planned() -> tuple[Problem, Plan]:
    problem = read_problem(EXAMPLE)
    return problem, solve(problem)


def explained(problem: Problem, plan: Plan, *names: str) -> Explained:
    return tuple((k, reasons(problem, plan, k)) for k in map(problem.evs.ids.index, names))


def figure(figures: list[Figure], name: str) -> Figure:
    return next(one for one in figures if one.id == name)


def trace(one: Figure, name: str) -> list[float]:
    return next(trace["y"] for trace in one.data if trace["name"] == name)


def one_site(evs: int = 3, steps: int = 24, **changed: Any) -> Problem:
    """A site with a cap that binds and cars that come in the middle."""
    fleet = Evs(
        tuple(f"car-{k}" for k in range(evs)), np.zeros(evs), np.full(evs, 4), np.full(evs, 20), np.full(evs, 10.0),
        np.full(evs, 60.0), np.full(evs, 40.0), np.full(evs, 5.0), np.full(evs, 11.0), np.full(evs, 11.0),
        np.full(evs, 0.9), np.full(evs, 0.9), np.full(evs, 0.02))
    row = np.ones((1, steps))
    sites = Sites(("depot",), 5.0 * row, 0.0 * row, 16.0 * row, 30.0 * row, np.zeros(1), np.zeros(1))
    price = 0.2 + 0.1 * np.sin(np.arange(steps))
    given = {"events": (Event("relief", np.array([9, 10, 14]), np.array([0.0, 1.0, -2.0]), 5.0),), **changed}
    return Problem(1.0, fleet, sites, price, price - 0.05, 2.0, **given)


def test_the_areas_of_the_stack_add_up_to_the_net_line(planned: tuple[Problem, Plan]) -> None:
    problem, plan = planned
    for one in power_figures(problem, plan):
        if one.id != "fleet-power" and not one.id.startswith("site-"):
            continue
        areas = np.sum([trace["y"] for trace in one.data if "stackgroup" in trace], axis=0)
        site = slice(None) if one.id == "fleet-power" else slice(int(one.id[5:]), int(one.id[5:]) + 1)
        lost = (plan.schedule.spilled_kw - plan.schedule.unserved_kw)[site].sum(axis=0)
        net = plan.outcome.net_kw[site].sum(axis=0)
        assert trace(one, "Net")[:-1] == pytest.approx(net, abs=0.006)
        assert areas[:-1] + lost == pytest.approx(net, abs=0.2)


def test_a_cap_is_drawn_where_it_is_near_and_the_stack_of_cars_stays_under_it() -> None:
    problem = one_site()
    plan = solve(problem)
    one = figure(power_figures(problem, plan), "fleet-power")
    assert set(trace(one, "Cap")) == {16.0}
    assert max(trace(one, "Net")) == pytest.approx(16.0)
    assert [trace["name"] for trace in one.data if trace["name"].startswith("car-") or "by car" in trace["name"]]


def test_an_event_that_asks_for_what_nobody_has_does_not_squash_the_power() -> None:
    problem = one_site(events=(Event("wish", np.array([9, 10]), np.full(2, -500.0), 5.0),))
    plan = solve(problem)
    one, own = (figure(power_figures(problem, plan), name) for name in ("fleet-power", "event-0"))
    low, high = one.layout["yaxis"]["range"]
    net = plan.outcome.net_kw.sum(axis=0)
    assert -100 < low < net.min()
    assert net.max() < high < 100
    assert "What event wish asks for lies beyond the figure" in one.caption
    assert "range" not in own.layout["yaxis"]
    assert -500.0 in trace(own, "Asked: at most")
    near = figure(power_figures(one_site(), solve(one_site())), "fleet-power")
    assert "range" not in near.layout["yaxis"]


def test_a_plan_that_takes_more_than_cars_at_rest_is_said_to() -> None:
    problem = one_site(events=(Event("soak", np.array([5]), np.array([1000.0]), 5.0),))
    plan = solve(problem)
    more = plan.outcome.net_kw[0, 5] - 5.0
    words = figure(power_figures(problem, plan), "event-0").caption
    assert "995.0 kW more were asked on average" in words
    assert f"{more:.1f} kW more are planned" in words


def test_an_event_without_steps_is_not_counted_as_delivered() -> None:
    problem = one_site(events=(Event("nothing", np.zeros(0), np.zeros(0), 5.0),))
    assert "Events" not in [label for label, _, _ in plan_page(problem, solve(problem), "A plan").headline]


def test_an_event_in_pieces_is_drawn_in_pieces_and_told_as_the_plan_has_it() -> None:
    problem = one_site()
    plan = solve(problem)
    one = figure(power_figures(problem, plan), "event-0")
    asked = [trace for trace in one.data if trace["name"] == "Asked: at most"]
    assert [(trace["x"][0], trace["x"][-1]) for trace in asked] == [(9.0, 11.0), (14.0, 15.0)]
    assert [trace["showlegend"] for trace in asked] == [True, False]
    assert "Delivered in every step" in one.caption
    starved = replace(problem, evs=replace(problem.evs, max_discharge_kw=np.zeros(3)))
    one = figure(power_figures(starved, solve(starved)), "event-0")
    missed = next(trace for trace in one.data if trace["name"] == "Missed")
    assert [float(text) for text in missed["text"]] == [5.0, 4.0, 7.0]
    assert "Missed in 3 of 3 steps, by up to 7.0 kW" in one.caption


def test_the_fan_holds_the_cars_that_are_there_and_nothing_before_the_first(planned: tuple[Problem, Plan]) -> None:
    problem, plan = planned
    one = figure(car_figures(problem, plan, ()), "soc")
    middle = trace(one, "Median car")
    evs = problem.evs
    for step in (0, 30, 50, 90):
        there = (evs.arrive <= step) & (step < evs.depart)
        if there.any():
            expected = np.median(100 * plan.outcome.energy_kwh[there, step] / evs.capacity_kwh[there])
            assert middle[step] == pytest.approx(expected, abs=0.06)
        else:
            assert middle[step] is None


def test_few_cars_have_a_line_each_that_ends_where_they_leave() -> None:
    problem = one_site()
    plan = solve(problem)
    lines = [trace for trace in figure(car_figures(problem, plan, ()), "soc").data if trace.get("mode") == "lines"]
    assert [trace["name"] for trace in lines] == list(problem.evs.ids)
    for number, one in enumerate(lines):
        assert (one["x"][0], one["x"][-1]) == (4.0, 20.0)
        assert one["y"][0] == pytest.approx(100 * 10 / 60, abs=0.06)
        assert one["y"][-1] == pytest.approx(100 * plan.outcome.energy_kwh[number, -1] / 60, abs=0.06)


def test_long_horizons_are_thinned_to_means() -> None:
    problem = one_site(steps=4000)
    axis = HourAxis(problem)
    values = np.arange(4000.0)
    assert len(axis.x) == len(axis.y(values)) <= 1501
    assert axis.x[-1] == 4000.0
    assert axis.y(values)[0] == pytest.approx(np.mean(values[:axis.block]))
    values[:axis.block] = np.nan
    assert axis.y(values)[0] is None


def test_words_and_tables_name_cost_bound_shortfalls_and_reasons(planned: tuple[Problem, Plan]) -> None:
    problem, plan = planned
    page = plan_page(problem, plan, "A plan", explained(problem, plan, "van-1"))
    tables = {table.id: table for section in page.sections for table in section.tables}
    assert page.headline[0][1] == f"{plan.objective:.2f}"
    assert tables["costs"].rows[-1] == ("Total", f"{plan.objective:.2f}")
    assert [row[0] for row in tables["short"].rows] == ["visitor"]
    assert tables["short"].rows[0][-1].startswith("its stay is too short: at full power it could have ")
    van = problem.evs.ids.index("van-1")
    assert len(tables[f"why-table-{van}"].rows) == problem.evs.depart[van] - problem.evs.arrive[van]
    assert {row[0] for row in tables["sites"].rows} == set(problem.sites.ids)


def test_a_plan_without_time_for_prices_says_so() -> None:
    problem = one_site()
    plan = replace(solve(problem), duals=None, status="time_limit", bound=1.0)
    page = plan_page(problem, plan, "Cut short")
    assert "no plan costs less than 1.00" in page.warning
    assert any("no prices yet" in note for note in page.notes)
    assert "the time ended" in page.warning.lower()
    still = plan_page(problem, replace(plan, status="feasible"), "As far as it goes")
    assert "time" not in still.warning


@pytest.mark.parametrize("spoil", [
    lambda problem: replace(problem, evs=Evs((), *np.zeros((12, 0)))),
    lambda problem: replace(problem, events=()),
    lambda problem: replace(problem, limit_per_kwh=None, events=()),
    lambda _: one_site(evs=40),
    lambda _: one_site(steps=2, evs=0, events=()),
], ids=["no cars", "no events", "hard limits", "many cars", "two steps"])
def test_strange_fleets_have_a_page_and_a_picture(spoil: Callable[[Problem], Problem]) -> None:
    problem = spoil(one_site())
    plan = solve(problem)
    assert "<h1>" in render_plan(problem, plan, "Strange")
    ET.fromstring(plan_svg(problem, plan, "Strange"))  # noqa: S314 - our own


HOSTILE = "</script><script>alert(1)</script><b>&\"'"


def hostile() -> Problem:
    problem = one_site()
    return replace(
        problem, evs=replace(problem.evs, ids=(HOSTILE, "b", "c")), sites=replace(problem.sites, ids=(HOSTILE,)),
        events=(replace(problem.events[0], id=HOSTILE),))


def test_names_are_never_markup() -> None:
    problem = hostile()
    plan = solve(problem)
    page = render_plan(problem, plan, HOSTILE, explained(problem, plan, HOSTILE))
    body = re.sub(r"<script>.*?</script>", "", page.rpartition('id="figure-data"')[0], flags=re.DOTALL)
    assert "alert(1)</script>" not in body
    raw = page.rpartition('id="figure-data">')[2].partition("</script>")[0]
    data = json.dumps(json.loads(raw))
    assert "<script>alert" not in data
    svg = plan_svg(problem, plan, HOSTILE + "\x00\ud800")
    assert "script" not in {element.tag.rpartition("}")[2] for element in ET.fromstring(svg).iter()}  # noqa: S314 - our own


def test_the_page_needs_nothing_from_outside(planned: tuple[Problem, Plan]) -> None:
    problem, plan = planned
    page = render_plan(problem, plan, "A plan")
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="(?!data:)', page)
    assert "http" not in plan_svg(problem, plan, "A plan").replace("http://www.w3.org/2000/svg", "")


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_a_browser_draws_every_figure_without_a_word_of_complaint(
    browser: Browser, tmp_path: Path, scheme: Any, width: int
) -> None:
    problem = hostile() if scheme == "dark" else read_problem(EXAMPLE)
    plan = solve(problem)
    name = problem.evs.ids[0]
    file = tmp_path / "plan.html"
    file.write_text(render_plan(problem, plan, "A plan of " + name, explained(problem, plan, name)), "utf-8")
    made = plan_page(problem, plan, "", explained(problem, plan, name))
    with shown(browser, file, scheme, width) as page:
        assert page.locator("[data-figure]").count() == sum(len(section.figures) for section in made.sections)
        if scheme == "light":
            # The colours of the map of cars come from the page's own: a name that is no colour would leave it black.
            colour = page.evaluate("document.querySelector('[data-figure=cars]').data[0].colorscale[2][1]")
            assert colour.startswith("#")
