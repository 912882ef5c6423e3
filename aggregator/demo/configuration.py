"""Write what the processes of the demo are started with: configuration, credentials, clock and the stations' file.

The service gets assets, tariff, permits and credentials. What it cannot know in the world (real departures, true
state of charge, the building's load to come) goes to the stations' file only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.clock import Segment
from aggregator.config.assets_file import dump_assets
from aggregator.demo.feeder import feeder_table, garage_feeder, garage_street
from aggregator.demo.scene import Scene
from aggregator.dispatch.feeder_share import fitted_fallback
from aggregator.operations.access import new_secret, secret_sha256
from aggregator.signals.model import Obligation
from aggregator.stations import fleet_of
from markets.rate import rate_path
from twin.assets import Current, Vehicle
from twin.feeder.on_disk.files import write as write_feeder
from twin.station.fleetfile import FleetFile, encode_fleet

_PARTIES = {Obligation.COMMITTED: "utility", Obligation.MANDATORY: "grid-operator", Obligation.VOLUNTARY: "utility"}
_EVENT_SCOPES = ("read_all", "read_targets", "write_programs", "write_events", "gridsignal:read", "gridsignal:write")


@dataclass(frozen=True)
class Credentials:
    """Made anew for each run; secrets live in one file that only its owner can read.

    clients: secret by client id. stations: Basic-auth password by station id.
    """

    clients: Mapping[str, str]
    stations: Mapping[str, str]

    @classmethod
    def make(cls, scene: Scene) -> Credentials:
        fixed = ["utility", "grid-operator", "fleet-manager", "operator", "site-meter"]
        apps = [app_client(declared.id_token) for declared in scene.declared().values()]
        return cls(
            {name: new_secret() for name in (*fixed, *apps)},
            {station.id: new_secret()[:20] for station in scene.scenario.public().stations},
        )

    def save(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"clients": dict(self.clients), "stations": dict(self.stations)}, file)

    @classmethod
    def load(cls, path: Path) -> Credentials:
        raw = json.loads(path.read_text("utf-8"))
        return cls(raw["clients"], raw["stations"])


def app_client(id_token: str) -> str:
    """The API client of one driver's app."""
    return f"app-{id_token}"


def assets_tables(scene: Scene, credentials: Credentials) -> dict[str, Any]:
    """The service's assets file. Of the scenario only its public part goes in."""
    public, tables = scene.scenario.public(), scene.tables
    fallback_kw = _fallback_kw(scene)
    bidirectional = [s for s in public.stations if s.evse.max_discharge_kw > 0]
    return {
        "site": {
            "id": public.site.id, "name": public.name, "timezone": public.site.timezone,
            "import_cap_kw": public.site.import_cap_kw, "export_cap_kw": public.site.export_cap_kw,
            "peak_so_far_kw": tables.tariff.peak_so_far_kw,
            "base_load_forecast_kw": list(tables.forecast.base_load_kw),
            "arrivals_per_hour": list(tables.forecast.arrivals_per_hour),
            "arrival_energy_kwh": tables.forecast.arrival_energy_kwh,
            "arrival_power_kw": tables.forecast.arrival_power_kw,
        },
        "evses": [
            {
                "id": s.evse.id, "station_id": s.id, "version": s.protocol, "current": s.evse.current.value,
                "max_charge_kw": s.evse.max_charge_kw, "min_charge_kw": s.evse.min_charge_kw,
                "max_discharge_kw": s.evse.max_discharge_kw,
                "fallback_kw": fallback_kw[s.evse.id],
                "response_delay_s": s.evse.response.delay_s, "response_ramp_kw_per_s": s.evse.response.ramp_kw_per_s,
            }
            for s in public.stations
        ],
        "vehicle_models": [
            _vehicle_table(model, vehicle, tables.demo.wear.per_kwh) for model, vehicle in public.vehicles.items()
        ],
        "permits": {
            "site_export_limit_kw": tables.permits.site_export_limit_kw,
            "programmes": [p.name for p in tables.programmes],
            "evses": [
                {
                    "evse_id": s.evse.id, "reference": tables.permits.reference, "grid_code": tables.permits.grid_code,
                    "max_discharge_kw": min(s.evse.max_discharge_kw, tables.permits.max_discharge_kw),
                    "expires": tables.permits.expires,
                }
                for s in bidirectional
            ],
            "vehicles": [
                {
                    "model": model, "current": Current.DC.value, "warranty_kwh": tables.permits.warranty_kwh,
                    "warranty_hours": tables.permits.warranty_hours,
                }
                for model, vehicle in public.vehicles.items() if vehicle.max_discharge_kw > 0
            ],
        },
        "programmes": [
            {
                "name": p.name, "party": _PARTIES[p.obligation], "obligation": p.obligation.value,
                "incentive_per_kwh": p.incentive_per_kwh, "shortfall_per_kwh": p.shortfall_per_kwh,
            }
            for p in tables.programmes
        ],
        "clients": _clients(scene, credentials),
        "stations": [
            {"id": station_id, "password_sha256": secret_sha256(password)}
            for station_id, password in credentials.stations.items()
        ],
        "feeder": feeder_table(scene),
    }


