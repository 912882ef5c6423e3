"""Writes in a loop and prints what was acknowledged; the crash tests kill it.

Usage: writing_process.py URL
"""

import asyncio
import itertools
import sys
from datetime import UTC, datetime, timedelta

from aggregator.ocpp.events import MeterSample, Purpose
from aggregator.store import DesiredRecord, Store

START = datetime(2019, 7, 15, tzinfo=UTC)


async def business(store: Store) -> None:
    for number in itertools.count():
        async with store.transaction("writer") as tx:
            for evse in ("A", "B", "C"):
                await tx.desired.put(DesiredRecord(evse, Purpose.PLAN, {"number": number}, str(number), START))
        print("desired", number, flush=True)  # noqa: T201  the acknowledgement


async def telemetry(store: Store, evse_id: str) -> None:
    for number in itertools.count():
        await store.telemetry.write_meter([MeterSample(evse_id, None, START + timedelta(seconds=number), power_kw=1.0)])
        print(evse_id, number, flush=True)  # noqa: T201  the acknowledgement


async def main(url: str) -> None:
    store = await Store.open(url)
    await asyncio.gather(business(store), telemetry(store, "E1"), telemetry(store, "E2"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
