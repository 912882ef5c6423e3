"""Networks as pandapower writes them: figures worked out by hand from its documented formulas."""

import json
from collections.abc import Mapping
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder import Flow, Side, faults
from twin.feeder.importers import Degree, Imported, ImportRefused, read_feeder

Tables = dict[str, list[dict[str, Any]]]


def network() -> Tables:
    """A street behind a 400 kVA transformer."""
    return {
        "bus": [{"name": "upper", "vn_kv": 20.0, "in_service": True, "geo": '{"type":"Point","coordinates":[7.5,51]}'},
                {"name": "low", "vn_kv": 0.4, "in_service": True}, {"name": "home", "vn_kv": 0.4, "in_service": True}],
        "ext_grid": [{"name": None, "bus": 0, "vm_pu": 1.02, "va_degree": 10.0, "s_sc_max_mva": 100.0, "rx_max": 0.2,
                      "x0x_max": 1.5, "in_service": True}],
        "trafo": [{"name": "tr", "hv_bus": 0, "lv_bus": 1, "sn_mva": 0.4, "vn_hv_kv": 20.0, "vn_lv_kv": 0.4,
                   "vk_percent": 6.0, "vkr_percent": 1.4, "pfe_kw": 1.3, "i0_percent": 0.3, "shift_degree": 150.0,
                   "vector_group": "Dyn", "tap_side": "hv", "tap_neutral": 0, "tap_min": -2, "tap_max": 2,
                   "tap_pos": 1, "tap_step_percent": 2.5, "parallel": 2, "in_service": True}],
        "line": [{"name": "cable", "from_bus": 1, "to_bus": 2, "length_km": 0.2, "r_ohm_per_km": 0.3,
                  "x_ohm_per_km": 0.08, "c_nf_per_km": 250.0, "r0_ohm_per_km": 1.1, "x0_ohm_per_km": 0.3,
                  "c0_nf_per_km": 200.0, "max_i_ka": 0.27, "df": 0.9, "parallel": 1, "std_type": "NAYY 4x150",
                  "in_service": True}],
        "asymmetric_load": [{"name": "single", "bus": 2, "p_a_mw": 0.0, "q_a_mvar": 0.0, "p_b_mw": 0.003,
                             "q_b_mvar": 0.001, "p_c_mw": 0.0, "q_c_mvar": 0.0, "scaling": 0.5, "type": "wye",
                             "in_service": True}],
        "load": [{"name": "even", "bus": 2, "p_mw": 0.006, "q_mvar": 0.003, "scaling": 1.0, "type": "wye",
                  "const_z_p_percent": 20.0, "const_i_p_percent": 0.0, "in_service": True}],
        "sgen": [{"name": "roof", "bus": 2, "p_mw": 0.009, "q_mvar": 0.0, "scaling": 1.0, "in_service": True}],
        "switch": [],
    }


def elements_at_home() -> Tables:
    """What stands at the last bus beside its loads, and a switch that opens its cable."""
    return {
        "shunt": [{"name": "choke", "bus": 2, "p_mw": 0.001, "q_mvar": 0.01, "vn_kv": 0.4, "step": 1,
                   "in_service": True}],
        "ward": [{"name": "part", "bus": 2, "ps_mw": 0.001, "qs_mvar": 0.0, "pz_mw": 0.002, "qz_mvar": 0.0,
                  "in_service": True}],
        "switch": [{"name": "opener", "bus": 2, "element": 0, "et": "l", "closed": False, "z_ohm": 0.0}],
    }


def written(tables: Mapping[str, Any], path: Path) -> Path:
    """As pandapower writes it: JSON, with every table as JSON in a text."""
    objects: dict[str, Any] = {"name": "street", "f_hz": 50.0, "version": "3.1.0"}
    for name, rows in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row)) or ["name"]
        frame = {"columns": columns, "index": list(range(len(rows))),
                 "data": [[row.get(column) for column in columns] for row in rows]}
        objects[name] = {"_module": "pandas.core.frame", "_class": "DataFrame", "_object": json.dumps(frame),
                         "orient": "split"}
    path.write_text(json.dumps({"_module": "pandapower.auxiliary", "_class": "pandapowerNet", "_object": objects}))
    return path


def imported(tables: Tables, folder: Path) -> Imported:
    return read_feeder(written(tables, folder / "net.json"))


