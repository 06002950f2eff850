"""What may be done with a session's temporary files: those in MyFiles, without the folders that are mounted there.

The user's programs may move things about and plant links meanwhile. Every step is opened by descriptors, no link is
followed, and what is on another file system is somebody else's: the home folder has a way of its own.
"""

import contextlib
import ctypes
import errno
import os
import re
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from fanlight.agentwire.zip_members import MemberNames

Steps = tuple[bytes, ...]

MAX_ENTRIES = 10_000
MAX_ZIP_MEMBERS = 100_000
MAX_DEPTH = 64
PIECE_IN_BYTES = 256 * 1024
NEW_FOLDER_MODE = 0o770  # the stream server, which is in the folder's group, may put uploads there
UPLOADS_FOLDER = b".fanlight-uploads"  # in the root: what has not come whole yet
_STAGING = (b".selkies-upload-", UPLOADS_FOLDER)  # the former is the stream server's
_LEVEL = 1  # of many small files, quick rather than small
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # nobody waits for the other end of a pipe
_RENAME_NOREPLACE = 1
_FIRST_YEAR_OF_ZIPS, _LAST_YEAR_OF_ZIPS = 1980, 2107
_OCTAL = re.compile(rb"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


class TooMuch(Exception):
    """There are more files, or folders in each other, than are handled at once."""


@dataclass(frozen=True, slots=True)
class Entry:
    name: bytes
    is_folder: bool
    size: int
    modified_at: int  # Unix time


class TemporaryFolder:
    """Methods raise OSError, and TooMuch. Steps are names: none of them is empty, `.` or `..`, or has a slash."""

    def __init__(self, root: str) -> None:
        self._root = root

    def entries(self, steps: Steps) -> list[Entry]:
        """Return files and folders, at most MAX_ENTRIES + 1 of them. Links and the like are left out."""
        found = []
        with self._directory(steps) as directory:
            device = os.fstat(directory).st_dev
            with os.scandir(directory) as listing:
                for each in listing:
                    name = os.fsencode(each.name)
                    if name.startswith(_STAGING) or (not steps and self._is_others(name, directory)):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        info = each.stat(follow_symlinks=False)
                        is_folder = stat.S_ISDIR(info.st_mode)
                        if info.st_dev == device and (is_folder or stat.S_ISREG(info.st_mode)):
                            size = 0 if is_folder else info.st_size
                            found.append(Entry(name, is_folder, size, max(0, int(info.st_mtime))))
                    if len(found) > MAX_ENTRIES:
                        break
        return found

    @contextlib.contextmanager
    def file(self, steps: Steps) -> Iterator[tuple[IO[bytes], int]]:
        """Open a plain file; give it and its size."""
        with self.parent(steps) as (directory, name):
            descriptor = _open_file(name, directory)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            yield cast("IO[bytes]", file), os.fstat(descriptor).st_size

    def make_folder(self, steps: Steps) -> None:
        with self.parent(steps) as (directory, name):
            os.mkdir(name, NEW_FOLDER_MODE, dir_fd=directory)

    def move(self, steps: Steps, to: Steps) -> None:
        """Give another name or place. Raises FileExistsError when there is something already."""
        with self.parent(steps) as (directory, name), self.parent(to) as (target, new_name):
            move_without_replacing(directory, name, target, new_name)

    def delete(self, steps: Steps) -> None:
        """Remove a file, or a folder with all that is in it. What is gone already is fine."""
        with self.parent(steps) as (directory, name), contextlib.suppress(FileNotFoundError):
            _remove(directory, name, os.fstat(directory).st_dev, 0)

    def write_zip(self, steps: Steps, write: Callable[[bytes], object]) -> None:
        """Write a zip file of all that is in a folder. What goes away or may not be read meanwhile is left out."""
        with self._directory(steps) as directory:
            sink = _Sink(write)
            with zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
                try:
                    _Zip(archive, os.fstat(directory).st_dev).add(
                        directory, "", 0, lambda name: not steps and self._is_others(name, directory)
                    )
                except BaseException:
                    sink.is_broken = True
                    raise

    @contextlib.contextmanager
    def _directory(self, steps: Steps) -> Iterator[int]:
        descriptor = os.open(self._root, _DIRECTORY)
        try:
            device = os.fstat(descriptor).st_dev
            if steps and self._is_others(steps[0], descriptor):
                raise FileNotFoundError(errno.ENOENT, "not one of the temporary files")
            for step in steps:
                following = os.open(step, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = following
                if os.fstat(descriptor).st_dev != device:
                    raise FileNotFoundError(errno.ENOENT, "not one of the temporary files")
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def parent(self, steps: Steps) -> Iterator[tuple[int, bytes]]:
        """Open the folder that something is in, or will be; give it and the name there."""
        if not steps:
            raise PermissionError(errno.EPERM, "the folder itself stays")
        with self._directory(steps[:-1]) as directory:
            if len(steps) == 1 and self._is_others(steps[0], directory):
                raise PermissionError(errno.EPERM, "not one of the temporary files")
            yield directory, steps[-1]

    @contextlib.contextmanager
    def uploads(self, *, make: bool) -> Iterator[int]:
        """Open the hidden folder for what is being received."""
        with self._directory(()) as root:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(UPLOADS_FOLDER, 0o700, dir_fd=root)
            descriptor = os.open(UPLOADS_FOLDER, _DIRECTORY, dir_fd=root)
            try:
                if os.fstat(descriptor).st_dev != os.fstat(root).st_dev:
                    raise FileNotFoundError(errno.ENOENT, "not one of the temporary files")
                yield descriptor
            finally:
                os.close(descriptor)

    def _is_others(self, name: bytes, root: int) -> bool:
        """Return whether this is a folder of the user's that is mounted in ours, or root's that stands for one.

        Asked before anything is asked of it: a mount whose server is away answers late.
        """
        if name in mounted_in(os.fsencode(self._root)):
            return True
        try:
            owner = os.stat(name, dir_fd=root, follow_symlinks=False).st_uid
        except OSError:
            return False
        return owner == 0 and os.geteuid() != 0


def move_without_replacing(directory: int, name: bytes, target: int, new_name: bytes) -> None:
    """Raises FileExistsError when there is something already, OSError."""
    if _libc.renameat2(directory, name, target, new_name, _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def mounted_in(root: bytes, mounts: Path = Path("/proc/self/mountinfo")) -> set[bytes]:
    """Return the names in a folder that something is mounted at."""
    points = (line.split(b" ", 5)[4] for line in mounts.read_bytes().splitlines())
    plain = (_OCTAL.sub(lambda code: bytes([int(code[1], 8)]), point) for point in points)
    return {name for parent, _, name in (point.rpartition(b"/") for point in plain) if parent == root}


def _open_file(name: bytes, directory: int) -> int:
    """Open a plain file of the folder's own file system. Raises OSError."""
    descriptor = os.open(name, _FILE, dir_fd=directory)
    info = os.fstat(descriptor)
    if stat.S_ISREG(info.st_mode) and info.st_dev == os.fstat(directory).st_dev:
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "no plain file")


def _remove(parent: int, name: bytes, device: int, depth: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        pass
    else:
        return
    if depth > MAX_DEPTH:
        raise TooMuch
    directory = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        if os.fstat(directory).st_dev != device:
            raise PermissionError(errno.EPERM, "something is mounted there")
        for inner in _names_in(directory):
            with contextlib.suppress(FileNotFoundError):
                _remove(directory, inner, device, depth + 1)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


def _names_in(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


class _Sink:
    """What the zip file is written to; it cannot be sought, so that sizes and sums follow each member.

    Once `is_broken`, it takes nothing more: half a zip file must not get the end of a whole one.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write, self.is_broken = write, False

    def write(self, piece: bytes) -> int:
        if not self.is_broken:
            self._write(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        pass


class _Zip:
    def __init__(self, archive: zipfile.ZipFile, device: int) -> None:
        self._archive, self._device, self._count = archive, device, 0

    def add(self, directory: int, above: str, depth: int, is_left_out: Callable[[bytes], bool]) -> None:
        if depth > MAX_DEPTH:
            raise TooMuch
        names = MemberNames()
        for name in _names_in(directory):
            if name.startswith(_STAGING) or is_left_out(name):
                continue
            self._count += 1
            if self._count > MAX_ZIP_MEMBERS:
                raise TooMuch
            try:
                descriptor = os.open(name, _FILE, dir_fd=directory)  # a folder too
            except OSError:
                continue
            try:
                self._add_one(descriptor, above + names.of(name), depth)
            finally:
                os.close(descriptor)

    def _add_one(self, descriptor: int, name: str, depth: int) -> None:
        info = os.fstat(descriptor)
        if info.st_dev != self._device:
            return
        at = time.gmtime(max(0, int(info.st_mtime)))
        if not _FIRST_YEAR_OF_ZIPS <= at.tm_year <= _LAST_YEAR_OF_ZIPS:
            at = time.gmtime(0x20000000)  # a time that zips know
        moment = (at.tm_year, at.tm_mon, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec)
        if stat.S_ISDIR(info.st_mode):
            self._archive.writestr(zipfile.ZipInfo(name + "/", moment), b"")
            self.add(descriptor, name + "/", depth + 1, lambda _: False)
        elif stat.S_ISREG(info.st_mode):
            member = zipfile.ZipInfo(name, moment)
            member.compress_type = zipfile.ZIP_DEFLATED
            with self._archive.open(member, "w", force_zip64=True) as target:
                while piece := os.read(descriptor, PIECE_IN_BYTES):
                    target.write(piece)
