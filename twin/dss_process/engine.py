"""Run OpenDSS on commands that were looked through, and hand its circuit over: `python -m` this, JSON in, JSON out.

In a process of its own: OpenDSS keeps one circuit for the whole process, moves its working folder, and may crash or
never end on what it is given. No byte can be written to any file from here.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from math import isfinite
from typing import Any, Final

import msgspec

from twin.dss_process.extract import (
    BusFound,
    ElementFound,
    Extract,
    LoadFound,
    Order,
    ShapeFound,
    WindingFound,
)

MOST_ERRORS: Final = 50
TOLERANCE: Final = 1e-10
MOST_ITERATIONS: Final = 200
MOST_CONTROL_ITERATIONS: Final = 100
MOST_MEMORY: Final = 4 * 2**30
OPEN_RANGE: Final = (("Vlowpu", "0.0001"), ("Vminpu", "0.0002"), ("Vmaxpu", "10"))

WITH_ADMITTANCE: Final = frozenset({"line", "transformer", "autotrans", "capacitor", "reactor", "vsource", "fault"})
WITH_POWERS: Final = frozenset({"load", "generator", "pvsystem", "storage", "vsource"})
WATCHING: Final = frozenset({"energymeter", "monitor", "sensor"})


def main() -> None:
    """Read an `Order` from stdin, write an `Extract` to stdout."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    # OpenDSS may print: what it prints must not come between us and our reader.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _write_nothing()
    answer.write(msgspec.json.encode(_extract(order)))
    answer.flush()
    answer.close()
    # OpenDSS's own clean-up has nothing to save.
    os._exit(0)


def _write_nothing() -> None:
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _extract(order: Order) -> Extract:
    # By its name: an extra, which who has no .dss does not need.
    dss: Any = import_module("dss")
    engine, failure = dss.DSS, dss.DSSException
    engine.AllowForms = False
    engine.AllowEditor = False
    engine.AllowDOScmd = False
    version = " ".join(engine.Version.split("\n")[0].split()[:5])
    errors: list[tuple[int, str]] = []
    here = ""
    for number, (text, folder) in enumerate(order.commands):
        try:
            if folder != here:
                os.chdir(folder)
                here = folder
            engine.Text.Command = text
        except (failure, OSError) as error:
            errors.append((number, " ".join(str(error).split())))
            if len(errors) >= MOST_ERRORS:
                break
    if errors:
        return Extract(version, errors)
    if engine.NumCircuits == 0:
        return Extract(version, [(-1, "no circuit is made, expected `New Circuit.name`")])
    circuit = engine.ActiveCircuit
    why_not = ""
    try:
        _bases(engine, circuit)
        _solve(engine, circuit)
    except failure as error:
        why_not = " ".join(str(error).split())
    found = _found(circuit, version, why_not)
    if errors := _not_finite(found):
        return Extract(version, errors)
    if not all(isfinite(part) for *_, real, imaginary in found.volts for part in (real, imaginary)):
        return _unsolved(found)
    return found if why_not else msgspec.structs.replace(found, volts_open=_with_ranges_open(circuit))


def _not_finite(found: Extract) -> list[tuple[int, str]]:
    """Elements whose own figures are no numbers: nothing can be made of them, and JSON has no words for them."""
    said = []
    for element in found.elements:
        load = element.load
        figures = {"admittance": element.admittance, "kW, kvar": [] if load is None else [load.kw, load.kvar],
                   "kV": [] if load is None else [load.kv]}
        said += [
            (-1, f"{element.kind}.{element.name}: {name}: expected finite numbers")
            for name, values in figures.items() if not all(isfinite(value) for value in values)
        ]
    return said[:MOST_ERRORS]


def _unsolved(found: Extract) -> Extract:
    """Without the figures of a solution that are no numbers."""
    return msgspec.structs.replace(
        found, converged=False, why_not="what it worked out is no number", volts=[], volts_open=[], elements=[
            msgspec.structs.replace(element, powers=[0.0 for _ in element.powers]) for element in found.elements
        ],
    )


