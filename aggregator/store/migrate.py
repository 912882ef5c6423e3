"""Bring a database to the schema of this program, with the migrations that are shipped beside it.

There is no alembic.ini: the configuration is made here, so an installed wheel migrates by itself.
To write a new migration: `alembic.command.revision(configuration(connection), "what changes", autogenerate=True)`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

_MIGRATIONS = Path(__file__).parent / "migrations"


class UnknownRevisionError(Exception):
    """The database was written by another, newer version of this program."""


def configuration(connection: sa.Connection) -> Config:
    """Alembic's configuration for one open connection."""
    config = Config()
    config.set_main_option("script_location", _MIGRATIONS.as_posix().replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade_to_head(connection: sa.Connection) -> None:
    """Apply what is missing, in the caller's transaction.

    Raises:
        UnknownRevisionError: the database carries a revision that this program does not have.
    """
    config = configuration(connection)
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_heads()
    unknown = [revision for revision in current if revision not in known]
    if unknown:
        raise UnknownRevisionError(
            f"schema revision {unknown[0]!r}, expected at most {script.get_current_head()!r} (a newer version wrote it)"
        )
    if set(current) != set(script.get_heads()):
        command.upgrade(config, "head")


async def upgrade(engine: AsyncEngine) -> None:
    """`upgrade_to_head` in one transaction of `engine`: all of it or nothing."""
    async with engine.connect() as connection, connection.begin():
        await connection.run_sync(upgrade_to_head)
