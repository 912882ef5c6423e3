"""A demand-response programme's terms as data: a new programme needs a file, not code."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec

_NotNegative = Annotated[Decimal, msgspec.Meta(ge=0)]


class ProgramError(ValueError):
    """Terms that cannot be read; the message names file, field and what was expected."""


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a programme pays, asks and charges.

    incentive_per_kwh: paid per kWh delivered; shortfall_per_kwh: charged per committed kWh that was not delivered.
    pay_up_to: delivered energy is paid up to this share of the committed energy.
    tolerance: share of an interval's commitment that may be missing without a charge.
    interval_s: metering interval of performance. driver_share: share of the event's net pay that goes to drivers.
    """

    id: str
    name: str
    source: str
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    incentive_per_kwh: _NotNegative
    shortfall_per_kwh: _NotNegative = Decimal(0)
    pay_up_to: _NotNegative = Decimal(1)
    tolerance: Annotated[Decimal, msgspec.Meta(ge=0, le=1)] = Decimal(0)
    interval_s: Annotated[int, msgspec.Meta(gt=0)] = 900
    baseline: Literal["declared_schedule", "same_day_3_plus_2"] = "declared_schedule"
    driver_share: Annotated[Decimal, msgspec.Meta(ge=0, le=1)] = Decimal("0.5")


def load_terms(path: Path) -> Terms:
    """Read a programme's terms from a TOML file; raises a `ProgramError` that names what is wrong."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Terms)
    except (OSError, msgspec.MsgspecError) as fault:
        raise ProgramError(f"{path}: {fault}") from fault
