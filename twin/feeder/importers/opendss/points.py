"""What draws from an OpenDSS circuit, and what feeds it: connection points, their load types and their powers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import lcm, sqrt
from typing import Final

import numpy as np

from twin.dss_process.extract import ElementFound, LoadFound, ShapeFound
from twin.feeder.importers.imported import Degree, Floats, ImportedLoads, at_terminals
from twin.feeder.network.connections import CONSTANT_POWER, ConnectionPoint, LoadType, Zip
from twin.feeder.network.model import Feeder
from twin.feeder.network.phases import PHASES, Connection
from twin.feeder.network.plausible import FeederError, Most, is_power

Say = Callable[[Degree, str, str, str], None]

POWER, CURRENT, IMPEDANCE = Zip(), Zip(0.0, 1.0, 0.0), Zip(1.0, 0.0, 0.0)
MODELS: Final = {
    1: (POWER, POWER), 2: (IMPEDANCE, IMPEDANCE), 3: (POWER, IMPEDANCE), 5: (CURRENT, CURRENT), 6: (POWER, POWER),
    7: (POWER, IMPEDANCE),
}
"""Active and reactive part, by OpenDSS's number of a load model."""

JUMPING: Final = frozenset({3, 4})
"""Models that outside their range go on as constant power does."""

FIXED: Final = 6
FIXED_Q: Final = frozenset({6, 7})
"""Models whose current below their range is that of an impedance, down to Vlowpu, where it jumps."""

CVR: Final = 4
ZIP: Final = 8
SHARES: Final = 7
"""Values of ZIPV: three shares of P, three of Q, and the voltage below which the load is off."""

FAR_OFF: Final = 0.15
"""More than this and rated volts are not those of the bus (as in `twin.feeder.network.validity`)."""

SPLIT_PHASE: Final = 2.0 / sqrt(3.0)
NEAR: Final = 0.06

MOST_STEPS: Final = 200_000


