"""What an EVSE offers under ISO 15118-20: energy transfer services, their parameter sets, and schedules.

Service ids: Table 204; parameters: Tables 205 to 208 (8.4.3.2). The package's own BPT sets lack the BPT parameters and
offer EVSENominalVoltage for DC, where it has no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from iso15118.shared.messages.enums import ServiceV20
from iso15118.shared.messages.iso15118_20.common_messages import (
    ChargingSchedule,
    DischargingSchedule,
    DynamicScheduleExchangeResParams,
    Parameter,
    ParameterSet,
    PowerSchedule,
    PowerScheduleEntry,
    PowerScheduleEntryList,
    PriceLevelSchedule,
    PriceLevelScheduleEntry,
    PriceLevelScheduleEntryList,
    ScheduledScheduleExchangeResParams,
    ScheduleExchangeReq,
    ScheduleTuple,
    Service,
    ServiceDetailReq,
    ServiceList,
    ServiceParameterList,
)
from iso15118.shared.messages.iso15118_20.common_types import RationalNumber

from twin.station.iso15118.numbers import scaled
from twin.station.rail import PRICE_LEVELS, EvseRatings, Step

DAY_S = 86_400

# The package counts three phases as 2; the standard's Table 205 and the other open implementation (EVerest) as 3.
AC_SINGLE_PHASE, AC_THREE_PHASE = 1, 3
DC_EXTENDED = 2
SCHEDULED, DYNAMIC = 1, 2
NEEDS_BY_EVCC = 1
NO_PRICING, BY_PRICE_LEVELS = 0, 2
BPT_UNIFIED = 1
GRID_FOLLOWING = 1
ISLANDING_PASSIVE = 2


@lru_cache(maxsize=4096)
def rational(number: float) -> RationalNumber:
    """A number as ISO 15118-20 writes it. Shared by all messages that carry it: not to be changed."""
    value, exponent = scaled(number)
    return RationalNumber(exponent=exponent, value=value)


def watts(power_kw: float) -> RationalNumber:
    """A power in kW as the wire's W."""
    return rational(power_kw * 1000.0)


def watt_hours(energy_kwh: float) -> RationalNumber:
    """An energy in kWh as the wire's Wh."""
    return rational(energy_kwh * 1000.0)


def offered_services(ratings: EvseRatings) -> list[ServiceV20]:
    """Best first; discharge over AC only where the EVSE-vehicle pair is permitted."""
    if ratings.is_dc:
        return [ServiceV20.DC_BPT, ServiceV20.DC] if ratings.max_discharge_kw > 0 else [ServiceV20.DC]
    if ratings.permits_ac_bpt and ratings.max_discharge_kw > 0:
        return [ServiceV20.AC_BPT, ServiceV20.AC]
    return [ServiceV20.AC]


def service_list(ratings: EvseRatings) -> ServiceList:
    """The services as ServiceDiscoveryRes carries them."""
    return ServiceList(services=[
        Service(service_id=service.id, free_service=False) for service in offered_services(ratings)
    ])


def parameter_sets(service: ServiceV20, ratings: EvseRatings) -> ServiceParameterList:
    """One set per control mode, Dynamic first; the car names its mobility needs itself in both."""
    return ServiceParameterList(parameter_sets=[
        ParameterSet(id=number, parameters=_parameters(service, ratings, mode))
        for number, mode in enumerate((DYNAMIC, SCHEDULED), start=1)
    ])


def mend_failures(responses: dict[Any, Any]) -> None:
    """Make two of the package's prepared FAILED responses (-20) such as the schema allows: their lists were empty."""
    responses[ScheduleExchangeReq][0].dynamic_params = DynamicScheduleExchangeResParams()
    responses[ServiceDetailReq][0].service_parameter_list = ServiceParameterList(parameter_sets=[
        ParameterSet(id=1, parameters=[Parameter(name="ControlMode", int_value=DYNAMIC)])
    ])


def _parameters(service: ServiceV20, ratings: EvseRatings, mode: int) -> list[Parameter]:
    is_ac = service in {ServiceV20.AC, ServiceV20.AC_BPT}
    is_bpt = service in {ServiceV20.AC_BPT, ServiceV20.DC_BPT}
    connector = DC_EXTENDED if not is_ac else AC_THREE_PHASE if ratings.phases > 1 else AC_SINGLE_PHASE
    # The package's schedules must carry prices; ours say what the plan would like, and bind nobody.
    pricing = BY_PRICE_LEVELS if mode == SCHEDULED else NO_PRICING
    values = {"Connector": connector, "ControlMode": mode, "MobilityNeedsMode": NEEDS_BY_EVCC, "Pricing": pricing}
    if is_ac:
        values["EVSENominalVoltage"] = round(ratings.voltage_v)
    if is_bpt:
        values |= {"BPTChannel": BPT_UNIFIED, "GeneratorMode": GRID_FOLLOWING}
    if is_bpt and is_ac:
        values["GridCodeIslandingDetectionMethod"] = ISLANDING_PASSIVE
    return [Parameter(name=name, int_value=value) for name, value in values.items()]


def schedule(
    steps: Sequence[Step], *, time_anchor: float, is_two_way: bool, has_negative_discharge: bool
) -> ScheduledScheduleExchangeResParams:
    """One schedule tuple; discharge powers in the sign that the car speaks."""
    anchor = round(time_anchor)
    discharging = None
    if is_two_way:
        sign = -1.0 if has_negative_discharge else 1.0
        discharging = DischargingSchedule(
            power_schedule=_powers(steps, anchor, [sign * step.discharge_kw for step in steps]),
            price_level_schedule=_levels([(sum(step.duration_s for step in steps), 1)], anchor, 2),
        )
    return ScheduledScheduleExchangeResParams(schedule_tuples=[ScheduleTuple(
        schedule_tuple_id=1,
        charging_schedule=ChargingSchedule(
            power_schedule=_powers(steps, anchor, [step.charge_kw for step in steps]),
            price_level_schedule=_levels([(step.duration_s, step.price_level) for step in steps], anchor, 1),
        ),
        discharging_schedule=discharging,
    )])


def _powers(steps: Sequence[Step], anchor: int, powers_kw: Sequence[float]) -> PowerSchedule:
    return PowerSchedule(time_anchor=anchor, schedule_entry_list=PowerScheduleEntryList(entries=[
        PowerScheduleEntry(duration=step.duration_s, power=watts(kw)) for step, kw in zip(steps, powers_kw, strict=True)
    ]))


def _levels(levels: Sequence[tuple[int, int]], anchor: int, number: int) -> PriceLevelSchedule:
    return PriceLevelSchedule(
        id=f"id{number}", time_anchor=anchor, schedule_id=number, num_price_levels=PRICE_LEVELS,
        schedule_entries=PriceLevelScheduleEntryList(entries=[
            PriceLevelScheduleEntry(duration=duration_s, price_level=level) for duration_s, level in levels
        ]),
    )
