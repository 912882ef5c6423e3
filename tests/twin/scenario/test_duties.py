"""Visits by rule: local times on every day of the year, draws that do not disturb each other."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from twin.assets import Visit
from twin.scenario import ScenarioError, load_scenario
from twin.scenario.duties import Duties
from twin.scenario.reading import decode, read_tables

Write = Callable[..., Path]
BERLIN = ZoneInfo("Europe/Berlin")


def visits(path: Path) -> dict[str, Visit]:
    return {visit.id: visit for visit in load_scenario(path).truth().visits}


def test_each_evse_has_one_visit_a_night_at_local_times_also_when_clocks_change(write: Write, base: str) -> None:
    found = visits(write(base))
    assert Counter(visit.evse_id for visit in found.values()) == {f"home-{n:02}": 3 for n in range(1, 13)}
    for visit in found.values():
        came, left = visit.arrival.astimezone(BERLIN), visit.departure.astimezone(BERLIN)
        assert "16:00" <= f"{came:%H:%M}" <= "21:00"
        assert "06:30" <= f"{left:%H:%M}" <= "08:00"
        assert left.date() - came.date() == timedelta(days=1)


def test_a_time_that_clocks_skip_moves_on_by_the_gap(write: Write, base: str) -> None:
    text = base.replace('{ earliest = "06:30", latest = "08:00" }', '{ mean = "02:30" }')
    left = {f"{visit.departure.astimezone(BERLIN):%d. %H:%M}" for visit in visits(write(text)).values()}
    assert left == {"29. 02:30", "30. 03:30", "31. 02:30"}


def test_times_may_cross_midnight(write: Write, base: str) -> None:
    text = base.replace(
        '{ mean = "18:00", sd_min = 45, earliest = "16:00", latest = "21:00" }',
        '{ mean = "00:15", sd_min = 60, earliest = "22:00", latest = "01:30" }',
    )
    came = [visit.arrival.astimezone(BERLIN) for visit in visits(write(text)).values()]
    assert all(when.hour >= 22 or f"{when:%H:%M}" <= "01:30" for when in came)
    assert {when.hour >= 22 for when in came} == {True, False}


def test_days_and_share_choose_who_comes(write: Write, base: str) -> None:
    fridays = visits(write(base + 'days = ["fri"]\n'))
    assert len(fridays) == 12
    assert {visit.arrival.astimezone(BERLIN).weekday() for visit in fridays.values()} == {4}
    assert not visits(write(base + "share = 0.0\n"))
    half = visits(write(base.replace("count = 12", "count = 400") + "share = 0.5\n"))
    # Binomial with 1,200 draws: five standard deviations are 87.
    assert abs(len(half) - 600) < 87


def test_arrivals_follow_the_stated_distribution(write: Write, base: str) -> None:
    wide = base.replace("count = 12", "count = 500").replace('earliest = "16:00", latest = "21:00"', 'latest = "23:59"')
    found = visits(write(wide)).values()
    minutes = np.array([60 * came.hour + came.minute for came in (v.arrival.astimezone(BERLIN) for v in found)])
    assert abs(minutes.mean() - 18 * 60) < 5 * 45 / np.sqrt(1500)
    assert abs(minutes.std() - 45) < 5 * 45 / np.sqrt(2 * 1500)
    soc = np.array([visit.energy_kwh / visit.vehicle.battery.capacity_kwh for visit in found])
    assert (soc.min() >= 0.2, soc.max() <= 0.6) == (True, True)
    assert abs(soc.mean() - 0.4) < 5 * 0.4 / np.sqrt(12 * 1500)


def test_what_a_duty_says_of_energy_is_what_its_visits_have(write: Write, base: str) -> None:
    text = base + 'target_soc = 0.7\nfloor_soc = 0.35\narrival_soc = { mean = 0.5 }\nvehicle = "nissan-leaf-40"\n'
    scenario = load_scenario(write(text))
    for visit in scenario.truth().visits:
        assert visit.vehicle.model == "nissan-leaf-40"  # of the catalogue: needs no row of its own
        capacity = visit.vehicle.battery.capacity_kwh
        assert (visit.energy_kwh, visit.target_kwh, visit.floor_kwh) == pytest.approx(
            (0.5 * capacity, 0.7 * capacity, 0.35 * capacity)
        )


def test_one_car_belongs_to_one_evse(write: Write, base: str) -> None:
    text = base.replace("[[duties]]", '[[vehicles]]\nmodel = "id3"\ncatalogue = "volkswagen-id3-58"\n[[duties]]')
    cars = {(visit.evse_id, visit.vehicle.model) for visit in visits(write(text)).values()}
    assert len(cars) == 12
    assert {model for _, model in cars} == {"zoe", "id3"}


def test_a_change_of_one_thing_changes_no_other_draw(write: Write, base: str) -> None:
    before = visits(write(base))
    more = visits(write(base.replace("count = 12", "count = 15")))
    fewer_days = visits(write(base + 'days = ["fri", "sun"]\n'))
    again = visits(write(base.replace("[[duties]]", '[[duties]]\nid = "other"\ngroup = "home-03"\n'
                         'arrival = { mean = "10:00" }\ndeparture = { mean = "11:00" }\n[[duties]]')))
    for found in (more, again):
        assert before.items() <= found.items()
    assert fewer_days.items() <= before.items()
    assert len(again) > len(before)


def test_a_car_by_rule_gives_way_where_another_stands(write: Write, base: str) -> None:
    written = """
