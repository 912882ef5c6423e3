"""A problem's file gives the problem back, and names everything that cannot be, all at once."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.planning.fleet.faults import ProblemFaults
from aggregator.planning.fleet.files.problem_file import Unreadable, as_json, read_problem, write_problem
from aggregator.planning.fleet.problem import Problem

Make = Callable[..., Problem]


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_a_file_gives_back_what_was_written(
    suffix: str, kind: dict[str, Any], make_fleet: Make, tmp_path: Path
) -> None:
    problem, path = make_fleet(5, **kind), tmp_path / f"problem.{suffix}"
    write_problem(problem, path)
    assert as_json(read_problem(path)) == as_json(problem)


BAD: tuple[tuple[str, Callable[[dict[str, Any]], None]], ...] = (
    ("evs[car-0].target_kwh", lambda raw: raw["evs"][0].update(target_kwh=1e3)),
    ("evs[car-1].depart", lambda raw: raw["evs"][1].update(depart=raw["evs"][1]["arrive"])),
    ("evs[car-2].max_charge_kw", lambda raw: raw["evs"][2].update(max_charge_kw=-7)),
    ("evs[car-3].site", lambda raw: raw["evs"][3].update(site="nowhere")),
    ("evs[car-4].discharge_efficiency", lambda raw: raw["evs"][4].update(discharge_efficiency=0)),
    ("evs[car-5].energy_kwh", lambda raw: raw["evs"][5].pop("energy_kwh")),
    ("evs[car-5].colour", lambda raw: raw["evs"][5].update(colour="red")),
    ("import_price[2]", lambda raw: raw["import_price"].__setitem__(2, float("nan"))),
    ("export_price", lambda raw: raw["export_price"].pop()),
    ("sites[site-1].pv_kw[3]", lambda raw: raw["sites"][1].update(pv_kw=[0, 0, 0, -1, 0, 0, 0, 0])),
    ("sites[site-0].base_kw", lambda raw: raw["sites"][0].update(base_kw="much")),
    ("events[event-0].steps[0]", lambda raw: raw["events"][0]["steps"].__setitem__(0, 99)),
    ("events[event-0].shortfall_per_kwh", lambda raw: raw["events"][0].update(shortfall_per_kwh=-1)),
    ("feeders, site site-2.feeder", lambda raw: [
        chain["segments"].remove(segment) for chain in raw["feeders"]["chains"] for segment in list(chain["segments"])
        if segment["site"] == "site-2"]),
    ("reserve.sustain_h", lambda raw: raw["reserve"].update(sustain_h="long")),
    ("step_h", lambda raw: raw.update(step_h=0)),
)


@pytest.mark.parametrize(("field", "spoil"), BAD, ids=[field for field, _ in BAD])
def test_each_fault_is_named_by_its_row_and_field(
    field: str, spoil: Callable[[dict[str, Any]], None], make_fleet: Make, tmp_path: Path
) -> None:
    raw = as_json(make_fleet(5, feeders=True, reserve=True))
    spoil(raw)
    (tmp_path / "p.json").write_text(json.dumps(raw))
    with pytest.raises(ProblemFaults) as refused:
        read_problem(tmp_path / "p.json")
    assert [str(fault).partition(": ")[0] for fault in refused.value.faults] == [field]


def test_all_faults_are_named_at_once(make_fleet: Make, tmp_path: Path) -> None:
    raw = as_json(make_fleet(5, feeders=True, reserve=True))
    for _, spoil in BAD:
        spoil(raw)
    (tmp_path / "p.json").write_text(json.dumps(raw))
    with pytest.raises(ProblemFaults) as refused:
        read_problem(tmp_path / "p.json")
    assert {str(fault).partition(": ")[0] for fault in refused.value.faults} == {field for field, _ in BAD}
    assert len(str(refused.value).splitlines()) == len(BAD)


def test_arrays_are_held_to_the_same_rules(make_fleet: Make) -> None:
    problem = make_fleet(1)
    with pytest.raises(ProblemFaults, match=r"evs\[car-0\]\.max_charge_kw: is -1, expected 0 or more"):
        replace(problem, evs=replace(problem.evs, max_charge_kw=np.full(6, -1.0)))
    with pytest.raises(ProblemFaults, match=r"sites\.base_kw: is of shape \(2, 8\), expected shape \(3, 8\)"):
        replace(problem, sites=replace(problem.sites, base_kw=np.zeros((2, 8))))


def test_a_demand_out_of_reach_is_no_fault(make_fleet: Make) -> None:
    problem = make_fleet(1)
    wanting = replace(problem.evs, energy_kwh=np.zeros(6), floor_kwh=np.zeros(6), target_kwh=problem.evs.capacity_kwh,
                      max_charge_kw=np.zeros(6))
    assert replace(problem, evs=wanting).evs.target_kwh.sum() > 0


def test_arrays_of_a_problem_cannot_be_changed(make_fleet: Make) -> None:
    with pytest.raises(ValueError, match="read-only"):
        make_fleet(1).evs.target_kwh[0] = 1.0


@pytest.mark.parametrize("content", [
    "", "{", "[]", '{"format": "other/1"}', "\ufffe", '{"format": "v2g-fleet-problem/2"}'])
@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_what_is_no_problem_is_refused_in_one_line(content: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p.{suffix}"
    path.write_bytes(content.encode("utf-16" if content == "\ufffe" else "utf-8"))
    with pytest.raises(Unreadable) as refused:
        read_problem(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(Unreadable):
        read_problem(tmp_path / "missing.json")
