"""EV2Gym replays: the cars and stations of one simulated day, as a JSON document.

EV2Gym saves replays as pickles, and loading a pickle runs whatever its author wrote. So a replay is exported once to
JSON, in EV2Gym's own environment, by the lines in `docs/scenario.md`; the names in it are those of EV2Gym's classes
(StavrosOrf/EV2Gym, MIT).
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from twin.importers.cells import Cells, read_json
from twin.importers.session import Imported, ImportOptions, Session, each
from twin.scenario_error import ScenarioError

PICKLES = (".pkl", ".pickle")
DAY_MINUTES = 1440
MOST_PORTS = 1000
"""Of one station."""


def read_ev2gym(path: Path, options: ImportOptions) -> Imported:
    """Read an exported replay: sim_date, timescale, sim_length, transformers, charging_stations and EVs.

    A station with several ports becomes one EVSE per port. Times are local in `options.zone`.
    """
    if path.suffix in PICKLES:
        raise ScenarioError(path, "file", path.suffix, "a replay exported to JSON: loading a pickle runs code in it")
    document = read_json(path)
    if not isinstance(document, dict):
        raise ScenarioError(path, "$", type(document).__name__, "an object")
    replay = Cells(path, "$", document, options.zone)
    start = replay.time("sim_date")
    minutes = replay.number("timescale", "minutes")
    if not 0.0 < minutes <= DAY_MINUTES:
        raise replay.fault("timescale", minutes, f"more than 0, at most {DAY_MINUTES} minutes")
    end = replay.steps_after("sim_length", start, minutes)
    stations = _list(path, document, "charging_stations", options)
    cap_kw = _cap_kw(_list(path, document, "transformers", options))
    models: dict[tuple[Any, ...], dict[str, Any]] = {}
    ports = {_port(cells, port) for cells in stations for port in range(_ports(cells))}

    def session(cells: Cells) -> Session:
        station = f"cs{int(cells.number('location', ''))}-{int(cells.number('id', ''))}"
        if station not in ports:
            raise cells.fault("location", station, "a charging station and port of the file", "unknown station")
        return _session(cells, station, start, minutes, models)

    sessions, faults = each(_list(path, document, "EVs", options), session)
    return Imported(
        sessions, faults, assumed=(
            "Voltages are read as EV2Gym computes with them: power = volts x root of phases x amperes.",
            "The cap is the sum of the transformers' ratings, without demand response; loads and PV are not read.",
            "Efficiencies that depend on current are read as their mean; losses are the same share both ways.",
        ),
        tables={
            "start": start, "end": end, "site": {
                "timezone": options.zone.key if options.zone is not None else "UTC",
                "import_cap_kw": cap_kw, "export_cap_kw": cap_kw,
            },
            "station_types": {f"cs{number}": _station_type(cells) for number, cells in enumerate(stations)},
            "stations": [
                {"id": _port(cells, port), "type": f"cs{number}"}
                for number, cells in enumerate(stations) for port in range(_ports(cells))
            ],
            "vehicles": list(models.values()),
            "run": {"unfinished": "keep"},
        },
    )


def _list(path: Path, document: dict[str, Any], name: str, options: ImportOptions) -> list[Cells]:
    rows = document.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScenarioError(path, f"$.{name}", type(rows).__name__, "a list of objects")
    return [Cells(path, f"$.{name}[{number}]", row, options.zone) for number, row in enumerate(rows)]


def _ports(cells: Cells) -> int:
    ports = cells.number("n_ports", "ports") if cells.has("n_ports") else 1
    if not 1 <= ports <= MOST_PORTS:
        raise cells.fault("n_ports", ports, f"1 to {MOST_PORTS} ports")
    return int(ports)


def _port(cells: Cells, port: int) -> str:
    return f"cs{int(cells.number('id', ''))}-{port}"


def _cap_kw(transformers: list[Cells]) -> float:
    """Sum of the transformers' ratings. They are kept by step, lowered in demand response: the most is the rating."""
    return sum(_rating(cells).number("max_power", "kW") for cells in transformers)


