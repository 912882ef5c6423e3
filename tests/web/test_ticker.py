"""Snapshot, then deltas; encoded once; nobody who was slow or away is left with a wrong picture."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ocpp.events import ConnectorState, OcppVersion
from aggregator.web import ChargerRow, LiveSnapshot, LiveTicker, SitePoint

pytestmark = pytest.mark.anyio

NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
TICK_S = 0.02


class Feed:
    """Counts how often it is asked; `picture` is what it shows next."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: Exception | None = None
        self.picture = LiveSnapshot("site", "UTC", NOON, 1.0, 100.0, net_kw=10.0)

    async def is_looked_at(self) -> None:
        """Wait for the next tick."""
        asked = self.asked
        async with asyncio.timeout(60):
            while self.asked == asked:  # noqa: ASYNC110 - the ticker tells only who has news
                await asyncio.sleep(0.001)

    def snapshot(self) -> LiveSnapshot:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return self.picture


def parts(snapshot: LiveSnapshot) -> dict[str, str]:
    return {"chargers": ",".join(row.evse_id for row in snapshot.chargers)}


def ticker(feed: Feed) -> LiveTicker:
    return LiveTicker(feed, parts, interval_s=TICK_S, keepalive_s=120.0)


def parsed(message: bytes) -> tuple[str, str, dict[str, Any]]:
    """(id, event, data) of one server-sent event."""
    fields = dict(line.split(b": ", 1) for line in message.strip().split(b"\n"))
    return fields[b"id"].decode(), fields[b"event"].decode(), orjson.loads(fields[b"data"])


async def taken(stream: AsyncGenerator[bytes, None]) -> bytes:
    return await asyncio.wait_for(anext(stream), 30.0)


async def test_a_new_reader_gets_a_snapshot_and_then_only_what_changed() -> None:
    feed = Feed()
    stream = ticker(feed).subscribe()
    _, kind, whole = parsed(await taken(stream))
    assert (kind, whole["cells"]["site.net"]) == ("snapshot", "10.0")
    feed.picture = replace(feed.picture, net_kw=12.5)
    _, kind, delta = parsed(await taken(stream))
    assert kind == "delta"
    assert delta["cells"]["site.net"] == "12.5"
    assert set(delta["cells"]) == {"site.net", "site.room", "site.bar"}
    assert delta["parts"] == {}
    await stream.aclose()


async def test_all_readers_share_the_bytes_of_a_tick() -> None:
    feed = Feed()
    ticks = ticker(feed)
    first, second = ticks.subscribe(), ticks.subscribe()
    assert await taken(first) is await taken(second)
    feed.picture = replace(feed.picture, net_kw=20.0)
    assert await taken(first) is await taken(second)
    await first.aclose()
    await second.aclose()


async def test_nothing_is_asked_while_nobody_looks() -> None:
    feed = Feed()
    ticks = ticker(feed)
    stream = ticks.subscribe()
    await taken(stream)
    await stream.aclose()
    asked = feed.asked
    await asyncio.sleep(5 * TICK_S)
    assert (feed.asked, ticks.subscribers) == (asked, 0)


async def test_a_slow_reader_gets_a_snapshot_next() -> None:
    feed = Feed()
    stream = ticker(feed).subscribe()
    await taken(stream)
    for net_kw in (20.0, 30.0, 40.0):
        feed.picture = replace(feed.picture, net_kw=net_kw)
        await feed.is_looked_at()
    _, kind, whole = parsed(await taken(stream))
    assert (kind, whole["cells"]["site.net"]) == ("snapshot", "40.0")
    feed.picture = replace(feed.picture, net_kw=50.0)
    _, kind, delta = parsed(await taken(stream))
    assert (kind, delta["cells"]["site.net"]) == ("delta", "50.0")
    await stream.aclose()


async def test_a_returning_reader_gets_the_deltas_it_missed() -> None:
    feed = Feed()
    ticks = ticker(feed)
    keeper, stream = ticks.subscribe(), ticks.subscribe()
    await taken(keeper)
    last_id, _, _ = parsed(await taken(stream))
    await stream.aclose()
    for net_kw in (20.0, 30.0):
        feed.picture = replace(feed.picture, net_kw=net_kw)
        await taken(keeper)
    again = ticks.subscribe(last_id)
    seen = [parsed(await taken(again)) for _ in range(2)]
    assert [(kind, data["cells"]["site.net"]) for _, kind, data in seen] == [("delta", "20.0"), ("delta", "30.0")]
    await again.aclose()
    await keeper.aclose()


@pytest.mark.parametrize("last_id", ["", "other-3", "nonsense", "-1", "deadbeef-99999999999999999999"])
async def test_an_id_of_another_run_or_none_gets_a_snapshot(last_id: str) -> None:
    stream = ticker(Feed()).subscribe(last_id)
    assert parsed(await taken(stream))[1] == "snapshot"
    await stream.aclose()


