"""The store: everything that must survive, in SQLite or PostgreSQL.

The only package that speaks SQL. It gives `domain.ports.Transactions` to services and reconcilers and raises nothing
but DomainErrors. Several processes may have the same store open.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from fanlight.domain.errors import InvalidCombination
from fanlight.domain.ports import Transactions
from fanlight.store.door import domain_errors
from fanlight.store.engine import as_readers, as_writers, make_engine, make_private, parse_url
from fanlight.store.revisions import SqliteRevision, unknown_revision
from fanlight.store.units import SqlTransactions
from fanlight.store.upgrade import upgrade

__all__ = ["Store", "open_store"]


@dataclass(frozen=True)
class Store:
    """An open store. Use it as an async context manager, or call `close` yourself."""

    transactions: Transactions
    _engine: AsyncEngine
    _revision: SqliteRevision | None

    async def upgrade(self) -> None:
        """Bring the schema to this version; does nothing when it is. Raises StoreTooNew, StoreUnavailable."""
        await upgrade(as_writers(self._engine))

    async def close(self) -> None:
        if self._revision is not None:
            self._revision.close()
        await self._engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def open_store(database_url: str) -> Store:
    """Return the store at `sqlite:///PATH` or `postgresql://…`; connections are opened when first needed.

    A new SQLite file is created readable by its owner alone. Raises InvalidCombination for other databases,
    StoreUnavailable when the file cannot be made or opened.
    """
    url = parse_url(database_url)
    revision: SqliteRevision | None = None
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise InvalidCombination("A database in memory would be lost. Give a path: sqlite:///PATH.")
        with domain_errors():
            make_private(Path(url.database))
        revision = SqliteRevision(url.database)
    engine = make_engine(url)
    transactions = SqlTransactions(as_readers(engine), as_writers(engine), revision or unknown_revision)
    return Store(transactions, engine, revision)
