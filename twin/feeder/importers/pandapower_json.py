"""Networks of pandapower from their JSON: tables inside JSON, read without pandapower.

Parameters mean what pandapower's documentation of its elements says; what its balanced tables leave open about phases
is assumed and named. Its three-phase solver treats two things otherwise: the grid above is stiff in the positive
sequence there, and zero-sequence magnetisation has parameters of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from math import radians, sqrt
from pathlib import Path
from typing import Any, Final

import msgspec

from twin.feeder.importers.imported import (
    HOMOPOLAR,
    Degree,
    Finding,
    Imported,
    ImportedLoads,
    ImportRefused,
    at_terminals,
)
from twin.feeder.importers.pandapower_tables import Row, Table, read_network
from twin.feeder.network.connections import CONSTANT_POWER, ConnectionPoint, LoadType, Zip
from twin.feeder.network.model import Bus, Capacitor, Feeder, Line, Origin, Rating, Side, Source, Tap, Transformer
from twin.feeder.network.phases import PHASES, Connection
from twin.feeder.network.plausible import FIGURE, FeederError, Most, is_figure, is_power

READ: Final = frozenset({
    "bus", "line", "trafo", "ext_grid", "load", "sgen", "storage", "asymmetric_load", "asymmetric_sgen", "switch",
    "shunt", "ward", "bus_geodata", "line_geodata",
})
NO_NETWORK: Final = frozenset({
    "measurement", "pwl_cost", "poly_cost", "controller", "group", "characteristic", "profiles", "loadcases",
    "std_types", "dtypes", "user_pf_options", "q_capability_characteristic", "trafo_characteristic_table",
    "q_capability_curve_table", "substation", "study_cases", "shunt_characteristic_table",
})
"""Tables that change no power flow by themselves."""

STIFF_VA: Final = 1e12
DEGREES_PER_CLOCK: Final = 30.0
CLOCK_TOLERANCE: Final = 1e-6


def read_pandapower(path: Path) -> Imported:
    """Read a network that `pandapower.to_json` has written.

    Raises:
        ImportRefused: not such a file, or values that are missing or impossible; all of them at once.
    """
    return _Builder(path, read_network(path)).imported()


class _Builder:
    """The way from tables to a feeder, one method per table."""

    def __init__(self, path: Path, network: Mapping[str, Any]) -> None:
        self._path = path
        self._network = network
        self._findings: list[Finding] = []
        self._reasons: list[str] = []
        self._origins: dict[tuple[str, str], Origin] = {}
        self._bus_of: dict[int, str] = {}
        self._volts: dict[str, float] = {}
        self._types: dict[LoadType, None] = {}
        self._points: list[ConnectionPoint] = []
        self._capacitors: list[Capacitor] = []
        self._powers: dict[str, tuple[complex, ...]] = {}
        self._assumed: Counter[str] = Counter()

    def imported(self) -> Imported:
        for table, rows in self._network.items():
            if isinstance(rows, Table) and table not in READ | NO_NETWORK and not table.startswith(("_", "res_")):
                for row in rows:
                    self._say(Degree.UNSUPPORTED, table, row.name, "is no element that a feeder can hold")
        buses = self._buses()
        lines = [*self._switches(), *self._lines(buses)]
        transformers = self._trafos()
        source = self._source()
        self._loads()
        if self._reasons or source is None:
            raise ImportRefused(self._path, *self._reasons)
        self._close()
        feeder = Feeder(
            name=str(self._network.get("name") or self._path.stem), buses=tuple(buses), lines=tuple(lines),
            source=source, transformers=tuple(transformers), connection_points=tuple(self._points),
            load_types=tuple(self._types) or (CONSTANT_POWER,), frequency_hz=float(self._network.get("f_hz") or 50.0),
            provenance=f"{self._path.name}, pandapower", capacitors=tuple(self._capacitors), origins=self._origins,
        )
        findings = tuple(sorted(self._findings, key=lambda finding: list(Degree).index(finding.degree)))
        p_w, q_var = at_terminals(feeder, self._powers)
        return Imported(feeder, findings, ImportedLoads(p_w, q_var, ("",) * len(p_w)))

    def _say(self, degree: Degree, kind: str, element: str, said: str) -> None:
        self._findings.append(Finding(degree, kind, element, said, Origin(str(self._path))))

    def _rows(self, table: str) -> Iterator[Row]:
        """Rows in service, at buses in service."""
        found = self._network.get(table)
        for row in found if isinstance(found, Table) else ():
            if row.get("in_service") is False:
                self._say(Degree.DROPPED, table, row.name, "is not in service")
            else:
                yield row

    def _place(self, row: Row, column: str) -> str | None:
        """The bus that a row names; None: it is not in service or not there, which is said."""
        number = row.get(column)
        if not isinstance(number, int) or isinstance(number, bool):
            self._reasons.append(row.refusal(column, "the number of a bus"))
            return None
        if number not in self._bus_of:
            known = {row.index for row in self._network["bus"]}
            if number in known:
                self._say(Degree.DROPPED, row.table, row.name, f"is at bus {number}, which is not in service")
            else:
                self._reasons.append(row.refusal(column, "the number of a bus"))
            return None
        return self._bus_of[number]

    def _take(self, row: Row, column: str, default: float | None = None) -> float:
        """A number of a row; without a default it must be there."""
        value = row.get(column)
        if is_figure(value):
            return float(value)
        if value is None and default is not None:
            return default
        self._reasons.append(row.refusal(column, f"a finite number, at most {FIGURE:g} in size"))
        return 1.0

    def _whole(self, row: Row, column: str, default: int | None = None) -> int:
        """A whole number of a row."""
        value = self._take(row, column, None if default is None else float(default))
        if value != int(value):
            self._reasons.append(row.refusal(column, "a whole number"))
        return int(value)

    def _parallel(self, row: Row) -> int:
        """How many of its kind a row stands for."""
        count = self._whole(row, "parallel", 1)
        if count < 1:
            self._reasons.append(row.refusal("parallel", "1 or more"))
        return max(count, 1)

    def _built(self, row: Row, make: Any, /, **fields: Any) -> Any:
        """An element, or None and a reason."""
        try:
            return make(**fields)
        except FeederError as error:
            self._reasons.append(f"{self._path}: $.{row.table}[{row.index}]: {error}")
            return None

    def _buses(self) -> list[Bus]:
        places = {row.index: (row.get("x"), row.get("y")) for row in self._rows("bus_geodata")}
        kept = list(self._rows("bus"))
        joined = self._joined({row.index for row in kept})
        buses = []
        for row in kept:
            if joined[row.index] != row.index:
                continue
            volts = self._take(row, "vn_kv") * 1000.0
            bus = self._built(row, Bus, id=row.name, volts=volts, xy=_place(row, places))
            if bus is not None:
                buses.append(bus)
                self._volts[bus.id] = volts
                self._origins["bus", bus.id] = Origin(str(self._path))
        names = {row.index: row.name for row in kept}
        self._bus_of = {number: names[first] for number, first in joined.items()}
        return buses

    def _joined(self, buses: set[int]) -> dict[int, int]:
        """Buses that closed switches without impedance make one, by their smallest number."""
        first = {number: number for number in buses}

        def of(number: int) -> int:
            while first[number] != number:
                number = first[number]
            return number

        for row in self._network.get("switch", Table("switch", self._path)):
            ends = [end for end in (row.get("bus"), row.get("element")) if isinstance(end, int)]
            is_joint = len(ends) > 1 and row.get("et") == "b" and row.get("closed") and not row.get("z_ohm")
            if is_joint and all(end in buses for end in ends):
                one, other = sorted(of(end) for end in ends)
                first[other] = one
        return {number: of(number) for number in buses}

    def _switches(self) -> list[Line]:
        """Bus-bus switches with a resistance."""
        found = []
        for row in self._network.get("switch", Table("switch", self._path)):
            if row.get("et") != "b" or not row.get("closed") or not row.get("z_ohm"):
                continue
            ends = self._place(row, "bus"), self._place(row, "element")
            ohm = self._take(row, "z_ohm")
            if None not in ends:
                line = self._built(row, Line.of_sequence, id=f"switch {row.name}", from_bus=ends[0], to_bus=ends[1],
                                   r1=ohm, x1=0.0, r0=ohm, x0=0.0)
                found += [line] if line is not None else []
        return found

    def _open(self, kind: str) -> dict[int, set[int]]:
        """Buses at which a switch holds a line (l) or transformer (t) open, by its number."""
        found: dict[int, set[int]] = defaultdict(set)
        for row in self._network.get("switch", Table("switch", self._path)):
            ends = row.get("element"), row.get("bus")
            if row.get("et") == kind and not row.get("closed") and all(isinstance(end, int) for end in ends):
                found[ends[0]].add(ends[1])
        return found

    def _ends(self, row: Row, opened: set[int], buses: list[Bus]) -> list[str | None]:
        """The buses of a line; an end that is open has a bus of its own, so that the line is still charged."""
        numbers = row.get("from_bus"), row.get("to_bus")
        is_open = [isinstance(number, int) and number in opened for number in numbers]
        if all(is_open):
            self._say(Degree.DROPPED, "line", row.name, "switches at both its ends are open")
            return [None, None]
        ends = [self._place(row, column) for column in ("from_bus", "to_bus")]
        if any(is_open) and None not in ends:
            end = f"open end of {row.name}"
            buses.append(Bus(end, self._volts[str(ends[is_open.index(False)])]))
            self._say(Degree.ASSUMED, "line", row.name, f"a switch at bus {ends[is_open.index(True)]} is open: it ends "
                      f"at a bus {end!r}")
            ends[is_open.index(True)] = end
        return ends

    def _lines(self, buses: list[Bus]) -> list[Line]:
        opened = self._open("l")
        found = []
        for row in self._rows("line"):
            ends = self._ends(row, opened[row.index], buses)
            km, parallel = self._take(row, "length_km"), self._parallel(row)
            r1, x1 = (self._take(row, f"{name}_ohm_per_km") * km / parallel for name in "rx")
            if row.get("r0_ohm_per_km") is None or row.get("x0_ohm_per_km") is None:
                self._assumed["zero"] += 1
                r0, x0 = HOMOPOLAR * r1, HOMOPOLAR * x1
            else:
                r0, x0 = (self._take(row, f"{name}0_ohm_per_km") * km / parallel for name in "rx")
            per_km = self._take(row, "c_nf_per_km", 0.0)
            c1, c0 = (1e-9 * km * parallel * nf for nf in (per_km, self._take(row, "c0_nf_per_km", per_km)))
            if row.get("g_us_per_km"):
                self._say(Degree.DROPPED, "line", row.name, f"its {row.get('g_us_per_km')} uS/km to ground")
            if None in ends:
                continue
            self._origins["line", row.name] = Origin(str(self._path))
            line = self._built(
                row, Line.of_sequence, id=row.name, from_bus=ends[0], to_bus=ends[1], r1=r1, x1=x1, r0=r0, x0=x0, c1=c1,
                c0=c0, ampacity=self._rating(row, parallel), length_m=km * 1000.0,
            )
            found += [line] if line is not None else []
        return found

    def _rating(self, row: Row, parallel: float) -> Rating | None:
        amperes = row.get("max_i_ka")
        if amperes is None or amperes == float("inf") or (is_figure(amperes) and amperes <= 0.0):
            return None
        amperes = self._take(row, "max_i_ka")
        kind = row.get("std_type")
        source = f"max_i_ka of {kind}, pandapower" if kind else "max_i_ka, pandapower"
        total = amperes * 1000.0 * self._take(row, "df", 1.0) * parallel
        rating = self._built(row, Rating.even, amperes=total, source=source)
        return rating if isinstance(rating, Rating) else None

    def _trafos(self) -> list[Transformer]:
        opened = self._open("t")
        found = []
        for row in self._rows("trafo"):
            if row.index in opened:
                self._say(Degree.DROPPED, "trafo", row.name, "a switch at its end is open")
                continue
            ends = self._place(row, "hv_bus"), self._place(row, "lv_bus")
            parallel = self._parallel(row)
            rated = self._take(row, "sn_mva") * 1e6 * parallel
            self._zero_sequence(row)
            tap = self._tap(row)
            if None in ends:
                continue
            self._origins["transformer", row.name] = Origin(str(self._path))
            transformer = self._built(
                row, Transformer, id=row.name, from_bus=ends[0], to_bus=ends[1], rated_va=rated,
                from_volts=self._take(row, "vn_hv_kv") * 1000.0, to_volts=self._take(row, "vn_lv_kv") * 1000.0,
                uk=self._take(row, "vk_percent") / 100.0, pk_w=self._take(row, "vkr_percent") / 100.0 * rated,
                vector_group=self._vector_group(row), i0=self._take(row, "i0_percent", 0.0) / 100.0,
                p0_w=self._take(row, "pfe_kw", 0.0) * 1000.0 * parallel, tap=tap,
            )
            found += [transformer] if transformer is not None else []
        return found

    def _vector_group(self, row: Row) -> str | None:
        """As the file says, with the clock of its phase shift where it gives none; None: it says nothing."""
        group = row.get("vector_group")
        if not group:
            return None
        if str(group)[-1].isdigit():
            return str(group)
        clock = min(max(self._take(row, "shift_degree", 0.0) / DEGREES_PER_CLOCK, -12.0), 12.0)
        if abs(clock - round(clock)) > CLOCK_TOLERANCE:
            self._reasons.append(row.refusal("shift_degree", "a multiple of 30 degrees"))
        return f"{group}{round(clock) % 12}"

    def _zero_sequence(self, row: Row) -> None:
        for name in ("vk", "vkr"):
            own, zero = row.get(f"{name}_percent"), row.get(f"{name}0_percent")
            if zero is not None and zero != own:
                self._say(Degree.APPROXIMATED, "trafo", row.name, f"{name}0_percent {zero} is taken as {name}_percent "
                          f"{own}: one impedance for all sequences")

        if row.get("mag0_percent") is not None:
            self._say(Degree.APPROXIMATED, "trafo", row.name, "its zero-sequence magnetisation (mag0_percent, mag0_rx, "
                      "si0_hv_partial) is not kept")

    def _tap(self, row: Row) -> Tap:
        position, neutral = (row.get(f"tap_{name}") for name in ("pos", "neutral"))
        if row.get("tap_dependency_table"):
            self._say(Degree.UNSUPPORTED, "trafo", row.name, "a tap changer with a table of its own")
        if position is None or neutral is None:
            return Tap()
        step = self._take(row, "tap_step_percent", 0.0) / 100.0
        if (row.get("tap_step_degree") or row.get("tap_phase_shifter")) and position != neutral:
            self._say(Degree.UNSUPPORTED, "trafo", row.name, "a tap changer that turns phases")
        side = Side.TO if row.get("tap_side") == "lv" else Side.FROM
        rated = self._take(row, "vn_lv_kv" if side is Side.TO else "vn_hv_kv") * 1000.0
        at = self._whole(row, "tap_pos")
        tap = self._built(
            row, Tap, side=side, position=at, lowest=self._whole(row, "tap_min", at),
            highest=self._whole(row, "tap_max", at), nominal=self._whole(row, "tap_neutral"),
            step_volts=abs(step) * rated,
        )
        if step < 0.0:
            self._say(Degree.UNSUPPORTED, "trafo", row.name, "tap_step_percent below 0")
        return tap or Tap()

    def _source(self) -> Source | None:
        rows = list(self._rows("ext_grid"))
        if not rows:
            self._reasons.append(f"{self._path}: $.ext_grid: empty, expected one row")
            return None
        for row in rows[1:]:
            self._say(Degree.UNSUPPORTED, "ext_grid", row.name, "is a second source, expected one")
        row = rows[0]
        bus = self._place(row, "bus")
        if bus is None:
            return None
        given = None if row.get("s_sc_max_mva") is None else self._take(row, "s_sc_max_mva")
        if given is None:
            self._say(Degree.ASSUMED, "ext_grid", row.name, f"no s_sc_max_mva: stiff, {STIFF_VA / 1e6:g} MVA")
        else:
            self._say(Degree.ASSUMED, "ext_grid", row.name, f"its {given:g} MVA count in every sequence; pandapower's "
                      "own three-phase flow holds the positive one stiff")
        source = self._built(
            row, Source, bus=bus, u_pu=self._take(row, "vm_pu"), angle_rad=radians(self._take(row, "va_degree", 0.0)),
            short_circuit_va=STIFF_VA if given is None else given * 1e6,
            rx_ratio=self._take(row, "rx_max", 0.1), z01_ratio=self._take(row, "x0x_max", 1.0), id=row.name,
        )
        return source if isinstance(source, Source) else None

    def _loads(self) -> None:
        for table, sign in (("load", 1.0), ("storage", 1.0), ("sgen", -1.0)):
            for row in self._rows(table):
                self._point(row, table, (self._power(row, "p_mw", "q_mvar", sign),), self._zips(row, table))
        for table, sign in (("asymmetric_load", 1.0), ("asymmetric_sgen", -1.0)):
            for row in self._rows(table):
                powers = tuple(self._power(row, f"p_{phase}_mw", f"q_{phase}_mvar", sign) for phase in PHASES)
                self._point(row, table, powers, (Zip(), Zip()))
        impedance = Zip(1.0, 0.0, 0.0)
        for row in self._rows("shunt"):
            self._shunt(row, impedance)
        for row in self._rows("ward"):
            self._point(row, "ward", (self._power(row, "ps_mw", "qs_mvar", 1.0),), (Zip(), Zip()))
            self._point(row, "ward impedance", (self._power(row, "pz_mw", "qz_mvar", 1.0),), (impedance, impedance))

    def _power(self, row: Row, active: str, reactive: str, sign: float) -> complex:
        power = complex(self._take(row, active, 0.0), self._take(row, reactive, 0.0))
        power *= sign * 1e6 * self._take(row, "scaling", 1.0)
        if not (is_power(power.real) and is_power(power.imag)):
            self._reasons.append(row.refusal(f"{active}, {reactive}", f"a power of at most {Most.POWER}"))
            return 0j
        return power

    def _zips(self, row: Row, table: str) -> tuple[Zip, Zip]:
        if table != "load":
            return Zip(), Zip()
        found = []
        for part in "pq":
            shares = [
                self._take(row, f"const_{name}_{part}_percent", self._take(row, f"const_{name}_percent", 0.0)) / 100.0
                for name in "zi"
            ]
            zips = self._built(row, Zip, impedance=shares[0], current=shares[1], power=1.0 - sum(shares))
            found.append(zips or Zip())
        return found[0], found[1]

    def _shunt(self, row: Row, impedance: Zip) -> None:
        bus = self._place(row, "bus")
        power = self._power(row, "p_mw", "q_mvar", 1.0) * self._take(row, "step", 1.0)
        if bus is None:
            return
        volts = self._take(row, "vn_kv", self._volts[bus] / 1000.0) * 1000.0
        if power.real == 0.0 and power.imag < 0.0:
            capacitor = self._built(row, Capacitor, id=f"shunt {row.name}", bus=bus, var=-power.imag,
                                    volts=volts / sqrt(3.0))
            self._capacitors += [capacitor] if capacitor is not None else []
        else:
            self._point(row, "shunt", (power * (self._volts[bus] / volts) ** 2,), (impedance, impedance))

    def _point(self, row: Row, kind: str, powers: tuple[complex, ...], zips: tuple[Zip, Zip]) -> None:
        """A connection point: one power for all phases, or one for each."""
        bus = self._place(row, "bus")
        if bus is None:
            return
        is_delta = str(row.get("type") or "wye") == "delta"
        if len(powers) == 1:
            phases, powers = PHASES, (powers[0] / len(PHASES),) * len(PHASES)
            self._assumed["even"] += 1
        elif is_delta:
            phases = PHASES
        else:
            phases = "".join(phase for phase, power in zip(PHASES, powers, strict=True) if power) or PHASES
            powers = tuple(powers[PHASES.index(phase)] for phase in phases)
        load_type = _load_type(zips, Connection.DELTA if is_delta else Connection.WYE)
        self._types.setdefault(load_type)
        name = row.name if row.name not in self._powers else f"{kind} {row.name}"
        self._origins["connection point", name] = Origin(str(self._path))
        self._powers[name] = powers
        self._points.append(ConnectionPoint(name, bus, phases, load_type=load_type.id))

    def _close(self) -> None:
        if self._assumed["zero"]:
            self._say(Degree.ASSUMED, "line", f"{self._assumed['zero']} lines", f"no zero-sequence data: "
                      f"{HOMOPOLAR:g} times the positive sequence, as of a fourth core like the others")
        if self._assumed["even"]:
            self._say(Degree.ASSUMED, "load", f"{self._assumed['even']} loads", "balanced in the file: a third on each "
                      "phase")


def _load_type(zips: tuple[Zip, Zip], connection: Connection) -> LoadType:
    if zips == (Zip(), Zip()):
        is_star = connection is Connection.WYE
        return CONSTANT_POWER if is_star else LoadType("constant power, delta", connection=connection)
    told = ["/".join(f"{share:g}" for share in (part.impedance, part.current, part.power)) for part in zips]
    return LoadType(f"{connection} {', '.join(told)}", zips[0], zips[1], connection=connection)


def _place(row: Row, places: Mapping[int, tuple[Any, Any]]) -> tuple[float, float] | None:
    """Where a bus is drawn: a GeoJSON point of its own, or a row of the older table."""
    found: Any = places.get(row.index)
    if isinstance(row.get("geo"), str):
        try:
            found = msgspec.json.decode(row.get("geo"), type=dict[str, Any]).get("coordinates")
        except msgspec.DecodeError:
            return None
    if not isinstance(found, (list, tuple)) or len(found) < 2:  # noqa: PLR2004 - x and y
        return None
    x, y = found[:2]
    return (float(x), float(y)) if is_figure(x) and is_figure(y) else None
