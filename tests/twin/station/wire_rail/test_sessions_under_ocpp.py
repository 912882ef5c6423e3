"""A real ISO 15118 session below, OCPP above: needs go up, set-points go down, and what breaks is safe and told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from twin.station.fleetfile import ToldSpec, encode_fleet
from twin.station.rail import CarIntent, CarState
from twin.station.session_keeper import SessionKeeper

pytestmark = pytest.mark.anyio

FACTOR = 120.0


def on_the_wire(kit: Any, *, version: str = "ocpp2.1", visits: tuple[Any, ...] = (), **told: Any) -> Any:
    visits = visits or (kit.visit(v2g=True, for_min=600, told=ToldSpec(**told)),)
    return msgspec.structs.replace(kit.station(version, *visits, v2g=True), rail="wire")


def sessions(running: Any) -> SessionKeeper:
    keeper: SessionKeeper = running.process.stations["CA-1"].outlet.sessions
    return keeper


def power_kw(running: Any) -> float:
    return float(running.process.plant.fleet.power_kw[0])


def states(csms: Any) -> list[str]:
    return [e["transactionInfo"].get("chargingState", "") for e in csms.of("TransactionEvent")]


def statuses(csms: Any) -> list[str]:
    return [s.get("status", s.get("connectorStatus")) for s in csms.of("StatusNotification")]


async def set_point(csms: Any, kit: Any, watts: float) -> None:
    transaction = csms.of("TransactionEvent")[0]["transactionInfo"]["transactionId"]
    answer = await csms.peers["CA-1"].call("SetChargingProfile", {"evseId": 1, "chargingProfile": {
        "id": 7, "stackLevel": 1, "chargingProfilePurpose": "TxProfile", "chargingProfileKind": "Absolute",
        "transactionId": transaction, "chargingSchedule": [{
            "id": 1, "chargingRateUnit": "W", "startSchedule": kit.day.isoformat(),
            "chargingSchedulePeriod": [{"startPeriod": 0, "operationMode": "CentralSetpoint", "setpoint": watts}],
        }],
    }})
    assert answer["status"] == "Accepted"


async def charging(csms: Any, running: Any) -> None:
    await csms.until(lambda: "Charging" in states(csms) and sessions(running).is_charging)


async def test_the_car_tells_over_the_wire_what_the_csms_hears_in_its_needs(csms: Any, emulate: Any, kit: Any) -> None:
    departure = kit.day + timedelta(hours=9)
    running = await emulate(kit.fleet(on_the_wire(
        kit, departure=departure, target_soc=0.8, min_soc=0.3)), factor=FACTOR)
    await charging(csms, running)
    await csms.until(lambda: any(
        "stateOfCharge" in n["chargingNeeds"]["dcChargingParameters"] for n in csms.of("NotifyEVChargingNeeds")))
    first, *_, last = needs = [n["chargingNeeds"] for n in csms.of("NotifyEVChargingNeeds")]
    assert len(needs) == 2  # before the charge loop, and when the car first shows its state of charge in it
    for told in needs:
        assert told["requestedEnergyTransfer"] == "DC_BPT"
        assert told["controlMode"] == "DynamicControl"
        late_s = (datetime.fromisoformat(told["departureTime"]) - departure).total_seconds()
        assert abs(late_s) < 60  # whole seconds on the wire, and two looks at a fast clock
    v2x = first["v2xChargingParameters"]
    # 20 kWh of 50 are in the battery: 20 are missing to the target, and 5 may go out down to the floor.
    assert v2x["evTargetEnergyRequest"] == pytest.approx(20_000, abs=100)
    assert v2x["evMinV2XEnergyRequest"] == pytest.approx(-5_000, abs=100)
    assert (v2x["maxChargePower"], v2x["maxDischargePower"]) == (11_000.0, 11_000.0)
    assert last["dcChargingParameters"]["stateOfCharge"] == 40
    assert last["dcChargingParameters"]["evEnergyCapacity"] == 50_000.0


async def test_a_central_set_point_comes_out_of_the_battery_and_is_metered(csms: Any, emulate: Any, kit: Any) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit)), factor=FACTOR)
    await charging(csms, running)
    await set_point(csms, kit, -7412.37)
    await csms.until(lambda: power_kw(running) < 0)
    assert power_kw(running) == -7.412  # what could be written on the wire, and no more
    registers = await csms.until(lambda: [
        row["value"] for e in csms.of("TransactionEvent") for m in e.get("meterValue", ())
        for row in m["sampledValue"] if row["measurand"] == "Energy.Active.Export.Register" and row["value"] > 50.0
    ])
    running.process.timeline.act(lambda: None)
    exported_wh = float(running.process.plant.fleet.export_kwh[0]) * 1000.0
    assert 50.0 < registers[-1] <= exported_wh + 0.5
    summary = await running.finish()
    assert summary["ledger_residual_relative"] < 1e-9


def vanish(keeper: SessionKeeper) -> None:
    """The car's end of the line is gone without a goodbye."""
    keeper.rail._driver.cancel()  # type: ignore[attr-defined]


