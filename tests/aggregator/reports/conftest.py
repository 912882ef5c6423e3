"""A browser that shows reports from a disk, and what of one is left to read without the script of its figures."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


def without_plotly(html: str) -> str:
    scripts = re.findall(r"<script>.*?</script>", html, flags=re.DOTALL)
    return html.replace(max(scripts, key=len), "")


@contextmanager
def shown(browser: Browser, file: Path, scheme: Literal["light", "dark"], width: int) -> Iterator[Page]:
    """The file offline, with every figure drawn: it fits the width, asks nobody, and nothing in it complains."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(file.as_uri())
    page.wait_for_function("() => [...document.querySelectorAll('[data-figure]')].every(one => one.dataset.drawn)")
    yield page
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def hidden_at_the_end(page: Page) -> list[str]:
    """Tables that, scrolled to their end, no longer show what their rows are about; only a narrow page scrolls them."""
    hidden: list[str] = page.eval_on_selector_all(".scroll > table[id]", """all => all.filter(one => {
        const box = one.parentElement;
        box.scrollLeft = box.scrollWidth;
        const first = one.querySelector("tbody td").getBoundingClientRect().left;
        return Math.abs(first - box.getBoundingClientRect().left) >= 1;
    }).map(one => one.id)""")
    return hidden


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("CI_STRICT") == "1":
            pytest.fail("no Chromium binary found; set CHROMIUM to its path")
        pytest.skip("no Chromium binary found; set CHROMIUM to its path")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()
