"""Files on their way from a browser into a home folder.

They come in pieces, which are kept here until the last one: S3 takes a file in one go, and a browser's connection is
seldom good enough for that. A piece that breaks off keeps what arrived, and the next one goes on from there. A file is
SAVED once S3 has all of it, not earlier.
"""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fanlight.background import end
from fanlight.domain.errors import StorageUnusable
from fanlight.storage.files.folders import PIECE_IN_BYTES, FolderAway, NothingThere, UserFolder, Way
from fanlight.storage.files.paths import BadPath, Steps, check_new_name

log = logging.getLogger(__name__)

UPLOADS_AT_ONCE = 8  # of one session; a page sends two
KEPT_IN_SECONDS = 15 * 60.0  # without a byte, or after its end
SWEEP_EVERY_IN_SECONDS = 15.0
WAIT_IN_SECONDS = 20.0  # for S3, within one request
FREE_FOR_OTHERS_IN_BYTES = 2**30
_MOST_NAMES_TRIED = 1_000
_FULL = "Your storage is full. Delete something to make room."


class Conflict(StrEnum):
    """What to do when the name is taken."""

    ASK = "ask"
    REPLACE = "replace"
    KEEP_BOTH = "keep-both"


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


@dataclass(frozen=True, slots=True)
class Wish:
    steps: Steps
    size: int
    conflict: Conflict = Conflict.ASK


@dataclass(slots=True, eq=False)
class Upload:
    session_id: str
    wish: Wish
    spool: Path
    received: int = 0
    state: UploadState = UploadState.RECEIVING
    saved_as: Steps = ()
    refusal: UploadRefused | None = None
    touched_at: float = 0.0
    turn: int = 0  # grows with each request: what an older one still brings is dropped
    saving: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Uploads:
    """`directory` is for nothing else. `way_to` finds the folder of a session, None when it is closed."""

    def __init__(
        self, directory: Path, way_to: Callable[[str], Way | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._way_to, self._clock = directory, way_to, clock
        self._uploads: dict[tuple[str, str], Upload] = {}
        self._made = 0

    def prepare(self) -> None:
        """Clear away what an earlier process left: whoever sends it begins anew. Raises OSError."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(mode=0o700, parents=True)

    async def receive(
        self, session_id: str, upload_id: str, wish: Wish, offset: int, pieces: AsyncIterator[bytes]
    ) -> Upload:
        """Take a piece, and say how far the file is; an empty one at 0 begins it, or asks. One that goes on elsewhere is not taken.

        Waits a while for the end of one that is being saved. Raises UploadRefused; what else comes out of `pieces` is raised, and what they brought is kept."""
        upload = self._uploads.get((session_id, upload_id))
        if upload is None:
            upload = await self._begin(session_id, upload_id, wish)
        self._take_over(upload, wish)
        if upload.state is UploadState.RECEIVING and offset == upload.received:
            await self._write(upload, pieces)
        async for _ in pieces:
            pass  # not what was to come next: the answer says what is
        if upload.state is UploadState.RECEIVING and upload.received == wish.size:
            upload.state = UploadState.SAVING
            upload.saving = asyncio.create_task(self._save(upload))
        return await self._waited(upload)

    async def drop(self, session_id: str, upload_id: str) -> None:
        if (upload := self._uploads.pop((session_id, upload_id), None)) is not None:
            await self._let_go(upload)

    async def keep_swept(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_IN_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Let go of what nobody sends any more, and of what belonged to a session whose folder is closed."""
        now = self._clock()
        for key, upload in tuple(self._uploads.items()):
            is_old = now - upload.touched_at > KEPT_IN_SECONDS and upload.state is not UploadState.SAVING
            if is_old or self._way_to(upload.session_id) is None:
                del self._uploads[key]
                await self._let_go(upload)

    async def close(self) -> None:
        for key in tuple(self._uploads):
            await self.drop(*key)

    async def _begin(self, session_id: str, upload_id: str, wish: Wish) -> Upload:
        open_ones = [upload for upload in self._uploads.values() if upload.state is not UploadState.SAVED]
        own = [upload for upload in open_ones if upload.session_id == session_id]
        if len(own) >= UPLOADS_AT_ONCE:
            raise UploadRefused("TOO_MANY", f"At most {UPLOADS_AT_ONCE} files are sent at the same time.")
        free = shutil.disk_usage(self._directory).free - FREE_FOR_OTHERS_IN_BYTES
        free -= sum(upload.wish.size - upload.received for upload in open_ones)
        # One user never takes more than half of what is left, so that there is always some for the next.
        if wish.size > free // 2:
            raise UploadRefused("NO_SPACE", "Fanlight has no room to take this file up. Try again later.")
        self._made += 1
        spool = self._directory / f"{self._made}"
        upload = Upload(session_id, wish, spool, touched_at=self._clock())
        self._uploads[session_id, upload_id] = upload
        try:
            async with UserFolder(self._open_way(session_id)) as folder:
                await _check_early(folder, wish)
            spool.touch(mode=0o600)
        except BaseException:
            del self._uploads[session_id, upload_id]
            raise
        return upload

    def _take_over(self, upload: Upload, wish: Wish) -> None:
        if (upload.wish.steps, upload.wish.size) != (wish.steps, wish.size):
            raise UploadRefused("OTHER_FILE", "Another file is being sent under this id.")
        upload.turn += 1
        upload.touched_at = self._clock()
        if upload.state is UploadState.REFUSED:  # the user has decided, or tries again
            upload.state, upload.refusal, upload.wish = UploadState.RECEIVING, None, wish

    async def _write(self, upload: Upload, pieces: AsyncIterator[bytes]) -> None:
        mine = upload.turn
        async for piece in pieces:
            async with upload.lock:
                if upload.turn != mine:
                    return  # another request goes on with it
                if upload.received + len(piece) > upload.wish.size:
                    raise UploadRefused("TOO_LONG", "The file is longer than was said. Did it change meanwhile?")
                try:
                    await asyncio.to_thread(_append, upload.spool, upload.received, piece)
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
                await folder.put(steps, upload.wish.size, _pieces_of(upload.spool))
        except UploadRefused as refusal:
            upload.state, upload.refusal = UploadState.REFUSED, refusal
        except (NothingThere, StorageUnusable, OSError) as error:
            log.warning("an upload could not be saved", extra={"why": str(error) or type(error).__name__})
            upload.state, upload.refusal = UploadState.REFUSED, _reason(error)
        else:
            upload.state, upload.saved_as = UploadState.SAVED, steps
            with suppress(OSError):
                await asyncio.to_thread(upload.spool.unlink)

    def _open_way(self, session_id: str) -> Way:
        way = self._way_to(session_id)
        if way is None:
            raise FolderAway("the folder is closed")
        return way

    async def _let_go(self, upload: Upload) -> None:
        upload.turn += 1
        if upload.saving is not None:
            await end(upload.saving)
        async with upload.lock:
            with suppress(OSError):
                await asyncio.to_thread(upload.spool.unlink)


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


def _append(path: Path, offset: int, piece: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view, at = memoryview(piece), offset
        while view:
            written = os.pwrite(descriptor, view, at)
            view, at = view[written:], at + written
    finally:
        os.close(descriptor)


async def _pieces_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_IN_BYTES):
            yield piece
