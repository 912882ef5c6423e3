"""The files a page asks for: our own styles and modules, and Plotly out of its installed wheel."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from plotly.offline import get_plotlyjs

_SCRIPT, _STYLE, _ICON = "text/javascript; charset=utf-8", "text/css; charset=utf-8", "image/svg+xml"

# name -> (package folder, media type); the report shares its colours and its way of drawing with the live page
_OWN: dict[str, tuple[str, str]] = {
    "tokens.css": ("aggregator.reports.page", _STYLE),
    "figures.js": ("aggregator.reports.page", _SCRIPT),
    "live.css": ("aggregator.web", _STYLE),
    "plotly.css": ("aggregator.web", _STYLE),
    "live.js": ("aggregator.web", _SCRIPT),
    "chart.js": ("aggregator.web", _SCRIPT),
    "icon.svg": ("aggregator.web", _ICON),
}
_PLOTLY = "plotly.min.js"


@dataclass(frozen=True, slots=True)
class Asset:
    """etag: a strong validator, with its quotes. max_age_s: 0 = ask again each time (and get 304)."""

    body: bytes
    media_type: str
    etag: str
    max_age_s: int


@cache
def asset(name: str) -> Asset | None:
    """A file by its name under /static/; None if there is none. Read once; Plotly only when a page first asks."""
    if name == _PLOTLY:
        return _asset(get_plotlyjs().encode(), _SCRIPT, 86_400)
    if name not in _OWN:
        return None
    package, media_type = _OWN[name]
    return _asset((resources.files(package) / "static" / name).read_bytes(), media_type, 0)


@cache
def unwanted_style_ids() -> tuple[str, ...]:
    """Ids of style elements Plotly would write into a page that does not already have them (a map library's).

    We draw no maps and forbid inline styles, so the page puts empty elements with these ids in their place.
    """
    return tuple(dict.fromkeys(re.findall(r'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', get_plotlyjs())))


def _asset(body: bytes, media_type: str, max_age_s: int) -> Asset:
    return Asset(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"', max_age_s)
