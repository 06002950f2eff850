"""The doors to users' drives: open while the user has connected the drive, and waiting for that until then.

Nothing here holds up a session or its other doors: a provider is asked beside everything else, and again after a pause.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from weakref import WeakValueDictionary

from fanlight.background import end
from fanlight.domain.user_storage import StorageDoor, StorageKind, StorageUsage
from fanlight.storage.drives.grants import Grants
from fanlight.storage.drives.oauth import GrantEnded, ProviderAway, refreshed
from fanlight.storage.drives.providers import NAME, Grant, Provider
from fanlight.storage.sessions import Remote, SessionDoors

log = logging.getLogger(__name__)

DRIVES = frozenset({StorageKind.GOOGLE_DRIVE, StorageKind.ONE_DRIVE})
FIRST_PAUSE_IN_SECONDS = 2.0
LONGEST_PAUSE_IN_SECONDS = 60.0


class DriveState(StrEnum):
    """NO_CLIENT: the operator took the provider's client away. AWAY: the provider or rclone is tried again."""

    NO_CLIENT = "NO_CLIENT"
    NOT_CONNECTED = "NOT_CONNECTED"
    CONNECTING = "CONNECTING"
    CONNECTED = "CONNECTED"
    AWAY = "AWAY"


@dataclass(slots=True)
class Drive:
    """One of one session. `changed` is set when the grant may be another one, or the door is asked for again."""

    door: StorageDoor
    state: DriveState = DriveState.CONNECTING
    account: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    living: asyncio.Task[None] | None = None
    is_ending: bool = False


