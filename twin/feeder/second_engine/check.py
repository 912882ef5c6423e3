"""The same flows worked out by power-grid-model, and how far both are apart.

An independent engine: another language, another network (every bus, none joined into runs), another method. A plan
that leans on the feeder is valid only if both agree about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from power_grid_model import CalculationMethod, ComponentType, DatasetType, PowerGridModel, initialize_array

from twin.feeder.network.admittance import terminals_of
from twin.feeder.network.model import Feeder
from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import Complex
from twin.feeder.powerflow.flow import Flow, Solution
from twin.feeder.powerflow.loads import Loads
from twin.feeder.second_engine.pgm import Numbers, Row, beyond, tables

Real = NDArray[np.float64]
Claims = NDArray[np.bool_]

BATCH: Final = 256
"""Steps at a time: the answers for 900 buses and lines then take some 20 MB."""

PIECE: Final = 32
"""Steps that are compared at a time: what that takes then stays in a processor's cache."""

SMALL_ANGLE: Final = 0.3
TERMS: Final = 10
"""Highest power of the cosine's series: what is left out is below 1e-15 at SMALL_ANGLE."""

TOLERANCES: Final = ((CalculationMethod.iterative_current, 1e-9), (CalculationMethod.newton_raphson, 1e-8))
"""Tried one after the other: rounding among cables of very different length keeps some networks from the first, and
the second finds solutions close to collapse that the first does not."""

MOST_ITERATIONS: Final = 50

LIMIT_PU: Final = 1e-7
LIMIT_A: Final = 1e-2
LIMIT_LOADING: Final = 1e-6


