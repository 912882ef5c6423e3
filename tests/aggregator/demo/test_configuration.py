"""What the demo gives its processes: the service gets assets and credentials, the stations the truth, nobody both."""

import json
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.clock import Segment
from aggregator.config import load_clock, load_settings
from aggregator.config.assets_file import AssetsFile, dump_assets
from aggregator.demo.configuration import Credentials, app_client, assets_tables, write_clock, write_configuration
from aggregator.demo.scene import Scene, load_scene, target_of
from aggregator.operations.access import secret_sha256
from twin.scenario import resource_path
from twin.station.fleetfile import decode_fleet

SCENARIO = "workplace_caltech.toml"
SEGMENT = Segment(1_563_200_000.0, datetime(2019, 7, 15, 13, tzinfo=UTC), 480.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(resource_path(SCENARIO))


@pytest.fixture(scope="module")
def credentials(scene: Scene) -> Credentials:
    return Credentials.make(scene)


@pytest.fixture(scope="module")
def written(scene: Scene, credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration file of the service, with all its neighbours."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    config = write_configuration(folder, scene, credentials, host="127.0.0.1", http_port=18080, ocpp_port=19000)
    write_clock(folder / "clock.json", [SEGMENT])
    return config


def test_the_written_configuration_has_no_faults(written: Path) -> None:
    checked = CliRunner().invoke(app, ["config", "check", "--config", str(written), "--json"])
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout) == []


def test_a_fault_in_it_would_be_named(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(written.parent, folder)
    assets = (folder / "assets.toml").read_text("utf-8")
    (folder / "assets.toml").write_text(assets.replace("import_cap_kw = ", "import_cap_kw = -", 1), "utf-8")
    checked = CliRunner().invoke(app, ["config", "check", "--config", str(folder / "v2g.toml")])
    assert checked.exit_code == 1
    assert "import_cap_kw" in checked.output


def test_the_clock_is_read_as_it_was_written(written: Path) -> None:
    settings = load_settings(written)
    assert settings.clock is not None
    assert load_clock(settings.clock).segments == (SEGMENT,)


def test_secrets_and_truth_lie_in_files_that_only_their_owner_reads(written: Path) -> None:
    for name in ("credentials.json", "stations.json"):
        assert stat.S_IMODE((written.parent / name).stat().st_mode) == 0o600


def test_writing_again_keeps_the_files_closed(scene: Scene, credentials: Credentials, tmp_path: Path) -> None:
    for _ in range(2):
        write_configuration(tmp_path, scene, credentials, host="127.0.0.1", http_port=0, ocpp_port=0)
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600


def test_the_service_knows_hashes_never_secrets(written: Path, credentials: Credentials) -> None:
    for path in (written, written.parent / "assets.toml"):
        text = path.read_text("utf-8")
        for secret in (*credentials.clients.values(), *credentials.stations.values()):
            assert secret not in text
    assets = AssetsFile.load(written.parent / "assets.toml")
    hashes = {client.client_id: client.secret_sha256 for client in assets.client_sections}
    assert hashes == {name: secret_sha256(secret) for name, secret in credentials.clients.items()}


def test_credentials_are_made_anew_and_read_back_as_they_were(
    scene: Scene, credentials: Credentials, written: Path
) -> None:
    assert Credentials.load(written.parent / "credentials.json") == credentials
    other = Credentials.make(scene)
    assert other.clients.keys() == credentials.clients.keys()
    assert not set(other.clients.values()) & set(credentials.clients.values())
    assert len(set(credentials.stations.values())) == len(credentials.stations) == 30


def test_each_driver_has_an_app_that_speaks_for_that_driver_alone(scene: Scene, written: Path) -> None:
    clients = {c.client_id: c for c in AssetsFile.load(written.parent / "assets.toml").client_sections}
    for declared in scene.declared().values():
        client = clients[app_client(declared.id_token)]
        assert (client.role, client.party, tuple(client.scopes)) == ("driver", declared.id_token, ())


def test_the_stations_get_the_whole_day(scene: Scene, written: Path) -> None:
    fleet = decode_fleet((written.parent / "stations.json").read_bytes())
    truth = scene.scenario.truth()
    emulated = {visit.id: visit for station in fleet.stations for visit in station.visits}
    assert emulated.keys() == {visit.id for visit in truth.visits}
    for visit in truth.visits:
        assert (emulated[visit.id].departure, emulated[visit.id].energy_kwh) == (visit.departure, visit.energy_kwh)
    assert [s.id for s in fleet.stations] == [s.id for s in scene.scenario.public().stations]


def hidden_truth_changed(text: str) -> str:
    """The scenario with other batteries on arrival and another building; what drivers declare stays."""
    for before, after in (
        ("soc_mean = 0.48", "soc_mean = 0.35"), ("soc_high = 0.80", "soc_high = 0.55"),
        ("noise_sd_kw = 0.9", "noise_sd_kw = 2.5"), ("step_high_kw = 8.0", "step_high_kw = 14.0"),
        ("  51.5, 53.0, 54.5, 55.0, 54.5,", "  41.5, 43.0, 44.5, 45.0, 44.5,"),
    ):
        assert before in text
        text = text.replace(before, after, 1)  # only the first: the building's hours stand again as the site's forecast
    return text


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[], Scene]:
    """The same scene with everything changed that a service cannot know: batteries, building, real departures."""

    def change() -> Scene:
        for name in (SCENARIO, "acn_caltech_2019-07-15.csv"):
            shutil.copy(resource_path(name), tmp_path / name)
        path, recording = tmp_path / SCENARIO, tmp_path / "acn_caltech_2019-07-15.csv"
        path.write_text(hidden_truth_changed(path.read_text("utf-8")), "utf-8")
        lines = recording.read_text("utf-8").splitlines()
        for row, line in enumerate(lines):
            cells = line.split(",")
            if cells[-1] == "True" and cells[1] < "2019-07-15 18":
                cells[1] = f"{cells[1][:14]}59{cells[1][16:]}"  # leaves in the last minute of that hour
            lines[row] = ",".join(cells)
        recording.write_text("\n".join(lines) + "\n", "utf-8")
        return load_scene(path)

    return change


def test_nothing_the_service_is_given_depends_on_what_it_cannot_know(
    scene: Scene, credentials: Credentials, changed: Callable[[], Scene]
) -> None:
    other = changed()
    truth, other_truth = scene.scenario.truth(), other.scenario.truth()
    assert {v.energy_kwh for v in truth.visits} != {v.energy_kwh for v in other_truth.visits}
    assert {v.departure for v in truth.visits} != {v.departure for v in other_truth.visits}
    assert truth.building_kw.tobytes() != other_truth.building_kw.tobytes()

    assert dump_assets(assets_tables(other, credentials)) == dump_assets(assets_tables(scene, credentials))
    declared, otherwise = scene.declared(), other.declared()
    assert {v: target_of(d) for v, d in declared.items()} == {v: target_of(d) for v, d in otherwise.items()}
