"""The wear of a run: per visit, in sums, with and without the event, and in every file that is written."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from aggregator.reports.simulation.summary import summary
from aggregator.reports.simulation.tables import simulation_tables
from aggregator.studies.compare import compare, comparison_json
from aggregator.studies.simulate import SimulationOptions, simulate_into, simulate_scenario
from tests.aggregator.studies.conftest import EVENT, scenario, visit
from twin.ageing import wear

LONG = tuple(visit(f"long{k}", k + 1, f"07:{10 * k:02d}", "17:00", soc=0.7, wants_kwh=4.0) for k in range(3))
V2G = '[control]\nname = "laxity"\ndischarges = true\n'


def write(folder: Path, text: str, name: str = "worn.toml") -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    return file


@pytest.fixture
def worn(tmp_path: Path) -> Path:
    event = EVENT.replace("reduction_kw = 8.0", "max_net_kw = -6.0")
    text = scenario(*LONG, drivers="acn", more=V2G + event + "[ageing]\ntemperature_c = 25.0\n", current="dc")
    return write(tmp_path, text.replace("[run]", "[run]\nreplicas = 5"))


def test_one_stay_of_a_lossless_car_is_what_its_day_written_out_takes(tmp_path: Path) -> None:
    """10 to 32 kWh from 08:00 to 10:00 at 11 kW, then it stands until 16:00 and drives 22 kWh until 08:00."""
    text = scenario(visit("only", 1, "08:00", "16:00"), more="[ageing]\ntemperature_c = 30.0\n")
    facts = simulate_scenario(write(tmp_path, text)).facts
    found = facts.visits.wear
    assert found is not None
    hours = np.linspace(0.0, 24.0, 49)
    soc = np.interp(hours, [0.0, 2.0, 8.0, 24.0], [0.2, 0.64, 0.64, 0.2])[None]
    day = wear("nmc", soc, 30.0, 50.0)
    assert found.throughput_kwh == pytest.approx([22.0])
    assert found.calendar == pytest.approx(day.calendar_per_day * 8 / 24)
    assert found.cycle == pytest.approx(day.per_kwh * 22.0)
    assert facts.measures["wear"] == pytest.approx(found.calendar + found.cycle)


def test_what_the_event_added_is_what_the_run_without_it_lacks(worn: Path) -> None:
    asked = simulate_scenario(worn).facts
    spared = simulate_scenario(write(
        worn.parent, 'extends = "worn.toml"\n[[events]]\nid = "midday"\nenabled = false\n', "spared.toml"
    )).facts
    now, before = asked.visits.wear, spared.visits.wear
    assert now is not None
    assert before is not None
    assert asked.visits.label == spared.visits.label
    for name in ("calendar", "cycle"):
        np.testing.assert_allclose(
            getattr(now, name) - getattr(now, f"event_{name}"), getattr(before, name), rtol=1e-9, atol=1e-18
        )
    np.testing.assert_allclose(now.throughput_kwh - now.event_kwh, before.throughput_kwh, atol=1e-9)
    assert np.isnan(before.event_cycle).all()
    assert now.event_kwh.sum() > 10.0, "giving 6 kW to the grid for an hour takes throughput"
    assert asked.measures["event_wear"] == pytest.approx(asked.measures["wear"] - spared.measures["wear"], rel=1e-6)


def test_every_kwh_of_a_lossless_car_is_throughput(worn: Path) -> None:
    facts = simulate_scenario(worn).facts
    visits = facts.visits
    assert visits.wear is not None
    # A step in which a car both charges and discharges books its net change only.
    flowed = visits.imported_kwh + visits.exported_kwh
    assert (visits.wear.throughput_kwh <= flowed + 1e-9).all()
    assert visits.wear.throughput_kwh.sum() == pytest.approx(flowed.sum(), rel=0.02)


def test_tables_result_report_and_comparison_say_the_same(worn: Path, tmp_path: Path) -> None:
    written = simulate_into(worn, tmp_path / "a")
    simulate_into(worn, tmp_path / "b", SimulationOptions(control="uncontrolled"))
    table = pq.read_table(tmp_path / "a" / "visits.parquet")
    replica, calendar, cycle, added, kwh = (table.column(name).to_numpy() for name in (
        "replica", "wear_calendar", "wear_cycle", "wear_from_event", "throughput_kwh"
    ))
    result = json.loads((tmp_path / "a" / "result.json").read_text("utf-8"))
    assert result["wear"] == written["wear"]
    np.testing.assert_allclose(result["by_replica"]["wear"], np.bincount(replica, calendar + cycle), atol=2e-9)
    np.testing.assert_allclose(result["by_replica"]["event_wear"], np.bincount(replica, added), atol=2e-9)
    share = result["wear"]
    assert share["stays"] == table.num_rows
    assert share["per_stay"]["cycle"] == pytest.approx(cycle.mean(), rel=1e-6)
    assert share["per_kwh"]["cycle"] == pytest.approx(cycle.sum() / kwh.sum(), rel=1e-6)
    assert share["event"]["added_per_stay"]["cycle"] + share["event"]["added_per_stay"]["calendar"] == pytest.approx(
        added.mean(), rel=1e-6
    )
    assert 'id="wear"' in (tmp_path / "a" / "report.html").read_text("utf-8")
    (difference,) = comparison_json(compare([tmp_path / "a", tmp_path / "b"]))["differences"]
    other = json.loads((tmp_path / "b" / "result.json").read_text("utf-8"))
    assert difference["measures"]["wear"]["mean"] == pytest.approx(
        other["summary"]["wear"]["mean"] - result["summary"]["wear"]["mean"], abs=2e-9
    )


def test_the_report_speaks_of_wear_only_where_it_was_judged(worn: Path) -> None:
    judged = simulate_scenario(worn).facts
    titles = {table.id for table in simulation_tables(judged)}
    assert {"wear", "wear-cars"} <= titles
    assert "of a battery's life on average" in summary(judged)
    silent = simulate_scenario(write(
        worn.parent, 'extends = "worn.toml"\nageing.enabled = false\n', "silent.toml"
    )).facts
    assert not {"wear", "wear-cars"} & {table.id for table in simulation_tables(silent)}
    assert "life" not in summary(silent)
    assert "wear" not in silent.measures
    assert silent.digest == judged.digest, "judging changes nothing of the run"
