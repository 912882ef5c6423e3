"""Who may call what, and how one is refused."""

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from structlog.testing import capture_logs

from aggregator.api import public_access
from aggregator.api.access import Allow, Public, UndeclaredAccess, policies_of

pytestmark = pytest.mark.anyio

FORM = {"grant_type": "client_credentials", "client_id": "grid-co", "client_secret": "s3cret/+ %"}
PUBLIC = {
    "/livez", "/readyz", "/metrics", "/openapi.json", "/oauth/token", "/openadr3/3.1.0/auth/token",
    "/openadr3/3.1.0/auth/server", "/oauth/jwks",
}


async def test_every_route_declares_who_may_call_it_and_few_are_public(served: Any) -> None:
    found = dict(policies_of(served.app.routes))
    assert len(found) > 20
    assert [name for name, policies in found.items() if not policies] == []
    public = {
        name.split()[1] for name, policies in found.items() if not any(isinstance(p, Allow) for p in policies)
    }
    assert public == PUBLIC


async def test_no_protected_route_answers_without_a_token(served: Any) -> None:
    for name, policies in policies_of(served.app.routes):
        if all(isinstance(policy, Public) for policy in policies):
            continue
        methods, path = name.split()
        for method in methods.split(","):
            answer = await served.http.request(method, path, json={})
            assert (answer.status_code, name) == (401, name)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_service_with_an_undeclared_route_does_not_start(tmp_path: Path, serve: Callable[..., Any]) -> None:
    from_elsewhere = APIRouter()

    @from_elsewhere.get("/secret")
    async def secret() -> dict[str, str]:
        return {}

    with pytest.raises(UndeclaredAccess, match="/secret"):
        async with serve(tmp_path, from_elsewhere):
            pass


async def test_pages_come_in_with_their_policy(tmp_path: Path, serve: Callable[..., Any]) -> None:
    pages = APIRouter(dependencies=[public_access()])

    @pages.get("/")
    async def live() -> dict[str, str]:
        return {"page": "live"}

    async with serve(tmp_path, pages) as served:
        assert (await served.http.get("/")).json() == {"page": "live"}


@pytest.mark.parametrize("path", ["/oauth/token", "/openadr3/3.1.0/auth/token"])
async def test_a_token_opens_what_its_scopes_allow(served: Any, path: str) -> None:
    answer = await served.http.post(path, data=FORM)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["scope"]) == ("Bearer", "read_all write_events")
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    assert (await served.http.get("/openadr3/3.1.0/programs", headers=headers)).status_code == 200
    refused = await served.http.post("/openadr3/3.1.0/programs", headers=headers, json={"programName": "x"})
    assert refused.status_code == 403
    assert 'error="insufficient_scope", scope="write_programs"' in refused.headers["www-authenticate"]


async def test_credentials_may_come_by_http_basic_form_encoded(served: Any) -> None:
    encoded = base64.b64encode(b"grid-co:s3cret%2F%2B+%25").decode()
    answer = await served.http.post(
        "/oauth/token", data={"grant_type": "client_credentials", "scope": "read_all"},
        headers={"Authorization": f"Basic {encoded}"},
    )
    assert (answer.status_code, answer.json()["scope"]) == (200, "read_all")


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": ""}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"scope": "write_programs"}, 400, "invalid_scope"),
        ({"client_id": ["grid-co", "grid-co"]}, 400, "invalid_request"),
    ],
)
async def test_a_bad_token_request_is_refused_in_the_words_of_oauth(
    served: Any, changes: dict[str, Any], status: int, error: str
) -> None:
    form = {name: value for name, value in (FORM | changes).items() if value is not None}
    answer = await served.http.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_a_changed_token_is_no_token(served: Any) -> None:
    token = served.token("utility", party="utility", scopes=["read_all"])
    forged = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")
    answer = await served.http.get("/openadr3/3.1.0/programs", headers={"Authorization": f"Bearer {forged}"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_the_token_server_names_itself(served: Any) -> None:
    answer = await served.http.get("/openadr3/3.1.0/auth/server")
    assert answer.json() == {"tokenURL": "http://test/openadr3/3.1.0/auth/token"}


async def test_the_public_key_is_published_and_the_private_part_is_not(served: Any) -> None:
    (key,) = (await served.http.get("/oauth/jwks")).json()["keys"]
    assert (key["kty"], key["alg"]) == ("EC", "ES256")
    assert "d" not in key


async def test_unknown_paths_and_methods_are_problem_documents(served: Any) -> None:
    for answer, status in [
        (await served.http.get("/nowhere"), 404),
        (await served.http.patch("/livez"), 405),
    ]:
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.headers["content-type"] == "application/problem+json"
    assert "GET" in answer.headers["allow"]


async def test_a_body_of_more_than_a_megabyte_is_too_large_announced_or_not(served: Any) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    async with served.utility() as utility:
        for body in (b" " * 1_000_001, pieces()):
            answer = await utility.post(
                "/openadr3/3.1.0/events", content=body, headers={"Content-Type": "application/json"}
            )
            assert (answer.status_code, answer.json()["status"]) == (413, 413)
        form = await served.http.post(
            "/oauth/token", content=pieces(), headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert form.status_code == 413


async def test_a_fault_of_ours_is_a_problem_document_without_inner_words(served: Any) -> None:
    async def broken() -> None:
        raise RuntimeError("secret path /etc")

    served.rooms.ready = broken
    with capture_logs() as said:
        answer = await served.http.get("/readyz")
    assert answer.status_code == 500
    assert "error" in {line["log_level"] for line in said}  # the operator reads what the client must not
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


async def test_health_says_which_check_fails(served: Any) -> None:
    assert (await served.http.get("/livez")).json() == {"status": "ok"}
    assert (await served.http.get("/readyz")).status_code == 200
    served.rooms.faults = {"store": None, "planner": "no plan for 40 min"}
    answer = await served.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"store": "ok", "planner": "no plan for 40 min"}
    assert "v2g_plans_total 1" in (await served.http.get("/metrics")).text


async def test_the_description_is_complete(served: Any) -> None:
    answer = await served.http.get("/openapi.json")
    described = answer.json()
    assert "/openadr3/3.1.0/events/{eventID}" in described["paths"]
    assert "/v1/grid-signals/{signal_id}" in described["paths"]
    assert described["components"]["securitySchemes"]["oAuth2ClientCredentials"]["type"] == "oauth2"
