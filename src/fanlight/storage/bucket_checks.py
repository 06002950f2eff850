"""Whether a bucket can be used, asked for by many sessions and looked at now and then."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

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


def make_directory(bucket: Path) -> None:
    """Raises StorageUnusable when it cannot be made, or nothing can be written to it."""
    try:
        bucket.mkdir(mode=0o700, exist_ok=True)
        room = os.statvfs(bucket)
    except OSError as error:
        raise StorageUnusable(f"The directory {bucket} cannot be used: {error.strerror}.") from error
    if not room.f_bavail or not os.access(bucket, os.W_OK | os.X_OK):
        why = "its disk is full" if not room.f_bavail else "its owner is not the storage process"
        raise StorageUnusable(f"Nothing can be written to the directory {bucket}: {why}.")