class Points:
    """Connection points with their powers; filled one element after the other.

    reference: solved volts by (bus, phase), to say which loads lie outside their range.
    """

    def __init__(
        self, volts: Mapping[str, float], reference: Mapping[tuple[str, str], complex], say: Say
    ) -> None:
        self.connection_points: list[ConnectionPoint] = []
        self._volts = volts
        self._reference = reference
        self._say = say
        self._types: dict[LoadType, str] = {}
        self._powers: dict[str, tuple[complex, ...]] = {}
        self._shape_of: dict[str, str] = {}
        self._rated_kw: dict[str, float] = {}

    def load(self, element: ElementFound, load: LoadFound) -> None:
        """A load, shared evenly among its branches."""
        nodes, bus = element.nodes, element.buses[0]
        phases = sorted(node for node in nodes if node != 0)
        if not phases or phases != sorted(set(phases)) or phases[-1] > len(PHASES):
            self._say(Degree.UNSUPPORTED, element.kind, element.name, f"nodes {nodes}: expected phases 1, 2 and 3, "
                      "each once, and ground")
            return
        at_ground = 0 in nodes
        is_delta = not at_ground
        if is_delta and not ((len(phases) == len(PHASES) == load.phases and load.is_delta) or len(phases) == 2):  # noqa: PLR2004 - phase to phase
            self._say(Degree.UNSUPPORTED, element.kind, element.name, f"{load.phases} phases at nodes {nodes}: "
                      "expected a star to ground, a delta, or one load between two phases")
            return
        volts = load.kv * 1000.0
        if at_ground and load.phases > 1:
            volts /= sqrt(3.0)
        named = "".join(PHASES[node - 1] for node in phases)
        kind = self._type(element, load, volts, Connection.DELTA if is_delta else Connection.WYE)
        branches = len(phases) if at_ground or len(phases) == len(PHASES) else 1
        kind, power = self._at_bus(element, kind, complex(load.kw, load.kvar) * 1000.0)
        self._add(element, bus, named, kind, (power / branches,) * branches)
        if load.shape:
            self._shape_of[element.name] = load.shape
            self._rated_kw[element.name] = load.kw
        self._range(element, bus, named, kind, load, volts)

    def infeed(self, element: ElementFound) -> None:
        """A generator, PV system or storage: what it feeds in where OpenDSS solved it."""
        bus = element.buses[0]
        drawn: dict[int, complex] = {}
        for row, node in enumerate(element.nodes):
            if node:
                drawn[node] = drawn.get(node, 0j) + complex(*element.powers[2 * row:2 * row + 2]) * 1000.0
        if not drawn or max(drawn) > len(PHASES):
            self._say(Degree.UNSUPPORTED, element.kind, element.name, f"nodes {element.nodes}: expected phases 1 to 3")
            return
        phases = "".join(PHASES[node - 1] for node in sorted(drawn))
        total = sum(drawn.values())
        self._add(element, bus, phases, CONSTANT_POWER, tuple(drawn[node] for node in sorted(drawn)))
        self._say(Degree.FROZEN, element.kind, element.name, f"feeds in {-total.real / 1000.0:.4g} kW and "
                  f"{-total.imag / 1000.0:.4g} kvar whatever the voltage, as OpenDSS solved it")

    def load_types(self) -> tuple[LoadType, ...]:
        """Those in use."""
        return tuple(replace(kind, id=name) for kind, name in self._types.items()) or (CONSTANT_POWER,)

    def loads(self, feeder: Feeder, shapes: Sequence[ShapeFound], say: Say) -> ImportedLoads:
        """All powers, with the shapes on one grid of time."""
        p_w, q_var = at_terminals(feeder, self._powers)
        rows = [point.id for point in feeder.connection_points for _ in self._powers[point.id]]
        by_name = {shape.name: shape for shape in shapes if shape.values}
        for name in sorted(set(self._shape_of.values()) - set(by_name)):
            say(Degree.DROPPED, "loadshape", name, "has no values: its loads are steady")
        wanted = {}
        shape_of = []
        for point in rows:
            name = self._shape_of.get(point, "")
            shape = by_name.get(name)
            if shape is None:
                shape_of.append("")
                continue
            own = f"{name} of {point}" if shape.is_actual else name
            factors = np.array(shape.values)
            if shape.is_actual and self._rated_kw[point]:
                factors = factors / self._rated_kw[point]
            wanted[own] = (shape.seconds, factors)
            shape_of.append(own)
        for shape in by_name.values():
            if shape.has_reactive:
                say(Degree.APPROXIMATED, "loadshape", shape.name, "has values of its own for reactive power, which "
                    "here goes with the active power")
        series, step_s = _one_grid(wanted, say)
        kept = tuple(name if name in series else "" for name in shape_of)
        return ImportedLoads(p_w, q_var, kept, series, step_s)

    def _add(
        self, element: ElementFound, bus: str, phases: str, kind: LoadType, powers: tuple[complex, ...]
    ) -> None:
        name = element.name
        if not all(is_power(power.real) and is_power(power.imag) for power in powers):
            raise FeederError(f"{element.kind} {name}", "kW, kvar", sum(powers), f"at most {Most.POWER}")
        if name in self._powers:
            name = f"{element.kind} {element.name}"
        self._powers[name] = powers
        self.connection_points.append(ConnectionPoint(name, bus, phases, load_type=self._named(kind)))

    def _named(self, kind: LoadType) -> str:
        """The name of a load type; another one of the same name gets a number."""
        if kind not in self._types:
            taken = sum(one.id == kind.id for one in self._types)
            self._types[kind] = kind.id if not taken else f"{kind.id} ({taken + 1})"
        return self._types[kind]

    def _type(self, element: ElementFound, load: LoadFound, volts: float, connection: Connection) -> LoadType:
        if load.model == CVR:
            active, reactive = (_power_law(exponent) for exponent in load.cvr)
            if any(exponent not in {0.0, 1.0, 2.0} for exponent in load.cvr):
                self._say(Degree.APPROXIMATED, element.kind, element.name, f"P and Q go with voltage to the power of "
                          f"{load.cvr[0]:g} and {load.cvr[1]:g}: a ZIP load of the same slope and curvature at 1 p.u.")
        elif load.model == ZIP and len(load.zipv) == SHARES:
            active, reactive = Zip(*load.zipv[:3]), Zip(*load.zipv[3:6])
            if load.zipv[6] > 0.0:
                self._say(Degree.APPROXIMATED, element.kind, element.name, f"is off below {load.zipv[6]:g} p.u. in "
                          "OpenDSS, here it never is")
        elif load.model in MODELS:
            active, reactive = MODELS[load.model]
        else:
            self._say(Degree.UNSUPPORTED, element.kind, element.name, f"load model {load.model}, expected 1 to 8")
            active, reactive = POWER, POWER
        is_impedance = active == reactive == IMPEDANCE
        low, high = (0.0, float("inf")) if is_impedance else load.valid_pu
        # OpenDSS asks first whether the voltage is below Vlowpu.
        low = max(low, 0.0 if is_impedance else load.low_pu)
        floor = load.low_pu if 0.0 < load.low_pu < low and load.model not in FIXED_Q else 0.0
        name = f"{connection} model {load.model}, {volts:.6g} V"
        if not is_impedance:
            name += f", {low:g} to {high:g} p.u." + (f", impedance at {floor:g}" if floor else "")
        if load.model in {CVR, ZIP}:
            name += f", {_shares(active)}, {_shares(reactive)}"
        return LoadType(name, active, reactive, (low, high), volts, connection, floor, load.model in JUMPING)

    def _at_bus(self, element: ElementFound, kind: LoadType, power: complex) -> tuple[LoadType, complex]:
        """The same load told at the volts of its bus, where its own are others for a reason.

        An impedance is ohms, however told; between the legs of a split phase there is twice the voltage of one, not
        the root of three. Anything else is left to be called a fault.
        """
        bus, volts = self._volts[element.buses[0]], kind.rated_volts
        is_delta = kind.connection is Connection.DELTA
        across = bus if is_delta else bus / sqrt(3.0)
        if not (volts and across) or abs(volts / across - 1.0) <= FAR_OFF:
            return kind, power
        is_split = is_delta and abs(volts / across / SPLIT_PHASE - 1.0) <= NEAR
        if not is_split and not kind.active == kind.reactive == IMPEDANCE:
            return kind, power
        self._say(Degree.ASSUMED, element.kind, element.name, f"rated at {volts:.5g} V at a bus of {across:.5g} V" + (
            ": taken as between two legs of a split phase" if is_split else
            f": an impedance, which draws {(across / volts) ** 2:.3g} of its rated power"
        ))
        active, times_p = _rebased(kind.active, across / volts)
        reactive, times_q = _rebased(kind.reactive, across / volts)
        low, high = (bound * volts / across for bound in kind.valid_pu)
        name = kind.id.replace(f"{volts:.6g} V", f"{across:.6g} V")
        same = replace(kind, id=name, rated_volts=across, active=active, reactive=reactive, valid_pu=(low, high),
                       low_pu=0.0, jumps=False)
        return same, complex(power.real * times_p, power.imag * times_q)

    def _range(self, element: ElementFound, bus: str, phases: str, kind: LoadType, load: LoadFound,
               own_volts: float) -> None:
        """Say where OpenDSS's law of a load below its range is not the one that it has here."""
        ends = [self._reference.get((bus, phase), 0j) for phase in phases]
        is_delta = kind.connection is Connection.DELTA
        across = [abs(one - other) for one, other in zip(ends, ends[1:] + ends[:1], strict=True)] if is_delta else [
            abs(one) for one in ends
        ]
        if not kind.rated_volts or not across:
            return
        lowest = min(across) / kind.rated_volts
        same_from = 0.0
        if kind.rated_volts != own_volts or load.model == FIXED:
            same_from = kind.valid_pu[0]
        elif load.model in FIXED_Q:
            same_from = load.low_pu
        if 0.0 < lowest < same_from:
            self._say(Degree.APPROXIMATED, element.kind, element.name, f"at {lowest:.4g} p.u. lies below "
                      f"{same_from:g}, where OpenDSS goes over otherwise into the impedance of its rated power")


