"""How a mean, a difference and its interval are written: the same in sentences, figures and tables."""

from __future__ import annotations

import math

from aggregator.reports.comparison.facts import DifferenceFact
from aggregator.reports.page import ABSENT, figure
from aggregator.reports.simulation import Measure


def title(measure: Measure) -> str:
    return measure.title + (f", {measure.unit}" if measure.unit else "")


def cell(measure: Measure, value: float, least_digits: int = 0) -> str:
    return figure(value * measure.shown_times, "", max(measure.digits, least_digits))


def signed(difference: DifferenceFact, value: float) -> str:
    measure = difference.measure
    text = figure(value * measure.shown_times, "", max(measure.digits, 1))
    return f"+{text}" if value > 0 and shows(text) else text


def shows(text: str) -> bool:
    """The figure is not 0 to the digits in which it is printed."""
    return any(digit in "123456789" for digit in text)


def interval(difference: DifferenceFact) -> str:
    if not math.isfinite(difference.half_width):
        return ABSENT
    low, high = difference.mean - difference.half_width, difference.mean + difference.half_width
    return f"{signed(difference, low)} to {signed(difference, high)}"


def verdict(difference: DifferenceFact) -> str:
    if not math.isfinite(difference.half_width):
        return ABSENT
    return "yes" if difference.is_sure else "no"


def worth(difference: DifferenceFact) -> str:
    if not math.isfinite(difference.alone_half_width):
        return ABSENT
    measure = difference.measure
    return f"± {figure(difference.alone_half_width * measure.shown_times, '', max(measure.digits, 1))}"
