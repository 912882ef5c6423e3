"""Networks of pandapower from their JSON: tables inside JSON, read without pandapower.

Parameters mean what pandapower's documentation of its elements says; what its balanced tables leave open about phases
is assumed and named. Its three-phase solver treats two things otherwise: the grid above is stiff in the positive
sequence there, and zero-sequence magnetisation has parameters of its own.
"""

from __future__ import annotations

from math import radians
from pathlib import Path
from typing import Final

from twin.feeder.importers.imported import HOMOPOLAR, Degree, Imported, ImportedLoads, ImportRefused, at_terminals
from twin.feeder.importers.pandapower.branches import lines, switches, trafos
from twin.feeder.importers.pandapower.buses import buses
from twin.feeder.importers.pandapower.points import Points
from twin.feeder.importers.pandapower.reading import Reading
from twin.feeder.importers.pandapower.tables import Table, read_network
from twin.feeder.network.connections import CONSTANT_POWER
from twin.feeder.network.model import Feeder, Source

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


def read_pandapower(path: Path) -> Imported:
    """Read a network that `pandapower.to_json` has written.

    Raises:
        ImportRefused: not such a file, or values that are missing or impossible; all of them at once.
    """
    reading = Reading(path, read_network(path))
    _say_what_is_unsupported(reading)
    kept = buses(reading)
    branches = [*switches(reading), *lines(reading, kept)]
    transformers = trafos(reading)
    source = _source(reading)
    points = Points(reading)
    points.read()
    if reading.reasons or source is None:
        raise ImportRefused(path, *reading.reasons)
    _say_what_is_assumed(reading)
    feeder = Feeder(
        name=str(reading.network.get("name") or path.stem), buses=tuple(kept), lines=tuple(branches),
        source=source, transformers=tuple(transformers), connection_points=tuple(points.points),
        load_types=tuple(points.types) or (CONSTANT_POWER,), frequency_hz=float(reading.network.get("f_hz") or 50.0),
        provenance=f"{path.name}, pandapower", capacitors=tuple(points.capacitors), origins=reading.origins,
    )
    findings = tuple(sorted(reading.findings, key=lambda finding: list(Degree).index(finding.degree)))
    p_w, q_var = at_terminals(feeder, points.powers)
    return Imported(feeder, findings, ImportedLoads(p_w, q_var, ("",) * len(p_w)))


def _say_what_is_unsupported(reading: Reading) -> None:
    for table, rows in reading.network.items():
        if isinstance(rows, Table) and table not in READ | NO_NETWORK and not table.startswith(("_", "res_")):
            for row in rows:
                reading.say(Degree.UNSUPPORTED, table, row.name, "is no element that a feeder can hold")


def _source(reading: Reading) -> Source | None:
    rows = list(reading.rows("ext_grid"))
    if not rows:
        reading.reasons.append(f"{reading.path}: $.ext_grid: empty, expected one row")
        return None
    for row in rows[1:]:
        reading.say(Degree.UNSUPPORTED, "ext_grid", row.name, "is a second source, expected one")
    row = rows[0]
    bus = reading.place(row, "bus")
    if bus is None:
        return None
    given = None if row.get("s_sc_max_mva") is None else reading.take(row, "s_sc_max_mva")
    if given is None:
        reading.say(Degree.ASSUMED, "ext_grid", row.name, f"no s_sc_max_mva: stiff, {STIFF_VA / 1e6:g} MVA")
    else:
        reading.say(Degree.ASSUMED, "ext_grid", row.name, f"its {given:g} MVA count in every sequence; pandapower's "
                    "own three-phase flow holds the positive one stiff")
    source = reading.built(
        row, Source, bus=bus, u_pu=reading.take(row, "vm_pu"), angle_rad=radians(reading.take(row, "va_degree", 0.0)),
        short_circuit_va=STIFF_VA if given is None else given * 1e6,
        rx_ratio=reading.take(row, "rx_max", 0.1), z01_ratio=reading.take(row, "x0x_max", 1.0), id=row.name,
    )
    return source if isinstance(source, Source) else None


def _say_what_is_assumed(reading: Reading) -> None:
    if reading.assumed["zero"]:
        reading.say(Degree.ASSUMED, "line", f"{reading.assumed['zero']} lines", f"no zero-sequence data: "
                    f"{HOMOPOLAR:g} times the positive sequence, as of a fourth core like the others")
    if reading.assumed["even"]:
        reading.say(Degree.ASSUMED, "load", f"{reading.assumed['even']} loads", "balanced in the file: a third on each "
                    "phase")
