"""Prepare an image builder for its snapshot: end everything, clean in a process of its own, say that it is done."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine

from fanlight.agent import font_caches, snapshots

log = logging.getLogger(__name__)

CHILD_POLL_IN_SECONDS = 0.05
MAX_WORDS = 400


class Preparation:
    """`stop` ends all seats and lets no new one begin; `clean` runs in a child; `prepared` or `failed` is told once."""

    def __init__(
        self,
        stop: Callable[[], Awaitable[None]],
        *,
        prepared: Callable[[], None],
        failed: Callable[[str], None],
        in_background: Callable[[Coroutine[None, None, None]], None],
        clean: Callable[[], None],
    ) -> None:
        self._stop, self._prepared, self._failed, self._clean = stop, prepared, failed, clean
        self._in_background = in_background
        self._is_asked = False

    def ask(self) -> None:
        """Begin, unless it was begun."""
        if not self._is_asked:
            self._is_asked = True
            self._in_background(self._prepare())

    async def _prepare(self) -> None:
        log.info("preparing for a snapshot")
        try:
            await self._stop()
            problem = await _in_child(self._clean)
        except OSError as error:
            problem = str(error)
        if problem:
            self._failed(f"preparing for the snapshot: {problem}")
        else:
            os.sync()
            self._prepared()


def end_everything_and_clean() -> None:
    """In a child of process 1: kill all but the two, then take away what must not be in an image. Raises OSError."""
    if os.getppid() != 1:
        raise OSError("only process 1 of an image builder may do this")
    with contextlib.suppress(ProcessLookupError):  # nobody else is left
        os.kill(-1, signal.SIGKILL)
    snapshots.clean()
    font_caches.keep_now()


async def _in_child(work: Callable[[], None]) -> str:
    """Return what went wrong. The agent goes on talking to the host meanwhile."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        words = b""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - a forked child must never return into the agent
            words = (str(error) or type(error).__name__).encode()[:MAX_WORDS]
        with contextlib.suppress(OSError):
            os.write(writer, words)
        os._exit(0)
    os.close(writer)
    os.set_blocking(reader, False)
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                return os.read(reader, MAX_WORDS).decode(errors="replace")
            await asyncio.sleep(CHILD_POLL_IN_SECONDS)
    finally:
        os.close(reader)
