"""The car's needs out of the package's EV data context, and when they are worth telling anew."""

from __future__ import annotations

from iso15118.secc.controller.ev_data import EVDataContext

from twin.station.rail import Control, EvNeeds, Language, Transfer

UNKNOWN_DEPARTURE_S = 2**32 - 1
SAME_DEPARTURE_S = 60.0
SAME_ENERGY_KWH = 2.0
SAME_SOC = 0.02
FASTEST_PER_HOUR = 3.0  # capacities: no battery of today charges faster than three times its capacity in an hour


def needs_of(context: EVDataContext, language: Language, transfer: Transfer, control: Control) -> EvNeeds:
    """What the EVSE knows of the car so far; W and Wh of the wire as kW and kWh, percent as fractions."""
    limits = context.session_limits.dc_limits if transfer.is_dc else context.session_limits.ac_limits
    rated = context.rated_limits.dc_limits if transfer.is_dc else context.rated_limits.ac_limits

    def limit(name: str) -> float | None:
        value = getattr(limits, name, None)
        return getattr(rated, name, None) if value is None else value

    def magnitude(name: str) -> float | None:
        value = limit(name)
        return None if value is None else abs(value)

    is_two_way = transfer.is_bidirectional
    return EvNeeds(
        language=language, transfer=transfer, control=control,
        departure_s=_departure(context.departure_time),
        present_soc=_fraction(context.present_soc), target_soc=_fraction(context.target_soc),
        min_soc=_fraction(context.min_soc), max_soc=_fraction(context.max_soc),
        capacity_kwh=_kilo(context.total_battery_capacity),
        target_energy_kwh=_kilo(context.target_energy_request), max_energy_kwh=_kilo(context.max_energy_request),
        min_energy_kwh=_kilo(context.min_energy_request),
        max_v2x_energy_kwh=_kilo(context.max_v2x_energy_request),
        min_v2x_energy_kwh=_kilo(context.min_v2x_energy_request),
        # The package sets 0 W where -2 AC and DIN say nothing of power.
        max_charge_kw=_kilo(limit("max_charge_power") or None), min_charge_kw=_kilo(limit("min_charge_power")),
        max_discharge_kw=_kilo(magnitude("max_discharge_power")) if is_two_way else None,
        min_discharge_kw=_kilo(magnitude("min_discharge_power")) if is_two_way else None,
        max_charge_current_a=limit("max_charge_current"), min_charge_current_a=limit("min_charge_current"),
        max_discharge_current_a=magnitude("max_discharge_current") if is_two_way else None,
        min_discharge_current_a=magnitude("min_discharge_current") if is_two_way else None,
        max_voltage_v=limit("max_voltage"), min_voltage_v=limit("min_voltage"),
    )


class Memory:
    """What was last told about the car, to tell only what is new.

    A car repeats itself in every loop: its departure counts down and its requests shrink as it charges. New is what
    moves the departure or the energy it wants to leave with, a limit, or a SoC that no charging explains.
    """

    def __init__(self) -> None:
        self._told: EvNeeds | None = None
        self._told_at = 0.0
        self._last_soc: float | None = None
        self._last_at = 0.0

    def is_news(self, needs: EvNeeds, at: float) -> bool:
        """Whether to tell `needs` at domain instant `at`, in s; if so they are remembered as told."""
        has_jumped = self._has_jumped(needs.present_soc, at)
        told = self._told
        if told is not None and not has_jumped and not _differs(told, self._told_at, needs, at):
            return False
        self._told, self._told_at = needs, at
        return True

    def _has_jumped(self, soc: float | None, at: float) -> bool:
        before, self._last_soc = self._last_soc, soc
        elapsed, self._last_at = at - self._last_at, at
        if soc is None or before is None:
            return False
        return abs(soc - before) > SAME_SOC + FASTEST_PER_HOUR * max(elapsed, 0.0) / 3600.0


_PLAIN = (
    "target_soc", "min_soc", "max_soc", "capacity_kwh", "max_charge_kw", "min_charge_kw", "max_discharge_kw",
    "min_discharge_kw", "max_charge_current_a", "max_discharge_current_a", "max_voltage_v", "min_voltage_v",
)


def _differs(told: EvNeeds, told_at: float, needs: EvNeeds, at: float) -> bool:
    if any(getattr(told, name) != getattr(needs, name) for name in _PLAIN):
        return True
    if (told.present_soc is None) != (needs.present_soc is None):
        return True
    if _moved(_leaves_at(told, told_at), _leaves_at(needs, at), SAME_DEPARTURE_S):
        return True
    return _moved(_leaves_with(told), _leaves_with(needs), SAME_ENERGY_KWH + SAME_SOC * (needs.capacity_kwh or 0.0))


def _leaves_at(needs: EvNeeds, at: float) -> float | None:
    return None if needs.departure_s is None else at + needs.departure_s


def _leaves_with(needs: EvNeeds) -> float | None:
    """Energy in the battery once the request is met; without SoC and capacity it cannot be told from charging."""
    if needs.target_energy_kwh is None or needs.present_soc is None or needs.capacity_kwh is None:
        return None
    return needs.present_soc * needs.capacity_kwh + needs.target_energy_kwh


def _moved(before: float | None, now: float | None, tolerance: float) -> bool:
    if before is None or now is None:
        return before is not now
    return abs(before - now) > tolerance


def _departure(seconds: int | None) -> float | None:
    # 0 stands for "not known" in -2, and -20's Dynamic control has no other way to say it than a time far away.
    return float(seconds) if seconds and seconds < UNKNOWN_DEPARTURE_S else None


def _kilo(value: float | None) -> float | None:
    return None if value is None else value / 1000.0


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else percent / 100.0
