from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator.operations import AlertDesk, AlertKind, Severity, settle
from aggregator.store import Store

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 19, 30, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'v2g.sqlite'}")
    yield opened
    await opened.close()


async def test_a_lasting_condition_is_one_alert_and_its_return_another(store: Store) -> None:
    desk = AlertDesk(store)
    first = await desk.raise_(AlertKind.CAP_CROSSED, "caltech", "121 kW of 120", T0, detail={"kw": 121.0})
    assert first.severity == Severity.CRITICAL
    assert await desk.raise_(AlertKind.CAP_CROSSED, "caltech", "122 kW of 120", T0 + timedelta(minutes=1)) == first
    await desk.clear(AlertKind.CAP_CROSSED, "elsewhere", T0)
    assert await desk.open() == [first]
    await desk.clear(AlertKind.CAP_CROSSED, "caltech", T0 + timedelta(minutes=2))
    assert await desk.open() == []
    second = await desk.raise_(AlertKind.CAP_CROSSED, "caltech", "again", T0 + timedelta(hours=1))
    assert second.id != first.id


async def test_settle_follows_the_condition_inside_the_callers_transaction(store: Store) -> None:
    async def look(*, holds: bool, at: datetime) -> bool:
        async with store.transaction("loop") as tx:
            alert = await settle(tx, AlertKind.STATION_OFFLINE, "S1", holds=holds, message="silent", at=at)
        return alert is not None

    seen = [await look(holds=holds, at=T0 + timedelta(minutes=n)) for n, holds in enumerate([False, True, True, False])]
    assert seen == [False, True, True, False]
    async with store.read() as tx:
        (alert,) = await tx.alerts.all()
    assert (alert.raised_at, alert.cleared_at) == (T0 + timedelta(minutes=1), T0 + timedelta(minutes=3))
    assert alert.severity == Severity.WARNING
