"""OpenDSS circuits as feeders: the compiled circuit's own matrices, not a second reading of its input language.

Lines and three-phase transformers become what they are, checked against OpenDSS's admittance of each; everything else
that is linear is held as that admittance, at the tap and switch position in which OpenDSS solved the circuit.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from twin.dss_process.extract import ElementFound, Extract, Order
from twin.feeder.importers.imported import Degree, Finding, Imported, ImportRefused, Reference
from twin.feeder.importers.opendss.branches import Branches, Ports
from twin.feeder.importers.opendss.points import Points
from twin.feeder.importers.opendss.script import Script, read_script
from twin.feeder.importers.opendss.source import source_of
from twin.feeder.network.model import Bus, Feeder, Origin
from twin.feeder.network.phases import PHASES
from twin.feeder.network.plausible import FeederError

CIRCUIT: Final = "vsource.source"
"""What a circuit begins with."""

TIMEOUT_S: Final = 120.0
DIGITS: Final = 9
"""Of a voltage base, which OpenDSS hands over divided by the root of three."""

BRANCHES: Final = frozenset({"line", "transformer", "autotrans", "capacitor", "reactor", "fault"})
INFEEDS: Final = frozenset({"generator", "pvsystem", "storage"})
CONTROLS: Final = frozenset({
    "regcontrol", "capcontrol", "swtcontrol", "relay", "fuse", "recloser", "invcontrol", "storagecontroller",
    "expcontrol", "gendispatcher", "esprvlcontrol", "upfccontrol",
})


def read_opendss(path: Path) -> Imported:
    """Read a .dss file and all that it redirects to, compile and solve it with OpenDSS, and take the circuit over.

    Raises:
        ImportRefused: the extra `dss` is not installed; the script is refused, OpenDSS does not take it, or an element
            cannot be had.
    """
    script = read_script(path)
    if CIRCUIT not in script.places:
        raise ImportRefused(path, f"{path}: makes no circuit, expected `New Circuit.name` there or where it redirects")
    if find_spec("dss") is None:
        raise ImportRefused(path, f"{path}: OpenDSS files need the extra `dss`: pip install 'v2g-aggregator[dss]'")
    return _Builder(path, script, _compiled(path, script)).imported()


def _compiled(path: Path, script: Script) -> Extract:
    order = Order([(command.text, str(command.folder)) for command in script.commands])
    try:
        # -P: no module is taken from the working folder.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "twin.dss_process.engine"], input=msgspec.json.encode(order),
            capture_output=True, timeout=TIMEOUT_S, check=False,
        )
    except subprocess.TimeoutExpired:
        raise ImportRefused(path, f"{path}: OpenDSS did not end within {TIMEOUT_S:g} s") from None
    if done.returncode:
        if done.returncode < 0:
            raise ImportRefused(path, f"{path}: OpenDSS crashed on it (signal {-done.returncode})")
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ImportRefused(path, f"{path}: OpenDSS ended with {done.returncode}: {said[-1] if said else 'no word'}")
    try:
        extract = msgspec.json.decode(done.stdout, type=Extract)
    except msgspec.DecodeError as error:
        raise ImportRefused(path, f"{path}: OpenDSS handed over no circuit: {error}") from None
    if extract.errors:
        raise ImportRefused(path, *(
            f"{script.commands[number].origin if number >= 0 else _place(script, said, path)}: OpenDSS: {said}"
            for number, said in extract.errors
        ), f"{path}: there may be more: elements are judged when OpenDSS takes every command")
    return extract


def _place(script: Script, said: str, path: Path) -> str:
    """Where the element stands with whose name a complaint begins."""
    return str(script.places.get(said.partition(": ")[0], path))


class _Builder:
    """The way from OpenDSS's circuit to a feeder."""

    def __init__(self, path: Path, script: Script, extract: Extract) -> None:
        self._path = path
        self._script = script
        self._extract = extract
        self._findings = list(script.findings)
        self._volts = {bus.name: float(f"{bus.volts:.{DIGITS}g}") for bus in extract.buses}

    def imported(self) -> Imported:
        extract = self._extract
        if not extract.converged:
            self._say(Degree.MISSING, "circuit", extract.name, "OpenDSS found no solution to compare with"
                      f"{': ' * bool(extract.why_not)}{extract.why_not}")
        alive = self._alive()
        try:
            ports = Ports(extract.elements, self._say)
            branches = Branches(extract, self._script, ports, self._volts, self._say)
            for element in alive:
                if element.kind in BRANCHES:
                    branches.add(element)
            branches.close()
            points = Points(self._volts, _by_node(extract.volts), self._say)
            for element in alive:
                if element.load is not None:
                    points.load(element, element.load)
                elif element.kind in INFEEDS:
                    points.infeed(element)
            sources = [element for element in alive if element.kind == "vsource"]
            source = source_of(sources, branches, self._volts, self._say)
        except FeederError as error:
            raise ImportRefused(self._path, f"{self._path}: {error}") from None
        self._rest(branches)
        feeder = Feeder(
            name=extract.name, buses=tuple(self._buses(alive)), lines=tuple(branches.lines), source=source,
            transformers=tuple(branches.transformers), connection_points=tuple(points.connection_points),
            load_types=points.load_types(), frequency_hz=extract.frequency,
            provenance=f"{self._path.name}, compiled by {extract.version}",
            capacitors=tuple(branches.capacitors), primitives=tuple(branches.primitives), origins=self._origins(),
        )
        loads = points.loads(feeder, extract.shapes, self._say)
        findings = tuple(sorted(self._findings, key=lambda finding: list(Degree).index(finding.degree)))
        reference = Reference("OpenDSS", _by_node(extract.volts), _by_node(extract.volts_open))
        return Imported(feeder, findings, loads, reference if extract.converged else None)

    def _say(self, degree: Degree, kind: str, element: str, said: str) -> None:
        origin = self._script.places.get(f"{kind}.{element}")
        self._findings.append(Finding(degree, kind, element, said, origin))

    def _alive(self) -> list[ElementFound]:
        """Elements that are connected: without branches that are open, and without what only those reach."""
        elements = []
        for element in self._extract.elements:
            if element.kind in BRANCHES and element.open:
                self._say(Degree.DROPPED, element.kind, element.name, f"is open at terminal {element.open[0]}")
            else:
                elements.append(element)
        if len(elements) == len(self._extract.elements) and not self._extract.disabled:
            return elements
        beside: dict[str, set[str]] = defaultdict(set)
        for element in elements:
            if element.kind in BRANCHES:
                for bus in element.buses:
                    beside[bus] |= set(element.buses)
        todo = {bus for element in elements if element.kind == "vsource" for bus in element.buses}
        fed: set[str] = set()
        while todo:
            fed.add(bus := todo.pop())
            todo |= beside[bus] - fed
        dead = [element for element in elements if element.buses[0] not in fed]
        for element in dead:
            self._say(Degree.DROPPED, element.kind, element.name, "is cut off by what is open or not enabled")
        return [element for element in elements if element.buses[0] in fed]

    def _buses(self, alive: list[ElementFound]) -> list[Bus]:
        used: dict[str, set[int]] = defaultdict(set)
        for element in alive:
            for place, node in enumerate(element.nodes):
                used[element.buses[place // element.conductors]].add(node)
        found = []
        for bus in self._extract.buses:
            phases = "".join(PHASES[node - 1] for node in sorted(used[bus.name]) if 1 <= node <= len(PHASES))
            if not phases:
                continue
            if not bus.volts:
                self._say(Degree.UNSUPPORTED, "bus", bus.name, "no voltage base, expected `set voltagebases` to fit")
                continue
            found.append(Bus(bus.name, self._volts[bus.name], phases, bus.xy))
        return found

    def _rest(self, branches: Branches) -> None:
        for element in self._extract.disabled:
            kind, _, name = element.partition(".")
            if kind not in {"monitor", "energymeter"}:
                self._say(Degree.DROPPED, kind, name, "is not enabled")
        moved = {control: transformer for transformer, control in self._extract.controlled.items()}
        for kind, name in self._extract.others:
            if kind == "regcontrol" and name in moved:
                self._say(Degree.FROZEN, kind, name, f"transformer {moved[name]} stays at {branches.tap(moved[name])}, "
                          "as OpenDSS solved it")
            elif kind in CONTROLS:
                self._say(Degree.FROZEN, kind, name, "what it controls stays as OpenDSS solved it")
            else:
                self._say(Degree.UNSUPPORTED, kind, name, "is no element that a feeder can hold")

    def _origins(self) -> dict[tuple[str, str], Origin]:
        """By the names that faults are told under; of a bus the first element that mentions it."""
        ours = {"load": "connection point", "generator": "connection point", "pvsystem": "connection point",
                "storage": "connection point", "vsource": "source"}
        places = self._script.places
        origins = {
            (ours.get(kind, kind), name): origin
            for (kind, _, name), origin in ((place.partition("."), origin) for place, origin in places.items())
        }
        for element in self._extract.elements:
            if (origin := places.get(f"{element.kind}.{element.name}")) is not None:
                for bus in element.buses:
                    origins.setdefault(("bus", bus), origin)
        return origins


def _by_node(volts: list[tuple[str, int, float, float]]) -> dict[tuple[str, str], complex]:
    return {
        (bus, PHASES[node - 1]): complex(real, imaginary)
        for bus, node, real, imaginary in volts if 1 <= node <= len(PHASES)
    }
