"""The commands as a newcomer meets them: one clear line for each mistake, the right exit code, never a traceback."""

import asyncio
import contextlib
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.clock import Segment
from aggregator.demo.configuration import Credentials, write_clock, write_configuration
from aggregator.store import Store
from tests.e2e.conftest import HOST, NOON, Car, write_scenario


def v2g(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aggregator.cli", *arguments], cwd=cwd, capture_output=True, text=True, timeout=110,
        check=False, stdin=subprocess.DEVNULL,
    )


def v2g_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same command in this process, for the many cases that differ only in what is wrong."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert result.returncode == 1, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@contextlib.contextmanager
def occupied_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as held:
        yield held.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A service's folder without a fault."""
    scene = write_scenario(tmp_path / "scenario.toml", [Car("ocpp1.6", 0.3, 5.0), Car("ocpp2.1", 0.7, 0.0)])
    write_configuration(tmp_path, scene, Credentials.make(scene), host=HOST, http_port=0, ocpp_port=0)
    write_clock(tmp_path / "clock.json", [Segment(1.8e9, NOON, 60.0)])
    return tmp_path


def set_line(file: Path, name: str, value: object) -> None:
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith(f"{name} =")]
    file.write_text("\n".join([f"{name} = {value}", *lines]) + "\n", "utf-8")


def test_an_impossible_speed_is_a_usage_error(tmp_path: Path) -> None:
    data = tmp_path / "day"
    results = [v2g("demo", "--speed", "0", "--data", str(data), cwd=tmp_path)]
    results += [v2g_here("demo", "--speed", speed, "--data", str(data)) for speed in ("-3", "fast", "1e9")]
    for result in results:
        assert result.returncode == 2
        assert "--speed" in result.stderr
        assert not data.exists()


def test_an_occupied_port_is_one_line_for_demo_and_service(folder: Path) -> None:
    day, settings = folder / "day", folder / "v2g.toml"
    with occupied_port() as port:
        taken = ["demo", "--data", str(day), "--http-port", str(port), "--ocpp-port", "0"]
        assert str(port) in refused(v2g(*taken, cwd=folder))
        taken = ["demo", "--data", str(day), "--http-port", "0", "--ocpp-port", str(port)]
        assert str(port) in refused(v2g_here(*taken))
        assert not day.exists()
        set_line(settings, "http_port", port)
        assert refused(v2g("serve", "--config", str(settings), cwd=folder)).startswith(f"http_port: {port}")
        set_line(settings, "http_port", 0)
        set_line(settings, "ocpp_port", port)
        assert refused(v2g_here("serve", "--config", str(settings))).startswith(f"ocpp_port: {port}")


def no_settings(folder: Path) -> None:
    (folder / "v2g.toml").unlink()


def no_assets(folder: Path) -> None:
    (folder / "assets.toml").unlink()


def no_tariff(folder: Path) -> None:
    (folder / "tariff.toml").unlink()


def broken_tariff(folder: Path) -> None:
    (folder / "tariff.toml").write_text("name = 3\n", "utf-8")


def no_clock(folder: Path) -> None:
    (folder / "clock.json").unlink()


def broken_database(folder: Path) -> None:
    (folder / "v2g.sqlite").write_bytes(b"this is not a database, only its name is\n" * 100)


def broken_key(folder: Path) -> None:
    path = folder / "token-key.json"
    path.write_text("{}", "utf-8")
    path.chmod(0o600)


def open_key(folder: Path) -> None:
    path = folder / "token-key.json"
    path.write_text("{}", "utf-8")
    path.chmod(0o644)


def key_is_a_folder(folder: Path) -> None:
    (folder / "token-key.json").mkdir(mode=0o700)


@pytest.mark.parametrize(("harm", "named"), [
    (no_settings, "v2g.toml"), (no_assets, "assets.toml"), (no_tariff, "tariff.toml"), (broken_tariff, "tariff.toml"),
    (no_clock, "clock.json"),
])
def test_a_service_without_its_files_says_which_in_one_line(
    folder: Path, harm: Callable[[Path], None], named: str
) -> None:
    harm(folder)
    assert named in refused(v2g_here("serve", "--config", str(folder / "v2g.toml")))


@pytest.mark.parametrize(("harm", "named"), [
    (broken_database, "v2g.sqlite"), (broken_key, "token-key.json"), (open_key, "token-key.json"),
    (key_is_a_folder, "token-key.json"),
])
def test_a_service_with_unusable_data_says_why_in_one_line(
    folder: Path, harm: Callable[[Path], None], named: str
) -> None:
    harm(folder)
    assert named in refused(v2g("serve", "--config", "v2g.toml", cwd=folder))


def test_config_check_names_every_fault_at_once(folder: Path) -> None:
    assert v2g_here("config", "check", "--config", str(folder / "v2g.toml")).returncode == 0
    set_line(folder / "v2g.toml", "horizon_steps", 0)
    set_line(folder / "v2g.toml", "colour", '"green"')
    result = v2g_here("config", "check", "--config", str(folder / "v2g.toml"))
    assert result.returncode == 1
    assert "horizon_steps" in result.stderr
    assert "colour" in result.stderr

    assets = (folder / "assets.toml").read_text("utf-8")
    (folder / "assets.toml").write_text(assets.replace("import_cap_kw = 100.0", "import_cap_kw = -1.0"), "utf-8")
    broken_tariff(folder)
    no_clock(folder)
    set_line(folder / "v2g.toml", "horizon_steps", 96)
    settings = folder / "v2g.toml"
    settings.write_text(settings.read_text("utf-8").replace('colour = "green"\n', ""), "utf-8")
    result = v2g_here("config", "check", "--config", str(folder / "v2g.toml"))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    for name in ("import_cap_kw", "tariff.toml", "clock.json"):
        assert name in result.stderr, result.stderr


async def chain(path: Path) -> None:
    async with await Store.open(f"sqlite+aiosqlite:///{path}") as store:
        for k in range(5):
            async with store.transaction("somebody") as tx:
                tx.audit("thing.done", f"thing:{k}", {"kw": k})


def test_audit_verify_passes_on_a_good_database_and_finds_a_changed_row(tmp_path: Path) -> None:
    good, bad, none = (tmp_path / f"{name}.sqlite" for name in ("good", "bad", "none"))
    asyncio.run(chain(good))
    shutil.copy(good, bad)
    with contextlib.closing(sqlite3.connect(bad)) as database, database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        assert database.execute("UPDATE audit SET detail = '{\"kw\":40}' WHERE seq = 4").rowcount == 1
    assert v2g("audit", "verify", "--database", str(good), cwd=tmp_path).returncode == 0
    found = v2g_here("audit", "verify", "--database", str(bad), "--json")
    assert found.returncode == 1
    assert '"first_bad_seq": 4' in found.stdout
    assert str(none) in refused(v2g_here("audit", "verify", "--database", str(none)))


def test_a_demo_never_takes_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("keep me", "utf-8")
    free = ("--http-port", "0", "--ocpp-port", "0")
    assert "letters" in refused(v2g_here("demo", "--data", str(letters), *free))
    assert (letters / "dear.txt").read_text("utf-8") == "keep me"
    assert "resume" in refused(v2g_here("demo", "--resume", "--data", str(tmp_path / "nothing"), *free))
    assert list(tmp_path.iterdir()) == [letters]
