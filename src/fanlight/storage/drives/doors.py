"""The doors to users' drives: open while the user has connected the drive, and waiting for that until then.

Nothing here holds up a session or its other doors: a provider is asked beside everything else, and again after a pause.
"""

import asyncio
import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from weakref import WeakValueDictionary

from fanlight.background import end
from fanlight.domain.errors import StorageUnusable
from fanlight.domain.user_storage import StorageDoor, StorageKind, StorageUsage
from fanlight.storage.drives.access import Accesses
from fanlight.storage.drives.grants import Grants
from fanlight.storage.drives.oauth import AccessEnded, GrantEnded, ProviderAway, room
from fanlight.storage.drives.providers import NAME, Grant, Provider, Room
from fanlight.storage.sessions import Remote, SessionDoors

log = logging.getLogger(__name__)

DRIVES = frozenset({StorageKind.GOOGLE_DRIVE, StorageKind.ONE_DRIVE})
FIRST_PAUSE_IN_SECONDS = 2.0
LONGEST_PAUSE_IN_SECONDS = 60.0
LOOK_EVERY_SECONDS = 30.0  # whether the provider still answers, and takes the leave


class DriveState(StrEnum):
    """NO_CLIENT: the operator took the provider's client away. ENDED: not connected any more, for the provider took the
    leave back. AWAY: the provider or rclone is tried again.
    """

    NO_CLIENT = "NO_CLIENT"
    NOT_CONNECTED = "NOT_CONNECTED"
    ENDED = "ENDED"
    CONNECTING = "CONNECTING"
    CONNECTED = "CONNECTED"
    AWAY = "AWAY"


@dataclass(frozen=True, slots=True)
class _Opened:
    """What serves a drive, with which grant; `word` is what its rclone has access with."""

    grant_id: str
    doors: SessionDoors
    word: str = field(repr=False)


@dataclass(slots=True)
class Drive:
    """One of one session. `changed` is set when the grant may be another one, or the door is asked for again.

    `room` is what its provider said when it was asked last.
    """

    door: StorageDoor
    state: DriveState = DriveState.CONNECTING
    account: str | None = None
    room: Room | None = None
    opened: _Opened | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    living: asyncio.Task[None] | None = None
    is_ending: bool = False


