"""Native signals, departure targets, sessions, meter readings, chargers and plans over HTTP."""

from dataclasses import fields
from datetime import timedelta
from typing import Any

import orjson
import pytest

from aggregator.fleet.model import LiveSession
from aggregator.signals import Decision, ReasonCode, SignalState
from aggregator.store import PlanRecord

pytestmark = pytest.mark.anyio

SIGNAL = {
    "programme": "peak",
    "intervals": [{"start": "2019-07-15T21:00:00Z", "end": "2019-07-15T23:00:00Z", "max_net_kw": 20}],
}
TARGET = {
    "id_token": "token-ann", "departure": "2019-07-15T16:00:00-07:00", "requested_kwh": 12.5,
    "vehicle_model": "sedan", "v2g_consent": True, "floor_soc": 0.3, "evse_id": "CA-1",
}


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def test_a_repeated_request_is_answered_as_before_and_its_key_with_another_body_refused(served: Any) -> None:
    async with served.utility() as utility:
        first = await utility.post("/v1/grid-signals", json=SIGNAL, headers=key("k1"))
        again = await utility.post("/v1/grid-signals", json=SIGNAL, headers=key("k1"))
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        other = await utility.post("/v1/grid-signals", json=SIGNAL | {"priority": 2}, headers=key("k1"))
        assert other.status_code == 422
        missing = await utility.post("/v1/grid-signals", json=SIGNAL)
        assert (missing.status_code, missing.json()["errors"][0]["field"]) == (400, "idempotency-key")
        assert len((await utility.get("/v1/grid-signals")).json()) == 1
        assert len(served.rooms.told) == 1


async def test_a_named_signal_is_revised_and_withdrawn_by_its_sender(served: Any) -> None:
    named = SIGNAL | {"external_id": "dr-7"}
    async with served.utility() as utility:
        await utility.post("/v1/grid-signals", json=named, headers=key("k1"))
        second = await utility.post("/v1/grid-signals", json=named | {"priority": 1}, headers=key("k2"))
        assert second.headers["location"] == f"/v1/grid-signals/{second.json()['signal_ids'][0]}"
        found = (await utility.get("/v1/grid-signals", params={"external_id": "dr-7"})).json()
        assert [(each["revision"], each["state"]) for each in found] == [(1, "superseded"), (2, "received")]
        withdrawn = await utility.delete(second.headers["location"])
        assert withdrawn.json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"programme": "unheard"}, "programme"),
        ({"targets": ["nowhere"]}, "targets[0]"),
        ({"obligation": "voluntary"}, "obligation"),
        ({"intervals": []}, "intervals"),
        ({"intervals": [SIGNAL["intervals"][0] | {"end": "2019-07-15T21:00:00Z"}]}, "intervals[0].end"),
        ({"intervals": [SIGNAL["intervals"][0] | {"end": "2019-07-15T23:00:00"}]}, "intervals[0].end"),
        ({"intervals": SIGNAL["intervals"] * 2}, "intervals[1].start"),
        ({"intervals": [SIGNAL["intervals"][0] | {"max_net_kw": "20 kW"}]}, "intervals[0].max_net_kw"),
        ({"intervals": [{"start": "2019-07-15T10:00:00Z", "end": "2019-07-15T11:00:00Z", "max_net_kw": 1}]},
         "intervals"),
    ],
)
async def test_a_bad_signal_is_refused_naming_the_field_and_nothing_is_stored(
    served: Any, changes: dict[str, Any], field: str
) -> None:
    async with served.utility() as utility:
        answer = await utility.post("/v1/grid-signals", json=SIGNAL | changes, headers=key("k1"))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
        assert (await utility.get("/v1/grid-signals")).json() == []
        corrected = await utility.post("/v1/grid-signals", json=SIGNAL, headers=key("k1"))
        assert corrected.status_code == 201


