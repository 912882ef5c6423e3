"""Pictures of feeders: well-formed, safe whatever names say, and with the figures they claim."""

import base64
import re
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.reports.feeder import heat_strip, one_line, side_by_side
from aggregator.reports.feeder.colours import OVER, TOO_HIGH, TOO_LOW, Quantity, colours
from aggregator.reports.feeder.layout import distance, layout
from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Primitive, Rating, Source, Transformer
from twin.feeder.on_disk.example import european_lv
from twin.feeder.powerflow.parts import Carried, Part

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '"><script>alert(1)</script><a href="'
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
START = datetime(2026, 1, 1, tzinfo=UTC)


def street(names: tuple[str, str, str, str] = ("upper", "b1", "b2", "b3"), *, placed: bool = True) -> Feeder:
    """A transformer and two lines in a row; the last bus has one phase."""
    where = [(0.0, 0.0), (10.0, 0.0), (20.0, 5.0), (30.0, -5.0)] if placed else [None] * 4
    phases = ("abc", "abc", "abc", "b")
    buses = tuple(
        Bus(name, 10_000.0 if number == 0 else 400.0, phases[number], where[number])
        for number, name in enumerate(names)
    )
    ohms = {"r1": 0.1, "x1": 0.05, "r0": 0.3, "x0": 0.1}
    first = Line.of_sequence("l1", names[1], names[2], **ohms, ampacity=Rating.even(100.0, "a test"))
    last = Line("l2", names[2], names[3], *[((0.0,) * 3, (0.0, 0.1, 0.0), (0.0,) * 3)] * 2, phases="b")
    return Feeder(
        f"street {names[0]}", buses, (first, last), Source(names[0]),
        (Transformer(f"t {names[1]}", names[0], names[1], 1e5, 1e4, 400.0, 0.04, 1e3, "Dyn11"),),
        (ConnectionPoint(f"p {names[3]}", names[3], "b"),),
    )


def parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - our own text


def titles(picture: str) -> list[str]:
    return [element.text or "" for element in parsed(picture).iter(f"{SVG}title")]


@given(names=st.tuples(NAMES, NAMES, NAMES, NAMES).filter(lambda names: len(set(names)) == 4))
@settings(max_examples=40, deadline=None)
def test_any_name_is_text_and_never_markup(names: tuple[str, str, str, str]) -> None:
    feeder = street(names)
    picture = side_by_side(one_line(feeder, title=names[0]), one_line(feeder, title=names[1]), names[2])
    said = "".join(titles(picture))
    assert all(name in said for name in names)
    strip = heat_strip(np.ones((4, 2)), names, [START, START], "voltage", names[0])
    assert titles(strip)[0] == names[0]


def test_a_hostile_name_adds_no_element() -> None:
    def tags(picture: str) -> list[str]:
        return [element.tag for element in parsed(picture).iter()]

    hostile = (f"{HOSTILE}0", f"{HOSTILE}1", f"{HOSTILE}2", f"{HOSTILE}3")
    assert tags(one_line(street(hostile), title=HOSTILE)) == tags(one_line(street(), title="street"))
    assert "<script" not in one_line(street(hostile), title=HOSTILE)


def test_hovering_says_the_figures_of_every_phase() -> None:
    volts = np.array([1.0, 1.0, 1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.85])
    said = titles(one_line(street(), voltage_pu=volts, loading=np.array([0.5, 1.25, 0.25, np.nan]),
                           carried={"t b1": Carried(Part("t b1", "to", "c"), 0.75)}, title="now"))
    assert "bus b2: a 0.96, b 0.95, c 0.94 p.u." in said
    assert "bus b3: b 0.85 p.u.\np b3 (b)" in said
    assert "line l1: loading a 0.5, b 1.25, c 0.25" in said
    assert "line l2: loading b no figure, no rating" in said
    alone = titles(one_line(street(), loading=np.full(4, np.nan), title="without voltages"))
    assert "line l2: loading b no figure, no rating or no flow" in alone
    assert "transformer t b1: loading 0.750, to phase c" in said


def test_an_element_held_as_its_matrix_is_a_box_that_says_its_most_loaded_node() -> None:
    """Its far bus hangs on it alone and has no place of its own: it stands beside the near one."""
    whole = street()
    ohm = ((1.0 + 0.0j, -1.0 + 0.0j), (-1.0 + 0.0j, 1.0 + 0.0j))
    regulator = Primitive("reg <1>", (("b2", "a"), ("behind", "a")), ohm, "regulator", amperes=(50.0, 50.0))
    feeder = replace(whole, buses=(*whole.buses, Bus("behind", 400.0, "a")), primitives=(regulator,))
    carried = {regulator.id: Carried(Part(regulator.id, "behind", "a"), 1.25)}
    picture = one_line(feeder, carried=carried, title="now")
    assert "regulator reg <1>: loading 1.250, behind phase a" in titles(picture)
    assert "regulator reg <1>" in titles(one_line(feeder, title="now"))
    flat = one_line(feeder, carried={regulator.id: Carried(carried[regulator.id].part, float("nan"))}, title="now")
    assert "regulator reg <1>: no flow" in titles(flat)
    assert picture.count("<line") == one_line(whole, title="now").count("<line") + 1
    places, _ = layout(feeder, 960.0, 760.0, 44.0)
    others = [distance(places["behind"], places[bus]) for bus in ("upper", "b1", "b3")]
    assert distance(places["behind"], places["b2"]) < min(others)


