"""Who waits for a session to change, within this process. All writes to sessions go through it, so none is missed."""

import asyncio
import contextlib
from collections.abc import Iterator

from fanlight.domain.streaming_sessions import StreamingSession

# A gateway that is so far behind is stuck; it is cut off and reads its sessions anew when it comes back.
MAX_ENDED_UNREAD = 1_000


class SessionChanges:
    """`notify` is what reconcilers call after each write."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listeners: set[EndedListener] = set()

    def notify(self, session: StreamingSession) -> None:
        for event in self._waiting.get(session.session_id, ()):
            event.set()
        if not session.is_live:
            for listener in self._listeners:
                listener.tell(session.session_id)

    @contextlib.contextmanager
    def watching(self, session_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set by each change from now on."""
        event = asyncio.Event()
        self._waiting.setdefault(session_id, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting[session_id]
            waiting.discard(event)
            if not waiting:
                del self._waiting[session_id]

    @contextlib.contextmanager
    def listening(self) -> Iterator["EndedListener"]:
        """Give a listener that hears every end from now on."""
        listener = EndedListener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)


class EndedListener:
    """`is_behind` once it missed an end: it hears nothing more and has to begin anew."""

    def __init__(self) -> None:
        self._unread: asyncio.Queue[str] = asyncio.Queue(MAX_ENDED_UNREAD)
        self.is_behind = False

    def tell(self, session_id: str) -> None:
        try:
            self._unread.put_nowait(session_id)
        except asyncio.QueueFull:
            self.is_behind = True

    async def next(self, silence_in_seconds: float) -> str | None:
        """Return the next session that ended, or None after that much silence."""
        try:
            async with asyncio.timeout(silence_in_seconds):
                return await self._unread.get()
        except TimeoutError:
            return None
