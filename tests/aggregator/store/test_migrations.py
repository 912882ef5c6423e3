from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncEngine

from aggregator.store import migrate
from aggregator.store.database import _engine
from aggregator.store.tables import metadata

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = _engine(url, "FULL", "IMMEDIATE", 1)
    yield engine
    await engine.dispose()


def _names(connection: sa.Connection, kind: str) -> set[str]:
    rows = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = :kind"), {"kind": kind})
    return {name for (name,) in rows if not name.startswith("sqlite_")}


async def test_the_migrations_make_exactly_the_tables_of_the_program(engine: AsyncEngine) -> None:
    await migrate.upgrade(engine)

    def check(connection: sa.Connection) -> None:
        command.check(migrate.configuration(connection))  # raises if a migration is missing
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert _names(connection, "table") == {*metadata.tables, "alembic_version"}

    async with engine.connect() as connection:
        await connection.run_sync(check)


async def test_the_check_notices_a_column_that_no_migration_makes(engine: AsyncEngine) -> None:
    await migrate.upgrade(engine)
    altered = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(altered)
    altered.tables["stations"].append_column(sa.Column("colour", sa.String))
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), altered)
        )
    assert [(item[0], item[2], item[3].name) for item in differences] == [("add_column", "stations", "colour")]


async def test_down_leaves_nothing_and_up_again_makes_the_same(engine: AsyncEngine) -> None:
    def schema(connection: sa.Connection) -> set[tuple[str, str]]:
        return {(row.name, row.sql) for row in connection.execute(sa.text("SELECT name, sql FROM sqlite_master"))}

    async with engine.connect() as connection, connection.begin():
        await connection.run_sync(migrate.upgrade_to_head)
        first = await connection.run_sync(schema)
        await connection.run_sync(lambda sync: command.downgrade(migrate.configuration(sync), "base"))
        assert await connection.run_sync(lambda sync: _names(sync, "table")) == {"alembic_version"}
        assert await connection.run_sync(lambda sync: _names(sync, "trigger")) == set()
        await connection.run_sync(migrate.upgrade_to_head)
        assert await connection.run_sync(schema) == first


async def test_an_upgrade_that_fails_half_way_leaves_the_database_untouched(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = sa.Connection.execute

    def fail_on_triggers(self: sa.Connection, statement: object, *args: object, **kwargs: object) -> object:
        if "CREATE TRIGGER" in str(statement):
            raise OSError("the disk is full")
        return original(self, statement, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sa.Connection, "execute", fail_on_triggers)
    with pytest.raises(OSError, match="disk is full"):
        await migrate.upgrade(engine)
    monkeypatch.undo()
    async with engine.connect() as connection:
        assert await connection.run_sync(lambda sync: _names(sync, "table")) == set()
