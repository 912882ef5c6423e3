"""How fast the store takes telemetry and urgent transactions.

Run: python benchmarks/store_speed.py. Target: 10,000 meter rows per second in shared commits.
"""

import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aggregator.ocpp.events import MeterSample, Purpose
from aggregator.store import DesiredRecord, Store, verify

START = datetime(2019, 7, 15, tzinfo=UTC)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with await Store.open(f"sqlite+aiosqlite:///{Path(folder) / 'v2g.sqlite'}") as store:
            for callers, rows in ((1, 1), (100, 1), (20, 1000)):
                await telemetry(store, callers, rows)
            await urgent(store)
            start = time.perf_counter()
            verdict = await verify(store)
            print(f"audit: {verdict.entries / (time.perf_counter() - start):,.0f} entries/s verified")


async def telemetry(store: Store, callers: int, rows: int) -> None:
    total, begin, waits = 0, time.perf_counter(), []

    async def write(caller: int, turn: int) -> None:
        at = START + timedelta(seconds=turn * rows)
        samples = [
            MeterSample(f"{rows}-{callers}-{caller}", "7", at + timedelta(seconds=n), 1.0, 2.0, 3.0, 0.5)
            for n in range(rows)
        ]
        start = time.perf_counter()
        await store.telemetry.write_meter(samples)
        waits.append(time.perf_counter() - start)

    turn = 0
    while time.perf_counter() - begin < 1.5:
        await asyncio.gather(*(write(caller, turn) for caller in range(callers)))
        total, turn = total + callers * rows, turn + 1
    rate = total / (time.perf_counter() - begin)
    print(f"telemetry: {callers} callers x {rows} rows: {rate:,.0f} rows/s, "
          f"median wait {1000 * statistics.median(waits):.1f} ms")


async def urgent(store: Store) -> None:
    waits = []
    for number in range(40):
        start = time.perf_counter()
        async with store.transaction("limit") as tx:
            payload = {"periods": [[0, number]]}
            await tx.desired.put_many(
                [DesiredRecord(f"E{n}", Purpose.PLAN, payload, str(number), START) for n in range(30)]
            )
        waits.append(time.perf_counter() - start)
    print(f"30 desired profiles with audit: median {1000 * statistics.median(waits):.1f} ms, worst "
          f"{1000 * max(waits):.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
