"""What cannot be in a planning problem, all of it at once, each with the EV or site and the field.

A demand that cannot be met is no fault: the plan says who falls short. A fault is a value with which no plan means
anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.limit_price import LEAST_TIMES, dearest

if TYPE_CHECKING:
    from aggregator.planning.fleet.problem import Event, Feeders, Problem, Reserve


@dataclass(frozen=True, slots=True)
class Fault:
    """One value that cannot be. where: table and id; value: as it was given."""

    where: str
    field: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}{'.' if self.where else ''}{self.field}: is {self.value}, expected {self.expected}"


class ProblemFaults(ValueError):
    """A planning problem with faults; the message has one line for each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[type[ProblemFaults], tuple[tuple[Fault, ...]]]:
        return ProblemFaults, (self.faults,)


_MOST = 1e9
"""Of any power, energy or price."""

_HALF = 0.5
"""The twin has no battery that loses more than it stores."""


def faults_of(problem: Problem) -> tuple[Fault, ...]:
    """Every fault of `problem`; shapes first, because values of the wrong shape cannot be named."""
    return tuple(_shapes(problem)) or tuple(_values(problem))


def _shapes(problem: Problem) -> Iterator[Fault]:
    evs, sites, steps = problem.evs, problem.sites, problem.steps
    if problem.import_price.ndim != 1 or steps == 0:
        yield Fault("", "import_price", _shape(problem.import_price), "one price per step, at least one")
        return
    wanted: list[tuple[str, object, dict[str, tuple[int, ...]]]] = [
        ("", problem, {"export_price": (steps,)}),
        ("evs", evs, dict.fromkeys((name for name in vars(evs) if name != "ids"), (len(evs),))),
        ("sites", sites, {**dict.fromkeys(("base_kw", "pv_kw", "import_cap_kw", "export_cap_kw"), (len(sites), steps)),
                          **dict.fromkeys(("peak_so_far_kw", "demand_price"), (len(sites),))}),
        *((f"events[{event.id}]", event, {"max_net_kw": event.steps.shape}) for event in problem.events),
    ]
    if problem.feeders is not None:
        names = ("feeder", "position", "line_kw", "r_per_kw", "x_per_kw")
        wanted.append(("feeders", problem.feeders,
                       {**dict.fromkeys(names, (len(sites),)), "reactive_kw": (len(sites), steps)}))
    if problem.reserve is not None:
        blocks = np.shape(problem.reserve.price_per_kw_h)
        wanted.append(("reserve", problem.reserve, {
            "block": (steps,), "up_price_per_kw_h": blocks, "down_price_per_kw_h": blocks}))
    for where, table, shapes in wanted:
        for name, shape in shapes.items():
            if np.shape(getattr(table, name)) != shape:
                yield Fault(where, name, _shape(getattr(table, name)), f"shape {shape}")


def _shape(value: Any) -> str:
    return f"of shape {np.shape(value)}"


def _values(problem: Problem) -> Iterator[Fault]:
    if not len(problem.sites):
        yield Fault("", "sites", "empty", "at least one site")
    yield from _huge(problem)
    yield from _fleet(problem)
    yield from _evs(problem)
    yield from _sites(problem)
    for event in problem.events:
        yield from _event(event, problem.steps)
    if problem.feeders is not None:
        yield from _feeders(problem.feeders, problem.sites.ids)
    if problem.reserve is not None:
        yield from _reserve(problem.reserve)


def _huge(problem: Problem) -> Iterator[Fault]:
    """Numbers that are finite and mean nothing: a solver takes 1e20 for infinite and loses its figures long before."""
    tables = (("", problem), ("evs", problem.evs), ("sites", problem.sites), ("feeders", problem.feeders),
              ("reserve", problem.reserve), *((f"events[{event.id}]", event) for event in problem.events))
    for where, table in tables:
        for name, value in vars(table).items() if table is not None else ():
            if not isinstance(value, np.ndarray | float | int):
                continue
            with np.errstate(invalid="ignore"):
                bad = np.isfinite(value) & (np.abs(value) > _MOST)
            for place in np.argwhere(np.atleast_1d(bad))[:1]:
                named = getattr(table, "ids", ())
                row = f"[{named[place[0]]}]" if where in ("evs", "sites") else ""
                shown = np.atleast_1d(value)[tuple(place)]
                yield Fault(f"{where}{row}", name, f"{shown:g}", f"at most {_MOST:g}")


