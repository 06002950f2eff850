"""The store, at most a few units of work at a time, so that many busy reconcilers leave connections to the API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fanlight.domain.ports import Transactions, UnitOfWork

UNITS_AT_A_TIME = 4


class BoundedTransactions:
    """See `domain.ports.Transactions`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._slots = asyncio.Semaphore(UNITS_AT_A_TIME)

    def begin(self, *, write: bool = False) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._begin(write=write)

    def revision(self) -> int | None:
        return self._transactions.revision()

    @asynccontextmanager
    async def _begin(self, *, write: bool) -> AsyncIterator[UnitOfWork]:
        async with self._slots, self._transactions.begin(write=write) as work:
            yield work
