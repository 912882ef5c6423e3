"""An error of the database names the statement, never the values: they hold drivers' tokens."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from aggregator.store import SessionRecord, Store

pytestmark = pytest.mark.anyio

AT = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)


async def test_a_refused_row_does_not_carry_the_drivers_token_into_the_log(tmp_path: Path) -> None:
    session = SessionRecord("t1", "E1", "secret-token", AT, 0.0, 0.0)
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/v2g.db") as store:
        async with store.read() as tx:  # may not write
            with pytest.raises(OperationalError) as refused:
                await tx.sessions.start(session)
        assert "readonly" in str(refused.value)
        assert "secret-token" not in str(refused.value)