[[visits]]
id = "guest"
station = "home-01"
arrival = 2025-03-28T15:00:00+01:00
departure = 2025-03-29T12:00:00+01:00
target_soc = 0.8
vehicle = "zoe"
"""
    scenario = load_scenario(write(base + written))
    assert scenario.dropped == {"EVSE still occupied (visits by rule)": 1}
    there = [visit.id for visit in scenario.truth().visits if visit.evse_id == "home-01"]
    assert there == ["guest", "night/home-01/2025-03-29", "night/home-01/2025-03-30"]


def test_crowding_is_settled_in_order_of_arrival_in_every_replica(write: Write, base: str) -> None:
    """Three duties that overlap all the time and a guest, against the rule applied visit by visit."""
    more = "".join(
        f'[[duties]]\nid = "{name}"\ngroup = "home"\nshare = 0.8\n'
        f'arrival = {{ earliest = "0{hour}:00", latest = "21:00" }}\n'
        'departure = { earliest = "09:00", latest = "22:00" }\n' for hour, name in enumerate(("one", "two", "three"))
    )
    guest = """
[[visits]]
id = "guest"
station = "home-01"
arrival = 2025-03-29T05:00:00+01:00
departure = 2025-03-30T01:00:00+01:00
target_soc = 0.8
vehicle = "zoe"
"""
    path = write(base + more + guest + "[run]\nreplicas = 6\n")
    scenario = load_scenario(path)
    table = scenario.experiment().visits
    file = decode(path, read_tables(path), None, lambda _: None)
    stations = [station.id for station in scenario.public().stations]
    public = scenario.public()
    duties = Duties(path, file, stations, frozenset(public.vehicles), public.start, public.end, BERLIN)
    guest_s = (17 * 3600.0, 37 * 3600.0)
    free: dict[tuple[int, int], float] = {}
    expected, drawn = [], duties.rows(range(6))
    names = duties.ids(drawn)
    for row in np.argsort(drawn.arrival_s, kind="stable").tolist():
        came, left = drawn.arrival_s[row], drawn.departure_s[row]
        slot = int(drawn.replica[row]), int(drawn.evse[row])
        meets_guest = drawn.evse[row] == 0 and came < guest_s[1] and left > guest_s[0]
        if left <= (public.end - public.start).total_seconds() and not meets_guest and came >= free.get(slot, 0.0):
            free[slot] = left
            expected.append((slot[0], names[row]))
    expected += [(replica, "guest") for replica in range(6)]
    assert table.replica is not None
    assert sorted(zip(table.replica.tolist(), table.ids, strict=True)) == sorted(expected)
    assert len(expected) < 0.8 * len(drawn)


def test_who_comes_after_midnight_by_the_rule_of_the_day_before_is_there(write: Write, base: str) -> None:
    text = base.replace("2025-03-28T12:00:00+01:00", "2025-03-28T00:00:00+01:00").replace(
        '{ mean = "18:00", sd_min = 45, earliest = "16:00", latest = "21:00" }',
        '{ mean = "00:30", earliest = "22:00", latest = "01:00" }',
    )
    first = min(visits(write(text)).values(), key=lambda visit: visit.arrival)
    assert (first.id[-10:], f"{first.arrival.astimezone(BERLIN):%d. %H:%M}") == ("2025-03-27", "28. 00:30")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('group = "home"', 'group = "office"', r"\$\.duties\[0\]\.group: 'office', expected a station group"),
        ('{ earliest = "06:30", latest = "08:00" }', '{ latest = "08:00" }', r"duties\[0\]\.departure.*a mean, or"),
        ('"06:30"', '"6:30"', r"duties\[0\]\.departure\.earliest"),
        ('"06:30"', '"24:00"', r"duties\[0\]\.departure\.earliest"),
        ("[[duties]]", "[[duties]]\nnights = 0", r"duties\[0\], home-01 on 2025-03-28, departure.*after"),
        ("[[duties]]", "[[duties]]\narrival_soc = { low = 0.5, high = 0.4 }", r"arrival_soc\.low: 0\.5, expected"),
        ("[[duties]]", '[[duties]]\ndays = ["funday"]', r"duties\[0\]\.days"),
        ("[[duties]]", '[[duties]]\nvehicle = "batmobile"', r"'batmobile', expected one of zoe, nissan-leaf-40"),
    ],
)
def test_a_rule_without_a_meaning_is_refused(write: Write, base: str, old: str, new: str, said: str) -> None:
    assert old in base
    with pytest.raises(ScenarioError, match=said):
        load_scenario(write(base.replace(old, new, 1)))
