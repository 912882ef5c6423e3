"""A withdrawn consent ends a running discharge at once; a charger without a permit never began one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import NOON, Car, event_body, running

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

CARS = [Car("ocpp2.1", 0.8, 0.0, declared_h=8.5, stays_h=8.8) for _ in range(3)]


def no_permit_for_the_last(assets: dict[str, Any]) -> None:
    assets["permits"]["evses"] = [p for p in assets["permits"]["evses"] if p["evse_id"] != "S02"]


async def test_consent_withdrawn_stops_a_running_discharge_at_once(tmp_path: Path) -> None:
    async with running(
        tmp_path, CARS, speed=1.0, incentive_per_kwh=100.0, change_assets=no_permit_for_the_last
    ) as site:
        await site.all_charging_sessions(3)
        await site.post_event("utility", event_body(site.programme("Peak relief"), "now", NOON, 1.0, 0.0))

        async def both_discharge() -> bool:
            sessions = await site.sessions()
            return all(sessions[evse_id]["power_kw"] < -3.0 for evse_id in ("S00", "S01"))

        await site.until(both_discharge, "two cars to discharge")
        assert (await site.sessions())["S02"]["power_kw"] >= 0.0

        await site.declare("visit-0", v2g_consent=False)

        async def has_stopped() -> bool:
            return bool((await site.sessions())["S00"]["power_kw"] >= 0.0)

        # The order is out when the app has its answer; the charger then needs its own second, and reports each second.
        async with site.store() as store, store.read() as tx:
            held = next(row for row in await tx.desired.all() if (row.evse_id, row.purpose) == ("S00", "plan"))
        assert min(power_kw for _, power_kw in held.payload["periods"]) >= 0.0
        await site.until(has_stopped, "the meter to show it")
        assert (await site.sessions())["S01"]["power_kw"] < -3.0, "the other driver has withdrawn nothing"

        await site.stop_stations()
        async with site.store() as store:
            series = await store.telemetry.meter_series("S02", NOON, site.clock.now())
        assert np.nanmax(series.export_wh) == 0.0
        await site.stop_service()
