"""What an event asks, within what the connection point may bear."""

from pathlib import Path

import numpy as np
import pytest

from aggregator.reports.simulation import warnings
from aggregator.studies.simulate import simulate_scenario
from tests.aggregator.studies.conftest import scenario, visit

DEEP = """
[control]
name = "{name}"
discharges = true
[[events]]
id = "deep"
start = 2025-03-11T10:00:00+01:00
end = 2025-03-11T11:00:00+01:00
max_net_kw = {level}
"""
"""Three cars can give 33 kW and the building draws 5 kW; the export cap is 20 kW."""


def cars(level: float, name: str) -> str:
    stays = [visit(f"car-{k}", k, "07:00", "17:30", wants_kwh=1.0, soc=0.8) for k in (1, 2, 3)]
    return scenario(*stays, more=DEEP.format(level=level, name=name))


@pytest.mark.parametrize("name", ["edf", "laxity", "proportional", "round_robin"])
def test_an_event_that_asks_for_more_than_the_export_cap_is_met_as_far_as_the_cap_goes(
        tmp_path: Path, name: str) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(cars(-100.0, name), "utf-8")
    result = simulate_scenario(file)
    asked, = result.facts.events
    assert result.outcome.net_kw.min() == pytest.approx(-20.0)
    assert asked.delivered_kw.sum() < asked.promised_kw.sum()
    assert "deep: asks up to 80.0 kW more than the export cap lets out" in warnings(result.facts)


def test_an_event_within_the_export_cap_is_met_without_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(cars(-15.0, "edf"), "utf-8")
    facts = simulate_scenario(file).facts
    asked, = facts.events
    np.testing.assert_allclose(asked.delivered_kw, 20.0)
    assert warnings(facts) == ()