class DriveDoors:
    """As SessionDoors, for the kinds in DRIVES. Opening and closing return at once, and fail for no provider."""

    def __init__(self, run_dir: Path, grants: Grants, providers: Mapping[StorageKind, Provider]) -> None:
        self._run_dir, self.grants, self.providers = run_dir, grants, providers
        self._drives: dict[str, Drive] = {}  # by door id
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by session
        self._renewals: WeakValueDictionary[tuple[str, str, StorageKind], asyncio.Lock] = WeakValueDictionary()

    def doors(self) -> Sequence[StorageDoor]:
        """Return those that are open, and those that wait for their user."""
        return tuple(drive.door for drive in self._drives.values())

    def of(self, session_id: str) -> Sequence[Drive]:
        return [drive for drive in self._drives.values() if drive.door.session_id == session_id]

    async def open(self, door: StorageDoor) -> None:
        async with self._turn_of(door.session_id):
            there = self._drives.get(door.door_id)
            if there is not None and there.door == door:
                there.changed.set()
                return
            if there is not None:
                await self._close(there)
            drive = self._drives[door.door_id] = Drive(door)
            drive.living = asyncio.create_task(self._live(drive))

    async def close(self, session_id: str, *, but: Collection[StorageKind] = ()) -> None:
        async with self._turn_of(session_id):
            for drive in self.of(session_id):
                if drive.door.kind not in but:
                    await self._close(drive)

    async def close_all(self) -> None:
        for session_id in {door.session_id for door in self.doors()}:
            await self.close(session_id)

    def look_anew(self, door: StorageDoor) -> None:
        """The grant of this door's user has changed: all sessions of that user hear it."""
        for drive in self._drives.values():
            if (drive.door.bucket, drive.door.prefix, drive.door.kind) == (door.bucket, door.prefix, door.kind):
                self._usable_grant(drive)  # so that it is said at once; the files follow
                drive.changed.set()

    def _turn_of(self, session_id: str) -> asyncio.Lock:
        return self._turns.setdefault(session_id, asyncio.Lock())

    async def _close(self, drive: Drive) -> None:
        del self._drives[drive.door.door_id]
        # Both: what it just waits for may swallow the cancellation.
        drive.is_ending = True
        drive.changed.set()
        if drive.living is not None:
            await end(drive.living)

    async def _live(self, drive: Drive) -> None:
        opened: tuple[str, SessionDoors] | None = None  # by the id of its grant
        pause = FIRST_PAUSE_IN_SECONDS
        try:
            while not drive.is_ending:
                drive.changed.clear()
                grant = self._usable_grant(drive)
                if opened is not None and (grant is None or grant.grant_id != opened[0]):
                    await opened[1].close_all()
                    opened = None
                if grant is None:
                    await drive.changed.wait()
                    continue
                try:
                    if opened is None:
                        drive.state = DriveState.CONNECTING
                        opened = grant.grant_id, await self._doors_of(drive.door, grant)
                    await opened[1].open(drive.door)
                except GrantEnded:
                    log.info("a provider takes a user's leave no more", extra=_about(drive))
                    if (there := self.grants.read(drive.door)) is not None and there.grant_id == grant.grant_id:
                        self.grants.remove(drive.door)
                        self.look_anew(drive.door)
                except (ProviderAway, OSError, TimeoutError) as error:
                    log.warning("a drive cannot be reached", extra={**_about(drive), "why": str(error)})
                    drive.state, opened = DriveState.AWAY, None
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await drive.changed.wait()
                    pause = min(pause * 2, LONGEST_PAUSE_IN_SECONDS)
                else:
                    drive.state, pause = DriveState.CONNECTED, FIRST_PAUSE_IN_SECONDS
                    await drive.changed.wait()
        finally:
            if opened is not None:
                await opened[1].close_all()

    def _usable_grant(self, drive: Drive) -> Grant | None:
        """Return the grant if its account may still be used; else say in `drive` why there is none."""
        grant = self.grants.read(drive.door)
        if grant is not None and not is_among(grant.domain, drive.door.domains):
            grant = None
        drive.account = grant.account if grant is not None else None
        if drive.door.kind not in self.providers:
            drive.state = DriveState.NO_CLIENT
            return None
        if grant is None:
            drive.state = DriveState.NOT_CONNECTED
        return grant

    async def _doors_of(self, door: StorageDoor, grant: Grant) -> SessionDoors:
        """Raises ProviderAway, GrantEnded, OSError."""
        provider = self.providers[door.kind]
        # One after the other: a provider may take a refresh token once only, and two sessions of a user have the same.
        async with self._renewals.setdefault((door.bucket, door.prefix, door.kind), asyncio.Lock()):
            grant = self._unchanged(door, grant)
            newest = await refreshed(provider, grant)
            self._unchanged(door, grant)
            if newest != grant:
                self.grants.write(door, newest)
        return SessionDoors(self._run_dir, _remote_of(provider, newest))

    def _unchanged(self, door: StorageDoor, grant: Grant) -> Grant:
        """Return it as it is on disk now. Raises ProviderAway when its user has meanwhile taken it back, or given another."""
        there = self.grants.read(door)
        if there is None or there.grant_id != grant.grant_id:
            raise ProviderAway("the drive was connected anew or disconnected meanwhile")
        return there


def is_among(domain: str, domains: Collection[str]) -> bool:
    return domain in {one.lower() for one in domains}


def _remote_of(provider: Provider, grant: Grant) -> Remote:
    """The whole drive. Nobody counts what is on it: the provider has limits of its own."""

    async def size_of(_bucket: str, _prefix: str) -> int:
        return 0

    async def ensure(_bucket: str) -> None:
        """There is no bucket."""

    async def usage() -> Sequence[StorageUsage]:
        return ()

    return Remote(
        root=f"{NAME}:",
        is_whole=True,
        size_of=size_of,
        ensure=ensure,
        usage=usage,
        flags=("--low-level-retries", "3", "--contimeout", "5s"),
        environment=provider.environment(grant),
    )


def _about(drive: Drive) -> dict[str, str]:
    return {"streaming_session_id": drive.door.session_id, "kind": drive.door.kind}
