"""Circuits of our own, solved by OpenDSS and by us: the same voltages, or a finding that says why not."""

import random
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from twin.feeder import Flow, Origin, faults
from twin.feeder.importers import Degree, Imported, ImportRefused, read_feeder
from twin.feeder.importers.agreement import agreement
from twin.feeder.second_engine.either import second_engine

pytest.importorskip("dss")

Write = Callable[..., Path]

LIMIT = 1e-7

HEAD = """
clear
set defaultbasefrequency=50
new circuit.street basekv=20 pu=1.02 angle=10 mvasc3=200 mvasc1=150
new transformer.tr buses=[sourcebus low] conns=[delta wye] kvs=[20 0.4] kvas=[400 400] xhl=4 %rs=[0.6 0.6]
new linecode.cable nphases=3 r1=0.3 x1=0.08 r0=1.1 x0=0.3 c1=250 c0=200 units=km normamps=270
new line.main bus1=low bus2=mid linecode=cable length=200 units=m
"""
TAIL = """
set voltagebases=[20 0.4 0.208]
calcvoltagebases
solve
"""

LINE_SIDE = """
new line.lat phases=1 bus1=mid.2 bus2=lat.2 r1=0.5 x1=0.1 c1=0 length=0.1 units=km normamps=80
new line.two phases=2 bus1=mid.3.1 bus2=two.3.1 rmatrix=[0.4 | 0.1 0.5] xmatrix=[0.1 | 0.04 0.12] cmatrix=[9 | -2 9]
~ length=0.1
"""
LOADS = """
new load.one phases=1 bus1=lat.2 kv=0.231 kw=5 pf=0.95
new load.star bus1=mid kv=0.4 kw=20 kvar=6 model=5
new load.ring bus1=mid conn=delta kv=0.4 kw=12 kvar=3 model=3
new load.across phases=1 conn=delta bus1=two.3.1 kv=0.4 kw=3 kvar=1 model=2
new load.zip phases=1 bus1=mid.1 kv=0.231 kw=4 kvar=2 model=8 zipv=[0.4 0.3 0.3 0.6 0.2 0.2 0]
new load.cvr bus1=mid.1.2.3 kv=0.4 kw=6 kvar=2 model=4 cvrwatts=1 cvrvars=2
new load.q phases=1 bus1=mid.3 kv=0.231 kw=2 kvar=1 model=7
"""
REGULATORS = """
new transformer.r1 phases=1 bank=r buses=[mid.1 reg.1] kvs=[0.231 0.231] kvas=[90 90] xhl=1
new transformer.r2 phases=1 bank=r buses=[mid.2 reg.2] kvs=[0.231 0.231] kvas=[90 90] xhl=1
new transformer.r3 phases=1 bank=r buses=[mid.3 reg.3] kvs=[0.231 0.231] kvas=[90 90] xhl=1
new regcontrol.c1 transformer=r1 winding=2 vreg=118 band=1 ptratio=1.9
new regcontrol.c2 transformer=r2 winding=2 vreg=124 band=1 ptratio=1.9
new regcontrol.c3 transformer=r3 winding=2 vreg=121 band=1 ptratio=1.9
new line.beyond bus1=reg bus2=end linecode=cable length=0.05 units=km
new load.end bus1=end kv=0.4 kw=10 kvar=3
"""
SPLIT = """
new transformer.split phases=1 windings=3 buses=[mid.1 house.1.0 house.0.2] kvs=[0.231 0.12 0.12] kvas=[25 25 25]
~ xhl=2 xht=2 xlt=1.4
new load.half phases=1 bus1=house.1 kv=0.12 kw=2 kvar=0.5
new load.both phases=1 bus1=house.1.2 kv=0.24 kw=3 kvar=0.5
"""
OPEN_DELTA = """
new transformer.od1 phases=1 buses=[mid.1.2 od.1.2] conns=[delta delta] kvs=[0.4 0.4] kvas=[50 50] xhl=2
new transformer.od2 phases=1 buses=[mid.3.2 od.3.2] conns=[delta delta] kvs=[0.4 0.4] kvas=[50 50] xhl=2
new load.od bus1=od conn=delta kv=0.4 kw=6 kvar=2
"""
DELTA = """
new transformer.dd buses=[mid dd] conns=[delta delta] kvs=[0.4 0.4] kvas=[50 50] xhl=3
new line.dd bus1=dd bus2=ddend linecode=cable length=0.1 units=km
new load.dd bus1=ddend conn=delta kv=0.4 kw=6 kvar=2
"""
STAR_STAR = """
new transformer.yy buses=[mid yy] conns=[wye wye] kvs=[0.4 0.4] kvas=[60 60] xhl=3 taps=[1 0.975] numtaps=16
new load.yy phases=1 bus1=yy.2 kv=0.231 kw=3 kvar=1
"""
SHUNTS = """
new capacitor.star bus1=mid phases=3 kvar=9 kv=0.4
new capacitor.ring bus1=mid phases=3 kvar=6 kv=0.4 conn=delta
new capacitor.one bus1=lat.2 phases=1 kvar=2 kv=0.231
new reactor.coil bus1=mid.1 phases=1 r=50 x=80
new reactor.series bus1=mid bus2=behind phases=3 r=0.01 x=0.02
new load.behind bus1=behind kv=0.4 kw=4
"""
TRANSPOSED = """
new line.turned bus1=mid.1.2.3 bus2=turn.2.3.1 linecode=cable length=0.1 units=km
new load.turn phases=1 bus1=turn.1 kv=0.231 kw=3 kvar=1
"""
RING = """
new line.ring1 bus1=low bus2=far linecode=cable length=0.3 units=km
new line.ring2 bus1=far bus2=mid linecode=cable length=0.1 units=km
new load.far phases=1 bus1=far.3 kv=0.231 kw=6 kvar=2
"""


