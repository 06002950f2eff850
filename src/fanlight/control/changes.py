"""Who waits for a session to change, within this process. All writes to sessions go through it, so none is missed."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping

from fanlight.domain.streaming_sessions import StreamingSession

# A gateway that is so far behind is stuck; it is cut off and reads its sessions anew when it comes back.
MAX_UNREAD = 1_000
# A gateway that was told to cut an idle user's stream confirms it within milliseconds, or at its next heartbeat, which
# is when it is told again. Three heartbeats: what it reports afterwards is a stream of its own making.
CUT_GRACE_IN_SECONDS = 30.0


class SessionChanges:
    """`notify` is what reconcilers call after each write, `disconnect` when an idle user's streams must be cut."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listeners: set[CutListener] = set()
        self._being_cut: dict[str, float] = {}  # session id → when that was first said; until the gateway confirms

    def notify(self, session: StreamingSession) -> None:
        for event in self._waiting.get(session.session_id, ()):
            event.set()
        if not session.is_live:
            self._being_cut.pop(session.session_id, None)
            self._tell({"session_id": session.session_id})

    def disconnect(self, session: StreamingSession) -> None:
        self._being_cut[session.session_id] = time.monotonic()
        self._tell({"disconnect": session.session_id})

    def is_being_cut(self, session_id: str) -> bool:
        """Return whether a report of an open stream is still that of the stream to be cut, and say again that it must be.

        After CUT_GRACE the report is believed: no gateway may be kept out for ever.
        """
        said_at = self._being_cut.get(session_id)
        if said_at is None:
            return False
        if time.monotonic() - said_at > CUT_GRACE_IN_SECONDS:
            del self._being_cut[session_id]
            return False
        self._tell({"disconnect": session_id})
        return True

    def confirm_cut(self, session_id: str) -> bool:
        """Take note that no stream is open any more; return whether that was an answer to `disconnect`."""
        return self._being_cut.pop(session_id, None) is not None

    def _tell(self, line: Mapping[str, str]) -> None:
        for listener in self._listeners:
            listener.tell(line)

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
    def listening(self) -> Iterator["CutListener"]:
        """Give a listener that hears of every stream to be cut from now on."""
        listener = CutListener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)


class CutListener:
    """Hears lines of `GET /v1/ended`. `is_behind` once it missed one: it has to begin anew."""

    def __init__(self) -> None:
        self._unread: asyncio.Queue[Mapping[str, str]] = asyncio.Queue(MAX_UNREAD)
        self.is_behind = False

    def tell(self, line: Mapping[str, str]) -> None:
        try:
            self._unread.put_nowait(line)
        except asyncio.QueueFull:
            self.is_behind = True

    async def next(self, silence_in_seconds: float) -> Mapping[str, str]:
        """Return the next line, or an empty one after that much silence."""
        try:
            async with asyncio.timeout(silence_in_seconds):
                return await self._unread.get()
        except TimeoutError:
            return {}
