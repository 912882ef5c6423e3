"""Meter values in any OCPP dialect -> signed power, registers and state of charge.

The same measurands go by the same names in 1.6 and 2.x; only units and number formats differ.
OCPP 1.6 section 7.31, OCPP 2.1 part 2 MeasurandEnumType.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_IMPORT_POWER = "Power.Active.Import"
_EXPORT_POWER = "Power.Active.Export"
_IMPORT_REGISTER = "Energy.Active.Import.Register"
_EXPORT_REGISTER = "Energy.Active.Export.Register"
_SOC = "SoC"
_WANTED = frozenset((_IMPORT_POWER, _EXPORT_POWER, _IMPORT_REGISTER, _EXPORT_REGISTER, _SOC))
_ELSEWHERE = frozenset(("Inlet", "Body", "Upstream"))
"""Where energy is measured before the EVSE's own outlet, losses and auxiliaries included."""
_ONE_PHASE = frozenset(("L1", "L2", "L3", "L1-N", "L2-N", "L3-N"))


@dataclass(frozen=True, slots=True)
class Reading:
    """One instant of one EVSE's meter. power_kw is signed (discharge negative); soc is 0 to 1."""

    at: datetime
    power_kw: float | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    soc: float | None = None

    @property
    def is_empty(self) -> bool:
        return self.power_kw is None and self.import_wh is None and self.export_wh is None and self.soc is None


class UnreadableTime(ValueError):
    """A charger wrote a time that is none."""


def parse_time(text: str) -> datetime:
    """An OCPP time as aware UTC; one without an offset is taken as UTC (OCPP 1.6 section 3.15).

    Raises:
        UnreadableTime: it is none, or outside the years 1 to 9999 in UTC.
    """
    try:
        when = datetime.fromisoformat(text.strip())
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnreadableTime(f"time: {text.strip()[:40]!r}, expected RFC 3339 in the years 1 to 9999 UTC") from None


def write_time(when: datetime) -> str:
    """UTC with Z, to the millisecond (OCPP 2.1 part 2, 2.1.3: no more than three decimals)."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Amount = Callable[[dict[str, Any]], float | None]
"""The value of one sampled value in W, Wh or percent; None if it cannot be read."""


def amount_v16(sample: dict[str, Any]) -> float | None:
    """OCPP 1.6: the value is a string, energy defaults to Wh."""
    if sample.get("format") == "SignedData":
        return None
    try:
        value = float(sample["value"])
    except ValueError:
        return None
    return _finite(value * (1000.0 if sample.get("unit") in ("kWh", "kW") else 1.0))


def amount_v2(sample: dict[str, Any]) -> float | None:
    """OCPP 2.x: the value is a number; unitOfMeasure adds a unit and a power of ten."""
    measure = sample.get("unitOfMeasure")
    value = float(sample["value"])
    if measure is None:
        return _finite(value)
    multiplier = measure.get("multiplier", 0)
    if not -30 <= multiplier <= 30:  # noqa: PLR2004 - beyond every SI prefix: nonsense
        return None
    return _finite(value * 10.0**multiplier * (1000.0 if measure.get("unit") in ("kWh", "kW") else 1.0))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_meter_values(meter_values: Iterable[dict[str, Any]], amount: Amount) -> list[Reading]:
    """One `Reading` per meter value that says something we use, in the order given."""
    readings = (_read(meter_value, amount) for meter_value in meter_values)
    return [reading for reading in readings if not reading.is_empty]


def _read(meter_value: dict[str, Any], amount: Amount) -> Reading:
    totals: dict[str, float] = {}
    phases: dict[str, float] = {}
    for sample in meter_value["sampledValue"]:
        measurand = sample.get("measurand", _IMPORT_REGISTER)
        if measurand not in _WANTED or sample.get("location") in _ELSEWHERE:
            continue
        value = amount(sample)
        if value is None:
            continue
        phase = sample.get("phase")
        if phase is None:
            totals[measurand] = value
        elif phase in _ONE_PHASE:
            phases[measurand] = phases.get(measurand, 0.0) + value
    for measurand, value in phases.items():
        totals.setdefault(measurand, value)  # some stations report each phase and no total
    imported, exported = totals.get(_IMPORT_POWER), totals.get(_EXPORT_POWER)
    percent = totals.get(_SOC)
    return Reading(
        at=parse_time(meter_value["timestamp"]),
        power_kw=None if imported is None and exported is None else ((imported or 0.0) - (exported or 0.0)) / 1000.0,
        import_wh=totals.get(_IMPORT_REGISTER),
        export_wh=totals.get(_EXPORT_REGISTER),
        soc=percent / 100.0 if percent is not None and 0.0 <= percent <= 100.0 else None,  # noqa: PLR2004 - percent
    )
