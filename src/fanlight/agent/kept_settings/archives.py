"""What of a home are settings, and how they become one archive and a home again.

Settings are what begins with a dot in the home, without what programs make again, what a desktop keeps for files, and
what was there before the user came: that is the image's, and another image may have it better. An archive is hostile
input: it was written in another instance. It is looked through before anything of it is unpacked.

All of this runs as the user and can do no more than a program of the user could.
"""

import errno
import gzip
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

MAX_ENTRIES = 100_000
MAX_PATH = 1_024
# From the home down. What else there may be without a dot (MyFiles, Desktop, Documents ...) are files, not settings.
NO_SETTINGS = frozenset({
    ".cache", ".thumbnails", ".Xauthority", ".ICEauthority", ".xsession-errors", ".dbus", ".gvfs", ".fuse",
    ".local/share/Trash", ".local/share/gvfs-metadata", ".config/pulse", ".local/state/pulse",
})  # fmt: skip
# Directories with such a name are caches wherever they are; others have a file in them that says so.
CACHES = frozenset({"cache", "caches", "cache2", "code cache", "gpucache", "shadercache", "grshadercache", "dawncache"})
CACHE_TAG = "CACHEDIR.TAG"
_COPY_BYTES = 1 << 20
# What stands in an entry's way is the image's; it stays, and the entry is left out.
_NO_PLACE = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EPERM, errno.EACCES, errno.ELOOP})
_FAST = 1  # settings are small; a user waits for them

# What is compared to learn whether an entry was touched. Only the kernel sets the time of change.
State = tuple[int, int, int, int]


class Unfit(Exception):
    """What there is cannot be kept, or an archive not be unpacked. The text says why; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """`refused` entries had no place in this home, as where the image has a directory of that name."""

    entries: int
    refused: int


def too_large(max_bytes: int) -> str:
    return f"they are larger than {max_bytes} bytes"


def states_in(home: Path) -> dict[str, State]:
    """Return what there is, before the user comes."""
    return {name: _state_of(status) for name, status in _entries(home)}


def pack(home: Path, before: Mapping[str, State], output: IO[bytes], max_bytes: int) -> int:
    """Write what was touched since `before`; return how many entries. Raises Unfit, OSError.

    The same settings make the same bytes. `max_bytes` bounds the sum of all files, 0: nothing does.
    """
    entries, total = 0, 0
    with (
        gzip.GzipFile(fileobj=output, mode="wb", compresslevel=_FAST, filename="", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, status in _entries(home):
            if before.get(name) == _state_of(status):
                continue
            member = _member_of(home, name, status)
            if member is None:
                continue
            entries, total = entries + 1, total + member.size
            _check_bounds(entries, total, max_bytes)
            if not member.isreg():
                archive.addfile(member)
                continue
            with suppress(PermissionError), _opened(home / name) as file:  # the user shut it even for themself
                archive.addfile(member, file)
    return entries


def unpack(source: IO[bytes], home: Path, max_bytes: int) -> Unpacked:
    """Put an archive into a home. `source` can be sought. Raises Unfit, and OSError when the disk is full."""
    start = source.tell()
    try:
        with _reading(source) as archive:
            _check(archive, max_bytes)
        source.seek(start)
        with _reading(source) as archive:
            return _extract(archive, home)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, MemoryError) as error:
        raise Unfit(f"the archive cannot be read: {type(error).__name__}") from error


def _reading(source: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=gzip.GzipFile(fileobj=source, mode="rb"), mode="r|", errors="surrogateescape")


# ── What is kept ──────────────────────────────────────────────────────────────────────────────────────────────────


def is_kept(name: str) -> bool:
    """Return whether a path below the home is one of settings. Anything but a plain path is not."""
    path = PurePosixPath(name)
    if name in ("", ".") or len(os.fsencode(name)) > MAX_PATH or "\0" in name or str(path) != name:
        return False
    if not path.parts[0].startswith(".") or any(part in ("/", "..") for part in path.parts):
        return False
    above = {str(PurePosixPath(*path.parts[:length])) for length in range(1, len(path.parts) + 1)}
    return NO_SETTINGS.isdisjoint(above) and CACHES.isdisjoint(part.lower() for part in path.parts)


def _entries(home: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything kept in a fixed order, following no link and leaving the home's file system at no mount."""
    device = home.stat().st_dev
    for directory, names, files in os.walk(home):
        below = os.path.relpath(directory, home)
        here = "" if below == "." else f"{below}/"
        if CACHE_TAG in files:
            names.clear()
            continue
        found: list[str] = []
        for name in sorted((*names, *files)):
            path = here + name
            if not is_kept(path):
                continue
            with suppress(OSError):  # gone meanwhile
                status = os.lstat(home / path)
                if status.st_dev == device:
                    found.append(name)
                    yield path, status
        names[:] = sorted(set(names).intersection(found))


