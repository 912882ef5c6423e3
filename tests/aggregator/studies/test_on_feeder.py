"""A run on a feeder: tables, result, comparison and page say what the twin's judgement says."""

import json
import re
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from aggregator.reports.comparison import render_comparison
from aggregator.reports.simulation import render_simulation, warnings
from aggregator.studies import simulate as module
from aggregator.studies.compare import compare
from aggregator.studies.on_feeder import on_feeder_result
from aggregator.studies.simulate import SimulationResult, simulate_into, simulate_scenario
from twin.ensemble import Outcome
from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Primitive, Rating, Source, Transformer
from twin.feeder.impact.judging import Impact
from twin.feeder.on_disk.files import read, write
from twin.scenario import OnFeeder

STREET = """
name = "Three homes"
start = 2025-03-11T16:00:00+01:00
end = 2025-03-12T04:00:00+01:00
[site]
timezone = "Europe/Berlin"
import_cap_kw = 100.0
[station_types.post]
current = "ac"
max_charge_kw = 7.36
ac_phases = 1
[[station_groups]]
id = "post"
type = "post"
count = 3
[[vehicles]]
model = "car"
capacity_kwh = 50.0
charge_soc = [0.0, 1.0]
charge_kw = [20.0, 20.0]
max_charge_kw = 11.0
[[duties]]
id = "evening"
group = "*"
arrival = {{ mean = "18:00", sd_min = 60 }}
departure = {{ mean = "03:00", sd_min = 10 }}
arrival_soc = {{ low = 0.3, high = 0.5 }}
[feeder]
folder = "grid"
points = ["<b>one", "two", "three"]
homes = ["<b>one", "two", "three"]
spread = "listed"
nominal_volts = 230.0
hourly_kw = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3, 2, 2, 1, 1]
{more}
[run]
replicas = 4
seed = 3
"""


def grid(folder: Path, *, paper: Any = None, ohms: float = 0.1) -> None:
    """A transformer and a long cable; a name that a page must escape."""
    cable = Line.of_sequence("cable", "low", "far", r1=ohms, x1=0.1, r0=3.0 * ohms, x0=0.3,
                             ampacity=Rating.even(40.0, "assumed: a test"))
    drum = Transformer("drum", "high", "low", 40e3, 10_000.0, 400.0, 0.04, 600.0, "Dyn5", 0.01, 100.0,
                       paper=paper)
    write(Feeder(
        "A <street>", (Bus("high", 10_000.0), Bus("low", 400.0), Bus("far", 400.0)), (cable,), Source("high"), (drum,),
        (ConnectionPoint("<b>one", "far", "a"), ConnectionPoint("two", "far", "a"),
         ConnectionPoint("three", "low", "b")),
    ), folder / "grid")


def street(folder: Path, more: str = "", **changes: Any) -> Path:
    grid(folder, **changes)
    file = folder / "street.toml"
    file.write_text(STREET.format(more=more), "utf-8")
    return file


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SimulationResult, Impact]:
    """A run and the judgement in it."""
    kept: list[Impact] = []

    def listen(on: OnFeeder, impact: Impact, outcome: Outcome) -> Any:
        kept.append(impact)
        return on_feeder_result(on, impact, outcome)

    monkeypatch.setattr(module, "on_feeder_result", listen)
    return simulate_scenario(street(tmp_path)), kept[0]