def test_elements_follow_the_documented_formulas(tmp_path: Path) -> None:
    feeder = imported(network(), tmp_path).feeder
    (transformer,) = feeder.transformers
    assert (transformer.rated_va, transformer.uk, transformer.pk_w) == (800e3, 0.06, pytest.approx(11200.0))
    assert (transformer.vector_group, transformer.p0_w, transformer.i0) == ("Dyn5", 2600.0, 0.003)
    assert (transformer.tap.side, transformer.tap.position, transformer.tap.step_volts) == (Side.FROM, 1, 500.0)
    (line,) = feeder.lines
    r, c = np.array(line.r_ohm), np.array(line.c_farad)
    assert r[0, 0] - r[0, 1] == pytest.approx(0.06)
    assert r[0, 0] + 2 * r[0, 1] == pytest.approx(0.22)
    assert c[0, 0] - c[0, 1] == pytest.approx(50e-9)
    assert line.ampacity is not None
    assert line.ampacity.amperes[0] == pytest.approx(243.0)
    assert "NAYY 4x150" in line.ampacity.source
    assert line.length_m == pytest.approx(200.0)
    assert (feeder.source.u_pu, feeder.source.short_circuit_va, feeder.source.z01_ratio) == (1.02, 100e6, 1.5)
    assert feeder.source.angle_rad == pytest.approx(pi / 18)
    assert feeder.buses[0].xy == (7.5, 51.0)


def test_loads_keep_phases_scaling_and_their_law(tmp_path: Path) -> None:
    found = imported(network(), tmp_path)
    points = {point.id: point for point in found.feeder.connection_points}
    flow = Flow(found.feeder)
    assert points["single"].phases == "b"
    assert found.loads.p_w[flow.terminal_row["single", "b"]] == pytest.approx(1500.0)
    assert found.loads.p_w[flow.terminal_row["even", "c"]] == pytest.approx(2000.0)
    assert found.loads.p_w[flow.terminal_row["roof", "a"]] == pytest.approx(-3000.0)
    (mixed,) = (kind for kind in found.feeder.load_types if kind.id == points["even"].load_type)
    assert (mixed.active.impedance, mixed.active.power, mixed.reactive.power) == (0.2, pytest.approx(0.8), 1.0)


def test_a_balanced_network_meets_the_single_phase_closed_form(tmp_path: Path) -> None:
    tables = network()
    tables["asymmetric_load"], tables["sgen"], tables["trafo"] = [], [], []
    tables["bus"] = [{**bus, "vn_kv": 0.4} for bus in tables["bus"]]
    tables["line"][0] |= {"from_bus": 0, "c_nf_per_km": 0.0, "c0_nf_per_km": 0.0}
    tables["bus"].pop(1)
    tables["line"][0] |= {"to_bus": 1}
    tables["load"][0] |= {"bus": 1, "const_z_p_percent": 0.0}
    tables["ext_grid"][0] |= {"s_sc_max_mva": None, "va_degree": 0.0}
    found = imported(tables, tmp_path)
    flow = Flow(found.feeder)
    volts = flow.solve(*found.loads.given()).voltages()[flow.node_row["home", "a"], 0]
    behind, z, s = 1.02 * 400 / 3**0.5, complex(0.06, 0.016), complex(2000.0, 1000.0)
    expected = complex(behind)
    for _ in range(50):
        expected = behind - z * np.conj(s / expected)
    assert volts == pytest.approx(expected, rel=1e-6)


def test_closed_switches_join_buses_and_open_ones_end_lines(tmp_path: Path) -> None:
    tables = network()
    tables["bus"] += [{"name": "beside", "vn_kv": 0.4, "in_service": True}]
    tables["line"] += [{**tables["line"][0], "name": "spur", "from_bus": 2, "to_bus": 3}]
    tables["switch"] = [{"name": None, "bus": 2, "element": 3, "et": "b", "closed": True, "z_ohm": 0.0},
                        {"name": None, "bus": 3, "element": 1, "et": "l", "closed": False, "z_ohm": 0.0}]
    found = imported(tables, tmp_path)
    assert {bus.id for bus in found.feeder.buses} == {"upper", "low", "home", "open end of spur"}
    assert {(line.id, line.from_bus, line.to_bus) for line in found.feeder.lines} == {
        ("cable", "low", "home"), ("spur", "home", "open end of spur")}
    assert ("line", "spur") in {(one.kind, one.element) for one in found.findings if one.degree is Degree.ASSUMED}


def test_what_is_out_of_service_is_left_out_by_name(tmp_path: Path) -> None:
    tables = network()
    tables["load"][0]["in_service"] = False
    found = imported(tables, tmp_path)
    assert [point.id for point in found.feeder.connection_points] == ["roof", "single"]
    assert ("load", "even") in {(one.kind, one.element) for one in found.findings if one.degree is Degree.DROPPED}


def test_elements_without_a_place_here_are_unsupported_all_at_once(tmp_path: Path) -> None:
    tables = network()
    tables["trafo3w"] = [{"name": "three", "hv_bus": 0}]
    tables["gen"] = [{"name": "a", "bus": 1}, {"name": "a", "bus": 1}]
    tables["ext_grid"] += [{**tables["ext_grid"][0], "name": "other"}]
    found = imported(tables, tmp_path)
    assert {(one.kind, one.element) for one in found.unsupported} == {
        ("trafo3w", "three"), ("gen", "a (0)"), ("gen", "a (1)"), ("ext_grid", "other")}


