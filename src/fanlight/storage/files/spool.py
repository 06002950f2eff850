"""Where files on their way from browsers wait until all of them has come, also over a restart of this process.

Each is two files in a directory of its user's: what it is to become, as JSON, and what has come of it. The length of the
second is how far it is, so that there is nothing else to be kept in step.
"""

import asyncio
import hashlib
import json
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fanlight.storage.files.paths import BadPath, Steps, new_steps_of, target_of

log = logging.getLogger(__name__)

PIECE_IN_BYTES = 256 * 1024
_RECORD, _PART = ".json", ".part"


class Conflict(StrEnum):
    """What to do when the name is taken."""

    ASK = "ask"
    REPLACE = "replace"
    KEEP_BOTH = "keep-both"


@dataclass(frozen=True, slots=True)
class Wish:
    """`fingerprint` is the page's word for which file it is, by which it knows it again; "" when it has none."""

    steps: Steps
    size: int
    conflict: Conflict = Conflict.ASK
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """One that an earlier process left. `touched_at` is the epoch second of its last byte."""

    folder: str
    upload_id: str
    wish: Wish
    part: Path
    received: int
    touched_at: float


def folder_of(place: str) -> str:
    """Return the name of the directory of those that go to one place."""
    return hashlib.sha256(place.encode()).hexdigest()[:32]


class Spool:
    """`directory` is for nothing else. Methods raise OSError. Ids of uploads are names of files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> list[Kept]:
        """Return what is there, and clear away what nobody can go on with."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = []
        for folder in tuple(self._directory.iterdir()):
            found = list(_kept_in(folder))
            kept += found
            wanted = {path for one in found for path in (one.part, one.part.with_suffix(_RECORD))}
            _clear(folder, wanted)
        return kept

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._directory).free

    def part_of(self, folder: str, upload_id: str) -> Path:
        return self._directory / folder / f"{upload_id}{_PART}"

    def begin(self, part: Path, wish: Wish) -> None:
        part.parent.mkdir(mode=0o700, exist_ok=True)
        part.touch(mode=0o600)
        self.note(part, wish)

    def note(self, part: Path, wish: Wish) -> None:
        """Write down what it is to become. Whoever dies in the middle leaves what was written before."""
        record = {"path": target_of(wish.steps)[1:], "size": wish.size, "conflict": wish.conflict}
        new = part.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(record | {"fingerprint": wish.fingerprint}))
        new.replace(part.with_suffix(_RECORD))

    def append(self, part: Path, offset: int, piece: bytes) -> None:
        descriptor = os.open(part, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            view, at = memoryview(piece), offset
            while view:
                written = os.pwrite(descriptor, view, at)
                view, at = view[written:], at + written
        finally:
            os.close(descriptor)

    def remove(self, part: Path) -> None:
        """Remove both files, and the directory when it is the last."""
        for path in (part.with_suffix(_RECORD), part):  # without its record a part is nobody's
            path.unlink(missing_ok=True)
        with suppress(OSError):
            part.parent.rmdir()


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_IN_BYTES):
            yield piece


def _kept_in(folder: Path) -> Iterator[Kept]:
    if not folder.is_dir():
        return
    for record in folder.glob(f"*{_RECORD}"):
        part = record.with_suffix(_PART)
        try:
            said = json.loads(record.read_text())
            wish = Wish(
                new_steps_of(str(said["path"])), int(said["size"]), Conflict(said["conflict"]), str(said["fingerprint"])
            )
            status = part.stat(follow_symlinks=False)
        except (OSError, ValueError, LookupError, TypeError, BadPath) as error:
            log.warning("an upload that was left cannot be gone on with", extra={"why": type(error).__name__})
            continue
        if status.st_size <= wish.size:
            yield Kept(folder.name, record.stem, wish, part, status.st_size, status.st_mtime)


def _clear(folder: Path, wanted: set[Path]) -> None:
    if not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    for path in tuple(folder.iterdir()):
        if path not in wanted:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
