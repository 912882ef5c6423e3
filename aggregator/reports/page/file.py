"""One HTML file with everything in it: styles, scripts, Plotly out of its installed wheel, and the figures as JSON.

It opens from a disk without a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from aggregator.reports.page.figures import Figure

_SCRIPTS = ("figures.js", "report.js")


def static(name: str) -> str:
    """A style or script of ours by its file's name."""
    return (resources.files("aggregator.reports.page") / "static" / name).read_text(encoding="utf-8")


def one_file(template: str, figures: Iterable[Figure], styles: Iterable[str], /, **values: Any) -> str:
    """`template` filled with `values`; `styles` are names of files, `figures` all that it has a place for."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aggregator.reports.page"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    drawn = {one.id: {"data": one.data, "layout": one.layout} for one in figures}
    return environment.get_template(template).render(
        # "<" never stands in the JSON, so it cannot end the script element it stands in (WHATWG HTML, 4.12.1.3).
        figure_json=json.dumps(drawn, allow_nan=False).replace("<", "\\u003c"),
        styles="".join(static(name) for name in styles), scripts="".join(static(name) for name in _SCRIPTS),
        plotly=get_plotlyjs(), **values,
    )