def lie(keeper: SessionKeeper) -> None:
    assert keeper._car is not None
    keeper._car.state = lambda: CarState(soc=0.5, voltage_v=1e6)  # type: ignore[method-assign]


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.1"])
@pytest.mark.parametrize("breaks", [vanish, lie])
async def test_a_car_that_breaks_its_session_leaves_a_safe_evse_and_the_csms_hears_of_it(
    csms: Any, emulate: Any, kit: Any, version: str, breaks: Callable[[SessionKeeper], None]
) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit, version=version)), factor=FACTOR)
    await csms.until(lambda: power_kw(running) > 0)
    breaks(sessions(running))
    await csms.until(lambda: sessions(running).fault is not None)
    assert power_kw(running) == 0.0
    if version == "ocpp1.6":  # not Faulted: its section 7.6 says so of this error
        told = await csms.until(lambda: [
            s for s in csms.of("StatusNotification") if s["errorCode"] == "EVCommunicationError"])
        assert {s["status"] for s in told} == {"SuspendedEVSE"}
    else:
        await csms.until(lambda: "Faulted" in statuses(csms))
        await csms.until(lambda: "SuspendedEVSE" in states(csms))
    assert running.lines.facts("session_broke")[0]["detail"]


async def test_the_session_after_a_broken_one_charges_and_the_fault_is_over(csms: Any, emulate: Any, kit: Any) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit)), factor=FACTOR)
    await charging(csms, running)
    vanish(sessions(running))
    await csms.until(lambda: running.lines.facts("session_mended"))
    await csms.until(lambda: statuses(csms)[-1] == "Occupied")
    await csms.until(lambda: states(csms)[-1] == "Charging")
    assert power_kw(running) > 0
    assert len(csms.events("Started")) == 1  # the same transaction goes on
    assert len(running.lines.facts("session_charges")) == 2


async def test_a_car_that_ends_its_session_itself_is_suspended_by_the_ev(csms: Any, emulate: Any, kit: Any) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit)), factor=FACTOR)
    await charging(csms, running)
    car = sessions(running)._car
    assert car is not None
    car.intent = CarIntent.STOP
    await csms.until(lambda: states(csms)[-1] == "SuspendedEV")
    assert power_kw(running) == 0.0
    assert sessions(running).is_done
    assert "Faulted" not in statuses(csms)
    assert not running.lines.facts("session_broke")


async def test_a_remote_stop_ends_transaction_and_session_and_the_next_car_charges(
    csms: Any, emulate: Any, kit: Any
) -> None:
    visits = (kit.visit("one", v2g=True, at_min=1, for_min=20), kit.visit("two", v2g=True, at_min=22, for_min=600))
    running = await emulate(kit.fleet(on_the_wire(kit, visits=visits)), factor=600.0)
    await charging(csms, running)
    transaction = csms.of("TransactionEvent")[0]["transactionInfo"]["transactionId"]
    answer = await csms.peers["CA-1"].call("RequestStopTransaction", {"transactionId": transaction})
    assert answer["status"] == "Accepted"
    assert power_kw(running) == 0.0
    await csms.until(lambda: len(running.lines.facts("session_charges")) == 2)
    await csms.until(lambda: power_kw(running) > 0)
    assert not running.lines.facts("session_broke")


async def test_a_car_that_stays_through_a_reset_charges_again(csms: Any, emulate: Any, kit: Any) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit)), factor=FACTOR)
    await charging(csms, running)
    assert (await csms.peers["CA-1"].call("Reset", {"type": "Immediate"}))["status"] == "Accepted"
    await csms.until(lambda: len(csms.events("Started")) == 2)
    await csms.until(lambda: power_kw(running) > 0)
    await csms.until(lambda: len(running.lines.facts("session_charges")) == 2)  # a thread writes the lines
    assert not running.lines.facts("session_broke")


