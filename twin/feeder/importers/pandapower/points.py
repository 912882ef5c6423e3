"""What draws and feeds in a pandapower network: connection points with their powers and kinds of load, capacitors."""

from __future__ import annotations

from math import sqrt

from twin.feeder.importers.pandapower.reading import Reading
from twin.feeder.importers.pandapower.tables import Row
from twin.feeder.network.connections import CONSTANT_POWER, ConnectionPoint, LoadType, Zip
from twin.feeder.network.model import Capacitor
from twin.feeder.network.phases import PHASES, Connection
from twin.feeder.network.plausible import Most, is_power


class Points:
    """Filled by `read`. powers: of each point, W and var by phase. types: kinds of load in the order of their use."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.points: list[ConnectionPoint] = []
        self.types: dict[LoadType, None] = {}
        self.capacitors: list[Capacitor] = []
        self.powers: dict[str, tuple[complex, ...]] = {}

    def read(self) -> None:
        """All loads, generators, storage, shunts and wards in service."""
        for table, sign in (("load", 1.0), ("storage", 1.0), ("sgen", -1.0)):
            for row in self._reading.rows(table):
                self._point(row, table, (self._power(row, "p_mw", "q_mvar", sign),), self._zips(row, table))
        for table, sign in (("asymmetric_load", 1.0), ("asymmetric_sgen", -1.0)):
            for row in self._reading.rows(table):
                powers = tuple(self._power(row, f"p_{phase}_mw", f"q_{phase}_mvar", sign) for phase in PHASES)
                self._point(row, table, powers, (Zip(), Zip()))
        impedance = Zip(1.0, 0.0, 0.0)
        for row in self._reading.rows("shunt"):
            self._shunt(row, impedance)
        for row in self._reading.rows("ward"):
            self._point(row, "ward", (self._power(row, "ps_mw", "qs_mvar", 1.0),), (Zip(), Zip()))
            self._point(row, "ward impedance", (self._power(row, "pz_mw", "qz_mvar", 1.0),), (impedance, impedance))

    def _power(self, row: Row, active: str, reactive: str, sign: float) -> complex:
        power = complex(self._reading.take(row, active, 0.0), self._reading.take(row, reactive, 0.0))
        power *= sign * 1e6 * self._reading.take(row, "scaling", 1.0)
        if not (is_power(power.real) and is_power(power.imag)):
            self._reading.reasons.append(row.refusal(f"{active}, {reactive}", f"a power of at most {Most.POWER}"))
            return 0j
        return power

    def _zips(self, row: Row, table: str) -> tuple[Zip, Zip]:
        if table != "load":
            return Zip(), Zip()
        found, take = [], self._reading.take
        for part in "pq":
            shares = [
                take(row, f"const_{name}_{part}_percent", take(row, f"const_{name}_percent", 0.0)) / 100.0
                for name in "zi"
            ]
            zips = self._reading.built(row, Zip, impedance=shares[0], current=shares[1], power=1.0 - sum(shares))
            found.append(zips or Zip())
        return found[0], found[1]

    def _shunt(self, row: Row, impedance: Zip) -> None:
        bus = self._reading.place(row, "bus")
        power = self._power(row, "p_mw", "q_mvar", 1.0) * self._reading.take(row, "step", 1.0)
        if bus is None:
            return
        volts = self._reading.take(row, "vn_kv", self._reading.volts[bus] / 1000.0) * 1000.0
        if volts <= 0.0:
            if row.get("vn_kv") is not None:  # else it is the bus whose rating is refused
                self._reading.reasons.append(row.refusal("vn_kv", "rated kV above 0"))
            return
        if power.real == 0.0 and power.imag < 0.0:
            capacitor = self._reading.built(row, Capacitor, id=f"shunt {row.name}", bus=bus, var=-power.imag,
                                            volts=volts / sqrt(3.0))
            self.capacitors += [capacitor] if capacitor is not None else []
        else:
            self._point(row, "shunt", (power * (self._reading.volts[bus] / volts) ** 2,), (impedance, impedance))

    def _point(self, row: Row, kind: str, powers: tuple[complex, ...], zips: tuple[Zip, Zip]) -> None:
        """A connection point: one power for all phases, or one for each."""
        bus = self._reading.place(row, "bus")
        if bus is None:
            return
        is_delta = str(row.get("type") or "wye") == "delta"
        if len(powers) == 1:
            phases, powers = PHASES, (powers[0] / len(PHASES),) * len(PHASES)
            self._reading.assumed["even"] += 1
        elif is_delta:
            phases = PHASES
        else:
            phases = "".join(phase for phase, power in zip(PHASES, powers, strict=True) if power) or PHASES
            powers = tuple(powers[PHASES.index(phase)] for phase in phases)
        load_type = _load_type(zips, Connection.DELTA if is_delta else Connection.WYE)
        self.types.setdefault(load_type)
        name = row.name if row.name not in self.powers else f"{kind} {row.name}"
        self._reading.came("connection point", name)
        self.powers[name] = powers
        self.points.append(ConnectionPoint(name, bus, phases, load_type=load_type.id))


def _load_type(zips: tuple[Zip, Zip], connection: Connection) -> LoadType:
    if zips == (Zip(), Zip()):
        is_star = connection is Connection.WYE
        return CONSTANT_POWER if is_star else LoadType("constant power, delta", connection=connection)
    told = ["/".join(f"{share:g}" for share in (part.impedance, part.current, part.power)) for part in zips]
    return LoadType(f"{connection} {', '.join(told)}", zips[0], zips[1], connection=connection)
