"""What is to be planned, from one depot to a city: EVs at many sites, as arrays and names.

One linear problem (its definition is in `model`): every column of a table is an array, so that nothing between a file
and the solver loops over EVs. Powers are kW at the connector, step averages; energies are kWh in the battery.

    EVs ──at──> sites ──in a chain on──> feeders        prices, an event and reserve speak of the fleet as a whole
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.faults import ProblemFaults, faults_of
from aggregator.planning.fleet.limit_price import FROM_PRICES, usual_limit_price

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _absent() -> Floats:
    """A column that was not given; it counts as zeros."""
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Evs:
    """A table of EVs; every array has shape (ev,).

    site: number of the site. arrive, depart: plugged for arrive <= step < depart.
    energy_kwh: in the battery on arrival. target_kwh: wanted at departure; what is missing is paid for.
    floor_kwh: lowest energy a plan may reach. A car that arrives below it charges first and does not discharge.
    max_discharge_kw: 0 where the car may not discharge. wear_per_kwh: of throughput, in each direction.
    min_charge_kw, min_discharge_kw: a power is 0 or at least that; less is followable only where the battery fills up.
    sleeps: 1 for a car that falls asleep in a step without power and takes none until it leaves, else 0.
    taper_soc, standby_kw: what no linear program knows and sold reserve is judged by. From taper_soc on the charging
    power falls in a line to 0 at a full battery (1, or no column: it does not); standby_kw is lost while power flows.
    """

    ids: tuple[str, ...]
    site: Ints
    arrive: Ints
    depart: Ints
    energy_kwh: Floats
    capacity_kwh: Floats
    target_kwh: Floats
    floor_kwh: Floats
    max_charge_kw: Floats
    max_discharge_kw: Floats
    charge_efficiency: Floats
    discharge_efficiency: Floats
    wear_per_kwh: Floats
    min_charge_kw: Floats = field(default_factory=_absent)
    min_discharge_kw: Floats = field(default_factory=_absent)
    sleeps: Floats = field(default_factory=_absent)
    taper_soc: Floats = field(default_factory=_absent)
    standby_kw: Floats = field(default_factory=_absent)

    def __post_init__(self) -> None:
        for name, usual in (("min_charge_kw", 0.0), ("min_discharge_kw", 0.0), ("sleeps", 0.0), ("taper_soc", 1.0),
                            ("standby_kw", 0.0)):
            if np.size(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.full(len(self.ids), usual))
        _plain(self, integers=("site", "arrive", "depart"))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_minimums(self) -> bool:
        """Whether there is a power that a linear plan may choose and a car cannot follow."""
        return bool(self.min_charge_kw.any() or (self.min_discharge_kw * self.may_discharge).any())

    @property
    def has_curves(self) -> NDArray[np.bool_]:
        """Shape (ev,): whether the battery is known to be other than the linear one of the plan."""
        return (self.taper_soc < 1) | (self.standby_kw > 0)

    @property
    def may_discharge(self) -> NDArray[np.bool_]:
        """Whether this plan has a discharge power for the car at all."""
        return (self.max_discharge_kw > 0) & (self.energy_kwh >= self.floor_kwh)


@dataclass(frozen=True, eq=False)
class Sites:
    """A table of sites.

    base_kw, pv_kw, import_cap_kw, export_cap_kw: shape (site, step). peak_so_far_kw, demand_price: shape (site,); the
    peak of the billing period up to now, and what each kW above it costs.
    """

    ids: tuple[str, ...]
    base_kw: Floats
    pv_kw: Floats
    import_cap_kw: Floats
    export_cap_kw: Floats
    peak_so_far_kw: Floats
    demand_price: Floats

    def __post_init__(self) -> None:
        _plain(self)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Feeders:
    """Radial feeders, each a chain of sites; lossless linear flow (LinDistFlow), EVs at unity power factor.

    feeder, position: shape (site,), the feeder's number and the place in its chain, 0 nearest the source.
    line_kw: rating of the segment that feeds the site, both ways. r_per_kw, x_per_kw: its impedance, p.u. per kW.
    reactive_kw: shape (site, step), reactive load. The source holds 1 p.u.; the limits are on squared voltage.
    """

    ids: tuple[str, ...]
    feeder: Ints
    position: Ints
    line_kw: Floats
    r_per_kw: Floats
    x_per_kw: Floats
    reactive_kw: Floats
    least_squared_voltage: float = 0.95**2
    most_squared_voltage: float = 1.05**2

    def __post_init__(self) -> None:
        _plain(self, integers=("feeder", "position"))

    @property
    def upstream(self) -> Ints:
        """Shape (site,): number of the site before this one in the chain, -1 where the source is."""
        order = np.lexsort((self.position, self.feeder))
        before = np.full(len(order), -1, dtype=np.int64)
        before[order[1:]] = np.where(self.position[order[1:]] > 0, order[:-1], -1)
        return before

    def carried(self, at_sites: Floats) -> Floats:
        """What every segment carries for values of shape (site, step): its site's and all further downstream."""
        total, before = np.array(at_sites, dtype=float), self.upstream
        for site in np.argsort(-self.position, kind="stable"):
            if before[site] >= 0:
                total[before[site]] += total[site]
        return total

    def voltage_limits(self, *, is_hard: bool) -> tuple[Floats, Floats]:
        """Shape (site, step) each: the limits, and where reactive load alone breaks one, what it leaves within reach.

        is_hard: the limits as they are, whatever is within reach.
        """
        idle = self.squared_voltage(np.zeros_like(self.reactive_kw))
        low, high = (np.full_like(idle, limit) for limit in (self.least_squared_voltage, self.most_squared_voltage))
        return (low, high) if is_hard else (np.minimum(low, idle), np.maximum(high, idle))

    def squared_voltage(self, flow_kw: Floats) -> Floats:
        """Shape (site, step), for flows of that shape into every site."""
        drop = 2.0 * (self.r_per_kw[:, None] * flow_kw + self.x_per_kw[:, None] * self.carried(self.reactive_kw))
        voltage, before = np.ones_like(drop), self.upstream
        for site in np.argsort(self.position, kind="stable"):
            voltage[site] = (voltage[before[site]] if before[site] >= 0 else 1.0) - drop[site]
        return voltage


