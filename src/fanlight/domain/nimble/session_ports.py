"""What the streaming sessions of studios need of the store. See `domain.ports` for the rules of units and versions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from fanlight.domain.nimble.session_backups import SessionBackup
from fanlight.domain.nimble.sessions import StudioSession
from fanlight.domain.nimble.streams import SessionStream
from fanlight.domain.places import Scope


class StudioSessions(Protocol):
    async def add(self, session: StudioSession) -> StudioSession:
        """Raises AlreadyExists."""
        ...

    async def find(self, session_id: str) -> StudioSession | None: ...

    async def of_instance(self, instance_id: str) -> StudioSession | None:
        """Return the session whose disk is on this instance, the one in use or that of a backup."""
        ...

    async def page(self, scope: Scope, studio_id: str, *, after: str = "", limit: int) -> Sequence[StudioSession]:
        """Return the sessions of a studio by id, DELETED ones included until they are pruned."""
        ...

    async def of_launch_profile(self, launch_profile_id: str) -> Sequence[StudioSession]: ...

    async def everywhere(self) -> Sequence[StudioSession]:
        """Return all sessions of all scopes that are not DELETED, for the reconcilers."""
        ...

    async def save(self, session: StudioSession) -> StudioSession: ...

    async def prune(self, gone_before: datetime) -> int:
        """Forget what is DELETED or CREATE_FAILED since before, sessions, backups and streams; return how many."""
        ...


class SessionBackups(Protocol):
    async def add(self, backup: SessionBackup) -> SessionBackup: ...
    async def find(self, backup_id: str) -> SessionBackup | None: ...

    async def of_session(self, session_id: str) -> Sequence[SessionBackup]:
        """Return the backups of a session that are there or under way, the oldest first."""
        ...

    async def page(self, scope: Scope, studio_id: str, *, after: str = "", limit: int) -> Sequence[SessionBackup]:
        """Return the backups of a studio by id, DELETED ones included until they are pruned."""
        ...

    async def save(self, backup: SessionBackup) -> SessionBackup: ...


class SessionStreams(Protocol):
    async def add(self, stream: SessionStream) -> SessionStream: ...
    async def find(self, stream_id: str) -> SessionStream | None: ...

    async def open_of(self, session_id: str) -> Sequence[SessionStream]:
        """Return the streams of a session that are READY or under way."""
        ...

    async def save(self, stream: SessionStream) -> SessionStream: ...
