"""Discharge is stopped by one person and allowed again by two others, over HTTP as anywhere."""

from typing import Any

import pytest

from aggregator.dispatch.stop import PROTECTED_ALERT_KINDS

pytestmark = pytest.mark.anyio

STOPS = "/v1/discharge-stops"


def person(served: Any, name: str, role: str = "operator") -> Any:
    return served.as_(role, client_id=name)


@pytest.mark.parametrize(
    ("body", "scope"), [
        ({}, "fleet"), ({"site_id": "site"}, "site:site"), ({"evse_id": "CA-1"}, "evse:CA-1"),
        ({"feeder_id": "garage"}, "feeder:garage"),
    ],
)
async def test_a_stop_takes_one_person_and_its_end_two(served: Any, body: dict[str, str], scope: str) -> None:
    ann, bob = person(served, "ann"), person(served, "bob", "technician")
    stopped = await ann.post(STOPS, json={**body, "reason": "smell of burning"})
    assert (stopped.status_code, stopped.json()["scope"]) == (201, scope)
    assert (await ann.get(STOPS)).json() == [scope]
    first = await ann.post(f"{STOPS}/rearm", json=body)
    assert (first.status_code, first.json()) == (200, {"scope": scope, "is_rearmed": False})
    assert (await ann.post(f"{STOPS}/rearm", json=body)).status_code == 409
    assert (await ann.get(STOPS)).json() == [scope]
    second = await bob.post(f"{STOPS}/rearm", json=body)
    assert second.json() == {"scope": scope, "is_rearmed": True}
    assert (await bob.get(STOPS)).json() == []
    assert served.rooms.replans == ["discharge stop", "discharge allowed again"]


async def test_the_reason_and_the_people_are_in_the_audit_chain(served: Any) -> None:
    await person(served, "ann").post(STOPS, json={"reason": "drill"})
    async with served.services.store.read() as tx:
        (alert,) = await tx.alerts.open()
    assert alert.kind in PROTECTED_ALERT_KINDS
    assert "drill" in alert.message
    assert alert.detail == {"by": "ann"}


async def test_nothing_is_re_armed_that_was_not_stopped(served: Any) -> None:
    await person(served, "ann").post(STOPS, json={"evse_id": "CA-1", "reason": "drill"})
    for name in ("ann", "bob"):
        assert (await person(served, name).post(f"{STOPS}/rearm", json={})).status_code == 409
    assert (await person(served, "ann").get(STOPS)).json() == ["evse:CA-1"]


@pytest.mark.parametrize(("body", "status"), [
    ({"evse_id": "CA-9", "reason": "x"}, 404), ({"site_id": "moon", "reason": "x"}, 404), ({}, 400),
    ({"reason": ""}, 400), ({"reason": "x" * 501}, 400), ({"evse_id": "CA-1", "site_id": "site", "reason": "x"}, 400),
    ({"reason": "x", "by": "bob"}, 400), ({"feeder_id": "site", "reason": "x"}, 404),
    ({"feeder_id": "garage", "site_id": "site", "reason": "x"}, 400),
])
async def test_a_stop_of_nothing_is_refused_and_nothing_latches(
    served: Any, body: dict[str, str], status: int
) -> None:
    answer = await person(served, "ann").post(STOPS, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await person(served, "ann").get(STOPS)).json() == []


@pytest.mark.parametrize("role", ["driver", "utility", "fleet_manager", "device", "planner"])
@pytest.mark.parametrize("path", [STOPS, f"{STOPS}/rearm"])
async def test_only_operators_and_technicians_may(served: Any, role: str, path: str) -> None:
    assert (await served.as_(role, party="site").post(path, json={"reason": "x"})).status_code == 403


async def test_no_other_route_clears_an_alert(served: Any) -> None:
    paths = served.app.openapi()["paths"]
    assert [path for path in paths if "alert" in path] == []
