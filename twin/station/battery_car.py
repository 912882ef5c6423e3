"""A car of the fleet file as a rail sees it: a battery of the plant, and what its driver told it."""

from __future__ import annotations

from datetime import datetime

from twin.assets import Current, Vehicle
from twin.station.fleetfile import HIGHEST_VOLTAGE, LOWEST_VOLTAGE, EvseSpec, VisitSpec
from twin.station.plant import Plant
from twin.station.rail import CarIntent, CarLimits, CarState, Control, Language, Speech, Transfer
from twin.station.timeline import Timeline


class BatteryCar:
    """The car of one visit, a `Car`.

    offered_kw: what it was last told to take; None before a session's charge loop.
    intent: whether it wants to stay in its session.
    """

    def __init__(
        self, visit: VisitSpec, vehicle: Vehicle, evse: EvseSpec, slot: int, plant: Plant, timeline: Timeline
    ) -> None:
        self.visit, self.vehicle = visit, vehicle
        self.speech = spoken(visit, vehicle, evse)
        self.intent = CarIntent.STAY
        self.offered_kw: float | None = None
        self._evse, self._slot, self._plant, self._timeline = evse, slot, plant, timeline
        self._is_plugged = True

    @property
    def limits(self) -> CarLimits:
        vehicle, volts = self.vehicle, self._evse.voltage_v * self._evse.phases
        most_kw = max(vehicle.max_charge_kw, vehicle.max_discharge_kw)
        return CarLimits(
            capacity_kwh=vehicle.battery.capacity_kwh, max_charge_kw=vehicle.max_charge_kw,
            max_discharge_kw=vehicle.max_discharge_kw, min_discharge_kw=vehicle.min_discharge_kw,
            max_current_a=most_kw * 1000.0 / volts, max_voltage_v=self._evse.voltage_v * HIGHEST_VOLTAGE,
            min_voltage_v=self._evse.voltage_v * LOWEST_VOLTAGE, phases=self._evse.phases,
        )

    def take(self, power_kw: float) -> float:
        """Let `power_kw` flow through this car's battery; 0 once it has left."""

        def flow() -> float:
            if not self._is_plugged:  # what was due before now took it away
                return 0.0
            self.offered_kw = power_kw
            self._plant.set_power(self._slot, power_kw)
            return self._plant.power_kw(self._slot)

        if not self._is_plugged:
            return 0.0
        if power_kw == self.offered_kw:  # a charge loop like the one before: what flows by itself is on the timeline
            return self._plant.power_kw(self._slot)
        return self._timeline.act(flow)

    def leave(self) -> None:
        """It is unplugged: the slot is another's from now on."""
        self._is_plugged = False
        self.offered_kw = None

    def state(self) -> CarState:
        """The car at the present event."""
        if not self._is_plugged:
            return CarState(soc=0.0, intent=CarIntent.STOP)
        fleet, battery, told = self._plant.fleet, self.vehicle.battery, self.visit.told
        energy = float(fleet.energy_kwh[self._slot])
        capacity = battery.capacity_kwh
        least, most = told.min_soc if told.min_soc is not None else battery.soc_min, battery.soc_max
        target = told.target_soc
        return CarState(
            soc=min(max(energy / capacity, 0.0), 1.0), target_soc=target, min_soc=least, max_soc=most,
            departure_s=self._departure_s(told.departure),
            target_energy_kwh=max(0.0, (most if target is None else target) * capacity - energy),
            max_energy_kwh=max(0.0, most * capacity - energy), min_energy_kwh=max(0.0, least * capacity - energy),
            max_v2x_energy_kwh=most * capacity - energy, min_v2x_energy_kwh=least * capacity - energy,
            voltage_v=self._evse.voltage_v, present_kw=self._plant.power_kw(self._slot), intent=self.intent,
        )

    def _departure_s(self, departure: datetime | None) -> float | None:
        return None if departure is None else max(0.0, departure.timestamp() - self._timeline.clock.now())


def spoken(visit: VisitSpec, vehicle: Vehicle, evse: EvseSpec) -> Speech:
    """How the car of a visit talks: as its file says, else the newest language and all that both ends can do."""
    if visit.speaks is not None:
        return visit.speaks.speech()
    is_two_way = evse.max_discharge_kw > 0 and vehicle.max_discharge_kw > 0
    if evse.current is Current.DC:
        transfer = Transfer.DC_BPT if is_two_way else Transfer.DC
    elif is_two_way:
        transfer = Transfer.AC_BPT
    else:
        transfer = Transfer.AC_THREE_PHASE if evse.phases > 1 else Transfer.AC_SINGLE_PHASE
    return Speech(Language.ISO_15118_20, transfer, Control.DYNAMIC)
