"""What reports are made of: figures, tables, a page of sections, and one file that holds all of it.

A figure is Plotly data, drawn by the page's script or, as one SVG, by none at all.
"""

from aggregator.reports.page.figures import Figure, Layout, Trace
from aggregator.reports.page.file import one_file, static
from aggregator.reports.page.lettering import SANS, safe
from aggregator.reports.page.sections import GENERATOR, Page, Picture, Section, chosen, render_page
from aggregator.reports.page.svg import figures_svg
from aggregator.reports.page.tables import ABSENT, MINUS, Table, figure, money
from aggregator.reports.page.traces import band, line, rounded, stairs, steps_per_point, wash

__all__ = [
    "ABSENT", "GENERATOR", "MINUS", "SANS", "Figure", "Layout", "Page", "Picture", "Section", "Table", "Trace", "band",
    "chosen", "figure", "figures_svg", "line", "money", "one_file", "render_page", "rounded", "safe", "stairs",
    "static", "steps_per_point", "wash",
]
