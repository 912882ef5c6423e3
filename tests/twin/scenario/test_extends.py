"""What-ifs: a file that extends another says only what differs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.scenario import ScenarioError, load_scenario, resource_path
from twin.scenario.reading import merged

Write = Callable[..., Path]
TREE = st.recursive(
    st.integers() | st.lists(st.integers()),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3), max_leaves=8,
)
TABLES = st.dictionaries(st.sampled_from("abc"), TREE, max_size=3)


@given(TABLES)
def test_extending_by_nothing_changes_nothing(tables: dict[str, object]) -> None:
    assert merged(tables, {}) == tables == merged({}, tables) == merged(tables, tables)


@given(TABLES, TABLES)
def test_the_upper_file_wins_and_what_it_does_not_say_stays(below: dict[str, object], above: dict[str, object]) -> None:
    leaves = _leaves(merged(below, above))
    assert _leaves(above).items() <= leaves.items()
    for place, value in _leaves(below).items():
        is_covered = any(place[:depth] in _leaves(above) for depth in range(1, len(place) + 1)) or any(
            other[: len(place)] == place for other in _leaves(above)
        )
        assert is_covered or leaves[place] == value


def _leaves(tables: dict[str, object], head: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Values by path; an empty table has none."""
    found: dict[tuple[str, ...], object] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            found |= _leaves(value, (*head, key))
        else:
            found[*head, key] = value
    return found


def test_one_changed_line_is_a_what_if(write: Write, base: str) -> None:
    before = load_scenario(write(base))
    after = load_scenario(write('extends = "small.toml"\nsite.import_cap_kw = 30.0\n', "what_if.toml"))
    assert (before.public().site.import_cap_kw, after.public().site.import_cap_kw) == (50.0, 30.0)
    assert after.truth().visits == before.truth().visits


def test_rows_with_a_name_merge_and_new_ones_are_added(write: Write, base: str) -> None:
    write(base)
    path = write(
        'extends = "small.toml"\n[[vehicles]]\nmodel = "zoe"\ncapacity_kwh = 40.0\n'
        '[[station_groups]]\nid = "guests"\ntype = "dc-50"\ncount = 2\n', "what_if.toml",
    )
    public = load_scenario(path).public()
    assert public.vehicles["zoe"].battery.capacity_kwh == 40.0
    assert public.vehicles["zoe"].battery.charge.kw[0] > 0.0  # the rest is still the catalogue's
    assert [station.id for station in public.stations[-2:]] == ["guests-01", "guests-02"]
    assert len(public.stations) == 14


def test_an_empty_list_takes_all_rows_away(write: Write, base: str) -> None:
    write(base)
    assert not load_scenario(write('extends = "small.toml"\nduties = []\n', "none.toml")).truth().visits


def test_a_chain_reaches_down_to_a_shipped_file(write: Write) -> None:
    write('extends = "twin:workplace_caltech.toml"\nsite.import_cap_kw = 150.0\n', "a.toml")
    path = write('extends = "a.toml"\nname = "third"\n', "b.toml")
    shipped = load_scenario(resource_path("workplace_caltech.toml"))
    scenario = load_scenario(path)
    assert scenario.public().name == "third"
    assert scenario.public().site.import_cap_kw == 150.0
    assert scenario.truth().visits == shipped.truth().visits


def test_files_are_looked_for_beside_the_file_that_names_them(write: Write, base: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write("time,power_kw\n2025-03-01T00:00Z,7.5\n", "deep/load.csv")
    write(base + '[building]\nfile = "load.csv"\n', "deep/small.toml")
    scenario = load_scenario(write('extends = "deep/small.toml"\n', "top.toml"))
    assert set(scenario.truth().building_kw) == {7.5}


def test_a_circle_is_refused(write: Write) -> None:
    write('extends = "b.toml"\n', "a.toml")
    with pytest.raises(ScenarioError, match=r"a\.toml.*extends.*does not extend this one again"):
        load_scenario(write('extends = "a.toml"\n', "b.toml"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("extends = 3", r"\$\.extends: 3"), ('extends = "nowhere.toml"', r"nowhere\.toml: file"),
        ('extends = "twin:nothing.toml"', "a file shipped with the twin"),
        ('extends = "twin:../data/workplace_caltech.toml"', "a file shipped with the twin"),
    ],
)
def test_a_file_that_cannot_be_extended_is_named(write: Write, line: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_scenario(write(line))


def test_what_a_file_in_the_middle_takes_away_stays_away(write: Write, base: str) -> None:
    write(base, "ground.toml")
    write('extends = "ground.toml"\nduties = []\n', "middle.toml")
    more = '[[duties]]\nid = "other"\ngroup = "home"\narrival = { mean = "10:00" }\ndeparture = { mean = "11:00" }\n'
    top = load_scenario(write('extends = "middle.toml"\n' + more, "top.toml"))
    assert {visit.id.partition("/")[0] for visit in top.truth().visits} == {"other"}
