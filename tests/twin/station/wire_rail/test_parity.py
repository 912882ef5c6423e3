"""The same day on both rails, side by side in one process: what flows, and what it comes to, must be the same.

Domain time stands while the wire follows an order, so that only what the wire does to numbers can make a difference.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from io import BytesIO
from typing import Any, NamedTuple

import msgspec
import pytest

from twin.assets import Current
from twin.station.clock import ClockSegment, DomainClock, iso
from twin.station.fleetfile import EvseSpec, SpeechSpec
from twin.station.process import StationProcess
from twin.station.rail import Control, Language, Transfer
from twin.station.reporter import Reporter

pytestmark = pytest.mark.anyio

STEP_S = 900.0
QUANTUM_KW = 0.001
"""A power below 32,767 W goes over the wire in whole watts or finer, towards zero (ISO 15118-20 RationalNumber)."""
CURRENT_QUANTUM_KW = 0.002
"""Where the car asks for a current it does so in whole mA, of limits in whole mA: at 400 V up to 5 times 0.4 W."""

TWO_WAY_KW = (11.0, 7.41237, 3.33333, 0.0, -2.5, -7.41237, -11.0, 0.0004, 6.0, -0.8, 10.99999, 1.0)
ONE_WAY_KW = (6.65, 3.33333, 0.0, 1.4, 5.01234, 6.65, 2.0, 0.0, 6.0)


class StandingClock(DomainClock):
    """Domain time that goes on only when it is told to."""

    def __init__(self, day: datetime) -> None:
        super().__init__([ClockSegment(time.time(), day, 600.0)])
        self.at = day.timestamp()

    def at_wall(self, wall: float) -> float:  # noqa: ARG002 - the wall has no say
        return self.at

    def wall_at(self, when: float) -> float:
        return time.time() if when <= self.at else math.inf


Pair = tuple[StationProcess, StandingClock]


@pytest.fixture
async def side_by_side(csms: Any, kit: Any) -> AsyncIterator[Callable[..., Awaitable[Pair]]]:
    running: list[tuple[StationProcess, asyncio.Task[None]]] = []

    async def start(speaks: SpeechSpec) -> Pair:
        is_two_way = speaks.transfer.is_bidirectional
        if speaks.transfer.is_dc:
            evse = EvseSpec(
                id="E", current=Current.DC, max_charge_kw=11.0, max_discharge_kw=11.0 if is_two_way else 0.0,
                voltage_v=400.0,
            )
        else:
            evse = EvseSpec(
                id="E", current=Current.AC, max_charge_kw=11.0, max_discharge_kw=11.0 if is_two_way else 0.0,
                voltage_v=230.0, phases=3, permits_ac_bpt=is_two_way,
            )
        specs = []
        for rail in ("fast", "wire"):
            visit = kit.visit(f"visit-{rail}", at_min=1, for_min=600, v2g=is_two_way, speaks=speaks)
            spec = kit.station("ocpp2.1", visit, name=f"CA-{rail}")
            specs.append(msgspec.structs.replace(spec, rail=rail, evse=msgspec.structs.replace(evse, id=f"CA-{rail}")))
        clock = StandingClock(kit.day)
        process = StationProcess(kit.fleet(*specs), clock, csms.url, Reporter(BytesIO()))
        running.append((process, asyncio.create_task(process.run())))
        await csms.until(lambda: all(station.link.is_online for station in process.stations.values()))
        return process, clock

    yield start
    for process, task in running:
        process.quit()
        await task
        process.reporter.close()


def go_to(pair: Pair, at: float) -> None:
    process, clock = pair
    clock.at = at
    process.timeline.act(lambda: None)


def follows(process: StationProcess, kw: float, quantum_kw: float) -> bool:
    """Both cars were told to take `kw`, as far as it can be said on the wire."""
    told = [station.outlet.sessions.offered_kw for station in process.stations.values()]
    return all(at is not None and abs(kw) - quantum_kw <= abs(at) <= abs(kw) and at * kw >= 0 for at in told)


class Moved(NamedTuple):
    battery_kwh: float
    in_kwh: float
    out_kwh: float


def energies(process: StationProcess) -> list[Moved]:
    fleet = process.plant.fleet
    columns = zip(fleet.energy_kwh, fleet.import_kwh, fleet.export_kwh, strict=True)
    return [Moved(*map(float, column)) for column in columns]


def transactions_of(csms: Any) -> dict[str, str] | None:
    """By station, once both have begun one."""
    found = {
        request.station_id: request.payload["transactionInfo"]["transactionId"]
        for request in csms.requests if request.action == "TransactionEvent"
    }
    return found if len(found) == 2 else None


def profile(start: str, powers_kw: tuple[float, ...], transaction: str, *, is_two_way: bool) -> dict[str, Any]:
    mode, word = ("CentralSetpoint", "setpoint") if is_two_way else ("ChargingOnly", "limit")
    return {"evseId": 1, "chargingProfile": {
        "id": 7, "stackLevel": 1, "chargingProfilePurpose": "TxProfile", "chargingProfileKind": "Absolute",
        "transactionId": transaction, "chargingSchedule": [{
            "id": 1, "chargingRateUnit": "W", "startSchedule": start, "chargingSchedulePeriod": [
                {"startPeriod": int(k * STEP_S), "operationMode": mode, word: kw * 1000.0}
                for k, kw in enumerate(powers_kw)
            ],
        }],
    }}


NEWEST, OLDER, OLDEST = Language.ISO_15118_20, Language.ISO_15118_2, Language.DIN_70121
SPOKEN = [
    *(SpeechSpec(language=NEWEST, transfer=transfer, control=control)
      for transfer in (Transfer.DC_BPT, Transfer.AC_BPT, Transfer.DC, Transfer.AC_THREE_PHASE) for control in Control),
    SpeechSpec(language=OLDER, transfer=Transfer.AC_THREE_PHASE, control=Control.SCHEDULED),
    SpeechSpec(language=OLDER, transfer=Transfer.DC, control=Control.SCHEDULED),
    SpeechSpec(language=OLDEST, transfer=Transfer.DC, control=Control.SCHEDULED),
]


@pytest.mark.parametrize("speaks", SPOKEN, ids=lambda s: f"{s.language} {s.transfer} {s.control}")
async def test_both_rails_move_the_same_energy_over_a_scripted_day(
    csms: Any, side_by_side: Any, speaks: SpeechSpec
) -> None:
    process, clock = pair = await side_by_side(speaks)
    is_two_way = speaks.transfer.is_bidirectional
    powers_kw = TWO_WAY_KW if is_two_way else ONE_WAY_KW
    is_by_current = speaks.transfer.is_dc and (speaks.transfer, speaks.control) != (Transfer.DC_BPT, Control.DYNAMIC)
    quantum_kw = CURRENT_QUANTUM_KW if is_by_current else QUANTUM_KW
    arrival = clock.at + 60.0
    go_to(pair, arrival)
    transactions = await csms.until(lambda: transactions_of(csms))
    for station_id, transaction in transactions.items():
        request = profile(iso(arrival), powers_kw, transaction, is_two_way=is_two_way)
        answer = await csms.peers[station_id].call("SetChargingProfile", request)
        assert answer["status"] == "Accepted", answer
    flowed_kwh = 0.0
    for k, kw in enumerate(powers_kw):
        go_to(pair, arrival + k * STEP_S)
        await csms.until(lambda kw=kw: follows(process, kw, quantum_kw), timeout_s=10.0)
        flowed_kwh += kw * STEP_S / 3600.0
    go_to(pair, arrival + len(powers_kw) * STEP_S)
    fast, wire = energies(process)
    rounding_kwh = len(powers_kw) * quantum_kw * STEP_S / 3600.0
    assert fast.in_kwh - fast.out_kwh == pytest.approx(flowed_kwh, abs=rounding_kwh)
    assert fast.in_kwh - rounding_kwh <= wire.in_kwh <= fast.in_kwh
    assert fast.out_kwh - rounding_kwh <= wire.out_kwh <= fast.out_kwh
    assert wire.battery_kwh == pytest.approx(fast.battery_kwh, abs=rounding_kwh)
    assert (fast.out_kwh > 1.0) is is_two_way
    assert float(process.plant.fleet.ledger().relative_residual) < 1e-9