def lower(size: int, own: float, between: float) -> str:
    """A lower triangle as OpenDSS reads it."""
    rows = (" ".join(f"{own if i == j else between:.4f}" for j in range(i + 1)) for i in range(size))
    return f"[{' | '.join(rows)}]"


def imported(write: Write, body: str) -> Imported:
    return read_feeder(write(HEAD + body + TAIL))


def said(found: Imported, degree: Degree) -> set[tuple[str, str]]:
    return {(finding.kind, finding.element) for finding in found.findings if finding.degree is degree}


@pytest.mark.parametrize("parts", [
    (LINE_SIDE, LOADS), (LINE_SIDE, LOADS, REGULATORS, SHUNTS), (SPLIT, OPEN_DELTA, STAR_STAR),
    (DELTA, RING, TRANSPOSED),
], ids=["laterals and every load model", "regulators and shunts", "odd transformers", "delta, ring, transposition"])
def test_our_flow_agrees_with_opendss(write: Write, parts: tuple[str, ...]) -> None:
    found = imported(write, "".join(parts))
    assert found.unsupported == ()
    apart = agreement(found)
    assert apart.as_given <= LIMIT
    assert apart.ranges_open <= LIMIT


def test_windings_that_become_matrices_keep_their_ratings(write: Write) -> None:
    """Amperes of a winding: kVA over the kV across it."""
    found = imported(write, REGULATORS + SPLIT + OPEN_DELTA)
    amperes = {one.id: one.amperes for one in found.feeder.primitives}
    assert amperes["r1"] == pytest.approx([90 / 0.231] * 2)
    # Sorted by bus and phase: the winding at mid, then one at each leg of the house.
    assert amperes["split"] == pytest.approx([25 / 0.231, 25 / 0.12, 25 / 0.12])
    assert amperes["od1"] == pytest.approx([50 / 0.4] * 4)
    flow = Flow(found.feeder)
    loading = dict(zip(amperes, flow.solve(*found.loads.given()).primitive_loading()[:, 0], strict=True))
    assert 0.0 < loading["split"] < 1.0
    assert 10.0 / 3.0 / 90.0 < loading["r2"] < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_our_flow_agrees_with_opendss_on_random_trees(write: Write, seed: int) -> None:
    draw = random.Random(seed)
    buses, body = {"mid": (1, 2, 3)}, []
    for number in range(12):
        above = draw.choice(list(buses))
        size = draw.randint(1, len(buses[above]))
        nodes = tuple(draw.sample(buses[above], size))
        dots = "".join(f".{node}" for node in nodes)
        matrices = f"rmatrix={lower(size, draw.uniform(0.2, 0.9), 0.1)} xmatrix={lower(size, 0.1, 0.04)}"
        body.append(f"new line.l{number} phases={size} bus1={above}{dots} bus2=b{number}{dots} {matrices} "
                    f"length={draw.uniform(0.01, 0.09):.4f}")
        buses[f"b{number}"] = nodes
        node = draw.choice(nodes)
        body.append(f"new load.p{number} phases=1 bus1=b{number}.{node} kv=0.231 kw={draw.uniform(-2, 3):.3f} "
                    f"kvar={draw.uniform(-1, 1):.3f} model={draw.choice([1, 2, 5])}")
    found = imported(write, "\n".join(body))
    assert found.unsupported == ()
    assert agreement(found).ranges_open <= LIMIT


