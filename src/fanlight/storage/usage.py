"""How much a user has stored: the sum over a prefix, kept up between two looks by counting what is written."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

FRESH_IN_SECONDS = 60.0
LEAST_BETWEEN_LOOKS_IN_SECONDS = 2.0


@dataclass(slots=True)
class Usage:
    """`measure` returns the bytes stored under the prefix. Several sessions of one user share one of these."""

    measure: Callable[[], Awaitable[int]]
    quota_in_bytes: int | None
    _used: int = 0
    _measured_at: float = field(default=float("-inf"))
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def has_room_for(self, size: int, replaced: int) -> bool:
        """Return whether `size` bytes more, in the place of `replaced`, stay within the quota; then they are counted.

        Before anything is refused the prefix is measured anew: what other tools have deleted makes room at once.
        Raises what `measure` raises.
        """
        if self.quota_in_bytes is None:
            return True
        async with self._turn:
            if time.monotonic() - self._measured_at > FRESH_IN_SECONDS:
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
            if time.monotonic() - self._measured_at > FRESH_IN_SECONDS:
                await self._measure()
            return self.quota_in_bytes - self._used

    def removed(self, size: int) -> None:
        """Count bytes off that were removed."""
        self._used = max(0, self._used - size)

    def forget(self) -> None:
        """Have it measured anew when it is asked for next, unless that was done just now."""
        if time.monotonic() - self._measured_at > LEAST_BETWEEN_LOOKS_IN_SECONDS:
            self._measured_at = float("-inf")

    def _fits(self, size: int, replaced: int) -> bool:
        # What only becomes smaller is let through even by a user who is over a quota that was lowered.
        return size <= replaced or self._used + size - replaced <= (self.quota_in_bytes or 0)

    async def _measure(self) -> None:
        self._used = await self.measure()
        self._measured_at = time.monotonic()
