"""Feeders kept as four CSV tables."""

from pathlib import Path

import numpy as np
import pytest

from twin.feeder import Connection, Flow, Paper, Side, faults
from twin.feeder.importers import Degree, ImportRefused, read_feeder

TABLES = {
    "bus.csv": "id,volts,phases,x,y,source_pu,source_mva\nupper,10000,,0,0,1.02,200\nlow,400,abc,1,0,,\n"
               "home,400,ab,2,0,,\n",
    "line.csv": "id,from_bus,to_bus,phases,length_m,r1_ohm_per_km,x1_ohm_per_km,r0_ohm_per_km,x0_ohm_per_km,ampacity_a,"
                "ampacity_source\ncable,low,home,ab,200,0.3,0.08,1.1,0.3,270,data sheet\n",
    "transformer.csv": "id,from_bus,to_bus,rated_kva,from_volts,to_volts,uk_percent,pk_w,vector_group,tap_side,"
                       "tap_position,tap_lowest,tap_highest,tap_step_percent,paper\n"
                       "tr,upper,low,250,10000,410,4,3250,Dyn11,from,-1,-2,2,2.5,upgraded\n",
    "connection.csv": "id,bus,phases,fuse_a,p_w,q_var,draws,connection\none,home,a,63,2000,500,,\n"
                      "two,home,ab,,3000,0,impedance,delta\nevse,home,b,32,,,,\n",
}


def written(folder: Path, **tables: str | None) -> Path:
    for name, text in {**TABLES, **{f"{name}.csv": text for name, text in tables.items()}}.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_every_column_ends_where_it_belongs(tmp_path: Path) -> None:
    found = read_feeder(written(tmp_path))
    feeder = found.feeder
    assert found.findings == ()
    (line,), (transformer,) = feeder.lines, feeder.transformers
    assert [(bus.id, bus.volts, bus.phases) for bus in feeder.buses] == [
        ("upper", 10e3, "abc"), ("low", 400.0, "abc"), ("home", 400.0, "ab")]
    assert (feeder.source.bus, feeder.source.u_pu, feeder.source.short_circuit_va) == ("upper", 1.02, 200e6)
    r = np.array(line.r_ohm)
    assert r[0, 0] == pytest.approx((1.1 + 2 * 0.3) / 3 * 0.2)
    assert r[0, 1] == pytest.approx((1.1 - 0.3) / 3 * 0.2)
    assert not r[2].any()
    assert line.ampacity is not None
    assert line.ampacity.source == "data sheet"
    assert (transformer.rated_va, transformer.uk, transformer.paper) == (250e3, 0.04, Paper.UPGRADED)
    assert (transformer.tap.side, transformer.tap.position, transformer.tap.step_volts) == (Side.FROM, -1, 250.0)
    points = {point.id: point for point in feeder.connection_points}
    assert (points["one"].fuse_a, points["one"].phases, points["two"].fuse_a) == (63.0, "a", None)
    kinds = {kind.id: kind for kind in feeder.load_types}
    assert kinds[points["two"].load_type].connection is Connection.DELTA
    assert found.loads.p_w.tolist() == [2000.0, 3000.0, 0.0]
    assert not [fault for fault in faults(feeder) if fault.blocking]
    assert Flow(feeder).solve(*found.loads.given()).has_solution.all()


def test_columns_may_stand_in_any_order_and_a_table_may_be_named_for_all(tmp_path: Path) -> None:
    written(tmp_path, bus="volts,source_pu,id\n400,1,upper\n400,,home\n", transformer=None,
            line="to_bus,from_bus,id,x1_ohm_per_km,r1_ohm_per_km,length_m\nhome,upper,l,0.1,0.2,50\n",
            connection="bus,id\nhome,one\n")
    found = read_feeder(tmp_path / "line.csv")
    r = np.array(found.feeder.lines[0].r_ohm)
    assert r[0, 0] + 2 * r[0, 1] == pytest.approx(4 * 0.01)
    assert {(one.degree, one.kind) for one in found.findings} == {(Degree.ASSUMED, "line"), (Degree.ASSUMED, "source")}


def test_a_column_that_is_not_known_is_named(tmp_path: Path) -> None:
    written(tmp_path, connection="id,bus,phases,colour\none,home,a,red\n")
    (finding,) = read_feeder(tmp_path).findings
    assert (finding.degree, finding.kind, finding.element) == (Degree.DROPPED, "column", "colour")


def test_faults_carry_file_and_line(tmp_path: Path) -> None:
    written(tmp_path, transformer=TABLES["transformer.csv"].replace("Dyn11", ""),
            connection="id,bus,phases\none,home,a\nthird,home,c\n")
    said = [str(fault) for fault in faults(read_feeder(tmp_path).feeder) if fault.blocking]
    assert any(one.startswith(f"{tmp_path}/transformer.csv:2: transformer tr: vector_group") for one in said)
    assert any(one.startswith(f"{tmp_path}/connection.csv:3: connection point third: phases") for one in said)


