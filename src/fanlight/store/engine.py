"""Engines: how SQLite and PostgreSQL are opened, and what each promises.

SQLite runs in WAL mode, so readers never wait for the writer, with synchronous=FULL: what a client was told is on
the disk. NORMAL would be quicker by one fsync a commit and lose the last seconds when the power fails; wishes are few
and precious, so they are worth the fsync. PostgreSQL keeps its own defaults, which promise the same.
"""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from fanlight.domain.errors import InvalidCombination

# Between processes: the command line works beside a running server. Longer than any write unit, shorter than a client's patience.
LOCK_TIMEOUT_IN_SECONDS = 5
# Each SQLite connection is a thread; more readers than cores only take turns.
POOL_SIZE = 8
_WRITES = "fanlight_writes"
# Any number will do, if nobody else locks the same one in this database.
ADVISORY_LOCK = 0x66616E6C


def parse_url(database_url: str) -> URL:
    """Return the URL with its async driver. Raises InvalidCombination for databases that Fanlight does not know."""
    url = make_url(database_url)
    match url.get_backend_name():
        case "sqlite":
            return url.set(drivername="sqlite+aiosqlite")
        case "postgresql":
            return url.set(drivername="postgresql+asyncpg")
        case other:
            raise InvalidCombination(f"The database {other} is not supported. Use sqlite or postgresql.")


def make_engine(url: URL) -> AsyncEngine:
    """Return an engine; nothing is opened yet."""
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=LOCK_TIMEOUT_IN_SECONDS,
        pool_use_lifo=True,
        pool_pre_ping=not is_sqlite,
        connect_args={} if is_sqlite else _postgres_arguments(),
    )
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    else:
        event.listen(engine.sync_engine, "begin", _begin_postgres)
    return engine


def as_readers(engine: AsyncEngine) -> AsyncEngine:
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine


def as_writers(engine: AsyncEngine) -> AsyncEngine:
    return engine.execution_options(**{_WRITES: True})


def make_private(path: Path) -> None:
    """Create the database file readable by its owner alone, because it holds the secrets of access keys.

    SQLite gives its side files (-wal, -shm) the mode and owner of the database.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _postgres_arguments() -> dict[str, Any]:
    return {
        "timeout": LOCK_TIMEOUT_IN_SECONDS,
        "command_timeout": 30,
        "server_settings": {"lock_timeout": f"{LOCK_TIMEOUT_IN_SECONDS}s", "application_name": "fanlight"},
    }


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    # Python's sqlite3 would begin transactions by its own rules; we say BEGIN ourselves, in `_begin_sqlite`.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT_IN_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgres(connection: Connection) -> None:
    # READ COMMITTED below it, so every statement after the wait sees what the writer before has committed.
    if connection.get_execution_options().get(_WRITES):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
