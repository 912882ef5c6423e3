"""A scenario file becomes a world: stations, cars, visits, a building, events, and what may go wrong.

`tables` is the file as it stands on disk, `reading` decodes it and what it extends, `rows` and `duties` gather
recorded, written and regular visits, `drawing` draws what no recording holds, `loading` puts the world together,
`feeder` hangs the EVSEs on a grid and `on_feeder` says what a run did to it, `experiment` turns the world into the
arrays that the engine runs, `ageing` says how batteries wear, `check` lists every fault of a file at once,
`assumptions` what it takes for granted and what cannot act, `wording` says in a planner's words what a field may hold,
`provenance` names all files that a scenario is made of, `sizes` what no field may hold.
"""

from twin.scenario.ageing import Ageing
from twin.scenario.check import ScenarioCheck, check_scenario
from twin.scenario.experiment import Control, Event, Experiment
from twin.scenario.loading import Scenario, load_scenario
from twin.scenario.on_feeder import NotRecorded, OnFeeder
from twin.scenario.paths import resource_path
from twin.scenario.provenance import scenario_files, scenario_sha256
from twin.scenario.world import DeclaredVisit, PublicScenario, Station, Truth, physically_possible_kwh
from twin.scenario_error import ScenarioError

__all__ = [
    "Ageing", "Control", "DeclaredVisit", "Event", "Experiment", "NotRecorded", "OnFeeder", "PublicScenario",
    "Scenario", "ScenarioCheck", "ScenarioError", "Station", "Truth", "check_scenario", "load_scenario",
    "physically_possible_kwh", "resource_path", "scenario_files", "scenario_sha256",
]