class NotCheckable(ValueError):
    """The second engine cannot express this feeder; the message says what."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences over all steps that both engines solved, and at how many steps only one did.

    voltage_pu: size of the difference of the complex voltages, per unit of the bus. current_a: of magnitudes, at either
    end of a line. transformer_loading: of the rating.
    """

    steps: int
    voltage_pu: float
    current_a: float
    transformer_loading: float
    solved_only_here: int
    solved_only_there: int

    @property
    def agrees(self) -> bool:
        """Whether the engines say the same, in every figure and in what has a solution.

        Limits: 1e-7 p.u., 0.01 A (1e-7 p.u. of 230 V across the impedance of some metres of cable), 1e-6 of a rating.
        """
        return (
            self.voltage_pu <= LIMIT_PU and self.current_a <= LIMIT_A and self.transformer_loading <= LIMIT_LOADING
            and self.solved_only_here == self.solved_only_there == 0
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """Of the second engine, for every bus and line: (step, row, phase); for transformers (step, row). NaN without
    solution. u_pu, angle: size and angle (rad) of the voltages.
    """

    u_pu: Real
    angle: Real
    from_a: Real
    to_a: Real
    loading: Real
    has_solution: Claims

    def put(self, at: NDArray[np.intp], others: Answers) -> None:
        """Replace the answers of these steps."""
        for name in self.__dataclass_fields__:
            getattr(self, name)[at] = getattr(others, name)

    @classmethod
    def none(cls, feeder: Feeder, columns: int) -> Answers:
        """For so many steps, none of them solved yet."""

        def unknown(*rows: int) -> Real:
            return np.full((columns, *rows), np.nan)

        buses, lines = (len(feeder.buses), 3), (len(feeder.lines), 3)
        return cls(unknown(*buses), unknown(*buses), unknown(*lines), unknown(*lines),
                   unknown(len(feeder.transformers)), np.zeros(columns, dtype=np.bool_))


def compare(solution: Solution, engine: Callable[[Solution], Answers]) -> Difference:
    """Give `engine` the steps of `solution`, and compare all voltages, line currents and transformer loadings."""
    comparison = _Comparison(solution.flow)
    worst = np.zeros(3)
    here_only = there_only = steps = 0
    for block in solution.blocks(BATCH):
        theirs = engine(block)
        here, there = block.has_solution, theirs.has_solution
        steps += len(here)
        here_only += int((here & ~there).sum())
        there_only += int((there & ~here).sum())
        both = here & there
        if both.any():
            start = 0
            for piece in block.blocks(PIECE):
                part = slice(start, start := start + len(piece.has_solution))
                if both[part].any():
                    worst = np.maximum(worst, comparison.apart(piece, theirs, part)[:, both[part]].max(axis=1))
    return Difference(steps, float(worst[0]), float(worst[1]), float(worst[2]), here_only, there_only)


class _Comparison:
    """Which of the second engine's rows is which of a flow's, and how far both are apart."""

    def __init__(self, flow: Flow) -> None:
        buses = {bus.id: 3 * row for row, bus in enumerate(flow.feeder.buses)}
        lines = {line.id: 3 * row for row, line in enumerate(flow.feeder.lines)}
        self._nodes = np.array([buses[node.bus] + PHASES.index(node.phase) for node in flow.nodes], dtype=np.intp)
        self._segments = np.array(
            [lines[segment.line] + PHASES.index(segment.phase) for segment in flow.segments], dtype=np.intp
        )
        network = flow.network
        self._about = np.angle(network.spread @ network.keys[:, :1])
        """Angles without load; those under load are near."""
        self._turned = np.exp(-1j * self._about) / network.node_volts[:, None]

    def apart(self, block: Solution, theirs: Answers, part: slice) -> Real:
        """Largest differences of voltage, current and loading, (3, step)."""
        volts = block.voltages() * self._turned
        u, angle = (_rows(values[part], self._nodes) for values in (theirs.u_pu, theirs.angle))
        cos, sin = _unit(angle - self._about)
        square = (volts.real - u * cos) ** 2 + (volts.imag - u * sin) ** 2
        far = [np.sqrt(square.max(axis=0, initial=0.0))]
        one = np.abs(block.line_currents())
        other = one if block.flow.network.shunts is None else np.abs(block.line_currents("to"))
        amperes = [
            np.abs(size - _rows(values[part], self._segments)).max(axis=0, initial=0.0)
            for size, values in ((one, theirs.from_a), (other, theirs.to_a))
        ]
        far.append(np.maximum(*amperes))
        far.append(np.abs(block.transformer_loading() - theirs.loading[part].T).max(axis=0, initial=0.0))
        return np.array(far)


def _rows(values: Real, rows: NDArray[np.intp]) -> Real:
    """(step, element, phase) as (row, step)."""
    across = np.ascontiguousarray(values.reshape(len(values), -1).T)
    return across if len(rows) == len(across) and bool((rows == np.arange(len(rows))).all()) else across[rows]


def _unit(angle: Real) -> tuple[Real, Real]:
    """Cosine and sine; of small angles by their series, which here is a fifth of the work of a whole check."""
    if not np.abs(angle).max(initial=0.0) < SMALL_ANGLE:
        return np.cos(angle), np.sin(angle)
    square = angle * angle
    cos, sin = np.ones_like(angle), np.ones_like(angle)
    for power in range(TERMS, 0, -2):
        _next_term(cos, square, power * (power - 1))
        _next_term(sin, square, power * (power + 1))
    sin *= angle
    return cos, sin


def _next_term(value: Real, square: Real, divisor: float) -> None:
    """1 - square / divisor * value, in its place (Horner)."""
    value *= square
    value *= -1.0 / divisor
    value += 1.0


class Checker:
    """A feeder in power-grid-model, made once and asked often.

    threads: of power-grid-model. model, output: the engine itself, and which of its results are compared.

    Raises:
        NotCheckable: elements that engine does not have, all of them: primitives, delta loads, capacitors on one or two
            phases, a side of a transformer that floats.
    """

    def __init__(self, feeder: Feeder, *, threads: int = 1) -> None:
        if unsaid := beyond(feeder):
            raise NotCheckable(f"feeder {feeder.name}: {'; '.join(unsaid)}: power-grid-model does not have it")
        kinds = {kind.id: kind for kind in feeder.load_types}
        self._feeder = feeder
        self._threads = -1 if threads == 1 else threads
        terminals = terminals_of(feeder)
        points = {point.id: row for row, point in enumerate(feeder.connection_points)}
        places = [feeder.connection_points[points[terminal.connection_point]] for terminal in terminals]
        base = {bus.id: bus.volts / sqrt(3.0) for bus in feeder.buses}
        self._point = np.array([points[terminal.connection_point] for terminal in terminals], dtype=np.intp)
        self._phase = np.array([PHASES.index(terminal.phase) for terminal in terminals], dtype=np.intp)
        self._types = [kinds[place.load_type] for place in places]
        self._loads = Loads(self._types)
        self._base = np.array([base[place.bus] for place in places])
        self._rated = np.array([
            kind.rated_volts or own for kind, own in zip(self._types, self._base, strict=True)
        ])
        numbers = Numbers.of(feeder)
        # A load that is not pure power is three: power, impedance and current, the values of power-grid-model's type.
        self._parts = 1 if self._loads.are_constant_power else 3
        loads = initialize_array(
            DatasetType.input, ComponentType.asym_load, self._parts * len(feeder.connection_points)
        )
        first = 1 + max([numbers.source, *numbers.connection_points.values(), *numbers.capacitors.values()])
        loads["id"] = np.arange(first, first + len(loads))
        loads["node"] = [numbers.buses[point.bus] for point in feeder.connection_points] * self._parts
        loads["status"] = 1
        loads["type"] = np.repeat(np.arange(self._parts), len(feeder.connection_points))
        loads["p_specified"] = 0.0
        loads["q_specified"] = 0.0
        self._load_ids = loads["id"].copy()
        tabled = tables(feeder)
        data: dict[ComponentType, Any] = {ComponentType[kind]: _array(kind, rows) for kind, rows in tabled.items()}
        data[ComponentType.asym_load] = loads
        self.output: dict[ComponentType, Any] = {ComponentType.node: ["u_pu", "u_angle"]}
        self._line_rows: dict[ComponentType, NDArray[np.intp]] = {}
        for kind in ("line", "asym_line"):
            if kind in tabled:
                self.output[ComponentType[kind]] = ["i_from", "i_to"]
                row_of: dict[Any, int] = {number: row for row, number in enumerate(numbers.lines.values())}
                self._line_rows[ComponentType[kind]] = np.array([row_of[row["id"]] for row in tabled[kind]])
        if feeder.transformers:
            self.output[ComponentType.transformer] = ["loading"]
        self.model = PowerGridModel(data, system_frequency=feeder.frequency_hz)

    def check(self, solution: Solution) -> Difference:
        """Solve the steps of `solution` again and compare all voltages, line currents and transformer loadings.

        The load range in which each step lies is taken from `solution`; whether the voltages then are the same is not.
        """
        return compare(solution, self.solve)

    def updates(self, block: Solution) -> NDArray[np.void]:
        """Loads of every step in power-grid-model's form, (step, load)."""
        demand = block.demand
        columns = demand.shape[1]
        updates: NDArray[np.void] = initialize_array(
            DatasetType.update, ComponentType.asym_load, (columns, len(self._load_ids))
        )
        updates["id"] = self._load_ids
        power = np.zeros((self._parts, columns, len(self._feeder.connection_points), 3), dtype=np.complex128)
        parts = [demand] if self._loads.are_constant_power else self._shares(block)
        for part, value in enumerate(parts):
            power[part][:, self._point, self._phase] = value.T
        laid_out = np.moveaxis(power, 0, 1).reshape(columns, len(self._load_ids), 3)
        updates["p_specified"], updates["q_specified"] = laid_out.real, laid_out.imag
        return updates

    def _shares(self, block: Solution) -> list[Complex]:
        """(power, impedance, current) of every terminal at the bus's rated voltage, given the range it is in."""
        demand = block.demand
        u = np.nan_to_num(np.abs(block.terminal_voltages()) / self._rated[:, None], nan=1.0)
        scale = (self._base / self._rated)[:, None]
        impedance, current, power = self._loads.law(demand, u)
        return [power, impedance * scale**2, current * scale]

    def solve(self, block: Solution) -> Answers:
        """The steps of `block` in power-grid-model: its loads and its source's voltage, not its results."""
        updates = {ComponentType.asym_load: self.updates(block)}
        columns = block.demand.shape[1]
        source = block.state[0].real
        if (source != self._feeder.source.u_pu).any():
            changed = initialize_array(DatasetType.update, ComponentType.source, (columns, 1))
            changed["id"] = Numbers.of(self._feeder).source
            changed["u_ref"] = source[:, None]
            updates[ComponentType.source] = changed
        (method, tolerance), *others = TOLERANCES
        answers = self._run(updates, method, tolerance)
        for method, tolerance in others:
            rest = np.flatnonzero(~answers.has_solution)
            if not len(rest):
                break
            some = {kind: rows[rest] for kind, rows in updates.items()}
            answers.put(rest, self._run(some, method, tolerance))
        return answers

    def _run(self, updates: dict[ComponentType, Any], method: CalculationMethod, tolerance: float) -> Answers:
        found: dict[ComponentType, Any] = self.model.calculate_power_flow(
            symmetric=False, error_tolerance=tolerance, max_iterations=MOST_ITERATIONS, calculation_method=method,
            update_data=updates, threading=self._threads, output_component_types=self.output,
            continue_on_batch_error=True,
        )
        solved = np.ones(len(updates[ComponentType.asym_load]), dtype=np.bool_)
        if (error := self.model.batch_error) is not None:
            solved[error.failed_scenarios] = False
        node = found[ComponentType.node]
        loading = np.empty((len(solved), 0))
        if self._feeder.transformers:
            loading = found[ComponentType.transformer]["loading"]
        answers = Answers(
            node["u_pu"], node["u_angle"], self._of_lines(found, "i_from"), self._of_lines(found, "i_to"), loading,
            solved,
        )
        if not solved.all():
            answers.put(np.flatnonzero(~solved), Answers.none(self._feeder, int((~solved).sum())))
        return answers

    def _of_lines(self, found: dict[ComponentType, Any], field: str) -> Real:
        """Of all lines in the feeder's order, (step, line, phase), from the tables that they are in there."""
        if len(self._line_rows) == 1:
            (kind, _), = self._line_rows.items()
            only: Real = found[kind][field]
            return only
        columns = len(found[ComponentType.node]["u_pu"])
        value = np.empty((columns, len(self._feeder.lines), 3))
        for kind, rows in self._line_rows.items():
            value[:, rows] = found[kind][field]
        return value


def _array(kind: str, rows: list[Row]) -> NDArray[np.void]:
    array: NDArray[np.void] = initialize_array(DatasetType.input, ComponentType[kind], len(rows))
    for field in rows[0]:
        array[field] = [row[field] for row in rows]
    return array
