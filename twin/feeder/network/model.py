"""A three-phase feeder as it stands in the ground: buses, lines, a source, transformers, capacitors, connection points.

SI units throughout this folder (V, A, ohm, W, var, VA, m), because that is what network data is published in; loads
are positive. Frozen dataclasses that refuse what is impossible in one element alone; what is wrong between elements
is not refused here but reported, all at once, by `twin.feeder.network.validity.faults`: a feeder that somebody imports
must be readable before it can be called wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from math import inf, isclose, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid
from twin.feeder.network.plausible import LEAST, Most

PHASES: Final = "abc"
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
"""3 x 3, symmetric, in the order a, b, c; rows and columns of phases that are not there are 0."""

NO_CAPACITANCE: Final[Matrix] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


class FeederError(ValueError):
    """A value of one element is impossible; the message names element, field, value and what was expected."""

    def __init__(self, element: str, field_name: str, value: object, expected: str) -> None:
        super().__init__(f"{element}: {field_name}: {value!r}, expected {expected}")
        self.element = element
        self.field_name = field_name
        self.value = value
        self.expected = expected


def _positive(element: str, field_name: str, value: float, most: Most = Most.NUMBER) -> None:
    if not value > 0 or value == inf:
        raise FeederError(element, field_name, value, "a finite number above 0")
    if not LEAST <= value <= most.value:
        raise FeederError(element, field_name, value, f"{LEAST:g} to {most}")


def _not_negative(element: str, field_name: str, value: float, most: Most = Most.NUMBER) -> None:
    if not value >= 0 or value == inf:
        raise FeederError(element, field_name, value, "a finite number, 0 or more")
    _within(element, field_name, value, most)


def _within(element: str, field_name: str, value: float, most: Most = Most.NUMBER) -> None:
    """Neither beyond `most` nor below minus `most`, nor NaN."""
    if not abs(value) <= most.value:
        raise FeederError(element, field_name, value, f"a finite number, at most {most} in size")


def _phases(element: str, phases: str) -> None:
    if not phases or phases != "".join(phase for phase in PHASES if phase in phases):
        raise FeederError(element, "phases", phases, "one to three of a, b and c, in this order")


def symmetric(same: float, between: float) -> Matrix:
    """A matrix with `same` on and `between` off its diagonal."""
    return ((same, between, between), (between, same, between), (between, between, same))


@dataclass(frozen=True, slots=True)
class Bus:
    """A place where lines meet. volts: rated, phase to phase. phases: those whose conductors are there.

    xy: where it is drawn, in any unit; None: nobody knows.
    """

    id: str
    volts: float
    phases: str = PHASES
    xy: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _positive(f"bus {self.id}", "volts", self.volts, Most.VOLTS)
        _phases(f"bus {self.id}", self.phases)
        for value in self.xy or ():
            _within(f"bus {self.id}", "xy", value)


@dataclass(frozen=True, slots=True)
class Rating:
    """What a line may carry: amperes per phase a, b, c; source: who says so, beginning with `assumed` if nobody."""

    amperes: tuple[float, float, float]
    source: str

    def __post_init__(self) -> None:
        for amperes in self.amperes:
            _positive("rating", "amperes", amperes, Most.AMPERES)
        if not self.source:
            raise FeederError("rating", "source", self.source, "where the figure comes from")

    @classmethod
    def even(cls, amperes: float, source: str) -> Rating:
        """The same on every phase."""
        return cls((amperes, amperes, amperes), source)


@dataclass(frozen=True, slots=True)
class Line:
    """Conductors between two buses, the neutral already folded in (Kron).

    r_ohm, x_ohm: of the whole length at the feeder's frequency. c_farad: to ground and between phases (nodal form:
    negative off the diagonal), half of it at each end. length_m: where known, for plausibility only.
    """

    id: str
    from_bus: str
    to_bus: str
    r_ohm: Matrix
    x_ohm: Matrix
    c_farad: Matrix = NO_CAPACITANCE
    phases: str = PHASES
    ampacity: Rating | None = None
    length_m: float | None = None

    def __post_init__(self) -> None:
        element = f"line {self.id}"
        _phases(element, self.phases)
        for name, most in (("r_ohm", Most.OHM), ("x_ohm", Most.OHM), ("c_farad", Most.FARAD)):
            matrix = getattr(self, name)
            if not all(abs(value) <= most.value for row in matrix for value in row):
                raise FeederError(element, name, matrix, f"finite numbers, at most {most} in size")
            if any(matrix[i][j] != matrix[j][i] for i, j in combinations(range(3), 2)):
                raise FeederError(element, name, matrix, "a symmetric matrix")
        if self.length_m is not None:
            _not_negative(element, "length_m", self.length_m, Most.METRES)

    @classmethod
    def of_sequence(
        cls, id: str, from_bus: str, to_bus: str, *, r1: float, x1: float, r0: float, x0: float,  # noqa: A002 - the field's name
        c1: float = 0.0, c0: float = 0.0, ampacity: Rating | None = None, length_m: float | None = None,
    ) -> Line:
        """A transposed line from its positive- and zero-sequence ohms and farads (Fortescue)."""

        def both(one: float, zero: float) -> Matrix:
            return symmetric((zero + 2.0 * one) / 3.0, (zero - one) / 3.0)

        return cls(id, from_bus, to_bus, both(r1, r0), both(x1, x0), both(c1, c0), PHASES, ampacity, length_m)


class Paper(StrEnum):
    """Insulation paper of a transformer: what hot-spot temperature ages it at rate 1 (IEC 60076-7, 6.2)."""

    NORMAL = "normal"
    UPGRADED = "upgraded"


@dataclass(frozen=True, slots=True)
class ThermalConstants:
    """Constants of the hot-spot model of IEC 60076-7; defaults: distribution transformer, ONAN (table of annex E).

    top_oil_rise_k, hot_spot_gradient_k: at rated load. loss_ratio: load loss over no-load loss at rated current.
    """

    top_oil_rise_k: float = 55.0
    hot_spot_gradient_k: float = 23.0
    loss_ratio: float = 5.0
    oil_exponent: float = 0.8
    winding_exponent: float = 1.6
    oil_minutes: float = 180.0
    winding_minutes: float = 4.0
    k11: float = 1.0
    k21: float = 1.0
    k22: float = 2.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            _positive("thermal constants", name, getattr(self, name))


class Side(StrEnum):
    FROM = "from"
    TO = "to"


@dataclass(frozen=True, slots=True)
class Tap:
    """A tap changer: each position above `nominal` adds `step_volts` to the rated volts of `side`."""

    side: Side = Side.FROM
    position: int = 0
    lowest: int = 0
    highest: int = 0
    nominal: int = 0
    step_volts: float = 0.0

    def __post_init__(self) -> None:
        _not_negative("tap", "step_volts", self.step_volts, Most.VOLTS)
        for name in ("lowest", "highest", "nominal"):
            _within("tap", name, getattr(self, name), Most.TAPS)
        if not self.lowest <= self.position <= self.highest:
            raise FeederError("tap", "position", self.position, f"between {self.lowest} and {self.highest}")


@dataclass(frozen=True, slots=True)
class Transformer:
    """A two-winding three-phase transformer between `from_bus` (the upper voltage by custom) and `to_bus`.

    uk: short-circuit voltage, per unit of the rating. pk_w: load loss at rated current. i0, p0_w: no-load current per
    unit and loss. vector_group: windings and clock, such as Dyn11; None where the data does not say.
    from_grounding_ohm, to_grounding_ohm: R and X between a star point and ground.
    """

    id: str
    from_bus: str
    to_bus: str
    rated_va: float
    from_volts: float
    to_volts: float
    uk: float
    pk_w: float
    vector_group: str | None
    i0: float = 0.0
    p0_w: float = 0.0
    tap: Tap = field(default_factory=Tap)
    from_grounding_ohm: tuple[float, float] = (0.0, 0.0)
    to_grounding_ohm: tuple[float, float] = (0.0, 0.0)
    paper: Paper | None = None
    thermal: ThermalConstants = field(default_factory=ThermalConstants)

    def __post_init__(self) -> None:
        element = f"transformer {self.id}"
        for name, most in (("rated_va", Most.POWER), ("from_volts", Most.VOLTS), ("to_volts", Most.VOLTS),
                           ("uk", Most.RATIO)):
            _positive(element, name, getattr(self, name), most)
        for name, most in (("pk_w", Most.POWER), ("i0", Most.RATIO), ("p0_w", Most.POWER)):
            _not_negative(element, name, getattr(self, name), most)
        for name in ("from_grounding_ohm", "to_grounding_ohm"):
            for ohm in getattr(self, name):
                _within(element, name, ohm, Most.OHM)
        for name, volts in zip(("from_volts", "to_volts"), self.tapped_volts, strict=True):
            if not volts > 0:
                raise FeederError(element, "tap", self.tap.position, f"a tap that leaves {name} above 0, not {volts:g}")
        if self.pk_w / self.rated_va > self.uk:
            raise FeederError(element, "pk_w", self.pk_w, f"at most uk x rated_va = {self.uk * self.rated_va:g} W")

    @property
    def rated_amperes(self) -> tuple[float, float]:
        """Of a phase on the `from` and on the `to` side."""
        return self.rated_va / (sqrt(3.0) * self.from_volts), self.rated_va / (sqrt(3.0) * self.to_volts)

    @property
    def tapped_volts(self) -> tuple[float, float]:
        """Rated volts of the `from` and the `to` side at the tap's position."""
        moved = (self.tap.position - self.tap.nominal) * self.tap.step_volts
        if self.tap.side is Side.FROM:
            return self.from_volts + moved, self.to_volts
        return self.from_volts, self.to_volts + moved


