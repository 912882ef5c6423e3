"""Bad input: one clear error each; all of them at once for who asks; skipped and counted for who wants that."""

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.scenario import ScenarioError, check_scenario, load_scenario

Write = Callable[..., Path]

HEAD = "session_id,station_id,arrival,departure,requested_kwh\n"
EVENT = "[[events]]\nid = 'e'\nstart = {}\nend = {}\n"
GOOD = "good{n},home-{n:02},2025-03-28T13:00:00+01:00,2025-03-28T15:00:00+01:00,5\n"
BAD = {
    "departure not after arrival": "a,home-01,2025-03-28T18:00:00+01:00,2025-03-28T17:00:00+01:00,5",
    "unknown station": "b,nowhere,2025-03-28T17:00:00+01:00,2025-03-28T18:00:00+01:00,5",
    "negative energy": "c,home-02,2025-03-28T17:00:00+01:00,2025-03-28T18:00:00+01:00,-5",
    "time without offset": "d,home-03,2025-03-28T17:00:00,2025-03-28T18:00:00+01:00,5",
    "overlapping visits": "e,home-04,2025-03-28T14:59:59+01:00,2025-03-28T18:00:00+01:00,5",
    "visit id twice": "good5,home-05,2025-03-28T17:00:00+01:00,2025-03-28T18:00:00+01:00,5",
    "row of the wrong length": "f,home-06,2025-03-28T17:00:00+01:00",
}
"""By reason, one row each; GOOD rows stand at home-01 to home-12."""


@pytest.fixture
def recorded(write: Write, base: str) -> Callable[[str], Path]:
    """A scenario whose twelve good sessions are followed by the given rows."""

    def recorded(rows: str) -> Path:
        write(HEAD + "".join(GOOD.format(n=n) for n in range(1, 13)) + rows, "sessions.csv")
        return write(base.partition("[[duties]]")[0] + '[sessions]\nfile = "sessions.csv"\nformat = "csv"\n')

    return recorded


@pytest.mark.parametrize("reason", BAD)
def test_each_bad_row_ends_the_reading_with_file_row_and_field(
    recorded: Callable[[str], Path], reason: str
) -> None:
    path = recorded(BAD[reason] + "\n")
    with pytest.raises(ScenarioError, match=r"sessions\.csv: row 14.*expected") as refused:
        load_scenario(path)
    assert refused.value.reason == reason


def test_bad_rows_are_dropped_and_counted_where_that_is_asked_for(recorded: Callable[[str], Path]) -> None:
    scenario = load_scenario(recorded("\n".join(BAD.values())), skip_bad=True)
    assert scenario.bad == dict.fromkeys(BAD, 1)
    assert {visit.id for visit in scenario.truth().visits} == {f"good{n}" for n in range(1, 13)}
    assert scenario.experiment().dropped == {f"skipped: {reason}": 1 for reason in BAD}


def test_a_check_lists_every_fault_at_once(recorded: Callable[[str], Path]) -> None:
    check = check_scenario(recorded("\n".join(BAD.values())))
    assert check.bad == dict.fromkeys(BAD, 1)
    assert (check.skippable, len(check.faults), check.kept, check.is_clean) == (7, 7, 12, False)


def test_a_check_lists_every_bad_table_with_its_value(write: Write, base: str) -> None:
    text = base.replace("import_cap_kw = 50.0", "import_cap_kw = -50.0").replace("count = 12", "count = 0")
    check = check_scenario(write(text + "share = 2.0\n[run]\nreplicas = 0\n[contol]\nname = 'edf'\n"))
    places = {fault.where for fault in check.faults}
    assert places == {
        "$.site.import_cap_kw", "$.station_groups[0].count", "$.duties[0].share", "$.run.replicas", "$",
    }
    said = "\n".join(map(str, check.faults))
    assert "-50.0" in said
    assert "contol" in said
    assert check.scenario is None


def test_a_check_of_a_good_file_is_clean(write: Write, base: str) -> None:
    check = check_scenario(write(base))
    assert (check.is_clean, check.kept, check.faults) == (True, 36, ())
    assert check.scenario is not None


