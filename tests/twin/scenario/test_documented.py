"""The page on scenario files names every field with its default, and what it shows runs."""

import json
import pickle
import re
import subprocess
import sys
from dataclasses import fields as dataclass_fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from twin.faults import FaultModel
from twin.importers import FORMATS, ImportOptions, read_ev2gym
from twin.scenario import check_scenario, load_scenario, tables
from twin.scenario.models import SHORT_CUTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "scenario.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "Top level": tables.ScenarioFile, "`[site]`": tables.SiteTable, "`[station_types.NAME]`": tables.StationType,
    "`[[stations]]`": tables.StationRow, "`[[station_groups]]`": tables.StationGroup,
    "`[[vehicles]]`": tables.VehicleTable, "`[sessions]`": tables.SessionsTable, "`[[visits]]`": tables.VisitRow,
    "`[[duties]]`": tables.DutyTable, "A time of day": tables.TimeTable, "A distribution of SoC": tables.SocTable,
    "`[drivers]`": tables.DriversTable, "`[truth]`": tables.TruthTable, "`[truth.arrival]`": tables.ArrivalTable,
    "`[building]`": tables.BuildingTable, "`[pv]`": tables.PvTable,
    "`[feeder]`": tables.FeederTable, "`[feeder.inverters]`": tables.InvertersTable,
    "`[feeder.limits]`": tables.FeederLimitsTable, "`[control]`": tables.ControlTable,
    "`[[events]]`": tables.EventRow, "`[ageing]`": tables.AgeingTable, "`[run]`": tables.RunTable,
}


def rows(title: str) -> dict[str, str]:
    """Default by field, as the section says."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", section, flags=re.MULTILINE))


def said(value: object) -> set[str]:
    """How a default may be written on the page."""
    if value is None or (isinstance(value, list | tuple | dict) and not value):
        return {"-"}
    if isinstance(value, bool):
        return {str(value).lower()}
    if isinstance(value, msgspec.Struct):
        changed = {
            field.name: getattr(value, field.name) for field in msgspec.structs.fields(type(value))
            if getattr(value, field.name) != field.default
        }
        inner = ", ".join(f"{name} = {one}" for name, one in changed.items())
        return {f"`{{ {inner} }}`" if changed else "its defaults"}
    if isinstance(value, tuple):
        return {"`[" + ", ".join(str(one) for one in value) + "]`"} | ({"all days"} if len(value) == 7 else set())
    return {f'`"{value}"`'} if isinstance(value, str) else {f"{value:g}"}


@pytest.mark.parametrize("title", SECTIONS)
def test_every_field_stands_on_the_page_with_its_default(title: str) -> None:
    found = rows(title)
    fields = msgspec.structs.fields(SECTIONS[title])
    assert list(found) == [field.name for field in fields]
    for field in fields:
        if field.required:
            assert found[field.name] == "needed", field.name
        else:
            factory = field.default_factory
            default = field.default if factory is msgspec.NODEFAULT else factory()
            assert found[field.name] in said(default), field.name


def test_every_kind_of_table_has_a_section() -> None:
    kinds = {kind for kind in vars(tables).values() if isinstance(kind, type) and issubclass(kind, tables.Table)}
    assert kinds - {tables.Table} == set(SECTIONS.values())


def test_every_fault_stands_on_the_page_with_its_default() -> None:
    found = rows("`[faults]`")
    assert list(found) == [*SHORT_CUTS, *(field.name for field in dataclass_fields(FaultModel))]
    for field in dataclass_fields(FaultModel):
        assert found[field.name] in said(field.default), field.name


def test_every_format_of_sessions_is_explained() -> None:
    assert set(re.findall(r"^\*\*`(\w+)`\*\*", PAGE, flags=re.MULTILINE)) == set(FORMATS)


def test_the_whole_file_on_the_page_loads_clean(tmp_path: Path) -> None:
    path = tmp_path / "page.toml"
    path.write_text(PAGE.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    check = check_scenario(path)
    assert (check.faults, check.kept) == ((), 12)


def test_the_lines_that_export_a_replay_make_a_file_that_is_read(tmp_path: Path) -> None:
    """EV2Gym keeps NumPy numbers and arrays, and efficiencies by ampere; a pickle of the same attributes is enough."""
    car: dict[str, Any] = {
        "id": 0, "location": 0, "time_of_arrival": np.int64(4), "time_of_departure": 40,
        "battery_capacity_at_arrival": np.float64(20.0), "desired_capacity": 40.0, "battery_capacity": 50.0,
        "min_battery_capacity": 10.0, "max_ac_charge_power": 11.0, "max_discharge_power": -11.0, "transition_soc": 0.8,
        "charge_efficiency": {np.int64(6): 80.0, np.int64(16): 90.0}, "discharge_efficiency": 0.9,
    }
    station = {
        "id": 0, "n_ports": 1, "voltage": 230, "phases": 3, "max_charge_current": 32, "min_charge_current": 0,
        "max_discharge_current": -16,
    }
    replay = SimpleNamespace(
        sim_date="2022-01-17 05:00:00", timescale=15, sim_length=96,
        transformers=[SimpleNamespace(max_power=np.ones(96) * 100.0)], charging_stations=[SimpleNamespace(**station)],
        EVs=[SimpleNamespace(**car)],
    )
    (tmp_path / "replay.pkl").write_bytes(pickle.dumps(replay))
    code = PAGE.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", code, "replay.pkl"], cwd=tmp_path, check=True)
    assert set(json.loads((tmp_path / "replay.json").read_text())["EVs"][0]) == set(car)
    (session,) = read_ev2gym(tmp_path / "replay.json", ImportOptions(zone=ZoneInfo("Europe/Amsterdam"))).sessions
    assert (session.arrival_soc, session.target_soc) == (0.4, 0.8)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_example_is_clean(path: Path) -> None:
    check = check_scenario(path)
    assert check.faults == ()
    assert check.kept > 30
    assert check.scenario is not None
    assert check.scenario.experiment().ensemble.replicas >= 50


def test_the_examples_are_what_they_say() -> None:
    def example(name: str) -> Any:
        return load_scenario(ROOT / "examples" / f"{name}.toml")

    workplace, faulty = example("workplace_acn"), example("workplace_faulty_chargers")
    assert len(workplace.public().stations) == 30
    assert faulty.faults.down_mtbf_h == pytest.approx(24.0 * 9.0)
    assert workplace.truth().visits == faulty.truth().visits
    depot = example("depot_60_buses")
    assert {visit.vehicle.model for visit in depot.truth().visits} == {"bus-12m"}
    assert len({visit.evse_id for visit in depot.truth().visits}) == 60
    street = example("street_v2g")
    assert all(evse.max_discharge_kw > 0 for evse in street.truth().evses)
    assert sum(said.v2g_consent for said in street.truth().declared.values()) > 50
