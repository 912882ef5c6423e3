"""A three-phase feeder as it stands in the ground: buses, lines, a source, transformers, capacitors.

SI units throughout this folder (V, A, ohm, W, var, VA, m), because that is what network data is published in; loads
are positive. Frozen dataclasses that refuse what is impossible in one element alone; what is wrong between elements
is not refused here but reported, all at once, by `twin.feeder.network.validity.faults`: a feeder that somebody imports
must be readable before it can be called wrong. Who hangs on it is in `twin.feeder.network.connections`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from math import sqrt
from typing import Final

from twin.feeder.network.connections import CONSTANT_POWER, ConnectionPoint, LoadType
from twin.feeder.network.phases import PHASES, Connection, branches, require_ordered
from twin.feeder.network.plausible import FeederError, Most, require_not_negative, require_positive, require_within

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
"""3 x 3, symmetric, in the order a, b, c; rows and columns of phases that are not there are 0."""

NO_CAPACITANCE: Final[Matrix] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


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
        require_positive(f"bus {self.id}", "volts", self.volts, Most.VOLTS)
        require_ordered(f"bus {self.id}", self.phases)
        for value in self.xy or ():
            require_within(f"bus {self.id}", "xy", value)


@dataclass(frozen=True, slots=True)
class Rating:
    """What a line may carry: amperes per phase a, b, c; source: who says so, beginning with `assumed` if nobody."""

    amperes: tuple[float, float, float]
    source: str

    def __post_init__(self) -> None:
        for amperes in self.amperes:
            require_positive("rating", "amperes", amperes, Most.AMPERES)
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
        require_ordered(element, self.phases)
        for name, most in (("r_ohm", Most.OHM), ("x_ohm", Most.OHM), ("c_farad", Most.FARAD)):
            matrix = getattr(self, name)
            if not all(abs(value) <= most.value for row in matrix for value in row):
                raise FeederError(element, name, matrix, f"finite numbers, at most {most} in size")
            if any(matrix[i][j] != matrix[j][i] for i, j in combinations(range(3), 2)):
                raise FeederError(element, name, matrix, "a symmetric matrix")
        if self.length_m is not None:
            require_not_negative(element, "length_m", self.length_m, Most.METRES)

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
            require_positive("thermal constants", name, getattr(self, name))


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
        require_not_negative("tap", "step_volts", self.step_volts, Most.VOLTS)
        for name in ("lowest", "highest", "nominal"):
            require_within("tap", name, getattr(self, name), Most.TAPS)
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
            require_positive(element, name, getattr(self, name), most)
        for name, most in (("pk_w", Most.POWER), ("i0", Most.RATIO), ("p0_w", Most.POWER)):
            require_not_negative(element, name, getattr(self, name), most)
        for name in ("from_grounding_ohm", "to_grounding_ohm"):
            for ohm in getattr(self, name):
                require_within(element, name, ohm, Most.OHM)
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
            require_positive(element, name, getattr(self, name), most)
        require_not_negative(element, "rx_ratio", self.rx_ratio, Most.RATIO)
        require_within(element, "angle_rad", self.angle_rad, Most.RATIO)
        require_within(element, "z01_angle_rad", self.z01_angle_rad, Most.RATIO)


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
        require_positive(element, "var", self.var, Most.POWER)
        require_positive(element, "volts", self.volts, Most.VOLTS)
        require_ordered(element, self.phases)
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
            require_positive(element, "amperes", rated, Most.AMPERES)
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
        require_positive(f"feeder {self.name}", "frequency_hz", self.frequency_hz, Most.HERTZ)
