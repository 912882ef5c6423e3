"""What each EV can physically do inside the horizon, cuts included.

The model, the checker and the safe plan all start from these numbers, so a cut or a clipped horizon means the same
thing to each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.site.problem import EvDemand, Floats, Problem


class ProblemError(ValueError):
    """A planning problem holds impossible values; `faults` lists all of them, each naming EV or site and field."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Taper:
    """Charging power is at most at_empty_kw - slope_per_h * (mean energy in the step in kWh)."""

    at_empty_kw: float
    slope_per_h: float

    @property
    def full_kwh(self) -> float:
        """Where nothing is left."""
        return self.at_empty_kw / self.slope_per_h

    def most_kw(self, before_kwh: float, stored_per_kw: float) -> float:
        """Largest power of a step that begins with before_kwh and stores stored_per_kw kWh per kW."""
        return (self.at_empty_kw - self.slope_per_h * before_kwh) / (1.0 + self.slope_per_h * stored_per_kw / 2.0)


@dataclass(frozen=True)
class Window:
    """One EV inside the horizon; arrays have shape (steps,) and are 0 outside first <= step < last.

    ev: the demand with what cuts added to its floor. charge_kw, discharge_kw: limits after ceilings.
    reach_kwh: end-of-step energy if it had always charged fully.
    lower_kwh, upper_kwh: energy never leaves these. tapers: hold charging down as the battery fills.
    floor_kwh: shape (steps,), the floor as far as it is reachable.
    guard_kwh: shape (steps,), energy that no grid service may take, as far as it is reachable.
    due, need_kwh: this energy is wanted at the end of due - 1, and to the end of last - 1.
    leave: weight of energy missing at the end of a step.
    is_capped_below_minimum: shape (steps,), a ceiling holds the car below the EVSE's minimum.
    held_kw: shape (steps,), what was dispatched, as far as it is possible; NaN where there is nothing to hold to.
    """

    ev: EvDemand
    first: int
    last: int
    charge_kw: Floats
    discharge_kw: Floats
    reach_kwh: Floats
    lower_kwh: float
    upper_kwh: float
    floor_kwh: Floats
    guard_kwh: Floats
    due: int
    need_kwh: float
    leave: Floats
    tapers: tuple[Taper, ...]
    is_capped_below_minimum: NDArray[np.bool_]
    held_kw: Floats

    @property
    def steps(self) -> range:
        return range(self.first, self.last)

    @property
    def starts_below_floor(self) -> bool:
        return self.ev.energy_kwh < self.ev.floor_kwh

    @property
    def early_target_kwh(self) -> Floats:
        """Shape (steps,): what a driver who leaves at the end of a step may fairly miss, at most the target."""
        return np.minimum(self.ev.target_kwh, self.reach_kwh)

    @property
    def matters(self) -> bool:
        """False for an EV that only arrives after the horizon."""
        return self.first < self.last or self.ev.arrive < len(self.charge_kw)


def step_hours(problem: Problem) -> Floats:
    """Shape (steps,): hours of each step that still lie ahead."""
    hours = np.full(problem.grid.steps, problem.grid.step_hours)
    hours[0] *= problem.first_step_fraction
    return hours


def windows(problem: Problem) -> tuple[Window, ...]:
    """One `Window` per EV of the problem, in its order."""
    ceilings: dict[str, list[tuple[int | None, float]]] = {}
    tapers: dict[str, list[Taper]] = {}
    margins: dict[str, float] = {}
    floors: dict[str, float] = {}
    for cut in problem.cuts:
        if cut.ev_id is None:
            continue
        if cut.kind == "power_ceiling":
            ceilings.setdefault(cut.ev_id, []).append((cut.step, max(0.0, cut.value)))
        elif cut.kind == "taper" and cut.slope_per_h > 0:
            tapers.setdefault(cut.ev_id, []).append(Taper(cut.value, cut.slope_per_h))
        elif cut.kind == "energy_margin":
            margins[cut.ev_id] = margins.get(cut.ev_id, 0.0) + cut.value
        elif cut.kind == "floor_margin":
            floors[cut.ev_id] = floors.get(cut.ev_id, 0.0) + cut.value
    hours = step_hours(problem)
    return tuple(
        _window(problem, hours, replace(ev, floor_kwh=ev.floor_kwh + floors.get(ev.id, 0.0)), ceilings.get(ev.id, []),
                tuple(tapers.get(ev.id, ())), margins.get(ev.id, 0.0))
        for ev in problem.evs
    )