def test_what_is_beyond_its_limit_has_a_shape_of_its_own() -> None:
    """Colour alone would be lost on some readers."""
    volts = np.ones(10)
    calm = one_line(street(), voltage_pu=volts, loading=np.full(4, 0.5), title="x")
    volts[9] = 0.8
    broken = one_line(street(), voltage_pu=volts, loading=np.array([0.5, 1.5, 0.5, 0.5]), title="x")
    assert broken.count("<path") == calm.count("<path") + 1
    assert broken.count("stroke-dasharray") == calm.count("stroke-dasharray") + 1


def test_a_bus_without_a_flow_says_so() -> None:
    assert "bus b1: no flow" in titles(one_line(street(), voltage_pu=np.full(10, np.nan), title="x"))


@pytest.mark.parametrize("placed", [True, False])
def test_every_bus_stands_inside_the_picture(placed: bool) -> None:
    places, height = layout(street(placed=placed), 960.0, 700.0, 40.0)
    assert len(set(places.values())) == 4
    assert all(40.0 - 1e-6 <= x <= 920.0 + 1e-6 and 0.0 <= y <= height for x, y in places.values())


def test_a_map_keeps_its_proportions_with_north_above() -> None:
    places, _ = layout(street(), 960.0, 700.0, 40.0)
    (x1, y1), (x2, y2), (x3, y3) = places["b1"], places["b2"], places["b3"]
    assert (x2 - x1) == pytest.approx(2.0 * (y1 - y2))
    assert (y3 - y2) == pytest.approx(x3 - x2)


def test_a_tree_stands_below_its_source_a_parent_above_the_middle_of_its_children() -> None:
    places, _ = layout(street(placed=False), 960.0, 700.0, 40.0)
    assert places["upper"][1] < places["b1"][1] < places["b2"][1] < places["b3"][1]


def test_an_island_is_drawn_too() -> None:
    feeder = street()
    lonely = Feeder(feeder.name, (*feeder.buses, Bus("lonely", 400.0)), feeder.lines, feeder.source,
                    feeder.transformers, feeder.connection_points)
    assert any(title.startswith("bus lonely") for title in titles(one_line(lonely, title="x")))


def test_the_european_feeder_is_drawn_whole_and_small_enough_for_a_page() -> None:
    feeder = european_lv()
    nodes = sum(len(bus.phases) for bus in feeder.buses)
    segments = sum(len(line.phases) for line in feeder.lines)
    picture = one_line(feeder, voltage_pu=np.linspace(0.95, 1.05, nodes), loading=np.linspace(0.0, 1.2, segments),
                       title="whole")
    said = titles(picture)
    assert sum(title.startswith("bus ") for title in said) == len(feeder.buses)
    assert sum(title.startswith("line ") for title in said) == len(feeder.lines)
    assert len(picture) < 500_000


def pixels(strip: str) -> np.ndarray:
    """The image inside a strip, read by the letter of the PNG standard."""
    raw = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", strip).group(1))  # type: ignore[union-attr]
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    place, found = 8, {}
    while place < len(raw):
        length, kind = struct.unpack(">I4s", raw[place:place + 8])
        body = raw[place + 8:place + 8 + length]
        assert struct.unpack(">I", raw[place + 8 + length:place + 12 + length])[0] == zlib.crc32(kind + body)
        found[kind] = body
        place += 12 + length
    width, height = struct.unpack(">II", found[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    return rows[:, 1:].reshape(height, width, 3)


def test_a_strip_has_a_pixel_for_every_value() -> None:
    values = np.array([[0.80, 1.0, 1.2], [np.nan, 0.95, 1.05]])
    times = [START + timedelta(hours=hour) for hour in range(3)]
    image = pixels(heat_strip(values, ["one", "two"], times, "voltage", "x"))
    assert (image == colours(values, Quantity.VOLTAGE, 0.9, 1.1)).all()
    assert tuple(image[0, 0]) == TOO_LOW
    assert tuple(image[0, 2]) == TOO_HIGH
    assert "one: 0.8 at Thu 00:00 to 1.2 at Thu 02:00" in titles(heat_strip(values, ["one", "two"], times, "voltage",
                                                                           "x"))
    assert tuple(pixels(heat_strip(np.array([[1.01]]), ["l"], [START], "loading", "x"))[0, 0]) == OVER


@given(value=st.floats(0.9, 1.1), other=st.floats(0.9, 1.1))
def test_farther_from_the_middle_is_darker(value: float, other: float) -> None:
    """So that the scale is read without colour too."""
    def lightness(pu: float) -> float:
        return float(colours(np.array(pu), Quantity.VOLTAGE, 0.9, 1.1) @ np.array([0.299, 0.587, 0.114]))

    if (value - 1.0) * (other - 1.0) > 0.0 and abs(value - 1.0) > abs(other - 1.0):
        assert lightness(value) <= lightness(other) + 1.0


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(10,\)"):
        one_line(street(), voltage_pu=np.ones(3), title="x")
    with pytest.raises(ValueError, match="expected"):
        heat_strip(np.ones((2, 2)), ["one"], [START], "voltage", "x")


def test_names_that_no_xml_can_hold_leave_a_picture_that_can_be_read() -> None:
    picture = heat_strip(np.ones((2, 1)), ["a\x00\x0b<b>", "\x1b[31m\uffff"], [datetime(2026, 1, 1, tzinfo=UTC)],
                         "voltage", "\x08 & more")
    assert "\ufffd" in "".join(ET.fromstring(picture).itertext())  # noqa: S314 - our own picture


def test_a_strip_without_rows_says_so() -> None:
    picture = heat_strip(np.empty((0, 1)), [], [datetime(2026, 1, 1, tzinfo=UTC)], "loading", "no lines")
    assert "nothing to show" in "".join(ET.fromstring(picture).itertext())  # noqa: S314 - our own picture