def test_a_missing_zero_sequence_is_assumed_and_a_missing_vector_group_is_a_fault(tmp_path: Path) -> None:
    tables = network()
    for column in ("r0_ohm_per_km", "x0_ohm_per_km"):
        del tables["line"][0][column]
    tables["trafo"][0]["vector_group"] = None
    found = imported(tables, tmp_path)
    r = np.array(found.feeder.lines[0].r_ohm)
    assert r[0, 0] + 2 * r[0, 1] == pytest.approx(4 * 0.06)
    assert ("line", "1 lines") in {(one.kind, one.element) for one in found.findings if one.degree is Degree.ASSUMED}
    (fault,) = (fault for fault in faults(found.feeder) if fault.blocking)
    assert (fault.element, fault.field) == ("tr", "vector_group")


def test_wrong_values_are_refused_all_at_once_with_table_row_and_column(tmp_path: Path) -> None:
    tables = network()
    tables["line"][0] |= {"r_ohm_per_km": None, "to_bus": 77}
    tables["trafo"][0]["sn_mva"] = "much"
    tables["load"][0]["p_mw"] = None
    tables["ext_grid"][0]["vm_pu"] = -1.0
    with pytest.raises(ImportRefused) as refused:
        imported(tables, tmp_path)
    said = [reason.removeprefix(f"{tmp_path / 'net.json'}: ") for reason in refused.value.reasons]
    for start in ("$.line[0].r_ohm_per_km: None", "$.line[0].to_bus: 77", "$.trafo[0].sn_mva: 'much'",
                  "$.ext_grid[0]:"):
        assert any(reason.startswith(start) for reason in said), start


def test_what_stands_at_a_bus_that_is_refused_is_read_all_the_same(tmp_path: Path) -> None:
    tables = network() | elements_at_home()
    tables["bus"][1]["vn_kv"] = 0.0  # of it the open end of the cable has its rating
    tables["bus"][2]["vn_kv"] = -0.4
    tables["shunt"][0]["p_mw"] = "much"
    with pytest.raises(ImportRefused) as refused:
        imported(tables, tmp_path)
    said = [reason.removeprefix(f"{tmp_path / 'net.json'}: ") for reason in refused.value.reasons]
    assert any(reason.startswith("$.bus[2]: ") for reason in said)
    assert any(reason.startswith("$.shunt[0].p_mw: 'much'") for reason in said)


def test_a_shunt_without_rated_volts_is_refused_by_name(tmp_path: Path) -> None:
    tables = network() | elements_at_home()
    tables["shunt"][0]["vn_kv"] = 0.0
    with pytest.raises(ImportRefused, match=r"\$\.shunt\[0\]\.vn_kv: 0\.0, expected rated kV above 0"):
        imported(tables, tmp_path)


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", '{"_module": "x"}', '{"_module": "x", "_object": {}}', '{"_module": "x", "_object": "{"}',
    '{"_module": "x", "_object": {"bus": 3}}', '{"_module": "x", "_object": {"bus": {"_class": "DataFrame"}}}',
    '{"_module": "x", "_object": {"bus": {"_class": "DataFrame", "_object": "[1]"}}}', '{"a": 1}', "\x00\xff",
])
def test_what_is_no_network_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ImportRefused) as refused:
        read_feeder(path)
    assert str(refused.value).startswith(str(path))


@pytest.mark.parametrize(("table", "column", "value", "said"), [
    ("trafo", "i0_percent", 1e300, "$.trafo[0].i0_percent: 1e+300, expected a finite number, at most 1e+30 in size"),
    ("trafo", "i0_percent", 1e20, "$.trafo[0]: transformer tr: i0: 1e+18, expected a finite number, at most 1e+06"),
    ("line", "from_bus", [1], "$.line[0].from_bus: [1], expected the number of a bus"),
    ("load", "p_mw", 1e20, "$.load[0].p_mw, q_mvar"),
    ("trafo", "tap_pos", -45, "$.trafo[0]: tap: position"),
    ("line", "max_i_ka", "x", "$.line[0].max_i_ka: 'x'"),
])
def test_figures_beyond_reason_are_refused_by_name(
    tmp_path: Path, table: str, column: str, value: object, said: str
) -> None:
    tables = network()
    tables[table][0][column] = value
    with pytest.raises(ImportRefused) as refused:
        imported(tables, tmp_path)
    assert said in str(refused.value)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_network_with_any_cell_spoiled_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tables = network() | elements_at_home()
    name = data.draw(st.sampled_from([name for name in tables if tables[name]]))
    row = data.draw(st.sampled_from(tables[name]))
    column = data.draw(st.sampled_from(sorted(row)))
    row[column] = data.draw(st.sampled_from(
        [None, "", "x", -1, 0, 1e300, -1e300, 1e-300, 10**400, True, [], [1], {}, 0.5, -0.0, 99]
    ))
    path = written(tables, tmp_path_factory.mktemp("net") / "net.json")
    try:
        found = read_feeder(path)
    except ImportRefused as refused:
        assert all(reason.startswith(str(path)) for reason in refused.reasons)  # noqa: PT017 - either is allowed
    else:
        faults(found.feeder)
