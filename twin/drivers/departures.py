"""When drivers leave, given when they said they would: as declared, as in ACN-Data, by a simple rule, as recorded.

Trusting the declared departure is wrong by more than half an hour for most drivers, and too late for a third of them.
Every model turns one uniform draw per visit into a stay, later for a greater draw, so that two models meet the same
drivers (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from twin.draws import Floats
from twin.impossible import ImpossibleValue

DATA = Path(__file__).parents[1] / "data" / "departure_error.json"


class DepartureModelError(ImpossibleValue):
    """A departure model is impossible; the message names field, value and what was expected."""


class Departures(Protocol):
    """Turns what drivers declare into what they do."""

    def stay_s(self, declared_stay_s: Floats, recorded_stay_s: Floats, uniform: Floats) -> Floats:
        """Real lengths of stay, in seconds after arrival.

        Args:
            declared_stay_s: as declared.
            recorded_stay_s: as in the table of visits.
            uniform: one draw in (0, 1) per visit; a greater one stays longer.
        """
        ...


@dataclass(frozen=True)
class PerfectDepartures:
    """Everyone leaves when declared."""

    def stay_s(self, declared_stay_s: Floats, recorded_stay_s: Floats, uniform: Floats) -> Floats:
        del recorded_stay_s, uniform
        return declared_stay_s


@dataclass(frozen=True)
class RecordedDepartures:
    """Everyone leaves as the table of visits has it: a replay."""

    def stay_s(self, declared_stay_s: Floats, recorded_stay_s: Floats, uniform: Floats) -> Floats:
        del declared_stay_s, uniform
        return recorded_stay_s


@dataclass(frozen=True)
class ParametricDepartures:
    """Some leave early, some late, the rest as declared.

    early_share, late_share: of the drivers, 0 to 1, together at most 1.
    early_mean_min, late_mean_min: exponential, in minutes; nobody leaves before arriving (the early one is truncated
    at the declared stay).
    """

    early_share: float = 0.3
    early_mean_min: float = 120.0
    late_share: float = 0.0
    late_mean_min: float = 60.0

    def __post_init__(self) -> None:
        for name in ("early_share", "late_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise DepartureModelError(name, getattr(self, name), "a share from 0 to 1")
        if self.early_share + self.late_share > 1.0:
            raise DepartureModelError("late_share", self.late_share, f"at most {1.0 - self.early_share:g}")
        for name in ("early_mean_min", "late_mean_min"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise DepartureModelError(name, getattr(self, name), "more than 0 minutes")

    def stay_s(self, declared_stay_s: Floats, recorded_stay_s: Floats, uniform: Floats) -> Floats:
        del recorded_stay_s
        stay = np.array(declared_stay_s, dtype=np.float64)
        is_early = uniform < self.early_share
        if is_early.any():
            mean = 60.0 * self.early_mean_min
            # Inverse of the exponential truncated at the stay; the smallest draw is the earliest to leave.
            left = 1.0 - uniform[is_early] / self.early_share
            stay[is_early] += mean * np.log1p(left * np.expm1(-np.maximum(stay[is_early], 0.0) / mean))
        is_late = uniform > 1.0 - self.late_share
        if is_late.any():
            stay[is_late] -= 60.0 * self.late_mean_min * np.log((1.0 - uniform[is_late]) / self.late_share)
        return stay


@dataclass(frozen=True)
class AcnDepartures:
    """As drivers did at two workplaces (ACN-Data, 25,347 sessions whose drivers declared a departure).

    site: "caltech", "jpl" or "pooled". The error is drawn from the quantiles of the sessions with a declared stay of
    like length. Leaving early is kept as a share of the declared stay, so that nobody leaves before arriving and other
    lengths of stay scale; leaving late is kept in minutes.

    Raises:
        DepartureModelError: there is no such site.
    """

    site: str = "pooled"

    def __post_init__(self) -> None:
        if self.site not in acn_tables():
            raise DepartureModelError("site", self.site, f"one of {', '.join(acn_tables())}")

    def stay_s(self, declared_stay_s: Floats, recorded_stay_s: Floats, uniform: Floats) -> Floats:
        del recorded_stay_s
        return stay_of(acn_tables()[self.site], declared_stay_s, uniform)


@dataclass(frozen=True)
class ErrorTable:
    """Quantiles of the departure error of one site.

    declared_from_s: shape (class,), where each class of declared stays begins, rising.
    probabilities: shape (quantile,), rising from 0 to 1.
    errors: shape (class, quantile), rising: below 0 a share of the declared stay (-1: leaves on arrival), above 0
        minutes after the declared departure.
    """

    declared_from_s: Floats
    probabilities: Floats
    errors: Floats


def stay_of(table: ErrorTable, declared_stay_s: Floats, uniform: Floats) -> Floats:
    """Real stays in s by the errors of `table`; arguments as in `Departures.stay_s`."""
    stay_class = np.maximum(np.searchsorted(table.declared_from_s, declared_stay_s, side="right") - 1, 0)
    # The classes share their probabilities: one search, one linear interpolation within the row of the class.
    below = np.searchsorted(table.probabilities, uniform, side="right") - 1
    weight = (uniform - table.probabilities[below]) / np.diff(table.probabilities)[below]
    error = (1.0 - weight) * table.errors[stay_class, below] + weight * table.errors[stay_class, below + 1]
    stay: Floats = declared_stay_s + np.where(error < 0.0, error * np.maximum(declared_stay_s, 0.0), 60.0 * error)
    return stay


class _StayClass(msgspec.Struct, forbid_unknown_fields=True):
    declared_from_min: float
    error: list[float]


class _DepartureErrorFile(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    licence: str
    made_by: str
    meaning: str
    probabilities: list[float]
    sites: dict[str, list[_StayClass]]


@cache
def acn_tables() -> dict[str, ErrorTable]:
    """The quantiles that are shipped with the twin, by site."""
    return read_tables(DATA)


def read_tables(path: Path) -> dict[str, ErrorTable]:
    """Read a file of departure errors.

    Raises:
        DepartureModelError: the file is not what it should be; the message names file, field and value.
    """
    try:
        decoded = msgspec.json.decode(path.read_bytes(), type=_DepartureErrorFile)
    except msgspec.DecodeError as error:
        raise DepartureModelError(path.name, str(error), "a table of departure errors") from error
    probabilities = np.array([0.0, *decoded.probabilities[1:-1], 1.0])
    if probabilities.tolist() != decoded.probabilities or (np.diff(probabilities) <= 0.0).any():
        raise DepartureModelError(f"{path.name}: probabilities", decoded.probabilities, "numbers rising from 0 to 1")
    tables = {}
    for site, classes in decoded.sites.items():
        where = f"{path.name}: sites.{site}"
        begins = np.array([each.declared_from_min for each in classes]) * 60.0
        if begins.size == 0 or (np.diff(begins) <= 0.0).any():
            raise DepartureModelError(f"{where}.declared_from_min", begins.tolist(), "rising minutes, at least one")
        for number, each in enumerate(classes):
            row = np.array(each.error)
            if row.size != probabilities.size or (np.diff(row) < 0.0).any() or not (row >= -1.0).all():
                expected = f"{probabilities.size} rising numbers from -1"
                raise DepartureModelError(f"{where}[{number}].error", each.error, expected)
        tables[site] = ErrorTable(begins, probabilities, np.array([each.error for each in classes]))
    return tables