def _window(problem: Problem, hours: Floats, ev: EvDemand, ceilings: list[tuple[int | None, float]],
            tapers: tuple[Taper, ...], margin_kwh: float) -> Window:
    steps = problem.grid.steps
    first = min(max(ev.arrive, 0), steps)
    last = max(first, min(ev.depart, steps))
    ceiling = np.full(steps, np.inf)
    for step, value in ceilings:
        if step is None:
            ceiling = np.minimum(ceiling, value)
        elif 0 <= step < steps:
            ceiling[step] = min(ceiling[step], value)

    charge, discharge = np.zeros(steps), np.zeros(steps)
    # A range that does not reach the minimum is no range: such a car cannot charge (discharge) at all.
    if ev.max_charge_kw >= ev.min_charge_kw:
        charge[first:last] = ev.max_charge_kw
    if ev.max_discharge_kw >= ev.min_discharge_kw:
        discharge[first:last] = ev.max_discharge_kw
    charge, discharge = np.minimum(charge, ceiling), np.minimum(discharge, ceiling)
    discharge[discharge < ev.min_discharge_kw] = 0.0

    upper = max(ev.capacity_kwh, ev.energy_kwh)
    if any(taper.full_kwh <= ev.energy_kwh for taper in tapers):  # already where it takes no more
        charge[:], tapers = 0.0, ()
    upper = min([upper, *(taper.full_kwh for taper in tapers)])
    reach = _reach(ev, charge, hours, tapers, upper)
    if ev.energy_kwh < ev.floor_kwh:  # charge first: no discharge before the floor can have been reached
        before = np.concatenate(([ev.energy_kwh], reach[:-1]))
        discharge[before < ev.floor_kwh - 1e-9] = 0.0

    wanted_by = ev.depart if ev.due is None else min(ev.due, ev.depart)
    due = min(max(wanted_by, first + 1), last)
    later_hours = max(0, wanted_by - steps) * problem.grid.step_hours
    need = ev.target_kwh + margin_kwh - later_hours * ev.max_charge_kw * ev.charge_efficiency
    leave = np.zeros(steps)
    if ev.leave_probability is not None:
        leave[first:last] = ev.leave_probability[first:last]
        leave[due - 1] = 0.0  # then what is missing is a shortfall
    plugged = np.zeros(steps, dtype=bool)
    plugged[first:last] = True
    guard = np.zeros(steps) if ev.guard_kwh is None else np.minimum(ev.guard_kwh, reach)
    return Window(
        ev=ev, first=first, last=last, charge_kw=charge, discharge_kw=discharge, reach_kwh=reach,
        lower_kwh=min(ev.floor_kwh, ev.energy_kwh), upper_kwh=upper, tapers=tapers,
        floor_kwh=np.where(plugged, np.minimum(ev.floor_kwh, reach), 0.0),
        guard_kwh=np.where(plugged, guard, 0.0), due=due, need_kwh=need, leave=leave,
        is_capped_below_minimum=(ceiling > 0) & (ceiling < ev.min_charge_kw) & plugged,
        held_kw=_held(problem, ev, plugged, charge, discharge),
    )


def _held(problem: Problem, ev: EvDemand, plugged: NDArray[np.bool_], charge: Floats, discharge: Floats) -> Floats:
    if ev.held_kw is None or problem.change_per_kwh <= 0.0:
        return np.full(problem.grid.steps, np.nan)
    return np.where(plugged, np.clip(ev.held_kw, -discharge, charge), np.nan)


def _reach(ev: EvDemand, charge: Floats, hours: Floats, tapers: tuple[Taper, ...], upper: float) -> Floats:
    if not tapers:
        return np.minimum(ev.energy_kwh + np.cumsum(charge * ev.charge_efficiency * hours), upper)
    reach, energy = np.zeros_like(charge), ev.energy_kwh
    for step, limit in enumerate(charge.tolist()):
        stored = ev.charge_efficiency * float(hours[step])
        kw = min([limit, *(max(0.0, taper.most_kw(energy, stored)) for taper in tapers)])
        energy = reach[step] = min(energy + kw * stored, upper)
    return reach


def site_limits(problem: Problem) -> tuple[Floats, Floats]:
    """Import and export limit per step in kW after the headroom that cuts ask for."""
    imports, exports = problem.import_cap_kw.astype(float).copy(), problem.export_cap_kw.astype(float).copy()
    for cut in problem.cuts:
        if cut.step is None or not 0 <= cut.step < problem.grid.steps:
            continue
        if cut.kind == "site_headroom":
            imports[cut.step] -= cut.value
        elif cut.kind == "export_headroom":
            exports[cut.step] -= cut.value
    return imports, exports


def event_limits(problem: Problem) -> tuple[tuple[tuple[int, float] | None, ...], ...]:
    """For each commitment and each of its steps (step, largest net kW after margins), None outside the horizon."""
    margins: dict[int, float] = {}
    for cut in problem.cuts:
        if cut.kind == "event_margin" and cut.step is not None:
            margins[cut.step] = margins.get(cut.step, 0.0) + cut.value
    return tuple(
        tuple((step, limit - margins.get(step, 0.0)) if 0 <= step < problem.grid.steps else None
              for step, limit in zip(event.steps, event.max_net_kw, strict=True))
        for event in problem.commitments
    )


