import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from aggregator.operations import (
    InvalidClientError,
    InvalidScopeError,
    InvalidTokenError,
    Principal,
    Role,
    SigningKeyError,
    TokenService,
    load_or_create_key,
    new_secret,
    secret_sha256,
)
from aggregator.operations.tokens import AUDIENCE, ISSUER
from aggregator.store import ClientRecord

pytestmark = pytest.mark.anyio

SECRET = new_secret()
CLIENTS = {
    "utility": ClientRecord("utility", "utility", ("read_all", "write_events"), secret_sha256(SECRET), "sce"),
    "gone": ClientRecord("gone", "utility", ("read_all",), secret_sha256(SECRET), "sce", is_enabled=False),
}


async def _find(client_id: str) -> ClientRecord | None:
    return CLIENTS.get(client_id)


@pytest.fixture
def key(tmp_path: Path) -> ECKey:
    return load_or_create_key(tmp_path)


@pytest.fixture
def tokens(key: ECKey) -> TokenService:
    return TokenService(key, _find)


async def test_a_secret_buys_a_token_that_stands_for_its_client(tokens: TokenService) -> None:
    grant = await tokens.grant("utility", SECRET)
    assert grant.expires_in == 600
    assert tokens.verify(grant.access_token) == Principal(
        "utility", Role.UTILITY, frozenset({"read_all", "write_events"}), "sce"
    )


async def test_a_client_may_ask_for_less_but_not_for_more(tokens: TokenService) -> None:
    grant = await tokens.grant("utility", SECRET, ["read_all"])
    assert tokens.verify(grant.access_token).scopes == {"read_all"}
    with pytest.raises(InvalidScopeError, match="write_programs"):
        await tokens.grant("utility", SECRET, ["read_all", "write_programs"])


@pytest.mark.parametrize(("client_id", "secret"), [
    ("utility", "wrong"), ("utility", ""), ("utility", secret_sha256(SECRET)), ("nobody", SECRET), ("gone", SECRET),
], ids=["wrong", "empty", "its-hash", "unknown-client", "disabled-client"])
async def test_wrong_credentials_are_refused_with_one_and_the_same_message(
    tokens: TokenService, client_id: str, secret: str
) -> None:
    with pytest.raises(InvalidClientError) as refusal:
        await tokens.grant(client_id, secret)
    assert str(refusal.value) == "client: unknown or wrong secret, expected valid client credentials"


async def test_a_token_is_over_when_its_time_is(key: ECKey) -> None:
    wall = [1_000_000.0]
    tokens = TokenService(key, _find, ttl_s=60, now=lambda: wall[0])
    token = (await tokens.grant("utility", SECRET)).access_token
    wall[0] += 59
    assert tokens.verify(token).client_id == "utility"
    wall[0] += 2
    with pytest.raises(InvalidTokenError, match="expired"):
        tokens.verify(token)


@pytest.mark.parametrize("ttl_s", [0, -1, 601])
def test_a_life_beyond_ten_minutes_cannot_be_configured(key: ECKey, ttl_s: int) -> None:
    with pytest.raises(ValueError, match="at most 600"):
        TokenService(key, _find, ttl_s=ttl_s)


def _claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "iat": now, "exp": now + 60, "role": "admin", "scope": "",
              "party": ""}
    return {name: value for name, value in (claims | changes).items() if value is not None}


def _signed(key: Any, claims: dict[str, Any], **header: Any) -> str:
    alg = header.pop("alg", "ES256")
    return jwt.encode({"alg": alg, "kid": key.kid, "typ": "at+jwt"} | header, claims, key, algorithms=[alg])


def test_a_token_as_we_make_them_is_accepted_so_the_forgeries_below_fail_for_their_own_reason(
    key: ECKey, tokens: TokenService
) -> None:
    assert tokens.verify(_signed(key, _claims())).role is Role.ADMIN


@pytest.mark.parametrize("changes", [
    {"iss": "somebody"}, {"iss": None}, {"aud": "another/api"}, {"aud": None}, {"exp": None}, {"exp": 1}, {"sub": None},
    {"iat": None}, {"role": "king"}, {"role": None}, {"scope": None}, {"party": None},
])
def test_our_own_signature_does_not_excuse_wrong_claims(
    key: ECKey, tokens: TokenService, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(_signed(key, _claims(**changes)))


def test_another_key_algorithm_kind_or_no_signature_is_refused(key: ECKey, tokens: TokenService) -> None:
    stranger = ECKey.generate_key("P-256", parameters={"kid": key.kid})
    public = json.dumps(key.as_dict(private=False)).encode()

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    own = _signed(key, _claims())
    head, body, signature = own.split(".")
    forgeries = [
        _signed(stranger, _claims()),
        _signed(key, _claims(), typ="JWT"),
        _signed(key, _claims(), kid="another"),
        _signed(OctKey.import_key(public, {"kid": key.kid}), _claims(), alg="HS256"),  # the classic confusion
        f"{part({'alg': 'none', 'typ': 'at+jwt', 'kid': key.kid})}.{part(_claims())}.",
        f"{head}.{part(_claims(sub='admin'))}.{signature}",
        f"{head}.{body}.",
        "", "a.b.c", "not a token", own + "x", own[:-4] + "AAAA",
    ]
    for forgery in forgeries:
        with pytest.raises(InvalidTokenError):
            tokens.verify(forgery)


async def test_the_key_survives_a_restart_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    first = TokenService(load_or_create_key(tmp_path / "deep" / "data"), _find)
    token = (await first.grant("utility", SECRET)).access_token
    again = TokenService(load_or_create_key(tmp_path / "deep" / "data"), _find)
    assert again.verify(token).client_id == "utility"
    (file,) = (tmp_path / "deep" / "data").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    load_or_create_key(tmp_path)
    (file,) = tmp_path.iterdir()
    file.chmod(0o644)
    with pytest.raises(SigningKeyError, match="mode 644, expected 600"):
        load_or_create_key(tmp_path)


@pytest.mark.parametrize("content", [
    "", "{}", '{"kty": "oct", "k": "AAAA"}', "nonsense",
    json.dumps(ECKey.generate_key("P-384").as_dict(private=True)),
    json.dumps(ECKey.generate_key("P-256").as_dict(private=False)),
])
def test_a_file_that_is_no_signing_key_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token-key.json"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(SigningKeyError, match=r"token-key\.json.*expected a P-256 private key"):
        load_or_create_key(tmp_path)


def test_the_published_key_verifies_and_cannot_sign(tokens: TokenService) -> None:
    (published,) = tokens.jwks["keys"]
    assert "d" not in published
    assert (published["kty"], published["crv"], published["alg"]) == ("EC", "P-256", "ES256")
    token = tokens.mint(Principal("c", Role.DRIVER, frozenset())).access_token
    assert jwt.decode(token, ECKey.import_key(published), algorithms=["ES256"]).claims["sub"] == "c"
