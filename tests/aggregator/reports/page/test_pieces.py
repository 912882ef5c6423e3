"""What all reports are made of: numbers as text, lines as stairs, sections that take what is meant, names as text."""

import json
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aggregator.reports.page import (
    Figure,
    Page,
    Section,
    Table,
    chosen,
    figure,
    figures_svg,
    line,
    render_page,
    rounded,
    stairs,
    steps_per_point,
)
from tests.aggregator.reports.conftest import without_plotly


@pytest.mark.parametrize(("value", "text"), [(-0.01, "0.0 kW"), (-3.14, "−3.1 kW"), (1234.5, "1,234.5 kW"),
                                            (float("nan"), "–"), (None, "–")])
def test_figures_read_as_figures(value: float | None, text: str) -> None:
    assert figure(value, "kW") == text


@given(st.floats(-1e9, 1e9), st.integers(0, 3))
def test_a_figure_reads_back_as_the_number_to_its_digits(value: float, digits: int) -> None:
    text = figure(value, "kW", digits).removesuffix(" kW")
    assert float(text.replace(",", "").replace("\u2212", "-")) == pytest.approx(value, abs=0.51 * 10.0**-digits)
    assert not (text.startswith("\u2212") and not text.strip("\u22120.,")), "nothing is less than nothing"


@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e3, 1e3) | st.just(np.nan)), st.integers(1, 30))
def test_stairs_are_the_means_of_what_is_known_in_each_block(values: Any, block: int) -> None:
    drawn = stairs(values, block, 9)
    blocks = [values[k:k + block] for k in range(0, values.size, block)]
    assert len(drawn) == len(blocks) + 1
    assert drawn[-1] == drawn[-2], "the last one stands again at its end"
    for shown, own in zip(drawn, blocks, strict=False):
        known = own[np.isfinite(own)]
        assert shown is None if not known.size else shown == pytest.approx(sum(known) / known.size, abs=1e-6)


@given(st.integers(1, 1_000_000))
def test_no_line_has_more_points_than_a_screen_shows_and_a_short_one_has_all(steps: int) -> None:
    points = -(-steps // steps_per_point(steps))
    assert points <= 1500
    assert points == steps or steps > 1500


def test_what_is_not_known_is_null_in_json() -> None:
    assert json.dumps(rounded([1.234, float("nan"), -0.5], 1)) == "[1.2, null, -0.5]"


def test_a_section_takes_its_parts_in_its_own_order_and_all_that_are_numbered() -> None:
    made = [Table(name, "", (), ()) for name in ("run", "event-0", "event-table-0", "event-1", "costs")]
    assert [one.id for one in chosen(made, ("costs", "event-", "missing"))] == ["costs", "event-0", "event-1"]


HOSTILE = "</script><script>alert(1)</script><svg onload=alert(1)>\x00\ud800"


def drawn(name: str) -> Figure:
    return Figure("power", name, name, [line(name, [0.0, 1.0], [1.0, 2.0], "--net")], {
        "xaxis": {"title": {"text": name}}, "yaxis": {"title": {"text": name}}, "showlegend": True})


def test_names_in_a_page_are_text_and_its_figures_are_json() -> None:
    name = HOSTILE.replace("\x00\ud800", "")
    table = Table("t", name, ((name, False),), ((name,),), name)
    page = Page(name, name, name, ((name, name, name),), (Section("s", name, (drawn(name),), (table,), name),), (name,),
                name, name)
    html = without_plotly(render_page(page))
    assert "<script>alert" not in html
    assert "<svg onload" not in html
    figures = json.loads(html.split('id="figure-data">')[1].split("</script>")[0])
    assert figures["power"]["data"][0]["name"] == name


def test_names_in_a_picture_are_text_and_what_xml_cannot_hold_is_replaced() -> None:
    root = ET.fromstring(figures_svg([drawn(HOSTILE)], HOSTILE))  # noqa: S314 - as above
    said = " ".join(root.itertext())
    assert "alert(1)</script>" in said
    assert "\ufffd" in said
    assert not [one for one in root.iter() if one.tag.endswith("script") or "onload" in one.attrib]
