"""Baseline, performance and settlement of an event."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from markets.baseline import BaselineError, declared_schedule, same_day
from markets.performance import score
from markets.program import ProgramError, Terms, load_terms
from markets.settlement import driver_credits, postings, settle, split

TERMS = Terms(id="dr", name="DR", source="test", currency="USD", incentive_per_kwh=Decimal("2.00"),
              shortfall_per_kwh=Decimal("1.00"), driver_share=Decimal("0.6"))
powers = arrays(np.float64, 8, elements=st.floats(-100, 200))


@given(day=arrays(np.float64, 96, elements=st.floats(-50, 200)), inside=powers)
def test_what_happens_in_the_event_cannot_move_its_same_day_baseline(day: np.ndarray, inside: np.ndarray) -> None:
    steps = tuple(range(40, 48))
    moved = day.copy()
    moved[40:48] = inside
    moved[36:40] = 1e3  # nor the hour just before it
    assert same_day(day, steps, 900) == pytest.approx(same_day(moved, steps, 900))


def test_the_same_day_baseline_is_three_hours_before_and_two_after() -> None:
    net = np.zeros(96)
    net[24:36], net[52:60] = 10.0, 20.0  # event 40 to 48: before 24..36, after 52..60
    assert same_day(net, tuple(range(40, 48)), 900) == pytest.approx(14.0)


def test_the_declared_baseline_is_the_mean_so_shifting_inside_the_event_earns_nothing() -> None:
    schedule = np.arange(96.0)
    assert declared_schedule(schedule, (10, 11, 12)) == pytest.approx(11.0)


def test_a_baseline_without_data_names_the_steps() -> None:
    with pytest.raises(BaselineError, match=r"\[96\]"):
        declared_schedule(np.zeros(96), (95, 96))
    with pytest.raises(BaselineError):
        same_day(np.zeros(96), (2, 3), 900)


def test_delivery_is_measured_from_the_baseline_and_over_delivery_mends_no_shortfall() -> None:
    result = score(np.full(4, 60.0), np.full(4, 20.0), np.array([20.0, 30.0, 0.0, 20.0]))
    assert result.committed_kw == 40.0
    assert result.delivered_kw == pytest.approx(42.5)
    assert result.ratio == pytest.approx(170 / 160)
    assert result.shortfall_kw == pytest.approx(2.5)
    assert [interval.ratio for interval in result.intervals] == pytest.approx([1.0, 0.75, 1.5, 1.0])


def test_where_nothing_was_committed_nothing_can_be_missed() -> None:
    assert score(np.zeros(2), np.zeros(2), np.array([-1.0, 0.0])).ratio == 1.0
    with pytest.raises(ValueError, match="same number"):
        score(np.zeros(2), np.zeros(2), np.zeros(3))


def test_an_event_settled_by_hand() -> None:
    """40 kW committed for an hour; 30 kW missing in one quarter: 40 - 7.5 kWh paid, 7.5 charged."""
    performance = score(np.full(4, 60.0), np.full(4, 20.0), np.array([20.0, 50.0, 10.0, 20.0]))
    settled = settle(performance, TERMS)
    assert settled.paid_kwh == Decimal("32.5")
    assert settled.incentive == Decimal("65.00")
    assert settled.shortfall_charge == Decimal("7.50")
    assert settled.net == Decimal("57.50")


@given(baseline=powers, net=powers, metered=powers)
def test_never_more_is_paid_than_was_committed(baseline: np.ndarray, net: np.ndarray, metered: np.ndarray) -> None:
    settled = settle(score(baseline, net, metered), TERMS)
    committed = float(np.maximum(0, baseline - net).sum()) / 4
    assert 0 <= float(settled.paid_kwh) <= committed + 1e-9
    assert settled.missed_kwh >= 0


@given(baseline=powers, net=powers, metered=powers,
       exported=st.dictionaries(st.text("abc", min_size=1), st.floats(0, 60), max_size=8))
def test_the_ledger_of_an_event_sums_to_zero_and_no_credit_is_negative(
        baseline: np.ndarray, net: np.ndarray, metered: np.ndarray, exported: dict[str, float]) -> None:
    settled = settle(score(baseline, net, metered), TERMS)
    credited = driver_credits(settled, TERMS, exported)
    entries = postings(settled, credited)
    assert sum(entry.amount for entry in entries) == 0
    assert all(amount >= 0 for amount in credited.values())
    assert sum(credited.values()) <= max(Decimal(0), settled.net)


@given(cents=st.integers(-10_000, 10_000_000), currency=st.sampled_from(["USD", "JPY", "KWD"]),
       weights=st.dictionaries(st.text("xyz", min_size=1), st.floats(0.001, 1e6), min_size=1, max_size=12))
def test_a_split_loses_not_a_cent_and_is_fair_to_one(cents: int, currency: str, weights: dict[str, float]) -> None:
    unit = {"USD": Decimal("0.01"), "JPY": Decimal(1), "KWD": Decimal("0.001")}[currency]
    amount = cents * unit
    parts = split(amount, weights, currency)
    assert sum(parts.values()) == amount
    total = sum(Decimal(repr(weight)) for weight in weights.values())
    for name, part in parts.items():
        assert part % unit == 0
        assert abs(part - amount * Decimal(repr(weights[name])) / total) <= unit


def test_without_exported_energy_nothing_is_split_and_negative_weights_are_refused() -> None:
    assert split(Decimal(10), {"a": 0.0}, "USD") == {}
    with pytest.raises(ValueError, match="negative"):
        split(Decimal(10), {"a": -1.0}, "USD")


def test_terms_are_read_from_a_file_and_faults_name_the_field(tmp_path: Path) -> None:
    path = tmp_path / "terms.toml"
    text = 'id = "dr"\nname = "DR"\nsource = "s"\ncurrency = "USD"\nincentive_per_kwh = "2.00"\n'
    path.write_text(text, encoding="utf-8")
    assert load_terms(path).incentive_per_kwh == Decimal("2.00")
    path.write_text(text + 'tolerance = "1.5"\n', encoding="utf-8")
    with pytest.raises(ProgramError, match="tolerance"):
        load_terms(path)
