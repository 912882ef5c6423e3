"""A time-of-use rate with a demand charge, and what energy costs at any instant.

One object feeds the bill and the optimiser, so they cannot disagree about a price. Periods are local wall time from the
tz database: a day has 92, 96 or 100 quarter-hours, and the clock says which price each of them has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUARTER_S = 900
_SATURDAY = 5


class RateError(ValueError):
    """A rate that cannot price every instant; the message names file, field, value and what was expected."""


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A daily span [start, end) of local wall time, "HH:MM", "24:00" for midnight; prices per kWh."""

    start: Annotated[str, msgspec.Meta(pattern=r"^\d\d:(00|15|30|45)$")]
    end: Annotated[str, msgspec.Meta(pattern=r"^\d\d:(00|15|30|45)$")]
    import_per_kwh: Decimal
    export_per_kwh: Decimal = Decimal(0)
    name: str = ""

    @property
    def quarters(self) -> range:
        """Quarter-hours of the local day, 0 to 96."""
        return range(_quarter(self.start), _quarter(self.end))


class Season(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days from `first` to `last` ("MM-DD", both included, may wrap over New Year)."""

    name: str
    first: Annotated[str, msgspec.Meta(pattern=r"^\d\d-\d\d$")]
    last: Annotated[str, msgspec.Meta(pattern=r"^\d\d-\d\d$")]
    weekday: tuple[Period, ...]
    weekend: tuple[Period, ...]

    def holds(self, day: date) -> bool:
        today = f"{day:%m-%d}"
        if self.first <= self.last:
            return self.first <= today <= self.last
        return today >= self.first or today <= self.last


class RateSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A rate: energy by season, kind of day and period; demand per kW of the billing period's highest 15-minute mean.

    demand_per_kw_month: price per kW and billing month. holidays: ISO dates priced as weekend days.
    """

    name: str
    source: str
    effective: date
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    timezone: str
    demand_per_kw_month: Decimal
    seasons: tuple[Season, ...]
    holidays: tuple[date, ...] = ()

    @property
    def demand_price_per_kw(self) -> float:
        """The demand price as the optimiser takes it."""
        return float(self.demand_per_kw_month)

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def period_at(self, when: datetime) -> tuple[str, Period]:
        """Label and period that price the instant `when` (aware)."""
        local = when.astimezone(self.zone)
        for label, periods in self._tables(local.date()):
            quarter = local.hour * 4 + local.minute // 15
            for period in periods:
                if quarter in period.quarters:
                    return f"{label} {period.name or f'{period.start}-{period.end}'}", period
        raise RateError(f"{self.name}: no season or period holds {local.isoformat()}")

    def prices(self, start: datetime, step_s: int, steps: int) -> Prices:
        """Prices per kWh of each step; a step across two periods has their time-weighted mean.

        Args:
            start: aware; step k covers [start + k*step_s, start + (k+1)*step_s).
            step_s: seconds per step.
            steps: how many.
        """
        imports, exports = np.zeros(steps), np.zeros(steps)
        for part in self.parts(start, step_s, steps):
            imports[part.step] += part.share * float(part.period.import_per_kwh)
            exports[part.step] += part.share * float(part.period.export_per_kwh)
        return Prices(imports, exports)

    def parts(self, start: datetime, step_s: int, steps: int) -> list[StepPart]:
        """Every step, cut where the price may change: at UTC quarter-hours, on which all local quarters lie."""
        found: list[StepPart] = []
        begin = start.timestamp()
        for step in range(steps):
            low, high = begin + step * step_s, begin + (step + 1) * step_s
            at = low
            while at < high:
                until = min(high, (at // QUARTER_S + 1) * QUARTER_S)
                label, period = self.period_at(datetime.fromtimestamp(at, self.zone))
                share = (until - at) / step_s
                if found and found[-1].step == step and found[-1].period is period:
                    found[-1] = StepPart(step, found[-1].share + share, label, period)
                else:
                    found.append(StepPart(step, share, label, period))
                at = until
        return found

    def _tables(self, day: date) -> list[tuple[str, tuple[Period, ...]]]:
        is_weekend = day.weekday() >= _SATURDAY or day in self.holidays
        return [
            (f"{season.name} {'weekend' if is_weekend else 'weekday'}",
             season.weekend if is_weekend else season.weekday)
            for season in self.seasons if season.holds(day)
        ]


@dataclass(frozen=True)
class Prices:
    """Per kWh and step, shape (steps,)."""

    import_per_kwh: Floats
    export_per_kwh: Floats


@dataclass(frozen=True, slots=True)
class StepPart:
    """A share (0 to 1] of one step that lies in one price period."""

    step: int
    share: float
    label: str
    period: Period


def load_rate(path: Path) -> RateSchedule:
    """Read a rate from a TOML file.

    Raises:
        RateError: unreadable, a wrong field (with its path), or an instant of the year without exactly one price.
    """
    try:
        rate = msgspec.toml.decode(path.read_bytes(), type=RateSchedule)
    except OSError as fault:
        raise RateError(f"{path}: {fault.strerror!r}, expected a readable file with a rate") from fault
    except msgspec.MsgspecError as fault:
        raise RateError(f"{path}: {fault}") from fault
    require_complete(rate, str(path))
    return rate


def rate_path(name: str) -> Path:
    """The file of a rate that comes with the package."""
    return Path(str(files("markets") / "data" / f"{name}.toml"))


@lru_cache(maxsize=16)
def shipped_rate(name: str) -> RateSchedule:
    """A rate that comes with the package, e.g. "sce_tou_ev_4"."""
    return load_rate(rate_path(name))


def require_complete(rate: RateSchedule, where: str) -> None:
    """Raise a `RateError` unless every day lies in one season and every quarter-hour of a day in one period."""
    try:
        ZoneInfo(rate.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise RateError(f"{where}: timezone: {rate.timezone!r}, expected a name of the tz database") from None
    day = date(2024, 1, 1)  # a leap year: every day that can be
    while day.year == 2024:  # noqa: PLR2004
        seasons = [season.name for season in rate.seasons if season.holds(day)]
        if len(seasons) != 1:
            raise RateError(f"{where}: seasons: {day:%m-%d} lies in {seasons or 'none'}, expected exactly one")
        day += timedelta(days=1)
    for season in rate.seasons:
        for kind, periods in (("weekday", season.weekday), ("weekend", season.weekend)):
            covered = sorted(quarter for period in periods for quarter in period.quarters)
            if covered != list(range(96)):
                raise RateError(f"{where}: seasons.{season.name}.{kind}: periods cover {len(covered)} quarter-hours, "
                                "expected each of the day's 96 once")


def _quarter(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 4 + int(minutes) // 15