def _rating(cells: Cells) -> Cells:
    most = cells.values.get("max_power")
    if isinstance(most, list) and most and all(isinstance(kw, int | float) for kw in most):
        return replace(cells, values={"max_power": max(most)})
    return cells


def _station_type(cells: Cells) -> dict[str, Any]:
    phases = cells.number("phases", "")
    if phases <= 0.0:
        raise cells.fault("phases", phases, "more than 0 phases")
    volts = cells.number("voltage", "V") * math.sqrt(phases)

    def kw(column: str) -> float:
        return abs(cells.number(column, "A")) * volts / 1000.0

    return {
        "vendor": "EV2Gym", "model": cells.label, "current": "ac", "max_charge_kw": kw("max_charge_current"),
        "min_charge_kw": kw("min_charge_current"), "max_discharge_kw": kw("max_discharge_current"),
    }


def _session(
    cells: Cells, station: str, start: datetime, minutes: float, models: dict[tuple[Any, ...], dict[str, Any]]
) -> Session:
    capacity = cells.energy("battery_capacity")
    if capacity == 0.0:
        raise cells.fault("battery_capacity", capacity, "more than 0 kWh")
    arrival = cells.steps_after("time_of_arrival", start, minutes)
    return Session(
        cells.path, cells.label, id=f"{station}@{arrival.isoformat()}", station=station, arrival=arrival,
        departure=cells.steps_after("time_of_departure", start, minutes),
        arrival_soc=_soc(cells, "battery_capacity_at_arrival", capacity),
        target_soc=_soc(cells, "desired_capacity", capacity),
        floor_soc=_soc(cells, "min_battery_capacity", capacity) if cells.has("min_battery_capacity") else None,
        vehicle=_model(cells, capacity, models),
    )


def _soc(cells: Cells, column: str, capacity: float) -> float:
    soc = cells.energy(column) / capacity
    if soc > 1.0:
        raise cells.fault(column, soc * capacity, f"at most {capacity} kWh", "state of charge outside 0 to 1")
    return soc


def _model(cells: Cells, capacity: float, models: dict[tuple[Any, ...], dict[str, Any]]) -> str:
    """The name of this car's class; cars with the same figures share one."""
    most = cells.number("max_ac_charge_power", "kW")
    back = abs(cells.number("max_discharge_power", "kW"))
    bend = cells.fraction("transition_soc") if cells.has("transition_soc") else 1.0
    efficiency, efficiency_back = _efficiency(cells, "charge_efficiency"), _efficiency(cells, "discharge_efficiency")
    key = (capacity, most, back, bend, efficiency, efficiency_back)
    if key not in models:
        # EV2Gym's taper falls from the bend to nothing at a full battery, as ACN-Sim's second stage does.
        curve = ([0.0, bend, 1.0], [most, most, 0.0]) if 0.0 < bend < 1.0 else ([0.0, 1.0], [most, most])
        table: dict[str, Any] = {
            "model": f"ev2gym-{len(models) + 1}", "plugs": ["ac", "dc"], "capacity_kwh": capacity,
            "charge_soc": curve[0], "charge_kw": [kw * efficiency for kw in curve[1]], "max_charge_kw": most,
            "loss_proportional": 1.0 / math.sqrt(efficiency * efficiency_back) - 1.0,
        }
        if back > 0.0:
            table |= {
                "discharge_soc": [0.0, 1.0], "discharge_kw": [back / efficiency_back] * 2, "max_discharge_kw": back,
            }
        models[key] = table
    return str(models[key]["model"])


def _efficiency(cells: Cells, column: str) -> float:
    value = cells.values.get(column, 1.0)
    if isinstance(value, dict):
        # By ampere, in percent.
        try:
            shares = [float(percent) / 100.0 for percent in value.values() if float(percent) > 0.0]
        except (TypeError, ValueError, OverflowError):
            shares = []
        value = sum(shares) / len(shares) if shares else value
    if not isinstance(value, int | float) or not 0.0 < value <= 1.0:
        raise cells.fault(column, value, "a share above 0, at most 1, or percents by ampere")
    return float(value)
