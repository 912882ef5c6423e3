"""OpenADR 3.1.0 on the wire: the objects of `openadr3.yaml`, nothing more.

Field names are snake_case here and camelCase on the wire. Unknown fields are tolerated and dropped, as the
schemas do not forbid them. Where the specification gives a pattern or a length, it is checked here; what a value
means is decided in `openadr.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""The end of an interval of P9999Y, and the latest instant any interval can end."""

_DURATION = re.compile(
    r"(?P<sign>-?)P(?=\d|T\d)(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)(?P<unit>[DW]))?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_NOW = frozenset({"0001-01-01", "0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"})
_INFINITE_YEARS = 9999


@dataclass(frozen=True, slots=True)
class Duration:
    """An ISO 8601 duration. Years and months are calendar ones, counted in UTC."""

    months: int
    seconds: float
    negative: bool = False

    @property
    def is_zero(self) -> bool:
        return self.months == 0 and self.seconds == 0

    def after(self, start: datetime) -> datetime:
        """`start` plus this duration, at most FOREVER. A negative duration goes back."""
        sign = -1 if self.negative else 1
        month = start.month - 1 + sign * self.months
        year = start.year + month // 12
        if year > FOREVER.year:
            return FOREVER
        first = start.replace(year=max(year, 1), month=month % 12 + 1, day=1)
        next_month = (first + timedelta(days=31)).replace(day=1) if (first.year, first.month) != (9999, 12) else FOREVER
        last_day = 31 if next_month is FOREVER else (next_month - timedelta(days=1)).day
        moved = first.replace(day=min(start.day, last_day))
        try:
            return min(moved + timedelta(seconds=sign * self.seconds), FOREVER)
        except OverflowError:
            return FOREVER


def parse_duration(text: str) -> Duration:
    """Parse an ISO 8601 duration as the specification's pattern has it.

    Raises:
        ValueError: the text is no such duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text.isascii():
        raise ValueError("expected an ISO 8601 duration such as PT1H or P9999Y")
    part = match.groupdict(default="0")
    years = min(int(part["years"][:6]), _INFINITE_YEARS)
    days = int(part["days"][:9]) * (7 if part["unit"] == "W" else 1)
    seconds = ((days * 24 + int(part["hours"][:9])) * 60 + int(part["minutes"][:9])) * 60 + float(part["seconds"])
    return Duration(min(years * 12 + int(part["months"][:6]), _INFINITE_YEARS * 12), seconds, part["sign"] == "-")


def parse_start(text: str) -> datetime | None:
    """Parse a start time; None for "0001-01-01", which stands for now (User Guide, intervalPeriod.start).

    Raises:
        ValueError: no RFC 3339 time with an offset.
    """
    if text in _NOW:
        return None
    try:
        when = datetime.fromisoformat(text)
        utc = when.astimezone(UTC) if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        utc = None
    if utc is None:
        raise ValueError("expected an RFC 3339 time with offset such as 2026-07-15T14:00:00Z, or 0001-01-01 for now")
    return utc


def _checked_duration(text: str) -> str:
    parse_duration(text)
    return text


def _checked_start(text: str) -> str:
    parse_start(text)
    return text


DurationText = Annotated[str, Field(max_length=64), AfterValidator(_checked_duration)]
StartText = Annotated[str, Field(max_length=64), AfterValidator(_checked_start)]
ObjectId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$", min_length=1, max_length=128)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class Wire(BaseModel):
    """What all objects of the specification share."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class IntervalPeriod(Wire):
    start: StartText | None = None
    duration: DurationText | None = None
    randomize_start: DurationText | None = None


class Point(Wire):
    x: FiniteFloat
    y: FiniteFloat


class ValuesMap(Wire):
    type: Name
    values: Annotated[
        list[StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)] | StrictBool | StrictStr | Point],
        Field(max_length=1000),
    ]


class Interval(Wire):
    id: Int32
    interval_period: IntervalPeriod | None = None
    payloads: Annotated[list[ValuesMap], Field(max_length=100)]


class EventPayloadDescriptor(Wire):
    """objectType is required by the schema; the User Guide's own examples leave it out, so it has a default."""

    object_type: Literal["EVENT_PAYLOAD_DESCRIPTOR"] = "EVENT_PAYLOAD_DESCRIPTOR"
    payload_type: Name
    units: Name | None = None
    currency: str | None = None


class ReportPayloadDescriptor(Wire):
    object_type: Literal["REPORT_PAYLOAD_DESCRIPTOR"]
    payload_type: Name
    reading_type: Name | None = None
    units: Name | None = None
    accuracy: FiniteFloat | None = None
    confidence: Annotated[int, Field(ge=0, le=100)] | None = None


class ReportDescriptor(Wire):
    payload_type: Name
    reading_type: Name | None = None
    units: Name | None = None
    targets: list[Name] | None = None
    aggregate: bool = False
    start_interval: Int32 = -1
    num_intervals: Int32 = -1
    historical: bool = True
    frequency: Int32 = -1
    repeat: Int32 = 1
    report_intervals: Literal["INTERVALS", "SUB_INTERVALS", "OPEN_INTERVALS"] = "INTERVALS"


class ProgramDescription(Wire):
    model_config = ConfigDict(extra="ignore")
    URL: Annotated[str, Field(min_length=2, max_length=8000)]


class ProgramRequest(Wire):
    """What a client sends to create or replace a program."""

    program_name: Name
    interval_period: IntervalPeriod | None = None
    program_descriptions: list[ProgramDescription] | None = None
    payload_descriptors: list[EventPayloadDescriptor | ReportPayloadDescriptor] | None = None
    attributes: list[ValuesMap] | None = None
    targets: list[Name] | None = None


class EventRequest(Wire):
    """What a client sends to create or replace an event."""

    program_id: Annotated[ObjectId, Field(alias="programID")]
    event_name: str | None = None
    duration: DurationText | None = None
    priority: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    targets: list[Name] | None = None
    report_descriptors: list[ReportDescriptor] | None = None
    payload_descriptors: list[EventPayloadDescriptor] | None = None
    interval_period: IntervalPeriod | None = None
    intervals: Annotated[list[Interval], Field(max_length=2000)] | None = None


class ObjectMetadata(Wire):
    """What the VTN adds to every object."""

    id: ObjectId
    created_date_time: datetime
    modification_date_time: datetime


class Program(ProgramRequest, ObjectMetadata):
    object_type: Literal["PROGRAM"] = "PROGRAM"


class Event(EventRequest, ObjectMetadata):
    object_type: Literal["EVENT"] = "EVENT"


class TokenResponse(BaseModel):
    """OAuth2 client-credentials answer (RFC 6749 section 5.1; snake_case by that RFC)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  the type of a token is no secret
    expires_in: int
    scope: str


TokenError = Literal[
    "invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "unauthorized_client",
    "unsupported_grant_type",
]


class TokenRefusal(BaseModel):
    """OAuth2 error answer (RFC 6749 section 5.2)."""

    error: TokenError
    error_description: str


class AuthServerInfo(Wire):
    token_url: Annotated[str, Field(alias="tokenURL")]
