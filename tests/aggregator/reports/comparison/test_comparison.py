"""A comparison of runs says what goes beyond chance and what does not, and needs nothing from outside."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from aggregator.reports.comparison import (
    ComparisonFacts,
    DifferenceFact,
    RunFact,
    differences_in_words,
    render_comparison,
)
from aggregator.reports.simulation import MEASURES
from tests.aggregator.reports.conftest import hidden_at_the_end, shown, without_plotly
from tests.aggregator.reports.simulation.conftest import GRID, facts


def comparison(replicas: int = 5) -> ComparisonFacts:
    made = facts(replicas)
    other = {**made.measures, "peak_kw": made.measures["peak_kw"] - 3.0}
    bands = (made.whole.net.p10, made.whole.net.p50, made.whole.net.p90)
    runs = tuple(
        RunFact(label, "campus.toml", "edf", bands, bands, made.whole.cap_kw, measures, {"fault": 1.0},
                {"control.name": "edf", "faults.level": level}, level)
        for label, measures, level in (("base", made.measures, "0.02"), ("what-if", other, "0.1"))
    )
    differences = tuple(
        DifferenceFact(measure, float((other[measure.key] - made.measures[measure.key]).mean()),
                       0.5 if replicas > 1 else np.nan, 2.5 if replicas > 1 else np.nan)
        for measure in MEASURES
    )
    return ComparisonFacts(GRID, made.timezone, 7, replicas, runs, (differences,), "t interval", 0.95)


def test_a_comparison_names_what_is_beyond_chance_and_what_is_not() -> None:
    html = without_plotly(render_comparison(comparison()))
    assert "−3.0 kW (−3.5 to −2.5)" in html
    assert "One course each" not in html
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html.split('id="difference-table-1"')[1].split("</table>")[0], re.DOTALL)
    verdicts = {row.split("<td>")[1].split("</td>")[0]: row.strip().split("<td>")[-1][:3] for row in rows[1:]}
    assert [title for title, verdict in verdicts.items() if verdict == "yes"] == [
        "Highest power drawn at a connection point (mean of a step), kW"
    ]


def test_differences_of_shares_are_points_and_voltage_is_in_the_headline() -> None:
    made = comparison()
    sure = tuple(replace(one, mean=-0.959 if one.measure.unit == "%" else 963.0, half_width=0.01)
                 for one in made.differences[0])
    changed = replace(made, differences=(sure,))
    (words,) = differences_in_words(changed)
    assert "highest loading of a line's phase −95.9 percentage points (−96.9 to −94.9)" in words
    assert "voltage beyond its limits because of EVs, all connection points +963.0 min" in words
    assert "−95.9 points" in without_plotly(render_comparison(changed))


def test_a_comparison_names_the_fields_that_differ_and_folds_what_is_zero_everywhere() -> None:
    made = comparison()
    assert made.differing == (("faults.level", "0.02", "0.1"),)
    html = without_plotly(render_comparison(made))
    changed = html.split('id="changed-fields"')[1].split("</table>")[0]
    assert re.findall(r"<td[^>]*>(.*?)</td>", changed) == ["faults.level", "0.02", "0.1"]
    table = html.split('id="difference-table-1"')[1].split("</table>")[0]
    assert "Energy beyond the caps" not in table
    assert (
        "Zero in all runs: cars still plugged in at the end; energy those still lacked then; energy beyond the caps."
    ) in html


def test_a_comparisons_charts_and_tables_round_alike() -> None:
    made = comparison()
    drawn = without_plotly(render_comparison(made)).split('id="figure-data">')[1].split("</script>")[0]
    chart = json.loads(drawn)["difference-peak-kw"]
    assert chart["data"][0]["text"] == ["−3.0 kW (−3.5 to −2.5)"]
    assert chart["layout"]["xaxis"]["title"]["text"] == "kW, mean difference"


def test_a_comparison_of_single_courses_says_that_it_has_no_interval() -> None:
    html = without_plotly(render_comparison(comparison(1)))
    assert "One course each: differences have no interval" in html
    assert not re.search(r"\bnan\b", html, flags=re.IGNORECASE)


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_file_opens_from_disk_draws_and_asks_nobody(
    browser: Browser, tmp_path: Path, scheme: Any, width: int
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_comparison(comparison()), "utf-8")
    with shown(browser, file, scheme, width) as page:
        assert page.locator("[data-figure]").count() == 6
        assert hidden_at_the_end(page) == []
