"""A figure as Plotly data.

Colours are names of CSS custom properties (`--net`): the page has a light and a dark value for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Trace = dict[str, Any]
Layout = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. title is a claim or a question; caption says in words how to read it. height_px on the page."""

    id: str
    title: str
    caption: str
    data: list[Trace]
    layout: Layout
    height_px: int = 360