@dataclass(frozen=True, eq=False)
class Event:
    """A demand-response event: in `steps` the fleet's net import stays at or below max_net_kw, or the rest is paid.

    steps, max_net_kw: shape (step of the event,). max_net_kw is the baseline less the called reduction.
    """

    id: str
    steps: Ints
    max_net_kw: Floats
    shortfall_per_kwh: float

    def __post_init__(self) -> None:
        _plain(self, integers=("steps",))


@dataclass(frozen=True, eq=False)
class Reserve:
    """Reserve sold per block of steps: symmetric (as much up, which is less import, as down), up alone, down alone.

    block: shape (step,), number of each step's block. price_per_kw_h: shape (block,), for symmetric reserve.
    up_price_per_kw_h, down_price_per_kw_h: shape (block,), for one direction. Nothing is sold where a price is not
    above 0. sustain_h: how long the batteries must be able to follow a full call.
    """

    block: Ints
    price_per_kw_h: Floats
    sustain_h: float
    up_price_per_kw_h: Floats = field(default_factory=_absent)
    down_price_per_kw_h: Floats = field(default_factory=_absent)

    def __post_init__(self) -> None:
        for name in ("up_price_per_kw_h", "down_price_per_kw_h"):
            if np.size(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(np.shape(self.price_per_kw_h)))
        _plain(self, integers=("block",))

    def __len__(self) -> int:
        return len(self.price_per_kw_h)

    @property
    def prices(self) -> Floats:
        """Shape (product, block): of symmetric, up and down, per kW and hour."""
        return np.array([self.price_per_kw_h, self.up_price_per_kw_h, self.down_price_per_kw_h])

    def asked(self, sold_kw: Floats) -> tuple[Floats, Floats]:
        """Shape (step,) each: what must be there up and down for volumes of shape (product, block)."""
        both, up, down = sold_kw[:, self.block]
        return both + up, both + down