def test_a_bad_written_visit_is_skipped_like_a_recorded_one(write: Write, base: str) -> None:
    visit = """
[[visits]]
id = "{id}"
station = "home-01"
arrival = 2025-03-28T13:00:00+01:00
departure = 2025-03-28T14:00:00+01:00
target_soc = {soc}
vehicle = "zoe"
"""
    path = write(base + visit.format(id="one", soc=1.2) + visit.format(id="two", soc=0.9))
    with pytest.raises(ScenarioError, match=r"visits\[0\]\.target_soc: .*1\.2"):
        load_scenario(path)
    scenario = load_scenario(path, skip_bad=True)
    assert scenario.bad == {"target_soc: expected a number, at most 1": 1}
    assert [visit.id for visit in scenario.truth().visits if not visit.id.startswith("night")] == ["two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[control]\nname = 'schedule'\n", r"\$\.control\.schedule: None"),
        ("[control]\nname = 'magic'\n", r"\$\.control\.name"),
        ("[run]\nstep_s = 7\n", r"\$\.run\.step_s: 7"),
        ("[faults]\nlevel = 1.0\n", r"\$\.faults: .*level: 1\.0"),
        ("[faults]\nlevel = 'high'\n", r"\$\.faults\.level: 'high'"),
        ("[faults]\ndown_mtbf_h = 'long'\n", r"\$\.faults\.down_mtbf_h"),
        ("[faults]\nstuck_share = 2.0\n", r"\$\.faults: .*stuck_share: 2\.0"),
        ("[faults]\ngremlins = 1.0\n", r"\$\.faults\.gremlins: 'gremlins', expected one of preset, level"),
        ("[faults]\npreset = 'private'\n", r"\$\.faults\.preset: 'private'"),
        ("[faults]\nlevel = 0.1\nkinds = ['rust']\n", r"\$\.faults\.kinds"),
        ("[faults]\nlevel = 0.1\nkinds = ['down', 'down']\n", r"\$\.faults\.kinds\[1\]: 'down', expected every kind"),
        ("[faults]\npreset = ['public_charging']\n", r"\$\.faults\.preset: \['public_charging'\], expected one of"),
        ("[drivers]\nacn_site = 'moon'\n", r"\$\.drivers: .*site: 'moon'"),
        ("[drivers]\ndepartures = 'parametric'\nearly_share = 0.8\nlate_share = 0.8\n", r"\$\.drivers: .*late_share"),
        ("[building]\nscale = 2.0\n", r"\$\.building: 'neither', expected either hourly_kw or file"),
        ("[building]\nfile = 'none.csv'\n", r"none\.csv: file"),
        ("[sessions]\nfile = 'x.csv'\nformat = 'xlsx'\n", r"\$\.sessions\.format"),
        ("[sessions]\nfile = 'x.csv'\ntimezone = 'Mars/Olympus'\n", r"\$\.sessions\.timezone: 'Mars/Olympus'"),
        (EVENT.format("2025-03-29T12:00:00", "2025-03-29T13:00:00Z"), r"events\[0\]\.start.*offset"),
        (EVENT.format("2025-03-29T14:00:00Z", "2025-03-29T13:00:00Z"), r"events\[0\]\.end.*after"),
        (EVENT.format("2025-03-20T14:00:00Z", "2025-03-29T13:00:00Z"), r"events\[0\]\.start.*within"),
        (EVENT.format("2025-03-29T12:00:00Z", "2025-03-29T13:00:00Z"), r"events\[0\]: 'neither'"),
        (EVENT.format("2025-03-29T12:10:00Z", "2025-03-29T13:00:00Z") + "max_net_kw = 1.0\n",
         r"events\[0\]\.start: .*12:10.*expected on a step of 900 s"),
        (EVENT.format("2025-03-29T12:00:00Z", "2025-03-29T12:50:00Z") + "max_net_kw = 1.0\n",
         r"events\[0\]\.end: .*12:50.*expected on a step of 900 s"),
        ("[control]\nname = 'edff'\n", r"\$\.control\.name: 'edff', expected one of edf, laxity, planner, "),
        ("[run]\nreplica = 5\n", r"\$\.run: 'replica', expected a known name: did you mean `replicas`\?"),
        ("[faults]\nstuck_shares = 0.1\n", "did you mean `stuck_share`"),
        ("[building]\nhourly_kw = [1.0]\n", r"\$\.building\.hourly_kw: 1 value, expected 24"),
        ("[run]\nstep_s = 7.5\n", r"\$\.run\.step_s: 7\.5, expected a whole number"),
        ("[ageing]\ntemperature_c = 'warm'\n", "expected a number or a list"),
        ("[[duties]]\nid = 'x'\ngroup = 'home'\narrival = { mean = '18.00' }\ndeparture = { mean = '07:00' }\n",
         r"\$\.duties\[1\]\.arrival\.mean: '18\.00', expected a time of day"),
        ("[[events]]\nid = 'e'\nstart = 'noon'\nend = 2025-03-29T12:00:00Z\n", "'noon', expected a time such as"),
    ],
)
def test_a_setting_that_cannot_be_is_named(write: Write, base: str, text: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_scenario(write(base + text))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('type = "ac-wallbox-11"', 'type = "teapot"', r"station_groups\[0\]\.type: 'teapot'.*catalogue"),
        ('catalogue = "renault-zoe-ze50"', 'catalogue = "zeppelin"', r"vehicles\[0\]\.catalogue: 'zeppelin'"),
        ('catalogue = "renault-zoe-ze50"', "weight = 1.0", r"vehicles\[0\].*capacity_kwh.*of the catalogue"),
        ("[[vehicles]]", '[[vehicles]]\nmodel = "zoe"\ncatalogue = "renault-5-52"\n[[vehicles]]', "every model once"),
        ("[[duties]]", "[[duties]]\n[[duties]]", "id"),
    ],
)
def test_stations_and_cars_that_cannot_be_are_named(write: Write, base: str, old: str, new: str, said: str) -> None:
    assert old in base
    with pytest.raises(ScenarioError, match=said):
        load_scenario(write(base.replace(old, new, 1)))


