"""The page on what a simulation writes names every column, cause, measure and field, in the order they come in."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from aggregator.reports.simulation import CAUSES, KEPT_WITHIN_KW, KEPT_WITHIN_SHARE, MEASURES, SHORT_KWH
from aggregator.studies.simulate import simulate_into

PAGE = (Path(__file__).parents[3] / "docs" / "simulation.md").read_text("utf-8")


def named(title: str, heading: str) -> list[str]:
    """Names in the first column of the table under `title` whose first heading is `heading`."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    table = section.split(f"| {heading} |")[1].split("\n\n")[0]
    return [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]


@pytest.fixture
def out(day: Path, tmp_path: Path) -> Path:
    """A run that writes all there is: an event, faults, wear, a feeder with inverters."""
    text = re.sub(r"\[building\]\n.*\n", "", day.read_text("utf-8")).replace(
        "max_discharge_kw = 11.0\n[[station", "max_discharge_kw = 11.0\nac_phases = 1\n[[station"
    )
    day.write_text(text + '[ageing]\nchemistry = "nmc"\n[feeder]\nexample = "european_lv"\n'
                   + 'inverters = { grid_code = "ieee-1547-2018-b", nominal_volts = 240.0 }\n', "utf-8")
    simulate_into(day, tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("table", ["visits", "site", "evses", "feeder_points", "feeder_lines",
                                   "feeder_transformers", "feeder_steps", "feeder_inverters"])
def test_every_column_is_explained(out: Path, table: str) -> None:
    columns = pyarrow.parquet.read_table(out / f"{table}.parquet").column_names
    assert named(f"`{table}`", "column") == columns


def test_every_field_and_measure_of_the_result_is_explained(out: Path) -> None:
    written: dict[str, Any] = json.loads((out / "result.json").read_text("utf-8"))
    assert sorted(named("`result.json`", "field")) == sorted(written)
    assert named("`result.json`", "measure") == [measure.key for measure in MEASURES]
    assert set(written["by_replica"]) == set(written["summary"]) == {measure.key for measure in MEASURES}
    (event,) = written["events"]
    told = re.search(r"^\| `events` \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert told is not None
    assert re.findall(r"`(\w+)`", told[1]) == list(event)


def test_every_cause_is_explained_in_the_order_in_which_they_are_asked() -> None:
    assert named("Who is short", "`cause`") == [cause.value for cause in CAUSES]


def test_the_thresholds_are_those_that_hold() -> None:
    assert f"more than {SHORT_KWH} kWh less than wanted" in PAGE
    assert f"{KEPT_WITHIN_KW:g} kW, or {100 * KEPT_WITHIN_SHARE:g} % of the reduction" in PAGE
