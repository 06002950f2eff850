"""Bring a database to the schema of this version, once, whoever asks and however often."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from fanlight.domain.errors import StoreTooNew
from fanlight.store.door import domain_errors

_MIGRATIONS = Path(__file__).parent / "migrations"


def configuration() -> Config:
    """Return Alembic's configuration; it needs no file, so it works from an installed wheel."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def upgrade(writers: AsyncEngine) -> None:
    """Run the missing migrations in one transaction. Raises StoreTooNew, StoreUnavailable.

    The write lock is held from the look at the version to the commit: of two processes that start together one
    migrates and the other finds it done.
    """
    with domain_errors():
        async with writers.begin() as connection:
            await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    config = configuration()
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    for found in MigrationContext.configure(connection).get_current_heads():
        if found not in known:
            raise StoreTooNew(
                f"The database has schema {found}, which this version of Fanlight does not know (it knows up to "
                f"{script.get_current_head()}): a newer Fanlight wrote it. Start that version, or restore a backup "
                "from before its first start."
            )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
