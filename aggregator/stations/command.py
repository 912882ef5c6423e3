"""`v2g station`: emulated stations against any CSMS, from a fleet file or straight from a scenario; and `v2g exi`."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aggregator.refusal import Refused
from aggregator.stations.emulation import fleet_of, on_the_wire
from aggregator.stations.interpreter import station_interpreter
from twin.scenario import ScenarioError, load_scenario
from twin.station.fleetfile import encode_fleet

_STARTS_IN_S = 3.0
"""Wall seconds until a scenario's first moment: a Python starts and its stations connect."""


@dataclass(frozen=True)
class Emulation:
    """What of a scenario is emulated, and how.

    protocol: "1.6", "2.0.1" or "2.1" for every station, None for each one's own. speed: domain seconds per wall second.
    clock: a clock file; the scenario then happens at its own dates, and otherwise it begins now.
    """

    scenario: Path
    stations: int | None = None
    wire: int = 0
    protocol: str | None = None
    speed: float = 1.0
    clock: Path | None = None
    password: str = ""


def run_exi(arguments: Sequence[str]) -> int:
    """Run the EXI codec's own command where the protocols' schemas are installed; its exit code.

    Raises:
        Refused: there is no interpreter for it.
    """
    return subprocess.call([str(station_interpreter()), "-m", "twin.wire.exi", *arguments])  # noqa: S603 - our module


def run_stations(ocpp: str, fleet: Path, arguments: Sequence[str] = ()) -> int:
    """Run a fleet file in the stations' own environment; its exit code.

    Raises:
        Refused: there is no interpreter for them.
    """
    command = [
        str(station_interpreter()), "-m", "twin.station", "--fleet", str(fleet), "--ocpp", ocpp, *arguments,
    ]
    try:
        return subprocess.call(command)  # noqa: S603 - our own module
    except KeyboardInterrupt:
        return 0  # it got the same signal and has ended in order


def run_scenario(ocpp: str, emulation: Emulation, arguments: Sequence[str] = ()) -> int:
    """Emulate the stations of a scenario; the exit code of their process.

    Raises:
        Refused: the scenario is faulty, more is on the wire than there is, or there is no interpreter.
    """
    station_interpreter()
    try:
        scenario = load_scenario(emulation.scenario)
    except (ScenarioError, OSError) as fault:
        raise Refused(str(fault)) from None
    start = scenario.public().start
    later = timedelta(0)
    if emulation.clock is None:
        later = datetime.fromtimestamp(time.time() + _STARTS_IN_S, UTC) - start
    file = fleet_of(
        scenario, count=emulation.stations, wire=on_the_wire(scenario, emulation.wire, emulation.stations),
        protocol=None if emulation.protocol is None else f"ocpp{emulation.protocol}",
        password_of=lambda _: emulation.password, later=later,
    )
    with tempfile.TemporaryDirectory(prefix="v2g-stations-") as folder:  # only its owner can look into it
        fleet = Path(folder) / "stations.json"
        fleet.write_bytes(encode_fleet(file))
        clock = emulation.clock
        if clock is None and emulation.speed != 1.0:
            clock = Path(folder) / "clock.json"
            begin = start + later
            clock.write_text(json.dumps({"segments": [{
                "wall_start": begin.timestamp(), "domain_start": begin.isoformat(), "factor": emulation.speed,
            }]}), "utf-8")
        timing = [] if clock is None else ["--clock", os.fspath(clock)]
        return run_stations(ocpp, fleet, [*timing, *arguments])
