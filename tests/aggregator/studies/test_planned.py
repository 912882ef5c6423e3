"""The planner in the twin: the same courses as every other control, and its own word kept or broken."""

from pathlib import Path

import numpy as np
import pytest

from aggregator.refusal import Refused
from aggregator.studies.control import read_schedule
from aggregator.studies.planned import course_of, world_of
from aggregator.studies.simulate import SimulationOptions, simulate_scenario
from tests.aggregator.studies.conftest import EVENT, scenario, visit, write_day
from twin.drivers import draw
from twin.scenario import load_scenario


def test_a_course_alone_is_the_course_in_the_whole_study(tmp_path: Path) -> None:
    day = write_day(tmp_path)
    experiment = load_scenario(day).experiment()
    whole = draw(experiment.visits, experiment.drivers, replicas=3, seed=experiment.seed)
    visits, rows, revisions = course_of(whole, 2)
    alone = draw(experiment.visits, experiment.drivers, replicas=1, first_replica=2, seed=experiment.seed)
    np.testing.assert_array_equal(visits.departure_s, alone.visits.departure_s)
    np.testing.assert_array_equal(whole.visits.departure_s[rows], visits.departure_s)
    np.testing.assert_array_equal(revisions.row, alone.revisions.row)
    world = world_of(experiment.ensemble, visits)
    assert [one.evse_id for one in world.visits] == [experiment.ensemble.evses[k].id for k in visits.evse]


def test_the_planner_fills_cars_under_the_cap_and_answers_the_event(tmp_path: Path) -> None:
    file = tmp_path / "planned.toml"
    file.write_text(scenario(
        visit("a", 1, "09:00", "14:00", wants_kwh=11.0), visit("b", 2, "09:05", "14:00", wants_kwh=11.0),
        cap=25.0, drivers="perfect", more='[control]\nname = "planner"\nhorizon_h = 6.0\n' + EVENT,
    ).replace("06:00:00+01:00", "08:45:00+01:00").replace("18:00:00+01:00", "14:30:00+01:00"), "utf-8")
    facts = simulate_scenario(file).facts
    assert facts.measures["short_drivers"] == [0]
    assert facts.measures["over_cap_kwh"] == pytest.approx([0.0], abs=1e-9)
    (event,) = facts.events
    assert event.promised_from == "the level that the planner answered to hold"
    assert (event.delivered_kw >= event.promised_kw - 0.5).all()
    assert any("planner sees one price" in text for text in facts.assumptions)


SCHEDULE = "evse,time,power_kw\npost-01,2025-03-11T09:00:00+01:00,4\npost-01,2025-03-11T10:00:00+01:00,0\n"


def test_a_schedule_from_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_text(SCHEDULE, "utf-8")
    file = tmp_path / "scheduled.toml"
    file.write_text(scenario(
        visit("a", 1, "08:00", "14:00"), drivers="perfect", more='[control]\nname = "schedule"\nschedule = "plan.csv"\n'
    ), "utf-8")
    facts = simulate_scenario(file, SimulationOptions(replicas=2)).facts
    assert facts.measures["ev_import_kwh"] == pytest.approx([4.0, 4.0])
    assert facts.whole.charge.p50[11:17] == pytest.approx([0.0, 4.0, 4.0, 4.0, 4.0, 0.0])


@pytest.mark.parametrize(("row", "field"), [
    ("post-09,2025-03-11T09:00:00+01:00,4", "evse"), ("post-01,2025-03-11T09:00:00,4", "time"),
    ("post-01,2025-03-11T09:07:00+01:00,4", "time"), ("post-01,2025-03-12T09:00:00+01:00,4", "time"),
    ("post-01,noon,4", "time"), ("post-01,2025-03-11T09:00:00+01:00,much", "power_kw"),
    ("post-01,2025-03-11T09:00:00+01:00,nan", "power_kw"), ("post-01", "time"),
])
def test_a_row_of_a_schedule_that_cannot_be_is_named(tmp_path: Path, row: str, field: str) -> None:
    experiment = load_scenario(write_day(tmp_path)).experiment()
    file = tmp_path / "plan.csv"
    file.write_text(f"evse,time,power_kw\n{row}\n", "utf-8")
    with pytest.raises(Refused, match=f"plan.csv: row 2, {field}: "):
        read_schedule(file, experiment.ensemble)
