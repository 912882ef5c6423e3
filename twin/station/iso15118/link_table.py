"""Sessions over a pair of virtual interfaces, found by discovery: our own SECC and the package's handler, a table.

The station is a process of its own, as it would be at the other end of a cable.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from twin.station.iso15118.link import virtual_link
from twin.station.iso15118.options import WireOptions
from twin.station.iso15118.pki import make_pki
from twin.station.iso15118.wire_rail import find_and_drive
from twin.station.rail import (
    CarIntent,
    CarLimits,
    CarState,
    Control,
    Language,
    SessionEnd,
    SessionFault,
    Speech,
    Transfer,
)

CHARGE_KW = 7.0
PAUSE_S = 0.05
WITHIN_S = 60.0

HEADER = (
    "| station's end | line | language, transfer | found by | question to power | charge |",
    "|---|---|---|---|---|---|",
)
OLDER = Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED)


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One session: how long from the first discovery request to power, in s, and how the car saw it end."""

    is_stock: bool
    line: str
    speech: Speech
    setup_s: float | None
    ended: SessionEnd | SessionFault | OSError | None

    @property
    def is_green(self) -> bool:
        return self.setup_s is not None and self.ended is SessionEnd.CAR

    def __str__(self) -> str:
        end = "package's handler, our session" if self.is_stock else "`Secc`"
        setup = "-" if self.setup_s is None else f"{self.setup_s * 1000.0:.0f} ms"
        charge = "green" if self.is_green else f"**red** ({self.ended})"
        return f"| {end} | {self.line} | {self.speech.language}, {self.speech.transfer} | SDP | {setup} | {charge} |"


async def link_table() -> tuple[list[str], bool]:
    """Lines of a Markdown table, and whether all of it is green. Raises a `NoLink` if there can be no interfaces."""
    rows: list[LinkRow] = []
    with virtual_link() as (station_end, car_end), tempfile.TemporaryDirectory() as folder:
        pki = make_pki(Path(folder))
        for is_stock in (False, True):
            async with StationProcess.at(station_end, is_stock=is_stock) as station:
                rows += [await try_link(station, car_end, speech, is_stock=is_stock) for speech in (OLDER, Speech())]
            async with StationProcess.at(station_end, is_stock=is_stock, pki=pki) as station:
                # The handler's TLS 1.3 asks every car for a certificate, which a car of ISO 15118-2 does not have.
                over_tls = (Speech(),) if is_stock else (OLDER, Speech())
                rows += [await try_link(station, car_end, speech, is_stock=is_stock, pki=pki) for speech in over_tls]
    return [*HEADER, *map(str, rows)], all(row.is_green for row in rows)


class StationProcess:
    """A station on an interface, in a process of its own; what it reports is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, interface: str, *, is_stock: bool, pki: Path | None = None) -> AsyncIterator[StationProcess]:
        """Cars can find it while the block lasts. Raises an `OSError` if it cannot listen."""
        command = [sys.executable, "-m", "twin.station.iso15118", "secc", interface, "--kw", str(CHARGE_KW)]
        command += ["--stock"] if is_stock else []
        command += [] if pki is None else ["--pki", str(pki)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            station = cls(process)
            if not await station.says("listening"):
                raise OSError(f"{' '.join(command)}: it ended, expected it to listen")
            yield station
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    async def says(self, beginning: str) -> bool:
        """Wait for a line that begins so; False if the process ends first or `WITHIN_S` pass."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                while line := await self._process.stdout.readline():
                    if line.decode().startswith(beginning):
                        return True
        return False


async def try_link(
    station: StationProcess, interface: str, speech: Speech, *, is_stock: bool, pki: Path | None = None
) -> LinkRow:
    """One car that finds the station on the link of `interface`, charges and leaves."""
    car = LinkCar(speech)
    line = "TCP" if pki is None else "TLS 1.3" if speech.language is Language.ISO_15118_20 else "TLS 1.2"
    began, setup_s = time.monotonic(), None
    driving = asyncio.create_task(find_and_drive(
        car, car, interface, WireOptions(pause_s=lambda: PAUSE_S, pki=pki)
    ))
    flowing = asyncio.create_task(station.says(f"flows {CHARGE_KW:g} kW"))
    ended: SessionEnd | SessionFault | OSError | None = None
    try:
        await asyncio.wait((driving, flowing), return_when=asyncio.FIRST_COMPLETED)
        if flowing.done() and flowing.result():
            setup_s = time.monotonic() - began
        car.intent = CarIntent.STOP
        ended = await driving
        # The next car would find no station yet, or this one's end of the session.
        if setup_s is not None and not await station.says("over"):
            setup_s = None
    except OSError as fault:
        ended = fault
    finally:
        flowing.cancel()
        driving.cancel()
        await asyncio.gather(flowing, driving, return_exceptions=True)
    return LinkRow(is_stock, line, speech, setup_s, ended)


class LinkCar:
    """A DC car and its end of the cable."""

    limits = CarLimits(capacity_kwh=60.0, max_charge_kw=11.0, max_discharge_kw=10.0, max_current_a=60.0)

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
        self.intent = CarIntent.STAY

    def state(self) -> CarState:
        return CarState(
            soc=0.5, target_soc=0.8, min_soc=0.2, max_soc=0.9, departure_s=7200.0, target_energy_kwh=18.0,
            max_energy_kwh=24.0, min_energy_kwh=-18.0, intent=self.intent,
        )

    def take(self, power_kw: float) -> float:
        return power_kw

    def switch(self, *, is_closed: bool) -> None:
        """The contactors are the station's."""

    def apply(self, power_kw: float) -> float:
        return power_kw

    def pilot(self, power_kw: float) -> None:
        """DC."""

    def present_kw(self) -> float:
        return 0.0
