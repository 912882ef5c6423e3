"""A solved feeder as tables and pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from aggregator.feeder.flow_words import FlowRun, Told
from aggregator.feeder.output import RESULT
from aggregator.reports.feeder import heat_strip, one_line
from twin.feeder.powerflow.parts import Part, loading_by_part, most_loaded

Floats = NDArray[np.float64]

STRIP_ROWS: Final = 40
"""Lines in the strip of loadings: the busiest."""


def write_flow(folder: Path, run: Told, said: FlowRun) -> None:
    """Write all of `flow_words.FILES` into `folder`."""
    flow, solution, grid = run.flow, run.solution, run.what.grid
    volts, amperes = solution.voltages_pu(), np.abs(solution.line_currents())
    loading = solution.line_loading()
    times = grid.times()
    for name, values, columns in (
        ("voltages.parquet", volts, [f"{node.bus}.{node.phase}" for node in flow.nodes]),
        ("currents.parquet", amperes, [f"{segment.line}.{segment.phase}" for segment in flow.segments]),
    ):
        table = pa.Table.from_arrays(
            [pa.array(times, pa.timestamp("us", "UTC")), *(pa.array(row) for row in values)], ["time", *columns]
        )
        pyarrow.parquet.write_table(table, folder / name)  # type: ignore[no-untyped-call] # pyarrow types none of it
    _table(folder / "buses.csv", ("bus", "phase", "lowest_pu", "lowest_at", "highest_pu", "highest_at", "mean_pu"), [
        (node.bus, node.phase, *_range(row, run)) for node, row in zip(flow.nodes, volts, strict=True)
    ])
    _table(folder / "lines.csv", ("line", "phase", "ampacity_a", "highest_a", "highest_at", "highest_loading"), [
        (segment.line, segment.phase, _blank(rating), *_range(row, run)[2:4], _blank(float(_most(load))))
        for segment, rating, row, load in zip(flow.segments, flow.ampacity, amperes, loading, strict=True)
    ])
    unbalance = solution.unbalance() if any(bus.phases == "abc" for bus in flow.feeder.buses) else volts[:0]
    source, lost = solution.source_power(), solution.losses_w()
    parts, carried = loading_by_part(solution)
    most = _most_loaded(parts, carried)
    _table(folder / "transformers.csv", (
        "element", "where", "phase", "highest_loading", "highest_at", "mean_loading",
    ), [
        (part.element, part.where, part.phase, *_range(row, run)[2:])
        for part, row in zip(parts, carried, strict=True)
    ])
    _table(folder / "steps.csv", (
        "time", "has_solution", "lowest_pu", "highest_pu", "highest_line_loading", "highest_transformer_loading",
        "most_loaded_transformer", "highest_unbalance", "source_w", "source_var", "losses_w",
    ), [
        (f"{when:%Y-%m-%dT%H:%M:%SZ}", str(bool(solution.has_solution[step])).lower(), *(
            _blank(float(value)) for value in (
                volts[:, step].min(initial=np.inf), _most(volts[:, step]), _most(loading[:, step]),
                _most(carried[:, step]),
            )
        ), most[step], *(
            _blank(float(value))
            for value in (_most(unbalance[:, step]), source[step].real, source[step].imag, lost[step])
        )) for step, when in enumerate(times)
    ])
    step = _worst_step(run)
    at = f"{times[step]:%d %b %Y %H:%M} UTC"
    (folder / "one_line.svg").write_text(one_line(
        flow.feeder, voltage_pu=volts[:, step], loading=loading[:, step], carried=most_loaded(solution, step),
        title=f"{flow.feeder.name}: {at}, the step nearest to a limit", limits=run.limits,
    ), encoding="utf-8")
    nodes = list(dict.fromkeys((point.bus, phase) for point in flow.feeder.connection_points for phase in point.phases))
    rows = [flow.node_row[node] for node in nodes]
    (folder / "voltage_strip.svg").write_text(heat_strip(
        volts[rows], [f"{bus} {phase}" for bus, phase in nodes], times, "voltage",
        f"{flow.feeder.name}: voltage where somebody is connected, UTC", limits=run.limits,
    ), encoding="utf-8")
    is_judged = bool(np.isfinite(loading).any())
    busy, alike = _busiest(loading if is_judged else loading[:0])
    names = [
        f"{flow.segments[row].line} {flow.segments[row].phase}" + (f" and {same - 1} more" if same > 1 else "")
        for row, same in zip(busy, alike, strict=True)
    ]
    (folder / "loading_strip.svg").write_text(heat_strip(
        loading[busy], names, times, "loading", f"{flow.feeder.name}: " + (
            "the busiest lines by phase, UTC" if is_judged
            else "no loading to show, as no line has a rating (v2g feeder import --ampacity)"
            if run.solution.has_solution.any() else "no loading to show, as no step has a solution"
        ),
        limits=run.limits,
    ), encoding="utf-8")
    (folder / RESULT).write_text(json.dumps(said.as_json, indent=1) + "\n", encoding="utf-8")


def _busiest(loading: Floats) -> tuple[list[int], list[int]]:
    """Rows with the highest loadings, one for all that are always loaded alike, and how many those are."""
    if not len(loading):
        return [], []
    known = np.nan_to_num(loading, nan=-1.0)
    _, first, alike = np.unique(np.round(known, 6), axis=0, return_index=True, return_counts=True)
    order = np.argsort(-known[first].max(axis=1), kind="stable")[:STRIP_ROWS]
    return first[order].tolist(), alike[order].tolist()


def _most_loaded(parts: tuple[Part, ...], carried: Floats) -> list[str]:
    """Name of the most loaded part at every step; blank where there is none or no flow."""
    if not parts:
        return [""] * carried.shape[1]
    known = np.nan_to_num(carried, nan=-1.0)
    return [parts[row].name if known[row, step] >= 0.0 else ""
            for step, row in enumerate(np.argmax(known, axis=0).tolist())]


def _worst_step(run: Told) -> int:
    """Where a limit is nearest to being crossed; a step without solution is worst."""
    values = run.watched.values(run.solution)
    room = (run.watched.limit[:, None] - values) / np.maximum(np.abs(run.watched.limit[:, None]), 1e-9)
    solved = run.solution.has_solution
    # A picture of a step without solution would be empty; the worst that has one says more.
    nearest = room.min(axis=0, initial=np.inf)
    return int(np.argmin(np.where(solved, nearest, np.inf) if solved.any() else nearest))


def _most(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else float("nan")


def _range(values: Floats, run: Told) -> tuple[str, str, str, str, str]:
    """Lowest and when, highest and when, mean; blank without any solution."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return "", "", "", "", ""
    low, high = (int(known[pick(values[known])]) for pick in (np.argmin, np.argmax))
    when = [f"{run.what.grid.at(step):%Y-%m-%dT%H:%M:%SZ}" for step in (low, high)]
    return (_blank(float(values[low])), when[0], _blank(float(values[high])), when[1],
            _blank(float(values[known].mean())))


def _blank(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def _table(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