@dataclass(frozen=True, slots=True)
class Source:
    """The grid above the feeder: a stiff voltage of `u_pu` behind its short-circuit impedance.

    short_circuit_va: three-phase. rx_ratio: R/X. z01_ratio: size of zero- over positive-sequence impedance.
    z01_angle_rad: by which the angle of the zero sequence is larger.
    """

    bus: str
    u_pu: float = 1.0
    angle_rad: float = 0.0
    short_circuit_va: float = 1e10
    rx_ratio: float = 0.1
    z01_ratio: float = 1.0
    id: str = "source"
    z01_angle_rad: float = 0.0

    def __post_init__(self) -> None:
        element = f"source {self.id}"
        for name, most in (("u_pu", Most.RATIO), ("short_circuit_va", Most.NUMBER), ("z01_ratio", Most.RATIO)):
            _positive(element, name, getattr(self, name), most)
        _not_negative(element, "rx_ratio", self.rx_ratio, Most.RATIO)
        _within(element, "angle_rad", self.angle_rad, Most.RATIO)
        _within(element, "z01_angle_rad", self.z01_angle_rad, Most.RATIO)


@dataclass(frozen=True, slots=True)
class Zip:
    """Shares of a load that go with voltage squared (impedance), with voltage (current) and with neither (power)."""

    impedance: float = 0.0
    current: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        parts = (self.impedance, self.current, self.power)
        if not all(abs(part) <= Most.RATIO.value for part in parts) or not isclose(sum(parts), 1.0):
            raise FeederError("load type", "zip", parts, "finite shares that add up to 1")