async def test_the_utility_reads_kw_counts_and_codes_and_never_a_driver(served: Any) -> None:
    async with served.utility() as utility:
        (signal_id,) = (await utility.post("/v1/grid-signals", json=SIGNAL, headers=key("k"))).json()["signal_ids"]
        await served.services.desk.record_decision(Decision(
            signal_id, SignalState.PARTIAL, 30.0, 24.0, 50.0, (26.0,),
            ((ReasonCode.ENERGY, 3), (ReasonCode.FEEDER, 1)), served.clock.time, "plan-9",
            ("highest voltage at board-dc phase b at 1.099 p.u.",),
        ))
        answer = await utility.get(f"/v1/grid-signals/{signal_id}")
        assert answer.json()["state"] == "partial"
        assert answer.json()["decision"] == {
            "state": "partial", "requested_kw": 30.0, "committed_kw": 24.0, "baseline_kw": 50.0,
            "committed_net_kw": [26.0], "decided_at": "2019-07-15T17:00:00Z", "plan_id": "plan-9",
            "reasons": [
                {"code": "vehicles_lack_energy", "count": 3, "limits": []},
                {"code": "feeder_limit", "count": 1, "limits": ["highest voltage at board-dc phase b at 1.099 p.u."]},
            ],
        }
        for private in ("token-ann", "token-bob", "CA-1", "sedan"):
            assert private not in answer.text
        for path in ("/v1/sessions", "/v1/chargers", "/v1/plans/latest"):
            assert (await utility.get(path)).status_code == 403
    async with served.as_("operator") as operator:
        assert (await operator.get(f"/v1/grid-signals/{signal_id}")).status_code == 200


async def test_a_driver_declares_for_the_own_account_only(served: Any) -> None:
    async with served.as_("driver", party="token-ann") as ann, served.as_("driver") as nobody:
        answer = await ann.post("/v1/departure-targets", json=TARGET)
        assert answer.status_code == 200
        (target, evse_id), = served.rooms.targets
        assert (target.departure.isoformat(), evse_id) == ("2019-07-15T23:00:00+00:00", "CA-1")
        assert (target.declared_by, target.declared_at, target.floor_soc) == ("driver", served.clock.time, 0.3)
        for client, token in ((ann, "token-bob"), (nobody, "token-ann"), (nobody, "")):
            refused = await client.put("/v1/departure-targets", json=TARGET | {"id_token": token})
            assert refused.status_code in (400, 403)
        assert len(served.rooms.targets) == 1


async def test_a_fleet_manager_declares_for_any_car_and_a_utility_for_none(served: Any) -> None:
    async with served.as_("fleet_manager", party="fleet") as fleet, served.utility() as utility:
        answer = await fleet.put("/v1/departure-targets", json=TARGET | {"id_token": "token-bob"})
        assert (answer.status_code, answer.json()["declared_by"]) == (200, "fleet")
        assert (await utility.put("/v1/departure-targets", json=TARGET)).status_code == 403


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"departure": "2019-07-15T09:00:00-07:00"}, "departure"),
        ({"departure": "2019-07-15T19:00:00"}, "departure"),
        ({"requested_kwh": -1}, "requested_kwh"),
        ({"floor_soc": 30}, "floor_soc"),
        ({"vehicle_model": "hovercraft"}, "vehicle_model"),
        ({"v2g": True}, "v2g"),
    ],
)
async def test_a_bad_target_names_its_field_and_never_shows_the_token(
    served: Any, changes: dict[str, Any], field: str
) -> None:
    async with served.as_("fleet_manager") as fleet:
        answer = await fleet.post("/v1/departure-targets", json=TARGET | changes)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
        assert "token-ann" not in answer.text
        assert served.rooms.targets == []


async def test_a_driver_sees_the_own_session_a_fleet_all_and_staff_no_tokens(served: Any) -> None:
    async def seen(role: str, party: str = "") -> list[tuple[str, str | None]]:
        async with served.as_(role, party=party) as client:
            return [(each["evse_id"], each["id_token"]) for each in (await client.get("/v1/sessions")).json()]

    assert await seen("driver", "token-bob") == [("CA-2", "token-bob")]
    assert await seen("driver") == []
    assert await seen("fleet_manager") == [("CA-1", "token-ann"), ("CA-2", "token-bob")]
    assert await seen("operator") == [("CA-1", None), ("CA-2", None)]
    assert {field.name for field in fields(LiveSession)} > {"soc_source", "delivered_kwh"}


