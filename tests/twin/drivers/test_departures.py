"""When drivers leave, given when they said they would."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twin.drivers.departures import (
    DATA,
    AcnDepartures,
    DepartureModelError,
    Departures,
    ParametricDepartures,
    PerfectDepartures,
    RecordedDepartures,
    acn_tables,
    read_tables,
)

# Real minus declared departure of the recorded sessions, minutes at 5, 50 and 95 %, and the share of drivers who left
# more than 30 min early, counted in the files themselves (8,317 sessions at Caltech, 17,030 at JPL).
RECORDED = {
    "caltech": ((-446.2, 21.8, 460.4), 0.319),
    "jpl": ((-315.0, 23.1, 407.1), 0.302),
    "pooled": ((-368.3, 22.7, 429.8), 0.308),
}
STAYS = Path(__file__).parents[1] / "data" / "acn_declared_stays.csv"
SITES = tuple(RECORDED)
STEPS = 20
stays = st.lists(st.floats(60.0, 7 * 86_400.0), min_size=1, max_size=30)


def declared_stays_s(site: str) -> np.ndarray:
    """Declared length of stay of every recorded session of the site."""
    with STAYS.open(newline="") as text:
        rows = [row for row in csv.DictReader(text) if site in (row["site"], "pooled")]
    minutes = [float(row["declared_stay_min"]) for row in rows]
    return np.repeat(np.array(minutes), [int(row["sessions"]) for row in rows]) * 60.0


@pytest.mark.parametrize("site", SITES)
def test_the_recorded_departure_errors_come_out_again_within_five_minutes(site: str) -> None:
    # Every session meets the whole range of chances in even steps, each session a little shifted: no luck is left.
    declared = np.repeat(declared_stays_s(site), STEPS)
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    chances = (np.arange(declared.size) % STEPS + np.arange(declared.size) // STEPS * golden % 1.0) / STEPS
    error_min = (AcnDepartures(site).stay_s(declared, declared, chances) - declared) / 60.0
    quantiles, early_share = RECORDED[site]
    assert np.quantile(error_min, [0.05, 0.5, 0.95]) == pytest.approx(quantiles, abs=5.0)
    assert np.mean(error_min < -30.0) == pytest.approx(early_share, abs=0.005)


def test_the_counts_of_declared_stays_are_those_of_all_sessions() -> None:
    assert [declared_stays_s(site).size for site in SITES] == [8_317, 17_030, 25_347]


@given(st.sampled_from(SITES), stays, st.floats(1e-9, 1 - 1e-9))
def test_acn_is_interpolated_in_the_class_of_the_declared_stay(site: str, declared: list[float], chance: float) -> None:
    """Against a plain reading of the table, one visit at a time."""
    table = acn_tables()[site]
    drawn = AcnDepartures(site).stay_s(np.array(declared), np.array(declared), np.full(len(declared), chance))
    for stay, got in zip(declared, drawn, strict=True):
        begun = [number for number, begin in enumerate(table.declared_from_s) if begin <= stay]
        error = float(np.interp(chance, table.probabilities, table.errors[begun[-1] if begun else 0]))
        assert got == pytest.approx(stay * (1.0 + error) if error < 0 else stay + 60.0 * error, rel=1e-9)


@pytest.mark.parametrize("departures", [AcnDepartures(), ParametricDepartures(0.4, 45.0, 0.3, 20.0)])
@given(declared=stays, chances=st.tuples(st.floats(1e-9, 1 - 1e-9), st.floats(1e-9, 1 - 1e-9)))
def test_nobody_leaves_before_arriving_and_a_greater_draw_stays_longer(
    departures: Departures, declared: list[float], chances: tuple[float, float],
) -> None:
    stay = np.array(declared)
    low, high = (departures.stay_s(stay, stay, np.full(stay.size, chance)) for chance in sorted(chances))
    assert (low >= 0.0).all()
    assert (low <= high * (1 + 1e-12)).all()


def test_parametric_drivers_follow_their_distributions() -> None:
    rng = np.random.default_rng(3)
    stay = np.full(40_000, 6 * 3600.0)
    error_min = (ParametricDepartures(0.3, 120.0, 0.2, 60.0).stay_s(stay, stay, rng.random(stay.size)) - stay) / 60.0
    early, late = -error_min[error_min < 0.0], error_min[error_min > 0.0]
    assert early.size == pytest.approx(0.3 * stay.size, abs=4 * np.sqrt(0.21 * stay.size))
    assert late.size == pytest.approx(0.2 * stay.size, abs=4 * np.sqrt(0.16 * stay.size))
    assert stats.kstest(early, stats.truncexpon(b=360.0 / 120.0, scale=120.0).cdf).pvalue > 1e-3
    assert stats.kstest(late, "expon", args=(0.0, 60.0)).pvalue > 1e-3


@given(stays, st.floats(1e-9, 1 - 1e-9))
def test_perfect_drivers_keep_their_word_and_recorded_ones_the_record(declared: list[float], chance: float) -> None:
    said = np.array(declared)
    did, chances = said * 0.7, np.full(said.size, chance)
    assert (PerfectDepartures().stay_s(said, did, chances) == said).all()
    assert (RecordedDepartures().stay_s(said, did, chances) == did).all()
    assert (ParametricDepartures(0.0, 120.0, 0.0, 60.0).stay_s(said, did, chances) == said).all()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: AcnDepartures("mit"), "site: 'mit', expected one of caltech, jpl, pooled"),
        (lambda: ParametricDepartures(early_share=1.2), "early_share: 1.2, expected a share from 0 to 1"),
        (lambda: ParametricDepartures(early_share=0.8, late_share=0.3), "late_share: 0.3, expected at most 0.2"),
        (lambda: ParametricDepartures(early_mean_min=0.0), "early_mean_min: 0.0, expected more than 0 minutes"),
    ],
)
def test_an_impossible_model_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(DepartureModelError) as refused:
        make()
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"caltech"', '"caltech', "departure_error.json"),
        ('"probabilities": [0.0', '"probabilities": [0.1', "departure_error.json: probabilities"),
        ('_from_min": 28.0', '_from_min": 99999', "departure_error.json: sites.caltech.declared_from_min"),
        ('"error": [-0.', '"error": [-1.', "departure_error.json: sites.caltech[0].error"),
        ('"error": [-0.', '"error": [900, -0.', "departure_error.json: sites.caltech[0].error"),
        ('"licence"', '"license"', "departure_error.json"),
    ],
)
def test_a_broken_table_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / DATA.name
    path.write_text(DATA.read_text().replace(old, new, 1))
    with pytest.raises(DepartureModelError) as refused:
        read_tables(path)
    assert str(refused.value).startswith(told)
