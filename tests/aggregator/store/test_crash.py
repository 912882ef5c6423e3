"""kill -9 at a random moment: whatever was acknowledged is there, and nothing is half there."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator.store import Store, verify

pytestmark = pytest.mark.anyio

WRITER = Path(__file__).with_name("writing_process.py")
START = datetime(2019, 7, 15, tzinfo=UTC)


def _acknowledged_before_kill(url: str, seconds: float) -> dict[str, int]:
    """The last number acknowledged in each stream, by the time the process was killed."""
    process = subprocess.Popen([sys.executable, str(WRITER), url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last: dict[str, int] = {}
    deadline = None
    for line in process.stdout:
        name, number = line.split()
        last[name] = int(number)
        deadline = deadline or time.monotonic() + seconds
        if time.monotonic() > deadline and len(last) == 3 and min(last.values()) > 0:
            process.kill()
            break
    for line in process.stdout:  # what was in the pipe when it died was acknowledged too
        if line.endswith("\n"):
            name, number = line.split()
            last[name] = int(number)
    process.stdout.close()
    assert process.wait() == -9
    return last


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.55])
async def test_nothing_acknowledged_is_lost_and_nothing_is_half_written(url: str, seconds: float) -> None:
    last = _acknowledged_before_kill(url, seconds)
    assert min(last.values()) > 0
    async with await Store.open(url) as store:
        async with store.read() as tx:
            rows = await tx.desired.all()
        numbers = {row.payload["number"] for row in rows}
        assert len(rows) == 3
        assert len(numbers) == 1, "a transaction is there in part"
        (kept,) = numbers
        assert kept in (last["desired"], last["desired"] + 1)  # the one under way may have made it
        verdict = await verify(store)
        assert verdict.ok, verdict.reason
        assert verdict.entries == 3 * (kept + 1), "each write has its audit entry"
        for evse_id in ("E1", "E2"):
            series = await store.telemetry.meter_series(evse_id, START, START + timedelta(days=1))
            seconds_kept = [int((at - START).total_seconds()) for at in series.times()]
            assert seconds_kept == list(range(len(seconds_kept)))
            assert len(seconds_kept) >= last[evse_id] + 1