def test_a_three_phase_transformer_is_one_and_keeps_its_tap(write: Write) -> None:
    found = imported(write, STAR_STAR)
    first, second = found.feeder.transformers
    assert (first.id, first.vector_group, first.rated_va) == ("tr", "Dyn1", 400e3)
    assert first.uk == pytest.approx(0.04176, rel=1e-3)
    assert (second.vector_group, second.tap.position, second.tap.step_volts) == ("YNyn0", -2, pytest.approx(5.0))
    assert found.feeder.primitives == ()


def test_the_european_connection_is_dyn11(write: Write) -> None:
    found = read_feeder(write(HEAD.replace("%rs", "leadlag=euro %rs") + TAIL))
    assert found.feeder.transformers[0].vector_group == "Dyn11"


def test_regulators_are_frozen_where_they_were_solved_and_say_so(write: Write) -> None:
    found = imported(write, REGULATORS)
    assert {primitive.id: primitive.kind for primitive in found.feeder.primitives} == dict.fromkeys(
        ("r1", "r2", "r3"), "regulator")
    assert {("regcontrol", "c1"), ("transformer", "r1")} <= said(found, Degree.FROZEN)
    (note,) = {primitive.note for primitive in found.feeder.primitives if primitive.id == "r2"}
    assert float(re.fullmatch(r"tap 1, ([\d.]+) p.u. as solved", note)[1]) > 1.0


def test_a_rating_is_kept_only_if_the_file_gives_it(write: Write) -> None:
    found = imported(write, LINE_SIDE)
    ratings = {line.id: line.ampacity for line in found.feeder.lines}
    assert ratings["main"].amperes == (270.0,) * 3
    assert "line code cable" in ratings["main"].source
    assert ratings["lat"].amperes[1] == 80.0
    assert ratings["two"] is None
    assert said(found, Degree.MISSING) == {("line", "two")}
    assert [fault.element for fault in faults(found.feeder) if fault.field == "ampacity"] == ["two"]


def test_lengths_are_metres_whatever_the_unit(write: Write) -> None:
    found = imported(write, """
new line.feet bus1=mid bus2=x linecode=cable length=1000 units=ft
new line.miles bus1=mid bus2=y linecode=cable length=0.1 units=mi
new line.bare bus1=mid bus2=z r1=0.1 length=2
""")
    lengths = {line.id: line.length_m for line in found.feeder.lines}
    assert lengths == {"main": pytest.approx(200.0), "feet": pytest.approx(304.8), "miles": pytest.approx(160.9344),
                       "bare": None}
    r1 = {line.id: line.r_ohm[0][0] - line.r_ohm[0][1] for line in found.feeder.lines}
    assert r1["feet"] == pytest.approx(0.3 * 0.3048)
    assert ("line", "1 lines") in said(found, Degree.ASSUMED)


