"""Numbers on the wire: 16 bits and a power of ten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso15118.shared.messages.iso15118_20.common_types import RationalNumber

from twin.station.iso15118.numbers import quantised, quantised_kw, scaled, unscaled


@given(st.floats(-32_767_000.0, 32_767_000.0))
def test_a_written_number_is_never_larger_and_off_by_less_than_its_last_place(number: float) -> None:
    value, exponent = scaled(number)
    written = unscaled(value, exponent)
    assert -32768 <= value <= 32767
    assert -3 <= exponent <= 3
    assert abs(written) <= abs(number) * (1 + 1e-12) + 1e-9
    assert abs(written - number) < 10.0**exponent or abs(number) < 1e-3


@given(st.integers(-32767, 32767), st.integers(-3, 3))
def test_what_was_read_is_written_again_as_the_same_number(value: int, exponent: int) -> None:
    number = RationalNumber(value=value, exponent=exponent).get_decimal_value()
    assert quantised(number) == pytest.approx(number, rel=1e-12, abs=1e-12)


@given(st.floats(-32_000.0, 32_000.0))
def test_quantising_twice_changes_nothing(power_kw: float) -> None:
    once = quantised_kw(power_kw)
    assert quantised_kw(once) == once


@pytest.mark.parametrize(("watts", "on_the_wire"), [
    (33_333.0, 33_330.0), (-7_412.37, -7_412.0), (11_000.0, 11_000.0), (0.0, 0.0), (2_300.1, 2_300.1), (0.0004, 0.0),
])
def test_known_numbers(watts: float, on_the_wire: float) -> None:
    assert quantised(watts) == pytest.approx(on_the_wire, abs=1e-9)


@pytest.mark.parametrize("number", [32_768_000.0, float("inf"), float("nan"), -1e300])
def test_what_does_not_fit_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match=r"expected at most|NaN"):
        scaled(number)
