"""What every picture of a feeder is drawn with: its frame, lines, words and the scale of colours below it.

Names of a feeder are whatever a file said; every one is escaped. Inside a page the pictures take the page's colours
for text and ground (`--ink`, `--panel`, ...), alone they are dark on white. No ids: several fit into one page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from aggregator.reports.feeder.colours import Quantity, colours, css
from aggregator.reports.feeder.layout import Place
from aggregator.reports.page import SANS, safe

WIDTH: Final = 960.0
HEAD: Final = 34.0
LEGEND: Final = 52.0

BEGINNING: Final = b'<svg xmlns="http://www.w3.org/2000/svg" data-made-by="v2g feeder"'
"""Of every picture: a file that begins so may be replaced by another."""

INK: Final = "var(--ink, #13212d)"
MUTED: Final = "var(--muted, #53626e)"
PANEL: Final = "var(--panel, #ffffff)"
RULE: Final = "var(--rule, #dbe1e5)"


def stroke(one: Place, other: Place, stroke: str, width: float, extra: str = "", title: str = "") -> str:
    inner = f"<title>{safe(title)}</title>" if title else ""
    return (f'<line x1="{one[0]:.1f}" y1="{one[1]:.1f}" x2="{other[0]:.1f}" y2="{other[1]:.1f}" stroke="{stroke}" '
            f'stroke-width="{width:.2f}" stroke-linecap="round"{extra}>{inner}</line>')


def label(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: int = 400, colour: str = INK
) -> str:
    """A word with a halo of the ground, so that it reads above lines."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
            f'fill="{colour}" stroke="{PANEL}" stroke-width="3" paint-order="stroke">{safe(text)}</text>')


def scale(
    x: float, top: float, name: str, kind: Quantity, ends: tuple[float, float], marks: tuple[str, str, str]
) -> list[str]:
    steps, width = 24, 216.0
    shades = colours(np.linspace(*ends, steps), kind, *ends)
    parts = [
        f'<rect x="{x + width * step / steps:.1f}" y="{top + 14:.1f}" width="{width / steps + 0.4:.1f}" height="10" '
        f'fill="{css(shade)}"/>'
        for step, shade in enumerate(shades)
    ]
    centre = 0.5
    if kind is Quantity.VOLTAGE and ends[0] < 1.0 < ends[1]:
        centre = (1.0 - ends[0]) / (ends[1] - ends[0])
    parts.append(label(x, top + 8.0, name, size=11, colour=MUTED))
    for share, mark, anchor in ((0.0, marks[0], "start"), (centre, marks[1], "middle"), (1.0, marks[2], "end")):
        parts.append(label(x + width * share, top + 37.0, mark, size=11, anchor=anchor, colour=MUTED))
    return parts


def side_by_side(left: str, right: str, title: str) -> str:
    """Two pictures of this folder in one, such as before and after."""
    sizes = [_size(picture) for picture in (left, right)]
    gap = 24.0
    inner = [
        f'<g transform="translate({x:.1f} {HEAD:.1f})">{picture}</g>'
        for x, picture in ((0.0, left), (sizes[0][0] + gap, right))
    ]
    width = sizes[0][0] + gap + sizes[1][0]
    return frame(width, HEAD + max(height for _, height in sizes), title, inner)


def _size(picture: str) -> tuple[float, float]:
    box = picture.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()
    return float(box[0]), float(box[1])


def frame(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    return (
        f'{BEGINNING.decode()} viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="max-width:100%;height:auto" role="img" font-family="{SANS}">'
        f"<title>{safe(title)}</title>"
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="{PANEL}"/>'
        + label(16.0, 22.0, title, size=15, weight=600) + "".join(parts) + "</svg>\n"
    )
