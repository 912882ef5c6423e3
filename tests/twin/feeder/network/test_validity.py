"""The validity report: every kind of fault, all at once, each with element, field, value and what was expected."""

from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder import (
    Bus,
    Capacitor,
    Connection,
    ConnectionPoint,
    Feeder,
    FeederError,
    Line,
    LoadType,
    Origin,
    Primitive,
    Rating,
    Side,
    Source,
    Tap,
    Transformer,
    Zip,
    faults,
)

TRANSFORMER = Transformer("t", "high", "near", 250e3, 10_000.0, 400.0, 0.04, 3000.0, "Dyn11")


def wrong(feeder: Feeder) -> list[tuple[str, str, str, bool]]:
    return [(fault.kind, fault.element, fault.field, fault.blocking) for fault in faults(feeder)]


def with_line(feeder: Feeder, **fields: Any) -> Feeder:
    return replace(feeder, lines=(replace(feeder.lines[0], **fields),))


def with_transformer(feeder: Feeder, **fields: Any) -> Feeder:
    return replace(
        feeder, buses=(Bus("high", 10_000.0), *feeder.buses), source=Source("high"),
        transformers=(replace(TRANSFORMER, **fields),),
    )


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_sound_feeders_have_no_blocking_fault(build: Any, seed: int) -> None:
    assert [fault for fault in faults(build.feeder(seed)) if fault.blocking] == []


WINDINGS = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 0.0, 1.0]])
"""Of a delta: each from one phase to the next."""

DELTA_TO_DELTA = tuple(map(tuple, (np.kron([[1.0, -1.0], [-1.0, 1.0]], WINDINGS.T @ WINDINGS) * (1.0 - 5.0j)).tolist()))
JOINT = ((1.0 + 0j, -1.0 + 0j), (-1.0 + 0j, 1.0 + 0j))


def with_primitive(feeder: Feeder, *nodes: tuple[str, str], matrix: Any = JOINT) -> Feeder:
    return replace(feeder, primitives=(Primitive("p", nodes, matrix, "regulator"),))


def with_capacitor(feeder: Feeder, bus: str = "far", volts: float = 231.0, phases: str = "abc") -> Feeder:
    return replace(feeder, capacitors=(Capacitor("c", bus, 1e3, volts, phases),))


def beside(feeder: Feeder, phases: str = "a") -> Feeder:
    """With a bus more, which nothing reaches yet."""
    return replace(feeder, buses=(*feeder.buses, Bus("end", 400.0, phases)))


