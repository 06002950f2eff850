"""Streams: the ways into the streaming sessions of a studio."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from fanlight.domain.machine import Machine
from fanlight.domain.places import Scope


class StreamState(StrEnum):
    READY = "READY"
    CREATE_IN_PROGRESS = "CREATE_IN_PROGRESS"
    DELETE_IN_PROGRESS = "DELETE_IN_PROGRESS"
    DELETED = "DELETED"
    CREATE_FAILED = "CREATE_FAILED"
    DELETE_FAILED = "DELETE_FAILED"


class StreamEvent(StrEnum):
    OPENED = "OPENED"
    SESSION_NOT_READY = "SESSION_NOT_READY"
    EXPIRED = "EXPIRED"


STREAM: Machine[StreamState, StreamEvent] = Machine(
    kind="stream",
    initial=StreamState.CREATE_IN_PROGRESS,
    table={
        (StreamState.CREATE_IN_PROGRESS, StreamEvent.OPENED): StreamState.READY,
        (StreamState.CREATE_IN_PROGRESS, StreamEvent.SESSION_NOT_READY): StreamState.CREATE_FAILED,
        (StreamState.READY, StreamEvent.SESSION_NOT_READY): StreamState.DELETED,
        (StreamState.READY, StreamEvent.EXPIRED): StreamState.DELETED,
    },
)
STREAM_CODES = {
    StreamState.CREATE_IN_PROGRESS: "STREAM_CREATE_IN_PROGRESS",
    StreamState.READY: "STREAM_READY",
    StreamState.DELETED: "STREAM_DELETED",
    StreamState.CREATE_FAILED: "NETWORK_CONNECTION_ERROR",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStream:
    """A way into a READY session until `expires_at`. Its URL is signed when it is asked for, and nowhere stored."""

    stream_id: str
    scope: Scope
    studio_id: str
    session_id: str
    version: int = 0
    state: StreamState = StreamState.CREATE_IN_PROGRESS
    owned_by: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    state_since: datetime

    @property
    def status_code(self) -> str:
        return STREAM_CODES[self.state]

    def after(self, event: StreamEvent, now: datetime) -> "SessionStream":
        """Raises TransitionRefused."""
        return replace(self, state=STREAM.after(self.state, event), state_since=now)