@pytest.mark.parametrize("has_sessions", [True, False])
def test_a_file_whose_visits_find_no_car_at_all_is_at_fault_itself(
    write: Write, base: str, recorded: Callable[[str], Path], *, has_sessions: bool
) -> None:
    path = recorded("") if has_sessions else write(base)
    text = path.read_text(encoding="utf-8")
    path = write(text.replace('[[vehicles]]\nmodel = "zoe"\ncatalogue = "renault-zoe-ze50"\n', ""))
    for skip_bad in (True, False):
        with pytest.raises(ScenarioError, match=r"\$\.vehicles: 'none', expected at least one"):
            load_scenario(path, skip_bad=skip_bad)
    (fault,) = check_scenario(path).faults
    assert fault.where == "$.vehicles"


VISIT = """
[[visits]]
id = "{id}"
station = "home-01"
arrival = 2025-03-28T13:00:00+01:00
departure = 2025-03-28T14:00:00+01:00
vehicle = "zoe"
requested_kwh = {kwh}
{soc}
"""


def test_a_wish_that_does_not_fit_what_the_file_says_is_there_is_refused_or_skipped(write: Write, base: str) -> None:
    path = write(base + VISIT.format(id="one", kwh=500, soc="arrival_soc = 0.4"))
    with pytest.raises(ScenarioError, match=r"visits\[0\], requested_kwh: 500.*at most 31\.2 kWh: zoe holds 52 kWh"):
        load_scenario(path)
    assert load_scenario(path, skip_bad=True).bad == {"more energy wanted than fits": 1}
    fits = load_scenario(write(base + VISIT.format(id="one", kwh=31.2, soc="arrival_soc = 0.4")))
    assert next(visit for visit in fits.truth().visits if visit.id == "one").target_kwh == pytest.approx(52.0)


