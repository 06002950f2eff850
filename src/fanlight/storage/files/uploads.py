"""Files on their way from a browser into a home folder.

They come in pieces, which are kept until the last one: S3 takes a file in one go, and a browser's connection is seldom
good enough for that. A piece that breaks off keeps what arrived, and the next one goes on from there, in a later session
of the user too. A file is SAVED once S3 has all of it, not earlier.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fanlight.background import end
from fanlight.domain.errors import StorageUnusable
from fanlight.storage.files.folders import FolderAway, NothingThere, UserFolder, Way
from fanlight.storage.files.paths import BadPath, Steps, check_new_name
from fanlight.storage.files.spool import Conflict, Spool, Wish, folder_of, pieces_of

log = logging.getLogger(__name__)

UPLOADS_AT_ONCE = 8  # of one user; a page sends two
REST_AFTER_IN_SECONDS = 60.0  # without a byte; whoever sends it seems to have gone
UNFINISHED_KEPT_IN_SECONDS = 24 * 3600.0
UNFINISHED_AT_MOST = 20  # of one user
SAVED_KNOWN_IN_SECONDS = 15 * 60.0  # the answer may be asked for again
SWEEP_EVERY_IN_SECONDS = 15.0
WAIT_IN_SECONDS = 20.0  # for S3, within one request
FREE_FOR_OTHERS_IN_BYTES = 2**30
_MOST_NAMES_TRIED = 1_000
_FULL = "Your storage is full. Delete something to make room."


class UploadState(StrEnum):
    RECEIVING = "RECEIVING"
    SAVING = "SAVING"
    SAVED = "SAVED"
    REFUSED = "REFUSED"


class UploadRefused(Exception):
    """`code` is for the page, the text for the user. With EXISTS and NOT_SAVED it may be asked for again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(slots=True, eq=False)
class Upload:
    """`session_id` is of the session that sent something last, "" when that was in an earlier process."""

    upload_id: str
    folder: str
    session_id: str
    wish: Wish
    part: Path
    received: int = 0
    state: UploadState = UploadState.RECEIVING
    saved_as: Steps = ()
    refusal: UploadRefused | None = None
    touched_at: float = 0.0
    turn: int = 0  # grows with each request: what an older one still brings is dropped
    requests: int = 0  # that are open
    saving: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_coming(self) -> bool:
        """Whether somebody sends it, or it is being saved, right now."""
        return self.requests > 0 or self.state is UploadState.SAVING

    @property
    def is_unfinished(self) -> bool:
        return self.state is not UploadState.SAVED


