"""What a session that is under way means to the plan, as an `EvDemand`, and to the twin, as a `Visit`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from aggregator.fleet.beliefs import VehicleModel
from aggregator.fleet.model import LiveSession
from aggregator.planning.site.problem import EvDemand
from aggregator.planning.site.situation import SiteModel, Situation
from twin.assets import TimeGrid, Visit


def demand(
    model: SiteModel, session: LiveSession, situation: Situation, grid: TimeGrid, until: datetime
) -> EvDemand:
    """What is planned for the car: what it wants and can do, and what is known of its driver's leaving.

    until: it is counted on; see `stays_until`.
    """
    before = situation.dispatched
    evse, listed = model.evses[session.evse_id], model.vehicles[session.vehicle_model]
    vehicle = listed.vehicle
    due, depart = (last_step(grid, when) for when in (session.departure, until))
    charge_kw = min(evse.max_charge_kw, vehicle.max_charge_kw)
    if (taken_kw := situation.draw_limits_kw.get(session.evse_id)) is not None:
        charge_kw = min(charge_kw, max(taken_kw, evse.min_charge_kw))
    discharge_kw = _discharge_kw(model, session, situation)
    return EvDemand(
        id=session.transaction_id, evse_id=session.evse_id, arrive=0, depart=depart,
        energy_kwh=session.energy_kwh, capacity_kwh=session.capacity_kwh * vehicle.battery.soc_max,
        target_kwh=session.target_kwh, floor_kwh=_floor_kwh(session),
        max_charge_kw=(
            0.0 if session.evse_id in situation.cannot_charge or (session.is_full and discharge_kw == 0.0)
            else charge_kw
        ),
        max_discharge_kw=discharge_kw,
        charge_efficiency=_charge_efficiency(listed, charge_kw),
        discharge_efficiency=_discharge_efficiency(listed, discharge_kw),
        wear_per_kwh=listed.wear_per_kwh,
        min_charge_kw=evse.min_charge_kw, min_discharge_kw=vehicle.min_discharge_kw,
        leave_probability=_leaving(model, session, situation.now, grid, grid.at(depart)),
        held_kw=None if before is None else before.power_kw(session, grid, model.held_steps),
        due=due if due < depart else None,
    )


def visit(model: SiteModel, session: LiveSession, now: datetime, grid: TimeGrid, until: datetime) -> Visit:
    """The car as the twin plugs it in, counted on until `until`."""
    vehicle, capacity_kwh = model.vehicles[session.vehicle_model].vehicle, session.capacity_kwh
    if capacity_kwh != vehicle.battery.capacity_kwh:  # the car says another size than its model has: it knows better
        vehicle = replace(vehicle, battery=replace(vehicle.battery, capacity_kwh=capacity_kwh))
    return Visit(
        id=session.transaction_id, evse_id=session.evse_id, vehicle=vehicle, arrival=now,
        departure=max(grid.at(last_step(grid, until)), now + timedelta(seconds=1)),
        energy_kwh=min(session.energy_kwh, capacity_kwh), target_kwh=min(session.target_kwh, capacity_kwh),
        floor_kwh=min(_floor_kwh(session), capacity_kwh),
    )


def stays_until(model: SiteModel, session: LiveSession, situation: Situation) -> datetime:
    """Until when the car is counted on: the declared departure, or where it can give something, what history says."""
    if model.outstay_share is None or _discharge_kw(model, session, situation) <= 0.0:
        return session.departure
    usual = model.departures.stays_until(
        model.outstay_share, situation.now, _said(session), arrival=session.started_at, id_token=session.id_token)
    return session.departure if usual is None else max(session.departure, usual)


def last_step(grid: TimeGrid, departure: datetime) -> int:
    """Plugged for steps before this one: whole steps only, as the end of a broken step is not ours to count on."""
    return min(max(grid.index(departure), 1), grid.steps)


def _said(session: LiveSession) -> datetime:
    """The departure that was declared, be it past."""
    return session.departure if session.overdue_since is None else session.overdue_since


def _floor_kwh(session: LiveSession) -> float:
    """Below this nothing is taken; of a car whose declared departure has passed, nothing of what its driver wants."""
    if session.overdue_since is None:
        return session.floor_kwh
    return max(session.floor_kwh, min(session.target_kwh, session.energy_kwh))


def _discharge_kw(model: SiteModel, session: LiveSession, situation: Situation) -> float:
    vehicle = model.vehicles[session.vehicle_model].vehicle
    return min(model.evses[session.evse_id].max_discharge_kw, vehicle.max_discharge_kw,
               situation.permitted_kw.get(session.evse_id, 0.0))


def _leaving(
    model: SiteModel, session: LiveSession, now: datetime, grid: TimeGrid, until: datetime
) -> NDArray[np.float64]:
    """Weights of energy missing at the end of each step: the chance that the driver leaves then, and the buffer.

    At the end of the buffer the car counts as one that leaves for sure.
    """
    declared, arrival, id_token = _said(session), session.started_at, session.id_token
    leaving = model.departures.leave_probability(
        grid, now, declared, arrival=arrival, id_token=id_token, until=until)
    if model.ready_quantile is not None:
        ready = model.departures.ready_by(model.ready_quantile, now, declared, arrival=arrival, id_token=id_token)
        if ready is not None and (step := last_step(grid, ready) - 1) < grid.steps:
            leaving[step] = 1.0
    return leaving


def _charge_efficiency(listed: VehicleModel, connector_kw: float) -> float:
    """Battery over connector energy at half power: a little less than a mixed schedule has, so cars get no less."""
    loss, battery_kw = listed.vehicle.battery.loss, 0.5 * connector_kw
    lost = loss.standby_kw + loss.proportional * battery_kw + loss.quadratic_per_kw * battery_kw**2
    return battery_kw / (battery_kw + lost)


def _discharge_efficiency(listed: VehicleModel, connector_kw: float) -> float:
    if connector_kw <= 0.0:
        return 1.0
    loss, battery_kw = listed.vehicle.battery.loss, 0.5 * connector_kw
    lost = loss.standby_kw + loss.proportional * battery_kw + loss.quadratic_per_kw * battery_kw**2
    return (battery_kw - lost) / battery_kw