def _fleet(problem: Problem) -> Iterator[Fault]:
    yield from _scalar("", "step_h", problem.step_h, above=0.0)
    yield from _scalar("", "shortfall_per_kwh", problem.shortfall_per_kwh)
    if problem.limit_per_kwh is not None:
        yield from _limit_price(problem, problem.limit_per_kwh)
    for name in ("import_price", "export_price"):
        price = getattr(problem, name)
        for step in np.flatnonzero(~np.isfinite(price)):
            yield Fault("", f"{name}[{step}]", str(price[step]), "a finite price")
    feeders = () if problem.feeders is None else problem.feeders.ids
    for table, ids in (("evs", problem.evs.ids), ("sites", problem.sites.ids), ("feeders", feeders),
                       ("events", tuple(event.id for event in problem.events))):
        seen: set[str] = set()
        for name in ids:
            if name in seen:
                yield Fault(f"{table}[{name}]", "id", repr(name), "an id that no other row has")
            seen.add(name)


def _limit_price(problem: Problem, price: float) -> Iterator[Fault]:
    yield from _scalar("", "limit_per_kwh", price)
    least = LEAST_TIMES * dearest(problem)
    if price < min(least, _MOST):
        yield Fault("", "limit_per_kwh", f"{price:g}", f"at least {least:g}, {LEAST_TIMES:g} times what a kWh can save "
                    "elsewhere, or no limit_per_kwh, which then follows the prices")


def _evs(problem: Problem) -> Iterator[Fault]:
    evs, steps = problem.evs, problem.steps

    def where(name: str, bad: NDArray[np.bool_], expected: str) -> Iterator[Fault]:
        values = getattr(evs, name)
        for k in np.flatnonzero(bad):
            yield Fault(f"evs[{evs.ids[k]}]", name, f"{values[k]:g}", expected)

    yield from where("site", (evs.site < 0) | (evs.site >= len(problem.sites)), "a site of the problem")
    yield from where("arrive", (evs.arrive < 0) | (evs.arrive >= steps), f"a step from 0 to {steps - 1}")
    yield from where("depart", (evs.depart <= evs.arrive) | (evs.depart > steps),
                     f"a step after arrive, at most {steps}: at least one whole step in between")
    for name in ("energy_kwh", "target_kwh", "floor_kwh"):
        value = getattr(evs, name)
        bad = ~np.isfinite(value) | (value < 0)
        yield from where(name, bad, "0 or more")
        yield from where(name, ~bad & (value > evs.capacity_kwh * (1 + 1e-12)), "at most capacity_kwh")
    yield from where("capacity_kwh", ~(evs.capacity_kwh > 0) | np.isinf(evs.capacity_kwh), "above 0")
    for name in ("max_charge_kw", "max_discharge_kw", "wear_per_kwh"):
        value = getattr(evs, name)
        yield from where(name, ~(value >= 0) | np.isinf(value), "0 or more")
    for name, most in (("min_charge_kw", evs.max_charge_kw), ("min_discharge_kw", evs.max_discharge_kw)):
        value = getattr(evs, name)
        bad = ~(value >= 0) | np.isinf(value)
        yield from where(name, bad, "0 or more")
        yield from where(name, ~bad & (most > 0) & (value > most), f"at most {name.replace('min', 'max')}")
    yield from where("min_charge_kw", (evs.sleeps == 1) & (evs.min_charge_kw == 0),
                     "above 0 for a car that sleeps in a pause")
    yield from where("taper_soc", ~((evs.taper_soc >= 0) & (evs.taper_soc <= 1)), "from 0 to 1")
    yield from where("standby_kw", ~(evs.standby_kw >= 0) | np.isinf(evs.standby_kw), "0 or more")
    loses_half = (evs.charge_efficiency > 0) & (evs.charge_efficiency <= _HALF)
    yield from where("charge_efficiency", evs.has_curves & loses_half,
                     "above 0.5 for a car with taper_soc or standby_kw")
    yield from where("sleeps", (evs.sleeps != 0) & (evs.sleeps != 1), "0 or 1")
    for name in ("charge_efficiency", "discharge_efficiency"):
        value = getattr(evs, name)
        yield from where(name, ~((value > 0) & (value <= 1)), "above 0, at most 1")


