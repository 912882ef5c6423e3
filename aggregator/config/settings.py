"""Settings of the service: `V2G_*` variables over `v2g.toml` over defaults; and every fault of them at once.

A value can also come from a file that holds nothing else (`V2G_DATABASE_URL_FILE=/run/secrets/url`), so that a
secret need not stand in the environment. Relative paths in `v2g.toml` start at its folder.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from aggregator.clock import ScaledClock, Segment
from aggregator.config.assets_file import AssetsFile
from aggregator.config.faults import ConfigError, ConfigFault, faults_of
from markets.rate import RateError, load_rate
from twin.assets import AssetError, utc
from twin.lease import Lease, LeaseError

_PREFIX = "V2G_"
_NOT_OURS = frozenset(("V2G_STATION_PYTHON", "V2G_STATION_PASSWORD"))
"""Variables of `v2g station` and `v2g demo`, which may run beside a service."""
_FILE_SUFFIX = "_file"
_PATHS = ("data_dir", "assets", "tariff", "clock")


class Settings(BaseSettings):
    """What the service is started with. Times in wall seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="address that both ports listen on")
    http_port: int = Field(8080, ge=0, le=65535, description="REST, OpenADR and pages; 0 picks a free one")
    ocpp_port: int = Field(9000, ge=0, le=65535, description="OCPP WebSocket; 0 picks a free one")
    data_dir: Path = Field(Path("v2g-data"), description="database, keys and reports")
    database_url: str = Field("", repr=False, description="default: SQLite file v2g.sqlite in data_dir")
    assets: Path = Field(Path("assets.toml"), description="site, EVSEs, vehicles, permits, credentials")
    tariff: Path = Field(Path("tariff.toml"), description="energy and demand prices")
    clock: Path | None = Field(None, description="segments of a scaled clock; none = domain time is wall time")
    plan_interval_s: int = Field(900, gt=0, description="domain seconds between plans")
    horizon_steps: int = Field(96, gt=0, le=1344, description="steps that a plan looks ahead")
    step_s: int = Field(900, gt=0, description="domain seconds of one planning step")
    learn_days: int = Field(56, ge=0, le=730, description="past days whose sessions teach arrivals and departures")
    virtual_evs: bool = Field(True, description="plan with the cars that past days let expect")
    ready_quantile: float = Field(
        0.0, ge=0, lt=1, description="cars are ready before this share of drivers has left; 0 = as they declare")
    outstay_share: float = Field(
        0.5, ge=0, lt=1, description="bidirectional cars are counted on beyond their declared departure until this "
        "share of drivers has left; 0 = until then only")
    early_leave_price_per_kwh: float = Field(
        5.0, ge=0, allow_inf_nan=False, description="what a plan pays for energy missing at a departure before the "
        "declared one, times its chance")
    change_price_per_kwh: float = Field(
        0.01, ge=0, allow_inf_nan=False, description="what a plan pays for departing from the set-points in force")
    planner_timeout_s: float = Field(10.0, gt=0, description="after this a plan is given up for the safe one")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    token_ttl_s: int = Field(600, gt=0, le=600, description="life of an access token")

    @property
    def store_url(self) -> str:
        """`database_url`, or the default SQLite file in `data_dir`."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'v2g.sqlite'}"


def load_settings(path: Path | None = None) -> Settings:
    """Settings from `path` (if it exists), the environment and defaults.

    Raises:
        ConfigError: with every fault.
    """
    settings, faults = _read(path)
    if settings is None or faults:
        raise ConfigError(faults)
    return settings


def check_config(path: Path) -> list[ConfigFault]:
    """Every fault of the settings and of the files they name; empty if the service can start with them."""
    settings, faults = _read(path)
    if not path.is_file():
        faults.insert(0, ConfigFault(str(path), "", "missing", "a configuration file"))
    if settings is None:
        return faults
    for load, file in ((AssetsFile.load, settings.assets), (load_rate, settings.tariff), (load_clock, settings.clock)):
        if file is None:
            continue
        try:
            load(file)
        except ConfigError as error:
            faults.extend(error.faults)
        except RateError as error:
            if isinstance(error.__cause__, OSError):
                faults.append(ConfigFault(str(file), "", error.__cause__.strerror, "a readable tariff file"))
                continue
            faults.append(ConfigFault(str(file), "tariff", "refused", str(error).removeprefix(f"{file}: ")))
    return faults


def load_clock(path: Path) -> ScaledClock:
    """The scaled clock that a clock file describes: {"segments": [{"wall_start", "domain_start", "factor"}, ...]}.

    "lease" may name a lease file beside it.

    Raises:
        ConfigError: it or its lease cannot be read, or a segment is impossible.
    """
    try:
        wire = msgspec.json.decode(path.read_bytes(), type=_ClockFile)
    except OSError as error:
        raise ConfigError([ConfigFault(str(path), "", error.strerror, "a readable clock file")]) from error
    except msgspec.MsgspecError as error:
        raise ConfigError([ConfigFault(str(path), "", "not a clock", str(error))]) from error
    try:
        lease = None if wire.lease is None else Lease.open(path.parent / wire.lease)
    except LeaseError as error:
        raise ConfigError([ConfigFault(str(path), "lease", "refused", str(error))]) from error
    try:
        return ScaledClock([Segment(s.wall_start, utc(s.domain_start), s.factor) for s in wire.segments], lease)
    except (AssetError, ValueError) as error:
        raise ConfigError([ConfigFault(str(path), "segments", "refused", str(error))]) from error


class _ClockSegment(msgspec.Struct, forbid_unknown_fields=True):
    wall_start: float
    domain_start: str
    factor: float


class _ClockFile(msgspec.Struct):
    segments: list[_ClockSegment]
    lease: str | None = None


def _read(path: Path | None) -> tuple[Settings | None, list[ConfigFault]]:
    """The settings (None if they cannot be made) and every fault of the file, the environment and their values."""
    name = str(path) if path is not None else "environment"
    raw: dict[str, Any] = {}
    if path is not None and path.is_file():
        try:
            raw = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            return None, [ConfigFault(name, "", "not TOML", str(error))]
    faults = list(_unknown_variables())
    written = _rooted(raw, path)
    in_files, unreadable = _values_by_file({f"{_PREFIX}{key}".upper(): value for key, value in written.items()})
    named, missing = _values_by_file(os.environ)
    plain = {key: value for key, value in written.items() if key.removesuffix(_FILE_SUFFIX) not in Settings.model_fields
             or not key.endswith(_FILE_SUFFIX)}
    layered = {**plain, **in_files, **named}
    faults += [*unreadable, *missing]
    try:
        # Given values win over the environment in pydantic-settings, so what the environment says is left to it.
        settings = Settings(**{key: value for key, value in layered.items() if _variable(key) not in os.environ})
    except ValidationError as error:
        return None, [*faults, *(_with_origin(fault) for fault in faults_of(name, error))]
    return settings, faults


def _variable(field: str) -> str:
    return f"{_PREFIX}{field}".upper()


def _rooted(raw: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """The file's values, its relative paths made to start at its folder."""
    def is_path(key: str, value: object) -> bool:
        return isinstance(value, str) and (key in _PATHS or key.endswith(_FILE_SUFFIX))

    if path is None:
        return dict(raw)
    return {key: path.parent / value if is_path(key, value) else value for key, value in raw.items()}


