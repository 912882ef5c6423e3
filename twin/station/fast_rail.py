"""The fast rail: the same session as on the wire with nothing said in between, at exact instants of domain time."""

from __future__ import annotations

from twin.station.rail import Car, EvNeeds, Language, RailListener, SessionEnd


class FastRail:
    """A `Rail` whose charge loop takes no time: an order flows at the instant at which it is given."""

    def __init__(self, listener: RailListener) -> None:
        self._listener = listener
        self._car: Car | None = None
        self._is_authorised = False
        self._ordered_kw = 0.0
        self._flowing_kw = 0.0

    @property
    def is_charging(self) -> bool:
        return self._is_authorised

    def connect(self, car: Car) -> None:
        if self._car is not None:
            raise RuntimeError("connect: a session runs, expected none")
        self._car = car
        self._listener.needs(needs_of(car))

    def authorise(self) -> None:
        if self._car is not None and not self._is_authorised:
            self._is_authorised = True
            self._obey(self._ordered_kw)

    def order(self, power_kw: float) -> None:
        self._ordered_kw = power_kw
        if self._is_authorised:
            self._obey(power_kw)

    def stop(self) -> None:
        self._end(SessionEnd.STATION)

    def disconnect(self) -> None:
        self._end(SessionEnd.UNPLUGGED)

    async def close(self) -> None:
        """Nothing is left behind."""

    def _obey(self, power_kw: float) -> None:
        if self._car is not None:
            self._tell(self._car.take(power_kw))

    def _tell(self, power_kw: float) -> None:
        if power_kw != self._flowing_kw:
            self._flowing_kw = power_kw
            self._listener.flowing(power_kw)

    def _end(self, reason: SessionEnd) -> None:
        car = self._car
        if car is None:
            return
        if self._is_authorised:
            car.take(0.0)
        self._car, self._is_authorised = None, False
        self._tell(0.0)
        self._listener.ended(reason)


def needs_of(car: Car) -> EvNeeds:
    """What the car would have said on a wire, without the rounding of its numbers."""
    speech, limits, state = car.speech, car.limits, car.state()
    is_newest = speech.language is Language.ISO_15118_20
    return EvNeeds(
        language=speech.language, transfer=speech.transfer, control=speech.control, departure_s=state.departure_s,
        present_soc=state.soc if speech.transfer.is_dc else None,
        target_soc=state.target_soc, min_soc=state.min_soc if is_newest else None,
        max_soc=state.max_soc if is_newest else None,
        capacity_kwh=limits.capacity_kwh if speech.transfer.is_dc else None,
        # On a wire this is never left out; where no target was set, nothing is made up for it.
        target_energy_kwh=None if state.target_soc is None else state.target_energy_kwh,
        max_energy_kwh=state.max_energy_kwh if is_newest else None,
        min_energy_kwh=state.min_energy_kwh if is_newest else None,
        max_v2x_energy_kwh=state.max_v2x_energy_kwh if speech.transfer.is_bidirectional else None,
        min_v2x_energy_kwh=state.min_v2x_energy_kwh if speech.transfer.is_bidirectional else None,
        max_charge_kw=limits.max_charge_kw, min_charge_kw=limits.min_charge_kw,
        max_discharge_kw=limits.max_discharge_kw if speech.transfer.is_bidirectional else None,
        min_discharge_kw=limits.min_discharge_kw if speech.transfer.is_bidirectional else None,
        max_charge_current_a=limits.max_current_a, max_voltage_v=limits.max_voltage_v,
        min_voltage_v=limits.min_voltage_v,
    )