def test_the_figures_are_those_of_the_judgement(judged: tuple[SimulationResult, Impact]) -> None:
    result, impact = judged
    measures, feeder = result.facts.measures, result.facts.feeder
    assert feeder is not None
    kw = np.asarray(result.outcome.evse_kwh).transpose(1, 0, 2) * 4.0
    np.testing.assert_allclose(impact.evse_kw, kw)
    scene = impact.scene
    solution = scene.flow().solve(*scene.demand_w(kw))
    volts = np.abs(solution.terminal_voltages()) / 230.0
    np.testing.assert_allclose(measures["feeder_low_pu"], volts.min(axis=(0, 2)))
    np.testing.assert_allclose(measures["feeder_line_loading"], solution.line_loading().max(axis=(0, 2)), atol=1e-9)
    np.testing.assert_allclose(measures["feeder_losses_kwh"], solution.losses_w().sum(axis=1) / 4000.0, rtol=1e-6)
    assert (measures["feeder_caused_minutes"] > 0).all()
    over = (solution.line_loading().max(axis=0) > 1.0).sum(axis=1) * 15.0
    np.testing.assert_array_equal(measures["feeder_overload_minutes"], over)
    carried = np.maximum(solution.transformer_loading()[0], solution.winding_loading()[0].max(axis=(0, 1)))
    np.testing.assert_allclose(measures["feeder_transformer_loading"], carried.max(axis=1), atol=1e-9)
    np.testing.assert_array_equal(measures["feeder_transformer_minutes"], (carried > 1.0).sum(axis=1) * 15.0)
    np.testing.assert_allclose(feeder.carried.peak, [np.median(carried.max(axis=1))], atol=1e-9)
    np.testing.assert_allclose(feeder.carried.minutes, [(carried > 1.0).sum(axis=1).mean() * 15.0])
    assert (feeder.carried.ids, feeder.carried.kinds) == (("drum",), ("transformer",))
    # Two of three EVs and homes hang on phase a of the low side; 40 kVA at 400 V are 57.7 A.
    assert (feeder.carried.sides, feeder.carried.phases) == (("to",), ("a",))
    assert feeder.carried.amperes == pytest.approx([40e3 / sqrt(3.0) / 400.0])
    # "<b>one" and "two" share a place: what is true of their one voltage counts once.
    minutes = impact.points.minutes.attributable
    np.testing.assert_array_equal(minutes[0], minutes[1])
    np.testing.assert_array_equal(measures["feeder_voltage_minutes"], minutes[0] + minutes[2])
    np.testing.assert_allclose(feeder.steps["low_pu"].p50, np.median(volts.min(axis=0), axis=0))
    np.testing.assert_allclose(feeder.beyond_share, impact.beyond.mean(axis=0))
    assert feeder.voltage_pu == pytest.approx((0.9, 1.1))
    assert feeder.agrees
    assert scene.limits.voltage_pu[0] == pytest.approx(0.9 * 230.0 * sqrt(3.0) / 400.0)


def test_tables_and_result_are_written_and_equal(tmp_path: Path) -> None:
    out = tmp_path / "out"
    written: Any = simulate_into(street(tmp_path), out)
    for name in ("feeder_points", "feeder_lines", "feeder_transformers", "feeder_steps"):
        columns = pyarrow.parquet.read_table(out / f"{name}.parquet")
        assert columns.num_rows == {
            "feeder_points": 3, "feeder_lines": 1, "feeder_transformers": 1, "feeder_steps": 48}[name]
        text = pyarrow.csv.read_csv(out / f"{name}.csv")
        assert text.column_names == columns.column_names
        for column in columns.column_names:
            kept = columns[column].to_pylist()
            if isinstance(kept[0], float):
                assert text[column].to_pylist() == pytest.approx(kept)
        assert {f"{name}.csv", f"{name}.parquet"} <= set(written["files"])
    feeder = written["feeder"]
    points = pyarrow.parquet.read_table(out / "feeder_points.parquet")
    once = [row for row, name in enumerate(points["point"].to_pylist()) if name != "two"]
    for key in ("violation", "attributable", "unfixable"):
        rows = points[f"{key}_minutes"].to_pylist()
        assert feeder["minutes_per_course"][key] == pytest.approx(sum(rows[row] for row in once))
    assert feeder["second_engine"]["agrees"] is True
    assert feeder["limits"]["voltage_pu"] == [0.9, 1.1]
    assert written["by_replica"]["feeder_line_loading"] == pytest.approx(written["by_replica"]["feeder_line_loading"])
    assert written["assumptions"]
    json.dumps(written, allow_nan=False)
    lines = pyarrow.parquet.read_table(out / "feeder_lines.parquet")
    assert lines["phase"].to_pylist() == ["a"], "the others carry nothing"


