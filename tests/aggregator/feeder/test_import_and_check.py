"""`v2g feeder import` and `v2g feeder check`: exit codes, what is said, and what stands in the folder afterwards."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aggregator.cli import app
from aggregator.feeder import apart
from twin.feeder.importers import Imported, read_feeder, write_folder
from twin.feeder.network.model import Rating
from twin.feeder.second_engine.check import Difference

SHIPPED = Path(__file__).parents[3] / "twin" / "data" / "feeders" / "ieee_european_lv"

TABLES = {
    "bus.csv": "id,volts,source_pu\nupper,10000,1.02\nlow,400,\nhome,400,\n",
    "line.csv": "id,from_bus,to_bus,length_m,r1_ohm_per_km,x1_ohm_per_km,ampacity_a\ncable,low,home,200,0.3,0.08,\n",
    "transformer.csv": "id,from_bus,to_bus,rated_kva,from_volts,to_volts,uk_percent,pk_w,vector_group\n"
                       "tr,upper,low,250,10000,400,4,3250,Dyn11\n",
    "connection.csv": "id,bus,phases,p_w\none,home,a,2000\ntwo,home,abc,9000\n",
}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["feeder", *map(str, words)])


def test_an_import_with_remarks_is_written_and_ends_with_0(tables: Path, tmp_path: Path) -> None:
    result = run("import", tables, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert f"{tables}/line.csv:2: line cable: ampacity: None" in result.output
    assert "assumed: source upper: no source_mva" in result.output
    assert "loads as given: " in result.output
    assert "engines apart by" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "feeder.json", "grid.json", "import.json", "loads.csv"]
    assert read_feeder(tmp_path / "out").loads.p_w.tolist() == [2000.0, 3000.0, 3000.0, 3000.0]


def test_an_imported_folder_is_checked_again(tables: Path, tmp_path: Path) -> None:
    run("import", tables, "-o", tmp_path / "out")
    result = run("check", tmp_path / "out", "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert (said["ok"], said["engines_agree"], said["second_engine"]) == (True, True, "power-grid-model")
    assert [case["name"] for case in said["cases"]] == ["no load", "loads as given"]
    assert all(case["difference_pu"] < 1e-7 for case in said["cases"])


def test_what_is_read_is_said_as_json_with_its_place(tables: Path, tmp_path: Path) -> None:
    said = json.loads(run("import", tables, "-o", tmp_path / "out", "--json").stdout)
    (found,) = (one for one in said["findings"] if one["kind"] == "source")
    assert (found["degree"], found["element"]) == ("assumed", "upper")
    assert (found["file"], found["line"]) == (f"{tables}/bus.csv", 2)
    report = json.loads((tmp_path / "out" / "import.json").read_text())
    assert report["faults"] == said["faults"]


def test_faults_that_leave_no_network_end_with_2_and_write_nothing(tables: Path, tmp_path: Path) -> None:
    (tables / "transformer.csv").write_text(TABLES["transformer.csv"].replace("Dyn11", ""))
    (tables / "bus.csv").write_text(TABLES["bus.csv"] + "island,400,\n")
    result = run("import", tables, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{tables}/transformer.csv:2: transformer tr: vector_group" in result.output
    assert f"{tables}/bus.csv:5: bus island: phases" in result.output
    assert not (tmp_path / "out").exists()
    assert run("check", tables).exit_code == 2


def test_an_unsupported_element_ends_with_2_and_is_named(tables: Path, tmp_path: Path) -> None:
    grid = {"version": "1.0", "type": "input", "is_batch": False, "attributes": {}, "data": {
        "node": [{"id": 1, "u_rated": 400.0}], "source": [{"id": 2, "node": 1, "status": 1, "u_ref": 1.0}],
        "three_winding_transformer": [{"id": 7}]}}
    path = tmp_path / "grid.json"
    path.write_text(json.dumps(grid))
    result = run("import", path, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{path}: unsupported: three_winding_transformer 7" in result.output
    assert not (tmp_path / "out").exists()
    assert tables.exists()


def test_a_file_that_cannot_be_read_ends_with_2_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(b"\0\1\2")
    result = run("import", path, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{path}: ")
    assert result.stderr.count("\n") == 1


def test_an_earlier_import_is_replaced_and_nothing_else(tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("import", tables, "-o", out).exit_code == 0
    assert run("import", tables, "-o", out).exit_code == 0
    (out / "diary.txt").write_text("mine")
    result = run("import", tables, "-o", out)
    assert result.exit_code == 1
    assert "holds 'diary.txt'" in result.stderr
    assert (out / "diary.txt").read_text() == "mine"
    assert run("import", tables, "-o", tables).exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tables"]


def test_what_is_put_into_an_import_while_it_is_replaced_is_kept(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run("import", tables, "-o", out).exit_code == 0
    (tmp_path / f".out.partial-{2**22 + 1}").mkdir()

    def meanwhile(imported: Imported, folder: Path) -> None:
        write_folder(imported, folder)
        (out / "diary.txt").write_text("mine")

    with monkeypatch.context() as patch:
        patch.setattr("aggregator.feeder.folder.write_folder", meanwhile)
        assert run("import", tables, "-o", out).exit_code == 1
    assert (out / "diary.txt").read_text() == "mine"
    (out / "diary.txt").unlink()
    assert run("import", tables, "-o", out).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tables"], "and what was left by a killed run"


def test_a_link_is_never_written_through(tables: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    assert run("import", tables, "-o", tmp_path / "out").exit_code == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_shipped_feeder_is_agreed_on_by_both_engines() -> None:
    result = run("check", SHIPPED)
    assert result.exit_code == 0
    assert "second engine: power-grid-model" in result.stdout
    assert "all loads at their most" in result.stdout


def test_no_solution_is_said_and_is_no_agreement(tables: Path) -> None:
    (tables / "connection.csv").write_text("id,bus,p_w\none,home,9e6\n")
    result = run("check", tables)
    assert result.exit_code == 1
    assert "loads as given: NO SOLUTION" in result.stdout


def test_an_opendss_circuit_is_compared_with_its_own_solution(tmp_path: Path) -> None:
    pytest.importorskip("dss")
    path = tmp_path / "street.dss"
    path.write_text("""clear