def test_every_unsupported_element_is_listed_at_once_with_its_line(write: Write) -> None:
    path = write(HEAD + """
new isource.i bus1=mid phases=3 amps=1
new vsource.second bus1=mid basekv=0.4
new line.fourwire phases=4 bus1=mid.1.2.3.4 bus2=four.1.2.3.4
~ rmatrix=[.3|.1 .3|.1 .1 .3|.1 .1 .1 .3] xmatrix=[.3|.1 .3|.1 .1 .3|.1 .1 .1 .3]
new load.neutral phases=1 bus1=four.1.4 kv=0.231 kw=1
""" + TAIL)
    found = read_feeder(path)
    assert {(one.kind, one.element, one.origin) for one in found.unsupported} == {
        ("isource", "i", Origin(str(path), 9)), ("vsource", "second", Origin(str(path), 10)),
        ("line", "fourwire", Origin(str(path), 11)), ("load", "neutral", Origin(str(path), 13)),
    }


def test_what_is_open_or_not_enabled_is_left_out_with_all_it_feeds(write: Write) -> None:
    found = imported(write, LINE_SIDE + LOADS + "line.lat.enabled=no\nopen line.two 1\n")
    assert {("line", "lat"), ("line", "two"), ("load", "one"), ("load", "across")} <= said(found, Degree.DROPPED)
    assert {bus.id for bus in found.feeder.buses} == {"sourcebus", "low", "mid"}
    assert not [fault for fault in faults(found.feeder) if fault.blocking]
    assert agreement(found).as_given <= LIMIT


def test_an_island_that_nothing_was_opened_for_is_a_fault(write: Write) -> None:
    found = imported(write, "new line.alone bus1=here bus2=there linecode=cable length=0.1 units=km\n")
    blocking = [fault for fault in faults(found.feeder) if fault.blocking]
    assert {fault.element for fault in blocking} == {"here", "there"}


def test_infeed_is_held_as_it_was_solved(write: Write) -> None:
    found = imported(write, "new generator.g bus1=mid kv=0.4 kw=30 pf=1\nnew pvsystem.pv phases=1 bus1=mid.2 kv=0.231 "
                            "kva=6 pmpp=5 irradiance=0.8 pf=1\n")
    assert {("generator", "g"), ("pvsystem", "pv")} <= said(found, Degree.FROZEN)
    p_w, _ = found.loads.given()
    assert p_w[:3].sum() == pytest.approx(-30e3, rel=1e-6)
    assert p_w[3, 0] == pytest.approx(-4e3, rel=0.2)
    assert agreement(found).as_given <= 1e-6  # in OpenDSS the generator is solved only so far


def test_shapes_become_series_of_the_rated_power(write: Write) -> None:
    found = imported(write, """
new loadshape.day npts=4 interval=6 mult=[0.5 1 2 0.25]
new loadshape.watts npts=2 sinterval=3600 mult=[3 6] useactual=yes
new load.a phases=1 bus1=mid.1 kv=0.231 kw=2 kvar=1 daily=day
new load.b phases=1 bus1=mid.2 kv=0.231 kw=3 kvar=0 yearly=watts
new load.c phases=1 bus1=mid.3 kv=0.231 kw=1 kvar=0
set loadmult=1.5
""")
    p_w, q_var = found.loads.series()
    assert (found.loads.step_s, p_w.shape) == (3600, (3, 24))
    assert p_w[0, ::6].tolist() == pytest.approx([1500.0, 3000.0, 6000.0, 750.0])
    assert q_var[0, 6] == pytest.approx(1500.0)
    assert p_w[1, 1] == pytest.approx(2.0 * p_w[1, 0])
    assert set(p_w[2]) == {1500.0}
    assert found.loads.given()[0][0, 0] == pytest.approx(3000.0)


