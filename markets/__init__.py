"""Money and programmes as plain data and pure functions: rates and bills, programme terms, baseline, performance and
settlement. Takes start, step and arrays; knows neither the twin nor the aggregator.
"""

from markets.baseline import BaselineError, declared_schedule, same_day
from markets.bill import Bill, Line, bill, peak_kw, rounded
from markets.performance import IntervalScore, Performance, score
from markets.program import ProgramError, Terms, load_terms
from markets.rate import Period, Prices, RateError, RateSchedule, Season, load_rate, shipped_rate
from markets.settlement import Entry, Settlement, driver_credits, postings, settle, split

__all__ = [
    "BaselineError", "Bill", "Entry", "IntervalScore", "Line", "Performance", "Period", "Prices", "ProgramError",
    "RateError", "RateSchedule", "Season", "Settlement", "Terms", "bill", "declared_schedule", "driver_credits",
    "load_rate", "load_terms", "peak_kw", "postings", "rounded", "same_day", "score", "settle", "shipped_rate", "split",
]
