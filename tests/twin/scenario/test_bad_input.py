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
    assert scenario.bad == {"target_soc: expected float <= 1.0": 1}
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
