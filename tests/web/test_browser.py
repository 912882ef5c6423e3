"""The live page in a real Chromium, against a real server."""

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

pytestmark = pytest.mark.browser

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or "/usr/bin/chromium"
    if not os.path.exists(path):  # noqa: PTH110  a plain look is enough
        if os.environ.get("CI_STRICT") == "1":
            pytest.fail(f"no Chromium at {path}; set CHROMIUM to its path")
        pytest.skip(f"no Chromium at {path}; set CHROMIUM to its path")
    with sync_playwright() as playwright:
        expect.set_options(timeout=30_000)
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=90_000)
        yield opened
        opened.close()


class Watched:
    """A page whose requests and complaints are kept."""

    def __init__(self, browser: Browser, url: str, *, scheme: Any = "light", width: int = 1280,
                 before: Callable[[Page], object] = lambda _: None) -> None:
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        self.page: Page = self.context.new_page()
        self.outside: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: None if request.url.startswith((url, "data:"))
                     else self.outside.append(request.url))
        self.page.on("console", lambda message: self.faults.append(message.text)
                     if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        before(self.page)
        self.page.goto(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


def until(page: Page, expression: str, value: object) -> None:
    """Ask until it is so; the page's policy forbids the evaluation that `wait_for_function` needs."""
    deadline = time.monotonic() + 30
    while (seen := page.evaluate(expression)) != value:
        assert time.monotonic() < deadline, f"{expression} is {seen}, not {value}"
        page.wait_for_timeout(50)


def drawn(page: Page) -> None:
    page.wait_for_selector("#chart[data-drawn] .scatterlayer .trace path.js-line", state="attached")


def test_the_page_lives(browser: Browser, site_url: str, feed) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with Watched(browser, site_url) as watched:
        page = watched.page
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator(".clock .time")).to_have_text("14:42:00")
        drawn(page)
        feed.minute += 3
        expect(page.locator(".clock .time")).to_have_text("14:45:00")
        net = f"{feed.snapshot().net_kw:.1f}"
        expect(page.locator("[data-text='site.net']")).to_have_text(net)
        feed.overrides["chargers"] = feed.snapshot().chargers[:4]
        expect(page.locator("tbody tr")).to_have_count(4)
        expect(page.locator("tr[data-evse='CA-305'] .power .figure")).to_have_text("−8.4")
        feed.overrides["alerts"] = ()
        expect(page.locator("[data-part='alerts']")).to_contain_text("None open.")
        assert (watched.outside, watched.faults) == ([], [])


def test_the_chart_shows_new_minutes(browser: Browser, site_url: str, feed) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with Watched(browser, site_url) as watched:
        drawn(watched.page)
        expect(watched.page.locator("#connection")).to_have_text("Live")
        measured = "document.getElementById('chart').data.at(-1).y.filter(y => y !== null).length"
        before = watched.page.evaluate(measured)
        feed.minute += 5
        until(watched.page, measured, before + 5)


def test_a_lost_connection_is_said_and_mended(browser: Browser, site_url: str) -> None:
    """The page never passes off an old picture as a live one."""
    with Watched(browser, site_url) as watched:
        status = watched.page.locator("#connection")
        expect(status).to_have_text("Live")
        watched.page.route("**/live/events", lambda route: route.abort())
        watched.page.reload()
        expect(status).to_contain_text("Connection lost")
        watched.page.unroute("**/live/events")
        watched.page.reload()
        expect(status).to_have_text("Live")


def test_a_silent_server_makes_the_picture_old(browser: Browser, site_url: str, feed) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    def impatient(route: Route) -> None:
        answer = route.fetch()
        script = answer.text()
        assert "STALE_AFTER_MS = 5000" in script
        route.fulfill(response=answer, body=script.replace("STALE_AFTER_MS = 5000", "STALE_AFTER_MS = 600"))

    def live_again() -> None:
        """Minutes pass until the page says so: with one alone, a slow machine could miss its 600 ms."""
        deadline = time.monotonic() + 30
        while status.text_content() != "Live":
            assert time.monotonic() < deadline
            feed.minute += 1
            watched.page.wait_for_timeout(50)

    with Watched(browser, site_url, before=lambda page: page.route("**/static/live.js", impatient)) as watched:
        status = watched.page.locator("#connection")
        live_again()
        expect(status).to_contain_text("may be old")  # nothing changes any more, so nothing is sent
        live_again()


def test_nothing_overflows_sideways_at_any_width(browser: Browser, site_url: str) -> None:
    with Watched(browser, site_url) as watched:
        drawn(watched.page)
        table = watched.page.locator("[data-part='chargers']")
        for width in (1280, 1200, 1024, 768, 390):
            watched.page.set_viewport_size({"width": width, "height": 900})
            until(watched.page, "document.documentElement.scrollWidth", width)
            assert table.evaluate("element => element.scrollWidth <= element.clientWidth"), width


# Contrast as WCAG 2.2, 1.4.3 computes it, of every text against the nearest ground that is not transparent.
CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("svg, script, .skip")) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_in_both_schemes(browser: Browser, site_url: str, scheme: Any) -> None:
    with Watched(browser, site_url, scheme=scheme) as watched:
        page = watched.page
        drawn(page)
        assert page.evaluate(CONTRAST) == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(14, 19, 24)" if scheme == "dark" else "rgb(244, 246, 247)")


def test_the_chart_follows_a_change_of_scheme(browser: Browser, site_url: str) -> None:
    with Watched(browser, site_url) as watched:
        page = watched.page
        drawn(page)
        stroke = "getComputedStyle([...document.querySelectorAll('#chart path.js-line')].at(-1)).stroke"
        assert page.evaluate(stroke) == "rgb(19, 33, 45)"
        page.emulate_media(color_scheme="dark")
        until(page, stroke, "rgb(231, 237, 242)")


def test_landmarks_headings_and_table_headers_are_there_for_those_who_listen(browser: Browser, site_url: str) -> None:
    with Watched(browser, site_url, width=390) as watched:
        page = watched.page
        expect(page.get_by_role("banner")).to_have_count(1)
        expect(page.get_by_role("main")).to_have_count(1)
        expect(page.get_by_role("contentinfo")).to_have_count(1)
        expect(page.get_by_role("heading", level=1)).to_have_text("caltech-workplace")
        expect(page.get_by_role("columnheader")).to_have_count(8)
        expect(page.get_by_role("rowheader")).to_have_count(30)
        expect(page.get_by_role("rowheader", name=re.compile("CA-305"))).to_be_visible()
        assert page.locator("[aria-live=polite]").count() >= 3


def test_without_scripts_the_picture_is_whole(browser: Browser, site_url: str) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(site_url)
    expect(page.locator(".clock .time")).to_have_text("14:42:00")
    expect(page.locator("#connection")).to_have_text("Picture of 14:42:00")
    expect(page.locator("#chart path.net")).to_have_count(1)
    context.close()