async def test_an_id_from_the_future_of_this_run_gets_a_snapshot() -> None:
    ticks = ticker(Feed())
    keeper = ticks.subscribe()
    run_id = parsed(await taken(keeper))[0].partition("-")[0]
    stream = ticks.subscribe(f"{run_id}-999")
    assert parsed(await taken(stream))[1] == "snapshot"
    await stream.aclose()
    await keeper.aclose()


async def test_a_feed_that_fails_once_does_not_end_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed()
    stream = ticker(feed).subscribe()
    await taken(stream)
    feed.fault = RuntimeError("the store is busy")
    await feed.is_looked_at()
    feed.fault, feed.picture = None, replace(feed.picture, net_kw=33.0)
    assert parsed(await taken(stream))[2]["cells"]["site.net"] == "33.0"
    assert "the feed gave no snapshot" in caplog.text
    await stream.aclose()


async def test_closing_ends_every_stream() -> None:
    ticks = ticker(Feed())
    stream = ticks.subscribe()
    await taken(stream)
    ticks.close()
    with pytest.raises(StopAsyncIteration):
        await taken(stream)
    assert [message async for message in ticks.subscribe()] == []


async def test_quiet_times_are_bridged_by_comments() -> None:
    stream = LiveTicker(Feed(), parts, interval_s=TICK_S, keepalive_s=0.05).subscribe()
    await taken(stream)
    assert (await taken(stream)).startswith(b":")
    await stream.aclose()


def pictures() -> st.SearchStrategy[LiveSnapshot]:
    point = st.builds(
        SitePoint, st.integers(0, 8).map(lambda minute: NOON + timedelta(minutes=minute)),
        net_kw=st.none() | st.floats(-50, 150),
    )
    row = st.builds(
        ChargerRow, st.sampled_from(["A", "B", "C"]), st.just(OcppVersion.V21), st.booleans(),
        st.sampled_from(ConnectorState), power_kw=st.none() | st.floats(-11, 11),
    )
    return st.builds(
        LiveSnapshot, st.just("site"), st.just("UTC"), st.just(NOON), st.just(1.0), st.just(100.0),
        net_kw=st.none() | st.floats(-50, 150), history=st.lists(point, max_size=6).map(tuple),
        chargers=st.lists(row, max_size=3, unique_by=lambda one: one.evse_id).map(tuple),
    )


@settings(max_examples=10, deadline=None)
@given(st.lists(pictures(), min_size=1, max_size=6), st.data())
def test_deltas_lead_to_the_same_picture_as_a_snapshot(shown: list[LiveSnapshot], data: st.DataObject) -> None:
    """A browser that applies what it receives, slow or not, ends with exactly what a newcomer is given."""
    pauses = data.draw(st.lists(st.booleans(), min_size=len(shown), max_size=len(shown)))

    async def run() -> tuple[dict[str, Any], dict[str, Any]]:
        feed = Feed()
        ticks = LiveTicker(feed, parts, interval_s=0.001)
        reader = ticks.subscribe()
        pages: dict[str, Any] = {"cells": {}, "parts": {}, "points": {}}
        applied(pages, await taken(reader))
        for picture, is_slow in zip(shown, pauses, strict=True):
            feed.picture = picture
            await feed.is_looked_at()
            if not is_slow and ticks_has_news(ticks):
                applied(pages, await taken(reader))
        while ticks_has_news(ticks):
            applied(pages, await taken(reader))
        newcomer = ticks.subscribe()
        fresh: dict[str, Any] = {"cells": {}, "parts": {}, "points": {}}
        applied(fresh, await taken(newcomer))
        await newcomer.aclose()
        await reader.aclose()
        return pages, fresh

    pages, fresh = asyncio.run(run())
    # Cells of a charger that is gone stay in memory but have no element; all that can be shown is the same.
    assert {key: pages["cells"][key] for key in fresh["cells"]} == fresh["cells"]
    assert pages["parts"] == fresh["parts"]
    assert pages["points"] == fresh["points"]
    gc.collect()


def ticks_has_news(ticks: LiveTicker) -> bool:
    return any(mailbox.filled.is_set() for mailbox in ticks._mailboxes)


def applied(page: dict[str, Any], message: bytes) -> None:
    """What live.js does with a message."""
    _, kind, body = parsed(message)
    page["cells"].update(body["cells"])
    page["parts"].update(body["parts"])
    if kind == "snapshot":
        page["points"] = {}
    for x in body.get("gone", []):
        page["points"].pop(x)
    page["points"].update({row[0]: row[1:] for row in body["points"]})