def test_a_regulator_with_a_rating_is_told_by_name(tmp_path: Path) -> None:
    """It stands before the homes of phase a and bears 20 A, fewer than two cars draw."""
    file = street(tmp_path)
    drum = read(tmp_path / "grid")
    ohm = ((40.0 + 0.0j, -40.0 + 0.0j), (-40.0 + 0.0j, 40.0 + 0.0j))
    regulator = Primitive("reg <1>", (("far", "a"), ("end", "a")), ohm, "regulator", amperes=(20.0, 20.0))
    points = tuple(replace(point, bus="end") if point.bus == "far" else point for point in drum.connection_points)
    write(replace(drum, buses=(*drum.buses, Bus("end", 400.0, "a")), primitives=(regulator,),
                  connection_points=points), tmp_path / "grid")
    written: Any = simulate_into(file, tmp_path / "out")
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "feeder_transformers.parquet").to_pylist()
    assert [(row["element"], row["kind"], row["rated_a"]) for row in rows[1:]] == [("reg <1>", "regulator", 20.0)]
    assert rows[1]["most_loaded_phase"] == "a"
    assert rows[1]["loading_max"] > 1.0
    assert rows[1]["attributable_minutes"] > 0.0
    assert max(rows[0]["attributable_minutes"], rows[1]["attributable_minutes"]) <= (
        written["summary"]["feeder_transformer_minutes"]["mean"] + 1e-9
    )
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "regulator reg &lt;1&gt;" in page
    assert "reg <1>" not in page


def test_a_nominal_voltage_is_that_of_the_buses_with_connection_points_alone(tmp_path: Path) -> None:
    file = street(tmp_path)
    file.write_text(file.read_text("utf-8").replace("nominal_volts = 230.0", "nominal_volts = 220.0"), "utf-8")
    facts = simulate_scenario(file).facts
    assert facts.feeder is not None
    for name in ("with", "without"):
        shown = {
            bus: [float(volts) for volts in re.findall(r"[abc] ([0-9.]+)", text)]
            for bus, text in re.findall(r"<title>bus (\w+): (.*?) p\.u\.", facts.feeder.pictures[name])
        }
        # An ideal source holds its bus at 1 p.u. of 10 kV; 400 V is 1.05 of 220 V from phase to neutral.
        assert shown["high"] == pytest.approx([1.0] * 3, abs=2e-3)
        assert max(shown["low"]) == pytest.approx(400.0 / sqrt(3.0) / 220.0, abs=0.03)


def test_a_run_again_into_the_same_folder_takes_its_place(tmp_path: Path) -> None:
    file = street(tmp_path)
    simulate_into(file, tmp_path / "out")
    first = (tmp_path / "out" / "feeder_steps.csv").read_bytes()
    simulate_into(file, tmp_path / "out")
    assert (tmp_path / "out" / "feeder_steps.csv").read_bytes() == first


def test_a_stronger_cable_is_compared_side_by_side(tmp_path: Path) -> None:
    weak, strong = tmp_path / "weak", tmp_path / "strong"
    for folder, ohms in ((weak, 0.1), (strong, 0.05)):
        folder.mkdir()
        simulate_into(street(folder, ohms=ohms), folder / "out")
    facts = compare([weak / "out", strong / "out"])
    (row,) = facts.differences
    found = {one.measure.key: one.mean for one in row}
    assert found["feeder_losses_kwh"] < 0.0
    assert found["feeder_low_pu"] > 0.0
    assert tuple(path for path, *_ in facts.differing) == ("feeder.folder",)
    page = render_comparison(facts)
    assert "Lost in the feeder, kWh" in page
    assert "because of EVs" in page


