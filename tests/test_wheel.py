"""The wheel is the whole product: every file of the packages is in it, and it runs where there is no checkout."""

import email
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("aggregator", "markets", "twin")

RUNS_FROM_THE_WHEEL = """
import asyncio, sys
from pathlib import Path

import jinja2

import aggregator, markets, twin
from aggregator.demo.scene import load_scene
from aggregator.reports import page
from aggregator.store import Store
from aggregator.web import assets, pages
from markets.rate import shipped_rate
from twin.scenario import resource_path

home, data = Path(sys.argv[1]), Path(sys.argv[2])
for package in (aggregator, markets, twin):
    assert Path(package.__path__[0]).parent == home, package.__path__
scene = load_scene(resource_path("workplace_caltech.toml"))
assert len(scene.scenario.truth().visits) == 33
assert shipped_rate("sce_tou_ev_4").demand_price_per_kw > 0
for name in ("tokens.css", "live.js", "figures.js", "icon.svg"):
    assert assets.asset(name).body
assert pages._environment().get_template("live.html")
templates = jinja2.PackageLoader("aggregator.reports.page").list_templates()
assert {"day.html", "sections.html"} <= set(templates), templates
for name in ("tokens.css", "report.css", "figures.js", "report.js", "sections.css"):
    assert page.static(name)

async def migrate():
    async with await Store.open(f"sqlite+aiosqlite:///{data / 'v2g.sqlite'}") as store:
        async with store.read() as tx:
            assert await tx.sessions.all() == []

asyncio.run(migrate())
print("runs")
"""


def command(*words: str, cwd: Path, home: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "V2G_"))}
    if home is not None:
        environment["PYTHONPATH"] = str(home)
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the backend that pyproject names, with what the lock holds: nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    command("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pure Python wheel is installed by unpacking it."""
    home = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(home)
    return home


def test_every_file_of_the_packages_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    tree = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        members = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert members == tree
    assert {f"{package}/py.typed" for package in PACKAGES} <= members


def test_the_wheel_names_its_command_its_licences_and_what_it_needs(installed: Path) -> None:
    (information,) = installed.glob("*.dist-info")
    assert "v2g = aggregator.cli:main" in (information / "entry_points.txt").read_text("utf-8")
    assert {path.name for path in (information / "licenses").iterdir()} == {"LICENSE", "NOTICE"}
    metadata = email.message_from_string((information / "METADATA").read_text("utf-8"))
    assert metadata["Name"] == "v2g-aggregator"
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    needed = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert not [text for text in needed if text.startswith(("pytest", "hatchling", "ruff", "mypy"))]


def test_data_templates_and_migrations_are_found_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    said = command("-P", "-c", RUNS_FROM_THE_WHEEL, str(installed), str(tmp_path), cwd=tmp_path, home=installed)
    assert said == "runs\n"


def test_the_command_speaks_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "Example: v2g demo" in command("-P", "-m", "aggregator.cli", "demo", "--help", cwd=tmp_path, home=installed)
