"""What an importer hands over: the feeder, what hangs on it, and what did not come through unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.admittance import terminals_of
from twin.feeder.network.model import Feeder, Origin
from twin.feeder.network.transformer_model import Complex

Floats = NDArray[np.float64]

HOMOPOLAR: Final = 4.0
"""Zero- over positive-sequence impedance where a line has none: a fourth core like the other three carries their sum,
so Z0 = Z1 + 3 Z1."""


class Degree(StrEnum):
    """What happened to an element on its way in, worst first.

    UNSUPPORTED: the network is not the file's without it, and nothing is written. DROPPED: it is not in the feeder.
    FROZEN: held as it stood when the file was solved. APPROXIMATED: another model. MISSING: a figure that the file does
    not give. ASSUMED: how something open in the file was read. NOT_RUN: a command that changes no network.
    """

    UNSUPPORTED = "unsupported"
    DROPPED = "dropped"
    FROZEN = "frozen"
    APPROXIMATED = "approximated"
    MISSING = "missing"
    ASSUMED = "assumed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Finding:
    """One element, or several of a kind, that did not come through unchanged. origin: where it stands in the file."""

    degree: Degree
    kind: str
    element: str
    said: str
    origin: Origin | None = None

    def __str__(self) -> str:
        where = "" if self.origin is None else f"{self.origin}: "
        return f"{where}{self.degree}: {self.kind} {self.element}: {self.said}"


class ImportRefused(ValueError):
    """A file cannot be read as a feeder; `reasons` are all that were found, each one line that names its place."""

    def __init__(self, path: Path, *reasons: str) -> None:
        super().__init__("\n".join(reasons))
        self.path = path
        self.reasons = reasons


@dataclass(frozen=True, eq=False)
class ImportedLoads:
    """What the file's loads draw. Rows are terminals, as in `Flow(feeder).terminals`; positive draws.

    p_w, q_var: the file's rated powers, (terminal,). shape_of: the name of each row's shape; empty: it is steady.
    shapes: multipliers of the rated power, all with as many values, `step_s` apart.
    """

    p_w: Floats
    q_var: Floats
    shape_of: tuple[str, ...] = ()
    shapes: Mapping[str, Floats] = field(default_factory=dict)
    step_s: int | None = None

    @classmethod
    def none(cls, feeder: Feeder) -> ImportedLoads:
        """Nothing is drawn anywhere."""
        rows = len(terminals_of(feeder))
        return cls(np.zeros(rows), np.zeros(rows), ("",) * rows)

    @property
    def steps(self) -> int:
        """Steps of the series; 1 without shapes."""
        return max((len(shape) for shape in self.shapes.values()), default=1)

    def given(self) -> tuple[Floats, Floats]:
        """Rated powers as one step, (terminal, 1)."""
        return self.p_w[:, None], self.q_var[:, None]

    def series(self) -> tuple[Floats, Floats]:
        """Powers of every step of the shapes, (terminal, step); one step without shapes."""
        factors = np.ones((len(self.p_w), self.steps))
        for row, name in enumerate(self.shape_of):
            if name:
                factors[row] = self.shapes[name]
        return self.p_w[:, None] * factors, self.q_var[:, None] * factors


@dataclass(frozen=True, eq=False)
class Reference:
    """The solution of the program whose file it is, with the loads as given: volts to ground of every (bus, phase).

    volts_open: the same where no load has a range of voltages outside of which it is an impedance; empty: not known.
    """

    program: str
    volts: Mapping[tuple[str, str], complex]
    volts_open: Mapping[tuple[str, str], complex] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Imported:
    """A feeder that was read, not yet judged (`twin.feeder.network.validity.faults`).

    reference: where the file's program was there to solve it.
    """

    feeder: Feeder
    findings: tuple[Finding, ...]
    loads: ImportedLoads
    reference: Reference | None = None

    @property
    def unsupported(self) -> tuple[Finding, ...]:
        """What keeps the feeder from being the file's network."""
        return tuple(finding for finding in self.findings if finding.degree is Degree.UNSUPPORTED)


def at_terminals(feeder: Feeder, powers: Mapping[str, tuple[complex, ...]]) -> tuple[Floats, Floats]:
    """p_w and q_var per terminal, from the VA of each connection point's branches in their order."""
    drawn: Complex = np.array(
        [power for point in feeder.connection_points for power in powers[point.id]], dtype=np.complex128
    )
    return drawn.real.copy(), drawn.imag.copy()
