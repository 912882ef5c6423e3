"""ISO 15118-20 sessions in one process: how many, how fast, how much memory. Runs in the stations' environment.

    .venv-station/bin/python benchmarks/iso15118_sessions.py

Both ends of every session are in this process, over TCP on the loopback: an SECC, an EVCC, and a car that takes what it
is given. Wall times are as the machine was loaded; processor time per loop is what the code costs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from pathlib import Path

from twin.station.iso15118 import WireOptions, WireRail
from twin.station.rail import CarLimits, CarState, EvNeeds, EvseRatings, SessionEnd, SessionFault, Speech, Step

SESSIONS = 100
FREE_RUNNING_S = 10.0
CONNECTS = 60
ORDERS = 40
PACED_S = 0.25


class Car:
    """Takes what it is given, and remembers when."""

    limits = CarLimits(capacity_kwh=60.0, max_charge_kw=11.0, max_discharge_kw=10.0, max_current_a=60.0)
    speech = Speech()  # DC_BPT, Dynamic

    def __init__(self) -> None:
        self.power_kw = 0.0
        self.loops: list[float] = []

    def state(self) -> CarState:
        return CarState(soc=0.5, target_soc=0.8, min_soc=0.2, max_soc=0.9, departure_s=7200.0, target_energy_kwh=18.0,
                        max_energy_kwh=24.0, min_energy_kwh=-18.0, present_kw=self.power_kw)

    def take(self, power_kw: float) -> float:
        self.power_kw = power_kw
        self.loops.append(time.perf_counter())
        return power_kw


class Listener:
    def needs(self, needs: EvNeeds) -> None: ...

    def offer(self) -> tuple[Step, ...]:
        return ()

    def flowing(self, power_kw: float) -> None: ...

    def ended(self, reason: SessionEnd) -> None: ...

    def faulted(self, fault: SessionFault) -> None:
        print(f"FAULT {fault}")


def plug(pause_s: float) -> tuple[WireRail, Car]:
    car = Car()
    rail = WireRail(
        EvseRatings(11.0, max_discharge_kw=10.0, max_current_a=60.0), Listener(), WireOptions(pause_s=lambda: pause_s)
    )
    rail.order(-5.0)
    rail.connect(car)
    rail.authorise()
    return rail, car


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def line(what: str, found: str, target: str) -> None:
    print(f"{what:<66} {found:>30}   target {target}")


async def connects() -> None:
    """TCP connect to the first charge loop, one session after another."""
    waits, busy = [], []
    for _ in range(CONNECTS):
        begin, used = time.perf_counter(), time.process_time()
        rail, car = plug(PACED_S)
        while not car.loops:  # noqa: ASYNC110 - polled, to add nothing to what is measured
            await asyncio.sleep(0.0005)
        waits.append(car.loops[0] - begin)
        busy.append(time.process_time() - used)
        await rail.close()
    line(
        f"connect to charge loop, {CONNECTS} sessions in turn: p50, p95 wall",
        f"{statistics.median(waits) * 1e3:.0f}, {statistics.quantiles(waits, n=20)[18] * 1e3:.0f} ms", "p50 <= 50 ms",
    )
    line("  of it processor time, p50 (with the polling)", f"{statistics.median(busy) * 1e3:.0f} ms", "-")


async def together() -> None:
    """All sessions at once, as fast as they can, and then at the pace of a car."""
    before = rss_mb()
    plugged = [plug(0.0) for _ in range(SESSIONS)]
    while not all(car.loops for _, car in plugged):  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.05)
    for _, car in plugged:
        car.loops.clear()
    begin, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(FREE_RUNNING_S)
    wall, cpu = time.perf_counter() - begin, time.process_time() - used
    periods = [b - a for _, car in plugged for a, b in zip(car.loops, car.loops[1:], strict=False)]
    loops = sum(len(car.loops) for _, car in plugged)
    line(f"{SESSIONS} DC_BPT Dynamic sessions at once: mean loop, p95, longest",
         f"{statistics.mean(periods) * 1e3:.0f}, {statistics.quantiles(periods, n=20)[18] * 1e3:.0f}, "
         f"{max(periods) * 1e3:.0f} ms", "<= 250 ms")
    line("  processor time per loop of one session (both ends)", f"{cpu / loops * 1e3:.2f} ms", "-")
    line(f"  so a loop of all {SESSIONS} costs", f"{cpu / loops * SESSIONS * 1e3:.0f} ms of one core", "-")
    line("  loops per second", f"{loops / wall:.0f}", "-")
    line("memory of the process, and what the sessions added", f"{rss_mb():.0f} MB, {rss_mb() - before:.0f} MB",
         "<= 200 MB")
    assert all(car.power_kw == -5.0 for _, car in plugged), "every car discharges"
    for rail, _ in plugged:
        await rail.close()


async def orders() -> None:
    """From a new set-point to the loop that carries it, at the pace of a car."""
    rail, car = plug(PACED_S)
    waits = []
    while not car.loops:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)
    for k in range(ORDERS):
        power_kw = -1.0 - k % 9
        await asyncio.sleep(0.037 * (k % 7))  # anywhere between two loops
        begin = time.perf_counter()
        rail.order(power_kw)
        while car.power_kw != power_kw:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.0005)
        waits.append(time.perf_counter() - begin)
    line(
        f"set-point to the loop that carries it, loops of {PACED_S * 1e3:.0f} ms: p50, longest",
        f"{statistics.median(waits) * 1e3:.0f}, {max(waits) * 1e3:.0f} ms",
        f"<= 1 loop + 100 = {PACED_S * 1e3 + 100:.0f} ms",
    )
    await rail.close()


async def main() -> None:
    gc.collect()
    gc.freeze()  # as the stations' process does
    await connects()
    await together()
    await orders()


if __name__ == "__main__":
    asyncio.run(main())
