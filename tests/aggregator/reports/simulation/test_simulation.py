"""The reports of simulations say what the facts say, need nothing from outside and fit a phone and a desk."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from aggregator.reports.simulation import (
    CAUSES,
    Band,
    SimulationFacts,
    VisitColumns,
    render_simulation,
    warnings,
)
from aggregator.reports.simulation.axis import StepAxis
from aggregator.reports.simulation.figures import simulation_figures
from aggregator.reports.simulation.summary import headline, summary
from aggregator.reports.simulation.tables import simulation_tables
from tests.aggregator.reports.conftest import hidden_at_the_end, shown, without_plotly
from tests.aggregator.reports.simulation.conftest import CARS, GRID, facts
from twin.assets import TimeGrid


def table(made: SimulationFacts, name: str) -> dict[str, tuple[str, ...]]:
    found = {one.id: one for one in simulation_tables(made)}
    return {row[0]: row[1:] for row in found[name].rows}


def test_the_power_stack_adds_up_to_the_mean_net_power() -> None:
    made = facts()
    power = {trace["name"]: trace for trace in simulation_figures(made)[0].data}
    stacked = sum(np.array(power[name]["y"]) for name in ("Building", "Charging", "Discharging"))
    np.testing.assert_allclose(stacked[:-1], made.whole.net.mean, atol=0.02)


@pytest.mark.parametrize("steps", [5, 96, 1500, 1501, 35040])
def test_a_thinned_axis_keeps_the_mean_and_few_points(steps: int) -> None:
    axis = StepAxis(TimeGrid(GRID.start, 900, steps), "Europe/Berlin")
    values = np.random.default_rng(1).uniform(0, 100, steps)
    y = axis.y(values, 9)
    assert len(axis.x) == len(y) <= 1501
    widths = np.diff([*range(0, steps, axis.block), steps])
    assert np.average(y[:-1], weights=widths) == pytest.approx(values.mean())
    assert axis.x[-1] == axis.at(axis.grid.end)


def test_short_drivers_are_counted_by_cause_and_listed_worst_first() -> None:
    made = facts()
    causes = table(made, "short-causes")
    drivers = sum(float(row[0]) for row in causes.values())
    assert drivers == pytest.approx(made.measures["short_drivers"].mean(), abs=0.4), "each is rounded to 0.1"
    found = next(one for one in simulation_tables(made) if one.id == "shorts")
    lacked = [float(row[6]) for row in found.rows]
    assert lacked == sorted(lacked, reverse=True) == [8.0, 4.0]


def test_the_event_table_shows_promise_and_spread() -> None:
    first = table(facts(), "event-table-0")["15:00"]
    assert first == ("50.0", "20.0", "5.6", "12.0", "18.4", "20 %")
    total = table(facts(), "event-table-0")["Total of a course, kWh"]
    assert total[1:5] == ("20.0", "5.6", "12.0", "18.4")


def test_wear_stands_per_stay_and_kwh_with_and_without_the_event() -> None:
    worn = table(facts(), "wear")
    assert worn["By time (age, charge and warmth)"] == (
        "25.50", "1.020", "26.50", "1.325", "\u221212.0", "\u221212.0 to \u221212.0"
    )
    assert worn["By charging and discharging"] == ("10.00", "0.400", "7.00", "0.350", "36.0", "36.0 to 36.0")
    assert worn["Together"] == ("35.50", "1.420", "33.50", "1.675", "24.0", "24.0 to 24.0")
    assert worn["Through the batteries, kWh per course"] == ("300", "", "240", "", "60.0", "60.0 to 60.0")
    assert "60.0 kWh more through the batteries per course: 0.400 millionths for each." in next(
        one.note for one in simulation_tables(facts()) if one.id == "wear"
    )
    cars = next(one for one in simulation_tables(facts()) if one.id == "wear-cars")
    assert cars.rows == (("car", "A cell, NMC-graphite (its test, 2020)", "12.0", "25.50", "10.00", "0.400"),)
    assert "35.5 millionths of a battery's life on average, 28\u00a0% of that" in summary(facts())
    assert "the event added 24.0 millionths of one life" in summary(facts())


def test_the_summary_never_hides_what_flowed_beyond_the_cap() -> None:
    kept = facts()
    assert "the caps were never exceeded" in summary(kept)
    broken = replace(kept, measures={**kept.measures, "over_cap_kwh": np.full(5, 0.03)})
    assert "beyond the caps flowed 0.03" in summary(broken)


def satisfied(made: SimulationFacts) -> SimulationFacts:
    """The same without drivers who left short."""
    nobody = np.zeros(made.replicas)
    return replace(made, measures={**made.measures, "short_drivers": nobody, "short_kwh": nobody})


def test_many_short_drivers_are_the_first_thing_said() -> None:
    made = facts()
    over = {"over_cap_kwh": np.full(5, 296.0), "peak_kw": np.full(5, 207.0)}
    first, second = warnings(replace(made, measures={**made.measures, **over}))
    assert re.match(r"3 .*of 12 drivers left short, lacking 102\.0", first)
    assert second.startswith("peak 207.0 of 110.0")
    few = replace(made, measures={**made.measures, "short_drivers": np.array([1.0, 1.0, 1.0, 1.0, 1.0])})
    assert warnings(few) == (), "1 in 12 is less than one in ten"


def test_a_trifle_above_the_cap_is_said_last_and_that_it_is_one() -> None:
    made = facts()
    over = {"over_cap_kwh": np.full(5, 0.02), "peak_kw": np.full(5, 110.03)}
    first, last = warnings(replace(made, measures={**made.measures, **over}))
    assert "left short" in first
    assert last.endswith("at most 0.03 kW, within what a promise may lack")
    assert "over the cap" in last
    more = warnings(replace(made, measures={**made.measures, **over, "peak_kw": np.full(5, 111.2)}))
    assert "within" not in more[1], "1.2 kW is more than one per cent of 110 kW"


def test_courses_of_one_peak_are_told_apart_by_what_drivers_lacked() -> None:
    def axis(made: SimulationFacts) -> tuple[str, list[float]]:
        chart = next(figure for figure in simulation_figures(made) if figure.id == "courses")
        return chart.layout["xaxis"]["title"]["text"], chart.data[0]["x"]

    made = facts()
    apart = np.linspace(100.0, 110.0, 5)
    assert axis(replace(made, measures={**made.measures, "peak_kw": apart})) == (
        "highest power at the connection point, kW", apart.tolist()
    )
    alike = np.linspace(60.02, 60.03, 5)
    assert axis(replace(made, measures={**made.measures, "peak_kw": alike})) == (
        "kWh that short drivers lacked", made.measures["short_kwh"].tolist()
    )


def test_the_power_chart_says_that_its_areas_may_pass_the_cap() -> None:
    made = facts()
    said = "areas reach beyond it"
    assert said in simulation_figures(made)[0].caption
    quiet = replace(made.whole, discharge=Band.of(np.zeros((5, made.grid.steps))))
    assert said not in simulation_figures(replace(made, whole=quiet))[0].caption


def test_a_run_beyond_its_cap_says_so_before_anything_else() -> None:
    kept = satisfied(facts())
    assert warnings(kept) == ()
    broken = replace(kept, measures={**kept.measures, "over_cap_kwh": np.array([0.0, 296.0, 296.0, 296.0, 0.0]),
                                     "peak_kw": np.full(5, 207.0)})
    (line,) = warnings(broken)
    assert line.startswith("peak 207.0 of 110.0 kW, 296.00 kWh (0.00 to 296.00) over the cap")
    assert "over it in 3 of 5 courses" in line
    assert line in render_simulation(broken).split("<main>")[0]


def test_a_breach_is_told_of_the_cap_that_was_broken() -> None:
    kept = satisfied(facts(3))
    over = np.full(3, 1.25)
    site = replace(kept.whole, export_cap_kw=np.full(kept.grid.steps, 2.0), over_cap_kwh=over,
                   over_export_cap_kwh=over, export_peak_kw=np.array([7.0, 7.5, 8.0]))
    given = replace(kept, whole=site, sites=(site,), measures={**kept.measures, "over_cap_kwh": over})
    (line,) = warnings(given)
    assert line.startswith("gave the grid up to 7.5 (7.1 to 7.9) of 2.0 kW, 1.25 kWh over the export cap (")
    assert "over it in 3 of 3 courses" in line
    both = replace(given, measures={**given.measures, "over_cap_kwh": over + 3.0, "peak_kw": np.full(3, 120.0)})
    drawn, again = warnings(both)
    assert "kW, 3.00 kWh over the cap" in drawn
    assert drawn.startswith("peak ")
    assert again == line


def test_a_step_is_kept_up_to_the_stated_tolerance() -> None:
    event = facts(3).events[0]
    missing = np.array([0.49, 0.51, 0.0])[:, None]
    held = replace(event, delivered_kw=event.promised_kw - missing)
    assert held.is_kept().tolist() == [[True] * 4, [False] * 4, [True] * 4]
    of_much = replace(held, without_kw=np.full((3, 4), 50.0 + 100.0))
    assert of_much.is_kept().all(), "one per cent of 100 kW"
    notes = {one.id: one.note for one in simulation_tables(facts())}
    assert "0.5 kW, or 1 % of the reduction asked for" in notes["event-table-0"]


def test_cars_still_plugged_in_are_told_apart_in_sentence_chart_and_table() -> None:
    made = facts()
    still = np.arange(len(made.visits)) % CARS == 8
    visits = replace(made.visits, has_left=~still, cause=np.where(still, 0, made.visits.cause))
    lacking = np.bincount(visits.replica[still], visits.shortfall_kwh[still], minlength=5)
    made = replace(made, visits=visits, measures={
        **made.measures, "plugged_in": np.ones(5), "plugged_in_kwh": lacking,
        "short_drivers": np.bincount(visits.replica[visits.is_short], minlength=5).astype(float),
    })
    assert "Still plugged in at the end: 1, still lacking 0.0" in summary(made).replace("\u00a0", " ")
    tables = {one.id: one for one in simulation_tables(made)}
    assert [row[0] for row in tables["plugged-in"].rows] == ["CA-308"]
    assert "CA-308" not in [row[0] for row in tables["shorts"].rows]
    causes = next(one for one in simulation_figures(made) if one.id == "causes")
    by_table = sum(float(row[1]) for row in tables["short-causes"].rows)
    assert sum(causes.data[0]["x"]) == pytest.approx(by_table, abs=0.1)
    assert by_table == pytest.approx(made.measures["short_drivers"].mean(), abs=0.1)


def test_headlines_are_medians_and_say_so() -> None:
    cards = {label: (value, relation) for label, value, relation in headline(facts())}
    assert all(label.endswith(", median") for label in cards)
    peak = facts().measures["peak_kw"]
    assert cards["Highest power, median"][0] == f"{np.median(peak):.1f} kW"
    assert cards["Promise kept, median"] == ("60 %", "P10 to P90: 28 to 92 %")
    assert not any("median" in label for label, _, _ in headline(facts(1)))


def test_no_section_repeats_its_own_heading() -> None:
    html = without_plotly(render_simulation(facts()))
    headings = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", html)
    assert len(set(headings)) == len(headings)


def test_one_course_shows_no_spread_it_does_not_have() -> None:
    html = without_plotly(render_simulation(facts(1)))
    assert "P10" not in html.split('id="figures"')[1].split("</table>")[0]
    assert "8 of 10 courses" not in html


@pytest.mark.parametrize("make", [
    lambda: facts(1), facts, lambda: replace(facts(), soc=None, events=(), occurrences={}, dropped={}, assumptions=()),
    lambda: replace(facts(), visits=VisitColumns(
        *(() if k in (0, 2, 3) else np.zeros(0, dtype=np.int64) for k in range(18))
    )),
    lambda: facts(2, TimeGrid(GRID.start, 900, 35040)),
])
def test_reports_of_little_and_of_much_are_strict_and_free_of_nan(make: Any) -> None:
    html = without_plotly(render_simulation(make()))
    json.loads(html.split('id="figure-data">')[1].split("</script>")[0], parse_constant=pytest.fail)
    assert not re.search(r"\bnan\b", html, flags=re.IGNORECASE)


def test_text_from_a_scenario_cannot_become_markup() -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    event = replace(facts().events[0], name=hostile)
    html = without_plotly(render_simulation(replace(facts(), name=hostile, events=(event,), assumptions=(hostile,))))
    assert "<script>alert" not in html
    assert "<img" not in html


def test_every_cause_has_words_of_its_own() -> None:
    made = facts()
    rows = np.arange(len(made.visits)) % len(CAUSES)
    every = replace(made, visits=replace(made.visits, cause=rows))
    assert len(table(every, "short-causes")) == len(CAUSES) - 1
    departures = next(figure for figure in simulation_figures(every) if figure.id == "departures")
    assert len({trace["name"] for trace in departures.data}) == len(CAUSES) + 1


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_file_opens_from_disk_draws_and_asks_nobody(
    browser: Browser, tmp_path: Path, scheme: Any, width: int
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_simulation(facts()), "utf-8")
    with shown(browser, file, scheme, width) as page:
        assert page.locator("[data-figure]").count() == 6
        assert hidden_at_the_end(page) == []
