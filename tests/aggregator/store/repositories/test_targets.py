from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from aggregator.store import Store, TargetRecord
from aggregator.store.audit import entries

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 16, tzinfo=UTC)
TARGET = TargetRecord("token-of-a-driver", T0 + timedelta(hours=8), 12.5, "sedan", v2g_consent=True, declared_at=T0)


async def test_each_declaration_is_a_new_revision_and_the_newest_counts(store: Store) -> None:
    async with store.transaction("driver-app") as tx:
        first = await tx.targets.add(TARGET)
        sooner = replace(TARGET, departure=T0 + timedelta(hours=5), declared_by="fleet", evse_id="E")
        second = await tx.targets.add(sooner)
        other = await tx.targets.add(replace(TARGET, id_token="another"))
    assert (first.revision, second.revision, other.revision) == (1, 2, 1)
    async with store.read() as tx:
        assert await tx.targets.latest("token-of-a-driver") == second
        assert await tx.targets.latest("nobody") is None
        assert await tx.targets.all_latest() == {"token-of-a-driver": second, "another": other}


async def test_the_audit_chain_never_holds_the_token_or_the_departure(store: Store) -> None:
    async with store.transaction("driver-app") as tx:
        await tx.targets.add(TARGET)
    (entry,) = [entry async for entry in entries(store)]
    assert entry.action == "target.declared"
    assert "token-of-a-driver" not in repr(entry)
    assert "departure" not in entry.detail
