"""The rail between EVSE and car: the fast one, who keeps its sessions going, and what the CSMS hears of the car."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.assets import Current
from twin.station.battery_car import BatteryCar, spoken
from twin.station.clock import ClockSegment, DomainClock
from twin.station.dialects.needs import needs_payload_21, needs_payload_201
from twin.station.fast_rail import FastRail, needs_of
from twin.station.fleetfile import EvseSpec, FleetFileError, SpeechSpec, ToldSpec, decode_fleet, encode_fleet
from twin.station.plant import Plant
from twin.station.rail import (
    Car,
    Control,
    EvNeeds,
    FaultKind,
    Language,
    Rail,
    RailListener,
    SessionEnd,
    SessionFault,
    Speech,
    Step,
    Transfer,
)
from twin.station.rails import evse_id_15118, loop_pause_s
from twin.station.session import CarNeeds
from twin.station.session_keeper import PAUSES_S, SessionKeeper
from twin.station.timeline import Timeline
from twin.wire.ocpp.schemas import check

AT = datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()


class Notes:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def needs(self, needs: EvNeeds) -> None:
        self.told.append(needs)

    def offer(self) -> tuple[Step, ...]:
        return ()

    def flowing(self, power_kw: float) -> None:
        self.told.append(power_kw)

    def ended(self, reason: SessionEnd) -> None:
        self.told.append(reason)

    def faulted(self, fault: SessionFault) -> None:
        self.told.append(fault)


def timeline() -> Timeline:
    return Timeline(DomainClock([ClockSegment(time.time(), datetime.fromtimestamp(AT, UTC), 60.0)]), AT)


def at_connector(kit: Any, line: Timeline, *, energy_kwh: float = 20.0, **told: Any) -> tuple[BatteryCar, Plant]:
    evse = kit.station("ocpp2.1", v2g=True).evse
    visit = kit.visit(v2g=True, told=ToldSpec(**told), energy_kwh=energy_kwh)
    plant = Plant(1, line)
    car = BatteryCar(visit, visit.vehicle.asset(), evse, 0, plant, line)
    plant.plug(0, car.vehicle, energy_kwh)
    return car, plant


def test_nothing_flows_before_the_driver_is_let_in_and_the_order_then_counts(kit: Any) -> None:
    notes, (car, plant) = Notes(), at_connector(kit, timeline())
    rail = FastRail(notes)
    rail.order(5.0)
    rail.connect(car)
    assert plant.fleet.power_kw[0] == 0.0
    assert not rail.is_charging
    rail.authorise()
    assert plant.fleet.power_kw[0] == 5.0
    rail.order(-3.0)
    rail.order(-3.0)
    assert plant.fleet.power_kw[0] == -3.0
    rail.disconnect()
    rail.disconnect()
    assert plant.fleet.power_kw[0] == 0.0
    assert notes.told[1:] == [5.0, -3.0, 0.0, SessionEnd.UNPLUGGED]


def test_a_second_car_at_a_running_session_is_a_fault_of_the_program(kit: Any) -> None:
    car, _ = at_connector(kit, timeline())
    rail = FastRail(Notes())
    rail.connect(car)
    with pytest.raises(RuntimeError, match="connect"):
        rail.connect(car)
    rail.stop()
    rail.connect(car)


def test_a_car_that_left_takes_nothing_from_whoever_stands_there_now(kit: Any) -> None:
    car, plant = at_connector(kit, timeline())
    car.leave()
    plant.unplug(0)
    plant.plug(0, car.vehicle, 10.0)
    assert car.take(9.0) == 0.0
    assert plant.fleet.power_kw[0] == 0.0
    assert car.state().present_kw == 0.0


def test_a_car_says_what_is_missing_now(kit: Any) -> None:
    """50 kWh with 20 in it, a floor of 30 % and a target of 80 %."""
    line = timeline()
    car, _ = at_connector(
        kit, line, target_soc=0.8, min_soc=0.3, departure=datetime.fromtimestamp(AT, UTC) + timedelta(hours=5))
    said = needs_of(car)
    assert said.departure_s == pytest.approx(5 * 3600.0, abs=30.0)
    assert (said.target_energy_kwh, said.max_energy_kwh, said.min_energy_kwh) == pytest.approx((20.0, 30.0, 0.0))
    assert (said.min_v2x_energy_kwh, said.max_v2x_energy_kwh) == pytest.approx((-5.0, 30.0))
    assert needs_of(at_connector(kit, line)[0]).target_energy_kwh is None  # nobody told it, and it makes nothing up
    below = needs_of(at_connector(kit, line, energy_kwh=10.0, min_soc=0.3)[0])
    assert (below.min_energy_kwh, below.min_v2x_energy_kwh) == pytest.approx((5.0, 5.0))


# --- who keeps sessions going ------------------------------------------------------------------------------------


class BrokenRail:
    """Sessions that break as soon as they begin, so many times."""

    def __init__(self, listener: RailListener, breaks: int) -> None:
        self.listener, self.breaks, self.connections = listener, breaks, 0
        self.is_charging = False

    def connect(self, car: Car) -> None:  # noqa: ARG002 - whichever
        self.connections += 1

    def authorise(self) -> None:
        if self.connections <= self.breaks:
            self.listener.faulted(SessionFault(FaultKind.LINK, "SessionSetup", "gone"))
        else:
            self.is_charging = True

    def order(self, power_kw: float) -> None: ...

    def stop(self) -> None:
        self.is_charging = False

    def disconnect(self) -> None:
        self.is_charging = False

    async def close(self) -> None: ...


class News:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def needs_told(self, needs: EvNeeds) -> None: ...

    def session_charges(self, setup_s: float) -> None:
        assert setup_s >= 0.0
        self.heard.append("charges")

    def session_broke(self, fault: SessionFault) -> None:
        self.heard.append(f"broke in {fault.state}")

    def session_mended(self) -> None:
        self.heard.append("mended")


def kept(kit: Any, breaks: int) -> tuple[SessionKeeper, BrokenRail, News, Timeline]:
    line = timeline()
    rails: list[BrokenRail] = []

    def make(listener: RailListener) -> Rail:
        rails.append(BrokenRail(listener, breaks))
        return rails[0]

    keeper, news = SessionKeeper(make, line), News()
    keeper.news = news
    line.after_events = keeper.look
    keeper.plug(at_connector(kit, line)[0])
    line.act(keeper.begin)
    return keeper, rails[0], news, line


def wait(line: Timeline, wall_s: float) -> None:
    line.run_until(line.now + wall_s * 60.0)


def test_a_broken_session_is_tried_again_until_it_charges(kit: Any) -> None:
    keeper, rail, news, line = kept(kit, breaks=2)
    assert keeper.fault is not None
    wait(line, PAUSES_S[0] + 0.01)
    assert rail.connections == 2
    wait(line, PAUSES_S[1] + 0.01)
    assert news.heard == ["broke in SessionSetup", "broke in SessionSetup", "charges", "mended"]
    assert keeper.fault is None


def test_a_car_that_never_charges_is_left_alone_until_the_next_one_comes(kit: Any) -> None:
    keeper, rail, _, line = kept(kit, breaks=1000)
    wait(line, 1000.0)
    assert rail.connections == 1 + len(PAUSES_S)
    assert keeper.fault is not None
    keeper.unplug()
    assert keeper.fault is None
    rail.breaks = 0
    keeper.plug(at_connector(kit, line)[0])
    line.act(keeper.begin)
    assert keeper.is_charging


@pytest.mark.parametrize("ends", [SessionKeeper.stop, SessionKeeper.unplug])
def test_nobody_tries_again_after_the_transaction(kit: Any, ends: Callable[[SessionKeeper], None]) -> None:
    keeper, rail, _, line = kept(kit, breaks=1000)
    ends(keeper)
    wait(line, 1000.0)
    assert rail.connections == 1


# --- what the CSMS hears -----------------------------------------------------------------------------------------

KWH = st.none() | st.floats(-2000.0, 2000.0)
SHARE = st.none() | st.floats(0.0, 1.0)
AMOUNT = st.none() | st.floats(0.0, 1000.0)
SAID = st.builds(
    EvNeeds, language=st.sampled_from(Language), transfer=st.sampled_from(Transfer), control=st.sampled_from(Control),
    departure_s=st.none() | st.floats(0.0, 4e6), present_soc=SHARE, target_soc=SHARE, min_soc=SHARE,
    capacity_kwh=AMOUNT, target_energy_kwh=KWH, max_energy_kwh=KWH, min_energy_kwh=KWH, max_v2x_energy_kwh=KWH,
    min_v2x_energy_kwh=KWH, max_charge_kw=AMOUNT, min_charge_kw=AMOUNT, max_discharge_kw=AMOUNT,
    min_discharge_kw=AMOUNT, max_charge_current_a=AMOUNT, min_charge_current_a=AMOUNT, max_voltage_v=AMOUNT,
)
EVSES = st.sampled_from([
    EvseSpec(id="A", current=Current.AC, max_charge_kw=11.0, min_charge_kw=4.14, phases=3),
    EvseSpec(id="D", current=Current.DC, max_charge_kw=50.0, max_discharge_kw=20.0, voltage_v=400.0),
])


@given(SAID, EVSES)
def test_whatever_a_car_says_fits_the_schema_of_every_version(said: EvNeeds, evse: EvseSpec) -> None:
    needs = CarNeeds(said, AT)
    for version, payload in (("ocpp2.1", needs_payload_21(needs, evse)), ("ocpp2.0.1", needs_payload_201(needs, evse))):
        check(version, "NotifyEVChargingNeeds", "Request", payload, exact=True)
        charging = payload["chargingNeeds"]
        if said.departure_s is not None:
            told = datetime.fromisoformat(charging["departureTime"]).timestamp()
            assert told == pytest.approx(AT + said.departure_s, abs=0.001)
        if version == "ocpp2.1":
            assert ("v2xChargingParameters" in charging) is said.transfer.is_bidirectional
        else:
            assert "BPT" not in charging["requestedEnergyTransfer"]


@given(SAID, st.floats(0.0, 3600.0))
def test_the_same_wish_said_later_is_no_news(said: EvNeeds, later_s: float) -> None:
    departure = None if said.departure_s is None else said.departure_s + 3600.0
    first = CarNeeds(replace(said, departure_s=departure), AT)
    fuller = replace(said, departure_s=None if departure is None else departure - later_s, present_soc=0.9,
                      target_energy_kwh=1.0)
    assert not CarNeeds(fuller, AT + later_s).differs_from(first)
    late, unknown = replace(said, departure_s=99 * 3600.0), replace(said, departure_s=None)
    assert CarNeeds(late, AT).differs_from(CarNeeds(unknown, AT))
    assert CarNeeds(unknown, AT).differs_from(CarNeeds(late, AT))


def test_a_car_that_stays_beyond_its_time_is_no_news_every_minute() -> None:
    def leaving_in(seconds: float, at: float) -> CarNeeds:
        said = EvNeeds(Language.ISO_15118_20, Transfer.DC_BPT, Control.DYNAMIC, departure_s=seconds)
        return CarNeeds(said, AT + at)

    told = leaving_in(600.0, 0.0)
    for at in range(0, 7200, 60):
        assert not leaving_in(max(0.0, 600.0 - at), at).differs_from(told)
    assert leaving_in(3600.0, 7200.0).differs_from(told)  # its driver gave it another time
    assert leaving_in(0.0, 60.0).differs_from(told)  # it leaves at once, and that is earlier than it said


# --- files and names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "words"), [
    ({"language": "ISO 15118-2"}, "DC_BPT in ISO 15118-2"),
    ({"transfer": "AC_BPT"}, "speaks.transfer: 'AC_BPT', expected a dc transfer"),
    ({"language": "DIN 70121", "transfer": "DC", "control": "DynamicControl"}, "DynamicControl in DIN 70121"),
    ({"tongue": "sharp"}, "tongue"),
])
def test_a_car_cannot_speak_what_its_language_or_its_evse_lacks(kit: Any, changes: dict[str, str], words: str) -> None:
    spec = kit.station("ocpp2.1", kit.visit(v2g=True, speaks=SpeechSpec()), v2g=True)
    raw = msgspec.json.decode(encode_fleet(kit.fleet(spec)))
    raw["stations"][0]["visits"][0]["speaks"].update(changes)
    with pytest.raises(FleetFileError, match=r"\$\.stations\[0\]\.visits\[0\]\.speaks") as refused:
        decode_fleet(msgspec.json.encode(raw))
    assert words in str(refused.value)


def test_a_car_that_cannot_discharge_asks_for_no_bidirectional_transfer(kit: Any) -> None:
    spec = kit.station("ocpp2.1", kit.visit(v2g=False, speaks=SpeechSpec()), v2g=True)
    with pytest.raises(FleetFileError, match="expected a car that can discharge"):
        decode_fleet(encode_fleet(kit.fleet(spec)))


@pytest.mark.parametrize(("current", "out_kw", "phases", "transfer"), [
    (Current.DC, 11.0, 1, Transfer.DC_BPT), (Current.DC, 0.0, 1, Transfer.DC), (Current.AC, 11.0, 3, Transfer.AC_BPT),
    (Current.AC, 0.0, 3, Transfer.AC_THREE_PHASE), (Current.AC, 0.0, 1, Transfer.AC_SINGLE_PHASE),
])
def test_without_a_word_in_the_file_a_car_speaks_the_newest_language_and_uses_all_both_ends_can(
    kit: Any, current: Current, out_kw: float, phases: Any, transfer: Transfer
) -> None:
    evse = EvseSpec(id="E", current=current, max_charge_kw=11.0, max_discharge_kw=out_kw, phases=phases)
    visit = kit.visit(v2g=True)
    assert spoken(visit, visit.vehicle.asset(), evse) == Speech(Language.ISO_15118_20, transfer, Control.DYNAMIC)


@given(st.floats(0.5, 5000.0))
def test_cars_talk_as_often_as_time_allows_and_never_without_pause(factor: float) -> None:
    pause_s = loop_pause_s(factor)
    assert 0.02 <= pause_s <= 0.25
    assert loop_pause_s(factor * 2) <= pause_s


@pytest.mark.parametrize(("name", "evse_id"), [
    ("CA-311", "DE*V2G*ECA311"), ("évse 7/b", "DE*V2G*EVSE7B"), ("--", "DE*V2G*E1"), ("x" * 60, "DE*V2G*E" + "X" * 31),
])
def test_an_evse_has_an_id_as_the_standard_writes_it(name: str, evse_id: str) -> None:
    assert evse_id_15118(name) == evse_id