def _sites(problem: Problem) -> Iterator[Fault]:
    sites = problem.sites
    for name in ("base_kw", "pv_kw", "import_cap_kw", "export_cap_kw"):
        value, signed = getattr(sites, name), name == "base_kw"
        bad = ~np.isfinite(value) if signed else ~(value >= 0) | np.isinf(value)
        for k in np.flatnonzero(bad.any(axis=1)):
            step = int(np.flatnonzero(bad[k])[0])
            yield Fault(f"sites[{sites.ids[k]}]", f"{name}[{step}]", f"{value[k, step]:g}",
                        "a finite number" if signed else "0 or more")
    for name in ("peak_so_far_kw", "demand_price"):
        value = getattr(sites, name)
        for k in np.flatnonzero(~(value >= 0) | np.isinf(value)):
            yield Fault(f"sites[{sites.ids[k]}]", name, f"{value[k]:g}", "0 or more")


def _event(event: Event, steps: int) -> Iterator[Fault]:
    where = f"events[{event.id}]"
    for k in np.flatnonzero((event.steps < 0) | (event.steps >= steps)):
        yield Fault(where, f"steps[{k}]", str(event.steps[k]), f"a step from 0 to {steps - 1}")
    if len(np.unique(event.steps)) != len(event.steps):
        yield Fault(where, "steps", "with repetitions", "every step once")
    for k in np.flatnonzero(~np.isfinite(event.max_net_kw)):
        yield Fault(where, f"max_net_kw[{k}]", str(event.max_net_kw[k]), "a finite number")
    yield from _scalar(where, "shortfall_per_kwh", event.shortfall_per_kwh)


def _feeders(feeders: Feeders, ids: tuple[str, ...]) -> Iterator[Fault]:
    for name in ("line_kw", "r_per_kw", "x_per_kw", "reactive_kw"):
        value = getattr(feeders, name)
        bad = ~np.isfinite(value) if name == "reactive_kw" else ~(value >= 0) | np.isinf(value)
        for site in np.unique(np.nonzero(bad)[0]):
            first = np.atleast_1d(value[site])[np.atleast_1d(bad[site])][0]
            yield Fault(f"feeders, site {ids[site]}", name, f"{first:g}",
                        "a finite number" if name == "reactive_kw" else "0 or more")
    for site in np.flatnonzero((feeders.feeder < 0) | (feeders.feeder >= len(feeders.ids))):
        yield Fault(f"feeders, site {ids[site]}", "feeder", str(feeders.feeder[site]), "a feeder of the problem")
    for number, name in enumerate(feeders.ids):
        places = np.sort(feeders.position[feeders.feeder == number])
        if not np.array_equal(places, np.arange(len(places))):
            yield Fault(f"feeders[{name}]", "position", ", ".join(map(str, places)), "0, 1, 2, ... along the chain")
    low, high = feeders.least_squared_voltage, feeders.most_squared_voltage
    if not 0 <= low < high < np.inf:
        yield Fault("feeders", "least_squared_voltage", f"{low:g}",
                    f"0 or more and below most_squared_voltage {high:g}")


def _reserve(reserve: Reserve) -> Iterator[Fault]:
    blocks = len(reserve)
    for step in np.flatnonzero((reserve.block < 0) | (reserve.block >= blocks)):
        yield Fault("reserve", f"block[{step}]", str(reserve.block[step]), f"a block from 0 to {blocks - 1}")
    for name in ("price_per_kw_h", "up_price_per_kw_h", "down_price_per_kw_h"):
        price = getattr(reserve, name)
        for block in np.flatnonzero(~np.isfinite(price)):
            yield Fault("reserve", f"{name}[{block}]", str(price[block]), "a finite price")
    yield from _scalar("reserve", "sustain_h", reserve.sustain_h)


def _scalar(where: str, field: str, value: float, above: float | None = None) -> Iterator[Fault]:
    fits = np.isfinite(value) and (value >= 0 if above is None else value > above)
    if not fits:
        yield Fault(where, field, f"{value:g}", "0 or more" if above is None else f"above {above:g}")