def _bases(dss: Any, circuit: Any) -> None:
    """Voltage bases where the script sets none: those of the windings and of the source."""
    circuit.Solution.Mode = 0
    names = circuit.AllBusNames
    if all(circuit.Buses(name).kVBase > 0.0 for name in names):
        return
    volts = {circuit.Vsources.BasekV} if circuit.Vsources.First else set()
    transformers = circuit.Transformers
    more = transformers.First
    while more:
        phases = circuit.ActiveCktElement.NumPhases
        for winding in range(1, transformers.NumWindings + 1):
            transformers.Wdg = winding
            volts.add(transformers.kV * (3.0**0.5 if phases == 1 and not transformers.IsDelta else 1.0))
        more = transformers.Next
    dss.Text.Command = f"set voltagebases=[{' '.join(f'{one:.6g}' for one in sorted(volts, reverse=True))}]"
    dss.Text.Command = "calcvoltagebases"


def _solve(dss: Any, circuit: Any) -> None:
    """Once with the script's control mode, so that taps find their place; then tightly with them held."""
    solution = circuit.Solution
    solution.MaxControlIterations = max(solution.MaxControlIterations, MOST_CONTROL_ITERATIONS)
    solution.Solve()
    dss.Text.Command = "set controlmode=off"
    solution.Tolerance = TOLERANCE
    solution.MaxIterations = MOST_ITERATIONS
    solution.Solve()


def _with_ranges_open(circuit: Any) -> list[tuple[str, int, float, float]]:
    """Volts once more, with loads that keep to their law at any voltage: OpenDSS's ranges blur at their lower end."""
    names = circuit.Loads.AllNames if circuit.Loads.Count else []
    for name in names:
        circuit.SetActiveElement(f"load.{name}")
        for field, value in OPEN_RANGE:
            circuit.ActiveCktElement.Properties(field).Val = value
    circuit.Solution.Solve()
    return _volts(circuit) if circuit.Solution.Converged else []


def _volts(circuit: Any) -> list[tuple[str, int, float, float]]:
    volts = circuit.YNodeVarray
    return [
        (name.lower().rpartition(".")[0], int(name.rpartition(".")[2]), float(volts[2 * row]),
         float(volts[2 * row + 1])) for row, name in enumerate(circuit.YNodeOrder)
    ]


def _found(circuit: Any, version: str, why_not: str) -> Extract:
    elements: list[ElementFound] = []
    others: list[tuple[str, str]] = []
    disabled: list[str] = []
    factor = circuit.Solution.LoadMult
    for whole in circuit.AllElementNames:
        kind, _, name = whole.lower().partition(".")
        circuit.SetActiveElement(whole)
        active = circuit.ActiveCktElement
        if not active.Enabled:
            disabled.append(whole.lower())
        elif kind in WITH_ADMITTANCE | WITH_POWERS:
            elements.append(_element(circuit, active, kind, name, factor))
        elif kind not in WATCHING:
            others.append((kind, name))
    found = circuit.AllBusNames
    buses = []
    for bus in found:
        circuit.SetActiveBus(bus)
        active = circuit.ActiveBus
        buses.append(BusFound(
            bus.lower(), active.kVBase * 1000.0 * 3.0**0.5, [int(node) for node in active.Nodes],
            (float(active.x), float(active.y)) if active.Coorddefined else None,
        ))
    return Extract(
        version, [], circuit.Name.lower(), circuit.Solution.Frequency, bool(circuit.Solution.Converged) and not why_not,
        why_not, buses, elements, others, _controlled(circuit), disabled, _shapes(circuit, elements),
        _volts(circuit),
    )


