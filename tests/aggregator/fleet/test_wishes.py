"""Whose word counts for a session: people before the car, the car before the site, and of itself the car alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fleet import Beliefs, DepartureTarget, VehicleModel
from aggregator.fleet.beliefs import SiteDefaults
from aggregator.fleet.kept_needs import read_needs, written_needs
from aggregator.fleet.model import LiveSession, WishSource
from aggregator.fleet.wishes import CarWord
from aggregator.ocpp.events import EvNeeds, MeterSample
from twin.assets import Battery, LossCurve, PowerCurve, Vehicle

START = datetime(2019, 7, 15, 15, 0, tzinfo=UTC)
CURVE = PowerCurve((0.0, 1.0), (11.0, 11.0))
LOSSLESS = VehicleModel(Vehicle("compact", Battery(50.0, CURVE, CURVE, LossCurve(0.0, 0.0, 0.0)), 11.0, 11.0), 0.08)
STAY, REQUEST_KWH = timedelta(hours=6), 8.0


def after(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def needs(hours: float = 0.1, **said: object) -> EvNeeds:
    usual: dict[str, object] = {
        "soc": 0.4, "departure": after(5), "target_energy_kwh": 20.0, "min_v2x_energy_kwh": -5.0,
        "max_charge_kw": 9.0, "max_discharge_kw": 7.0, "bidirectional": True,
    }
    return EvNeeds("E1", after(hours), **(usual | said))  # type: ignore[arg-type]


def declared(hours: float = 8, **changes: object) -> DepartureTarget:
    target = DepartureTarget("card", after(hours), 12.0, "compact", v2g_consent=True, floor_soc=0.2)
    return replace(target, **changes)  # type: ignore[arg-type]


def believed(*, person: DepartureTarget | None = None, car: EvNeeds | None = None) -> LiveSession:
    beliefs = Beliefs({"compact": LOSSLESS}, SiteDefaults(STAY, REQUEST_KWH, "compact"), {"E1": 11.0})
    if person is not None:
        beliefs.declare(person)
    beliefs.started("tx", "E1", "card", START, 0.0)
    if car is not None:
        assert beliefs.needs_told(car) is not None
    session = beliefs.session("E1", after(0.2))
    assert session is not None
    return session


def test_without_a_word_the_site_assumes() -> None:
    session = believed()
    assert (session.departure, session.requested_kwh) == (START + STAY, REQUEST_KWH)
    assert (session.departure_by, session.target_by, session.is_declared) == (WishSource.SITE, WishSource.SITE, False)


def test_a_car_is_believed_where_nobody_declared_anything() -> None:
    session = believed(car=needs())
    assert session.departure == after(5)
    assert session.target_kwh == pytest.approx(40.0)  # 20 kWh it has, 20 it asks for
    assert (session.departure_by, session.target_by, session.is_declared) == (WishSource.CAR, WishSource.CAR, True)


def test_a_person_outranks_the_car_in_what_a_person_can_know() -> None:
    session = believed(person=declared(), car=needs())
    assert (session.departure, session.requested_kwh) == (after(8), 12.0)
    assert session.departure_by is WishSource.PERSON
    assert session.energy_kwh == pytest.approx(20.0)  # but how full it is only the car knows
    assert (session.car_charge_kw, session.car_discharge_kw) == (9.0, 7.0)


def test_a_declaration_about_an_earlier_visit_gives_way_to_what_the_car_says_today() -> None:
    yesterday = declared(hours=-10)
    assert believed(person=yesterday).departure_by is WishSource.PERSON  # nobody knows better
    session = believed(person=yesterday, car=needs())
    assert (session.departure, session.departure_by) == (after(5), WishSource.CAR)
    assert session.v2g_consent  # whose car it is has not changed


def test_a_car_that_says_only_when_it_leaves_gets_the_sites_usual_energy() -> None:
    session = believed(car=needs(target_energy_kwh=None))
    assert (session.departure_by, session.target_by) == (WishSource.CAR, WishSource.SITE)
    assert session.requested_kwh == REQUEST_KWH


def test_a_target_in_percent_counts_where_the_car_says_no_energy() -> None:
    assert believed(car=needs(target_energy_kwh=None, target_soc=0.9)).target_kwh == pytest.approx(45.0)


def test_a_wish_is_no_consent() -> None:
    assert not believed(car=needs()).v2g_consent


@pytest.mark.parametrize(("car", "floor_kwh"), [
    (needs(min_v2x_energy_kwh=-5.0), 15.0), (needs(min_v2x_energy_kwh=-18.0), 10.0),
    (needs(min_v2x_energy_kwh=3.0), 23.0), (needs(min_v2x_energy_kwh=None, min_energy_kwh=6.0), 26.0),
    (needs(min_v2x_energy_kwh=None, min_energy_kwh=-6.0), 10.0),
])
def test_the_higher_floor_of_person_and_car_counts(car: EvNeeds, floor_kwh: float) -> None:
    assert believed(person=declared(floor_soc=0.2), car=car).floor_kwh == pytest.approx(floor_kwh)


def test_a_car_without_a_bidirectional_transfer_gives_nothing() -> None:
    assert believed(car=needs(bidirectional=False)).car_discharge_kw == 0.0


@given(
    target=st.floats(0.0, 30.0), charged=st.floats(0.0, 10.0), later=st.floats(0.0, 10.0),
    declares=st.booleans(), low=st.floats(-20.0, 5.0),
)
def test_what_a_car_asks_for_does_not_move_while_it_charges(
    target: float, charged: float, later: float, declares: bool, low: float
) -> None:
    """Energies are told from the moment of the telling on; the wish itself stands still."""
    beliefs = Beliefs({"compact": LOSSLESS}, SiteDefaults(STAY, REQUEST_KWH, "compact"), {"E1": 50.0})
    if declares:
        beliefs.declare(declared())
    beliefs.started("tx", "E1", "card", START, 0.0)
    beliefs.metered(MeterSample("E1", "tx", after(1), 5.0, charged * 1000.0))
    soc = (20.0 + charged) / 50.0
    beliefs.needs_told(needs(1, soc=soc, target_energy_kwh=target, min_v2x_energy_kwh=low))
    at_once = beliefs.session("E1", after(1))
    beliefs.metered(MeterSample("E1", "tx", after(2), 5.0, (charged + later) * 1000.0))
    afterwards = beliefs.session("E1", after(2))
    assert at_once is not None
    assert afterwards is not None
    assert afterwards.target_kwh == pytest.approx(at_once.target_kwh)
    assert afterwards.floor_kwh == pytest.approx(at_once.floor_kwh)
    assert 0.0 <= afterwards.floor_kwh <= 50.0
    if not declares:
        assert afterwards.target_kwh == pytest.approx(min(20.0 + charged + target, 50.0))


@given(st.builds(
    EvNeeds, evse_id=st.just("E1"), at=st.datetimes(timezones=st.just(UTC)), soc=st.none() | st.floats(0, 1),
    departure=st.none() | st.datetimes(timezones=st.just(UTC)), target_energy_kwh=st.none() | st.floats(-99, 99),
    min_v2x_energy_kwh=st.none() | st.floats(-99, 99), bidirectional=st.booleans(),
), st.floats(-99, 99))
def test_a_kept_word_is_the_same_word(said: EvNeeds, moved_kwh: float) -> None:
    assert read_needs("E1", written_needs(CarWord(said, moved_kwh))) == CarWord(said, moved_kwh)


@pytest.mark.parametrize("kept", [{}, {"said": {}}, {"said": {"at": "no time"}, "moved_kwh": 1}, {"said": 7}])
def test_a_word_that_cannot_be_read_is_none(kept: dict[str, object]) -> None:
    assert read_needs("E1", kept) is None
