"""How much a user has stored: the sum over a prefix, kept up between two looks by counting what is written."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

FRESH_IN_SECONDS = 60.0
FRESH_FOR_LOOKS_THAT_TAKE = 60  # so many times as long: sessions ask all the time, and a look at many files is dear
LEAST_BETWEEN_LOOKS_IN_SECONDS = 2.0


@dataclass(slots=True)
class Usage:
    """`measure` returns the bytes stored under the prefix. Several sessions of one user share one of these."""

    measure: Callable[[], Awaitable[int]]
    quota_in_bytes: int | None
    _used: int = 0
    _measured_at: float = field(default=float("-inf"))
    _is_doubtful: bool = False
    _took_in_seconds: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _looking: asyncio.Task[None] | None = None

    @property
    def measured_at(self) -> float:
        return self._measured_at

    async def has_room_for(self, size: int, replaced: int) -> bool:
        """Return whether `size` bytes more, in the place of `replaced`, stay within the quota; then they are counted.

        Before anything is refused the prefix is measured anew: what other tools have deleted makes room at once.
        Raises what `measure` raises.
        """
        if self.quota_in_bytes is None:
            return True
        async with self._turn:
            if self._is_due():
                await self._measure()
            if not self._fits(size, replaced):
                if time.monotonic() - self._measured_at > LEAST_BETWEEN_LOOKS_IN_SECONDS:
                    await self._measure()
                if not self._fits(size, replaced):
                    return False
            self._used += size - replaced
            return True

    async def left(self) -> int | None:
        """Return how many bytes more there is room for, below zero when a quota was lowered; None without a quota.

        What it knows may be a minute old. Raises what `measure` raises.
        """
        if self.quota_in_bytes is None:
            return None
        async with self._turn:
            if self._is_due():
                await self._measure()
            return self.quota_in_bytes - self._used

    async def used_as_known(self) -> int:
        """Return the bytes that are known to be stored, and have them measured meanwhile if that is due.

        Waits, and raises what `measure` raises, only while nothing is known.
        """
        if self._is_due() and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._looking is not None and self._measured_at == float("-inf"):
            await asyncio.shield(self._looking)
        return self._used

    def removed(self, size: int) -> None:
        """Count bytes off that were removed."""
        self._used = max(0, self._used - size)

    def forget(self) -> None:
        """Have it measured anew when it is asked for next, but not sooner than a moment after the last time."""
        self._is_doubtful = True

    def _fits(self, size: int, replaced: int) -> bool:
        # What only becomes smaller is let through even by a user who is over a quota that was lowered.
        return size <= replaced or self._used + size - replaced <= (self.quota_in_bytes or 0)

    def _is_due(self) -> bool:
        age = time.monotonic() - self._measured_at
        if self._is_doubtful:
            return age > LEAST_BETWEEN_LOOKS_IN_SECONDS
        return age > max(FRESH_IN_SECONDS, FRESH_FOR_LOOKS_THAT_TAKE * self._took_in_seconds)

    async def _look(self) -> None:
        async with self._turn:
            if self._is_due():
                await self._measure()

    async def _measure(self) -> None:
        began_at = time.monotonic()
        self._is_doubtful = False
        self._used = await self.measure()
        self._measured_at = time.monotonic()
        self._took_in_seconds = self._measured_at - began_at
