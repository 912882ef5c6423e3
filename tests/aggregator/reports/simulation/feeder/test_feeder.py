"""The feeder in the report of a simulation, from a real run of the street: it draws, fits and says what is there."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from aggregator.reports.simulation import SimulationFacts, render_simulation, simulation_page
from aggregator.reports.simulation.feeder.figures import feeder_figures
from aggregator.reports.simulation.feeder.tables import feeder_tables
from aggregator.reports.simulation.feeder.words import feeder_note, feeder_sentence
from aggregator.studies.simulate import SimulationOptions, simulate_scenario
from tests.aggregator.reports.conftest import shown

STREET = Path(__file__).parents[5] / "examples" / "street_v2g.toml"


@pytest.fixture(scope="module")
def made() -> SimulationFacts:
    return simulate_scenario(STREET, SimulationOptions(replicas=3)).facts


def rows(facts: SimulationFacts, name: str) -> tuple[tuple[str, ...], ...]:
    return next(table.rows for table in feeder_tables(facts) if table.id == name)


def test_the_table_shows_medians_beside_what_would_be_without_evs(made: SimulationFacts) -> None:
    feeder = made.feeder
    assert feeder is not None
    found = {row[0]: row[1:] for row in rows(made, "feeder-figures")}
    low = found["Lowest voltage at a connection point, V"]
    assert float(low[0]) == pytest.approx(230.0 * np.median(made.measures["feeder_low_pu"]), abs=0.05)
    assert float(low[2]) == pytest.approx(230.0 * feeder.base_measures["feeder_low_pu"], abs=0.05)
    loading = found["Highest loading of a line's phase, %"]
    assert float(loading[0]) == pytest.approx(100.0 * np.median(made.measures["feeder_line_loading"]), abs=0.05)


def test_the_worst_points_and_lines_come_first(made: SimulationFacts) -> None:
    feeder = made.feeder
    assert feeder is not None
    minutes = [float(row[2]) for row in rows(made, "feeder-point-rows")]
    assert minutes == sorted(minutes, reverse=True)
    assert minutes[0] == pytest.approx(feeder.points.minutes.max(), abs=0.5)
    highest = [float(row[3].rstrip(" %")) for row in rows(made, "feeder-line-rows")]
    assert highest == sorted(highest, reverse=True)
    assert highest[0] == pytest.approx(100.0 * feeder.lines.highest.max(), abs=0.5)
    # A home and its EV at one bus are one place.
    assert any(re.match(r"home-(\d+), ev-\1 \([abc]\)", row[0]) for row in rows(made, "feeder-point-rows"))


def test_curves_are_the_bands_in_volts_and_limits_stand_in_them(made: SimulationFacts) -> None:
    feeder = made.feeder
    assert feeder is not None
    voltage = next(figure for figure in feeder_figures(made) if figure.id == "feeder-voltage")
    traces = {trace["name"]: trace for trace in voltage.data}
    np.testing.assert_allclose(traces["Lowest, median"]["y"][:-1], 230.0 * feeder.steps["low_pu"].p50, atol=0.06)
    assert traces["Limits"]["y"] == [253.0, 253.0]
    assert traces["Limit"]["y"] == [207.0, 207.0]
    shares = next(figure for figure in feeder_figures(made) if figure.id == "feeder-beyond")
    stacked = sum(np.array(trace["y"][:-1]) for trace in shares.data)
    np.testing.assert_allclose(stacked, 100.0 * feeder.beyond_share, atol=0.2)


def test_words_name_limits_and_both_engines(made: SimulationFacts) -> None:
    note = feeder_note(made)
    for words in ("0.9 to 1.1 p.u. of 230 V", "unbalance 2 %", "steps again", "15 min"):
        assert words in note
    assert re.search(r"EVs put the feeder beyond a limit for [\d.]+ h", feeder_sentence(made))
    never = replace(made, measures={**made.measures, "feeder_caused_minutes": np.zeros(3)})
    assert feeder_sentence(never).startswith("EVs never put the feeder beyond a limit")


def test_a_run_without_a_feeder_has_no_section(made: SimulationFacts) -> None:
    page = simulation_page(replace(made, feeder=None))
    assert "feeder" not in [section.id for section in page.sections]
    assert not any("Feeder" in label for label, _, _ in page.headline)


def test_one_course_alone_is_drawn_without_bands(made: SimulationFacts) -> None:
    figures = feeder_figures(replace(made, replicas=1))
    assert not any("median" in trace.get("name", "") for figure in figures for trace in figure.data)
    assert "feeder-beyond" not in [figure.id for figure in figures]


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_section_draws_and_fits_without_a_network(
    browser: Browser, tmp_path: Path, made: SimulationFacts, scheme: Any, width: int
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_simulation(made), "utf-8")
    with shown(browser, file, scheme, width) as page:
        section = page.locator("section[aria-labelledby='feeder-heading']")
        assert section.locator("[data-figure='feeder-hot-spot']").count() == 1
        assert section.locator("svg[role=img]").count() >= 3