def _element(circuit: Any, active: Any, kind: str, name: str, factor: float) -> ElementFound:
    nodes = [int(node) for node in active.NodeOrder]
    values: dict[str, float | str] = {}
    windings: list[WindingFound] = []
    load = None
    if kind == "line":
        line = circuit.Lines
        line.Name = name
        values = {"length": line.Length, "units": int(line.Units), "norm_amps": line.NormAmps,
                  "linecode": line.LineCode.lower(), "is_switch": float(line.IsSwitch),
                  "geometry": line.Geometry.lower(), "spacing": line.Spacing.lower()}
    elif kind == "transformer":
        windings, values = _transformer(circuit, active, name)
    elif kind == "capacitor":
        capacitor = circuit.Capacitors
        capacitor.Name = name
        values = {"kvar": capacitor.kvar, "kv": capacitor.kV, "is_delta": float(capacitor.IsDelta),
                  "phases": int(active.NumPhases), "is_on": float(all(capacitor.States))}
    elif kind == "vsource":
        values = {field: active.Properties(field).Val for field in ("basekv", "pu", "angle", "Z1", "Z0", "phases",
                                                                    "sequence", "frequency")}
    elif kind == "load":
        load = _load(circuit, active, name, factor)
    powers = [float(value) for value in active.Powers] if kind in WITH_POWERS - {"load"} else []
    opened = [terminal for terminal in range(1, active.NumTerminals + 1) if active.IsOpen(terminal, 0)
              and all(active.IsOpen(terminal, phase) for phase in range(1, active.NumPhases + 1))]
    return ElementFound(
        kind, name, [bus.lower().partition(".")[0] for bus in active.BusNames], nodes, int(active.NumConductors),
        [float(value) for value in active.Yprim] if kind in WITH_ADMITTANCE else [], powers, opened, values, windings,
        load,
    )


def _transformer(circuit: Any, active: Any, name: str) -> tuple[list[WindingFound], dict[str, float | str]]:
    transformer = circuit.Transformers
    transformer.Name = name
    windings = []
    for number in range(1, transformer.NumWindings + 1):
        transformer.Wdg = number
        windings.append(WindingFound(
            transformer.kV, transformer.kVA, transformer.Tap, bool(transformer.IsDelta), int(transformer.NumTaps),
            transformer.MinTap, transformer.MaxTap, transformer.R, transformer.Rneut, transformer.Xneut,
        ))
    values: dict[str, float | str] = {
        "xhl": transformer.Xhl, "phases": int(active.NumPhases),
        "no_load_loss": float(active.Properties("%noloadloss").Val), "imag": float(active.Properties("%imag").Val),
        "lead_lag": active.Properties("LeadLag").Val.lower(),
    }
    return windings, values


def _load(circuit: Any, active: Any, name: str, factor: float) -> LoadFound:
    load = circuit.Loads
    load.Name = name
    is_fixed = active.Properties("status").Val.lower().startswith("f")
    times = 1.0 if is_fixed else factor
    daily, yearly = load.daily, load.Yearly
    shape, kind = (daily, "daily") if daily else (yearly, "yearly")
    return LoadFound(
        load.kW * times, load.kvar * times, load.kV, int(load.Model), (load.Vminpu, load.Vmaxpu), bool(load.IsDelta),
        int(active.NumPhases), [float(share) for share in load.ZIPV] if int(load.Model) == 8 else [],  # noqa: PLR2004 - OpenDSS's number of the ZIP model
        (load.CVRwatts, load.CVRvars), float(active.Properties("Vlowpu").Val), (shape or "").lower(),
        kind if shape else "",
    )


def _controlled(circuit: Any) -> dict[str, str]:
    """Which transformer each regulator control moves."""
    found = {}
    controls = circuit.RegControls
    more = controls.First
    while more:
        found[controls.Transformer.lower()] = controls.Name.lower()
        more = controls.Next
    return found


def _shapes(circuit: Any, elements: list[ElementFound]) -> list[ShapeFound]:
    wanted = {element.load.shape for element in elements if element.load and element.load.shape}
    found = []
    for name in circuit.LoadShapes.AllNames:
        if name.lower() in wanted:
            shapes = circuit.LoadShapes
            shapes.Name = name
            # Without values of its own a shape has a single one that means nothing.
            values = [float(value) for value in shapes.Pmult] if len(shapes.Pmult) == shapes.Npts else []
            found.append(ShapeFound(
                name.lower(), shapes.HrInterval * 3600.0, values,
                bool(shapes.UseActual), len(shapes.Qmult) == len(shapes.Pmult) > 1,
            ))
    return found


if __name__ == "__main__":
    main()
