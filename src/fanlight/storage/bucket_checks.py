"""Whether a bucket can be used, asked for by many sessions and looked at now and then."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fanlight.domain.errors import StorageUnusable

GOOD_FOR_SECONDS, BAD_FOR_SECONDS = 15.0, 3.0


@dataclass(slots=True)
class BucketCheck:
    """`look` raises StorageUnusable when the bucket cannot be used."""

    look: Callable[[], Awaitable[None]]
    _problem: StorageUnusable | None = None
    _good_until: float = field(default=float("-inf"))
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def check(self) -> None:
        """Raises StorageUnusable, of now or of a few seconds ago."""
        async with self._turn:
            if time.monotonic() > self._good_until:
                try:
                    await self.look()
                except StorageUnusable as error:
                    self._problem = error
                else:
                    self._problem = None
                self._good_until = time.monotonic() + (GOOD_FOR_SECONDS if self._problem is None else BAD_FOR_SECONDS)
            if self._problem is not None:
                raise StorageUnusable(str(self._problem))
