"""Visits by rule: local times on every day of the year, draws that do not disturb each other."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from twin.assets import Visit
from twin.controllers import EarliestDeadline, Uncontrolled
from twin.engine import run
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


@pytest.mark.parametrize(
    ("came", "left", "departure"),
    [("02:45", "03:15", "31. 03:15"), ("03:10", "02:50", "30. 03:50"), ("02:45", "03:46", "30. 03:46")],
)
def test_a_car_leaves_at_the_first_departure_after_its_arrival_also_when_clocks_skip_an_hour(
    write: Write, base: str, came: str, left: str, departure: str,
) -> None:
    text = base.partition("[[duties]]")[0] + (
        f'[[duties]]\nid = "night"\ngroup = "home"\ndays = ["sun"]\narrival = {{ mean = "{came}" }}\n'
        f'departure = {{ mean = "{left}" }}\n'
    )
    found = visits(write(text))
    there = [found[f"night/home-{n:02}/2025-03-30"].departure.astimezone(BERLIN) for n in range(1, 13)]
    assert {f"{when:%d. %H:%M}" for when in there} == {departure}


def test_a_car_leaves_after_its_arrival_however_late_both_are(write: Write, base: str) -> None:
    text = base.replace(
        '{ mean = "18:00", sd_min = 45, earliest = "16:00", latest = "21:00" }',
        '{ mean = "01:00", earliest = "22:00", latest = "02:00" }',
    ).replace('{ earliest = "06:30", latest = "08:00" }', '{ mean = "00:30" }')
    found = visits(write(text)).values()
    assert found
    assert {visit.departure - visit.arrival for visit in found} <= {timedelta(hours=hours) for hours in (22.5, 23.5)}


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


def test_a_car_that_comes_with_more_than_its_driver_wants_may_give_the_rest(write: Write, base: str) -> None:
    text = base.replace("ac-wallbox-11", "dc-bidirectional-11").replace(
        "import_cap_kw = 50.0", "import_cap_kw = 50.0\nexport_cap_kw = 50.0"
    ) + (
        'vehicle = "nissan-leaf-40"\narrival_soc = { low = 0.5, high = 0.9 }\ntarget_soc = 0.6\nfloor_soc = 0.2\n'
        '[control]\nname = "edf"\ndischarges = true\n'
    )
    scenario = load_scenario(write(text))
    ours, truth = scenario.experiment(), scenario.truth()
    capacity = ours.ensemble.vehicles[ours.visits.vehicle[0]].battery.capacity_kwh
    assert ours.visits.target_kwh == pytest.approx(np.full(36, 0.6 * capacity))
    assert [visit.target_kwh for visit in truth.visits] == ours.visits.target_kwh.tolist()
    comes_with_more = ours.visits.energy_kwh > 0.6 * capacity
    assert 0 < comes_with_more.sum() < 36
    for visit, has_more in zip(truth.visits, comes_with_more.tolist(), strict=True):
        assert (truth.declared[visit.id].requested_kwh == 0.0) == has_more

    quiet = run(ours.ensemble, ours.visits, Uncontrolled())
    assert quiet.visits.energy_kwh[np.argsort(quiet.visits.row)] == pytest.approx(
        np.maximum(ours.visits.energy_kwh, 0.6 * capacity), abs=1e-6
    )
    assert quiet.visits.shortfall_kwh == pytest.approx(np.zeros(36), abs=1e-6)
    # From 22:00 to 24:00 of the first night the site is to give 30 kW: what is above the target may go for good.
    cap_kw = ours.ensemble.import_cap_kw.copy()
    cap_kw[:, 40:48] = -30.0
    gave = run(replace(ours.ensemble, import_cap_kw=cap_kw), ours.visits, EarliestDeadline(discharges=True))
    left = gave.visits.energy_kwh[np.argsort(gave.visits.row)]
    assert (left < ours.visits.energy_kwh - 1.0)[comes_with_more].any()
    assert (left > 0.6 * capacity - 0.1).all()
    assert gave.visits.shortfall_kwh.max() < 0.1


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


def crossing(base: str, share: str = "") -> str:
    """The rule comes at 07:00 and leaves at 08:00 of the same day, both give or take one hour."""
    return base.partition("[[duties]]")[0] + (
        '[[duties]]\nid = "short"\ngroup = "home"\nnights = 0\narrival = { mean = "07:00", sd_min = 60 }\n'
        'departure = { mean = "08:00", sd_min = 60, latest = "11:59" }\n' + share
    )


def test_visits_by_rule_that_would_end_before_they_begin_are_left_out_in_all_replicas_alike(
    write: Write, base: str
) -> None:
    scenario = load_scenario(write(crossing(base) + "[run]\nreplicas = 20\n"))
    table = scenario.experiment().visits
    assert table.replica is not None
    by_replica = np.bincount(table.replica, minlength=20)
    # The stay is normal with mean 60 and standard deviation 85 minutes: 24 % are not above 0.
    assert abs(by_replica.sum() - 0.76 * 720) < 5 * np.sqrt(720 * 0.76 * 0.24)
    assert scenario.dropped == {"departure not after arrival (visits by rule)": 36 - by_replica[0]}
    lost = 720 - by_replica.sum()
    (warning,) = scenario.warnings
    assert warning.startswith(f"duties[0] (short).nights = 0: {lost} of 720 visits (all replicas) would end before")


def test_one_impossible_visit_by_rule_reads_alike_whichever_replica_it_is_in(write: Write, base: str) -> None:
    one = crossing(base, 'days = ["sat"]\n').replace("count = 12", "count = 1") + "[run]\nreplicas = 40\n"
    in_first = set()
    for seed in range(8):
        scenario = load_scenario(write(one + f"[truth]\nseed = {seed}\n"))
        in_first.add(bool(scenario.dropped))
        assert scenario.warnings[-1].startswith("duties[0] (short).nights = 0: ")
        assert 0 < len(scenario.experiment().visits) < 40
    assert in_first == {True, False}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('group = "home"', 'group = "office"', r"\$\.duties\[0\]\.group: 'office', expected a station group"),
        ('{ earliest = "06:30", latest = "08:00" }', '{ latest = "08:00" }', r"duties\[0\]\.departure.*a mean, or"),
        ('"06:30"', '"6:30"', r"duties\[0\]\.departure\.earliest"),
        ('"06:30"', '"24:00"', r"duties\[0\]\.departure\.earliest"),
        ("[[duties]]", "[[duties]]\nnights = 0", r"duties\[0\]\.nights: 0, expected dep.*home-01/2025-03-28"),
        ("[[duties]]", "[[duties]]\narrival_soc = { low = 0.5, high = 0.4 }", r"arrival_soc\.low: 0\.5, expected"),
        ("[[duties]]", '[[duties]]\ndays = ["funday"]', r"duties\[0\]\.days"),
        ("[[duties]]", '[[duties]]\nvehicle = "batmobile"', r"'batmobile', expected one of zoe, nissan-leaf-40"),
    ],
)
def test_a_rule_without_a_meaning_is_refused(write: Write, base: str, old: str, new: str, said: str) -> None:
    assert old in base
    with pytest.raises(ScenarioError, match=said):
        load_scenario(write(base.replace(old, new, 1)))
