"""A scenario on a feeder: where EVSEs hang, what homes draw, whose load the site's is, and what is refused."""

from datetime import datetime
from math import sqrt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from twin.controllers import Uncontrolled
from twin.engine import run
from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Rating, Source
from twin.feeder.inverters.grid_codes import grid_code
from twin.feeder.on_disk.example import european_lv_home_day
from twin.feeder.on_disk.files import write as write_feeder
from twin.scenario import (
    NotRecorded,
    OnFeeder,
    ScenarioError,
    check_scenario,
    load_scenario,
    scenario_files,
    scenario_sha256,
)

HEAD = """
name = "A street"
start = {start}
end = {end}
[site]
timezone = "Europe/Berlin"
import_cap_kw = 100.0
[station_types.one]
current = "ac"
max_charge_kw = 7.36
ac_phases = 1
[station_types.three]
current = "ac"
max_charge_kw = 11.04
ac_phases = 3
[[station_groups]]
id = "home"
type = "{kind}"
count = {count}
[run]
step_s = {step_s}
"""


def text(
    feeder: str = 'example = "european_lv"', *, kind: str = "one", count: int = 4, step_s: int = 900,
    start: str = "2025-03-29T12:00:00+01:00", end: str = "2025-03-31T12:00:00+02:00", more: str = "",
) -> str:
    head = HEAD.format(kind=kind, count=count, step_s=step_s, start=start, end=end)
    return f"{head}[feeder]\n{feeder}\n{more}"


def small(folder: Path) -> Path:
    """Two buses and four points: `three` and `more` on abc, `left` on a, `right` on bc."""
    line = Line.of_sequence("cable", "near", "far", r1=0.1, x1=0.03, r0=0.3, x0=0.09,
                            ampacity=Rating.even(150.0, "a test"))
    points = (
        ConnectionPoint("three", "far", "abc", 35.0), ConnectionPoint("left", "far", "a", 20.0),
        ConnectionPoint("right", "far", "bc"), ConnectionPoint("more", "far", "abc"),
    )
    write_feeder(Feeder("Two buses", (Bus("near", 400.0), Bus("far", 400.0)), (line,), Source("near"),
                        connection_points=points), folder / "grid")
    return folder


@pytest.fixture
def street(tmp_path: Path) -> Any:
    """Write a scenario beside the small feeder and load it."""
    small(tmp_path)

    def load(*args: Any, **changes: Any) -> OnFeeder:
        file = tmp_path / "street.toml"
        file.write_text(text(*args, **changes), "utf-8")
        found = load_scenario(file).feeder
        assert found is not None
        return found

    return load


def refusal(folder: Path, *args: Any, **changes: Any) -> str:
    small(folder)
    file = folder / "street.toml"
    file.write_text(text(*args, **changes), "utf-8")
    check = check_scenario(file)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(file)
    assert str(caught.value) in [str(fault) for fault in check.faults]
    return str(caught.value)


def test_the_sites_load_is_that_of_the_homes_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "street.toml"
    file.write_text(text(), "utf-8")
    scenario = load_scenario(file)
    feeder, ensemble = scenario.feeder, scenario.experiment().ensemble
    assert feeder is not None
    np.testing.assert_allclose(ensemble.base_load_kw[0], feeder.scene.base_w.sum(axis=0) / 1000.0)
    assert ensemble.base_load_kw.max() == pytest.approx(european_lv_home_day().p_w.sum(axis=0).max() / 1000.0)
    told = " ".join(scenario.public().assumptions)
    for words in ("IEEE European LV Test Feeder", "55 homes", "power factor 0.95", "sum of what homes and cars draw"):
        assert words in told


