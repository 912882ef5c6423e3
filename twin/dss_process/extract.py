"""What is taken out of OpenDSS: plain rows that cross from the process in which it runs into ours, as JSON."""

from __future__ import annotations

import msgspec


class Order(msgspec.Struct, frozen=True):
    """Commands to run: text and the folder of each."""

    commands: list[tuple[str, str]]
    solve: bool = True


class BusFound(msgspec.Struct, frozen=True):
    """volts: base, phase to phase (0: none was set)."""

    name: str
    volts: float
    nodes: list[int]
    xy: tuple[float, float] | None = None


class WindingFound(msgspec.Struct, frozen=True):
    kv: float
    kva: float
    tap: float
    is_delta: bool
    taps: int
    lowest: float
    highest: float
    r_percent: float
    r_neutral: float
    x_neutral: float


class LoadFound(msgspec.Struct, frozen=True):
    """kw, kvar: as they count in a snapshot, the circuit's multiplier included. low_pu: Vlowpu."""

    kw: float
    kvar: float
    kv: float
    model: int
    valid_pu: tuple[float, float]
    is_delta: bool
    phases: int
    zipv: list[float]
    cvr: tuple[float, float]
    low_pu: float = 0.5
    shape: str = ""
    shape_kind: str = ""


class ElementFound(msgspec.Struct, frozen=True):
    """An element with terminals. nodes: of all conductors of all terminals, 0 is ground. admittance: real and imaginary
    parts, row by row. powers: kW and kvar into every conductor, as solved. open: terminals that are open altogether.
    values: what its class alone has.
    """

    kind: str
    name: str
    buses: list[str]
    nodes: list[int]
    conductors: int
    admittance: list[float]
    powers: list[float] = []
    open: list[int] = []
    values: dict[str, float | str] = {}
    windings: list[WindingFound] = []
    load: LoadFound | None = None


class ShapeFound(msgspec.Struct, frozen=True):
    """is_actual: values are kW, not multipliers."""

    name: str
    seconds: float
    values: list[float]
    is_actual: bool
    has_reactive: bool


class Extract(msgspec.Struct, frozen=True):
    """Everything. errors: which command failed, and how. volts: of every (bus, node), real and imaginary part;
    volts_open: once more with loads that have no range.
    """

    version: str
    errors: list[tuple[int, str]]
    name: str = ""
    frequency: float = 0.0
    converged: bool = False
    why_not: str = ""
    buses: list[BusFound] = []
    elements: list[ElementFound] = []
    others: list[tuple[str, str]] = []
    controlled: dict[str, str] = {}
    disabled: list[str] = []
    shapes: list[ShapeFound] = []
    volts: list[tuple[str, int, float, float]] = []
    volts_open: list[tuple[str, int, float, float]] = []
