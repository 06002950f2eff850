"""The open streams of this gateway: who is connected, told to the control plane, and cut when the session ends.

One entry for each session that a page or a socket of this process has touched. Connection reports are level-triggered:
what was last wanted is repeated every 10 s and until it was heard, so that neither side's restart loses it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fanlight.gateway.control_client import ControlAway, ControlClient, Refused
from fanlight.gateway.relay import Splice

log = logging.getLogger(__name__)

HEARTBEAT_IN_SECONDS = 10.0
RETRY_IN_SECONDS = 1.0
# The stream server refuses a second socket from one address within half a second, and all of ours share one address.
BETWEEN_SOCKETS_IN_SECONDS = 0.55
# A stream server tells the older page itself that another took over; only then is its socket cut.
TAKEOVER_GRACE_IN_SECONDS = 2.0


@dataclass(slots=True, eq=False)
class _Session:
    session_id: str
    splices: set[Splice] = field(default_factory=set)
    source_address: str = ""  # of the newest stream
    viewer: str | None = None  # the page that has the stream; another page's poll is told so
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    last_socket_at: float = float("-inf")
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    viewer_changed: asyncio.Event = field(default_factory=asyncio.Event)
    reporter: asyncio.Task[None] | None = None
    deadline: asyncio.TimerHandle | None = None


class Streams:
    """Call `run` for as long as the gateway lives; `close` cuts everything and reports it."""

    def __init__(self, control: ControlClient) -> None:
        self._control = control
        self._sessions: dict[str, _Session] = {}

    async def run(self) -> None:
        """Cut the streams of every session that ends, whatever happens to the control plane meanwhile."""
        was_away = False
        while True:
            try:
                async for session_id in self._control.ended():
                    if session_id:
                        self.end(session_id, why="the session ended")
                    else:
                        was_away = False
                        await self._recheck()
            except ControlAway as reason:
                if not was_away:
                    log.warning("control plane is away; open streams go on", extra={"reason": str(reason)})
                was_away = True
            await asyncio.sleep(RETRY_IN_SECONDS)

    async def close(self, *, timeout_in_seconds: float = 2.0) -> None:
        """Cut every stream and say so to the control plane, as far as it listens."""
        for session in self._sessions.values():
            self._cut(session, why="the gateway stops")
        reporters = [s.reporter for s in self._sessions.values() if s.reporter]
        if reporters:
            _, late = await asyncio.wait(reporters, timeout=timeout_in_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @asynccontextmanager
    async def turn(self, session_id: str) -> AsyncIterator[None]:
        """Hold while a socket to the session's stream server is opened: one at a time, and not too soon after the last."""
        session = self._session(session_id)
        async with session.gate:
            await asyncio.sleep(session.last_socket_at + BETWEEN_SOCKETS_IN_SECONDS - time.monotonic())
            try:
                yield
            finally:
                session.last_socket_at = time.monotonic()

    def splice(
        self,
        session_id: str,
        max_expires_at: float,
        source_address: str,
        make: Callable[[Callable[[Splice], None]], Splice],
    ) -> None:
        """Register the splice that `make` returns; older ones of the session are cut after a grace. Times are epoch seconds."""
        session = self._session(session_id)
        loop = asyncio.get_running_loop()
        for older in tuple(session.splices):
            loop.call_later(TAKEOVER_GRACE_IN_SECONDS, older.cut)
        new = make(lambda done: self._done(session, done))
        if new.is_done:
            return
        session.splices.add(new)
        session.source_address = source_address
        if session.deadline:
            session.deadline.cancel()
        left = max(0.0, max_expires_at - time.time())
        session.deadline = loop.call_later(left, lambda: self._cut(session, why="maximum duration"))
        log.info("stream opened", extra={"streaming_session_id": session_id, "open": len(session.splices)})
        self._report(session)

    def end(self, session_id: str, *, why: str) -> None:
        """Cut the session's streams now and forget it."""
        if session := self._sessions.pop(session_id, None):
            self._cut(session, why=why)
            session.viewer_changed.set()

    def attach(self, session_id: str, viewer: str) -> None:
        """Give the stream to one page; the page that had it is cut and told."""
        session = self._session(session_id)
        if session.viewer not in (None, viewer):
            self._cut(session, why="opened elsewhere")
        session.viewer = viewer
        session.viewer_changed.set()
        session.viewer_changed = asyncio.Event()

    def is_superseded(self, session_id: str, viewer: str) -> bool:
        """Return whether another page has the stream. After a restart nobody has: then the first page to ask has it."""
        session = self._sessions.get(session_id)
        return session is not None and session.viewer not in (None, viewer)

    async def wait_for_other_viewer(self, session_id: str) -> None:
        """Return when a page attached itself to the session, or it ended."""
        await self._session(session_id).viewer_changed.wait()

    def _session(self, session_id: str) -> _Session:
        return self._sessions.setdefault(session_id, _Session(session_id))

    def _cut(self, session: _Session, *, why: str) -> None:
        if session.splices:
            log.info("stream cut", extra={"streaming_session_id": session.session_id, "why": why})
        for splice in tuple(session.splices):
            splice.cut()

    def _done(self, session: _Session, splice: Splice) -> None:
        session.splices.discard(splice)
        if not session.splices and session.deadline:
            session.deadline.cancel()
            session.deadline = None
        log.info(
            "stream closed",
            extra={
                "streaming_session_id": session.session_id,
                "open": len(session.splices),
                "bytes_to_browser": splice.bytes_from_guest,
                "bytes_to_instance": splice.bytes_from_browser,
            },
        )
        self._report(session)

    def _report(self, session: _Session) -> None:
        session.changed.set()
        if session.reporter is None or session.reporter.done():
            session.reporter = asyncio.create_task(self._keep_reporting(session))

    async def _keep_reporting(self, session: _Session) -> None:
        while True:
            session.changed.clear()
            is_connected = bool(session.splices)
            pause = HEARTBEAT_IN_SECONDS
            try:
                await self._control.report_connection(
                    session.session_id, is_connected=is_connected, source_address=session.source_address
                )
            except ControlAway:
                pause = RETRY_IN_SECONDS
            except Refused:
                # It is no live session any more: whatever still flows must not.
                self.end(session.session_id, why="the control plane does not know the session")
                return
            else:
                if not is_connected and not session.splices:
                    return
            try:
                async with asyncio.timeout(pause):
                    await session.changed.wait()
            except TimeoutError:
                continue

    async def _recheck(self) -> None:
        """Ends may have been missed while the control plane was away. Raises ControlAway."""
        for session_id in tuple(self._sessions):
            try:
                view = await self._control.session(session_id)
            except Refused:
                self.end(session_id, why="the control plane does not know the session")
            else:
                if view.state == "EXPIRED":
                    self.end(session_id, why="the session ended")
