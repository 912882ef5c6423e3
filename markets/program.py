"""A demand-response programme's terms as data: a new programme needs a file, not code."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec


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
    incentive_per_kwh: Decimal
    shortfall_per_kwh: Decimal = Decimal(0)
    pay_up_to: Decimal = Decimal(1)
    tolerance: Decimal = Decimal(0)
    interval_s: Annotated[int, msgspec.Meta(gt=0)] = 900
    baseline: Literal["declared_schedule", "same_day_3_plus_2"] = "declared_schedule"
    driver_share: Decimal = Decimal("0.5")

    def __post_init__(self) -> None:
        for field, highest in (("incentive_per_kwh", None), ("shortfall_per_kwh", None), ("pay_up_to", None),
                               ("tolerance", 1), ("driver_share", 1)):
            value: Decimal = getattr(self, field)
            if not value.is_finite() or value < 0 or (highest is not None and value > highest):
                raise ValueError(f"{field}: {value}, expected 0 or more" + (f", at most {highest}" if highest else ""))


def load_terms(path: Path) -> Terms:
    """Read a programme's terms from a TOML file; raises a `ProgramError` that names what is wrong."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Terms)
    except (OSError, msgspec.MsgspecError) as fault:
        raise ProgramError(f"{path}: {fault}") from fault