def _rebased(shares: Zip, ratio: float) -> tuple[Zip, float]:
    """Shares of the same load at volts that are `ratio` of those they are told at, and its power there."""
    parts = (shares.impedance * ratio**2, shares.current * ratio, shares.power)
    total = sum(parts)
    return (Zip(*(part / total for part in parts)), total) if total else (shares, 1.0)


def _power_law(exponent: float) -> Zip:
    """The ZIP shares with the value, slope and curvature of u ** exponent at 1."""
    impedance = exponent * (exponent - 1.0) / 2.0
    current = exponent * (2.0 - exponent)
    return Zip(impedance, current, 1.0 - impedance - current)


def _shares(shares: Zip) -> str:
    return f"{shares.impedance:g}/{shares.current:g}/{shares.power:g}"


def _one_grid(wanted: Mapping[str, tuple[float, Floats]], say: Say) -> tuple[dict[str, Floats], int | None]:
    """Shapes of one step and one length: held between their values, and begun anew where they end."""
    steady = {name for name, (seconds, _) in wanted.items() if seconds <= 0.0 or seconds != int(seconds)}
    for name in steady:
        say(Degree.DROPPED, "loadshape", name, "its interval is not of whole seconds: its loads are steady")
    kept = {name: (int(seconds), values) for name, (seconds, values) in wanted.items() if name not in steady}
    if not kept:
        return {}, None
    steps = {seconds for seconds, _ in kept.values()}
    spans = {seconds * len(values) for seconds, values in kept.values()}
    step = min(steps) if all(one % min(steps) == 0 for one in steps) else 1
    count = (spans.pop() if len(spans) == 1 else max(*spans, min(lcm(*spans), 86_400))) // step
    if count > MOST_STEPS:
        for name in kept:
            say(Degree.DROPPED, "loadshape", name, f"{count:,} steps of {step} s: its load is steady")
        return {}, None
    if len(steps) > 1:
        say(Degree.ASSUMED, "loadshape", f"{len(kept)} shapes", f"all told in steps of {step} s, values held between")
    return {
        name: values[(np.arange(count) * step // seconds) % len(values)] for name, (seconds, values) in kept.items()
    }, step
