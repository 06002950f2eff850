"""Files on their way from a browser into the temporary files.

Their pieces wait in a hidden folder beside the files, and become a file in one step. Two files for each: what it is to
become, and what has come of it, whose length says how far it is. So whoever loads the page anew goes on as long as the
instance lives. The user's programs may do with all of it what they like: it is nobody else's.
"""

import contextlib
import errno
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from fanlight.agent.temporary_folder import Steps, TemporaryFolder, move_without_replacing

KEPT_AT_MOST = 20
UNFINISHED_KEPT_IN_SECONDS = 24 * 3600.0  # a home may outlive sessions
SAVED_KNOWN_IN_SECONDS = 15 * 60.0  # the answer may be asked for again
ASK, REPLACE, KEEP_BOTH = "ask", "replace", "keep-both"
RECEIVING, SAVED = "RECEIVING", "SAVED"
_NEW_FILE_MODE = 0o660  # as what the stream server receives
_RECORD, _PART = b".json", b".part"
_MOST_NAMES_TRIED = 1_000
_MAX_RECORD_IN_BYTES = 16 * 1024
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OtherFile(Exception):
    """Another file is being sent under this id."""


class TooLong(Exception):
    """More comes than was said."""


class IsFolder(Exception):
    """There is a folder with this name."""


@dataclass(frozen=True, slots=True)
class Wish:
    steps: Steps
    size: int
    conflict: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Record:
    wish: Wish
    is_saved: bool = False


@dataclass(frozen=True, slots=True)
class Unfinished:
    upload_id: str
    wish: Wish
    received: int


