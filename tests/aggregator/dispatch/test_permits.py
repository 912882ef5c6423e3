"""Each missing permit alone forbids discharge."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.dispatch import DischargeUse, EvseApproval, PermitBook, PermitGap, VehicleApproval
from twin.assets import Current

NOW = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
APPROVAL = EvseApproval("A", "IA-17", "IEEE 1547-2018", 9.0, Current.DC, NOW + timedelta(days=1))
VEHICLE = VehicleApproval("bidi-60", Current.DC, 1000.0, 500.0)


def book(**changes: Any) -> PermitBook:
    values: dict[str, Any] = {
        "evses": (APPROVAL,), "site_export_limit_kw": 0.0, "vehicles": (VEHICLE,), "programmes": ("capacity",),
    }
    return PermitBook.of(**(values | changes))


def test_everything_in_force_allows_what_the_interconnection_approval_allows(kit: Any) -> None:
    permit = book().discharge_permit("A", kit.session(), NOW, reconnect_after=None)
    assert permit.is_in_force
    assert permit.allowed_kw == 9.0
    assert permit.allows_at(NOW) == 9.0
    assert permit.allows_at(NOW + timedelta(days=1)) == 0.0


@pytest.mark.parametrize(("car_kw", "allowed_kw"), [(7.0, 7.0), (9.0, 9.0), (50.0, 9.0)])
def test_nobody_may_take_more_out_of_a_car_than_it_offers(kit: Any, car_kw: float, allowed_kw: float) -> None:
    session = kit.session(car_discharge_kw=car_kw)
    assert book().discharge_permit("A", session, NOW, reconnect_after=None).allowed_kw == allowed_kw


def test_an_export_limit_of_zero_is_a_limit_and_not_a_missing_one(kit: Any) -> None:
    assert book(site_export_limit_kw=0.0).discharge_permit("A", kit.session(), NOW, reconnect_after=None).is_in_force


REMOVALS: dict[PermitGap, dict[str, Any]] = {
    PermitGap.EVSE_EXPIRED: {"evses": (replace(APPROVAL, expires=NOW),)},
    PermitGap.SITE_EXPORT_LIMIT: {"site_export_limit_kw": None},
    PermitGap.VEHICLE_APPROVAL: {"vehicles": (replace(VEHICLE, model="other"),)},
    PermitGap.WARRANTY_ENERGY: {"vehicles": (replace(VEHICLE, warranty_kwh=0.0),)},
    PermitGap.WARRANTY_HOURS: {"vehicles": (replace(VEHICLE, warranty_hours=0.0),)},
    PermitGap.PROGRAMME: {"programmes": ()},
}


@pytest.mark.parametrize("gap", REMOVALS)
def test_each_permit_missing_from_the_book_alone_forbids_discharge(gap: PermitGap, kit: Any) -> None:
    permit = book(**REMOVALS[gap]).discharge_permit("A", kit.session(), NOW, reconnect_after=None)
    assert permit.missing == (gap,)
    assert permit.allowed_kw == 0
    assert permit.allows_at(NOW) == 0


@pytest.mark.parametrize(
    ("evses", "name"),
    [((), "no approval"), ((replace(APPROVAL, grid_code=""),), "no grid code"),
     ((replace(APPROVAL, max_discharge_kw=0.0),), "0 kW")],
)
def test_an_evse_without_a_whole_approval_does_not_discharge(evses: Any, name: str, kit: Any) -> None:
    permit = book(evses=evses).discharge_permit("A", kit.session(), NOW, reconnect_after=None)
    assert PermitGap.EVSE_APPROVAL in permit.missing, name
    assert not permit.is_in_force


def test_each_circumstance_alone_forbids_discharge(kit: Any) -> None:
    permits = book()
    session = kit.session()
    unwilling = replace(session, v2g_consent=False)
    later = NOW + timedelta(minutes=5)
    cases = {
        PermitGap.CONSENT: permits.discharge_permit("A", unwilling, NOW, reconnect_after=None),
        PermitGap.SESSION: permits.discharge_permit("A", None, NOW, reconnect_after=None),
        PermitGap.CAR: permits.discharge_permit("A", replace(session, car_discharge_kw=0.0), NOW, reconnect_after=None),
        PermitGap.RECONNECTION: permits.discharge_permit("A", session, NOW, reconnect_after=later),
        PermitGap.STOPPED: permits.discharge_permit("A", session, NOW, reconnect_after=None, is_stopped=True),
        PermitGap.CHARGER: permits.discharge_permit(
            "A", session, NOW, reconnect_after=None, charger_can_discharge=False
        ),
    }
    for gap, permit in cases.items():
        assert permit.missing == (gap,)
        assert not permit.is_in_force
    assert permits.discharge_permit("A", session, later, reconnect_after=later).is_in_force


def test_ac_needs_the_pair_of_evse_and_vehicle(kit: Any) -> None:
    ac = replace(APPROVAL, current=Current.AC)
    for evse_ids, expected in ((None, False), (frozenset({"B"}), False), (frozenset({"A"}), True)):
        vehicle = replace(VEHICLE, current=Current.AC, evse_ids=evse_ids)
        permit = book(evses=(ac,), vehicles=(vehicle,)).discharge_permit("A", kit.session(), NOW, reconnect_after=None)
        assert permit.is_in_force is expected


@given(parts=st.lists(st.tuples(st.floats(0, 40), st.floats(0, 8)), max_size=30))
def test_discharge_is_counted_until_the_warranty_is_used_up(parts: list[tuple[float, float]], kit: Any) -> None:
    permits = book(vehicles=(replace(VEHICLE, warranty_kwh=200.0, warranty_hours=40.0),))
    for kwh, hours in parts:
        permits = permits.consume("card-A", kwh, hours)
    permit = permits.discharge_permit("A", kit.session(), NOW, reconnect_after=None)
    kwh_used, hours_used = sum(kwh for kwh, _ in parts), sum(hours for _, hours in parts)
    assert (PermitGap.WARRANTY_ENERGY in permit.missing) is (kwh_used >= 200.0)
    assert (PermitGap.WARRANTY_HOURS in permit.missing) is (hours_used >= 40.0)
    assert permit.is_in_force is (kwh_used < 200.0 and hours_used < 40.0)


def test_one_car_does_not_use_up_the_warranty_of_another_and_use_never_shrinks(kit: Any) -> None:
    permits = book().consume("card-B", 5000.0, 5000.0)
    assert permits.discharge_permit("A", kit.session(), NOW, reconnect_after=None).is_in_force
    with pytest.raises(ValueError, match="0 or more"):
        permits.consume("card-A", -1.0, 0.0)
    rebuilt = book().with_use({"card-A": DischargeUse(1000.0, 1.0)})
    permit = rebuilt.discharge_permit("A", kit.session(), NOW, reconnect_after=None)
    assert permit.missing == (PermitGap.WARRANTY_ENERGY,)


def test_the_book_shows_no_driver() -> None:
    assert "card-A" not in repr(book().consume("card-A", 1.0, 1.0))
