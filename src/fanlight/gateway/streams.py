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
RECHECKED_AT_ONCE = 16


@dataclass(slots=True, eq=False)
class _Session:
    session_id: str
    splices: set[Splice] = field(default_factory=set)
    source_address: str = ""  # of the newest stream
    viewer: str | None = None  # the page that has the stream; another page's poll is told so
    watchers: int = 0
    # Disconnected because nobody used it; no stream until a page asks for it again. None: the control plane knows.
    is_idle: bool | None = None
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    last_socket_at: float = float("-inf")
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    viewer_changed: asyncio.Event = field(default_factory=asyncio.Event)
    reporter: asyncio.Task[None] | None = None
    deadline: asyncio.TimerHandle | None = None

    def tell_watchers(self) -> None:
        self.viewer_changed.set()
        self.viewer_changed = asyncio.Event()

    @property
    def is_unused(self) -> bool:
        is_reporting = self.reporter is not None and not self.reporter.done()
        is_spacing = time.monotonic() < self.last_socket_at + BETWEEN_SOCKETS_IN_SECONDS
        is_used = self.splices or self.viewer or self.watchers or self.is_idle
        return not (is_used or is_reporting or is_spacing or self.gate.locked())


class Streams:
    """Call `run` for as long as the gateway lives; `close` cuts everything and reports it."""

    def __init__(self, control: ControlClient) -> None:
        self._control = control
        self._sessions: dict[str, _Session] = {}

    @property
    def session_ids(self) -> frozenset[str]:
        """The sessions that are held in memory."""
        return frozenset(self._sessions)

    @property
    def open_count(self) -> int:
        return sum(len(session.splices) for session in self._sessions.values())

    async def run(self) -> None:
        """Cut the streams of every session that ends, whatever happens to the control plane meanwhile."""
        was_away = True  # at the start it is no news that the control plane is still starting too
        recheck: asyncio.Task[None] | None = None
        while True:
            try:
                async for notice in self._control.ended():
                    if notice is None:
                        was_away = False
                        recheck = asyncio.create_task(self._recheck())
                    elif notice.is_over:
                        self.end(notice.session_id, why="the session ended")
                    else:
                        self.disconnect(notice.session_id)
            except ControlAway as reason:
                if not was_away:
                    log.warning("control plane is away; open streams go on", extra={"reason": str(reason)})
                was_away = True
            finally:
                if recheck:
                    recheck.cancel()
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
        try:
            async with session.gate:
                await asyncio.sleep(session.last_socket_at + BETWEEN_SOCKETS_IN_SECONDS - time.monotonic())
                try:
                    yield
                finally:
                    session.last_socket_at = time.monotonic()
        finally:
            self._forget_soon(session)

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
            session.tell_watchers()

    def disconnect(self, session_id: str) -> None:
        """Cut the streams of a session that nobody used, and keep them cut until a page attaches itself again."""
        if session := self._sessions.get(session_id):
            session.is_idle = True
            self._cut(session, why="nobody used it")
            session.tell_watchers()

    def is_idle(self, session_id: str, *, as_stored: bool = False) -> bool:
        """Return whether the session was disconnected because nobody used it, and no page came back to it since.

        `as_stored` is what the control plane says. It counts as long as this process knows no better: an older gateway
        may have cut the stream.
        """
        session = self._sessions.get(session_id)
        if session is None or session.is_idle is None:
            return as_stored
        return session.is_idle

    def attach(self, session_id: str, viewer: str) -> None:
        """Give the stream to one page; the page that had it is cut and told.

        The caller must `end` the session here if it is over, or it would be held for ever.
        """
        session = self._session(session_id)
        if session.viewer not in (None, viewer):
            self._cut(session, why="opened elsewhere")
        session.viewer = viewer
        session.is_idle = False
        session.tell_watchers()

    def is_superseded(self, session_id: str, viewer: str) -> bool:
        """Return whether another page has the stream. After a restart nobody has: then the first page to ask has it."""
        session = self._sessions.get(session_id)
        return session is not None and session.viewer not in (None, viewer)

    async def wait_for_news(self, session_id: str) -> None:
        """Return when a page attached itself to the session, or it was disconnected, or ended."""
        session = self._session(session_id)
        session.watchers += 1
        try:
            await session.viewer_changed.wait()
        finally:
            session.watchers -= 1
            self._forget_soon(session)

    def _session(self, session_id: str) -> _Session:
        return self._sessions.setdefault(session_id, _Session(session_id))

    def _forget_soon(self, session: _Session) -> None:
        asyncio.get_running_loop().call_later(2 * BETWEEN_SOCKETS_IN_SECONDS, self._forget_unused, session)

    def _forget_unused(self, session: _Session) -> None:
        if session.is_unused and self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]

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
            session.reporter.add_done_callback(lambda _: self._forget_soon(session))

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
        """Ends may have been missed while the control plane was away: ask for every session, a few at a time."""
        slots = asyncio.Semaphore(RECHECKED_AT_ONCE)

        async def ask(session_id: str) -> None:
            async with slots:
                await self._end_if_over(session_id)

        await asyncio.gather(*(ask(session_id) for session_id in self.session_ids))

    async def _end_if_over(self, session_id: str) -> None:
        while session_id in self._sessions:
            try:
                view = await self._control.session(session_id)
            except Refused:
                self.end(session_id, why="the control plane does not know the session")
            except ControlAway:
                await asyncio.sleep(RETRY_IN_SECONDS)
                continue
            else:
                if view.state == "EXPIRED":
                    self.end(session_id, why="the session ended")
            return