def test_a_feeder_that_collapses_is_told_and_breaks_every_limit(tmp_path: Path) -> None:
    result = simulate_scenario(street(tmp_path, ohms=0.4))
    facts, feeder = result.facts, result.facts.feeder
    assert feeder is not None
    assert (facts.measures["feeder_unsolved"] > 0).any()
    assert feeder.base_unsolved == 0
    assert any("no power-flow solution" in text for text in warnings(facts))
    assert np.isfinite(feeder.steps["low_pu"].p50).any()
    assert (facts.measures["feeder_caused_minutes"] >= 15.0 * facts.measures["feeder_unsolved"]).all()
    assert np.isfinite(feeder.transformers[0].hot_spot_c).all()
    assert feeder.agrees, "solutions that only the second engine finds, beyond the collapse, are told but do not count"
    page = render_simulation(facts)
    assert "cannot carry what is asked of it" in page


def test_a_transformer_of_unknown_paper_is_judged_by_the_worse(tmp_path: Path) -> None:
    result = simulate_scenario(street(tmp_path))
    feeder = result.facts.feeder
    assert feeder is not None
    (row,) = feeder.transformers
    assert "assumed, the worse of both" in row.paper
    assert (row.life_h >= row.base_life_h).all()


def test_no_name_of_a_feeder_gets_into_the_page_unescaped(tmp_path: Path) -> None:
    page = render_simulation(simulate_scenario(street(tmp_path)).facts)
    assert "<b>one" not in page
    assert "A <street>" not in page
    assert "A &lt;street&gt;" in page


def test_a_feeder_is_not_judged_where_chargers_are_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RECORDED", 10)
    facts = simulate_scenario(street(tmp_path)).facts
    assert facts.feeder is None
    assert "feeder_low_pu" not in facts.measures
    assert any("Nor was the feeder judged" in note for note in facts.notes)
    assert 'id="feeder-heading"' not in render_simulation(facts)


def test_engines_that_disagree_are_a_warning(judged: tuple[SimulationResult, Impact]) -> None:
    facts = judged[0].facts
    assert facts.feeder is not None
    told = warnings(replace(facts, feeder=replace(facts.feeder, agrees=False)))
    assert any("second power-flow engine does not agree" in text for text in told)
    assert not any("second" in text for text in warnings(facts))


INVERTERS = """
[feeder.inverters]
grid_code = "ieee-1547-2018-b"
rated_kva = 8.0
"""
EVENT = """
[[events]]
id = "evening"
start = 2025-03-11T19:00:00+01:00
end = 2025-03-11T21:00:00+01:00
max_net_kw = 6.0
[control]
name = "laxity"
"""


def test_the_feeder_is_judged_by_what_inverters_really_drew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Impact] = []

    def listen(on: OnFeeder, impact: Impact, outcome: Outcome) -> Any:
        kept.append(impact)
        return on_feeder_result(on, impact, outcome)

    monkeypatch.setattr(module, "on_feeder_result", listen)
    result = simulate_scenario(street(tmp_path, INVERTERS))
    (impact,) = kept
    scene, record = impact.scene, result.outcome.grid
    assert record is not None
    assert impact.evse_kvar is not None
    kw, kvar = impact.evse_kw, impact.evse_kvar
    np.testing.assert_allclose(kvar, np.asarray(record.evse_kvarh).transpose(1, 0, 2) * 4.0)
    assert (kvar < -0.5).any(), "vars fed in while voltages are low"
    spread = scene.spread().toarray()
    solution = scene.flow().solve(
        scene.base_w[:, None] + 1000.0 * np.einsum("te,ers->trs", spread, kw),
        scene.base_var[:, None] + 1000.0 * np.einsum("te,ers->trs", spread, kvar),
    )
    volts = np.abs(solution.terminal_voltages())
    np.testing.assert_allclose(result.facts.measures["feeder_low_pu"], volts.min(axis=(0, 2)) / 230.0)
    # Where a post's power was the same all through a step, the vars of that step are those of the curve at its voltage.
    steady = np.abs(kw[:, :, 1:-1] - 7.36) < 1e-9
    steady &= (np.abs(kw[:, :, :-2] - 7.36) < 1e-9) & (np.abs(kw[:, :, 2:] - 7.36) < 1e-9)
    seen = np.einsum("te,trs->ers", spread, volts)[:, :, 1:-1] / 230.0
    curve = -8.0 * np.interp(seen, (0.92, 0.98, 1.02, 1.08), (0.44, 0.0, 0.0, -0.44))
    room = np.sqrt(8.0**2 - 7.36**2)
    free = steady & (np.abs(curve) < room) & (np.abs(curve) > 0.01)
    neighbours = free & (np.diff(kw, axis=2)[:, :, :-1] == 0.0).all(axis=0) & (
        np.diff(kw, axis=2)[:, :, 1:] == 0.0).all(axis=0)
    assert neighbours.any()
    np.testing.assert_allclose(kvar[:, :, 1:-1][neighbours], curve[neighbours], atol=1e-5)