def test_all_that_is_wrong_is_said_at_once_with_file_line_and_column(tmp_path: Path) -> None:
    written(
        tmp_path, bus="id,volts,phases,source_pu\nupper,ten,abc,1\nlow,400,cab,\nhome,-4,abc,\n",
        line="id,from_bus,to_bus,length_m,r1_ohm_per_km,x1_ohm_per_km,ampacity_a\nc,low,home,inf,0.1,0.1,0\nd,low\n",
        transformer="id,rated_kva\nt,1\n", connection="id,bus,draws,p_w\none,home,water,1\none,home,,1\n",
    )
    with pytest.raises(ImportRefused) as refused:
        read_feeder(tmp_path)
    text = str(refused.value)
    for part in ("bus.csv:2: volts: 'ten'", "bus.csv:3: bus low: phases", "bus.csv:4: bus home: volts",
                 "line.csv:2: length_m: 'inf'", "line.csv:2: rating: amperes: 0.0", "line.csv:3: 2 values, expected 7",
                 "transformer.csv:1: columns id, rated_kva", "connection.csv:2: draws: 'water'",
                 "connection.csv:3: id: 'one'"):
        assert f"{tmp_path}/{part}" in text, part


@pytest.mark.parametrize("sources", ["", "1"])
def test_one_bus_has_the_source(tmp_path: Path, sources: str) -> None:
    written(tmp_path, bus=f"id,volts,source_pu\nupper,10000,{sources}\nlow,400,{sources}\nhome,400,\n")
    with pytest.raises(ImportRefused, match="expected one row"):
        read_feeder(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b'"open', b"", b"id;volts\na;1\n"])
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    written(tmp_path)
    (tmp_path / "bus.csv").write_bytes(content)
    with pytest.raises(ImportRefused, match=r"bus\.csv"):
        read_feeder(tmp_path)


def test_ids_that_stand_twice_are_refused_in_every_table_at_once(tmp_path: Path) -> None:
    written(tmp_path, **{name[:-4]: text + text.splitlines()[1] + "\n" for name, text in TABLES.items()})
    with pytest.raises(ImportRefused) as refused:
        read_feeder(tmp_path)
    for part in ("bus.csv:5: id: 'upper'", "line.csv:3: id: 'cable'", "transformer.csv:3: id: 'tr'",
                 f"connection.csv:5: id: 'one', expected each connection point once, not again after {tmp_path}/conn"):
        assert f"{tmp_path}/{part}" in str(refused.value), part


@pytest.mark.parametrize(("tap", "said"), [
    ("-40,-50,2,2.5", "transformer tr: tap: -40, expected a tap that leaves from_volts above 0, not 0"),
    ("-50,-50,2,2.5", "not -2500"), ("300,-2,300,2.5", "tap: highest: 300"),
    ("1e300,-2,2,2.5", "tap_position: '1e300', expected a finite"), ("0,-2,2,1e300", "tap_step_percent: '1e300'"),
])
def test_taps_beyond_reason_are_refused(tmp_path: Path, tap: str, said: str) -> None:
    written(tmp_path, transformer=TABLES["transformer.csv"].replace("-1,-2,2,2.5", tap))
    with pytest.raises(ImportRefused, match=r"transformer\.csv:2: ") as refused:
        read_feeder(tmp_path)
    assert said in str(refused.value)


def test_every_cell_may_hold_any_figure(tmp_path: Path) -> None:
    """What cannot be calculated with is refused with its file, and nothing else ends otherwise than as a feeder."""
    for table, text in TABLES.items():
        head, first, *rest = text.splitlines()
        cells = first.split(",")
        for place in range(len(cells)):
            for figure in ("1e300", "-1e300", "1e-300", "1e30", "-1", "0"):
                spoiled = ",".join([*cells[:place], figure, *cells[place + 1:]])
                written(tmp_path, **{table[:-4]: "\n".join([head, spoiled, *rest]) + "\n"})
                try:
                    found = read_feeder(tmp_path)
                except ImportRefused as refused:
                    assert all(reason.startswith(str(tmp_path)) for reason in refused.reasons)  # noqa: PT017 - either is allowed
                else:
                    faults(found.feeder)
        written(tmp_path)


def test_missing_tables_are_named_together(tmp_path: Path) -> None:
    written(tmp_path)
    for name in ("bus.csv", "connection.csv"):
        (tmp_path / name).unlink()
    with pytest.raises(ImportRefused) as refused:
        read_feeder(tmp_path)
    assert [reason.split(":")[0] for reason in refused.value.reasons] == [
        f"{tmp_path}/bus.csv", f"{tmp_path}/connection.csv"]
