"""The report shows what the facts say, needs nothing from outside and survives hostile text and missing figures."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from playwright.sync_api import Browser

from aggregator.reports.day import (
    BillFact,
    DayFacts,
    FeederChange,
    LimitFact,
    RoundFact,
    StepSeries,
    judge,
    render_report,
    result_json,
)
from aggregator.reports.day.figures import day_figures
from aggregator.reports.day.tables import day_tables
from aggregator.reports.day.totals import totals
from aggregator.reports.words import Refusal
from tests.aggregator.reports.conftest import shown, without_plotly


def table(facts: DayFacts, name: str) -> dict[str, tuple[str, ...]]:
    found = {one.id: one for one in day_tables(facts, totals(facts), judge(facts))}
    return {row[0]: row[1:] for row in found[name].rows}


def test_energy_is_what_the_meter_says(day: DayFacts) -> None:
    expected = day.net.kw.sum() * 10 / 3600
    assert result_json(day)["energy_kwh"]["site_import"] == pytest.approx(expected)
    assert table(day, "energy")["Drawn from the grid at the connection point"] == (f"{expected:,.1f}",)


def test_connector_energy_is_battery_gain_plus_loss(day: DayFacts) -> None:
    energy = result_json(day)["energy_kwh"]
    assert energy["ev_import"] - energy["ev_export"] == pytest.approx(energy["battery_gain"] + energy["loss"])


def test_peak_is_the_highest_quarter_hour(day: DayFacts) -> None:
    quarters = day.net.kw.reshape(-1, 90).mean(axis=1)
    assert result_json(day)["peak_kw"]["measured"] == pytest.approx(quarters.max())


def test_the_bill_is_the_sum_of_its_lines_to_the_cent(day: DayFacts) -> None:
    cost = result_json(day)["cost"]
    assert Decimal(cost["measured"]) == sum(line.amount for line in day.bill.lines)
    assert Decimal(cost["saving"]) == Decimal("853.05")
    assert table(day, "bill")["Total measured"][-1] == "1,711.35 USD"


def test_a_day_that_cost_more_says_so(day: DayFacts) -> None:
    dearer = replace(day, bill=day.uncontrolled_bill, uncontrolled_bill=day.bill)
    assert "853.05 USD more than uncontrolled" in result_json(dearer)["summary"]


def test_plan_seconds_are_the_sum_over_rounds(day: DayFacts) -> None:
    seconds = result_json(day)["seconds"]
    assert seconds["plan_median"] == pytest.approx(0.19)
    assert seconds["plan_p95"] == pytest.approx(np.quantile([plan.seconds for plan in day.plans], 0.95))


def test_a_failed_day_names_what_failed_at_the_top(day: DayFacts) -> None:
    html = without_plotly(render_report(replace(day, events=())))
    assert "The promise was not kept" in html
    assert "Not met: EVs really discharged during the event; Commitment delivered" in html


def test_the_site_figure_draws_minute_means_of_the_meter(day: DayFacts) -> None:
    power = next(one for one in day_figures(day, totals(day)) if one.id == "site-power")
    measured = next(trace for trace in power.data if trace["name"] == "Measured")
    np.testing.assert_allclose(measured["y"], day.net.kw.reshape(-1, 6).mean(axis=1), atol=0.006)
    assert len(measured["x"]) == day.minutes


def test_the_axis_shows_local_time(day: DayFacts) -> None:
    power = next(one for one in day_figures(day, totals(day)) if one.id == "site-power")
    local = day.start.astimezone(ZoneInfo(day.timezone)).replace(tzinfo=None)
    assert power.layout["xaxis"]["range"][0] == int((local - local.replace(year=1970, month=1, day=1, hour=0))
                                                    .total_seconds() * 1000)


def test_what_was_not_measured_is_null_and_a_dash_never_a_number(day: DayFacts) -> None:
    blind = replace(day, net=StepSeries.regular(day.start, 60.0, np.full(840, np.nan)), plans=(), visits=(),
                    bill=BillFact(()), credits=())
    result = result_json(blind)
    json.dumps(result, allow_nan=False)
    assert result["peak_kw"]["measured"] is None
    assert result["seconds"]["plan_median"] is None
    assert result["energy_kwh"]["site_import"] is None
    assert not result["succeeded"]
    assert "nan" not in without_plotly(render_report(blind)).lower()


def test_result_is_strict_json_of_the_whole_day(day: DayFacts) -> None:
    result = json.loads(json.dumps(result_json(day), allow_nan=False))
    assert len(result["sessions"]) == len(day.visits)
    assert result["plans"]["refusals"][0]["kind"] == "departure"
    assert {check["key"] for check in result["checks"]} == {check.key for check in judge(day).checks}


def test_text_from_outside_cannot_become_markup(day: DayFacts) -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    first, *others = day.visits
    facts = replace(day, site_id=hostile, visits=(replace(first, evse_id=hostile), *others))
    html = without_plotly(render_report(facts))
    assert "<script>alert" not in html
    assert "<img" not in html


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_file_opens_from_disk_draws_and_asks_nobody(
    day: DayFacts, browser: Browser, tmp_path: Path, scheme: Any, width: int
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_report(day), encoding="utf-8")
    with shown(browser, file, scheme, width) as page:
        assert page.locator("[data-figure]").count() == 6
        assert page.locator("#site-power, [data-figure=site-power] .scatterlayer .trace").count() == 8
        assert page.locator("[data-figure=drivers] .barlayer .point").count() == 2 * len(day.visits)
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert ink == ("rgb(231, 237, 242)" if scheme == "dark" else "rgb(19, 33, 45)")
        measured = page.locator("[data-figure=site-power] .scatterlayer .trace path.js-line").evaluate_all(
            "paths => paths.map(path => path.style.stroke)"
        )
        assert ink in measured, "the measured line takes the ink of the scheme"


def test_a_limit_shorter_than_a_minute_is_still_judged(day: DayFacts) -> None:
    start = day.start + timedelta(hours=3)
    brief = LimitFact("brief", "mandatory", start, start + timedelta(seconds=30), 70.0, 1.0)
    result = result_json(replace(day, limits=(*day.limits, brief)))
    assert result["ceilings"][-1]["minutes"] == 1
    assert result["ceilings"][-1]["crossings"] == 1


def test_what_the_grid_took_from_a_charger_is_told_with_its_cause(day: DayFacts) -> None:
    assert "feeder" not in {one.id for one in day_tables(day, totals(day), judge(day))}
    plan = day.plans[0]
    over = Refusal(1, "line_overload", "cable-2.b", day.start, day.start + timedelta(hours=1), 4.0)
    because, end = "line cable-2 phase b at 104 %", day.start + timedelta(hours=1)
    change = FeederChange("CA-1", day.start, end, 3.2, was_discharging=False, because=because)
    changed = replace(plan, passed=True, feeder_changes=(change,), rounds=(
        RoundFact(0.1, 0.1, 0.1, (over,)), RoundFact(0.1, 0.1, 0.1),
    ))
    facts = replace(day, plans=(changed, *day.plans[1:]))
    rows = table(facts, "feeder")
    assert rows
    text = without_plotly(render_report(facts))
    assert "What the grid changed" in text
    assert because in text
    assert "line cable-2.b 4.00 % past its rating" in text
    assert "1 plan would have broken a limit of the grid" in text
    told = result_json(facts)["plans"]["feeder_changes"]
    assert [(one["evse_id"], one["less_kw"]) for one in told] == [("CA-1", 3.2)]