class TemporaryUploads:
    """Methods raise OSError. Ids of uploads are names: letters, digits and dashes."""

    def __init__(self, folder: TemporaryFolder) -> None:
        self._folder = folder

    def unfinished(self) -> list[Unfinished]:
        """Return what was begun and can be gone on with, the newest first."""
        try:
            with self._folder.uploads(make=False) as directory:
                return list(_swept(directory))
        except FileNotFoundError:
            return []

    def receive(self, upload_id: str, wish: Wish, offset: int, pieces: Iterator[bytes]) -> tuple[str, int]:
        """Take a piece, and return state and length of the file; an empty one at 0 begins it, or asks.

        One that goes on elsewhere is not taken. Two at once bring the same bytes to the same places. Raises OtherFile,
        TooLong, IsFolder, FileExistsError.
        """
        with self._folder.uploads(make=True) as directory:
            record = _read_record(directory, upload_id.encode())
            if record is None:
                record = self._begin(directory, upload_id.encode(), wish)
            known = record.wish
            if (known.steps, known.size, known.fingerprint) != (wish.steps, wish.size, wish.fingerprint):
                raise OtherFile
            if record.is_saved:
                return SAVED, wish.size
            received = _append(directory, upload_id.encode() + _PART, wish.size, offset, pieces)
            if received < wish.size:
                return RECEIVING, received
            conflict = known.conflict if wish.conflict == ASK else wish.conflict
            self._finish(directory, upload_id.encode(), replace(wish, conflict=conflict))
            return SAVED, wish.size

    def drop(self, upload_id: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._folder.uploads(make=False) as directory:
            _remove(directory, upload_id.encode())

    def _begin(self, directory: int, upload_id: bytes, wish: Wish) -> _Record:
        with self._folder.parent(wish.steps) as (target, name):
            _check_free(target, name, wish.conflict)
        for old in list(_swept(directory))[KEPT_AT_MOST - 1 :]:
            _remove(directory, old.upload_id.encode())
        room = os.fstatvfs(directory)
        if wish.size > room.f_bavail * room.f_frsize:
            raise OSError(errno.ENOSPC, "there is no room for it")
        os.close(os.open(upload_id + _PART, _WRITE | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=directory))
        record = _Record(wish)
        _write_record(directory, upload_id, record)
        return record

    def _finish(self, directory: int, upload_id: bytes, wish: Wish) -> None:
        part = upload_id + _PART
        with self._folder.parent(wish.steps) as (target, name):
            if wish.conflict == REPLACE:
                _check_free(target, name, REPLACE)
                os.rename(part, name, src_dir_fd=directory, dst_dir_fd=target)
            else:
                _move_to_free_name(directory, part, target, name, keep_both=wish.conflict == KEEP_BOTH)
        _write_record(directory, upload_id, _Record(wish, is_saved=True))


def _check_free(target: int, name: bytes, conflict: str) -> None:
    try:
        there = os.stat(name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(there.st_mode) and conflict != KEEP_BOTH:
        raise IsFolder
    if conflict == ASK:
        raise FileExistsError(errno.EEXIST, "there is a file with this name")


def _move_to_free_name(directory: int, part: bytes, target: int, name: bytes, *, keep_both: bool) -> None:
    stem, dot, suffix = name.rpartition(b".")
    tried = name
    for number in range(2, _MOST_NAMES_TRIED):
        try:
            move_without_replacing(directory, part, target, tried)
        except FileExistsError:
            if not keep_both:
                _check_free(target, name, ASK)
                raise
        else:
            return
        mark = b" (%d)" % number
        tried = stem + mark + dot + suffix if stem else name + mark
    raise FileExistsError(errno.EEXIST, "there are too many files with this name")


def _append(directory: int, part: bytes, size: int, offset: int, pieces: Iterator[bytes]) -> int:
    """Return how long it is then."""
    descriptor = os.open(part, _WRITE, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(errno.ENOENT, "no plain file")
        os.fchmod(descriptor, _NEW_FILE_MODE)
        at = os.fstat(descriptor).st_size
        is_next = offset == at
        for piece in pieces:
            if not is_next:
                continue  # not what was to come: the answer says what is
            if at + len(piece) > size:
                raise TooLong
            at = _write_all(descriptor, piece, at)
        return at
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, piece: bytes, at: int) -> int:
    view = memoryview(piece)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
    return at


def _swept(directory: int) -> Iterator[Unfinished]:
    """Yield what can be gone on with, the newest first, and remove what nobody asks for any more."""
    found: list[tuple[float, Unfinished]] = []
    now = time.time()
    for name in sorted(map(os.fsencode, os.listdir(directory))):
        upload_id = name.removesuffix(_RECORD)
        if upload_id == name or not upload_id.isascii():
            continue
        with contextlib.suppress(FileNotFoundError):
            record = _read_record(directory, upload_id)
            noted_at = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
            if record is not None and record.is_saved:
                if now - noted_at > SAVED_KNOWN_IN_SECONDS:
                    _remove(directory, upload_id)
                continue
            try:
                part = os.stat(upload_id + _PART, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                part = None
            is_old = part is not None and now - part.st_mtime > UNFINISHED_KEPT_IN_SECONDS
            if record is None or part is None or is_old or part.st_size > record.wish.size:
                _remove(directory, upload_id)
                continue
            found.append((part.st_mtime, Unfinished(upload_id.decode(), record.wish, part.st_size)))
    yield from (one for _, one in sorted(found, key=lambda pair: pair[0], reverse=True))


def _read_record(directory: int, upload_id: bytes) -> _Record | None:
    """Return None for one that is not there, or that nobody understands."""
    try:
        descriptor = os.open(upload_id + _RECORD, _READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            said: dict[str, Any] = json.loads(file.read(_MAX_RECORD_IN_BYTES))
            steps = tuple(unquote_to_bytes(step) for step in str(said["path"]).split("/"))
            wish = Wish(steps, int(said["size"]), str(said["conflict"]), str(said["fingerprint"]))
            return _Record(wish, is_saved=said["isSaved"] is True)
        except (ValueError, LookupError, TypeError, RecursionError):
            return None


def _write_record(directory: int, upload_id: bytes, record: _Record) -> None:
    wish = record.wish
    said = {
        "path": path_of(wish.steps),
        "size": wish.size,
        "conflict": wish.conflict,
        "fingerprint": wish.fingerprint,
        "isSaved": record.is_saved,
    }
    new = upload_id + b".new"
    descriptor = os.open(new, _WRITE | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(said).encode())
    os.rename(new, upload_id + _RECORD, src_dir_fd=directory, dst_dir_fd=directory)


def _remove(directory: int, upload_id: bytes) -> None:
    for suffix in (_RECORD, _PART):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(upload_id + suffix, dir_fd=directory)


def path_of(steps: Steps) -> str:
    return "/".join(quote_from_bytes(step, safe="") for step in steps)
