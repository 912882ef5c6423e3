"""Ask the second engine what a schedule does to a feeder: its own flow, its own count.

Nothing of the planner's rows is used: voltages, currents and loadings come from power-grid-model for every element. Of
a transformer it says the loading as a whole; the currents of its phases follow from voltages that it has confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import TO_SEQUENCE
from twin.feeder.powerflow.flow import Solution
from twin.feeder.scene import Limits, Scene
from twin.feeder.second_engine.check import Answers, Checker, Difference, NotCheckable, compare

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SAME = 1e-7
"""Share of a limit below which two engines do not differ; the first counts what is above 0."""


@dataclass(frozen=True)
class Verdict:
    """What the second engine says.

    difference: how far both are apart; None: it cannot express this feeder, for `reason`.
    attributable: (element, phase, step) that break with EVs and not without, and steps that lose their solution.
    worst_percent: the largest excess among them, per cent of the rated value; inf: a step without solution.
    """

    difference: Difference | None
    attributable: int = 0
    worst_percent: float = 0.0
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether both engines say the same flow, and this one counts nothing that breaks because of EVs."""
        return self.difference is not None and self.difference.agrees and self.attributable == 0


def ask(scene: Scene, limits: Limits, base: Solution, with_evs: Solution) -> Verdict:
    """The second engine's verdict on the steps of two solutions of the scene's feeder."""
    try:
        checker = Checker(scene.feeder)
    except NotCheckable as refusal:
        return Verdict(None, reason=str(refusal))
    after: list[Answers] = []

    def solve(block: Solution) -> Answers:
        after.append(checker.solve(block))
        return after[-1]

    difference = compare(with_evs, solve)
    count, worst, start = 0, 0.0, 0
    for new in after:
        end = start + len(new.has_solution)
        block = Solution(base.flow, (end - start,), base.state[:, start:end], base.demand[:, start:end],
                         base.has_solution[start:end])
        old, start = checker.solve(block), end
        lost = old.has_solution & ~new.has_solution
        count, worst = count + int(lost.sum()), np.inf if lost.any() else worst
        with np.errstate(invalid="ignore"):
            for without, with_ in zip(_excess(scene, limits, old), _excess(scene, limits, new), strict=True):
                broken = (with_ > SAME) & (without <= SAME)
                count += int(broken.sum())
                worst = max(worst, 100.0 * float(with_[broken].max(initial=0.0)))
    return Verdict(difference, count, worst)


def _excess(scene: Scene, limits: Limits, answers: Answers) -> list[Floats]:
    """Above each limit, (step, ...), as a share of the rated value; NaN where it does not apply."""
    feeder = scene.feeder
    row = {bus.id: number for number, bus in enumerate(feeder.buses)}
    places = sorted({(row[point.bus], PHASES.index(phase)) for point in feeder.connection_points
                     for phase in point.phases})
    bus, phase = (np.array(part, dtype=np.intp) for part in zip(*places, strict=True))
    size = answers.u_pu[:, bus, phase]
    amperes = [line.ampacity.amperes if line.ampacity else (np.nan,) * 3 for line in feeder.lines]
    rated = np.array(amperes).reshape(-1, 3)
    loading = np.maximum(answers.from_a, answers.to_a) / rated
    found = [
        size - limits.voltage_pu[1], limits.voltage_pu[0] - size, loading - limits.line_loading,
        answers.loading - limits.transformer_loading,
    ]
    if limits.unbalance is not None:
        whole = np.unique([number for number, _ in places if feeder.buses[number].phases == PHASES]).astype(np.intp)
        volts = answers.u_pu[:, whole] * np.exp(1j * answers.angle[:, whole])
        sequence = np.abs(np.einsum("sp,tbp->stb", TO_SEQUENCE[1:], volts))
        found.append(sequence[1] / sequence[0] - limits.unbalance)
    return found
