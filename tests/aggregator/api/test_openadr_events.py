"""OpenADR programs and events over HTTP: what a utility sees, sends twice, changes and gets refused."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

BASE = "/openadr3/3.1.0"
LIMIT = "IMPORT_CAPACITY_LIMIT"


def event(program_id: str, **changes: object) -> dict[str, Any]:
    body = {
        "programID": program_id,
        "eventName": "afternoon",
        "payloadDescriptors": [{"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": LIMIT, "units": "KW"}],
        "intervalPeriod": {"start": "2019-07-15T21:00:00Z", "duration": "PT2H"},
        "intervals": [{"id": 0, "payloads": [{"type": LIMIT, "values": [20]}]}],
    }
    return body | changes


def payload(value: object) -> dict[str, Any]:
    return {"id": 0, "payloads": [{"type": LIMIT, "values": [value]}]}


async def program(client: httpx.AsyncClient, name: str = "peak") -> str:
    answer = await client.post(f"{BASE}/programs", json={"programName": name})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def signals(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return (await client.get("/v1/grid-signals")).json()


async def test_an_event_is_stored_as_sent_and_leads_to_its_signal(served: Any) -> None:
    async with served.utility() as utility:
        program_id = await program(utility)
        answer = await utility.post(f"{BASE}/events", json=event(program_id, unknownField=1))
        assert answer.status_code == 201
        body = answer.json()
        assert body["objectType"] == "EVENT"
        assert body["createdDateTime"] == "2019-07-15T17:00:00Z"
        assert {name: body[name] for name in event(program_id)} == event(program_id)
        assert (await utility.get(f"{BASE}/events/{body['id']}")).json() == body
        path = answer.headers["link"].split(">")[0].lstrip("<")
        signal = (await utility.get(path)).json()
        assert (signal["external_id"], signal["obligation"], signal["state"]) == (body["id"], "committed", "received")
        assert signal["intervals"] == [
            {"start": "2019-07-15T21:00:00Z", "end": "2019-07-15T23:00:00Z", "max_net_kw": 20.0, "min_net_kw": None}
        ]


async def test_the_same_event_posted_twice_or_ten_times_at_once_is_one_event_and_one_signal(served: Any) -> None:
    async with served.utility() as utility:
        body = event(await program(utility))
        answers = await asyncio.gather(*(utility.post(f"{BASE}/events", json=body) for _ in range(10)))
        answers.append(await utility.post(f"{BASE}/events", json=body))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len((await utility.get(f"{BASE}/events")).json()) == 1
        assert len(await signals(utility)) == 1
        assert len(served.rooms.told) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"payloadDescriptors": [{"payloadType": LIMIT, "units": "BANANA"}]}, "payloadDescriptors[0].units"),
        ({"payloadDescriptors": []}, "payloadDescriptors"),
        ({"intervals": [payload(-20)]}, "intervals[0].payloads[0].values[0]"),
        ({"intervals": [payload(1), payload(2) | {"intervalPeriod": {"start": "2019-07-15T22:00:00Z"}}]},
         "intervals[1].intervalPeriod.start"),
        ({"targets": ["nowhere"]}, "targets[0]"),
        ({"targets": ["site", "nowhere"]}, "targets[1]"),
        ({"intervalPeriod": {"start": "2019-07-15T14:00:00Z", "duration": "PT1H"}}, "intervals"),
        ({"intervalPeriod": {"start": "2019-07-15T21:00:00", "duration": "PT1H"}}, "intervalPeriod.start"),
        ({"intervals": [{"id": "x", "payloads": []}]}, "intervals[0].id"),
        ({"programID": "unknown"}, "programID"),
        ({"programID": None}, "programID"),
    ],
)
async def test_a_bad_event_is_refused_naming_the_field_and_nothing_is_stored(
    served: Any, changes: dict[str, Any], field: str
) -> None:
    async with served.utility() as utility:
        body = event(await program(utility)) | changes
        answer = await utility.post(f"{BASE}/events", json=body)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (problem["status"], problem["errors"][0]["field"]) == (400, field)
        assert problem["errors"][0]["expected"]
        assert (await utility.get(f"{BASE}/events")).json() == []
        assert await signals(utility) == []
        assert served.rooms.told == []


async def test_an_event_of_a_programme_nobody_enrolled_in_is_refused(served: Any) -> None:
    async with served.utility() as utility:
        answer = await utility.post(f"{BASE}/events", json=event(await program(utility, "lottery")))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "programID")
        assert await signals(utility) == []


async def test_the_obligation_never_comes_from_the_sender(served: Any) -> None:
    claims = {"obligation": "mandatory", "priority": 0, "programName": "emergency"}
    async with served.utility() as utility, served.utility("rival") as rival:
        await utility.post(f"{BASE}/events", json=event(await program(utility), **claims))
        await rival.post(f"{BASE}/events", json=event(await program(rival), **claims))
        assert [signal["obligation"] for signal in await signals(utility)] == ["committed"]
        assert [signal["obligation"] for signal in await signals(rival)] == ["voluntary"]
        assert served.rooms.applied == []


async def test_a_mandatory_limit_is_applied_within_the_request_and_soon(served: Any) -> None:
    async with served.utility() as utility:
        period = {"start": "0001-01-01", "duration": "PT30M"}
        body = event(await program(utility, "emergency"), intervalPeriod=period)
        began = time.process_time()  # the work of it: a stalled machine is not ours
        answer = await utility.post(f"{BASE}/events", json=body)
        assert answer.status_code == 201
        assert time.process_time() - began < 0.5
        (applied,) = served.rooms.applied
        assert (applied.start, applied.end - applied.start) == (served.clock.time, timedelta(minutes=30))
        assert [step["state"] for step in (await signals(utility))[0]["transitions"]] == ["received", "dispatched"]


async def test_a_changed_event_is_a_new_revision_and_a_new_name_is_none(served: Any) -> None:
    async with served.utility() as utility:
        program_id = await program(utility)
        event_id = (await utility.post(f"{BASE}/events", json=event(program_id))).json()["id"]
        renamed = await utility.put(f"{BASE}/events/{event_id}", json=event(program_id, eventName="evening"))
        assert renamed.json()["eventName"] == "evening"
        assert [signal["revision"] for signal in await signals(utility)] == [1]
        served.clock.time += timedelta(minutes=5)
        changed = await utility.put(f"{BASE}/events/{event_id}", json=event(program_id, intervals=[payload(30)]))
        assert changed.json()["modificationDateTime"] == "2019-07-15T17:05:00Z"
        found = [(signal["revision"], signal["state"]) for signal in await signals(utility)]
        assert found == [(1, "superseded"), (2, "received")]


async def test_a_bad_change_leaves_the_event_and_its_signal_as_they_were(served: Any) -> None:
    async with served.utility() as utility:
        program_id = await program(utility)
        before = (await utility.post(f"{BASE}/events", json=event(program_id))).json()
        answer = await utility.put(f"{BASE}/events/{before['id']}", json=event(program_id, intervals=[payload(-1)]))
        assert answer.status_code == 400
        assert (await utility.get(f"{BASE}/events/{before['id']}")).json() == before
        assert [signal["state"] for signal in await signals(utility)] == ["received"]


@pytest.mark.parametrize("way", ["delete", "void"])
async def test_an_event_that_is_deleted_or_made_void_is_cancelled(served: Any, way: str) -> None:
    async with served.utility() as utility:
        program_id = await program(utility)
        event_id = (await utility.post(f"{BASE}/events", json=event(program_id))).json()["id"]
        if way == "delete":
            answer = await utility.delete(f"{BASE}/events/{event_id}")
            assert (await utility.get(f"{BASE}/events/{event_id}")).status_code == 404
        else:
            void = event(program_id, intervalPeriod={"start": "0001-01-01", "duration": "PT0S"})
            answer = await utility.put(f"{BASE}/events/{event_id}", json=void)
        assert answer.status_code == 200
        assert [signal["state"] for signal in await signals(utility)] == ["cancelled"]
        assert len(served.rooms.told) == 2


async def test_a_stale_if_match_changes_nothing(served: Any) -> None:
    async with served.utility() as utility:
        program_id = await program(utility)
        created = await utility.post(f"{BASE}/events", json=event(program_id))
        path = f"{BASE}/events/{created.json()['id']}"
        fresh = {"If-Match": created.headers["etag"]}
        assert (await utility.put(path, json=event(program_id, priority=3), headers=fresh)).status_code == 200
        for method in ("PUT", "DELETE"):
            body = event(program_id, priority=4) if method == "PUT" else None
            stale = await utility.request(method, path, json=body, headers=fresh)
            assert stale.status_code == 412
        assert (await utility.get(path)).json()["priority"] == 3


async def test_one_party_never_sees_or_touches_what_is_anothers(served: Any) -> None:
    async with served.utility() as utility, served.utility("rival") as rival:
        program_id = await program(utility)
        event_id = (await utility.post(f"{BASE}/events", json=event(program_id))).json()["id"]
        (signal,) = await signals(utility)
        for kind in ("programs", "events"):
            assert (await rival.get(f"{BASE}/{kind}")).json() == []
        body = event(program_id)
        for answer in [
            await rival.get(f"{BASE}/programs/{program_id}"),
            await rival.put(f"{BASE}/programs/{program_id}", json={"programName": "mine"}),
            await rival.delete(f"{BASE}/programs/{program_id}"),
            await rival.get(f"{BASE}/events/{event_id}"),
            await rival.put(f"{BASE}/events/{event_id}", json=event(await program(rival))),
            await rival.delete(f"{BASE}/events/{event_id}"),
            await rival.get(f"/v1/grid-signals/{signal['id']}"),
            await rival.delete(f"/v1/grid-signals/{signal['id']}"),
        ]:
            assert answer.status_code == 404
        assert (await rival.post(f"{BASE}/events", json=body)).status_code == 400
        assert await signals(rival) == []
        assert [found["state"] for found in await signals(utility)] == ["received"]


async def test_a_ven_sees_only_what_has_no_targets(served: Any) -> None:
    async with served.utility() as utility, served.utility(scopes=frozenset({"read_targets"})) as ven:
        program_id = await program(utility)
        await utility.post(f"{BASE}/events", json=event(program_id))
        aimed = await utility.post(f"{BASE}/events", json=event(program_id, targets=["site"]))
        assert [found.get("targets") for found in (await ven.get(f"{BASE}/events")).json()] == [None]
        assert (await ven.get(f"{BASE}/events/{aimed.json()['id']}")).status_code == 404
        assert (await ven.post(f"{BASE}/events", json=event(program_id))).status_code == 403


async def test_lists_are_paged_and_filtered(served: Any) -> None:
    async with served.utility() as utility:
        program_id = await program(utility)
        for value in range(5):
            await utility.post(
                f"{BASE}/events",
                json=event(program_id, intervals=[payload(value)], targets=["site"] if value == 3 else None),
            )

        async def values(**query: object) -> list[float]:
            found = (await utility.get(f"{BASE}/events", params=query)).json()
            return [each["intervals"][0]["payloads"][0]["values"][0] for each in found]

        everything = await values()
        assert sorted(everything) == [0, 1, 2, 3, 4]
        assert await values(skip=1, limit=2) == everything[1:3]
        assert await values(limit=0) == []
        assert await values(targets="site") == [3]
        assert await values(programID="other") == []
        assert len(await values(active=True)) == 5
        served.clock.time += timedelta(hours=7)
        assert await values(active=True) == []
        for query in ({"limit": 51}, {"skip": -1}, {"limit": "x"}):
            answer = await utility.get(f"{BASE}/events", params=query)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, next(iter(query)))


async def test_a_program_keeps_its_meaning_while_it_has_events(served: Any) -> None:
    async with served.utility() as utility:
        program_id = await program(utility)
        path = f"{BASE}/programs/{program_id}"
        assert (await utility.post(f"{BASE}/programs", json={"programName": "peak"})).status_code == 409
        event_id = (await utility.post(f"{BASE}/events", json=event(program_id))).json()["id"]
        assert (await utility.put(path, json={"programName": "other"})).status_code == 409
        assert (await utility.delete(path)).status_code == 409
        widened = await utility.put(path, json={"programName": "peak", "targets": ["site"]})
        assert widened.json()["targets"] == ["site"]
        await utility.delete(f"{BASE}/events/{event_id}")
        assert (await utility.delete(path)).status_code == 200
        assert (await utility.get(path)).status_code == 404