def test_a_wish_that_does_not_fit_a_drawn_state_of_charge_is_cut_and_named(write: Write, base: str) -> None:
    scenario = load_scenario(write(base + VISIT.format(id="one", kwh=500, soc="")))
    assert next(visit for visit in scenario.truth().visits if visit.id == "one").target_kwh == pytest.approx(52.0)
    assert "1 visit asks for more than the battery can take: there it is to be full." in scenario.public().assumptions


def test_an_unknown_car_of_a_duty_is_one_fault_that_names_those_there_are(write: Write, base: str) -> None:
    check = check_scenario(write(base + 'vehicle = "van"\n'))
    (fault,) = check.faults
    assert fault.where == "$.duties[0].vehicle"
    assert "zoe" in fault.expected
    assert "mercedes-ecitaro-12m" in fault.expected
    (near,) = check_scenario(write(base + 'vehicle = "nissan-leaf"\n')).faults
    assert "did you mean `nissan-leaf-40`?" in near.expected


def test_faults_name_their_rows_where_numbers_would_mislead(write: Write, base: str) -> None:
    write(base, "below.toml")
    above = 'extends = "below.toml"\n[[duties]]\nid = "night"\nshare = 2.0\n[[station_groups]]\nid = "new"\n'
    check = check_scenario(write(above + 'type = "teapot"\ncount = 0\n'))
    assert {fault.where for fault in check.faults} == {"$.duties[0].share (night)", "$.station_groups[1].count (new)"}
    with pytest.raises(ScenarioError, match=r"\(night\): 2\.0, expected a number, at most 1"):
        load_scenario(write(above + 'type = "ac-wallbox-11"\ncount = 2\n'))


def test_faults_come_in_order_of_their_rows(recorded: Callable[[str], Path]) -> None:
    check = check_scenario(recorded("\n".join(BAD.values())))
    assert [int(fault.where.split()[1].strip(",")) for fault in check.faults] == list(range(14, 21))


def test_a_file_from_a_spreadsheet_of_other_customs_is_recognised(
    write: Write, recorded: Callable[[str], Path]
) -> None:
    path = recorded('a,home-01,2025-03-28T18:00:00+01:00,2025-03-28T19:00:00+01:00,"7,5"\n')
    with pytest.raises(ScenarioError, match=r"'7,5', expected a number of kWh, its decimals after a point: 7\.5"):
        load_scenario(path)
    write(HEAD.replace(",", ";") + GOOD.format(n=1).replace(",", ";"), "sessions.csv")
    with pytest.raises(ScenarioError, match="commas between the cells, not semicolons"):
        load_scenario(path)


def test_a_check_names_faults_of_parts_that_do_not_depend_on_each_other(write: Write, base: str) -> None:
    said = [str(fault).partition("toml: ")[2] for fault in check_scenario(write(base + """
[feeder]
example = "european_lv"
spred = "even"
phases = "d"
hourly_kw = [1, 2]
groups = { hom = ["ev-1"] }
limits = { voltage_pu = [1.1, 0.9] }
[[events]]
id = "backwards"
start = 2025-03-29T19:00:00+01:00
end = 2025-03-29T18:00:00+01:00
max_net_kw = 3.0
[[events]]
id = "between"
start = 2025-03-29T18:07:00+01:00
end = 2025-03-29T19:00:00+01:00
max_net_kw = 3.0
""")).faults]
    expected = (
        "$.feeder: 'spred'", "$.feeder.phases: 'd'", "$.feeder.hourly_kw: 2 values, expected 24",
        "$.events[0].end:", "$.events[1].start:", "$.feeder.groups: 'hom'", "$.feeder.limits.voltage_pu: [1.1, 0.9]",
    )
    assert all(any(one.startswith(start) for one in said) for start in expected), said
    assert len(said) == len(expected), "and nothing that follows from another fault"


def test_a_check_says_that_more_may_follow(write: Write, base: str) -> None:
    assert check_scenario(write(base.replace("count = 12", "count = 0"))).may_hide_more
    assert not check_scenario(write(base)).may_hide_more