new circuit.street basekv=0.4 pu=1.02 r1=0.01 x1=0.02 r0=0.01 x0=0.02
new line.a bus1=sourcebus bus2=b r1=0.3 x1=0.1 r0=1 x0=0.4 c1=0 c0=0 length=0.2 units=km normamps=200
new load.one phases=1 bus1=b.2 kv=0.231 kw=4 pf=0.95
new transformer.reg phases=1 buses=[b.1 c.1] kvs=[0.231 0.231] kvas=[20 20] xhl=1 taps=[1 1.025]
new load.two phases=1 bus1=c.1 kv=0.231 kw=2 pf=1
export voltages stolen.csv
set voltagebases=[0.4]
calcv
solve
""")
    result = run("import", path, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["own_solution"]["program"] == "OpenDSS"
    assert said["own_solution"]["difference_pu"] <= 1e-7
    assert (said["second_engine"], said["engines_agree"]) == ("OpenDSS", True)
    frozen = next(one for one in said["findings"] if one["degree"] == "frozen")
    assert (frozen["element"], frozen["line"]) == ("reg", 5)
    assert not (tmp_path / "stolen.csv").exists()


def test_what_is_not_a_number_is_none_in_json_and_no_difference_in_words(tmp_path: Path) -> None:
    one = Difference(1, float("nan"), float("nan"), float("nan"), 0, 1)
    assert apart.in_words(one) == "no figure to compare; solved only here 0, only there 1"
    figures = json.loads(json.dumps(apart.as_figures(one), allow_nan=False))
    assert (figures["agrees"], figures["voltage_pu"], figures["solved_only_there"]) == (False, None, 1)
    pytest.importorskip("dss")
    path = tmp_path / "heavy.dss"
    path.write_text("""clear
