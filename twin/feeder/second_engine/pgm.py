"""A feeder as power-grid-model components: the columns of its input tables, and the number of each element.

power-grid-model knows three-phase nodes only. A phase that a line does not have is written as a conductor of its own
that couples with nothing and has no capacitance; as nothing draws from it, it carries nothing and changes nothing.
The optional validator of power-grid-model wants such couplings, and every capacitance, above 0; its engine does not.
A capacitor on three phases is a shunt; on fewer, and a primitive, it has no words there (`beyond`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.feeder.network.grounding import ties
from twin.feeder.network.model import Capacitor, Feeder, Line, Matrix, Side, Transformer, symmetric
from twin.feeder.network.phases import PHASES, Connection
from twin.feeder.network.transformer_model import Winding, vector_group

Row = dict[str, int | float | tuple[float, float, float]]

WINDINGS: Final = {
    Winding.STAR: 0, Winding.GROUNDED_STAR: 1, Winding.DELTA: 2, Winding.ZIGZAG: 3, Winding.GROUNDED_ZIGZAG: 4,
}
SIDES: Final = {Side.FROM: 0, Side.TO: 1}
ENTRIES: Final = (("aa", 0, 0), ("ba", 1, 0), ("bb", 1, 1), ("ca", 2, 0), ("cb", 2, 1), ("cc", 2, 2))
DIGITS: Final = (12, 15, 17)
"""Significant digits tried when a matrix is taken apart: figures as published have few, rounding adds some."""


@dataclass(frozen=True)
class Numbers:
    """The integer id of every element in power-grid-model, in the order of the feeder."""

    buses: dict[str, int]
    lines: dict[str, int]
    transformers: dict[str, int]
    source: int
    connection_points: dict[str, int]
    capacitors: dict[str, int]

    @classmethod
    def of(cls, feeder: Feeder) -> Numbers:
        count = iter(range(10**9))
        return cls(
            {bus.id: next(count) for bus in feeder.buses}, {line.id: next(count) for line in feeder.lines},
            {transformer.id: next(count) for transformer in feeder.transformers}, next(count),
            {point.id: next(count) for point in feeder.connection_points},
            {capacitor.id: next(count) for capacitor in feeder.capacitors if capacitor.phases == PHASES},
        )


def beyond(feeder: Feeder) -> list[str]:
    """Elements that power-grid-model cannot express, and why; empty: it can say it all."""
    kinds = {kind.id: kind for kind in feeder.load_types}
    found = [
        f"connection point {point.id}: a delta load" for point in feeder.connection_points
        if kinds[point.load_type].connection is Connection.DELTA
    ]
    found += [
        f"capacitor {capacitor.id}: on phases {capacitor.phases}" for capacitor in feeder.capacitors
        if capacitor.phases != PHASES
    ]
    found += [f"{primitive.kind} {primitive.id}: a matrix" for primitive in feeder.primitives]
    if feeder.source.z01_angle_rad:
        found.append(f"source {feeder.source.id}: a zero sequence of another angle than the positive one's")
    return found + [
        f"transformer {tie.element}: nothing grounded at its {tie.side} side" for tie in ties(feeder) if tie.side
    ]


def tables(feeder: Feeder) -> dict[str, list[Row]]:
    """Nodes, lines, transformers, three-phase capacitors and the source; no loads, and nothing of `beyond`."""
    numbers = Numbers.of(feeder)
    found: dict[str, list[Row]] = {
        "node": [{"id": numbers.buses[bus.id], "u_rated": bus.volts} for bus in feeder.buses],
        "line": [], "asym_line": [], "transformer": [],
        "source": [{
            "id": numbers.source, "node": numbers.buses[feeder.source.bus], "status": 1, "u_ref": feeder.source.u_pu,
            "u_ref_angle": feeder.source.angle_rad, "sk": feeder.source.short_circuit_va,
            "rx_ratio": feeder.source.rx_ratio, "z01_ratio": feeder.source.z01_ratio,
        }],
    }
    for line in feeder.lines:
        branch = _branch(numbers, numbers.lines[line.id], line)
        sequence = _sequence(line)
        if sequence is None:
            found["asym_line"].append(branch | _matrices(line))
        else:
            found["line"].append(branch | sequence)
    for transformer in feeder.transformers:
        branch = _branch(numbers, numbers.transformers[transformer.id], transformer)
        found["transformer"].append(branch | _transformer(transformer))
    found["shunt"] = [
        {"id": numbers.capacitors[capacitor.id], "node": numbers.buses[capacitor.bus], "status": 1} | _shunt(capacitor)
        for capacitor in feeder.capacitors if capacitor.phases == PHASES
    ]
    return {kind: rows for kind, rows in found.items() if rows}


def _shunt(capacitor: Capacitor) -> Row:
    if capacitor.connection is Connection.DELTA:
        return {"g1": 0.0, "b1": 3.0 * capacitor.siemens, "g0": 0.0, "b0": 0.0}
    return {"g1": 0.0, "b1": capacitor.siemens, "g0": 0.0, "b0": capacitor.siemens}


def _branch(numbers: Numbers, number: int, branch: Line | Transformer) -> Row:
    return {
        "id": number, "from_node": numbers.buses[branch.from_bus], "to_node": numbers.buses[branch.to_bus],
        "from_status": 1, "to_status": 1,
    }


def _sequence(line: Line) -> Row | None:
    """As positive- and zero-sequence figures, if they say exactly the same."""
    if line.phases != PHASES:
        return None
    found: Row = {}
    for name, matrix in (("r", line.r_ohm), ("x", line.x_ohm), ("c", line.c_farad)):
        own, between = matrix[0][0], matrix[0][1]
        for digits in DIGITS:
            one, zero = (float(f"{value:.{digits}g}") for value in (own - between, own + 2.0 * between))
            if symmetric((zero + 2.0 * one) / 3.0, (zero - one) / 3.0) == matrix:
                found[f"{name}1"], found[f"{name}0"] = one, zero
                break
        else:
            return None
    return found | {"tan1": 0.0, "tan0": 0.0}


def _matrices(line: Line) -> Row:
    there = [PHASES.index(phase) for phase in line.phases]
    found: Row = {}
    for name, matrix in (("r", line.r_ohm), ("x", line.x_ohm), ("c", line.c_farad)):
        own = 0.0 if name == "c" else float(np.mean([matrix[phase][phase] for phase in there]))
        filled: Matrix = symmetric(own, 0.0)
        for entry, i, j in ENTRIES:
            found[f"{name}_{entry}"] = matrix[i][j] if i in there and j in there else filled[i][j]
    return found


def _transformer(transformer: Transformer) -> Row:
    if transformer.vector_group is None:
        raise ValueError(f"transformer {transformer.id}: vector_group: None, expected one such as Dyn11")
    group, tap = vector_group(transformer.vector_group), transformer.tap
    return {
        "u1": transformer.from_volts, "u2": transformer.to_volts, "sn": transformer.rated_va, "uk": transformer.uk,
        "pk": transformer.pk_w, "i0": transformer.i0, "p0": transformer.p0_w,
        "winding_from": WINDINGS[group.upper], "winding_to": WINDINGS[group.lower], "clock": group.clock,
        "tap_side": SIDES[tap.side], "tap_pos": tap.position, "tap_min": tap.lowest, "tap_max": tap.highest,
        "tap_nom": tap.nominal, "tap_size": tap.step_volts,
        "r_grounding_from": transformer.from_grounding_ohm[0], "x_grounding_from": transformer.from_grounding_ohm[1],
        "r_grounding_to": transformer.to_grounding_ohm[0], "x_grounding_to": transformer.to_grounding_ohm[1],
    }