def unearned_kw(problem: Problem) -> tuple[tuple[float, ...], ...]:
    """For each commitment and each of its steps: how far what is promised lies above what was asked, 0 outside."""
    return tuple(
        tuple(0.0 if at is None or not event.asked_net_kw or event.asked_per_kwh <= 0.0
              else max(0.0, at[1] - event.asked_net_kw[k]) for k, at in enumerate(limits))
        for event, limits in zip(problem.commitments, event_limits(problem), strict=True)
    )


def require_possible(problem: Problem) -> None:
    """Raise a `ProblemError` that lists every value with which no plan could be meant.

    A demand that physics cannot meet is no fault: the plan says who falls short.
    """
    faults = _site_faults(problem)
    if len({ev.id for ev in problem.evs}) != len(problem.evs):
        faults.append("evs: ids repeat, expected unique ids")
    for ev in problem.evs:
        faults += _ev_faults(ev, problem.grid.steps)
    for event in problem.commitments:
        if len(event.steps) != len(event.max_net_kw) or not np.isfinite(event.max_net_kw).all():
            faults.append(f"commitment {event.signal_id}: max_net_kw, expected one finite value per step")
        if event.asked_net_kw and (
                len(event.steps) != len(event.asked_net_kw) or not np.isfinite(event.asked_net_kw).all()):
            faults.append(f"commitment {event.signal_id}: asked_net_kw, expected one finite value per step, or none")
        for name in ("shortfall_per_kwh", "asked_per_kwh"):
            price = getattr(event, name)
            if not (np.isfinite(price) and price >= 0):
                faults.append(f"commitment {event.signal_id}: {name}: {price!r}, expected a finite value of 0 or more")
        if event.asked_per_kwh > event.shortfall_per_kwh:  # else missing the promise would be the cheaper of the two
            faults.append(f"commitment {event.signal_id}: asked_per_kwh: {event.asked_per_kwh!r}, expected at most "
                          f"shortfall_per_kwh, {event.shortfall_per_kwh!r}")
    if faults:
        raise ProblemError(tuple(faults))


def _site_faults(problem: Problem) -> list[str]:
    faults: list[str] = []
    steps = problem.grid.steps
    for name in ("base_kw", "import_cap_kw", "export_cap_kw", "import_price", "export_price"):
        series: Floats = getattr(problem, name)
        if series.shape != (steps,):
            faults.append(f"site: {name} has shape {series.shape}, expected ({steps},)")
        elif not np.isfinite(series).all():
            faults.append(f"site: {name} holds values that are not finite")
    if not 0 < problem.first_step_fraction <= 1:
        faults.append(f"site: first_step_fraction: {problem.first_step_fraction!r}, expected a value in (0, 1]")
    for name in ("peak_so_far_kw", "demand_price", "shortfall_per_kwh", "cap_slack_per_kwh", "early_price",
                 "guard_per_kwh_h", "change_per_kwh"):
        value = getattr(problem, name)
        if not (np.isfinite(value) and value >= 0):
            faults.append(f"site: {name}: {value!r}, expected a finite value of 0 or more")
    return faults


def _ev_faults(ev: EvDemand, steps: int) -> list[str]:
    faults = []
    for name in ("energy_kwh", "capacity_kwh", "target_kwh", "floor_kwh", "max_charge_kw", "max_discharge_kw",
                 "min_charge_kw", "min_discharge_kw", "wear_per_kwh"):
        value = getattr(ev, name)
        if not (np.isfinite(value) and value >= 0):
            faults.append(f"{ev.id}: {name}: {value!r}, expected a finite value of 0 or more")
    for name in ("charge_efficiency", "discharge_efficiency"):
        value = getattr(ev, name)
        if not 0 < value <= 1:
            faults.append(f"{ev.id}: {name}: {value!r}, expected a value in (0, 1]")
    if ev.guard_kwh is not None and (ev.guard_kwh.shape != (steps,) or not (ev.guard_kwh >= 0).all()):
        faults.append(f"{ev.id}: guard_kwh, expected shape ({steps},) with values of 0 or more")
    if ev.held_kw is not None and (ev.held_kw.shape != (steps,) or np.isinf(ev.held_kw).any()):
        faults.append(f"{ev.id}: held_kw, expected shape ({steps},) with finite values or NaN")
    if ev.leave_probability is not None:
        leave = ev.leave_probability
        if leave.shape != (steps,) or not ((leave >= 0) & (leave <= 1)).all():
            faults.append(f"{ev.id}: leave_probability, expected shape ({steps},) with values in [0, 1]")
    return faults


def step_label(problem: Problem, step: int) -> str:
    """The local wall time at which a step begins, e.g. 10:15."""
    when: datetime = problem.grid.at(step).astimezone(ZoneInfo(problem.timezone))
    return when.strftime("%H:%M")