def test_inverters_of_another_nominal_voltage_withhold_and_say_so(tmp_path: Path) -> None:
    file = street(tmp_path, "source_pu = 1.04\n" + INVERTERS + "nominal_volts = 215.0\n")
    written: Any = simulate_into(file, tmp_path / "out")
    by_replica = written["by_replica"]
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "feeder_inverters.parquet").to_pydict()
    assert rows["evse"] == ["post-01", "post-02", "post-03"]
    assert sum(rows["withheld_import_kwh"]) == pytest.approx(np.mean(by_replica["withheld_import_kwh"]), rel=1e-5)
    assert sum(rows["trips"]) == pytest.approx(np.mean(by_replica["inverter_trips"]))
    assert sum(rows["trips"]) > 0.0
    assert written["feeder"]["inverters"] == {
        "grid_code": "IEEE 1547-2018, normal operating category B, abnormal operating category III",
        "nominal_volts": 215.0, "evses": 3, "rated_kva": 24.0,
    }
    assert any("stands at 1.04 p.u." in text for text in written["assumptions"])
    plain: Any = simulate_into(street(tmp_path, "source_pu = 1.04\n"), tmp_path / "plain")
    assert plain["feeder"]["inverters"] is None
    assert not any(plain["by_replica"]["withheld_import_kwh"])
    facts = compare([tmp_path / "plain", tmp_path / "out"])
    (row,) = facts.differences
    more = {one.measure.key: one.mean for one in row}
    assert more["withheld_import_kwh"] == pytest.approx(np.mean(by_replica["withheld_import_kwh"]))
    assert more["inverter_trips"] > 0.0
    assert np.mean(by_replica["ev_import_kwh"]) < np.mean(plain["by_replica"]["ev_import_kwh"])
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "What inverters withheld per course" in page
    assert "Inverters withheld" in page


def test_an_event_answers_for_what_the_same_courses_without_it_lack(tmp_path: Path) -> None:
    result = simulate_scenario(street(tmp_path, EVENT))
    measures = result.facts.measures
    # Without the event this is the same scenario, and its feeder's minutes are the plain ones.
    text = (tmp_path / "street.toml").read_text("utf-8").replace(EVENT.split("[control]", maxsplit=1)[0], "")
    (tmp_path / "street.toml").write_text(text, "utf-8")
    without = simulate_scenario(tmp_path / "street.toml").facts.measures
    np.testing.assert_array_equal(measures["feeder_plain_minutes"], without["feeder_caused_minutes"])
    assert "feeder_event_minutes" not in without
    more = measures["feeder_caused_minutes"] - measures["feeder_plain_minutes"]
    assert (measures["feeder_event_minutes"] >= np.maximum(more, 0.0)).all()
    assert result.without_event is not None
    assert result.without_event.evse_kwh is None
    assert "only because of the event." in render_simulation(result.facts)