class DriveDoors:
    """As SessionDoors, for the kinds in DRIVES. Opening and closing return at once, and fail for no provider.

    In `spool` rclone keeps a file while it is on its way to a provider that wants to know its size first.
    """

    def __init__(self, run_dir: Path, grants: Grants, providers: Mapping[StorageKind, Provider], spool: Path) -> None:
        self._run_dir, self.grants, self.providers, self._spool = run_dir, grants, providers, spool
        self._accesses = Accesses(grants, providers)
        self._drives: dict[str, Drive] = {}  # by door id
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by session

    def prepare(self) -> None:
        """Clear away what an earlier process left. Raises OSError."""
        shutil.rmtree(self._spool, ignore_errors=True)
        self._spool.mkdir(mode=0o700, parents=True)

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
        await self._accesses.close()

    def look_anew(self, door: StorageDoor, *, without_grant: DriveState = DriveState.NOT_CONNECTED) -> None:
        """The grant of this door's user has changed: all sessions of that user hear it, and say `without_grant` if there is none."""
        for drive in self._drives.values():
            if (drive.door.bucket, drive.door.prefix, drive.door.kind) == (door.bucket, door.prefix, door.kind):
                # So that it is said at once; the files follow.
                if self._usable_grant(drive) is None and drive.state is not DriveState.NO_CLIENT:
                    drive.state = without_grant
                    self._accesses.forget(drive.door)
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
        pause = FIRST_PAUSE_IN_SECONDS
        try:
            while not drive.is_ending:
                drive.changed.clear()
                grant = self._usable_grant(drive)
                if drive.opened is not None and (grant is None or grant.grant_id != drive.opened.grant_id):
                    await self._shut(drive)
                if grant is None:
                    await drive.changed.wait()
                    continue
                try:
                    await self._serve(drive, grant)
                except GrantEnded:
                    self._forget_grant(drive, grant)
                except (ProviderAway, OSError, TimeoutError) as error:
                    log.warning("a drive cannot be reached", extra={**_about(drive), "why": repr(error)})
                    drive.state = DriveState.AWAY
                    await _change_of(drive, pause)
                    pause = min(pause * 2, LONGEST_PAUSE_IN_SECONDS)
                else:
                    drive.state, pause = DriveState.CONNECTED, FIRST_PAUSE_IN_SECONDS
                    await _change_of(drive, LOOK_EVERY_SECONDS)
        finally:
            await self._shut(drive)

    async def _serve(self, drive: Drive, grant: Grant) -> None:
        """See to it that the door is open, and its provider there. Raises ProviderAway, GrantEnded, OSError, TimeoutError."""
        if drive.opened is None and drive.state is not DriveState.AWAY:
            drive.state = DriveState.CONNECTING
        try:
            await self._ask_for_room(drive, grant)
        except AccessEnded as error:
            # Before its time: what rclone has must not be used any more either.
            self._accesses.forget(drive.door)
            await self._shut(drive)
            raise ProviderAway("it takes the access token no more; the next one is asked for") from error
        if drive.opened is None:
            drive.opened = await self._opened(drive, grant)
        quota = drive.room.total if drive.room is not None else None
        await drive.opened.doors.open(replace(drive.door, quota_in_bytes=quota))

    async def _ask_for_room(self, drive: Drive, grant: Grant) -> None:
        """See as well whether the provider is there, and takes the leave. Raises ProviderAway, AccessEnded, GrantEnded, OSError."""
        access = await self._accesses.of(drive.door, grant)
        drive.room = await room(self.providers[drive.door.kind], access)

    async def _opened(self, drive: Drive, grant: Grant) -> _Opened:
        """Raises OSError."""
        word, token = await self._accesses.admit(drive.door, grant, drive.changed.set)
        environment = self.providers[drive.door.kind].environment(grant, token)
        remote = self._remote_of(drive, grant, {**environment, "TMPDIR": str(self._spool)})
        return _Opened(grant.grant_id, SessionDoors(self._run_dir, remote), word)

    async def _shut(self, drive: Drive) -> None:
        opened, drive.opened = drive.opened, None
        if opened is not None:
            self._accesses.dismiss(opened.word)
            await opened.doors.close_all()

    def _forget_grant(self, drive: Drive, grant: Grant) -> None:
        log.info("a provider takes a user's leave no more", extra=_about(drive))
        there = self.grants.read(drive.door)
        if there is not None and there.grant_id == grant.grant_id:
            self.grants.remove(drive.door)
            self.look_anew(drive.door, without_grant=DriveState.ENDED)

    def _usable_grant(self, drive: Drive) -> Grant | None:
        """Return the grant if its account may still be used; else say in `drive` why there is none."""
        grant = self.grants.read(drive.door)
        if grant is not None and not is_among(grant.domain, drive.door.domains):
            grant = None
        drive.account = grant.account if grant is not None else None
        if drive.door.kind not in self.providers:
            drive.state = DriveState.NO_CLIENT
            return None
        if grant is None and drive.state is not DriveState.ENDED:
            drive.state = DriveState.NOT_CONNECTED
        return grant

    def _remote_of(self, drive: Drive, grant: Grant, environment: Mapping[str, str]) -> Remote:
        """The whole drive, with the provider's own limit for a quota."""

        async def size_of(_bucket: str, _prefix: str) -> int:
            try:
                await self._ask_for_room(drive, grant)
            except (ProviderAway, AccessEnded, GrantEnded, OSError) as error:
                drive.changed.set()  # it looks for itself what is the matter
                raise StorageUnusable(f"The provider does not say how much is on the drive: {error}.") from error
            return drive.room.used if drive.room is not None else 0

        async def ensure(_bucket: str) -> None:
            if drive.state is not DriveState.CONNECTED:
                raise StorageUnusable("The drive cannot be reached.")

        async def usage() -> Sequence[StorageUsage]:
            return ()

        return Remote(
            root=f"{NAME}:",
            is_whole=True,
            size_of=size_of,
            ensure=ensure,
            usage=usage,
            # What others change is seen when a folder is read anew, which is within seconds: nobody need ask for changes.
            flags=("--low-level-retries", "3", "--contimeout", "5s", "--poll-interval", "0"),
            environment=environment,
        )


async def _change_of(drive: Drive, limit_in_seconds: float) -> None:
    """Return when something has changed, or after that time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_in_seconds):
            await drive.changed.wait()


def is_among(domain: str, domains: Collection[str]) -> bool:
    return domain in {one.lower() for one in domains}


def _about(drive: Drive) -> dict[str, str]:
    return {"streaming_session_id": drive.door.session_id, "kind": drive.door.kind}
