"""One queue for each kind of object: a key is reconciled by one worker at a time, different keys at the same time.

A wake-up that comes while a key is being worked on makes it run once more. An error delays its own key only, longer
each time. Nothing is kept that a sweep of the store could not find again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from fanlight.domain.errors import (
    AgentUnreachable,
    ChangedMeanwhile,
    DriverUnavailable,
    StorageUnavailable,
    StoreUnavailable,
)
from fanlight.domain.ports import Clock

log = logging.getLogger(__name__)

# Looks at a key again after `when`, or not before the next wake-up when it is None.
Reconcile = Callable[[str], Awaitable[datetime | None]]

_SHORTEST_BACKOFF, _LONGEST_BACKOFF = timedelta(milliseconds=100), timedelta(seconds=30)
# A key that wants to run at once so many times in a row is a mistake of ours; it must not take the processor.
_MAX_ROUNDS = 25
_TRANSIENT = (DriverUnavailable, StoreUnavailable, StorageUnavailable, AgentUnreachable)


class KeyedQueue:
    def __init__(
        self, kind: str, reconcile: Reconcile, clock: Clock, *, parallel: int, on_due: Callable[[], None]
    ) -> None:
        self._kind, self._reconcile, self._clock, self._on_due = kind, reconcile, clock, on_due
        self._slots = asyncio.Semaphore(parallel)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._due: dict[str, datetime] = {}
        self._failures: dict[str, int] = {}
        self._is_stopped = False

    def wake(self, key: str) -> None:
        """Reconcile now, or once more if it is being done. A stopped queue does nothing more."""
        if self._is_stopped:
            return
        self._due.pop(key, None)
        if key in self._running:
            self._again.add(key)
            return
        task = asyncio.create_task(self._work(key), name=f"{self._kind} {key}")
        self._running[key] = task
        task.add_done_callback(lambda _: self._done(key))

    def wake_at(self, key: str, when: datetime) -> None:
        """Reconcile at `when`, or earlier if that is planned already."""
        if key not in self._due or when < self._due[key]:
            self._due[key] = when
            self._on_due()

    def knows(self, key: str) -> bool:
        """Return whether the key is being worked on or has its time."""
        return key in self._running or key in self._due

    def next_due(self) -> datetime | None:
        return min(self._due.values(), default=None)

    def wake_due(self, now: datetime) -> None:
        for key in [key for key, when in self._due.items() if when <= now]:
            self.wake(key)

    def wake_waiting(self) -> None:
        """Do now whatever has its time."""
        for key in list(self._due):
            self.wake(key)

    @property
    def is_idle(self) -> bool:
        return not self._running

    async def stop(self, grace_in_seconds: float = 2.0) -> None:
        """Let what runs come to its end within the grace, because a broken-off database call is a lost connection."""
        self._is_stopped = True
        self._due.clear()
        tasks = set(self._running.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_in_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _done(self, key: str) -> None:
        self._running.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.wake(key)

    async def _work(self, key: str) -> None:
        for _ in range(_MAX_ROUNDS):
            self._again.discard(key)
            async with self._slots:
                when = await self._attempt(key)
            if when is None or self._is_stopped or when > self._clock.now():
                if when is not None and key not in self._again and not self._is_stopped:
                    self.wake_at(key, when)
                return
            await asyncio.sleep(0)
        log.error("runs in circles", extra={self._kind: key})
        self.wake_at(key, self._clock.now() + timedelta(seconds=1))

    async def _attempt(self, key: str) -> datetime | None:
        try:
            when = await self._reconcile(key)
        except ChangedMeanwhile:
            return self._clock.now()
        except _TRANSIENT as error:
            delay = self._next_delay(key)
            log.warning("backing off", extra={self._kind: key, "why": str(error), "seconds": delay.total_seconds()})
            return self._clock.now() + delay
        except Exception:
            # One bad object must not stop the others; the trace is for a human.
            delay = self._next_delay(key)
            log.exception("cannot reconcile", extra={self._kind: key, "seconds": delay.total_seconds()})
            return self._clock.now() + delay
        self._failures.pop(key, None)
        return when

    def _next_delay(self, key: str) -> timedelta:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return min(_SHORTEST_BACKOFF * (1 << min(failures - 1, 16)), _LONGEST_BACKOFF)
