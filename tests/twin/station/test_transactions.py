"""A car comes, charges and leaves: what the CSMS is told in each version, and whether the meter tells the truth."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import datetime
from typing import Any

import pytest

from twin.station.rail import Control, EvNeeds, Language, Transfer
from twin.station.station import NEEDS_BURST

pytestmark = pytest.mark.anyio

VERSIONS = ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]
OLDEST_AND_NEWEST = ["ocpp1.6", "ocpp2.1"]  # where 2.0.1 shares every line with 2.1 and the test takes a second


def register(meter_value: dict[str, Any], measurand: str) -> float:
    return next(float(v["value"]) for v in meter_value["sampledValue"] if v["measurand"] == measurand)


def parse(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def imported(meter_value: dict[str, Any]) -> float:
    return register(meter_value, "Energy.Active.Import.Register")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_station_authenticates_boots_and_tells_its_status(
    csms: Any, emulate: Any, kit: Any, version: str
) -> None:
    await emulate(kit.fleet(kit.station(version)))
    await csms.until(lambda: csms.of("StatusNotification"))
    assert csms.headers["CA-1"]["Authorization"] == "Basic Q0EtMTpzZWNyZXQ="  # CA-1:secret
    assert [r.action for r in csms.requests[:2]] == ["BootNotification", "StatusNotification"]
    status = csms.of("StatusNotification")[0]
    assert status.get("status", status.get("connectorStatus")) == "Available"


@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
async def test_a_pending_station_asks_again_and_says_nothing_else_until_accepted(
    csms: Any, emulate: Any, kit: Any, version: str
) -> None:
    csms.boot_answers = [{"status": "Pending" if version != "ocpp1.6" else "Rejected", "interval": 1}]
    await emulate(kit.fleet(kit.station(version, kit.visit())))
    await csms.until(lambda: csms.of("StatusNotification"))
    actions = [r.action for r in csms.requests]
    assert actions[:2] == ["BootNotification"] * 2
    assert len(csms.of("BootNotification")) == 2


async def test_ocpp16_start_meter_values_and_stop_carry_the_same_transaction(csms: Any, emulate: Any, kit: Any) -> None:
    running = await emulate(kit.fleet(kit.station("ocpp1.6", kit.visit(for_min=45))))
    await csms.until(lambda: csms.of("StopTransaction"))
    await csms.until(lambda: csms.of("StatusNotification")[-1]["status"] == "Available")
    start, stop = csms.of("StartTransaction")[0], csms.of("StopTransaction")[0]
    assert start["idTag"] == "token-visit-1"
    assert stop["transactionId"] == 42
    assert stop["reason"] == "EVDisconnected"
    assert {m["transactionId"] for m in csms.of("MeterValues")} == {42}
    readings = [imported(v) for m in csms.of("MeterValues") for v in m["meterValue"]]
    assert readings == sorted(readings)
    assert start["meterStart"] <= readings[0] <= readings[-1] <= stop["meterStop"]
    assert [s["status"] for s in csms.of("StatusNotification")] == ["Available", "Preparing", "Charging", "Available"]
    left = (await csms.until(lambda: running.lines.facts("unplugged")))[0]
    assert left["import_wh"] == stop["meterStop"]
    assert left["transaction_id"] == "42"


@pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])
async def test_transaction_events_count_from_zero_without_gap(csms: Any, emulate: Any, kit: Any, version: str) -> None:
    await emulate(kit.fleet(kit.station(version, kit.visit(for_min=45))))
    await csms.until(lambda: csms.events("Ended"))
    events = csms.of("TransactionEvent")
    assert [e["seqNo"] for e in events] == list(range(len(events)))
    assert len({e["transactionInfo"]["transactionId"] for e in events}) == 1
    assert events[0]["eventType"] == "Started"
    assert events[0]["idToken"]["idToken"] == "token-visit-1"
    assert events[-1]["transactionInfo"]["stoppedReason"] == "EVDisconnected"
    assert [e["timestamp"] for e in events] == sorted(e["timestamp"] for e in events)
    assert "Charging" in {e["transactionInfo"].get("chargingState") for e in events}
    assert all("offline" not in e for e in events)


async def test_the_register_is_the_integral_of_the_power_and_the_ledger_closes(
    csms: Any, emulate: Any, kit: Any
) -> None:
    # Full power from the first second until the taper at 80 %: 20 kWh have room for more than 100 minutes.
    running = await emulate(kit.fleet(kit.station("ocpp1.6", kit.visit(for_min=60)), meter_interval_s=300.0))
    await csms.until(lambda: csms.of("StopTransaction"))
    values = [v for m in csms.of("MeterValues") for v in m["meterValue"]]
    assert {register(v, "Power.Active.Import") for v in values[1:]} == {6656.0}
    start, stop = csms.of("StartTransaction")[0], csms.of("StopTransaction")[0]
    hours = (parse(stop["timestamp"]) - parse(start["timestamp"])) / 3600
    assert stop["meterStop"] - start["meterStart"] == pytest.approx(6656.0 * hours, abs=1.0)
    summary = await running.finish()
    assert summary["ledger_residual_relative"] < 1e-9
    assert summary["import_kwh"] * 1000 == pytest.approx(stop["meterStop"], abs=0.5)
    car = summary["visits"][0]
    gained = car["energy_kwh"] - car["energy_on_arrival_kwh"]
    assert gained == pytest.approx(summary["import_kwh"] - summary["loss_kwh"], rel=1e-9)


@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
async def test_a_refused_token_gets_no_energy(csms: Any, emulate: Any, kit: Any, version: str) -> None:
    csms.token_status = "Invalid"
    running = await emulate(kit.fleet(kit.station(version, kit.visit(for_min=60))))
    await csms.until(lambda: running.lines.facts("unplugged"))
    assert not csms.of("StartTransaction")
    assert not csms.of("TransactionEvent")
    assert running.lines.facts("unplugged")[0]["energy_kwh"] == 20.0


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_full_car_suspends_itself(csms: Any, emulate: Any, kit: Any, version: str) -> None:
    await emulate(kit.fleet(kit.station(version, kit.visit(energy_kwh=49.5))))

    def states() -> list[str]:
        told = [s.get("status", "") for s in csms.of("StatusNotification")]
        return told + [e["transactionInfo"].get("chargingState", "") for e in csms.of("TransactionEvent")]

    await csms.until(lambda: "SuspendedEV" in states())


async def test_a_bidirectional_car_tells_its_needs_and_soc_in_21(csms: Any, emulate: Any, kit: Any) -> None:
    await emulate(kit.fleet(kit.station("ocpp2.1", kit.visit(v2g=True), v2g=True)))
    needs = (await csms.until(lambda: csms.of("NotifyEVChargingNeeds")))[0]["chargingNeeds"]
    assert needs["requestedEnergyTransfer"] == "DC_BPT"
    assert needs["dcChargingParameters"]["stateOfCharge"] == 40
    assert needs["dcChargingParameters"]["evEnergyCapacity"] == 50_000
    assert needs["v2xChargingParameters"]["maxDischargePower"] == 11_000
    assert "departureTime" not in needs
    await csms.until(lambda: csms.events("Updated"))
    started = csms.events("Started")[0]
    assert register(started["meterValue"][0], "SoC") == 40.0


def wishes(count: int) -> list[EvNeeds]:
    """A car that wants something else every time it speaks."""
    return [
        EvNeeds(Language.ISO_15118_20, Transfer.DC_BPT, Control.DYNAMIC, max_charge_kw=5.0 + k / 1000.0)
        for k in range(count)
    ]


def told_kw(csms: Any) -> list[float]:
    return [
        n["chargingNeeds"]["v2xChargingParameters"]["maxChargePower"] / 1000.0 for n in csms.of("NotifyEVChargingNeeds")
    ]


async def test_a_car_that_changes_its_mind_all_the_time_is_told_seldom_and_at_last_rightly(
    csms: Any, emulate: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin.station.station.NEEDS_WINDOW_S", 1.0)
    running = await emulate(kit.fleet(kit.station("ocpp2.1", kit.visit(v2g=True, for_min=600), v2g=True)), factor=60.0)
    await csms.until(lambda: csms.of("NotifyEVChargingNeeds"))
    station, begin = running.process.stations["CA-1"], time.monotonic()
    for needs in wishes(500):
        station.needs_told(needs)
        await asyncio.sleep(0.001)
    await csms.until(lambda: told_kw(csms)[-1] == 5.499)
    assert len(told_kw(csms)) <= NEEDS_BURST * (1 + math.ceil(time.monotonic() - begin))


async def test_one_message_of_needs_waits_while_the_csms_is_deaf(
    csms: Any, emulate: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin.station.station.NEEDS_WINDOW_S", 1.0)
    running = await emulate(kit.fleet(kit.station("ocpp2.1", kit.visit(v2g=True, for_min=600), v2g=True)), factor=60.0)
    await csms.until(lambda: csms.of("NotifyEVChargingNeeds"))
    station = running.process.stations["CA-1"]
    csms.deaf_to = "NotifyEVChargingNeeds"
    first, *_, last = wishes(500)
    station.needs_told(first)
    await csms.until(lambda: told_kw(csms)[-1] == first.max_charge_kw)
    for needs in wishes(500):
        station.needs_told(needs)
    assert sum(m.action == "NotifyEVChargingNeeds" for m in station.link._queue) <= 2
    csms.deaf_to = None
    station.link.drop()
    await csms.until(lambda: told_kw(csms)[-1] == last.max_charge_kw)  # the line comes back, the newest is told


async def test_a_car_that_does_not_report_keeps_its_soc_to_itself(csms: Any, emulate: Any, kit: Any) -> None:
    await emulate(kit.fleet(kit.station("ocpp2.0.1", kit.visit(for_min=60))))
    await csms.until(lambda: csms.events("Ended"))
    measurands = {
        v["measurand"] for e in csms.of("TransactionEvent") for m in e["meterValue"] for v in m["sampledValue"]
    }
    assert "SoC" not in measurands


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_token_withdrawn_at_the_start_stops_the_transaction(
    csms: Any, emulate: Any, kit: Any, version: str
) -> None:
    csms.start_status = "Blocked"
    await emulate(kit.fleet(kit.station(version, kit.visit())))
    await csms.until(lambda: csms.of("StopTransaction") or csms.events("Ended"))
    if version == "ocpp1.6":
        assert csms.of("StopTransaction")[0]["reason"] == "DeAuthorized"


async def test_two_cars_one_after_the_other_share_one_life_of_the_register(csms: Any, emulate: Any, kit: Any) -> None:
    visits = [kit.visit("a", at_min=1, for_min=30), kit.visit("b", at_min=40, for_min=30)]
    running = await emulate(kit.fleet(kit.station("ocpp1.6", *visits)))
    await csms.until(lambda: len(csms.of("StopTransaction")) == 2)
    first_stop, second_start = csms.of("StopTransaction")[0], csms.of("StartTransaction")[1]
    assert second_start["meterStart"] == first_stop["meterStop"] > 2000
    assert await csms.until(lambda: len(running.lines.facts("unplugged")) == 2)
