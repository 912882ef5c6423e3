"""Run migrations on the connection that `aggregator.store.migrate` hands over."""

from alembic import context

from aggregator.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=True,  # our BEGIN covers DDL too, so a failed upgrade leaves nothing behind
    compare_server_default=True,
)
# The caller owns the transaction; Alembic neither begins nor commits one.
context.run_migrations()
