"""Keep open the doors through which sessions reach their users' files, and no others.

Opened as soon as a session has its instance, beside everything else that a start needs: nobody waits for it. The storage
process remembers nothing, so after its restart they are opened anew. Neighbours: `domain.door_plan` says which there are,
`buckets` looks after what is behind them.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fanlight.agentwire import FIRST_PROTOCOL_WITH_STORAGE, KEPT_SETTINGS_VERSIONS
from fanlight.agentwire.messages import StorageMount
from fanlight.domain.door_plan import place_of, plan_doors
from fanlight.domain.errors import NotFound, StorageUnavailable, StorageUnusable
from fanlight.domain.ports import AgentChannel, AgentStatus, Clock, Transactions, UserStorage, Wake
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.domain.user_storage import (
    StorageDoor,
    StorageKind,
    socket_name,
    storage_key,
)
from fanlight.services.door_tokens import DoorTokens

log = logging.getLogger(__name__)

LOOK_INTERVAL_IN_SECONDS = 2.0
_FOLDERS: Mapping[StorageKind, str] = {
    StorageKind.HOMEFOLDERS: "HomeFolder",
    StorageKind.GOOGLE_DRIVE: "GoogleDrive",
    StorageKind.ONE_DRIVE: "OneDrive",
}


@dataclass(slots=True, kw_only=True)
class DoorReconciler:
    """`first_uid_of` tells the host's uid of an instance's root, None while the engine has not shown it.

    `storage` is None where sessions have no storage. `opened` has the sessions that this process opens doors for.
    """

    transactions: Transactions
    storage: UserStorage | None
    tokens: DoorTokens
    agents: AgentChannel
    clock: Clock
    wake: Wake
    first_uid_of: Callable[[str], int | None]
    settings_limit_in_bytes: int
    quota_in_bytes: int | None = None
    opened: dict[str, StreamingSession] = field(default_factory=dict)
    _kinds: dict[str, Collection[StorageKind]] = field(default_factory=dict)
    _is_away: bool = False

    @property
    def settings_room_in_bytes(self) -> int:
        """What a user's settings may take: the versions that stay, and one that is on its way."""
        return (KEPT_SETTINGS_VERSIONS + 1) * self.settings_limit_in_bytes

    async def reconcile(self, session_id: str) -> datetime | None:
        """Open and close the doors of one session. Raises StorageUnavailable, StoreUnavailable."""
        if self.storage is None:
            return None
        async with self.transactions.begin() as work:
            session = await work.sessions.find(session_id)
            instance = await work.instances.find(session.instance_id) if session and session.instance_id else None
            try:
                stack = await work.stacks.get(session.scope, session.stack_name) if session else None
            except NotFound:
                stack = None
        kinds = plan_doors(session, instance, stack)
        if session is None or instance is None or not kinds:
            await self.storage.close(session_id)
            self.opened.pop(session_id, None)
            self._kinds.pop(session_id, None)
            return None
        first_uid = self.first_uid_of(instance.instance_id)
        if first_uid is None or not self._knows_storage(instance.instance_id):
            return None  # woken again when the engine shows it
        self.opened[session_id] = session
        self._kinds.pop(session_id, None)
        await self.storage.close(session_id, but=kinds)
        await asyncio.gather(*(self._open(self.storage, session, kind, first_uid) for kind in sorted(kinds)))
        self._kinds[session_id] = kinds
        return None

    async def _open(self, storage: UserStorage, session: StreamingSession, kind: StorageKind, first_uid: int) -> None:
        place = place_of(session, kind)
        quotas = {
            StorageKind.HOMEFOLDERS: self.quota_in_bytes,
            StorageKind.APPLICATION_SETTINGS: self.settings_room_in_bytes,
        }
        door = StorageDoor(
            session_id=session.session_id,
            kind=kind,
            instance_id=session.instance_id or "",
            first_uid=first_uid,
            token=self.tokens.token_of(session.session_id, kind),
            bucket=place.bucket,
            prefix=place.prefix,
            quota_in_bytes=quotas.get(kind),
            domains=next((one.domains for one in session.storage_connectors if one.kind is kind), ()),
        )
        try:
            await storage.open(door)
        except StorageUnusable as error:
            # The door is open all the same. The administrator is told by the stack, the user by the agent's report.
            log.warning("users' files cannot be reached", extra={"bucket": door.bucket, "why": str(error)})
            self.wake("storage", storage_key(session.scope))

    def _knows_storage(self, instance_id: str) -> bool:
        """Return whether its runtime is new enough; one that was not heard yet is taken for it."""
        agent = self.agents.status(instance_id)
        return agent is None or agent.protocol >= FIRST_PROTOCOL_WITH_STORAGE

    def mounts_of(self, session: StreamingSession, agent: AgentStatus | None) -> tuple[StorageMount, ...]:
        """Return what the agent is told: also of doors that cannot be opened now, for it tries again."""
        if self.storage is None or not session.storage_kinds:
            return ()
        if agent is None or agent.protocol < FIRST_PROTOCOL_WITH_STORAGE:
            log.warning(
                "an instance with a runtime of before home folders has none",
                extra={"instance_id": session.instance_id, "streaming_session_id": session.session_id},
            )
            return ()
        return tuple(
            StorageMount(
                kind=kind,
                socket=socket_name(session.session_id, kind),
                token=self.tokens.token_of(session.session_id, kind),
                folder=_FOLDERS.get(kind, ""),
                max_bytes=self.settings_limit_in_bytes if kind is StorageKind.APPLICATION_SETTINGS else 0,
            )
            for kind in sorted(session.storage_kinds)
        )

    def needs_look(self, session_id: str, session: StreamingSession | None) -> bool:
        """Return whether a sweep should have the doors of a session that holds a place looked at (None: it is over)."""
        if self.storage is None or session_id in self.opened:
            return False
        return session is None or bool(session.storage_kinds)

    async def look(self) -> None:
        """Wake what does not fit: doors that a restarted storage process has not, and doors that nobody knows of."""
        if self.storage is None:
            return
        try:
            found = await self.storage.doors()
        except StorageUnavailable as error:
            if not self._is_away:
                log.warning("the storage process is away", extra={"why": str(error)})
            self._is_away = True
            return
        self._is_away = False
        expected = {(session_id, kind) for session_id, kinds in self._kinds.items() for kind in kinds}
        strange = {session_id for session_id, _ in found if session_id not in self.opened}
        for session_id in strange | {session_id for session_id, _ in expected - set(found)}:
            self.wake("door", session_id)
