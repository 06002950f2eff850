"""Has anything changed since? Asked before each describe, so it must cost microseconds, and be exact."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress

Revision = Callable[[], int | None]


def unknown_revision() -> int | None:
    """PostgreSQL has no answer that is cheaper than the question it would save."""
    return None


class SqliteRevision:
    """SQLite counts the commits that a connection sees others make, in whatever process; reading it takes microseconds.

    The connection is our own and never writes, so it sees every commit as made by others. It is used on the event
    loop's thread and never waits: a database that is locked just then counts as changed.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._connections_made = 0

    def __call__(self) -> int | None:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
                self._connection.execute("PRAGMA query_only = ON")
                self._connections_made += 1
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
            # SQLite counts anew on every connection (32 bits): ours must never equal one of an earlier connection.
            return (self._connections_made << 32) + version
        except sqlite3.Error:
            self.close()
            return None

    def close(self) -> None:
        """Forget the connection. Numbers from the next one equal none of this one's."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
