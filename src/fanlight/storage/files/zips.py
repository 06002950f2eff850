"""A folder as a zip file, written while it is read: nothing of it is kept."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import IO, cast

from fanlight.agentwire.zip_members import MemberNames
from fanlight.storage.files.folders import PIECE_IN_BYTES, Entry, NothingThere, UserFolder
from fanlight.storage.files.paths import Steps

MAX_FILES = 100_000
MAX_DEPTH = 64
# Of many small files, quick rather than small.
_LEVEL = 1
_BEFORE_ZIPS, _AFTER_ZIPS = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, tzinfo=UTC)


class TooMuch(Exception):
    """There are more files, or folders in each other, than a zip file of ours has."""


class _Sink:
    """What the zip file is written to; it cannot be sought, so that sizes and sums follow each member."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


async def zip_of(folder: UserFolder, steps: Steps) -> AsyncIterator[bytes]:
    """Yield a zip file of all that is in a folder. Raises NothingThere (before anything is yielded), FolderAway, TooMuch.

    What goes away while it is read is left out.
    """
    sink = _Sink()
    with zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        count = 0
        async for inner, name, entry in _tree(folder, steps, "", 0):
            count += 1
            if count > MAX_FILES:
                raise TooMuch
            info = zipfile.ZipInfo(name, _time_of(entry))
            info.compress_type = zipfile.ZIP_DEFLATED
            if entry.is_folder:
                archive.writestr(info, b"")
            else:
                async for piece in _member(folder, inner, archive, info, sink):
                    yield piece
            if piece := sink.take():
                yield piece
    yield sink.take()


async def _tree(folder: UserFolder, steps: Steps, above: str, depth: int) -> AsyncIterator[tuple[Steps, str, Entry]]:
    """Yield everything below, a folder before what is in it."""
    if depth > MAX_DEPTH:
        raise TooMuch
    names = MemberNames()
    found = [entry async for entries in folder.entries(steps) for entry in entries]
    for entry in sorted(found, key=lambda one: one.name):
        inner, name = (*steps, entry.name), above + names.of(entry.name)
        if not entry.is_folder:
            yield inner, name, entry
            continue
        yield inner, name + "/", entry
        try:
            async for below in _tree(folder, inner, name + "/", depth + 1):
                yield below
        except NothingThere:
            continue


async def _member(
    folder: UserFolder, steps: Steps, archive: zipfile.ZipFile, info: zipfile.ZipInfo, sink: _Sink
) -> AsyncIterator[bytes]:
    async with folder.ask("GET", steps) as answer:
        if answer.status != HTTPStatus.OK:
            return
        with archive.open(info, "w", force_zip64=True) as member:
            async for piece in answer.content.iter_chunked(PIECE_IN_BYTES):
                await asyncio.to_thread(member.write, piece)
                yield sink.take()


def _time_of(entry: Entry) -> tuple[int, int, int, int, int, int]:
    changed = datetime.fromtimestamp(min(entry.modified_at, 2**32), UTC)
    at = min(max(changed, _BEFORE_ZIPS), _AFTER_ZIPS)
    return (at.year, at.month, at.day, at.hour, at.minute, at.second)
