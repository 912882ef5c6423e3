"""Work out the envelopes of a feeder, let the second engine look at their corners, and write them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.feeder import apart
from aggregator.feeder.apart import finite
from aggregator.feeder.flow_words import shortened
from aggregator.feeder.given import Given, Unusable, given
from aggregator.feeder.output import require_writable, write_files
from aggregator.refusal import Refused
from aggregator.reports.feeder import BEGINNING, one_line, side_by_side
from twin.feeder.envelopes.dynamic import EnvelopeError, Envelopes, Guarantee, Rule, corners, envelopes, worst_mix
from twin.feeder.envelopes.files import beginning, envelope_bytes
from twin.feeder.powerflow.flow import FeederInvalid, Solution
from twin.feeder.powerflow.parts import most_loaded
from twin.feeder.scene import Limits, Scene
from twin.feeder.second_engine.check import Difference, NotCheckable
from twin.feeder.second_engine.either import second_engine

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EnvelopeRun:
    """is_sound: every step has a solution, and the second engine agrees, as far as it can be asked, with all at their
    limits and in the worst mix.
    """

    in_words: str
    as_json: dict[str, Any]
    is_sound: bool


def run_envelope(
    path: Path, loads: Path | None, out: Path, limits: Limits, *, rule: Rule, guarantee: Guarantee,
    pattern: str | None, most_w: float | None, picture: Path | None,
) -> EnvelopeRun:
    """Envelopes of the feeder at `path`, written to `out`.

    Raises:
        Unusable: the feeder or its loads cannot be used; nothing was written.
        Refused: an option cannot be used; nothing was written.
    """
    if out.suffix.lower() not in (".json", ".csv"):
        raise Refused(f"--out: {out}, expected a name that ends with .json or .csv")
    files = {out: beginning(is_csv=out.suffix.lower() == ".csv")}
    if picture is not None:
        if picture == out:
            raise Refused(f"--picture: {picture}, expected another file than --out")
        files[picture] = BEGINNING
    require_writable(files, tuple(one for one in (path, loads) if one is not None and one.exists()))
    what = given(path, loads)
    try:
        scene = Scene(what.feeder, what.grid, what.p_w, what.q_var, (), (), (), limits=limits)
        found = envelopes(scene, _points(what, pattern), rule=rule, guarantee=guarantee, most_w=most_w)
    except FeederInvalid as error:
        raise Unusable("\n".join(str(fault) for fault in error.faults)) from None
    except EnvelopeError as error:
        raise Refused(str(error)) from None
    ends = corners(scene, found)
    worst = worst_mix(scene, found)
    opinion, engine = _second_opinion(scene, ends if worst is None else (*ends, worst))
    contents = {out: envelope_bytes(found, is_csv=out.suffix.lower() == ".csv")}
    if picture is not None:
        contents[picture] = _picture(scene, found, ends).encode("utf-8")
    write_files(contents)
    return _said(what, found, opinion, engine, out)


def _points(what: Given, pattern: str | None) -> list[str]:
    names = [point.id for point in what.feeder.connection_points]
    if pattern is None:
        return [name for name in names if name not in what.has_load] or names
    matching = [name for name in names if fnmatchcase(name, pattern)]
    if not matching:
        raise Refused(f"--points: {pattern!r} fits none of {len(names)} connection points, such as "
                      f"{', '.join(repr(name) for name in names[:3])}")
    return matching


def _second_opinion(scene: Scene, ends: tuple[Solution, ...]) -> tuple[list[Difference], str]:
    """What the second engine says, and its name; or nothing, and why it is not asked."""
    try:
        engine = second_engine(scene.feeder)
    except NotCheckable as error:
        return [], str(error)
    return [engine.check(end) for end in ends], engine.name


def _said(what: Given, found: Envelopes, opinion: list[Difference], engine: str, out: Path) -> EnvelopeRun:
    steps = found.grid.steps
    promise = "in any mix" if found.guarantee is Guarantee.MIX else "all together"
    counted = f"{len(found.points)} connection points over {steps} steps of {found.grid.step_s} s"
    lines = [f"{found.feeder}: envelopes of {counted}, {found.rule} shares, {promise}", *what.notes]
    numbers: dict[str, Any] = {}
    for name, watts, bound_by in (
        ("import", found.import_w, found.import_bound_by), ("export", found.export_w, found.export_bound_by),
    ):
        kw = watts / 1000.0
        causes = Counter(cause or "the points' own ceilings" for cause in bound_by)
        numbers[name] = {
            "lowest_kw": float(kw.min()), "mean_kw": float(kw.mean()), "highest_kw": float(kw.max()),
            "mean_total_kw": float(kw.sum(axis=0).mean()), "bound_by": dict(causes.most_common()),
        }
        why = ", ".join(f"{cause} ({count} of {steps} steps)" for cause, count in causes.most_common(2))
        lines.append(f"{name}: {kw.min():.2f} to {kw.max():.2f} kW, mean {kw.mean():.2f} kW, "
                     f"{kw.sum(axis=0).mean():.0f} kW in all; kept from more by {why}")
    for claims, words in (
        (found.unfixable, "base loads alone cross a limit, which the envelopes keep from getting worse"),
        (found.no_solution, "base loads alone have NO SOLUTION; both limits are 0 there"),
    ):
        if claims.any():
            first = found.grid.at(int(np.argmax(claims)))
            lines.append(f"{int(claims.sum())} of {steps} steps, from {first:%d %b %H:%M}: {words}")
    agree = all(one.agrees for one in opinion)
    if found.guarantee is Guarantee.MIX:
        lines.append("any mix: " + (
            "all mixes of these limits were solved, and a sample between them; none crosses a limit"
            if found.is_every_corner else
            "the worst found for each limit, and a sample, were solved; none crosses a limit. A worse one may exist"
        ) + (" but where base loads alone do" if found.unfixable.any() or found.no_solution.any() else ""))
    if opinion:
        worst = max(opinion, key=lambda one: (not one.agrees, finite(one.voltage_pu) or 0.0))
        asked = "with all at their limits" + (" and in the worst mix found" if found.worst_w is not None else "")
        lines.append(f"second engine ({engine}) {asked}: {'agrees' if agree else 'DIFFERS'}, apart by at most "
                     f"{apart.in_words(worst)}")
    else:
        lines.append(f"second engine: not asked: {shortened(engine)}")
    lines.append(f"{out}: {len(found.points) * steps} limits, and a default for each point: the lowest of its own")
    sound = agree and not found.no_solution.any()
    return EnvelopeRun("\n".join(lines), {
        "kind": "v2g-feeder-envelope", "feeder": found.feeder, "file": str(out), "points": len(found.points),
        "steps": steps, "step_s": found.grid.step_s, "rule": found.rule, "guarantee": found.guarantee, **numbers,
        "is_every_corner": found.is_every_corner,
        "unfixable_steps": int(found.unfixable.sum()), "steps_without_solution": int(found.no_solution.sum()),
        "second_engine": {
            "checked": bool(opinion), "agrees": agree if opinion else None,
            "engine": engine if opinion else None, "reason": "" if opinion else engine,
            "voltage_pu": max((finite(one.voltage_pu) or 0.0 for one in opinion), default=None),
        },
        "notes": list(what.notes), "is_sound": sound,
    }, sound)


def _picture(scene: Scene, found: Envelopes, ends: tuple[Solution, Solution]) -> str:
    """Both corners at the step with the least import."""
    total = np.where(found.no_solution, np.inf, found.import_w.sum(axis=0))
    step = int(np.argmin(total))
    at = f"{found.grid.at(step):%d %b %H:%M} UTC"
    first, second = (
        one_line(
            scene.feeder, voltage_pu=end.voltages_pu()[:, step], loading=end.line_loading()[:, step],
            carried=most_loaded(end, step), title=f"{word}, {at}", limits=scene.limits,
        ) for word, end in zip(("all at their import limit", "all at their export limit"), ends, strict=True)
    )
    return side_by_side(first, second, f"{found.feeder}: operating envelopes, {found.rule} shares")