OUTSIDE = ("1", "2", "3", "4 cvrwatts=1 cvrvars=2", "4 cvrwatts=2 cvrvars=0", "5",
           "8 zipv=[0.4 0.3 0.3 0.6 0.2 0.2 0]", "7 vlowpu=0.5")


@pytest.mark.parametrize("bounds", [
    "vminpu=1.02", "vminpu=1.02 vlowpu=0.9", "vminpu=1.05 vmaxpu=1.1 vlowpu=1.0", "vminpu=0.8 vmaxpu=0.9",
])
def test_loads_outside_their_range_follow_opendss(write: Write, bounds: str) -> None:
    """Below it, in the straight line down to Vlowpu, beyond that, and above it; every model at once."""
    found = imported(write, "".join(
        f"new load.m{number} phases=1 bus1=mid.{1 + number % 3} kv=0.231 kw=12 kvar=4 {bounds} model={model}\n"
        for number, model in enumerate(OUTSIDE)
    ))
    assert {kind for kind, _ in said(found, Degree.APPROXIMATED)} <= {"vsource"}
    assert agreement(found).as_given <= LIMIT


@pytest.mark.parametrize(("model", "bounds"), [("6", "vminpu=1.001"), ("7", "vminpu=1.05 vmaxpu=1.1 vlowpu=1.04")])
def test_loads_whose_reactive_power_is_fixed_are_named_below_their_range(
    write: Write, model: str, bounds: str
) -> None:
    found = imported(write, f"new load.heavy bus1=mid kv=0.4 kw=120 kvar=40 model={model} {bounds}\n")
    assert ("load", "heavy") in said(found, Degree.APPROXIMATED)
    assert agreement(found).ranges_open <= LIMIT


def test_an_impedance_rated_at_other_volts_draws_what_its_ohms_draw(write: Write) -> None:
    found = imported(write, "new load.odd phases=1 bus1=mid.1 kv=0.4 kw=6 kvar=2 model=2\n")
    assert ("load", "odd") in said(found, Degree.ASSUMED)
    assert found.loads.given()[0][0, 0] == pytest.approx(6000.0 / 3.0, rel=1e-3)
    assert agreement(found).as_given <= LIMIT


def test_a_grounded_star_below_the_source_has_the_source_s_own_zero_sequence(write: Write) -> None:
    found = read_feeder(write("""
clear
new circuit.star basekv=0.4 pu=1.0 r1=0.02 x1=0.05 r0=0.1 x0=0.06
new line.a bus1=sourcebus bus2=b r1=0.1 x1=0.05 r0=0.3 x0=0.15 c1=0 c0=0 length=1 units=km
new load.one phases=1 bus1=b.1 kv=0.231 kw=5 kvar=1
set voltagebases=[0.4]
calcv
solve
"""))
    assert agreement(found).as_given <= LIMIT
    assert len(found.feeder.buses) == 2
    assert found.feeder.source.z01_ratio == pytest.approx(abs(0.1 + 0.06j) / abs(0.02 + 0.05j))
    flow = Flow(found.feeder)
    solution = flow.solve(*found.loads.given())
    # What is lost is lost in the line, 0.167 ohm of its own in each phase, and not in the grid above.
    amperes = abs(solution.line_currents()[flow.segment_row["a", "a"], 0])
    assert solution.losses_w()[0] == pytest.approx(amperes**2 * (0.3 + 2 * 0.1) / 3, rel=1e-6)
    assert second_engine(found.feeder).name == "OpenDSS"
    assert second_engine(found.feeder).check(solution).agrees


def test_voltage_bases_are_found_where_the_script_sets_none(write: Write) -> None:
    found = read_feeder(write(HEAD + "solve\n"))
    assert {bus.id: bus.volts for bus in found.feeder.buses} == pytest.approx(
        {"sourcebus": 20e3, "low": 400.0, "mid": 400.0})


