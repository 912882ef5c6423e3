"""What no scenario can mean or no computer can go through is refused in one line that names the field."""

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.scenario import ScenarioError, check_scenario, load_scenario
from twin.scenario.reading import decode, read_tables

Write = Callable[..., Path]

EVENT = "[[events]]\nid = 'e'\nstart = 2025-03-29T12:00:00Z\nend = 2025-03-29T13:00:00Z\n"
WALLBOX = "[station_types.box]\ncurrent = 'ac'\nmax_charge_kw = 11.0\n"
CAR = "[[vehicles]]\nmodel = 'own'\nplugs = ['ac']\nmax_charge_kw = 11.0\ncharge_soc = [0, 1]\ncharge_kw = [11, 11]\n"


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(("text", "place"), [
    ("[building]\nhourly_kw = [{}]\n", r"\$\.building\.hourly_kw\[0\]"),
    ("[run]\nstep_s = {}\n", r"\$\.run\.step_s"),
    (f"{EVENT}max_net_kw = {{}}\n", r"\$\.events\[0\]\.max_net_kw"),
    (f"{WALLBOX}idle_bias_kw = {{}}\n", r"\$\.station_types\.box\.idle_bias_kw"),
    ("[faults]\ndown_mtbf_h = {}\n", r"\$\.faults\.down_mtbf_h"),
    ("[[visits]]\nid = 'v'\nrequested_kwh = {}\n", r"\$\.visits\[0\]\.requested_kwh"),
])
def test_a_number_that_is_none_is_named(write: Write, base: str, text: str, place: str, number: str) -> None:
    path = write(base + text.format(number))
    with pytest.raises(ScenarioError, match=rf"{place}: {number}, expected a finite number"):
        load_scenario(path)
    (fault,) = [fault for fault in check_scenario(path).faults if "finite" in str(fault)]
    assert str(path) in str(fault)


@pytest.mark.parametrize(("text", "said"), [
    (f"{CAR}capacity_kwh = 1e300\n", r"capacity_kwh: 1e\+300, expected a number, at most 1,000,000"),
    (f"{EVENT}max_net_kw = 1.0\nnotice_s = 1e15\n", r"notice_s: 1000000000000000\.0, expected a number, at most 1,0"),
    ("[control]\nname = 'planner'\nhorizon_h = 1e-9\n", r"horizon_h: 1e-09, expected a number, at least 0\.25"),
    ("[control]\nname = 'planner'\nhorizon_h = 169\n", r"horizon_h: 169, expected a number, at most 168"),
    (f"{EVENT}max_net_kw = -1e308\n", r"max_net_kw: -1e\+308, expected a number, at least -1,000,000"),
    ("[run]\nseed = 0x" + "f" * 5000 + "\n", r"run\.seed: 'an integer of 20000 bits'"),
    ("[run]\nreplicas = 1_000_000_000\n", r"run\.replicas: 1000000000, expected a whole number, at most 100,000"),
    ("[building]\nsteps = 100_000_000_000\n", r"building\.steps: 100000000000, expected a whole number, at most 10,0"),
    (f"{WALLBOX}response_ramp_kw_per_s = 1e-6\n",
     r"box\.response_ramp_kw_per_s: 1e-06, expected at least 0\.0011 kW/s"),
    ("[faults]\ndown_mtbf_h = 0.0003\n", r"faults\.down_mtbf_h: 0\.0003, expected at least 0\.0071 h"),
], ids=lambda value: value[-30:].strip())
def test_a_figure_beyond_all_sites_is_refused_with_the_limit(write: Write, base: str, text: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_scenario(write(base + text))


@pytest.mark.parametrize(("old", "new", "said"), [
    ("count = 12", "count = 10_000_000", r"station_groups\[0\]\.count: 10000000, expected a whole number, at most"),
    ("end = 2025-03-31T12:00:00+02:00", "end = 2199-03-31T12:00:00Z", r"\$\.end: .*at most 10 years"),
    ("end = 2025-03-31T12:00:00+02:00", "end = 9999-12-31T23:59:00-12:00", r"\$\.end: '9999.*before 2200"),
    ("end = 2025-03-31T12:00:00+02:00", "end = '9999-12-31T23:59:00-12:00'", r"\$\.end: '9999.*before 2200"),
    ("start = 2025-03-28T12:00:00+01:00", "start = 0001-01-01T00:00:00+14:00", r"\$\.start: '0001.*the year 1970"),
    ("[[vehicles]]", "[run]\nreplicas = 50_000\nstep_s = 60\n[[vehicles]]",
     r"\$\.run: '12 x 4260 x 50000', expected at most 1,000,000,000"),
    ("end = 2025-03-31T12:00:00+02:00", "run.step_s = 1\nend = 2025-04-30T12:00:00+02:00",
     r"run\.step_s: 1, expected at most 1,000,000 steps, not 2,847,600"),
    ("count = 12", "count = 99_999\n[[station_groups]]\nid = 'b'\ntype = 'ac-wallbox-11'\ncount = 99_999",
     r"station_groups: 199998, expected at most 100,000 EVSEs"),
])
def test_more_than_a_computer_goes_through_is_refused(write: Write, base: str, old: str, new: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_scenario(write(base.replace(old, new)))


def test_replicas_asked_for_later_have_the_same_limit(write: Write, base: str) -> None:
    experiment = load_scenario(write(base)).experiment()
    with pytest.raises(ScenarioError, match=r"12 x 284 x 1000000000', expected at most 1,000,000,000 EVSEs"):
        experiment.with_replicas(1_000_000_000)


@pytest.mark.parametrize(("evses", "end", "replicas"), [
    (10_000, "2026-03-28T12:00:00+01:00", 1), (100, "2025-04-04T12:00:00+01:00", 1000),
])
def test_a_year_of_10000_chargers_and_1000_weeks_of_100_fit(
    write: Write, base: str, evses: int, end: str, replicas: int
) -> None:
    text = base.replace("count = 12", f"count = {evses}").replace("2025-03-31T12:00:00+02:00", end)
    path = write(f"{text}[run]\nreplicas = {replicas}\n[faults]\npreset = 'public_charging'\n")
    file = decode(path, read_tables(path), None, lambda _: None)
    assert (file.station_groups[0].count, file.run.replicas) == (evses, replicas)


@pytest.mark.parametrize(("text", "said"), [
    ("x = " + "[" * 200_000, "file: 'deeper nesting'"), ("x = " + "[" * 100 + "]" * 100, "file: 'deeper nesting'"),
    (".".join("a" * 200) + " = 1", "file: 'deeper nesting'"),
    ("x = " + "9" * 5000, "TOML: .*expected numbers of a few digits"),
    ('extends = "base\\u0000.toml"', r"\$\.extends: 'base\\x00\.toml', expected the name of a file"),
    ('[sessions]\nfile = "base\\u0000.csv"', r"\$\.sessions\.file: 'base\\x00\.csv', expected the name of a file"),
], ids=["unclosed lists", "lists", "tables", "digits", "null in extends", "null in sessions"])
def test_a_hostile_file_is_one_clear_fault(write: Write, text: str, said: str) -> None:
    path = write(text + "\n")
    with pytest.raises(ScenarioError, match=said):
        load_scenario(path)
    assert len(check_scenario(path).faults) == 1