def _values_by_file(variables: Mapping[str, Any]) -> tuple[dict[str, str], list[ConfigFault]]:
    """Values of settings whose `V2G_<NAME>_FILE` names a file that holds them, and the files that cannot be read."""
    found: dict[str, str] = {}
    faults: list[ConfigFault] = []
    for field in Settings.model_fields:
        variable = _variable(field + _FILE_SUFFIX)
        if variable not in variables:
            continue
        try:
            found[field] = Path(variables[variable]).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            faults.append(ConfigFault("environment", variable, str(variables[variable]), "a readable file"))
    return found, faults


def _unknown_variables() -> Iterable[ConfigFault]:
    """A misspelt variable would be passed over in silence; so it is a fault."""
    known = {_variable(field) for field in Settings.model_fields} | _NOT_OURS
    for variable in sorted(os.environ):
        if variable.startswith(_PREFIX) and variable not in known and variable.removesuffix("_FILE") not in known:
            yield ConfigFault("environment", variable, "unknown", "one of the settings of v2g.toml in capitals")


def _with_origin(fault: ConfigFault) -> ConfigFault:
    """The variable's name, where a bad value came from the environment and not from the file."""
    variable = _variable(fault.field)
    if variable in os.environ:
        return ConfigFault("environment", variable, fault.value, fault.expected)
    return fault