new circuit.c basekv=0.4 pu=1.0 phases=3 bus1=src mvasc3=100 mvasc1=100
new line.l1 bus1=src bus2=b1 r1=0.32 x1=0.08 r0=1.2 x0=0.3 c1=0 c0=0 length=0.2 units=km
new load.h bus1=b1.1 phases=1 kv=0.23 kw=5 pf=0.95
new load.huge bus1=b1 phases=3 kv=.4 kw=900000 model=1 vminpu=0.1
set voltagebases=[0.4]
calcvoltagebases
solve
""")
    result = run("check", path, "--json")
    assert result.exit_code == 1
    assert "NaN" not in result.stdout
    assert "Infinity" not in result.stdout
    words = run("check", path).stdout
    assert "nan" not in words
    assert "-0.000" not in words


def test_a_table_of_ratings_replaces_what_the_file_says_and_fills_in_what_it_does_not(
    tables: Path, tmp_path: Path
) -> None:
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("line,ampacity_a,source\ncable,235,maker's sheet\n")
    result = run("import", tables, "-o", tmp_path / "out", "--ampacity", ratings)
    assert result.exit_code == 0
    assert "ampacity: None" not in result.output
    assert "assumed: line 1 lines: rated by ratings.csv, whatever the file says" in result.output
    (line,) = read_feeder(tmp_path / "out").feeder.lines
    assert line.ampacity == Rating.even(235.0, "maker's sheet")
    ratings.write_text("line,ampacity_a\n*,100\n")
    assert run("import", tmp_path / "out", "-o", tmp_path / "again", "--ampacity", ratings).exit_code == 0
    (line,) = read_feeder(tmp_path / "again").feeder.lines
    assert line.ampacity == Rating.even(235.0, "maker's sheet"), "* is for lines without one"
    assert run("import", tables, "-o", tmp_path / "third", "--ampacity", ratings).exit_code == 0
    (line,) = read_feeder(tmp_path / "third").feeder.lines
    assert line.ampacity == Rating.even(100.0, "ratings.csv")


@pytest.mark.parametrize(("rows", "said"), [
    ("cabel,235\n", "row 2, line: 'cabel', expected a line of feeder"),
    ("cable,235\ncable,236\n", "row 3, line: 'cable', expected every line once"),
    ("cable,-1\n", "row 2, ampacity_a: -1"),
    ("cable,many\n", "row 2, ampacity_a: 'many'"),
    ("cable,\n", "row 2, ampacity_a"),
])
def test_a_wrong_rating_is_refused_by_row_and_writes_nothing(
    tables: Path, tmp_path: Path, rows: str, said: str
) -> None:
    ratings = tmp_path / "ratings.csv"
    ratings.write_text(f"line,ampacity_a\n{rows}")
    result = run("import", tables, "-o", tmp_path / "out", "--ampacity", ratings)
    assert result.exit_code == 2
    assert f"{ratings}: {said}" in result.stderr
    assert not (tmp_path / "out").exists()


def test_many_lines_without_a_rating_are_one_line_of_words_and_all_in_json(tables: Path, tmp_path: Path) -> None:
    head, row = TABLES["line.csv"].splitlines()
    names = [f"cable{number}" for number in range(8)]
    (tables / "line.csv").write_text("\n".join([head, *(row.replace("cable", name, 1) for name in names)]) + "\n")
    said = run("import", tables, "-o", tmp_path / "out").output
    assert "8 lines without a rating, so that their loading is not judged: cable0, cable1, cable2, cable3, " in said
    assert "ampacity: None" not in said
    found = json.loads(run("check", tables, "--json").stdout)["faults"]
    assert [fault["element"] for fault in found if fault["field"] == "ampacity"] == names


def test_the_shipped_example_can_be_checked_by_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("check", "example")
    assert result.exit_code == 0
    assert result.stdout == run("check", SHIPPED).stdout


@pytest.mark.parametrize("command", ["import", "check", "flow", "envelope"])
def test_help_shows_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"v2g feeder {command}" in result.stdout
