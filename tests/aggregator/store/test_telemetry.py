import asyncio
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from aggregator.ocpp.events import MeterSample
from aggregator.store import MessageKey, SiteReading, Store, TelemetryClosedError, TelemetryRefusedError

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 17, tzinfo=UTC)
SAMPLE = MeterSample("E1", "7", T0, power_kw=-7.5, import_wh=1e9, export_wh=12.25, soc=0.625)


def _count(database: Path, table: str) -> int:
    connection = sqlite3.connect(database)
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  our own table names
    connection.close()
    return int(count)


async def test_a_series_comes_back_in_time_order_half_open_with_gaps_as_nan(store: Store) -> None:
    times = [T0 + timedelta(seconds=s) for s in (20, 0, 10, 30)]
    await store.telemetry.write_meter([replace(SAMPLE, at=at) for at in times])
    await store.telemetry.write_meter([MeterSample("E1", None, T0 + timedelta(seconds=5), power_kw=1.0)])
    await store.telemetry.write_meter([replace(SAMPLE, evse_id="E2")])
    series = await store.telemetry.meter_series("E1", T0, T0 + timedelta(seconds=30))
    assert series.times() == [T0 + timedelta(seconds=s) for s in (0, 5, 10, 20)]
    np.testing.assert_array_equal(series.power_kw, [-7.5, 1.0, -7.5, -7.5])
    np.testing.assert_array_equal(series.soc, [0.625, np.nan, 0.625, 0.625])
    np.testing.assert_array_equal(series.import_wh, [1e9, np.nan, 1e9, 1e9])
    np.testing.assert_array_equal(series.export_wh, [12.25, np.nan, 12.25, 12.25])


async def test_site_readings_come_back(store: Store) -> None:
    later = SiteReading("caltech", T0 + timedelta(days=1), 5.0)
    await store.telemetry.write_site([SiteReading("caltech", T0, -10.0, 3.0), later])
    series = await store.telemetry.site_series("caltech", T0, T0 + timedelta(days=2))
    np.testing.assert_array_equal(series.import_kw, [-10.0, 5.0])
    assert series.ev_kw[0] == 3.0
    assert isnan(series.ev_kw[1])
    empty = await store.telemetry.site_series("caltech", T0 + timedelta(days=3), T0 + timedelta(days=4))
    assert (empty.times(), empty.import_kw.shape, empty.import_kw.dtype) == ([], (0,), np.float64)


async def test_when_a_write_returns_the_rows_are_committed(store: Store, database: Path) -> None:
    await store.telemetry.write_meter([SAMPLE])
    assert _count(database, "meter_values") == 1


async def test_a_repeat_changes_nothing_and_fills_only_what_was_missing(store: Store) -> None:
    await store.telemetry.write_meter([MeterSample("E1", None, T0, power_kw=2.0)])
    await store.telemetry.write_meter([replace(SAMPLE, power_kw=9.0), replace(SAMPLE, power_kw=8.0)])
    series = await store.telemetry.meter_series("E1", T0, T0 + timedelta(seconds=1))
    assert (series.power_kw.tolist(), series.soc.tolist()) == ([2.0], [0.625])


async def test_callers_that_wait_together_share_a_commit(store: Store) -> None:
    commits = 0

    def count(_connection: object) -> None:
        nonlocal commits
        commits += 1

    sa.event.listen(store._engines[1].sync_engine, "commit", count)
    samples = [replace(SAMPLE, at=T0 + timedelta(seconds=s)) for s in range(500)]
    await asyncio.gather(*(store.telemetry.write_meter([sample]) for sample in samples))
    assert 1 <= commits <= 5
    series = await store.telemetry.meter_series("E1", T0, T0 + timedelta(seconds=500))
    assert series.times() == [sample.at for sample in samples]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
async def test_a_value_no_meter_measures_is_refused_by_name(store: Store, bad: float) -> None:
    with pytest.raises(TelemetryRefusedError, match="power_kw of E1"):
        await store.telemetry.write_meter([replace(SAMPLE, power_kw=bad)])
    with pytest.raises(TelemetryRefusedError, match="import_kw of caltech"):
        await store.telemetry.write_site([SiteReading("caltech", T0, bad)])


async def test_a_row_the_database_refuses_does_not_sink_the_others(store: Store, database: Path) -> None:
    nameless = replace(SAMPLE, evse_id=None)  # type: ignore[arg-type]
    results = await asyncio.gather(
        store.telemetry.write_meter([SAMPLE]),
        store.telemetry.write_meter([nameless, replace(SAMPLE, evse_id="E9")]),
        store.telemetry.write_site([SiteReading("caltech", T0, 1.0)]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), TelemetryRefusedError, type(None)]
    assert (_count(database, "meter_values"), _count(database, "site_readings")) == (1, 1)


async def test_a_cancelled_caller_does_not_disturb_the_writer(store: Store) -> None:
    waiting = asyncio.create_task(store.telemetry.write_meter([SAMPLE]))
    await asyncio.sleep(0)
    waiting.cancel()
    await store.telemetry.write_meter([replace(SAMPLE, evse_id="E2")])
    assert len((await store.telemetry.meter_series("E2", T0, T0 + timedelta(1))).times()) == 1


async def test_closing_writes_what_is_queued_and_refuses_what_comes_later(url: str, database: Path) -> None:
    store = await Store.open(url)
    queued = [asyncio.create_task(store.telemetry.write_meter([replace(SAMPLE, evse_id=f"E{n}")])) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*queued)
    assert _count(database, "meter_values") == 20
    with pytest.raises(TelemetryClosedError):
        await store.telemetry.write_meter([SAMPLE])


async def test_telemetry_waits_for_a_transaction_and_then_goes_through(store: Store) -> None:
    async with store.transaction("planner"):
        writing = asyncio.create_task(store.telemetry.write_meter([SAMPLE]))
        await asyncio.sleep(0.05)
        assert not writing.done()
    await asyncio.wait_for(writing, 30)


async def test_message_counts_add_up(store: Store) -> None:
    beat, plan = MessageKey("ocpp1.6", "Heartbeat", "up"), MessageKey("ocpp2.1", "SetChargingProfile", "down")
    await asyncio.gather(store.telemetry.count_messages({beat: 2, plan: 1}), store.telemetry.count_messages({beat: 40}))
    await store.telemetry.count_messages({beat: 1})
    assert await store.telemetry.message_counts() == {beat: 43, plan: 1}