@pytest.mark.parametrize("step_s", [60, 300, 900, 1800, 3600])
def test_the_homes_day_is_that_of_local_clocks_also_when_they_change(tmp_path: Path, step_s: int) -> None:
    """Clocks go forward on 30 March 2025: 02:00 to 03:00 is not there."""
    file = tmp_path / "street.toml"
    file.write_text(text(step_s=step_s), "utf-8")
    feeder = load_scenario(file).feeder
    assert feeder is not None
    day = european_lv_home_day()
    zone = ZoneInfo("Europe/Berlin")
    row = feeder.scene.flow().terminal_row[day.connection_points[7], european_phase(feeder, day.connection_points[7])]
    grid = feeder.scene.grid
    for step in range(0, grid.steps, max(grid.steps // 97, 1)):
        parts = []
        for minute in range(max(step_s // 60, 1)):
            when = datetime.fromtimestamp(grid.start.timestamp() + step * step_s + 60 * minute, zone)
            parts.append(day.p_w[7, when.hour * 4 + when.minute // 15])
        assert feeder.scene.base_w[row, step] == pytest.approx(np.mean(parts))
        assert feeder.scene.base_var[row, step] == pytest.approx(np.mean(parts) * sqrt(1 / 0.95**2 - 1))


def european_phase(feeder: OnFeeder, point: str) -> str:
    return next(one.phases for one in feeder.scene.feeder.connection_points if one.id == point)


def test_hourly_powers_are_joined_by_lines_and_split_over_phases(street: Any) -> None:
    hours = [float(hour % 7) for hour in range(24)]
    feeder = street(f'folder = "grid"\npoints = ["left"]\nphases = "a"\nhourly_kw = {hours}\nscale = 2.0',
                    step_s=60, end="2025-03-30T12:00:00+02:00")
    rows = feeder.scene.flow().terminal_row
    when = 13 * 60 + 30 - 12 * 60  # 13:30 local time, minutes after the start
    expected = 2.0 * 1000.0 * (hours[13] + hours[14]) / 2.0
    assert feeder.scene.base_w[rows["right", "b"], when] == pytest.approx(expected / 2.0)
    assert feeder.scene.base_w[rows["three", "c"], when] == pytest.approx(expected / 3.0)
    assert feeder.scene.base_w[rows["left", "a"]].max() == 0.0, "an EVSE may hang there, so it is no home"


def test_a_file_of_loads_is_read_by_point_with_exact_means_and_pv(street: Any, tmp_path: Path) -> None:
    (tmp_path / "loads.csv").write_text(
        "time,left,right\n2025-03-29T12:00:00+01:00,1.0,-3.0\n2025-03-29T12:05:00+01:00,4.0,6.0\n"
        "2025-03-29T12:30:00+01:00,2.0,-8.0\n", "utf-8",
    )
    feeder = street('folder = "grid"\nfile = "loads.csv"\nload_power_factor = 0.9\npoints = ["three"]')
    rows = feeder.scene.flow().terminal_row
    left, right = feeder.scene.base_w[rows["left", "a"]], feeder.scene.base_w[rows["right", "b"]]
    np.testing.assert_allclose(left[:4], [1000 * (1.0 * 5 + 4.0 * 10) / 15, 4000, 2000, 2000])
    np.testing.assert_allclose(right[:3], [500 * (-3.0 * 5 + 6.0 * 10) / 15, 3000, -4000])
    reactive = feeder.scene.base_var[rows["right", "b"]]
    assert reactive[1] == pytest.approx(3000 * sqrt(1 / 0.9**2 - 1))
    assert reactive[2] == 0.0, "what is fed in has none"


def test_nothing_is_drawn_on_a_folder_of_which_nothing_is_said(street: Any) -> None:
    feeder = street('folder = "grid"\npoints = ["left"]')
    assert not feeder.scene.base_w.any()
    assert any("Nothing but EVs hangs on the feeder" in sentence for sentence in feeder.assumed)


def test_evses_are_spread_evenly_seeded_or_as_listed(street: Any) -> None:
    def points(spread: str, count: int) -> tuple[str, ...]:
        found: OnFeeder = street(
            f'folder = "grid"\npoints = ["more", "left", "three", "right"]\nspread = "{spread}"', count=count
        )
        return found.scene.evse_points

    assert points("even", 4) == ("three", "left", "right", "more"), "in the feeder's order"
    assert points("even", 2) == ("left", "more")
    assert points("even", 8) == tuple(np.repeat(["three", "left", "right", "more"], 2))
    assert points("listed", 3) == ("more", "left", "three")
    drawn = points("seeded", 8)
    assert sorted(drawn[:4]) == sorted(drawn[4:]) == ["left", "more", "right", "three"]
    assert points("seeded", 4) == drawn[:4]


def test_groups_and_single_stations_have_points_of_their_own(street: Any) -> None:
    feeder = street('folder = "grid"\npoints = ["right"]\ngroups = { home = ["three"], home-02 = ["left"] }')
    assert feeder.scene.evse_points == ("three", "left", "three", "three")


def test_first_conductors_are_turned_so_that_all_phases_carry_alike(street: Any) -> None:
    turned = street('folder = "grid"\npoints = ["three"]', kind="three", count=6)
    assert turned.wiring == ("abc", "bca", "cab") * 2
    assert turned.scene.evse_phases == ("abc",) * 6
    single = street('folder = "grid"\npoints = ["three"]', count=4)
    assert single.scene.evse_phases == ("a", "b", "c", "a")
    fixed = street('folder = "grid"\npoints = ["three"]\nrotate = false', count=4)
    assert fixed.scene.evse_phases == ("a",) * 4
    given = street('folder = "grid"\npoints = ["three"]\nphases = ["a", "bc", "abc", "b"]', count=4)
    assert given.scene.evse_phases == ("a", "bc", "abc", "b")


def test_limits_are_of_the_nominal_voltage(street: Any) -> None:
    own = street('folder = "grid"\npoints = ["left"]')
    assert own.scene.limits.voltage_pu == (0.9, 1.1)
    given = street(
        'folder = "grid"\npoints = ["left"]\nnominal_volts = 220.0\n[feeder.limits]\nvoltage_pu = [0.94, 1.06]'
    )
    rated = 400.0 / sqrt(3.0)
    assert given.scene.limits.voltage_pu == pytest.approx((0.94 * 220.0 / rated, 1.06 * 220.0 / rated))


def test_the_air_around_the_transformer_goes_by_local_months(street: Any) -> None:
    monthly = [float(month) for month in range(12)]
    feeder = street(f'folder = "grid"\npoints = ["left"]\nambient_c = {monthly}', step_s=3600,
                    start="2025-03-31T12:00:00+02:00", end="2025-04-01T12:00:00+02:00")
    assert feeder.ambient_c().tolist() == [2.0] * 12 + [3.0] * 12
    assert street('folder = "grid"\npoints = ["left"]', step_s=3600).ambient_c().tolist() == [20.0] * 47


def test_inverters_are_as_large_as_their_evses_and_take_the_streets_voltage_for_theirs(street: Any) -> None:
    plain = street('folder = "grid"\npoints = ["left"]')
    assert plain.inverters is None
    assert plain.response(2) is None
    named = 'inverters = {{ grid_code = "ieee-1547-2018-b"{} }}'
    feeder = street('folder = "grid"\npoints = ["left"]\nnominal_volts = 230.0\n' + named.format(""))
    own = feeder.inverters
    assert own.nominal_volts == 230.0
    assert {inverter.rated_va for inverter in own.each} == {7360.0}
    assert len(own.each) == 4
    (code,) = {inverter.code for inverter in own.each}
    assert code == grid_code("ieee-1547-2018-b").without_lag()
    assert code.volt_var.response_s == code.volt_watt.response_s == 0.0
    assert feeder.response(2).replicas == 2
    assert any("answer at once" in text for text in feeder.assumed)
    assert any("switched on" in text for text in feeder.assumed)
    other = street('folder = "grid"\npoints = ["left"]\n' + named.format(", rated_kva = 9.0, lag = true"))
    assert other.inverters.nominal_volts is None
    assert {inverter.rated_va for inverter in other.inverters.each} == {9000.0}
    assert other.inverters.each[0].code == grid_code("ieee-1547-2018-b")


def test_the_grid_above_stands_where_the_scenario_says(street: Any) -> None:
    as_built = street('folder = "grid"\npoints = ["left"]').scene
    lower = street('folder = "grid"\npoints = ["left"]\nsource_pu = 0.975').scene
    rest = np.zeros((len(lower.flow().terminals), 1))
    ratio = np.abs(lower.flow().solve(rest).voltages()) / np.abs(as_built.flow().solve(rest).voltages())
    np.testing.assert_allclose(ratio, 0.975)


def test_a_fuse_that_is_too_small_is_a_warning(street: Any) -> None:
    feeder = street('folder = "grid"\npoints = ["left"]', count=1)
    assert feeder.warnings == ("home-01 can draw 32 A at left, whose fuse is 20 A.",)


def test_a_phase_with_most_of_the_evses_is_warned_of_and_an_even_street_is_not(street: Any) -> None:
    crowded = street('folder = "grid"\npoints = ["left"]', count=5).warnings
    assert any(text.startswith("5 of 5 EVSEs of one phase hang on phase a (0 on b, 0 on c): it fills up first")
               for text in crowded)
    turned = street('folder = "grid"\npoints = ["three", "more"]', count=6).warnings
    assert not any("fills up first" in text for text in turned)


@pytest.mark.parametrize(("feeder", "changes", "message"), [
    ("power_factor = 1.0", {}, "$.feeder: 'neither', expected either example or folder"),
    ('folder = "nowhere"', {}, "$.feeder.folder"),
    ('folder = "grid"\npoints = ["there"]', {}, "$.feeder.points[0]: 'there', expected a connection point"),
    ('folder = "grid"\npoints = ["left", "left"]', {}, "$.feeder.points[1]: 'left', expected every connection point"),
    ('folder = "grid"\nspread = "listed"\npoints = ["left"]', {}, "$.feeder.points: '1 points', expected one for each"),
    ('folder = "grid"\ngroups = { shop = ["left"] }', {}, "$.feeder.groups: 'shop', expected the id of a station"),
    ('folder = "grid"\npoints = ["left"]', {"kind": "three"}, "'left', expected a point with 3 phases for home-01"),
    ('folder = "grid"\npoints = ["left"]\nphases = "b"', {}, "$.feeder.phases: 'b', expected among the phases a of"),
    ('folder = "grid"\nphases = ["a"]', {}, "$.feeder.phases: '1 entries', expected one for each of 4 EVSEs"),
    ('folder = "grid"\nphases = "ba"', {}, "$.feeder.phases"),
    ('folder = "grid"\npower_factor = 1.2', {}, "$.feeder.power_factor"),
    ('folder = "grid"\nlimits = { voltage_pu = [1.1, 0.9] }', {}, "$.feeder.limits.voltage_pu"),
    ('folder = "grid"\nlimits = { unbalanced = 1 }', {}, "did you mean `unbalance`"),
    ('example = "ieee13"', {}, "$.feeder.example: 'ieee13', expected one of european_lv"),
    ('folder = "grid"\nhourly_kw = [1, 2]', {}, "$.feeder.hourly_kw"),
    ('folder = "grid"\ninverters = { grid_code = "ieee" }', {},
     "$.feeder.inverters.grid_code: 'ieee', expected one of ieee-1547-2018-a, ieee-1547-2018-b"),
    ('folder = "grid"\ninverters = { lag = true }', {}, "$.feeder.inverters"),
    ('folder = "grid"\nsource_pu = 0', {}, "$.feeder.source_pu"),
])
def test_what_does_not_fit_is_told_with_file_and_field(
    tmp_path: Path, feeder: str, changes: dict[str, Any], message: str
) -> None:
    said = refusal(tmp_path, feeder, **changes)
    assert "street.toml" in said
    assert message in said


@pytest.mark.parametrize(("table", "where"), [
    ("[building]\nhourly_kw = [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]", "$.building"),
    ("[pv]\nhourly_kw = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 5, 5, 5, 0, 0, 0, 0, 0]", "$.pv"),
])
def test_a_building_beside_a_feeder_is_refused_so_that_nothing_counts_twice(
    tmp_path: Path, table: str, where: str
) -> None:
    said = refusal(tmp_path, 'folder = "grid"\npoints = ["left"]', more=table)
    expected = "'a table beside [feeder]', expected none: the load of the site is that of the feeder's homes"
    assert f"{where}: {expected}" in said


@pytest.mark.parametrize(("rows", "message"), [
    ("time,left\n2025-03-29T12:10:00+01:00,1.0\n", "row 2, time"),
    ("time,left\n2025-03-29T12:00:00+01:00,1.0\n2025-03-29T12:00:00+01:00,1.0\n", "row 3, time"),
    ("time,cellar\n2025-03-29T12:00:00+01:00,1.0\n", "row 1: 'cellar', expected a connection point"),
    ("time,left\n2025-03-29T12:00:00+01:00,many\n", "row 2, left"),
    ("time,left\n2025-03-29T12:00:00+01:00\n", "row 2: '1 cells'"),
])
def test_a_bad_row_of_loads_names_the_file_and_row(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "loads.csv").write_text(rows, "utf-8")
    said = refusal(tmp_path, 'folder = "grid"\nfile = "loads.csv"\npoints = ["three"]')
    assert "loads.csv" in said
    assert message in said


def test_a_feeder_that_cannot_be_solved_is_told_with_all_that_is_wrong(tmp_path: Path) -> None:
    small(tmp_path)
    island = Feeder("Island", (Bus("near", 400.0), Bus("far", 400.0)), (), Source("near"),
                    connection_points=(ConnectionPoint("left", "far", "a"),))
    write_feeder(island, tmp_path / "grid")
    file = tmp_path / "street.toml"
    file.write_text(text('folder = "grid"'), "utf-8")
    (fault,) = check_scenario(file).faults
    assert "a feeder that can be solved" in str(fault)
    assert "far" in str(fault)


def test_the_feeders_files_are_part_of_the_scenarios_hash(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "loads.csv").write_text("time,left\n2025-03-29T12:00:00+01:00,1.0\n", "utf-8")
    file = tmp_path / "street.toml"
    file.write_text(text('folder = "grid"\nfile = "loads.csv"\npoints = ["three"]'), "utf-8")
    roles = [role for role, _ in scenario_files(file)]
    assert roles == ["scenario", "feeder.file", "feeder.folder.grid.json", "feeder.folder.feeder.json"]
    before = scenario_sha256(file)
    grid = tmp_path / "grid" / "grid.json"
    grid.write_text(grid.read_text("utf-8") + "\n", "utf-8")
    assert scenario_sha256(file) != before


PHASES = """
[[vehicles]]
model = "three"
capacity_kwh = 50.0
charge_soc = [0.0, 1.0]
charge_kw = [20.0, 20.0]
max_charge_kw = 11.04
ac_phases = 3
[[vehicles]]
model = "single"
capacity_kwh = 50.0
charge_soc = [0.0, 1.0]
charge_kw = [20.0, 20.0]
max_charge_kw = 11.04
ac_phases = 1
[[visits]]
id = "morning"
station = "home-02"
vehicle = "single"
arrival_soc = 0.1
arrival = 2025-03-29T13:00:00+01:00
departure = 2025-03-29T14:00:00+01:00
requested_kwh = 40.0
[[visits]]
id = "evening"
station = "home-02"
vehicle = "three"
arrival_soc = 0.1
arrival = 2025-03-29T15:00:00+01:00
departure = 2025-03-29T16:00:00+01:00
requested_kwh = 40.0
"""


def test_a_car_of_one_phase_loads_the_first_conductor_alone(tmp_path: Path) -> None:
    """home-02 is wired b, c, a: the small car draws from phase b, the large one from all three."""
    small(tmp_path)
    file = tmp_path / "street.toml"
    file.write_text(text('folder = "grid"\npoints = ["three"]', kind="three", count=2, more=PHASES), "utf-8")
    experiment = load_scenario(file).experiment()
    assert experiment.feeder is not None
    outcome = run(experiment.ensemble, experiment.visits, Uncontrolled(), record_evses=True)
    impact = experiment.feeder.judge(outcome, experiment.visits)
    assert impact.scene.evse_ids == ("home-01", "home-02", "home-02 (1 of 3 phases)")
    assert impact.scene.evse_phases == ("abc", "abc", "b")
    flow = impact.scene.flow()
    drawn = impact.scene.demand_w(impact.evse_kw)[0][:, 0]
    at_one, at_three = 4 + 2, 12 + 2  # half past one, half past three
    rows = [flow.terminal_row["three", phase] for phase in "abc"]
    np.testing.assert_allclose(drawn[rows, at_one], [0.0, 3680.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(drawn[rows, at_three], [3680.0] * 3, rtol=1e-6)
    kwh = outcome.evse_kwh
    assert kwh is not None
    np.testing.assert_allclose(drawn.sum(axis=0) / 4000.0, kwh[0].sum(axis=0), atol=1e-9)


def test_vars_go_over_the_phases_of_the_car_too(tmp_path: Path) -> None:
    small(tmp_path)
    file = tmp_path / "street.toml"
    inverters = 'inverters = { grid_code = "ieee-1547-2018-b", nominal_volts = 220.0 }'
    feeder_table = f'folder = "grid"\npoints = ["three"]\n{inverters}'
    file.write_text(text(feeder_table, kind="three", count=2, more=PHASES), "utf-8")
    experiment = load_scenario(file).experiment()
    feeder = experiment.feeder
    assert feeder is not None
    outcome = run(experiment.ensemble, experiment.visits, Uncontrolled(), record_evses=True, grid=feeder.response(1))
    impact = feeder.judge(outcome, experiment.visits)
    assert impact.evse_kvar is not None
    assert outcome.grid is not None
    kvar = impact.evse_kvar[:, 0]
    at_one, at_three = 4 + 2, 12 + 2
    assert kvar[2, at_one] > 0.5
    assert kvar[1, at_one] == 0.0
    assert kvar[1, at_three] > 0.5
    assert kvar[2, at_three] == 0.0
    np.testing.assert_allclose(kvar.sum(axis=0) / 4.0, np.asarray(outcome.grid.evse_kvarh)[0].sum(axis=0), atol=1e-9)
    assert any("all phases of the EVSE" in text for text in feeder.assumed)


def test_a_run_without_records_cannot_be_judged(tmp_path: Path) -> None:
    small(tmp_path)
    file = tmp_path / "street.toml"
    file.write_text(text('folder = "grid"\npoints = ["three"]', kind="three", count=2, more=PHASES), "utf-8")
    experiment = load_scenario(file).experiment()
    assert experiment.feeder is not None
    outcome = run(experiment.ensemble, experiment.visits, Uncontrolled(), record_evses=False)
    with pytest.raises(NotRecorded, match="recorded its chargers"):
        experiment.feeder.judge(outcome, experiment.visits)
