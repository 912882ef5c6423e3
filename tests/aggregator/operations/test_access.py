import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.operations import (
    AccessPolicy,
    ForbiddenError,
    Principal,
    Role,
    StationPasswords,
    UnauthenticatedError,
    is_secret,
    new_secret,
    policy,
    secret_sha256,
)

roles = st.sampled_from(list(Role))
scopes = st.sampled_from(["read_all", "write_events", "write_programs"])


def _may(rule: AccessPolicy, principal: Principal | None) -> bool:
    try:
        rule.check(principal)
    except (UnauthenticatedError, ForbiddenError):
        return False
    return True


@given(st.frozensets(roles), st.frozensets(scopes), roles, st.frozensets(scopes))
def test_a_caller_passes_with_one_of_the_roles_and_one_of_the_scopes(
    asked_roles: frozenset[Role], asked_scopes: frozenset[str], role: Role, held: frozenset[str]
) -> None:
    if not asked_roles and not asked_scopes:
        return
    has_role = not asked_roles or role in asked_roles or role is Role.ADMIN
    has_scope = not asked_scopes or len(asked_scopes & held) > 0
    assert _may(policy(roles=asked_roles, scopes=asked_scopes), Principal("c", role, held)) == (has_role and has_scope)


@given(st.frozensets(roles), st.frozensets(scopes))
def test_nobody_passes_where_somebody_is_asked_for(asked: frozenset[Role], scopes: frozenset[str]) -> None:
    if asked or scopes:
        with pytest.raises(UnauthenticatedError):
            policy(roles=asked, scopes=scopes).check(None)


def test_a_public_route_lets_everybody_in() -> None:
    assert _may(policy(public=True), None)
    assert _may(policy(public=True), Principal("c", Role.DRIVER, frozenset()))


def test_a_policy_that_says_nothing_or_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="expected either scopes or roles, or public"):
        policy()
    with pytest.raises(ValueError, match="expected either scopes or roles, or public"):
        policy(public=True, roles=[Role.ADMIN])


def test_a_refusal_says_what_would_have_fitted() -> None:
    driver = Principal("c", Role.DRIVER, frozenset({"read_all"}), "token-of-a-driver")
    with pytest.raises(ForbiddenError, match="role: driver, expected one of fleet_manager, operator"):
        policy(roles=[Role.OPERATOR, Role.FLEET_MANAGER]).check(driver)
    with pytest.raises(ForbiddenError, match="expected write_events"):
        policy(scopes=["write_events"]).check(driver)
    assert "token-of-a-driver" not in repr(driver)


def test_secrets_are_long_different_and_kept_as_digests() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret) == 43 for secret in made)  # 32 bytes in base64url
    # The NIST example for "abc" (FIPS 180-4).
    assert secret_sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert is_secret("abc", secret_sha256("abc").upper())
    assert not is_secret("abd", secret_sha256("abc"))


@pytest.mark.anyio
async def test_a_station_passes_with_its_own_password_only() -> None:
    auth = StationPasswords({"S1": secret_sha256("one"), "S2": secret_sha256("two")})
    assert await auth.verify("S1", "one")
    assert not await auth.verify("S1", "two")
    assert not await auth.verify("S1", "")
    assert not await auth.verify("S3", "one")