CASES = {
    "an island": (lambda f: replace(f, buses=(*f.buses, Bus("x", 400.0))), ("bus", "x", "phases", True)),
    "a line to nowhere": (lambda f: with_line(f, to_bus="x"), ("line", "line", "to_bus", True)),
    "a load nowhere": (
        lambda f: replace(f, connection_points=(ConnectionPoint("load", "x", load_type="power"),)),
        ("connection point", "load", "bus", True),
    ),
    "an unknown load type": (
        lambda f: replace(f, connection_points=(ConnectionPoint("load", "far", load_type="x"),)),
        ("connection point", "load", "load_type", True),
    ),
    "a name twice": (lambda f: replace(f, lines=f.lines * 2), ("line", "line", "id", True)),
    "a load on a phase its bus lacks": (
        lambda f: replace(with_line(f, phases="ab"), buses=(f.buses[0], replace(f.buses[1], phases="ab"))),
        ("connection point", "load", "phases", True),
    ),
    "a line with a phase its bus lacks": (
        lambda f: replace(f, buses=(f.buses[0], replace(f.buses[1], phases="ab"))), ("line", "line", "phases", True),
    ),
    "a phase that no line brings": (lambda f: with_line(f, phases="ab"), ("bus", "far", "phases", True)),
    "two voltage bases": (
        lambda f: replace(f, buses=(f.buses[0], replace(f.buses[1], volts=230.0))), ("line", "line", "to_bus", True),
    ),
    "a line from a bus to itself": (lambda f: with_line(f, to_bus="near"), ("line", "line", "to_bus", True)),
    "a line without impedance": (
        lambda f: with_line(f, r_ohm=((0.0,) * 3,) * 3, x_ohm=((0.0,) * 3,) * 3),
        ("line", "line", "r_ohm, x_ohm", True),
    ),
    "a line that makes power": (
        lambda f: with_line(f, r_ohm=((0.1, 0.4, 0.4), (0.4, 0.1, 0.4), (0.4, 0.4, 0.1))),
        ("line", "line", "r_ohm", True),
    ),
    "R0 below R1": (
        lambda f: with_line(f, r_ohm=((0.2, -0.02, -0.02), (-0.02, 0.2, -0.02), (-0.02, -0.02, 0.2))),
        ("line", "line", "r_ohm", False),
    ),
    "capacitance of an impossible sign": (
        lambda f: with_line(f, c_farad=((-1e-6, 0.0, 0.0), (0.0, -1e-6, 0.0), (0.0, 0.0, -1e-6))),
        ("line", "line", "c_farad", False),
    ),
    "no ampacity": (lambda f: with_line(f, ampacity=None), ("line", "line", "ampacity", False)),
    "an ampacity in kA": (
        lambda f: with_line(f, ampacity=Rating.even(0.2, "a table")), ("line", "line", "ampacity", False),
    ),
    "an ampacity too large for the cable": (
        lambda f: with_line(f, length_m=100.0, ampacity=Rating.even(421.0, "a placeholder")),
        ("line", "line", "ampacity", False),
    ),
    "a length of zero": (lambda f: with_line(f, length_m=0.0), ("line", "line", "length_m", False)),
    "a length in km": (lambda f: with_line(f, length_m=0.1), ("line", "line", "length_m", False)),
    "no vector group": (
        lambda f: with_transformer(f, vector_group=None), ("transformer", "t", "vector_group", True),
    ),
    "a vector group that cannot be": (
        lambda f: with_transformer(f, vector_group="Dyn0"), ("transformer", "t", "vector_group", True),
    ),
    "no ground below a transformer": (
        lambda f: with_transformer(f, vector_group="YNd11"), ("transformer", "t", "vector_group", False),
    ),
    "a transformer turned round": (
        lambda f: with_transformer(f, from_bus="near", to_bus="high"), ("transformer", "t", "from_volts", True),
    ),
    "uk in per cent": (lambda f: with_transformer(f, uk=4.0), ("transformer", "t", "uk", False)),
    "a load of another voltage": (
        lambda f: replace(f, load_types=(LoadType("power", rated_volts=400.0),)),
        ("connection point", "load", "load_type", True),
    ),
    "a load that leaves its law within the supply's range": (
        lambda f: replace(f, load_types=(LoadType("power", valid_pu=(0.95, 1.05)),)),
        ("load type", "power", "valid_pu", False),
    ),
    "a delta load on one phase": (
        lambda f: replace(
            f, load_types=(LoadType("power", connection=Connection.DELTA),),
            connection_points=(ConnectionPoint("load", "far", "a", None, "power"),),
        ),
        ("connection point", "load", "phases", True),
    ),
    "a primitive to nowhere": (
        lambda f: with_primitive(f, ("far", "a"), ("x", "a")), ("primitive", "p", "nodes", True),
    ),
    "a primitive on a phase its bus lacks": (
        lambda f: with_primitive(beside(f), ("far", "a"), ("end", "b")), ("primitive", "p", "nodes", True),
    ),
    "a primitive that couples nothing": (
        lambda f: with_primitive(beside(f), ("far", "a"), ("end", "a"), matrix=((1.0 + 0j, 0j), (0j, 1.0 + 0j))),
        ("bus", "end", "phases", True),
    ),
    "a primitive that makes power": (
        lambda f: with_primitive(beside(f), ("far", "a"), ("end", "a"), matrix=((1.0 + 0j, 2.0 + 0j), (2.0 + 0j, 1j))),
        ("primitive", "p", "admittance", False),
    ),
    "a primitive that leaves its bus floating": (
        lambda f: with_primitive(beside(f, "abc"), *((bus, phase) for bus in ("far", "end") for phase in "abc"),
                                 matrix=DELTA_TO_DELTA),
        ("primitive", "p", "nodes", False),
    ),
    "a capacitor nowhere": (lambda f: with_capacitor(f, "x"), ("capacitor", "c", "bus", True)),
    "a capacitor on a phase its bus lacks": (
        lambda f: with_capacitor(with_primitive(beside(f), ("far", "a"), ("end", "a")), "end"),
        ("capacitor", "c", "phases", True),
    ),
    "a capacitor of another voltage": (lambda f: with_capacitor(f, volts=400.0), ("capacitor", "c", "volts", False)),
    "a capacitor twice": (
        lambda f: replace(f, capacitors=with_capacitor(f).capacitors * 2), ("capacitor", "c", "id", True),
    ),
    "a source on two phases": (
        lambda f: replace(f, buses=(replace(f.buses[0], phases="ab"), f.buses[1])), ("source", "source", "bus", True),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_fault_is_found(build: Any, case: str) -> None:
    change, expected = CASES[case]
    assert wrong(build.two_buses()) == []
    assert expected in wrong(change(build.two_buses()))


@pytest.mark.parametrize(("change", "field", "expected"), [
    ({"vector_group": "Dyn5"}, "vector_group", "the clock of transformer t, with which it is in parallel: 11"),
    ({"from_volts": 10_500.0}, "from_volts, to_volts, tap", "26.25', expected the ratio of transformer t"),
    ({"tap": Tap(Side.FROM, 2, -2, 2, 0, 250.0)}, "from_volts, to_volts, tap", "26.25"),
    ({"from_bus": "near", "to_bus": "high", "from_volts": 400.0, "to_volts": 1e4, "vector_group": "YNd11"},
     "vector_group", "the clock of transformer t, with which it is in parallel: 11"),
])
def test_transformers_in_parallel_that_drive_a_current_round_are_a_remark(
    build: Any, change: Any, field: str, expected: str
) -> None:
    alone = with_transformer(build.two_buses())
    both = replace(alone, transformers=(*alone.transformers, replace(alone.transformers[0], id="u")))
    assert ("transformer", "u") not in {(fault.kind, fault.element) for fault in faults(both)}
    other = replace(both, transformers=(both.transformers[0], replace(both.transformers[1], **change)))
    (fault,) = (fault for fault in faults(other) if fault.element == "u")
    assert (fault.field, fault.blocking) == (field, False)
    assert expected in str(fault)


def test_a_line_to_nowhere_hides_no_island(build: Any) -> None:
    feeder = replace(with_line(build.two_buses(), to_bus="x"), buses=(*build.two_buses().buses, Bus("alone", 400.0)))
    assert {(fault.kind, fault.element) for fault in faults(feeder) if fault.blocking} == {
        ("line", "line"), ("bus", "far"), ("bus", "alone")}


@pytest.mark.parametrize("matrix", [
    pytest.param(JOINT, id="a series element"),
    pytest.param(((2.0 + 0j, -1.0 + 0j), (-1.0 + 0j, 0.5 + 0j)), id="a ratio"),
])
def test_what_hands_ground_on_floats_only_with_its_source(build: Any, matrix: Any) -> None:
    assert wrong(with_primitive(beside(build.two_buses()), ("far", "a"), ("end", "a"), matrix=matrix)) == []


def test_a_star_capacitor_grounds_what_floats(build: Any) -> None:
    feeder = with_primitive(beside(build.two_buses(), "abc"),
                            *((bus, phase) for bus in ("far", "end") for phase in "abc"), matrix=DELTA_TO_DELTA)
    assert wrong(with_capacitor(feeder, "end")) == []


def test_all_are_named_at_once_blocking_ones_first_with_file_and_line(build: Any) -> None:
    feeder = with_transformer(with_line(build.two_buses(), ampacity=None, length_m=0.0), vector_group=None)
    feeder = replace(
        feeder, buses=(*feeder.buses, Bus("x", 400.0)), origins={("line", "line"): Origin("Lines.txt", 12)},
    )
    found = faults(feeder)
    assert [fault.blocking for fault in found] == [True, True, False, False]
    assert [fault.element for fault in found] == ["t", "x", "line", "line"]
    expected = "expected amperes per phase and where they come from"
    assert str(found[-1]) == f"Lines.txt:12: line line: ampacity: None, {expected}"


@pytest.mark.parametrize(("make", "complaint"), [
    (lambda: Bus("b", 0.0), "bus b: volts: 0.0"),
    (lambda: Bus("b", 400.0, "ca"), "bus b: phases: 'ca'"),
    (lambda: Bus("b", 400.0, ""), "bus b: phases: ''"),
    (lambda: Rating((1.0, 1.0, 1.0), ""), "rating: source: ''"),
    (lambda: Line.of_sequence("l", "a", "b", r1=nan, x1=0.1, r0=0.1, x0=0.1), "line l: r_ohm"),
    (lambda: Line("l", "a", "b", ((1.0, 2.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), ((0.0,) * 3,) * 3),
     "expected a symmetric matrix"),
    (lambda: Transformer("t", "a", "b", 1e5, 1e4, 400.0, 0.04, 5000.0, "Dyn11"), "pk_w: 5000.0, expected at most"),
    (lambda: Transformer("t", "a", "b", 1e5, 1e4, 400.0, 0.04, 900.0, "Dyn11", tap=Tap(Side.TO, -45, -50, 0, 0, 10.0)),
     "transformer t: tap: -45, expected a tap that leaves to_volts above 0, not -50"),
    (lambda: Tap(Side.TO, 0, -300, 0), "tap: lowest: -300, expected a finite number, at most 127 in size"),
    (lambda: Bus("b", 1e300), "bus b: volts: 1e+300, expected 1e-09 to 1e+07 V"),
    (lambda: Bus("b", 400.0, xy=(0.0, nan)), "bus b: xy: nan"),
    (lambda: Rating.even(1e-300, "a test"), "rating: amperes: 1e-300, expected 1e-09 to 1e+09 A"),
    (lambda: Zip(0.5, 0.5, 0.5), "expected finite shares that add up to 1"),
    (lambda: LoadType("x", valid_pu=(1.1, 0.9)), "valid_pu"),
    (lambda: Source("b", u_pu=nan), "source source: u_pu: nan"),
    (lambda: Capacitor("c", "b", 0.0, 230.0), "capacitor c: var: 0.0"),
    (lambda: Capacitor("c", "b", 1e3, 230.0, "a", Connection.DELTA), "two or three phases for a delta capacitor"),
    (lambda: Primitive("p", (), ()), "primitive p: nodes: ()"),
    (lambda: Primitive("p", (("b", "a"), ("b", "a")), JOINT), "each once"),
    (lambda: Primitive("p", (("b", "n"),), ((1j,),)), "a phase a, b or c"),
    (lambda: Primitive("p", (("b", "a"),), JOINT, "regulator"), "regulator p: admittance: [2, 2], expected 1 rows"),
    (lambda: Primitive("p", (("b", "a"),), ((complex(nan, 0.0),),)), "expected finite numbers"),
    (lambda: Primitive("p", (("b", "a"),), ((1j,),), amperes=(1.0, 2.0)), "p: amperes: (1.0, 2.0), expected 1"),
    (lambda: Primitive("p", (("b", "a"),), ((1j,),), amperes=(0.0,)), "primitive p: amperes: 0.0"),
    (lambda: ConnectionPoint("p", "b", "a", -1.0), "connection point p: fuse_a: -1.0"),
])
def test_what_is_impossible_in_one_element_cannot_be_made(make: Any, complaint: str) -> None:
    with pytest.raises(FeederError) as caught:
        make()
    assert complaint in str(caught.value)
