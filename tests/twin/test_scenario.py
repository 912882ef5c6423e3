"""The shipped day, its selection rule, and how bad scenarios are refused."""

import csv
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from twin.assets import Current
from twin.replay import Uncontrolled, simulate
from twin.scenario import (
    PublicScenario,
    Scenario,
    ScenarioError,
    load_scenario,
    physically_possible_kwh,
    resource_path,
)

SHIPPED = "workplace_caltech.toml"
REQUESTED, DELIVERED = "requested_energy (kWh)", "delivered_energy (kWh)"


@pytest.fixture(scope="module")
def shipped() -> Scenario:
    return load_scenario(resource_path(SHIPPED))


def recorded() -> list[dict[str, str]]:
    """Claimed sessions inside 06:00 to 20:00, straight from the file."""
    day = "2019-07-15 "
    with resource_path("acn_caltech_2019-07-15.csv").open(encoding="utf-8") as file:
        return [
            row for row in csv.DictReader(file)
            if row["claimed"] == "True" and row["arrival"] >= day + "06:00" and row["departure"] <= day + "20:00"
        ]


def test_the_recording_is_one_day_with_its_original_columns() -> None:
    lines = resource_path("acn_caltech_2019-07-15.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"arrival,departure,{REQUESTED},{DELIVERED},station_id,session_id,estimated_departure,claimed"
    assert len(lines) == 44
    assert all(line.startswith("2019-07-15") for line in lines[1:])
    assert "CC BY 4.0" in resource_path("LICENSE-acn.md").read_text(encoding="utf-8")


def test_stations_follow_the_stated_rule(shipped: Scenario) -> None:
    count, energy = Counter[str](), defaultdict[str, float](float)
    plugs_in: dict[str, str] = {}
    for row in sorted(recorded(), key=lambda row: row["arrival"]):
        station = row["station_id"]
        count[station] += 1
        energy[station] += float(row[DELIVERED])
        if row["arrival"][11:] < "14:00" and row["estimated_departure"][11:] > "16:00":
            plugs_in.setdefault(station, row["arrival"])
    assert len(count) == 32
    busiest = sorted(count, key=lambda station: (-count[station], -energy[station], station))[:30]
    bidirectional = sorted(set(busiest) & set(plugs_in), key=plugs_in.__getitem__)[:10]
    others = sorted(set(busiest) - set(bidirectional))

    protocols = {station.id: station.protocol for station in shipped.public().stations}
    expected = dict.fromkeys(bidirectional, "ocpp2.1")
    expected |= dict.fromkeys(others[0::2], "ocpp1.6") | dict.fromkeys(others[1::2], "ocpp2.0.1")
    assert protocols == expected
    assert Counter(protocols.values()) == {"ocpp1.6": 10, "ocpp2.0.1": 10, "ocpp2.1": 10}


def test_only_the_newest_stations_are_bidirectional(shipped: Scenario) -> None:
    for station in shipped.public().stations:
        evse = station.evse
        if station.protocol == "ocpp2.1":
            assert (evse.current, evse.max_charge_kw, evse.max_discharge_kw) == (Current.DC, 11.0, 11.0)
            assert (evse.response.delay_s, evse.response.ramp_kw_per_s) == (7.0, 3.3)
        else:
            assert (evse.current, evse.max_charge_kw, evse.max_discharge_kw) == (Current.AC, 6.656, 0.0)
            assert evse.min_charge_kw == pytest.approx(6 * 208 / 1000)
            assert evse.response.delay_s == 2.0


def test_visits_are_the_recorded_sessions_of_these_stations(shipped: Scenario) -> None:
    stations = {station.id for station in shipped.public().stations}
    rows = {row["session_id"]: row for row in recorded() if row["station_id"] in stations}
    truth = shipped.truth()
    assert {visit.id for visit in truth.visits} == set(rows)
    assert len(truth.visits) == 33
    assert shipped.dropped == {"not claimed by a driver": 3, "other station": 2, "outside the scenario's time": 2,
                               "not over at the end (see run.unfinished)": 3}
    for visit in truth.visits:
        row, declared = rows[visit.id], truth.declared[visit.id]
        assert visit.arrival == datetime.fromisoformat(row["arrival"]).astimezone(UTC) == declared.arrival
        assert visit.departure == datetime.fromisoformat(row["departure"])
        assert declared.departure == datetime.fromisoformat(row["estimated_departure"])
        assert declared.requested_kwh == float(row[REQUESTED])
        assert declared.v2g_consent == (visit.vehicle.max_discharge_kw > 0)
        assert len(declared.id_token) <= 20
    assert len({declared.id_token for declared in truth.declared.values()}) == 33


def test_most_requests_fit_and_a_few_do_not(shipped: Scenario) -> None:
    truth = shipped.truth()
    too_much = [
        visit.id for visit in truth.visits
        if visit.energy_kwh + truth.declared[visit.id].requested_kwh > visit.vehicle.battery.capacity_kwh
    ]
    assert 1 <= len(too_much) <= 5
    assert len({visit.energy_kwh / visit.vehicle.battery.capacity_kwh for visit in truth.visits}) > 20
    assert len({visit.vehicle.model for visit in truth.visits}) == 5


def test_losses_at_rated_power_are_those_measured(shipped: Scenario) -> None:
    for vehicle in shipped.public().vehicles.values():
        evse_kw = 11.0 if vehicle.max_discharge_kw else 6.656
        loss = vehicle.battery.loss
        charging = [b for b in np.linspace(0, 11, 110001)
                    if b + loss.standby_kw + loss.proportional * b + loss.quadratic_per_kw * b * b <= evse_kw][-1]
        one_way = charging / evse_kw
        if vehicle.max_discharge_kw == 0:
            assert 0.90 <= one_way <= 0.92
            continue
        assert one_way == pytest.approx(0.93, abs=0.005)
        drained = np.linspace(0, 14, 140001)
        fed = drained - loss.standby_kw - loss.proportional * drained - loss.quadratic_per_kw * drained**2
        back = 11.0 / drained[np.argmax(fed >= 11.0)]
        assert 0.79 <= one_way * back <= 0.88


def test_the_building_is_seeded_and_plausible(shipped: Scenario) -> None:
    truth = shipped.truth()
    assert truth.building_kw.size == 14 * 60
    assert 30 < truth.building_kw.min() < 42
    assert 52 < truth.building_kw.max() < 70
    again = load_scenario(resource_path(SHIPPED)).truth()
    assert again.building_kw.tobytes() == truth.building_kw.tobytes()
    assert again.visits == truth.visits
    at = truth.start + timedelta(minutes=100, seconds=59)
    assert truth.building_at(at) == truth.building_kw[100]
    assert truth.world(900).base_load_kw[0] == pytest.approx(truth.building_kw[:15].mean())
    assert truth.world(60).base_load_kw.tolist() == pytest.approx(truth.building_kw.tolist())


def test_the_public_part_holds_nothing_that_is_true_only_later() -> None:
    assert {field.name for field in fields(PublicScenario)} == {
        "name", "start", "end", "site", "stations", "vehicles", "assumptions",
    }


def test_possible_energy_is_what_the_uncontrolled_replay_reaches(shipped: Scenario) -> None:
    truth = shipped.truth()
    run = simulate(truth.world(900), Uncontrolled(), response=False)
    evses = {evse.id: evse for evse in truth.evses}
    for visit in truth.visits:
        possible = physically_possible_kwh(visit, visit.departure, evses[visit.evse_id])
        gained = run.visits[visit.id].energy_kwh - visit.energy_kwh
        assert gained == pytest.approx(min(possible, visit.target_kwh - visit.energy_kwh), abs=1e-9)
        assert truth.possible_kwh(visit) <= possible + 1e-12
        assert physically_possible_kwh(visit, visit.arrival - timedelta(hours=1), evses[visit.evse_id]) == 0.0


def test_the_whole_day_replays_with_a_closed_ledger(shipped: Scenario) -> None:
    run = simulate(shipped.truth().world(60), Uncontrolled())
    assert run.ledger_residual <= 1e-9
    # Without control the day would cross the cap: that is what control is for.
    assert run.net_kw.max() > shipped.public().site.import_cap_kw == 165.0


MINIMAL = """
name = "small"
start = 2019-07-15T06:00:00-07:00
end = 2019-07-15T20:00:00-07:00
stations = [{ id = "A", type = "t", protocol = "ocpp1.6" }]
[site]
id = "s"
timezone = "America/Los_Angeles"
import_cap_kw = 50.0
[station_types.t]
vendor = "v"
model = "m"
current = "ac"
max_charge_kw = 6.656
[[vehicles]]
model = "car"
capacity_kwh = 50
charge_soc = [0.0, 1.0]
charge_kw = [7, 7]
max_charge_kw = 7.0
plugs = ["ac"]
[truth]
seed = 1
arrival = {}
building = { hourly_kw = [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1] }
[[visits]]
id = "one"
station = "A"
arrival = 2019-07-15T08:00:00-07:00
departure = 2019-07-15T12:00:00-07:00
declared_departure = 2019-07-15T11:00:00-07:00
requested_kwh = 5.0
arrival_soc = 0.5
[tariff]
name = "not the twin's business"
"""
SECOND = """
[[visits]]
id = "two"
station = "A"
arrival = 2019-07-15T11:59:59-07:00
departure = 2019-07-15T13:00:00-07:00
declared_departure = 2019-07-15T13:00:00-07:00
requested_kwh = 5.0
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "small.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_simple_case_fits_on_a_page(write: Callable[[str], Path]) -> None:
    truth = load_scenario(write(MINIMAL)).truth()
    (visit,) = truth.visits
    assert (visit.energy_kwh, visit.target_kwh, visit.floor_kwh) == (25.0, 30.0, 10.0)
    assert truth.possible_kwh(visit) == pytest.approx(3 * 6.656)
    assert not truth.declared["one"].v2g_consent


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("departure = 2019-07-15T12:00", "departure = 2019-07-15T07:00", r"visits\[0\], departure.*after arrival"),
        ('station = "A"', 'station = "Z"', r"visits\[0\], station: 'Z', expected a station"),
        ("arrival = 2019-07-15T08:00:00-07:00", "arrival = 2019-07-15T08:00:00", r"arrival.*with offset"),
        ("arrival_soc = 0.5", "arrival_soc = 1.5", r"\$\.visits\[0\]\.arrival_soc.*a number, at most 1"),
        ("requested_kwh = 5.0", "requested_kwh = -5.0", r"\$\.visits\[0\]\.requested_kwh.*a number, at least 0"),
        ("capacity_kwh = 50", 'capacity_kwh = "big"', r"\$\.vehicles\[0\]\.capacity_kwh: 'big', expected a number$"),
        ("charge_kw = [7, 7]", "charge_kw = [7, 7, 7]", r"\$\.vehicles\[0\].*one power for each SoC"),
        ('type = "t"', 'type = "x"', r"\$\.stations\[0\]\.type: 'x'"),
        ("America/Los_Angeles", "America/Nowhere", r"\$\.site\.timezone"),
        ("import_cap_kw", "import_capp_kw", r"\$\.site: 'import_capp_kw', .*did you mean `import_cap_kw`\?"),
        ("[tariff]", "[tarif]", r"'tarif'"),
        ("end = 2019-07-15T20", "end = 2019-07-15T05", r"\$\.end"),
        ('name = "small"', "name = ", r"TOML"),
        ("[tariff]", SECOND + "[tariff]", r"visit two at A, arrival.*not before"),
    ],
)
def test_an_impossible_scenario_is_refused_with_its_place(
    write: Callable[[str], Path], old: str, new: str, said: str
) -> None:
    assert MINIMAL.count(old) >= 1
    with pytest.raises(ScenarioError, match=said) as refused:
        load_scenario(write(MINIMAL.replace(old, new, 1)))
    assert "small.toml" in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("departure", "2019-07-15 01:00:00-07:00", r"acn.csv: row 2, departure.*after arrival"),
        ("arrival", "2019-07-15 09:00:00", r"acn.csv: row 2, arrival.*with offset"),
        ("arrival", "yesterday", r"acn.csv: row 2, arrival: 'yesterday'"),
        ("station_id", "CA-0", r"acn.csv: row 2, station: 'CA-0'"),
        (REQUESTED, "-1", r"acn.csv: row 2, requested_kwh: -1"),
        (REQUESTED, "much", r"acn.csv: row 2, requested_energy \(kWh\): 'much'"),
    ],
)
def test_a_bad_row_of_a_recording_is_named(
    write: Callable[[str], Path], tmp_path: Path, column: str, value: str, said: str
) -> None:
    row = {
        "arrival": "2019-07-15 13:00:00-07:00", "departure": "2019-07-15 14:00:00-07:00", REQUESTED: "5",
        DELIVERED: "4", "station_id": "A", "session_id": "x", "estimated_departure": "2019-07-15 14:00:00-07:00",
        "claimed": "True",
    }
    with (tmp_path / "acn.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row | {column: value})
    path = write(MINIMAL + '\n[sessions]\nfile = "acn.csv"\n')
    with pytest.raises(ScenarioError, match=said):
        load_scenario(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nowhere\.toml: file"):
        load_scenario(tmp_path / "nowhere.toml")
    with pytest.raises(ScenarioError, match="a file shipped with the twin"):
        resource_path("nowhere.toml")


def test_the_shipped_file_names_only_documented_tables() -> None:
    tables = tomllib.loads(resource_path(SHIPPED).read_text(encoding="utf-8"))
    assert {"site", "truth", "vehicles", "stations", "sessions", "assumptions"} <= set(tables)