async def test_a_transaction_that_begins_before_the_last_session_is_over_gets_the_next_one(
    csms: Any, emulate: Any, kit: Any
) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit)), factor=FACTOR)
    await charging(csms, running)
    keeper = sessions(running)

    def stop_and_go() -> None:
        keeper.stop()
        keeper.begin()
        keeper.order(5.0)

    running.process.timeline.act(stop_and_go)
    await csms.until(lambda: keeper.is_charging and power_kw(running) == 5.0)
    assert keeper.fault is None


async def test_a_car_that_leaves_at_any_moment_leaves_nothing_behind(csms: Any, emulate: Any, kit: Any) -> None:
    """Sixteen cars stay between a moment and some charge loops; each next one finds a slot that is empty and safe."""
    visits = tuple(
        kit.visit(f"visit-{k}", v2g=True, at_min=2.0 + 2.0 * k, for_min=0.05 + 0.1 * k) for k in range(16)
    )
    running = await emulate(kit.fleet(on_the_wire(kit, visits=visits)), factor=480.0)
    await csms.until(lambda: len(running.lines.facts("unplugged")) == 16, timeout_s=60.0)
    assert power_kw(running) == 0.0
    assert not sessions(running).is_charging
    summary = await running.finish()
    assert summary["ledger_residual_relative"] < 1e-9
    assert running.lines.facts("session_charges")
    assert not running.lines.facts("session_broke")


async def test_a_killed_process_is_offline_at_once_and_the_next_one_charges(
    csms: Any, kit: Any, tmp_path: Path
) -> None:
    fleet = kit.fleet(on_the_wire(kit, visits=(kit.visit(v2g=True, at_min=0.05, for_min=600),)))
    (tmp_path / "stations.json").write_bytes(encode_fleet(fleet))

    async def start() -> asyncio.subprocess.Process:
        (tmp_path / "clock.json").write_text(json.dumps({"segments": [
            {"wall_start": time.time(), "domain_start": kit.day.isoformat(), "factor": 60.0}]}))
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "twin.station", "--fleet", str(tmp_path / "stations.json"),
            "--clock", str(tmp_path / "clock.json"), "--ocpp", csms.url, "--ends-with-stdin",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )

    first = await start()
    await csms.until(lambda: "Charging" in states(csms))
    first.kill()
    await first.wait()
    before = len(csms.events("Started"))
    second = await start()
    try:
        await csms.until(lambda: len(csms.events("Started")) > before and states(csms)[-1] == "Charging")
    finally:
        with contextlib.suppress(ProcessLookupError):
            second.terminate()
        assert await asyncio.wait_for(second.wait(), 20) == 0


async def test_a_car_that_plans_is_told_what_the_profiles_of_the_day_would_like(
    csms: Any, emulate: Any, kit: Any
) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit)), factor=FACTOR)
    await charging(csms, running)
    transaction = csms.of("TransactionEvent")[0]["transactionInfo"]["transactionId"]
    outlet = running.process.stations["CA-1"].outlet
    hours = [(11_000.0, 1), (0.0, 3), (3_000.0, 2), (-5_000.0, 3), (6_000.0, 1)] * 4
    begin = datetime.fromtimestamp(running.clock.now(), UTC) + timedelta(hours=1)
    answer = await csms.peers["CA-1"].call("SetChargingProfile", {"evseId": 1, "chargingProfile": {
        "id": 8, "stackLevel": 2, "chargingProfilePurpose": "TxProfile", "chargingProfileKind": "Absolute",
        "transactionId": transaction, "chargingSchedule": [{
            "id": 1, "chargingRateUnit": "W", "startSchedule": begin.isoformat(), "duration": 3600 * len(hours),
            "chargingSchedulePeriod": [
                {"startPeriod": 3600 * k, "operationMode": "CentralSetpoint", "setpoint": watts}
                for k, (watts, _) in enumerate(hours)
            ],
        }],
    }})
    assert answer["status"] == "Accepted"
    offered = outlet.offer()
    assert sum(step.duration_s for step in offered) == 86_400
    assert len(offered) == 12  # no message grows with the plan
    assert {(step.charge_kw, step.discharge_kw) for step in offered} == {(11.0, 11.0)}
    levels = [1, *(level for _, level in hours)]  # the rating until the plan begins, and then hour by hour
    merged = [level for k, level in enumerate(levels) if k == 0 or level != levels[k - 1]]
    assert [step.price_level for step in offered] == merged[:12]
    assert outlet.sessions.rail.options.offer() == outlet.offer() or running.clock.now() > begin.timestamp()
