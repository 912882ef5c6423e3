"""What of a script reaches OpenDSS, and what is refused before it does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.feeder.importers.imported import Degree, ImportRefused
from twin.feeder.importers.opendss.script import Script, read_script

Write = Callable[..., Path]


def texts(script: Script) -> list[str]:
    return [command.text for command in script.commands]


def test_redirected_files_are_read_where_they_are_named(write: Write) -> None:
    path = write("clear\nredirect sub/lines.dss\nsolve", **{"sub/lines.dss": "New Line.a\nredirect more.dss\n",
                                                            "sub/more.dss": "New Line.b"})
    script = read_script(path)
    assert texts(script) == ["clear", "New Line.a", "New Line.b", "solve"]
    assert [command.folder.name for command in script.commands] == [path.parent.name, "sub", "sub", path.parent.name]


def test_compile_stays_in_the_folder_of_the_compiled_file_and_redirect_does_not(write: Write) -> None:
    path = write("compile (sub/all.dss)\nredirect beside.dss", **{"sub/all.dss": "clear", "sub/beside.dss": "solve"})
    assert texts(read_script(path)) == ["clear", "solve"]


def test_a_file_is_found_whatever_its_capitals(write: Write) -> None:
    assert texts(read_script(write("redirect CODES.DSS", **{"Codes.dss": "clear"}))) == ["clear"]


def test_elements_are_known_by_file_and_line(write: Write) -> None:
    path = write("! head\nNew Line.A bus1=x\n~ bus2=y\n\nNew object=Load.B\n")
    script = read_script(path)
    assert str(script.places["line.a"]) == f"{path}:2"
    assert str(script.places["load.b"]) == f"{path}:5"


def test_comments_are_no_commands(write: Write) -> None:
    path = write('/* New Line.x\nshell */\nNew Line.a ! bus1=x\n// Solve\nNew Load.b daily="a//b" // rest')
    assert texts(read_script(path)) == ["New Line.a", 'New Load.b daily="a//b"']


@pytest.mark.parametrize("command", [
    "Export voltages /tmp/volts.csv", "Save circuit dir=/tmp/x", "Show powers", "Plot profile", "Dump", "FileEdit x",
    "set datapath=/tmp", "set editor=/bin/sh", "set casename=x", "Set DemandInterval=true", "? Line.a.length",
    "closedi", "New Monitor.m Line.a 1", "visualize what=powers", "Di_plot",
])
def test_commands_that_write_draw_or_ask_are_not_run_but_named(write: Write, command: str) -> None:
    script = read_script(write(f"clear\n{command}\nsolve"))
    assert texts(script) == ["clear", "solve"]
    (finding,) = script.findings
    assert finding.degree is Degree.NOT_RUN
    assert finding.origin.line == 2


def test_what_continues_a_monitor_is_left_out_with_it(write: Write) -> None:
    script = read_script(write("New Monitor.m\n~ mode=1\nNew Line.a\n~ length=1"))
    assert texts(script) == ["New Line.a", "~ length=1"]


def test_only_options_that_change_the_network_are_set(write: Write) -> None:
    text = "set mode=daily number=24 loadmult=0.8\nsolve mode=yearly tolerance=1e-6\nset mode=snap"
    script = read_script(write(text))
    assert texts(script) == ["set loadmult=0.8", "solve tolerance=1e-6"]
    assert sorted(finding.element for finding in script.findings) == ["set mode", "set number"]


@pytest.mark.parametrize("harm", [
    "New Generator.g bus1=a UserModel=evil.so", "New PVSystem.g usermod = evil.so", "~ UserModel=evil",
    "Generator.g.usermodel=(evil)", "BatchEdit Generator..* UserModel=x", "New Generator.g a 1 2 evil.so",
    "Edit Storage.s DynaDLL=x", "New CapControl.c UserData=x", "New Loadshape.s npts=1 Action=dblsave",
    "Edit Loadshape.s act=sngsave", "shell rm -rf /", "DOScmd ls", "_unknown x",
])
def test_what_could_do_harm_is_refused_with_its_line(write: Write, harm: str) -> None:
    path = write(f"New Line.a\n{harm}")
    with pytest.raises(ImportRefused) as refused:
        read_script(path)
    assert str(refused.value).startswith(f"{path}:2: ")


def test_everything_that_is_refused_is_said_at_once(write: Write) -> None:
    path = write("shell x\nredirect nowhere.dss\nNew Generator.g usermodel=x\nnonsense")
    with pytest.raises(ImportRefused) as refused:
        read_script(path)
    assert [reason.split(": ")[0] for reason in refused.value.reasons] == [f"{path}:{line}" for line in (1, 2, 3, 4)]


def test_a_circle_of_redirects_is_refused_where_it_closes(write: Write, tmp_path: Path) -> None:
    path = write("redirect a.dss", **{"a.dss": "clear\nredirect main.dss"})
    with pytest.raises(ImportRefused, match="circle") as refused:
        read_script(path)
    assert str(refused.value).startswith(f"{tmp_path / 'a.dss'}:2: ")


def test_files_that_double_at_every_level_end_at_a_number_of_files(write: Write) -> None:
    levels = {f"f{level}.dss": f"redirect f{level + 1}.dss\n" * 4 for level in range(12)}
    with pytest.raises(ImportRefused, match="files in all"):
        read_script(write("redirect f0.dss", **levels, **{"f12.dss": "clear\n" * 50}))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "main.dss"
    path.write_bytes(b"\x7fELF\0\0\1")
    with pytest.raises(ImportRefused, match="is no text"):
        read_script(path)


def test_old_encodings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "main.dss"
    path.write_bytes("New Line.a ! Größe".encode("latin-1"))
    assert texts(read_script(path)) == ["New Line.a"]


def test_a_property_is_given_by_the_element_by_like_or_by_a_batch(write: Write) -> None:
    script = read_script(write("""
        New Linecode.code NormAmps=300
        New Linecode.twin like=code
        New Linecode.bare r1=1
        New Line.a normamps=5
        New Line.b
        Line.c.NormAmps=7
        BatchEdit Line.d.* norma=9
        New Line.d1
    """))
    given = {name: script.gives(name, "normamps") for name in (
        "linecode.code", "linecode.twin", "linecode.bare", "line.a", "line.b", "line.c", "line.d1")}
    assert given == {"linecode.code": True, "linecode.twin": True, "linecode.bare": False, "line.a": True,
                     "line.b": False, "line.c": True, "line.d1": True}
