"""Gateway and emulated stations together: what one writes the other obeys, in all three versions."""

import asyncio
import io
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aggregator.clock import ScaledClock, Segment
from aggregator.ocpp import CommissionedStations, EvseAddress, Gateway
from aggregator.ocpp.events import (
    DeliveryState,
    MeterSample,
    OcppVersion,
    ProfileCommand,
    ProfilePeriod,
    Purpose,
    TransactionEnded,
    TransactionStarted,
)
from twin.assets import Current
from twin.station.clock import ClockSegment, DomainClock
from twin.station.fleetfile import CurveSpec, EvseSpec, FleetFile, LoadSeries, StationSpec, VehicleSpec, VisitSpec
from twin.station.process import StationProcess
from twin.station.reporter import Reporter

pytestmark = pytest.mark.anyio

DAY = datetime(2019, 7, 15, 13, tzinfo=UTC)
FACTOR, HURRY = 60.0, 6000.0
"""With the car at its charger half an hour is half a minute, so that a slow machine misses nothing; then it may go."""


def car(version: OcppVersion) -> VehicleSpec:
    v2g = version is OcppVersion.V21
    flat = CurveSpec(soc=(0.0, 1.0), kw=(12.0, 12.0))
    return VehicleSpec(
        model="Car", capacity_kwh=60.0, charge=flat, discharge=flat if v2g else None,
        max_charge_kw=11.0 if v2g else 6.656, max_discharge_kw=11.0 if v2g else 0.0,
    )


def station(version: OcppVersion) -> StationSpec:
    name = version.value
    v2g = version is OcppVersion.V21
    evse = EvseSpec(
        id=name, current=Current.DC if v2g else Current.AC, max_charge_kw=11.0 if v2g else 6.656,
        min_charge_kw=0.0 if v2g else 1.248, max_discharge_kw=11.0 if v2g else 0.0, voltage_v=400.0 if v2g else 208.0,
    )
    visit = VisitSpec(
        id=f"visit-{name}", id_token="driver", vehicle=car(version), energy_kwh=30.0,
        arrival=DAY + timedelta(seconds=20), departure=DAY + timedelta(minutes=35), reports_soc=v2g,
    )
    return StationSpec(
        id=name, version=name, vendor="Emulated", model="One", password=name[::-1], evse=evse, visits=(visit,)
    )


@pytest.mark.parametrize("version", list(OcppVersion))
async def test_an_emulated_station_follows_what_the_gateway_sends(bench: Any, version: OcppVersion) -> None:
    wall = time.time()
    clock = ScaledClock([Segment(wall, DAY, FACTOR)])
    name, events = version.value, bench.events
    directory = CommissionedStations([EvseAddress(name, name, 1, version)])
    gateway = Gateway(events=events, auth=bench.auth, clock=clock, directory=directory)
    await gateway.start("127.0.0.1", 0)
    load = LoadSeries(start=DAY, step_s=3600.0, kw=(40.0, 40.0, 40.0))
    fleet = FleetFile(site_id="site", end=DAY + timedelta(hours=3), stations=(station(version),), building=load)
    reporter = Reporter(io.BytesIO())
    stations_clock = DomainClock([ClockSegment(wall, DAY, FACTOR)])
    process = StationProcess(
        fleet, stations_clock, f"ws://127.0.0.1:{gateway.port}", reporter)
    running = asyncio.create_task(process.run())
    try:
        await events.until(lambda: bool(events.of(TransactionStarted)))
        transaction = events.of(TransactionStarted)[0].transaction_id
        now = clock.now()
        wanted = -5.0 if version is OcppVersion.V21 else 3.0
        command = ProfileCommand(
            name, Purpose.PLAN, 1, (ProfilePeriod(now, wanted),), now, now + timedelta(hours=2), transaction)
        assert (await gateway.set_profile(command)).state is DeliveryState.ACCEPTED
        composite = await gateway.composite_schedule(name, 600)
        assert composite is not None
        assert composite[0].power_kw == pytest.approx(wanted)
        await events.until(lambda: any(
            sample.power_kw == pytest.approx(wanted, abs=0.01) for sample in events.of(MeterSample)))
        assert (await gateway.clear_profile(name, Purpose.PLAN)).state is DeliveryState.ACCEPTED
        hurried = time.time()
        DomainClock.__init__(stations_clock, [
            ClockSegment(wall, DAY, FACTOR), ClockSegment(hurried, clock.at_wall(hurried), HURRY)])
        await events.until(lambda: bool(events.of(TransactionEnded)))
    finally:
        process.quit()
        await running
        reporter.close()
        await gateway.stop()
    end = events.of(TransactionEnded)[0]
    registers = [sample for sample in events.of(MeterSample) if sample.import_wh is not None]
    assert end.transaction_id == transaction
    assert end.import_wh is not None
    assert end.import_wh >= max(sample.import_wh or 0.0 for sample in registers) - 1.0
    if version is OcppVersion.V21:
        assert end.export_wh is not None
        assert end.export_wh > 0
    assert gateway.counters.wire.schema_faults == 0
    assert gateway.counters.wire.malformed == 0
    assert not gateway.counters.faults