def _fallback_kw(scene: Scene) -> dict[str, float]:
    """What the scenario says, lowered where the feeder does not bear it of all chargers at once."""
    public, tables = scene.scenario.public(), scene.tables
    evses = [station.evse for station in public.stations]
    dc_kw, ac_kw = tables.demo.fallback.dc_kw, tables.demo.fallback.ac_kw
    return fitted_fallback(
        garage_street(scene), max(tables.forecast.base_load_kw), public.site.timezone,
        {evse.id: dc_kw if evse.current is Current.DC else ac_kw for evse in evses},
        {evse.id: evse.min_charge_kw for evse in evses},
    )


def _vehicle_table(model: str, vehicle: Vehicle, wear_per_kwh: float) -> dict[str, Any]:
    battery = vehicle.battery
    return {
        "id": model, "capacity_kwh": battery.capacity_kwh, "max_charge_kw": vehicle.max_charge_kw,
        "max_discharge_kw": vehicle.max_discharge_kw, "min_discharge_kw": vehicle.min_discharge_kw,
        "soc_min": battery.soc_min, "soc_max": battery.soc_max, "wear_per_kwh": wear_per_kwh,
        "charge_curve": {"soc": list(battery.charge.soc), "kw": list(battery.charge.kw)},
        "discharge_curve": None if battery.discharge is None else {
            "soc": list(battery.discharge.soc), "kw": list(battery.discharge.kw),
        },
        "loss": {
            "standby_kw": battery.loss.standby_kw, "proportional": battery.loss.proportional,
            "quadratic_per_kw": battery.loss.quadratic_per_kw,
        },
    }


def _clients(scene: Scene, credentials: Credentials) -> list[dict[str, Any]]:
    site_id = scene.scenario.public().site.id
    rows = [
        ("utility", "utility", _EVENT_SCOPES, "utility"),
        ("grid-operator", "utility", _EVENT_SCOPES, "grid-operator"),
        ("fleet-manager", "fleet_manager", (), ""),
        ("operator", "operator", (), ""),
        ("site-meter", "device", (), site_id),
        *((app_client(d.id_token), "driver", (), d.id_token) for d in scene.declared().values()),
    ]
    return [
        {
            "client_id": client_id, "role": role, "scopes": list(scopes), "party": party,
            "secret_sha256": secret_sha256(credentials.clients[client_id]),
        }
        for client_id, role, scopes, party in {row[0]: row for row in rows}.values()
    ]


def fleet_file(scene: Scene, credentials: Credentials, wire: Collection[str] = ()) -> FleetFile:
    """What the station process emulates: the truth of the day. wire: stations that speak ISO 15118 with their cars."""
    return fleet_of(scene.scenario, wire=wire, password_of=credentials.stations.__getitem__)


def write_clock(path: Path, segments: Sequence[Segment], lease: str | None = None) -> None:
    """The clock file of every process; lease: name of the lease file beside it."""
    file: dict[str, Any] = {"segments": [
        {"wall_start": s.wall_start, "domain_start": s.domain_start.isoformat(), "factor": s.factor} for s in segments
    ]}
    if lease is not None:
        file["lease"] = lease
    path.write_text(json.dumps(file), "utf-8")


def write_fleet(folder: Path, fleet: FleetFile) -> None:
    """The stations' file; it holds passwords, so only its owner can read it."""
    descriptor = os.open(folder / "stations.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(encode_fleet(fleet))


def write_configuration(
    folder: Path, scene: Scene, credentials: Credentials, *, host: str, http_port: int, ocpp_port: int,
    wire: Collection[str] = (),
) -> Path:
    """All files of the service and of the stations, but the clock; returns the service's configuration file."""
    folder.mkdir(parents=True, exist_ok=True)
    credentials.save(folder / "credentials.json")
    write_feeder(garage_feeder(), folder / "feeder")
    (folder / "assets.toml").write_text(dump_assets(assets_tables(scene, credentials)), "utf-8")
    (folder / "tariff.toml").write_bytes(rate_path(scene.tables.tariff.shipped).read_bytes())
    write_fleet(folder, fleet_file(scene, credentials, wire))
    config = folder / "v2g.toml"
    config.write_text(dump_assets({
        "host": host, "http_port": http_port, "ocpp_port": ocpp_port, "data_dir": ".", "assets": "assets.toml",
        "tariff": "tariff.toml", "clock": "clock.json",
    }), "utf-8")
    return config