def test_what_opendss_does_not_take_is_told_with_file_and_line(write: Write) -> None:
    path = write(HEAD + "new line.bad bus1=mid bus2=x linecode=nothere\nnew nonsense.x a=1\n" + TAIL)
    with pytest.raises(ImportRefused) as refused:
        read_feeder(path)
    *told, last = refused.value.reasons
    assert [reason.startswith(f"{path}:{line}: OpenDSS: ") for reason, line in zip(told, (8, 9), strict=True)] == [
        True, True]
    assert "there may be more" in last


@pytest.mark.parametrize("figure", ["nan", "inf", "1e300"])
def test_a_load_without_a_finite_power_is_refused_with_file_and_line(write: Write, figure: str) -> None:
    path = write(f"{HEAD}new load.odd bus1=mid kv=0.4 kw={figure} kvar=1\n{TAIL}")
    with pytest.raises(ImportRefused, match=r"load.odd") as refused:
        read_feeder(path)
    assert refused.value.reasons[0].startswith(str(path))


def test_an_island_is_told_with_a_line_of_the_file_and_what_hangs_there(write: Write) -> None:
    path = write(f"{HEAD}new line.far bus1=isle bus2=shore linecode=cable length=1 units=m\n"
                 f"new load.hut bus1=shore kv=0.4 kw=1\n{TAIL}")
    told = [str(fault) for fault in faults(read_feeder(path).feeder) if fault.blocking]
    assert any(one.startswith(f"{path}:8: bus shore") and "hut" in one for one in told), told


@pytest.mark.parametrize("text", ["", "clear\nsolve", "New Line.a\n", "clear\nnew circuit.x basekv=0\nsolve"])
def test_a_script_without_a_circuit_is_refused(write: Write, text: str) -> None:
    with pytest.raises(ImportRefused):
        read_feeder(write(text))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_script_is_refused_or_read_but_never_an_error_of_ours(write: Write, share: float) -> None:
    text = HEAD + LINE_SIDE + LOADS + TAIL
    with suppress(ImportRefused):
        found = read_feeder(write(text[:int(len(text) * share)]))
        assert len(found.feeder.connection_points) < 7


@pytest.mark.parametrize("element", ["transformer.t windings=1000000000", "line.l phases=100000 bus1=mid bus2=b"])
def test_a_crash_of_opendss_is_one_line_and_not_ours(write: Write, element: str) -> None:
    path = write(HEAD + f"new {element}\n" + TAIL)
    with pytest.raises(ImportRefused, match="OpenDSS") as refused:
        read_feeder(path)
    assert len(refused.value.reasons) == 1


def test_a_shape_without_values_is_named(write: Write) -> None:
    found = imported(write, "new loadshape.s npts=9 interval=1\n"
                            "new load.a phases=1 bus1=mid.1 kv=0.231 kw=2 daily=s\n")
    assert ("loadshape", "s") in said(found, Degree.DROPPED)
    assert found.loads.steps == 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_script_that_wants_to_write_writes_nothing(write: Write, tmp_path: Path) -> None:
    path = write(HEAD + TAIL + f"export voltages {tmp_path}/volts.csv\nsave circuit dir={tmp_path}/saved\nshow powers\n"
                 "set demandinterval=true\nset casename=here\nnew energymeter.m line.main\nsolve mode=daily\n")
    before = set(tmp_path.rglob("*"))
    read_feeder(path)
    assert set(tmp_path.rglob("*")) == before


def test_an_opendss_that_does_not_end_is_given_up(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.feeder.importers.opendss.circuit.TIMEOUT_S", 0.01)
    with pytest.raises(ImportRefused, match="did not end within"):
        imported(write, "")


def test_flow_and_terminals_fit_the_loads(write: Write) -> None:
    found = imported(write, LINE_SIDE + LOADS)
    flow = Flow(replace(found.feeder))
    assert len(flow.terminals) == len(found.loads.p_w) == len(found.loads.shape_of)
    row = flow.terminal_row["across", "a"]
    assert flow.terminals[row].other == "c"
    assert found.loads.p_w[row] == pytest.approx(3000.0)