class Connection(StrEnum):
    WYE = "wye"
    DELTA = "delta"


def branches(phases: str, connection: Connection) -> tuple[str, ...]:
    """What the branches of a load or a capacitor join: one phase (and ground) each, in delta two phases each."""
    if connection is Connection.WYE:
        return tuple(phases)
    return ("ab", "bc", "ca") if phases == PHASES else (phases,)


@dataclass(frozen=True, slots=True)
class LoadType:
    """How a load answers to its voltage.

    valid_pu: inside, its ZIP shares hold; outside it is a constant impedance, without a jump at the border (OpenDSS
        beyond vmaxpu, and below vminpu with vlowpu = 0).
    low_pu: where it is above 0, a load below its range falls less: from the border its current goes in a straight line
        to that of its rated impedance at this voltage, and below is that impedance (OpenDSS: vlowpu, by custom 0.5).
    jumps: outside its range it goes on from its rated power, as a load of constant power does, and not from what its
        shares make of it at the border (OpenDSS: load models 3 and 4).
    rated_volts: what 1 p.u. is, across its terminals; None: the bus's rating.
    """

    id: str
    active: Zip = field(default_factory=Zip)
    reactive: Zip = field(default_factory=Zip)
    valid_pu: tuple[float, float] = (0.0, inf)
    rated_volts: float | None = None
    connection: Connection = Connection.WYE
    low_pu: float = 0.0
    jumps: bool = False

    def __post_init__(self) -> None:
        low, high = self.valid_pu
        if not 0.0 <= low < high or low > Most.RATIO.value:
            raise FeederError(f"load type {self.id}", "valid_pu", self.valid_pu, "0 <= lowest < highest")
        if not (self.low_pu == 0.0 or 0.0 < self.low_pu < low):
            raise FeederError(f"load type {self.id}", "low_pu", self.low_pu, f"0, or above 0 and below {low:g}")
        if self.rated_volts is not None:
            _positive(f"load type {self.id}", "rated_volts", self.rated_volts, Most.VOLTS)

    @property
    def is_constant_power(self) -> bool:
        """Whether it draws its power whatever the voltage."""
        pure = Zip()
        return self.active == pure and self.reactive == pure and self.valid_pu == (0.0, inf)


CONSTANT_POWER: Final = LoadType("constant power")


@dataclass(frozen=True, slots=True)
class Capacitor:
    """A shunt capacitor. var: rated, all its branches together, when `volts` are across each of them.

    Its branches go from each phase to ground, in delta from phase to phase (one, with two phases).
    """

    id: str
    bus: str
    var: float
    volts: float
    phases: str = PHASES
    connection: Connection = Connection.WYE

    def __post_init__(self) -> None:
        element = f"capacitor {self.id}"
        _positive(element, "var", self.var, Most.POWER)
        _positive(element, "volts", self.volts, Most.VOLTS)
        _phases(element, self.phases)
        if self.connection is Connection.DELTA and len(self.phases) == 1:
            raise FeederError(element, "phases", self.phases, "two or three phases for a delta capacitor")

    @property
    def branches(self) -> tuple[str, ...]:
        """Phases that each branch joins: `a` to ground, `ab` between two."""
        return branches(self.phases, self.connection)

    @property
    def siemens(self) -> float:
        """Susceptance of each branch at the feeder's frequency."""
        return self.var / len(self.branches) / self.volts**2