PRODUCTS = ("symmetric", "up", "down")
"""What reserve is sold as, in the order of every array of shape (product, block)."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything a plan is made from; validated, all faults at once.

    step_h: hours per step. import_price, export_price: shape (step,), per kWh. shortfall_per_kwh: price of energy
    missing at departure, and per hour of each kWh below a floor that a car arrived below.
    limit_per_kwh: price of power that the caps, lines and voltages have no room for, so that a building above its cap
    still has a plan, which says so; None makes them hard. If it is not given it follows the prices (`limit_price`).

    Raises:
        ProblemFaults: names every EV, site and field that cannot be. A demand that cannot be met is none of these.
    """

    step_h: float
    evs: Evs
    sites: Sites
    import_price: Floats
    export_price: Floats
    shortfall_per_kwh: float
    events: tuple[Event, ...] = ()
    feeders: Feeders | None = None
    reserve: Reserve | None = None
    limit_per_kwh: float | None = FROM_PRICES
    trusted: InitVar[bool] = False

    def __post_init__(self, trusted: bool) -> None:
        _plain(self, only=("import_price", "export_price"))
        if self.limit_per_kwh is FROM_PRICES:
            object.__setattr__(self, "limit_per_kwh", usual_limit_price(self))
        if not trusted and (found := faults_of(self)):
            raise ProblemFaults(found)

    @property
    def voltage_limits(self) -> tuple[Floats, Floats]:
        """Shape (site, step) each, as the feeders have them: with a price for limits, only as far as they can be kept.

        Raises:
            ValueError: there are no feeders.
        """
        if self.feeders is None:
            raise ValueError("the problem has no feeders")
        return self.feeders.voltage_limits(is_hard=self.limit_per_kwh is None)

    @property
    def steps(self) -> int:
        """Number of steps of the horizon."""
        return len(self.import_price)

    @property
    def event_steps(self) -> Ints:
        """Steps of all events, one after the other; the order of every array that speaks of event steps."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(event.steps for event in self.events)])

    @property
    def event_limit_kw(self) -> Floats:
        """Largest net load of the fleet, by step of an event."""
        return np.concatenate([np.zeros(0), *(event.max_net_kw for event in self.events)])

    @property
    def event_price(self) -> Floats:
        """Price of a kWh above it, by step of an event."""
        return np.concatenate(
            [np.zeros(0), *(np.full(len(event.steps), event.shortfall_per_kwh) for event in self.events)])

    def part(self, sites: Ints) -> Problem:
        """The problem of some sites alone, without what couples them to others: events and reserve.

        Raises:
            ValueError: a feeder is cut in two.
        """
        sites = np.asarray(sites, dtype=np.int64)
        number = np.full(len(self.sites), -1, dtype=np.int64)
        number[sites] = np.arange(len(sites))
        own = np.flatnonzero(number[self.evs.site] >= 0)
        evs, table, feeders = self.evs, self.sites, self.feeders
        if feeders is not None:
            touched = np.unique(feeders.feeder[sites])
            if np.count_nonzero(np.isin(feeders.feeder, touched)) != len(sites):
                raise ValueError("a part of a problem holds whole feeders")
            feeders = replace(
                feeders, ids=tuple(feeders.ids[k] for k in touched),
                feeder=np.searchsorted(touched, feeders.feeder[sites]), **_rows_of(feeders, sites, ("feeder",)))
        return Problem(
            self.step_h, replace(evs, ids=tuple(evs.ids[k] for k in own), site=number[evs.site[own]],
                                 **_rows_of(evs, own, ("site",))),
            replace(table, ids=tuple(table.ids[k] for k in sites), **_rows_of(table, sites)),
            self.import_price, self.export_price, self.shortfall_per_kwh, (), feeders, None, self.limit_per_kwh,
            trusted=True)


def _rows_of(table: Evs | Sites | Feeders, rows: Ints, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Some rows of every array of a table."""
    return {name: value[rows] for name, value in vars(table).items()
            if isinstance(value, np.ndarray) and name not in without}


def _plain(table: object, integers: tuple[str, ...] = (), only: tuple[str, ...] | None = None) -> None:
    """Read-only arrays of one kind, whatever sequences were given."""
    for name, value in list(vars(table).items()):
        if (only is not None and name not in only) or isinstance(value, (str, int, float, tuple)):
            continue
        given = np.asarray(value)
        if name in integers and given.dtype.kind == "f" and not np.array_equal(given, np.round(given)):
            raise ValueError(f"{type(table).__name__}.{name} must be whole numbers")
        # A view, so that the giver's own array stays as it was.
        array = np.ascontiguousarray(given, dtype=np.int64 if name in integers else np.float64).view()
        array.flags.writeable = False
        object.__setattr__(table, name, array)
