"""What a simulated planner reckons with: the site's own tables where a scenario has them, else what is said openly."""

from pathlib import Path

import pytest

from aggregator.demo.scene import load_scene
from aggregator.refusal import Refused
from aggregator.signals.model import Obligation
from aggregator.studies.terms import flat_rate, load_terms
from tests.aggregator.studies.conftest import write_day
from twin.scenario import resource_path

EXAMPLE = Path(__file__).parents[3] / "examples" / "workplace_acn.toml"


def test_the_shipped_workplace_day_gives_the_planner_the_terms_of_the_demo() -> None:
    demo, terms = load_scene(resource_path("workplace_caltech.toml")), load_terms(EXAMPLE)
    (programme,) = (one for one in demo.tables.programmes if one.obligation is Obligation.COMMITTED)
    assert terms.rate == demo.rate
    assert terms.peak_so_far_kw == demo.tables.tariff.peak_so_far_kw
    assert (terms.incentive_per_kwh, terms.shortfall_per_kwh) == (
        programme.incentive_per_kwh, programme.shortfall_per_kwh)
    assert terms.wear_per_kwh == demo.tables.demo.wear.per_kwh
    assert terms.forecast == demo.tables.forecast


def test_what_a_scenario_does_not_say_is_assumed_as_in_the_demo_and_told(tmp_path: Path) -> None:
    terms, demo = load_terms(write_day(tmp_path)), load_terms(EXAMPLE)
    assert terms.rate is None
    assert flat_rate("Europe/Berlin").demand_price_per_kw == 0.0
    assert terms.programme("midday") == demo.programme("midday")
    assert terms.wear_per_kwh == demo.wear_per_kwh
    said = " ".join(terms.assumed)
    for word in ("one price at all hours", "kWh of an event", "battery wear", "forecast of the building"):
        assert word in said
        assert word not in " ".join(demo.assumed)


def test_one_line_over_an_extended_file_changes_one_term(tmp_path: Path) -> None:
    file = tmp_path / "dear.toml"
    file.write_text('extends = "twin:workplace_caltech.toml"\n[wear]\nper_kwh = 0.5\n', "utf-8")
    assert load_terms(file).wear_per_kwh == 0.5
    assert load_terms(file).rate == load_terms(EXAMPLE).rate


@pytest.mark.parametrize(("table", "told"), [
    ('[tariff]\nshipped = "nobody"\npeak_so_far_kw = 1\n', "tariff.shipped: "),
    ("[wear]\nper_kwh = -1\n", "wear.per_kwh: -1, "),
    ("[wear]\nper_kw = 1\n", "wear.per_kwh: "),
    ('[[programmes]]\nname = "x"\nobligation = "maybe"\n', "programmes.0.obligation: 'maybe', "),
])
def test_a_faulty_term_is_named(tmp_path: Path, table: str, told: str) -> None:
    file = tmp_path / "faulty.toml"
    file.write_text(table, "utf-8")
    with pytest.raises(Refused, match=f"faulty.toml: {told}"):
        load_terms(file)
