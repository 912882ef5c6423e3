"""Solve a feeder over time, with a second engine beside, and write what came of it."""

from __future__ import annotations

from pathlib import Path

from aggregator.feeder.flow_tables import write_flow
from aggregator.feeder.flow_words import FILES, KIND, FlowRun, Told
from aggregator.feeder.given import Unusable, given
from aggregator.feeder.output import replaced_folder, require_replaceable
from twin.feeder.powerflow.flow import FeederInvalid, Flow, Solution
from twin.feeder.scene import Limits
from twin.feeder.second_engine.check import Difference, NotCheckable
from twin.feeder.second_engine.either import second_engine
from twin.feeder.watched import Watched


def run_flow(path: Path, loads: Path | None, out: Path | None, limits: Limits) -> FlowRun:
    """Solve the feeder at `path` and, with `out`, write tables and pictures there.

    Raises:
        Unusable: feeder or loads cannot be used; nothing was written.
        Refused: `out` is something else.
    """
    if out is not None:
        require_replaceable(out, KIND)
    what = given(path, loads)
    try:
        flow = Flow(what.feeder)
    except FeederInvalid as error:
        raise Unusable("\n".join(str(fault) for fault in error.faults)) from None
    solution = flow.solve(what.p_w, what.q_var)
    difference, engine = _second_opinion(flow, solution)
    run = Told(what, flow, solution, Watched(flow, limits), limits, difference, engine)
    said = run.said()
    if out is not None:
        with replaced_folder(out, KIND, FILES) as folder:
            write_flow(folder, run, said)
        said = FlowRun(f"{said.in_words}\n{out}: tables and pictures", said.as_json, said.is_sound)
    return said


def _second_opinion(flow: Flow, solution: Solution) -> tuple[Difference | None, str]:
    """What the second engine says, and its name; or None, and why it is not asked."""
    try:
        engine = second_engine(flow.feeder)
    except NotCheckable as error:
        return None, str(error)
    return engine.check(solution), engine.name
