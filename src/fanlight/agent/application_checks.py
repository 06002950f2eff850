"""Start every application of a catalogue, one after another, and see whether it comes up.

An application is up when it shows a window, or still runs when the time is over (a program may do its work without
one). One that hands its work on to another process and ends well is up when that shows a window.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet

from fanlight.agent.processes import Processes
from fanlight.agent.sessions import IN_SESSION, Refused, SeatLife
from fanlight.agent.work import DONE, Progress
from fanlight.agentwire.messages import ApplicationToLaunch, Maintain, WorkReport

log = logging.getLogger(__name__)

LIMIT_IN_SECONDS = 30.0
# After its window came: one that crashes at once was not up.
STAYS_IN_SECONDS = 1.0
CLOSING_IN_SECONDS = 5.0
POLL_IN_SECONDS = 0.1


class ApplicationChecks:
    """`windows` tells the ids of the windows that applications have on the seat's display, None: nobody knows yet."""

    def __init__(
        self,
        seat: Callable[[], SeatLife],
        processes: Processes,
        windows: Callable[[], Awaitable[AbstractSet[int] | None]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._seat, self._processes, self._windows, self._sleep = seat, processes, windows, sleep

    async def check(self, message: Maintain, progress: Progress) -> WorkReport:
        """Raises Refused when there is no session to start applications in."""
        if self._seat().phase != IN_SESSION:
            raise Refused("no session was begun in which applications could be started")
        await self._until_managed()
        problems: list[str] = []
        for number, application in enumerate(message.applications, 1):
            progress(f"starting application {number} of {len(message.applications)}: {application.name}")
            if problem := await self._check(application):
                problems.append(f"{application.name}: {problem}")
        return WorkReport(work_id=message.work_id, phase=DONE, problems=tuple(problems))

    async def _until_managed(self) -> None:
        """Wait for the window manager: it may not see windows that come before it is there. Raises Refused."""
        waited = 0.0
        while await self._windows() is None:
            if waited > LIMIT_IN_SECONDS:
                raise Refused("the window manager did not come up")
            await self._sleep(POLL_IN_SECONDS)
            waited += POLL_IN_SECONDS

    async def _new_windows(self, before: AbstractSet[int]) -> AbstractSet[int]:
        return (await self._windows() or frozenset()) - before

    async def _check(self, application: ApplicationToLaunch) -> str | None:
        """Return why it did not come up, None when it did."""
        before = await self._windows() or frozenset()
        ended: list[int] = []
        try:
            pid = self._seat().start_application(application, ended.append)
        except (Refused, OSError) as error:
            return str(error)
        try:
            return await self._watch(before, ended)
        finally:
            await self._close(pid, before)

    async def _watch(self, before: AbstractSet[int], ended: Sequence[int]) -> str | None:
        waited = 0.0
        while waited < LIMIT_IN_SECONDS:
            await self._sleep(POLL_IN_SECONDS)
            waited += POLL_IN_SECONDS
            if await self._new_windows(before):
                await self._sleep(STAYS_IN_SECONDS)
                if await self._new_windows(before):
                    return None
                if ended:
                    return f"its window went again, and it ended with {ended[0]}"
            elif ended and ended[0] != 0:
                return f"it ended with {ended[0]} after {waited:.1f} s"
        return "it ended, and no window came" if ended else None

    async def _close(self, pid: int, before: AbstractSet[int]) -> None:
        """Leave the display as it was; what is stubborn stays, for the instance is thrown away."""
        waited = 0.0
        self._processes.signal_group(pid, signal.SIGTERM)
        with contextlib.suppress(OSError):
            while await self._new_windows(before) and waited < CLOSING_IN_SECONDS:
                await self._sleep(POLL_IN_SECONDS)
                waited += POLL_IN_SECONDS
        self._processes.signal_group(pid, signal.SIGKILL)
