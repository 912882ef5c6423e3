"""The same flows worked out by OpenDSS: the second engine of feeders that power-grid-model cannot express.

Laterals of one and two phases, delta loads, regulators and anything that is a matrix. It needs the extra `dss`
(dss-python); it solves one step after the other, some thousand a second, so it is for importing and testing.
"""

from __future__ import annotations

from importlib import import_module
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.admittance import Indices
from twin.feeder.network.model import Feeder
from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import Complex, admittance
from twin.feeder.powerflow.flow import Solution
from twin.feeder.second_engine.check import Answers, Difference, NotCheckable, compare
from twin.feeder.second_engine.opendss_circuit import circuit

Real = NDArray[np.float64]

TOLERANCE: Final = 1e-10
ALGORITHMS: Final = ("normal", "newton")
"""Tried one after the other."""

MOST_ITERATIONS: Final = 200


class OpenDssChecker:
    """A feeder in OpenDSS, with an engine of its own (OpenDSS itself knows one circuit at a time).

    engine: dss-python's context, with the feeder's circuit in it.
    as_matrices: transformers that it was given as matrices, because OpenDSS has no such windings: for them this engine
    says nothing new but how they act on the rest.

    Raises:
        NotCheckable: the extra `dss` is not installed; an element conducts otherwise in one direction than in the
            other, or a load that jumps at its border goes with no power of its voltage.
    """

    def __init__(self, feeder: Feeder) -> None:
        try:
            package: Any = import_module("dss")  # an extra, needed by this engine alone
        except ImportError:
            raise NotCheckable("OpenDSS needs the extra dss: pip install 'v2g-aggregator[dss]'") from None
        written = circuit(feeder)
        if written.unsaid:
            raise NotCheckable(f"feeder {feeder.name}: {'; '.join(written.unsaid)}")
        self.as_matrices = written.as_matrices
        self._feeder = feeder
        self._bus = {bus.id: number for number, bus in enumerate(feeder.buses)}
        self.engine: Any = package.DSS.NewContext()
        self.engine.AllowForms = False
        text = self.engine.Text
        for command in (*written.commands, "set mode=snap", "set controlmode=off", f"set tolerance={TOLERANCE!r}",
                        f"set maxiterations={MOST_ITERATIONS}"):
            text.Command = command
        self._parts = np.array([part.terminal for part in written.parts], dtype=np.intp)
        self._active = np.array([part.active for part in written.parts])
        self._reactive = np.array([part.reactive for part in written.parts])
        self.engine.ActiveCircuit.Solution.SolveNoControl()
        self._volts_at, self._volts_from = self._node_rows()
        self._amperes_at, self._amperes_from = self._branch_rows()

    def check(self, solution: Solution) -> Difference:
        """Solve the steps of `solution` again and compare all voltages, line currents and transformer loadings."""
        return compare(solution, self.solve)

    def solve(self, block: Solution) -> Answers:
        """The steps of `block` in OpenDSS: its loads and its source's voltage, not its results."""
        feeder, columns = self._feeder, block.demand.shape[1]
        answers = Answers.none(feeder, columns)
        kw, kvar = self.demand(block)
        base = np.array([bus.volts / sqrt(3.0) for bus in feeder.buses])
        for step in range(columns):
            if not self._solved(kw[:, step], kvar[:, step], float(block.state[0, step].real)):
                continue
            volts, amperes = self._results()
            answers.u_pu[step], answers.angle[step] = np.abs(volts) / base[:, None], np.angle(volts)
            answers.from_a[step], answers.to_a[step] = np.abs(amperes)
            answers.loading[step] = self._loading(volts)
            answers.has_solution[step] = True
        return answers

    def demand(self, block: Solution) -> tuple[Real, Real]:
        """The kW and kvar of OpenDSS's loads, (load, step), in their order there."""
        watts, vars_ = block.demand.real[self._parts], block.demand.imag[self._parts]
        return watts * self._active[:, None] / 1e3, vars_ * self._reactive[:, None] / 1e3

    def set_loads(self, kw: Real, kvar: Real) -> None:
        """Those of one step, (load)."""
        loads = self.engine.ActiveCircuit.Loads
        for number, (active, reactive) in enumerate(zip(kw.tolist(), kvar.tolist(), strict=True), start=1):
            loads.idx = number
            loads.kW = active
            loads.kvar = reactive

    def _solved(self, kw: Real, kvar: Real, source_pu: float) -> bool:
        here = self.engine.ActiveCircuit
        here.Vsources.Name = "source"
        here.Vsources.pu = source_pu
        self.set_loads(kw, kvar)
        for algorithm in ALGORITHMS:
            self.engine.Text.Command = f"set algorithm={algorithm}"
            here.Solution.SolveNoControl()
            if here.Solution.Converged:
                return True
        return False

    def _node_rows(self) -> tuple[Indices, Indices]:
        """Where each of OpenDSS's nodes stands among (bus, phase), flat, and its row there; no star points."""
        at, rows = [], []
        for row, name in enumerate(self.engine.ActiveCircuit.AllNodeNames):
            bus, node = name[1:].split(".")
            if int(node) <= len(PHASES):
                at.append(3 * int(bus) + int(node) - 1)
                rows.append(row)
        return np.array(at, dtype=np.intp), np.array(rows, dtype=np.intp)

    def _branch_rows(self) -> tuple[Indices, Indices]:
        """Where currents of lines stand among (end, line, phase), flat, and in OpenDSS's list of all currents."""
        elements = self.engine.ActiveCircuit.PDElements
        at, rows, start = [], [], 0
        for name, conductors, terminals in zip(
            elements.AllNames, elements.AllNumConductors, elements.AllNumTerminals, strict=True
        ):
            kind, _, own = name.lower().partition(".")
            if kind == "line":
                number = int(own[1:])
                for end in range(2):
                    for place, phase in enumerate(self._feeder.lines[number].phases):
                        at.append(3 * (len(self._feeder.lines) * end + number) + PHASES.index(phase))
                        rows.append(start + conductors * end + place)
            start += conductors * terminals
        return np.array(at, dtype=np.intp), np.array(rows, dtype=np.intp)

    def _results(self) -> tuple[Complex, Complex]:
        """Volts (bus, phase) and amperes (end, line, phase); NaN where there is no phase."""
        here = self.engine.ActiveCircuit
        volts = np.full(3 * len(self._feeder.buses), np.nan, dtype=np.complex128)
        volts[self._volts_at] = _complex(here.AllBusVolts)[self._volts_from]
        amperes = np.full(6 * len(self._feeder.lines), np.nan, dtype=np.complex128)
        if len(self._amperes_at):
            amperes[self._amperes_at] = _complex(here.PDElements.AllCurrents)[self._amperes_from]
        return volts.reshape(-1, 3), amperes.reshape(2, -1, 3)

    def _loading(self, volts: Complex) -> Real:
        """Of the transformers; from their terminals' voltages and currents, or their matrices where they are such."""
        found = np.empty(len(self._feeder.transformers))
        here = self.engine.ActiveCircuit
        for number, transformer in enumerate(self._feeder.transformers):
            if transformer.id in self.as_matrices:
                v = np.concatenate((volts[self._bus[transformer.from_bus]], volts[self._bus[transformer.to_bus]]))
                size = np.abs(v * np.conjugate(admittance(transformer) @ v)).reshape(2, 3)
            else:
                here.SetActiveElement(f"transformer.t{number}")
                size = 1e3 * np.abs(_complex(here.ActiveCktElement.Powers)).reshape(2, 4)[:, :3]
            found[number] = size.sum(axis=1).max() / transformer.rated_va
        return found


def _complex(pairs: Real) -> Complex:
    """Real and imaginary parts, one after the other, as complex numbers."""
    return np.ascontiguousarray(pairs, dtype=np.float64).view(np.complex128)