@dataclass(frozen=True, slots=True)
class Primitive:
    """Anything linear that no other element describes, as what it is to the network: a nodal admittance matrix.

    Single-phase and open-delta regulators at their tap, single-phase and centre-tapped transformers, a line that
    changes phases. nodes: (bus, phase) of each row. admittance: siemens, amperes into the nodes over their volts to
    ground; nodes inside the element (a neutral, a star point) are folded in beforehand. kind: what it is. note: what
    the matrix holds fast, such as `tap +5 as solved`. amperes: rated, of each node; empty: nobody knows.
    """

    id: str
    nodes: tuple[tuple[str, str], ...]
    admittance: tuple[tuple[complex, ...], ...]
    kind: str = "primitive"
    note: str = ""
    amperes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        element = f"{self.kind} {self.id}"
        if self.amperes and len(self.amperes) != len(self.nodes):
            raise FeederError(element, "amperes", self.amperes, f"{len(self.nodes)} values, one for each node, or none")
        for rated in self.amperes:
            _positive(element, "amperes", rated, Most.AMPERES)
        if not self.nodes or len(set(self.nodes)) < len(self.nodes):
            raise FeederError(element, "nodes", self.nodes, "one or more nodes, each once")
        for _, phase in self.nodes:
            if phase not in tuple(PHASES):
                raise FeederError(element, "nodes", phase, "a phase a, b or c")
        size = len(self.nodes)
        if len(self.admittance) != size or any(len(row) != size for row in self.admittance):
            raise FeederError(element, "admittance", [len(row) for row in self.admittance], f"{size} rows of {size}")
        if not all(abs(part) <= Most.SIEMENS.value for row in self.admittance for value in row
                   for part in (value.real, value.imag)):
            raise FeederError(element, "admittance", self.admittance, f"finite numbers, at most {Most.SIEMENS} in size")


@dataclass(frozen=True)
class Envelope:
    """Most import and most export (both 0 W or more) at a connection point, one value for each step of `grid`."""

    grid: TimeGrid
    import_w: NDArray[np.float64]
    export_w: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("import_w", "export_w"):
            limits = getattr(self, name)
            if limits.shape != (self.grid.steps,):
                raise FeederError("envelope", name, limits.shape, f"shape ({self.grid.steps},)")
            if not bool(((limits >= 0) & (limits <= Most.POWER.value)).all()):
                worst = limits[~((limits >= 0) & (limits <= Most.POWER.value))][0]
                raise FeederError("envelope", name, float(worst), f"0 W or more, at most {Most.POWER}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Envelope):
            return NotImplemented
        return self.grid == other.grid and np.array_equal(self.import_w, other.import_w) and np.array_equal(
            self.export_w, other.export_w
        )

    __hash__ = None  # type: ignore[assignment] # arrays have no hash


@dataclass(frozen=True, slots=True)
class ConnectionPoint:
    """Where somebody's meter hangs on the feeder. fuse_a: per phase. envelope: limits that change with time."""

    id: str
    bus: str
    phases: str = PHASES
    fuse_a: float | None = None
    load_type: str = CONSTANT_POWER.id
    envelope: Envelope | None = None

    def __post_init__(self) -> None:
        _phases(f"connection point {self.id}", self.phases)
        if self.fuse_a is not None:
            _positive(f"connection point {self.id}", "fuse_a", self.fuse_a, Most.AMPERES)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an element was read: a file and its line, counted from 1 (0: the format has no lines)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Feeder:
    """A network with its names, its licence and where its figures come from.

    origins: by kind and id of an element (`("line", "LINE1")`), where an importer knows them; no part of equality.
    """

    name: str
    buses: tuple[Bus, ...]
    lines: tuple[Line, ...]
    source: Source
    transformers: tuple[Transformer, ...] = ()
    connection_points: tuple[ConnectionPoint, ...] = ()
    load_types: tuple[LoadType, ...] = (CONSTANT_POWER,)
    frequency_hz: float = 50.0
    licence: str = ""
    provenance: str = ""
    capacitors: tuple[Capacitor, ...] = ()
    primitives: tuple[Primitive, ...] = ()
    origins: Mapping[tuple[str, str], Origin] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        _positive(f"feeder {self.name}", "frequency_hz", self.frequency_hz, Most.HERTZ)