def _state_of(status: os.stat_result) -> State:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _member_of(home: Path, name: str, status: os.stat_result) -> tarfile.TarInfo | None:
    """Return the head of an entry; None for what is no setting: sockets, links that lead out of the home or nowhere."""
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(status.st_mode) & 0o777
    if stat.S_ISREG(status.st_mode):
        member.size, member.mtime = status.st_size, int(status.st_mtime)  # of others it says nothing that lasts
    elif stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode) and (target := _target_in(home, name)) is not None:
        member.type, member.linkname = tarfile.SYMTYPE, target
    else:
        return None
    return member


def _target_in(home: Path, name: str) -> str | None:
    """Return where a link leads, as seen from its directory.

    Programs mark a directory that they use with a link that leads nowhere: in the next session it would be a lie.
    """
    path = home / name
    target = str(path.readlink())
    if not path.exists() or not path.resolve().is_relative_to(home.resolve()):
        return None
    if target.startswith("/"):
        if not PurePosixPath(target).is_relative_to(home):
            return None
        target = os.path.relpath(target, path.parent)
    return target if _stays(name, target) else None


def _stays(name: str, target: str) -> bool:
    """Return whether a link can only lead to what is in the home, whatever links are there besides."""
    steps = target.split("/")
    upwards = next((index for index, step in enumerate(steps) if step != ".."), len(steps))
    is_plain = bool(target) and "\0" not in target and ".." not in steps[upwards:] and not target.startswith("/")
    return is_plain and upwards <= len(PurePosixPath(name).parts) - 1


def _check_bounds(entries: int, total: int, max_bytes: int) -> None:
    if entries > MAX_ENTRIES:
        raise Unfit(f"there are more than {MAX_ENTRIES} files")
    if max_bytes and total > max_bytes:
        raise Unfit(too_large(max_bytes))


def _opened(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    return os.fdopen(descriptor, "rb")


# ── Unpacking ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _check(archive: tarfile.TarFile, max_bytes: int) -> None:
    """Raises Unfit for what `pack` would never have written."""
    seen: set[str] = set()
    total = 0
    for member in archive:
        is_known = member.type in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE)
        if not is_known or not is_kept(member.name) or member.name in seen:
            raise Unfit("the archive has something in it that is no setting")
        if member.issym() and not _stays(member.name, member.linkname):
            raise Unfit("the archive has a link in it that leads out of the home")
        seen.add(member.name)
        total += member.size
        _check_bounds(len(seen), total, max_bytes)


def _extract(archive: tarfile.TarFile, home: Path) -> Unpacked:
    """Links come last, so that nothing is written through one."""
    links: list[tarfile.TarInfo] = []
    entries = refused = 0
    for member in archive:
        entries += 1
        if member.issym():
            links.append(member)
        else:
            refused += not _has_place(home, member, archive)
    refused += sum(not _has_place(home, member, archive) for member in links)
    return Unpacked(entries, refused)


def _has_place(home: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> bool:
    """Put one entry into the home. Raises OSError when the disk is full or fails."""
    path = PurePosixPath(member.name)
    try:
        if member.isdir():
            directory = _directory(home, path.parts)
            os.fchmod(directory, member.mode & 0o777 | 0o700)
            os.close(directory)
            return True
        directory = _directory(home, path.parts[:-1])
        try:
            with suppress(FileNotFoundError):
                os.unlink(path.name, dir_fd=directory)
            if member.issym():
                os.symlink(member.linkname, path.name, dir_fd=directory)
            else:
                _write(archive, member, directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno in _NO_PLACE:
            return False
        raise
    return True


def _directory(home: Path, parts: tuple[str, ...]) -> int:
    """Open a directory of the home, made where there is none; a link on the way is an error, not followed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    here = os.open(home, flags)
    for part in parts:
        try:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=here)
            below = os.open(part, flags, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int) -> None:
    name = PurePosixPath(member.name).name
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as file:
        content = archive.extractfile(member)
        if content is not None:
            shutil.copyfileobj(content, file, _COPY_BYTES)
        file.flush()
        os.fchmod(file.fileno(), member.mode & 0o777)
        os.utime(file.fileno(), (member.mtime, member.mtime))
