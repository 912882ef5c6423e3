"""The live page: painted by the server, kept alive by server-sent events, every asset our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import jinja2
import orjson
from fastapi import APIRouter, Header, HTTPException, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from aggregator.api.access import public_access
from aggregator.reports.words import reasons_in_words
from aggregator.web.assets import asset, unwanted_style_ids
from aggregator.web.feed import LiveFeed, LiveSnapshot
from aggregator.web.sketch import day_sketch
from aggregator.web.ticker import Fragments, LiveTicker
from aggregator.web.view import Cell, age, clock_text, kw, live_view, signed_kw, version_text

# No inline script or style anywhere; Plotly's own rules come from /static/plotly.css (see live.html).
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_PARTS = ("event", "plan", "risks", "alerts", "trims")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aggregator.web"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    environment.globals.update(
        kw=kw, signed_kw=signed_kw, age=age, clock_text=clock_text, version_text=version_text,
        reasons_in_words=reasons_in_words,
    )
    return environment


class LivePage:
    """Renders the page and its parts from a snapshot."""

    def __init__(self) -> None:
        environment = _environment()
        self._page = environment.get_template("live.html")
        self._parts = {name: environment.get_template(f"parts/{name}.html") for name in (*_PARTS, "chargers")}

    def parts(self, snapshot: LiveSnapshot) -> Fragments:
        """The parts that are lists. Charger rows come without values: they are cells, and follow by themselves."""
        return self._render_parts(snapshot, {})

    def html(self, snapshot: LiveSnapshot) -> str:
        view = live_view(snapshot)
        points = [[x, *row] for x, row in view.points.items()]
        return self._page.render(
            snapshot=snapshot, cells=view.cells, parts=self._render_parts(snapshot, view.cells),
            sketch=day_sketch(view.points), points=orjson.dumps(points).decode(), style_ids=unwanted_style_ids(),
        )

    def _render_parts(self, snapshot: LiveSnapshot, cells: dict[str, Cell]) -> Fragments:
        context: dict[str, Any] = {"snapshot": snapshot, "zone": ZoneInfo(snapshot.timezone), "cells": cells}
        return {name: template.render(context) for name, template in self._parts.items()}


def web_router(feed: LiveFeed, *, ticker: LiveTicker | None = None) -> APIRouter:
    """The live page at "/", its assets at "/static/…" and its events at "/live/events".

    ticker: pass your own (`live_ticker(feed)`) to `close()` it before the server stops, since a server waits for open
    streams. Access is public: the service listens on loopback, and the page shows EVSEs, never drivers.
    """
    page = LivePage()
    ticks = ticker if ticker is not None else LiveTicker(feed, page.parts)
    router = APIRouter(include_in_schema=False, dependencies=[public_access()])

    @router.get("/", response_class=HTMLResponse)
    async def live() -> HTMLResponse:
        return HTMLResponse(page.html(feed.snapshot()), headers={**SECURITY_HEADERS, "Cache-Control": "no-store"})

    @router.get("/live/events")
    async def events(last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(
            _closing(ticks, last_event_id), media_type="text/event-stream; charset=utf-8", headers=headers
        )

    @router.get("/static/{name}")
    async def static(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        found = asset(name)
        if found is None:
            raise HTTPException(404, f"no asset named {name!r}")
        caching = f"public, max-age={found.max_age_s}" if found.max_age_s else "no-cache"
        headers = {"ETag": found.etag, "Cache-Control": caching, "X-Content-Type-Options": "nosniff"}
        known = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
        if found.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(found.body, media_type=found.media_type, headers=headers)

    return router


def live_ticker(feed: LiveFeed, *, interval_s: float = 0.5) -> LiveTicker:
    """A ticker for `web_router` that its owner can close."""
    return LiveTicker(feed, LivePage().parts, interval_s=interval_s)


async def _closing(ticks: LiveTicker, last_event_id: str | None) -> AsyncIterator[bytes]:
    # A browser that leaves cancels us inside a send: close the subscription then, not when memory is collected.
    async with aclosing(ticks.subscribe(last_event_id)) as stream:
        async for message in stream:
            yield message