async def test_a_meter_posts_one_reading_or_many_for_its_own_site_only(served: Any) -> None:
    async with served.as_("device", party="site") as meter, served.as_("device", party="other") as stray:
        path = "/v1/sites/site/meter-readings"
        assert (await meter.post(path, json={"import_kw": 41.5})).status_code == 204
        many = [{"import_kw": 1, "ev_kw": -2, "at": "2019-07-15T10:00:01-07:00"}, {"import_kw": 2}]
        assert (await meter.post(path, json=many)).status_code == 204
        assert [(r.import_kw, r.ev_kw, (r.at - served.clock.time) / timedelta(seconds=1))
                for r in served.rooms.readings] == [(41.5, None, 0), (1, -2, 1), (2, None, 0)]
        assert (await stray.post(path, json={"import_kw": 1})).status_code == 403
        assert (await meter.post("/v1/sites/elsewhere/meter-readings", json={"import_kw": 1})).status_code == 403
        for strange in (
            "9999-12-31T23:59:59-14:00", "2019-07-15T17:30:00Z", "2016-07-15T17:00:00Z", "0001-01-01T00:00:00Z",
        ):
            refused = await meter.post(path, json={"import_kw": 1, "at": strange})
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "at")
        assert len(served.rooms.readings) == 3
        assert (await meter.post("/v1/sites/none/meter-readings", json={"import_kw": 1})).status_code == 404
        for bad in ({"import_kw": "x"}, {"import_kw": 1e9}, [], {}, [{"import_kw": None}]):
            assert (await meter.post(path, json=bad)).status_code == 400
        as_json = {"Content-Type": "application/json"}
        not_a_number = await meter.post(path, content=b'{"import_kw": NaN}', headers=as_json)
        assert not_a_number.status_code == 400
        assert len(served.rooms.readings) == 3


async def test_staff_see_chargers_and_plans_with_why(served: Any) -> None:
    plan = PlanRecord(
        "plan-1", served.clock.time, "signal", "optimal", True, 1.0, 0.9, 0.1, {"energy": 1.0}, {"solve": 0.1},
        ["site cap"], [{"round": 1, "refused": ["departure CA-1 0.4 kWh"]}, {"round": 2, "refused": []}],
        served.clock.time, 900, ["CA-1"], [[6.6, 0.0]], [46.6, 40.0], [40.0, 40.0], [120.0, 120.0], "",
    )
    async with served.as_("operator") as operator, served.as_("driver", party="token-ann") as driver:
        assert (await operator.get("/v1/plans/latest")).status_code == 404
        async with served.services.store.transaction("planner") as tx:
            await tx.plans.add(plan)
        latest = (await operator.get("/v1/plans/latest")).json()
        assert latest["rounds"][0]["refused"] == ["departure CA-1 0.4 kWh"]
        assert (await operator.get("/v1/plans/plan-1")).json() == latest
        assert (await operator.get("/v1/plans/none")).status_code == 404
        assert (await operator.get("/v1/chargers")).json()[0]["state"] == "charging"
        for path in ("/v1/chargers", "/v1/plans/latest"):
            assert (await driver.get(path)).status_code == 403


@pytest.mark.parametrize(
    "content", [b"{", b"", b"\xff\xfe", b"[" * 100_000, orjson.dumps("text"), b'{"programme": "\\ud800"}']
)
async def test_what_is_no_signal_at_all_is_a_problem_document(served: Any, content: bytes) -> None:
    async with served.utility() as utility:
        headers = key("k") | {"Content-Type": "application/json"}
        answer = await utility.post("/v1/grid-signals", content=content, headers=headers)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