class Uploads:
    """`directory` is for nothing else. `way_to` finds the folder of a session, None when it is closed."""

    def __init__(
        self, directory: Path, way_to: Callable[[str], Way | None], clock: Callable[[], float] = time.time
    ) -> None:
        self._spool, self._way_to, self._clock = Spool(directory), way_to, clock
        self._uploads: dict[tuple[str, str], Upload] = {}  # by user's folder and id

    def prepare(self) -> None:
        """Take over what an earlier process left: whoever sends it goes on. Raises OSError."""
        for kept in self._spool.prepare():
            upload = Upload(
                kept.upload_id, kept.folder, "", kept.wish, kept.part, kept.received, touched_at=kept.touched_at
            )
            self._uploads[kept.folder, kept.upload_id] = upload

    def unfinished(self, session_id: str) -> Sequence[Upload]:
        """Return what the session's user has begun to send, the newest first. Raises FolderAway."""
        folder = folder_of(self._open_way(session_id).place)
        return sorted(
            (upload for upload in self._uploads.values() if upload.folder == folder and upload.is_unfinished),
            key=lambda upload: upload.touched_at,
            reverse=True,
        )

    async def receive(
        self, session_id: str, upload_id: str, wish: Wish, offset: int, pieces: AsyncIterator[bytes]
    ) -> Upload:
        """Take a piece, and say how far the file is; an empty one at 0 begins it, or asks. One that goes on elsewhere is not taken.

        Waits a while for the end of one that is being saved. Raises UploadRefused, FolderAway; what else comes out of
        `pieces` is raised, and what they brought is kept."""
        folder = folder_of(self._open_way(session_id).place)
        upload = self._uploads.get((folder, upload_id))
        if upload is None:
            upload = await self._begin(session_id, folder, upload_id, wish)
        self._take_over(upload, session_id, wish)
        upload.requests += 1
        try:
            if upload.state is UploadState.RECEIVING and offset == upload.received:
                await self._write(upload, pieces)
            async for _ in pieces:
                pass  # not what was to come next: the answer says what is
            if upload.state is UploadState.RECEIVING and upload.received == wish.size:
                upload.state = UploadState.SAVING
                upload.saving = asyncio.create_task(self._save(upload))
            return await self._waited(upload)
        finally:
            upload.requests -= 1

    async def drop(self, session_id: str, upload_id: str) -> None:
        """Raises FolderAway."""
        folder = folder_of(self._open_way(session_id).place)
        if (upload := self._uploads.get((folder, upload_id))) is not None:
            await self._let_go(upload)

    async def keep_swept(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_IN_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Let go of what nobody sends any more; earlier than that when the disk is nearly full, the oldest first."""
        now = self._clock()
        for upload in tuple(self._uploads.values()):
            limit = UNFINISHED_KEPT_IN_SECONDS if upload.is_unfinished else SAVED_KNOWN_IN_SECONDS
            if now - upload.touched_at > limit and not upload.is_coming:
                await self._let_go(upload)
        for upload in self._at_rest():
            if await asyncio.to_thread(self._spool.free_bytes) >= FREE_FOR_OTHERS_IN_BYTES:
                return
            log.warning("an unfinished upload gave way", extra={"why": "the disk is nearly full"})
            await self._let_go(upload)

    async def close(self) -> None:
        """Stop. What has not been saved stays for the next process."""
        for upload in tuple(self._uploads.values()):
            upload.turn += 1
            if upload.saving is not None:
                upload.saving.cancel()
                with suppress(asyncio.CancelledError):
                    await upload.saving
        self._uploads.clear()

    def _at_rest(self, folder: str | None = None) -> list[Upload]:
        """Return those that nobody sends at the moment, of one folder or of all, the oldest first."""
        now = self._clock()
        return sorted(
            (
                upload
                for upload in self._uploads.values()
                if upload.is_unfinished
                and not upload.is_coming
                and now - upload.touched_at > REST_AFTER_IN_SECONDS
                and folder in (None, upload.folder)
            ),
            key=lambda upload: upload.touched_at,
        )

    async def _begin(self, session_id: str, folder: str, upload_id: str, wish: Wish) -> Upload:
        at_rest = self._at_rest(folder)
        own = [upload for upload in self._uploads.values() if upload.folder == folder and upload.is_unfinished]
        if len(own) - len(at_rest) >= UPLOADS_AT_ONCE:
            raise UploadRefused("TOO_MANY", f"At most {UPLOADS_AT_ONCE} files are sent at the same time.")
        while wish.size > self._room() // 2 or len(own) >= UNFINISHED_AT_MOST:
            # One user never takes more than half of what is left, so that there is always some for the next. What the
            # user has begun and left gives way; what others have does not, for they may come back.
            if not at_rest or wish.size > (self._room() + sum(upload.received for upload in at_rest)) // 2:
                raise UploadRefused("NO_SPACE", "Fanlight has no room to take this file up. Try again later.")
            await self._let_go(at_rest[0])
            own.remove(at_rest.pop(0))
        part = self._spool.part_of(folder, upload_id)
        upload = Upload(upload_id, folder, session_id, wish, part, touched_at=self._clock())
        self._uploads[folder, upload_id] = upload
        try:
            async with UserFolder(self._open_way(session_id)) as user_folder:
                await _check_early(user_folder, wish)
            self._spool.begin(part, wish)
        except BaseException:
            del self._uploads[folder, upload_id]
            raise
        return upload

    def _room(self) -> int:
        """Return the bytes that are free and nobody who sends something now counts on."""
        resting = set(map(id, self._at_rest()))
        sent = (one for one in self._uploads.values() if one.is_unfinished and id(one) not in resting)
        return self._spool.free_bytes() - FREE_FOR_OTHERS_IN_BYTES - sum(one.wish.size - one.received for one in sent)

    def _take_over(self, upload: Upload, session_id: str, wish: Wish) -> None:
        before = upload.wish
        if (before.steps, before.size, before.fingerprint) != (wish.steps, wish.size, wish.fingerprint):
            raise UploadRefused("OTHER_FILE", "Another file is being sent under this id.")
        upload.turn += 1
        upload.touched_at, upload.session_id = self._clock(), session_id
        if upload.state is UploadState.REFUSED:  # the user has decided, or tries again
            upload.state, upload.refusal, upload.wish = UploadState.RECEIVING, None, wish
            with suppress(OSError):
                self._spool.note(upload.part, wish)

    async def _write(self, upload: Upload, pieces: AsyncIterator[bytes]) -> None:
        mine = upload.turn
        async for piece in pieces:
            async with upload.lock:
                if upload.turn != mine:
                    return  # another request goes on with it
                if upload.received + len(piece) > upload.wish.size:
                    raise UploadRefused("TOO_LONG", "The file is longer than was said. Did it change meanwhile?")
                try:
                    await asyncio.to_thread(self._spool.append, upload.part, upload.received, piece)
                except OSError as error:
                    log.warning("an upload cannot be kept", extra={"why": str(error.strerror)})
                    raise UploadRefused("NO_SPACE", "Fanlight has no room to take this file up.") from None
                upload.received += len(piece)
                upload.touched_at = self._clock()

    async def _waited(self, upload: Upload) -> Upload:
        if upload.saving is not None and not upload.saving.done():
            await asyncio.wait({upload.saving}, timeout=WAIT_IN_SECONDS)
        upload.touched_at = self._clock()
        return upload

    async def _save(self, upload: Upload) -> None:
        try:
            async with UserFolder(self._open_way(upload.session_id)) as folder:
                steps, replaced = await _check(folder, upload.wish)
                await _count(folder, upload.wish.size, replaced)
                await folder.put(steps, upload.wish.size, pieces_of(upload.part))
        except UploadRefused as refusal:
            upload.state, upload.refusal = UploadState.REFUSED, refusal
        except (NothingThere, StorageUnusable, OSError) as error:
            log.warning("an upload could not be saved", extra={"why": str(error) or type(error).__name__})
            upload.state, upload.refusal = UploadState.REFUSED, _reason(error)
        else:
            upload.state, upload.saved_as = UploadState.SAVED, steps
            with suppress(OSError):
                await asyncio.to_thread(self._spool.remove, upload.part)

    def _open_way(self, session_id: str) -> Way:
        way = self._way_to(session_id)
        if way is None:
            raise FolderAway("the folder is closed")
        return way

    async def _let_go(self, upload: Upload) -> None:
        self._uploads.pop((upload.folder, upload.upload_id), None)
        upload.turn += 1
        if upload.saving is not None:
            await end(upload.saving)
        async with upload.lock:
            with suppress(OSError):
                await asyncio.to_thread(self._spool.remove, upload.part)


async def _check(folder: UserFolder, wish: Wish) -> tuple[Steps, int]:
    """Return where it will be, and how many bytes it replaces there. Raises UploadRefused, FolderAway."""
    there = await folder.find(wish.steps)
    if there is not None and wish.conflict is Conflict.KEEP_BOTH:
        return await _free_name(folder, wish.steps), 0
    if there is not None and there.is_folder:
        raise UploadRefused("IS_FOLDER", "There is a folder with this name.")
    if there is not None and wish.conflict is Conflict.ASK:
        raise UploadRefused("EXISTS", "There is a file with this name.")
    return wish.steps, there.size if there is not None else 0


async def _check_early(folder: UserFolder, wish: Wish) -> None:
    """As `_check`, and whether there is room: better said now than after all of it was sent. Counts nothing."""
    _, replaced = await _check(folder, wish)
    for _ in range(2):  # the second time measured anew: other tools may have made room
        room = await folder.usage.left()
        if room is None or wish.size <= max(room, 0) + replaced:
            return
        folder.usage.forget()
    raise UploadRefused("QUOTA", _FULL)


async def _count(folder: UserFolder, size: int, replaced: int) -> None:
    """Raises UploadRefused, StorageUnusable."""
    if not await folder.usage.has_room_for(size, replaced):
        raise UploadRefused("QUOTA", _FULL)


def _reason(error: Exception) -> UploadRefused:
    if isinstance(error, NothingThere):
        return UploadRefused("NOT_FOUND", "The folder that it should be saved in is gone.")
    return UploadRefused("NOT_SAVED", "It could not be saved. Your storage does not answer.")


async def _free_name(folder: UserFolder, steps: Steps) -> Steps:
    """Return `name (2).suffix`, or the next number that is free. Raises UploadRefused."""
    stem, dot, suffix = steps[-1].rpartition(b".")
    for number in range(2, _MOST_NAMES_TRIED):
        mark = b" (%d)" % number
        name = stem + mark + dot + suffix if stem else steps[-1] + mark
        try:
            check_new_name(name)
        except BadPath as error:
            raise UploadRefused("BAD_PATH", str(error)) from None
        if await folder.find((*steps[:-1], name)) is None:
            return (*steps[:-1], name)
    raise UploadRefused("EXISTS", "There are too many files with this name.")
