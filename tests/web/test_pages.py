"""What a client without scripts gets: the whole picture, our own assets, strict headers, no driver."""

import re
from functools import partial
from html import unescape

import httpx
import pytest
from fastapi import FastAPI
from plotly.offline import get_plotlyjs

from aggregator.api.access import undeclared
from aggregator.web import web_router
from aggregator.web.view import live_view

get = partial(httpx.get, timeout=60.0)


def test_the_first_paint_shows_every_figure(site_url: str, feed) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  fixture class lives in conftest
    html = get(site_url).text
    shown = {
        unescape(key): unescape(text)
        for key, text in re.findall(r'data-text="([^"]+)">([^<]*)<', html)
    }
    cells = live_view(feed.snapshot()).cells
    assert len(shown) > 200
    assert shown == {key: cells[key] for key in shown}
    assert "afternoon-relief" in html
    assert "the car at CA-309 leaves 0.84 kWh short" in html
    assert re.search(r'<path class="line net" d="M[\d. L]+', html)


def test_every_binding_of_the_page_has_a_cell(site_url: str, feed) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    html = get(site_url).text
    keys = {unescape(key) for key in re.findall(r'data-(?:text|width|x|tone)="([^"]+)"', html)}
    assert keys - set(live_view(feed.snapshot()).cells) == set()


def test_text_from_outside_is_escaped(site_url: str) -> None:
    html = get(site_url).text
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_the_policy_forbids_inline_script_and_style(site_url: str) -> None:
    answer = get(site_url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*(src=|application/json))", answer.text)
    assert not re.search(r"<style|\sstyle=|\son\w+=\"", answer.text)
    assert answer.headers["cache-control"] == "no-store"


def test_no_page_or_asset_of_ours_names_an_outside_host(site_url: str) -> None:
    html = get(site_url).text
    for name in re.findall(r'(?:src|href)="(/[^"]*)"', html):
        answer = get(site_url + name)
        assert answer.status_code == 200, name
        if name != "/static/plotly.min.js":
            html += answer.text
    assert set(re.findall(r"https?://[^\s\"'<>)]+", html)) <= {"http://www.w3.org/2000/svg"}


def test_plotly_comes_from_the_installed_wheel_and_is_cached(site_url: str) -> None:
    url = f"{site_url}/static/plotly.min.js"
    first = get(url)
    assert first.text == get_plotlyjs()
    assert "max-age=86400" in first.headers["cache-control"]
    again = get(url, headers={"If-None-Match": f'"old", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert get(url, headers={"If-None-Match": '"old"'}).status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpages.py", "%2e%2e%2fpages.py", "live.js%00"])
def test_only_known_assets_are_served(site_url: str, name: str) -> None:
    assert get(f"{site_url}/static/{name}").status_code == 404


def test_events_begin_with_a_snapshot(site_url: str) -> None:
    with httpx.stream("GET", f"{site_url}/live/events", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines).startswith("id: ")
        assert next(lines) == "event: snapshot"


def test_every_route_declares_who_may_call_it(feed) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(web_router(feed))
    assert undeclared(app) == []
