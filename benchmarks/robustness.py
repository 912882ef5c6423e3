"""Promised against delivered for a 2 h event, under real departure error and 0 to 30 % faulty chargers.

    python benchmarks/robustness.py              print the figures of docs/robustness.md
    python benchmarks/robustness.py --write      and write its tables and its picture anew

The shipped workplace day, its event from 14:00 to 16:00, in copies that differ in when drivers really leave and in
which chargers are broken. Every copy is run twice, with and without the event, and only the difference counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from twin.assets import Schedule, World
from twin.controllers import Controller, EarliestDeadline, FleetView, FollowSchedule
from twin.controllers.watchful import Watchful
from twin.drivers import DriverModel
from twin.drivers.departures import AcnDepartures, Departures, PerfectDepartures
from twin.faults import FaultKind, FaultModel
from twin.scenario import load_scenario, resource_path
from twin.validation.fates import Fates

Floats = NDArray[np.float64]

STEP_S = 900
EVENT_STEPS = slice(32, 40)  # 14:00 to 16:00 of a day that begins at 06:00
EVENT_NET_KW = 50.0
FORGIVEN_KW = 0.5
SHORT_KWH = 0.5
LEVELS = (0.0, 0.01, 0.02, 0.05, 0.10, 0.20, 0.30)
FAULT_WORDS = {
    FaultKind.OUTAGE: "without contact", FaultKind.IGNORES: "ignoring orders", FaultKind.DERATED: "at 30 to 80 % power",
}
PAGE = Path(__file__).parent.parent / "docs" / "robustness.md"
PICTURE = PAGE.with_suffix(".svg")
QUANTILES = (0.1, 0.5, 0.9)


def declared_world() -> World:
    """The shipped day as drivers announce it: everyone leaves at the declared time."""
    truth = load_scenario(resource_path("workplace_caltech.toml")).truth()
    visits = tuple(replace(visit, departure=truth.declared[visit.id].departure) for visit in truth.visits)
    return replace(truth.world(STEP_S), visits=visits)


def with_event(world: World) -> World:
    cap = world.import_cap_kw.copy()
    cap[EVENT_STEPS] = np.minimum(cap[EVENT_STEPS], EVENT_NET_KW)
    return replace(world, import_cap_kw=cap)


class Decider(EarliestDeadline):
    """Earliest deadline with discharge, which keeps what it decided."""

    def __init__(self) -> None:
        super().__init__(discharges=True)
        self.decided: list[Floats] = []

    def setpoints(self, view: FleetView) -> Floats:
        kw = super().setpoints(view)
        self.decided.append(kw)
        return kw


def planned(world: World) -> Schedule:
    """What the rule decides where everyone leaves as declared and nothing fails: a schedule fixed in advance."""
    rule = Decider()
    Fates.draw(world, replicas=1, drivers=DriverModel(departures=PerfectDepartures())).run(rule)
    return Schedule(world.grid, tuple(evse.id for evse in world.evses), np.stack(rule.decided, axis=1))


@dataclass(frozen=True)
class Pair:
    """The event and its absence in the same copies, per replica.

    Energy delivered, highest net import of a quarter hour of the event, drivers and kWh short more, drivers short
    without the event.
    """

    delivered_kwh: Floats
    peak_kw: Floats
    drivers_short_more: Floats
    kwh_short_more: Floats
    drivers_short_without: Floats


class Study:
    def __init__(self, replicas: int, seed: int) -> None:
        self.replicas, self.seed = replicas, seed
        self.plain = declared_world()
        self.event = with_event(self.plain)
        self.plans = planned(self.plain), planned(self.event)
        self.drivers = len(self.plain.visits)
        nominal = self.pair(replicas=1, departures=PerfectDepartures(), faults=None, is_fixed=False)
        self.promised_kwh = float(nominal.delivered_kwh[0])
        self.nominal = nominal

    def pair(self, *, departures: Departures, faults: FaultModel | None, is_fixed: bool, replicas: int = 0) -> Pair:
        energy, peak, short, missing = [], [], [], []
        for world, plan in zip((self.plain, self.event), self.plans, strict=True):
            fates = Fates.draw(
                world, replicas=replicas or self.replicas, drivers=DriverModel(departures=departures), faults=faults,
                seed=self.seed,
            )
            rule: Controller = FollowSchedule(plan) if is_fixed else Watchful(EarliestDeadline(discharges=True))
            outcome = fates.run(rule)
            net_kw = fates.net_kw(outcome)[:, EVENT_STEPS]
            energy.append(net_kw.sum(axis=1) * STEP_S / 3600.0)
            peak.append(net_kw.max(axis=1))
            visits = outcome.visits
            lack = np.where(visits.has_left, visits.shortfall_kwh, 0.0)
            count = fates.ensemble.replicas
            short.append(np.bincount(visits.replica, lack > SHORT_KWH, minlength=count))
            missing.append(np.bincount(visits.replica, lack, minlength=count))
        return Pair(energy[0] - energy[1], peak[1], short[1] - short[0], missing[1] - missing[0], short[0])


def quantile_with_interval(values: Floats, share: float) -> tuple[float, float, float]:
    """A quantile and its 95 % confidence interval, free of any distribution (order statistics)."""
    ordered = np.sort(values)
    below, above = binom.ppf((0.025, 0.975), values.size, share).astype(int)
    low, high = ordered[max(below - 1, 0)], ordered[min(above, values.size - 1)]
    return float(np.quantile(values, share)), float(low), float(high)


def mean_with_interval(values: Floats) -> tuple[float, float]:
    """A mean over replicas and half the width of its 95 % confidence interval."""
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(values.size))


@dataclass(frozen=True)
class Row:
    """One line of the page: shares of the promise, and what the event cost the drivers."""

    name: str
    level: float
    is_fixed: bool
    shares: tuple[tuple[float, float, float], ...]
    kept: float
    held: float
    drivers_short: tuple[float, float]
    kwh_short: tuple[float, float]
    short_without: float


def row(study: Study, name: str, level: float, pair: Pair, *, is_fixed: bool) -> Row:
    share = pair.delivered_kwh / study.promised_kwh
    return Row(
        name, level, is_fixed, tuple(quantile_with_interval(share, quantile) for quantile in QUANTILES),
        float((share >= 0.95).mean()), float((pair.peak_kw <= EVENT_NET_KW + FORGIVEN_KW).mean()),
        mean_with_interval(pair.drivers_short_more),
        mean_with_interval(pair.kwh_short_more), float(pair.drivers_short_without.mean()),
    )


def rows(study: Study, tell: Callable[[str], None]) -> list[Row]:
    found = []
    for is_fixed in (False, True):
        tell("fixed schedule" if is_fixed else "decided every quarter hour")
        perfect = study.pair(departures=PerfectDepartures(), faults=FaultModel().swept(0.05), is_fixed=is_fixed)
        found.append(row(study, "declared departures, 5 % down", 0.05, perfect, is_fixed=is_fixed))
        for level in LEVELS:
            pair = study.pair(
                departures=AcnDepartures(), faults=FaultModel().swept(level) if level else None, is_fixed=is_fixed
            )
            found.append(row(study, f"{level * 100:.0f} % down", level, pair, is_fixed=is_fixed))
        for kind, words in FAULT_WORDS.items():
            pair = study.pair(
                departures=AcnDepartures(), faults=FaultModel().swept(0.1, kind), is_fixed=is_fixed
            )
            found.append(row(study, f"10 % {words}", 0.1, pair, is_fixed=is_fixed))
    return found


def table(chosen: list[Row]) -> list[str]:
    lines = [
        "| | P10 | P50 | P90 | at least 95 % | 50 kW held | drivers short more | kWh short more |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in chosen:
        shares = " | ".join(f"{mid:.0%} ({low:.0%} to {high:.0%})" for mid, low, high in each.shares)
        lines.append(
            f"| {each.name} | {shares} | {each.kept:.0%} | {each.held:.0%} "
            f"| {each.drivers_short[0]:+.2f} ± {each.drivers_short[1]:.2f} "
            f"| {each.kwh_short[0]:+.1f} ± {each.kwh_short[1]:.1f} |"
        )
    return lines


def picture(decided: list[Row], fixed: list[Row]) -> str:
    """Delivered share over the level of faults: P50 as a line, P10 to P90 as a band, for both kinds of control."""
    left, top, width, height = 60.0, 30.0, 560.0, 260.0
    highest = max(1.1, *(each.shares[2][0] for each in (*decided, *fixed)))
    lowest = min(0.0, *(each.shares[0][0] for each in (*decided, *fixed)))

    def x(level: float) -> float:
        return left + width * level / LEVELS[-1]

    def y(share: float) -> float:
        return top + height * (highest - share) / (highest - lowest)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 370" font-family="sans-serif" font-size="12">',
        "<title>Delivered share of the promise over the share of chargers that are down</title>",
        '<rect width="660" height="370" fill="white"/>',
    ]
    for share in np.arange(np.ceil(lowest * 5) / 5, highest + 1e-9, 0.2):
        stroke = 'stroke="#444" stroke-dasharray="5 4"' if abs(share - 1.0) < 1e-9 else 'stroke="#ddd"'
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y(share):.1f}" y2="{y(share):.1f}" {stroke}/>'
            f'<text x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        )
    parts += [
        f'<text x="{x(level):.1f}" y="{top + height + 18}" text-anchor="middle">{level:.0%}</text>'
        for level in LEVELS if level != LEVELS[1]
    ]
    for number, (words, colour, line) in enumerate((
        ("decided again every quarter hour", "#0b6e99", decided), ("schedule fixed in advance", "#b8500c", fixed),
    )):
        edge = [*((each.level, each.shares[2][0]) for each in line),
                *((each.level, each.shares[0][0]) for each in reversed(line))]
        band = " ".join(f"{x(level):.1f},{y(share):.1f}" for level, share in edge)
        middle = " ".join(f"{x(each.level):.1f},{y(each.shares[1][0]):.1f}" for each in line)
        parts += [
            f'<polygon points="{band}" fill="{colour}" fill-opacity="0.18"/>',
            f'<polyline points="{middle}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<rect x="{left + 4}" y="{top + height - 44 + 18 * number}" width="14" height="10" fill="{colour}"/>',
            f'<text x="{left + 24}" y="{top + height - 35 + 18 * number}">{words}: median, and P10 to P90</text>',
        ]
    parts += [
        f'<text x="{left}" y="{top - 10}">energy delivered in the event, share of what was promised (dashed)</text>',
        f'<text x="{left + width / 2}" y="{top + height + 42}" text-anchor="middle">chargers down at any time</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def rewritten(page: str, name: str, lines: list[str]) -> str:
    """`page` with everything between the marks of `name` replaced."""
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, behind = rest.partition(f"<!-- end of {name} -->\n")
    if not begin or not end:
        raise SystemExit(f"{PAGE}: no part between '<!-- {name} -->' and '<!-- end of {name} -->'")
    return before + begin + "\n".join(lines) + "\n" + end + behind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the tables and the picture of docs/robustness.md")
    options = parser.parse_args()
    begun = time.perf_counter()
    study = Study(options.replicas, options.seed)
    found = rows(study, print)
    decided, fixed = ([each for each in found if each.is_fixed is kind] for kind in (False, True))
    nominal = study.nominal
    promise = (
        f"Promised: **{study.promised_kwh:.1f} kWh** less net import from 14:00 to 16:00 "
        f"({study.promised_kwh / 2:.1f} kW on average): the difference between the day with and without the event "
        "where everyone leaves as declared and nothing fails. In that day the event leaves "
        f"{int(nominal.drivers_short_more[0])} more of {study.drivers} drivers short "
        f"({nominal.kwh_short_more[0]:+.1f} kWh), and no quarter hour is above {nominal.peak_kw[0]:.1f} kW."
    )
    sample = f"{options.replicas} replicas, seed {options.seed}; 95 % confidence intervals in brackets and after ±."
    for title, chosen in (("decided again every quarter hour", decided), ("schedule fixed in advance", fixed)):
        print(f"\n{title}", *table(chosen), sep="\n")
    if options.write:
        page = PAGE.read_text("utf-8")
        page = rewritten(page, "facts", [promise, "", sample])
        page = rewritten(page, "decided", table(decided))
        page = rewritten(page, "fixed", table(fixed))
        PAGE.write_text(page, "utf-8")
        swept = [[each for each in line if each.name[0].isdigit() and each.name.endswith("% down")]
                 for line in (decided, fixed)]
        PICTURE.write_text(picture(*swept), "utf-8")
    print("RESULT " + json.dumps({
        "replicas": options.replicas, "promised_kwh": round(study.promised_kwh, 2),
        "seconds": round(time.perf_counter() - begun, 1),
        "rows": [
            {"control": "fixed" if each.is_fixed else "decided", "name": each.name,
             "p10": round(each.shares[0][0], 4), "p50": round(each.shares[1][0], 4),
             "p90": round(each.shares[2][0], 4), "kept": round(each.kept, 4), "held": round(each.held, 4),
             "drivers_short_more": round(each.drivers_short[0], 4), "kwh_short_more": round(each.kwh_short[0], 3)}
            for each in found
        ],
    }))


if __name__ == "__main__":
    main()
