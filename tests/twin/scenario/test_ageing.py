"""Which cells, how warm, how long: what a scenario says about the wear of batteries."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from twin.ageing import stay_wear
from twin.controllers import Uncontrolled
from twin.engine import run
from twin.scenario import Experiment, ScenarioError, load_scenario

Write = Callable[..., Path]
WRITTEN_OUT = """
[[vehicles]]
model = "van"
capacity_kwh = 60.0
charge_soc = [0.0, 1.0]
charge_kw = [50.0, 50.0]
max_charge_kw = 11.0
"""
MONTHS = "temperature_c = [-5, 0, 5, 10, 15, 20, 25, 22, 16, 11, 6, 1]\n"


def experiment(path: Path) -> Experiment:
    return load_scenario(path).experiment()


def test_wear_is_judged_only_where_the_table_stands_and_is_on(write: Write, base: str) -> None:
    assert experiment(write(base)).ageing is None
    assert experiment(write(base + "[ageing]\n")).ageing is not None
    write(base + "[ageing]\n", "on.toml")
    assert experiment(write('extends = "on.toml"\nageing.enabled = false\n', "off.toml")).ageing is None


def test_cells_come_from_the_file_then_the_catalogue_then_the_table(write: Write, base: str) -> None:
    bus = '[[vehicles]]\nmodel = "bus"\ncatalogue = "mercedes-ecitaro-12m"\nchemistry = "lfp-prismatic"\n'
    made = experiment(write(base + WRITTEN_OUT + bus + '[ageing]\nchemistry = "lfp"\n'))
    models = [vehicle.model for vehicle in made.ensemble.vehicles]
    assert made.ageing is not None
    assert dict(zip(models, made.ageing.cells, strict=True)) == {"zoe": "nmc", "van": "lfp", "bus": "lfp-prismatic"}
    assert any("van age like this cell: Sony-Murata" in sentence for sentence in made.assumptions)


def test_a_stay_has_the_temperature_of_the_local_month_in_which_it_begins(write: Write, base: str) -> None:
    """New Year's Eve in Berlin: who comes at 00:10 comes in January, though it is still December in UTC."""
    night = base.replace("2025-03-28T12:00:00+01:00", "2025-12-31T12:00:00+01:00").replace(
        "2025-03-31T12:00:00+02:00", "2026-01-02T12:00:00+01:00",
    ).replace('{ mean = "18:00", sd_min = 45, earliest = "16:00", latest = "21:00" }', '{ mean = "TIME" }')
    for time, expected in (("23:50", (1.0, -5.0)), ("00:10", (-5.0, -5.0))):
        made = experiment(write(night.replace("TIME", time) + "[ageing]\n" + MONTHS))
        assert made.ageing is not None
        outcome = run(made.ensemble, made.visits, Uncontrolled())
        found = made.ageing.wear(outcome, made.visits)
        day = np.floor(made.visits.arrival_s[outcome.visits.row] / 86400.0).astype(int)
        celsius = np.array(expected)[np.minimum(day, 1)]
        alone = stay_wear(outcome, made.visits, made.ageing.cells, temperature_c=celsius)
        np.testing.assert_array_equal(found.calendar, alone.calendar)
        np.testing.assert_array_equal(found.cycle, alone.cycle)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("end_of_life = 1.0", r"\$\.ageing\.end_of_life: 1\.0"),
        ("look_ahead_years = 0.0", r"\$\.ageing\.look_ahead_years: 0\.0"),
        ("temperature_c = 95.0", r"\$\.ageing\.temperature_c: 95\.0"),
        ("temperature_c = [20.0, 21.0]", r"\$\.ageing\.temperature_c"),
        ('chemistry = "lead"', r"\$\.ageing\.chemistry: 'lead'"),
        ("celsius = 20.0", r"\$\.ageing: 'celsius'"),
    ],
)
def test_an_impossible_ageing_is_refused(write: Write, base: str, line: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_scenario(write(base + f"[ageing]\n{line}\n"))
