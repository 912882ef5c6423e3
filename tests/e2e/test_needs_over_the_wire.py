"""A car says over ISO 15118 what it needs, OCPP passes it on, and the plan that comes back is made for it."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.conftest import NOON, Car, event_body, running

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

ANSWER_WITHIN_S = 60.0


async def test_a_car_whose_driver_says_nothing_is_planned_for_by_its_own_word(tmp_path: Path) -> None:
    """No app declares anything. S00 speaks ISO 15118-20 with its charger, S01 has nobody to ask."""
    cars = [Car("ocpp2.1", 0.4, 12.0, declared_h=5.0), Car("ocpp1.6", 0.4, 12.0, declared_h=5.0)]
    async with running(
        tmp_path, cars, speed=20.0, wire=["S00"], drivers_declare=False, incentive_per_kwh=100.0
    ) as site:
        async def is_known() -> bool:
            sessions = await site.sessions()
            found = sessions.get("S00")
            return (found is not None and found["departure_by"] == "car" and found["soc_source"] == "reported"
                    and "S01" in sessions)

        await site.until(is_known, "the car's word, and the other car")
        session = (await site.sessions())["S00"]
        departure = datetime.fromisoformat(session["departure"])
        assert abs(departure - (NOON + timedelta(hours=5))) < timedelta(minutes=1)
        assert session["target_by"] == "car"
        assert session["requested_kwh"] == pytest.approx(12.0, abs=0.5)
        assert not session["v2g_consent"]  # that it can is not that its driver lets it
        assert (await site.sessions())["S01"]["departure_by"] == "site"
        told = next(line for line in site.lines if line["type"] == "session_charges")
        assert (told["language"], told["transfer"]) == ("ISO 15118-20", "DC_BPT")

        async def is_answered() -> bool:
            async with site.store() as store, store.read() as tx:
                # Passed: the twin has replayed it.
                made = [plan for plan in await tx.plans.list() if "charging needs" in plan.trigger and plan.passed]
                return any(
                    row.state in ("accepted", "verified") and bool(made) and row.updated_at >= made[-1].created_at
                    for row in await tx.desired.all() if (row.evse_id, row.purpose) == ("S00", "plan")
                )

        await site.until(is_answered, "a profile made for the car's needs", ANSWER_WITHIN_S)
        async with site.store() as store, store.read() as tx:
            assert not [alert for alert in await tx.alerts.open() if alert.kind == "needs_unanswered"]

        # The driver's app speaks after all: a person outranks the car, and consents to discharge.
        await site.declare("visit-0", v2g_consent=True, departure=(NOON + timedelta(hours=7)).isoformat())
        session = (await site.sessions())["S00"]
        assert datetime.fromisoformat(session["departure"]) == NOON + timedelta(hours=7)
        assert session["departure_by"] == "person"
        now = site.clock.now()
        await site.post_event("utility", event_body(site.programme("Peak relief"), "now", now, 1.0, 0.0))

        async def discharges() -> bool:
            return bool((await site.sessions())["S00"]["power_kw"] < -1.0)

        await site.until(discharges, "a discharge over the wire")
        summary = await site.stop_stations()
        assert summary["ledger_residual_relative"] < 1e-9
        assert summary["export_kwh"] > 0.0
        assert not [line for line in site.lines if line["type"] == "session_broke"]
        await site.stop_service()


async def test_needs_outlive_the_service_that_heard_them(tmp_path: Path) -> None:
    cars = [Car("ocpp2.1", 0.4, 12.0, declared_h=5.0)]
    async with running(tmp_path, cars, speed=20.0, wire=["S00"], drivers_declare=False) as site:
        async def is_known() -> bool:
            found = (await site.sessions()).get("S00")
            return found is not None and found["departure_by"] == "car"

        await site.until(is_known, "the car's word")
        await site.kill_service()
        await site.start_service()
        await site.until(is_known, "the car's word again")
        await site.stop_stations()
        await site.stop_service()
