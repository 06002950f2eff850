"""What Alembic runs for every command: our connection, inside the transaction that `store.upgrade` opened."""

from alembic import context

from fanlight.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter constraints in place
    transactional_ddl=True,  # both databases can, and a half-done migration is worse than none
)
context.run_migrations()
