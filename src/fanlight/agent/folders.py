"""One folder of a user's files in a session: mounted while its door answers, watched, and emptied at the end.

    MOUNTING → MOUNTED ⇄ OFFLINE

Nothing here holds a session up. What was saved and has not arrived is in the cache on disk; rclone sends it, however
often it was started anew on it, and `end` returns only when nothing of it is left.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable

from fanlight.agent.bookmarks import add_bookmark
from fanlight.agent.folder_mounts import make_placeholder, mounted_at
from fanlight.agent.gate.ledger import Room
from fanlight.agent.gate.serving import GateNews
from fanlight.agent.processes import Processes
from fanlight.agent.rclone import (
    DoorWord,
    FolderPlace,
    RcloneControl,
    Unsent,
    ask_door,
    mount_program,
    unmount_program,
    unsent_in,
)
from fanlight.agent.system import make_directory
from fanlight.agentwire import QUOTA_USED_UP
from fanlight.agentwire.messages import Opening, StorageReport

log = logging.getLogger(__name__)

HOME_FOLDERS = "HOMEFOLDERS"
MOUNTING, MOUNTED, OFFLINE = "MOUNTING", "MOUNTED", "OFFLINE"
NO_DOOR = "the files cannot be reached at the moment"
NOT_SENT = "what is saved cannot be sent at the moment; it is kept and tried again"
READING = "the folder is being read"
NO_PLACE = "something else is in the folder's place"
NOT_RUNNING = "the folder is being connected again"

STARTING_POLL_IN_SECONDS = 0.05
WATCH_IN_SECONDS = 2.0
OPENING_POLL_IN_SECONDS = 1.0  # while a listing takes long
ENDING_POLL_IN_SECONDS = 0.2
DOOR_RETRY_IN_SECONDS = 1.0
FIRST_PAUSE_IN_SECONDS, LONGEST_PAUSE_IN_SECONDS = 0.2, 5.0  # before rclone is started again
HEALTHY_AFTER_IN_SECONDS = 20.0
# A drive whose door is no more was disconnected. So long a restart of who serves the doors may take.
GONE_AFTER_IN_SECONDS = 10.0
FORGET_IN_SECONDS = 20.0  # what others change is seen after that; the host's side looks anew whenever it is asked
HURRY_IN_SECONDS = 5.0  # so often is tried again what failed, once the door answers
HURRY_WITHOUT_ROOM_IN_SECONDS = 30.0  # the same while the quota is used up: each try sends the file
QUIET_LOOKS = 2  # so often there must be nothing before the end: a file may be closed between two looks
TELL_IN_SECONDS = 1.0
TERM_LIMIT_IN_SECONDS = 5.0


class Folder:
    """`on_change` is called when what the report says of its state has changed, and while it ends for its counts."""

    def __init__(self, place: FolderPlace, processes: Processes, *, on_change: Callable[[], None]) -> None:
        self._place, self._processes, self._on_change = place, processes, on_change
        self._control = RcloneControl(place.control_socket)
        self._gate = GateNews(place.gate)
        self._state, self._detail = MOUNTING, ""
        self._opening: Opening | None = None
        self._unsent: tuple[int, int] = (0, 0)
        self._woken = asyncio.Event()
        self._is_ending = False
        self._on_unsent: Callable[[], None] | None = None
        self._told_at = 0.0
        self._forgot_at = self._hurried_at = time.monotonic()
        self._is_asked_to_look = False
        self._listing: int | None = None  # the job of the first one
        self._has_listed = False
        self._is_shown = True  # to the user
        self._gone_since: float | None = None  # the door
        self._living: asyncio.Task[None] | None = None

    @property
    def report(self) -> StorageReport:
        count, size = self._unsent
        return StorageReport(
            kind=self._place.mount.kind,
            state=self._state,
            unsent_files=count,
            unsent_bytes=size,
            detail=self._detail,
            opening=self._opening,
        )

    def begin(self, *, has_user: bool = True) -> None:
        """Show the folder to its user, if there is one, without files at first, and have it mounted. Raises OSError."""
        make_directory(str(self._place.directory.parent), 0, 0, 0o700)
        make_directory(str(self._place.hidden), 0, 0, 0o700)
        for path in (self._place.cache.parent.parent, self._place.cache.parent, self._place.cache):
            make_directory(str(path), 0, 0, 0o700)
        if has_user:
            make_placeholder(str(self._place.files_directory), self._place.mount.folder)
            self._bookmark()
        self._living = asyncio.get_running_loop().create_task(self._live())

    def _bookmark(self) -> None:
        seat = self._place.seat
        home, path = self._place.root / seat.user.home.lstrip("/"), f"{seat.files_directory}/{self._place.mount.folder}"
        try:
            add_bookmark(home, seat.user, path)
        except OSError as error:  # a comfort, no more
            log.info("no bookmark of a folder", extra={"kind": self._place.mount.kind, "why": str(error)})

    def refresh(self) -> None:
        """Somebody else has changed the files: look at once."""
        self._is_asked_to_look = True
        self._woken.set()

    async def end(self, on_unsent: Callable[[], None]) -> None:
        """Send what is left, tell when there is any, take the folder away, and return. However long that takes."""
        self._on_unsent = on_unsent
        self._is_ending = True
        self._woken.set()
        if self._living is not None:
            await self._living

    # ── The life of it ────────────────────────────────────────────────────────────────────────────────────────────

    async def _live(self) -> None:
        pause, room = FIRST_PAUSE_IN_SECONDS, None
        while True:
            self._count(unsent_in(self._place.cache))
            if self._is_ending and not self._unsent[0]:
                return
            if not self._unsent[0]:
                door = await ask_door(self._place)
                if door is None:
                    self._tell(OFFLINE, NO_DOOR)
                    await self._pause(DOOR_RETRY_IN_SECONDS)
                    continue
                room = door.room
            began_at = time.monotonic()
            try:
                await self._serve(room)
            except OSError as error:
                log.warning("a folder cannot be mounted", extra={"kind": self._place.mount.kind, "why": str(error)})
            if not self._is_ending:
                self._tell(OFFLINE, NOT_RUNNING)
            elif not unsent_in(self._place.cache)[0]:
                return
            if time.monotonic() - began_at > HEALTHY_AFTER_IN_SECONDS:
                pause = FIRST_PAUSE_IN_SECONDS
            await self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE_IN_SECONDS)

    async def _serve(self, room: Room | None) -> None:
        """Start rclone and watch it until it has ended, by itself or because there is nothing left to do. Raises OSError.

        On a cache with something unsent it only sends: rclone shows files that it did not write itself as empty then.
        """
        self._is_shown = not self._unsent[0]
        self._place.control_socket.unlink(missing_ok=True)
        self._listing, self._has_listed = None, False
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        pid = self._processes.start(
            mount_program(self._place, room, is_shown=self._is_shown), lambda status: _note(ended, status)
        )
        ended.add_done_callback(lambda _: self._woken.set())
        try:
            quiet_looks = 0
            while not ended.done():
                is_quiet = await self._look(pid)
                quiet_looks = quiet_looks + 1 if is_quiet and self._is_only_sending else 0
                if quiet_looks >= QUIET_LOOKS or (self._is_taken_away() and not self._is_only_sending):
                    return
                await self._pause(self._rhythm())
            log.warning("rclone ended", extra={"kind": self._place.mount.kind, "status": ended.result()})
        finally:
            self._tell_opening(None)
            await self._stop(pid, ended)

    async def _stop(self, pid: int, ended: asyncio.Future[int]) -> None:
        gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._processes.start(unmount_program(self._place), lambda status: _note(gone, status))
        await asyncio.wait([gone], timeout=TERM_LIMIT_IN_SECONDS)
        if not ended.done():
            self._processes.signal(pid, signal.SIGTERM)
        await asyncio.wait([ended], timeout=TERM_LIMIT_IN_SECONDS)
        if not ended.done():
            self._processes.signal(pid, signal.SIGKILL)
            await ended

    def _is_taken_away(self) -> bool:
        """Whether its user disconnected a drive: then what was listed is out of sight too. What is unsent is kept."""
        if self._place.mount.kind == HOME_FOLDERS or os.path.lexists(self._place.door):
            self._gone_since = None
            return False
        if self._gone_since is None:
            self._gone_since = time.monotonic()
        return time.monotonic() - self._gone_since > GONE_AFTER_IN_SECONDS

    @property
    def _is_only_sending(self) -> bool:
        return self._is_ending or not self._is_shown

    def _rhythm(self) -> float:
        if self._is_only_sending:
            return ENDING_POLL_IN_SECONDS
        if self._state == OFFLINE:
            return DOOR_RETRY_IN_SECONDS
        if self._opening is not None or self._is_asked_to_look:
            return OPENING_POLL_IN_SECONDS
        return WATCH_IN_SECONDS if self._has_listed else STARTING_POLL_IN_SECONDS

    async def _look(self, pid: int) -> bool:
        """Learn how it stands and do what is due; return whether everything has arrived."""
        places = mounted_at(self._place.mount.kind, pid)
        self._gate.mark()
        try:
            unsent = await self._control.unsent()
        except OSError:
            return False  # it is not up yet, or it is about to be started again
        self._count((len(unsent), sum(one.size for one in unsent)))
        if self._is_only_sending and not unsent:
            return True
        has_failed = any(one.tries > 0 for one in unsent)
        door = await ask_door(self._place)
        is_open = door is not None
        self._hear(door)
        with contextlib.suppress(OSError):
            await self._hurry(unsent, is_open=is_open, has_failed=has_failed)
            if not places:
                return not unsent
            if not is_open:
                self._tell(OFFLINE, NO_DOOR)
            elif has_failed:
                self._tell(OFFLINE, _why_not_sent(await self._control.last_error()))
            elif not self._is_shown:
                self._tell(OFFLINE, NOT_RUNNING)
            elif str(self._place.hidden) in places:
                self._tell(OFFLINE, NO_PLACE)
            elif not await self._is_read():
                self._tell(MOUNTING, READING)
            else:
                self._tell(MOUNTED)
            if door and not has_failed and not door.is_busy:
                await self._look_anew()
        return not unsent

    def _hear(self, door: DoorWord | None) -> None:
        if door is not None:
            self._gate.look(door.room, unsent_files=self._unsent[0], unsent=self._unsent[1])
        self._tell_opening(door.opening if door and not self._is_only_sending else None)

    async def _is_read(self) -> bool:
        """Whether the folder was listed once. Until then a door that goes away leaves nothing of it in sight."""
        if self._listing is None:
            self._listing = await self._control.begin_to_list()
        if not self._has_listed:
            self._has_listed = await self._control.has_listed(self._listing)
        return self._has_listed

    async def _look_anew(self) -> None:
        now = time.monotonic()
        if not self._is_asked_to_look and now - self._forgot_at < FORGET_IN_SECONDS:
            return
        self._is_asked_to_look = False
        self._forgot_at = now
        await self._control.forget_listings()

    async def _hurry(self, unsent: list[Unsent], *, is_open: bool, has_failed: bool) -> None:
        """Have sent at once what waits: all of it at the end, else what failed while the door was away."""
        pause = HURRY_WITHOUT_ROOM_IN_SECONDS if self._detail == QUOTA_USED_UP else HURRY_IN_SECONDS
        is_time = time.monotonic() - self._hurried_at > pause
        if not is_open or not (is_time or (self._is_only_sending and not has_failed)):
            return
        for one in unsent:
            if not one.is_uploading and not one.is_due and (self._is_only_sending or one.tries):
                await self._control.send_now(one.upload_id)
        self._hurried_at = time.monotonic()

    # ── What is told ──────────────────────────────────────────────────────────────────────────────────────────────

    def _count(self, unsent: tuple[int, int]) -> None:
        has_changed, self._unsent = unsent != self._unsent, unsent
        if not self._is_ending or self._on_unsent is None:
            return
        if unsent[0]:
            self._on_unsent()
        if has_changed and time.monotonic() - self._told_at > TELL_IN_SECONDS:
            self._told_at = time.monotonic()
            self._on_change()

    def _tell(self, state: str, detail: str = "") -> None:
        if (state, detail) != (self._state, self._detail):
            log.info(
                "folder",
                extra={"kind": self._place.mount.kind, "before": self._state, "after": state, "detail": detail},
            )
            self._state, self._detail = state, detail
            self._on_change()

    def _tell_opening(self, opening: Opening | None) -> None:
        if opening != self._opening:
            if opening is None:
                self._forgot_at = time.monotonic()  # what took so long to read is good for a while
            self._opening = opening
            self._on_change()

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until something has happened."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()


def _note(ended: asyncio.Future[int], status: int) -> None:
    if not ended.done():
        ended.set_result(status)


def _why_not_sent(last_error: str) -> str:
    """Return words without the names of files."""
    return QUOTA_USED_UP if "507" in last_error or "Insufficient Storage" in last_error else NOT_SENT
