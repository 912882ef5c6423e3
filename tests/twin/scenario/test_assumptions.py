"""What a scenario takes for granted is said, and what can have no effect is warned of."""

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.scenario import check_scenario

Write = Callable[..., Path]
HOURS = ", ".join(["60"] * 6 + ["10"] * 18)


def test_drivers_charge_and_contact_are_told_with_their_consequence(write: Write, base: str) -> None:
    text = base + "[drivers]\ndepartures = 'acn'\nno_show_share = 0.05\n[faults]\noutage_mtbf_h = 100.0\n"
    said = check_scenario(write(text)).assumptions
    assert any("3 in 10 leave more than half an hour before" in line for line in said)
    assert "5 % of the visits do not take place." in said
    assert "Cars of night arrive 20 % to 60 % full and want 80 %." in said
    assert any(line.startswith("Losses grow with power") for line in said)
    assert "A charger without contact for 300 s charges with 0 kW and does not discharge." in said


def test_departures_by_shares_are_told_without_those_of_nobody(write: Write, base: str) -> None:
    text = base + "[drivers]\ndepartures = 'parametric'\nearly_share = 0.0\nlate_share = 0.1\nlate_mean_min = 15\n"
    said = "Of the drivers 10 % leave late, by 15 min on average, the others on time."
    assert said in check_scenario(write(text)).assumptions


def test_a_timetable_is_kept_unless_the_file_says_otherwise(write: Write, base: str) -> None:
    assert "Cars leave exactly when they said they would." in check_scenario(write(base)).assumptions
    visit = """
[[visits]]
id = "one"
station = "home-01"
arrival = 2025-03-28T13:00:00+01:00
departure = 2025-03-28T14:00:00+01:00
requested_kwh = 5
"""
    said = check_scenario(write(base + visit + "vehicle = 'zoe'\n")).assumptions
    assert any("as those of ACN-Data did" in line for line in said)
    assert any("How full 1 of 1 recorded or written visits arrive is not known" in line for line in said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[control]\nname = 'edf'\ndischarges = true\n", "no station and car of the scenario can discharge together"),
        ("[control]\ndischarges = true\n", "uncontrolled does not ask for it"),
        ("[control]\nhorizon_h = 12\n", "control.horizon_h has no effect"),
        ("[drivers]\nearly_share = 0.5\n", "drivers.early_share has no effect: drivers.departures is perfect"),
        ("[[events]]\nid = 'e'\nstart = 2025-03-29T12:00:00Z\nend = 2025-03-29T13:00:00Z\nmax_net_kw = -5.0\n",
         "events[0] (e).max_net_kw = -5 cannot be reached: site.export_cap_kw is 0"),
    ],
)
def test_settings_that_cannot_act_are_warned_of_and_assumed(write: Write, base: str, text: str, said: str) -> None:
    check = check_scenario(write(base + text))
    assert check.is_clean
    (warning,) = check.warnings
    assert said in warning
    assert warning in check.assumptions


def test_discharge_with_a_pair_that_can_is_not_warned_of(write: Write, base: str) -> None:
    text = base.replace("ac-wallbox-11", "dc-bidirectional-10").replace("renault-zoe-ze50", "nissan-leaf-40")
    assert check_scenario(write(text + "[control]\nname = 'edf'\ndischarges = true\n")).warnings == ()


def test_a_building_above_the_cap_and_a_site_without_visits_are_warned_of(write: Write, base: str) -> None:
    check = check_scenario(write(f"{base}share = 0.0\n[building]\nhourly_kw = [{HOURS}]\n"))
    assert check.is_clean
    assert check.warnings[0] == "No visit takes place in the scenario's time."
    assert "60.0 kW at most" in check.warnings[1]
    assert check_scenario(write(base)).warnings == ()


SLOW_CAR = """
[station_types.one-phase]
charger = "ac-bidirectional-11"
model = "Post of 32 A"
max_charge_kw = 7.36
max_discharge_kw = 7.36
ac_phases = 1
ac_max_current_a = 32.0
"""


def test_a_car_that_cannot_take_what_its_evse_gives_is_told_with_the_reason(write: Write, base: str) -> None:
    text = base.replace('type = "ac-wallbox-11"', 'type = "one-phase"').replace("renault-zoe-ze50", "renault-5-52")
    check = check_scenario(write(text + SLOW_CAR))
    assert check.is_clean
    assert (
        "zoe takes at most 3.68 kW of the 7.36 kW at 12 EVSEs (Post of 32 A): the car takes 16 A on each phase, and "
        "here it has 1 phase."
    ) in check.assumptions


def test_a_car_that_takes_all_its_evse_gives_is_not_mentioned(write: Write, base: str) -> None:
    assert not any("takes at most" in line for line in check_scenario(write(base)).assumptions)
