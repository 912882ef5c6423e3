import json
import os
import tomllib
from copy import deepcopy
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.config import ConfigError, check_config, load_clock, load_settings
from aggregator.config.assets_file import AssetsFile, dump_assets
from aggregator.operations import secret_sha256
from aggregator.signals.model import Obligation
from twin.assets import Current

ASSETS: dict[str, Any] = {
    "site": {
        "id": "caltech", "name": "Garage", "timezone": "America/Los_Angeles", "import_cap_kw": 120.0,
        "export_cap_kw": 0.0, "peak_so_far_kw": 90.0, "base_load_forecast_kw": [35.0] * 12 + [55.0] * 12,
        "default_stay_h": 6.0, "default_request_kwh": 8.0,
    },
    "evses": [
        {"id": "CA-303", "station_id": "CA-303", "version": "ocpp1.6", "current": "ac", "max_charge_kw": 6.656,
         "min_charge_kw": 1.248, "fallback_kw": 1.248, "response_delay_s": 2.0},
        {"id": "CA-309", "station_id": "CA-309", "version": "ocpp2.1", "current": "dc", "max_charge_kw": 11.0,
         "max_discharge_kw": 11.0, "fallback_kw": 2.0, "response_ramp_kw_per_s": 5.0},
    ],
    "vehicle_models": [
        {"id": "sedan", "capacity_kwh": 60.0, "max_charge_kw": 11.0, "max_discharge_kw": 11.0, "wear_per_kwh": 0.05,
         "charge_curve": {"soc": [0.0, 0.8, 1.0], "kw": [50.0, 50.0, 5.0]},
         "discharge_curve": {"soc": [0.0, 1.0], "kw": [50.0, 50.0]},
         "loss": {"standby_kw": 0.1, "proportional": 0.04, "quadratic_per_kw": 0.001}, "soc_max": 0.95},
    ],
    "permits": {
        "site_export_limit_kw": 0.0, "programmes": ["peak"],
        "evses": [{"evse_id": "CA-309", "reference": "R-1", "grid_code": "IEEE 1547-2018", "max_discharge_kw": 10.0,
                   "expires": datetime(2020, 1, 1, tzinfo=UTC)}],
        "vehicles": [{"model": "sedan", "current": "dc", "warranty_kwh": 1000.0, "warranty_hours": 500.0}],
    },
    "programmes": [{"name": "peak", "party": "sce", "obligation": "committed", "incentive_per_kwh": 0.5}],
    "clients": [{"client_id": "utility", "role": "utility", "scopes": ["read_all"], "party": "sce",
                 "secret_sha256": secret_sha256("s")}],
    "stations": [{"id": "CA-303", "password_sha256": secret_sha256("a")},
                 {"id": "CA-309", "password_sha256": secret_sha256("b")}],
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("V2G_"):
            monkeypatch.delenv(name)


def _write(folder: Path, assets: dict[str, Any], settings: dict[str, Any] | None = None) -> Path:
    (folder / "assets.toml").write_text(dump_assets(assets), "utf-8")
    shipped = files("markets") / "data" / "sce_tou_ev_4.toml"
    (folder / "tariff.toml").write_text(shipped.read_text("utf-8"), "utf-8")
    config = folder / "v2g.toml"
    config.write_text(dump_assets({"assets": "assets.toml", "tariff": "tariff.toml", **(settings or {})}), "utf-8")
    return config


def _faults(folder: Path, assets: dict[str, Any], settings: dict[str, Any] | None = None) -> dict[str, str]:
    return {fault.field: str(fault) for fault in check_config(_write(folder, assets, settings))}


def test_a_good_configuration_has_no_faults(tmp_path: Path) -> None:
    assert check_config(_write(tmp_path, ASSETS)) == []


def test_variables_win_over_the_file_and_the_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _write(tmp_path, ASSETS, {"http_port": 1234, "ocpp_port": 1235, "log_level": "debug"})
    monkeypatch.setenv("V2G_HTTP_PORT", "4321")
    settings = load_settings(config)
    assert (settings.http_port, settings.ocpp_port) == (4321, 1235)
    assert (settings.log_level, settings.host) == ("debug", "127.0.0.1")
    assert settings.step_s * settings.horizon_steps == 86_400


def test_paths_in_the_file_start_at_its_folder_and_others_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V2G_TARIFF", "elsewhere.toml")
    settings = load_settings(_write(tmp_path, ASSETS, {"data_dir": "data"}))
    assert settings.assets == tmp_path / "assets.toml"
    assert settings.tariff == Path("elsewhere.toml")
    assert settings.store_url == f"sqlite+aiosqlite:///{tmp_path / 'data' / 'v2g.sqlite'}"


def test_a_value_can_come_from_a_file_named_by_variable_or_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text("sqlite+aiosqlite:///secret.db\n")
    config = _write(tmp_path, ASSETS, {"database_url_file": "url"})
    assert load_settings(config).store_url == "sqlite+aiosqlite:///secret.db"
    assert check_config(config) == []
    (tmp_path / "other").write_text("sqlite+aiosqlite:///other.db")
    monkeypatch.setenv("V2G_DATABASE_URL_FILE", str(tmp_path / "other"))
    assert load_settings(config).store_url == "sqlite+aiosqlite:///other.db"
    monkeypatch.setenv("V2G_DATABASE_URL_FILE", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"V2G_DATABASE_URL_FILE.*expected a readable file"):
        load_settings(config)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings(None).http_port == 8080
    assert load_settings(tmp_path / "absent.toml").ocpp_port == 9000
    assert "missing" in str(check_config(tmp_path / "absent.toml")[0])


def test_variables_of_the_emulated_stations_are_no_faults_of_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V2G_STATION_PYTHON", "/opt/python")
    monkeypatch.setenv("V2G_STATION_PASSWORD", "secret")
    assert _faults(tmp_path, ASSETS, {}) == {}


def test_every_fault_of_settings_and_environment_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V2G_OCPP_PORT", "many")
    monkeypatch.setenv("V2G_HTTP_PROT", "8080")
    found = _faults(tmp_path, ASSETS, {"http_port": 70000, "log_level": "loud", "colour": "red", "token_ttl_s": 3600})
    assert set(found) == {"http_port", "log_level", "colour", "token_ttl_s", "V2G_OCPP_PORT", "V2G_HTTP_PROT"}
    assert "70000, expected less than or equal to 65535" in found["http_port"]
    assert found["V2G_OCPP_PORT"].startswith("environment: V2G_OCPP_PORT: 'many'")
    with pytest.raises(ConfigError) as refusal:
        load_settings(tmp_path / "v2g.toml")
    assert len(refusal.value.faults) == 6


def test_every_fault_of_every_section_is_named_at_once(tmp_path: Path) -> None:
    assets = deepcopy(ASSETS)
    assets["site"]["timezone"] = "Mars/Olympus"
    assets["site"]["base_load_forecast_kw"] = [1.0] * 24
    assets["evses"][0]["max_charge_kw"] = -1
    assets["evses"][1]["colour"] = "red"
    assets["vehicle_models"][0]["charge_curve"]["soc"] = [0.0, 0.9, 0.5]
    assets["permits"]["evses"][0]["evse_id"] = "CA-999"
    assets["permits"]["programmes"] = ["unknown"]
    assets["clients"][0]["role"] = "king"
    assets["stations"][0]["password_sha256"] = "open sesame"
    assets["surprise"] = {"x": 1}
    found = _faults(tmp_path, assets)
    assert set(found) == {
        "site.timezone", "evses[0].max_charge_kw", "evses[1].colour", "vehicle_models[0].charge_curve",
        "permits.evses[0].evse_id", "permits.programmes", "clients[0].role", "stations[0].password_sha256", "surprise",
    }
    assert "-1" in found["evses[0].max_charge_kw"]
    assert "'CA-999', expected an EVSE of [[evses]]" in found["permits.evses[0].evse_id"]
    assert all(text.startswith(str(tmp_path / "assets.toml")) for text in found.values())
    assert "open sesame" not in "".join(found.values())


@pytest.mark.parametrize(("path", "value", "field"), [
    (("site", "base_load_forecast_kw"), [1.0] * 23, "site.base_load_forecast_kw"),
    (("evses", 1, "id"), "CA-303", "evses[1].id"),
    (("evses", 1, "station_id"), "CA-303", "evses[1].evse_number"),
    (("evses", 1, "station_id"), "CA-777", "evses[1].station_id"),
    (("evses", 1, "version"), "ocpp2.0.1", "evses[1].max_discharge_kw"),
    (("evses", 0, "fallback_kw"), 1.0, "evses[0].fallback_kw"),
    (("evses", 0, "min_charge_kw"), 7.0, "evses[0].min_charge_kw"),
    (("vehicle_models", 0, "discharge_curve"), None, "vehicle_models[0].max_discharge_kw"),
    (("vehicle_models", 0, "soc_min"), 0.99, "vehicle_models[0].soc_min"),
    (("vehicle_models", 0, "loss", "proportional"), 1.5, "vehicle_models[0].loss"),
    (("permits", "evses", 0, "max_discharge_kw"), 12.0, "permits.evses[0].max_discharge_kw"),
    (("permits", "evses", 0, "grid_code"), "", "permits.evses[0].grid_code"),
    (("permits", "vehicles", 0, "current"), "ac", "permits.vehicles[0].evse_ids"),
    (("permits", "vehicles", 0, "model"), "truck", "permits.vehicles[0].model"),
    (("permits", "site_export_limit_kw"), -1.0, "permits.site_export_limit_kw"),
    (("programmes", 0, "obligation"), "sacred", "programmes[0].obligation"),
    (("site",), None, "site"),
    (("evses",), None, "evses"),
])
def test_each_impossible_value_is_one_fault_at_its_place(
    tmp_path: Path, path: tuple[str | int, ...], value: object, field: str
) -> None:
    assets: Any = deepcopy(ASSETS)
    place = assets
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert field in _faults(tmp_path, assets)


def test_fallback_power_and_the_worst_base_load_must_fit_under_the_cap(tmp_path: Path) -> None:
    assets = deepcopy(ASSETS)
    assets["site"]["import_cap_kw"] = 55.0 + 1.248 + 2.0
    assert _faults(tmp_path, assets) == {}
    assets["site"]["import_cap_kw"] -= 0.001
    found = _faults(tmp_path, assets)
    assert set(found) == {"evses.fallback_kw"}
    assert "3.248" in found["evses.fallback_kw"]


def test_the_assets_file_speaks_the_words_of_the_twin(tmp_path: Path) -> None:
    _write(tmp_path, ASSETS)
    assets = AssetsFile.load(tmp_path / "assets.toml")
    assert assets.site().import_cap_kw == 120.0
    ac, dc = assets.evses()
    assert (ac.id, ac.site_id, ac.current, ac.response.delay_s) == ("CA-303", "caltech", Current.AC, 2.0)
    assert (dc.max_discharge_kw, dc.response.ramp_kw_per_s) == (11.0, 5.0)
    sedan = assets.vehicle("sedan")
    assert (sedan.battery.charge.at(0.9), sedan.battery.loss.proportional) == (27.5, 0.04)
    assert sedan.battery.soc_max == 0.95
    with pytest.raises(KeyError):
        assets.vehicle("truck")
    (programme,) = assets.programmes()
    assert (programme.party, programme.obligation) == ("sce", Obligation.COMMITTED)
    assert assets.clients()[0].scopes == ("read_all",)
    assert assets.fallback_kw() == {"CA-303": 1.248, "CA-309": 2.0}
    assert assets.permits.evses[0].expires == datetime(2020, 1, 1, tzinfo=UTC)
    assert secret_sha256("a") not in repr(assets)


@pytest.mark.parametrize("content", [b"site = [", b"\xff\xfe", b""])
def test_a_broken_assets_file_is_named(tmp_path: Path, content: bytes) -> None:
    config = _write(tmp_path, ASSETS)
    (tmp_path / "assets.toml").write_bytes(content)
    faults = check_config(config)
    assert faults
    assert all(fault.file == str(tmp_path / "assets.toml") for fault in faults)


def test_missing_files_and_a_bad_tariff_are_all_named(tmp_path: Path) -> None:
    config = _write(tmp_path, ASSETS, {"clock": "clock.json"})
    (tmp_path / "assets.toml").unlink()
    (tmp_path / "tariff.toml").write_text("name = 1")
    assert {Path(fault.file).name for fault in check_config(config)} == {"assets.toml", "tariff.toml", "clock.json"}


def test_a_tariff_that_is_not_there_is_said_like_any_other_file(tmp_path: Path) -> None:
    config = _write(tmp_path, ASSETS)
    (tmp_path / "tariff.toml").unlink()
    (fault,) = check_config(config)
    assert str(fault) == f"{tmp_path / 'tariff.toml'}: 'No such file or directory', expected a readable tariff file"


def test_a_clock_file_gives_its_time_line(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    path.write_text(json.dumps({"segments": [
        {"wall_start": 1000.0, "domain_start": "2019-07-15T13:00:00Z", "factor": 480.0},
        {"wall_start": 1001.0, "domain_start": "2019-07-15T13:08:00Z", "factor": 1.0},
    ]}))
    clock = load_clock(path)
    assert clock.at_wall(1000.5) == datetime(2019, 7, 15, 13, 4, tzinfo=UTC)
    assert clock.at_wall(1002.0) == datetime(2019, 7, 15, 13, 8, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", [
    "{", '{"segments": []}', '{"segments": [{"wall_start": 1, "domain_start": "2019-07-15T13:00:00", "factor": 1}]}',
    '{"segments": [{"wall_start": 1, "domain_start": "2019-07-15T13:00:00Z", "factor": 0}]}', '{"segments": 3}',
])
def test_a_bad_clock_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "clock.json").write_text(text)
    with pytest.raises(ConfigError, match=r"clock\.json"):
        load_clock(tmp_path / "clock.json")


scalars = (
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
)
tables = st.recursive(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), scalars, max_size=4),
    lambda inner: st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
        scalars | st.lists(scalars, max_size=3) | inner | st.lists(inner, min_size=1, max_size=3), max_size=4,
    ),
    max_leaves=8,
)


@given(tables)
def test_what_is_dumped_as_toml_reads_back_unchanged(table: dict[str, Any]) -> None:
    assert tomllib.loads(dump_assets(table)) == table


def test_toml_keeps_times_and_leaves_out_what_is_not_there() -> None:
    when = datetime(2020, 1, 1, tzinfo=UTC)
    assert tomllib.loads(dump_assets({"a": None, "t": when, "d": when.date()})) == {"t": when, "d": when.date()}
    with pytest.raises(TypeError, match="TOML: object"):
        dump_assets({"a": object()})
