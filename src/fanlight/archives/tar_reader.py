"""Walk a tar by its headers, within bounds.

The library's own walk reads extension headers, whose length the archive chooses, into memory whole, and knows kinds of
members that no root file system needs. Here every member is one of the kinds below, or refused.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.compression import Readable

BLOCK = 512
_CHUNK = 2**20
_MOST_PADDING = 4 * 2**20
_XATTR = "SCHILY.xattr."
CAPABILITY = "security.capability"


class Kind(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARD_LINK = "hard link"
    DEVICE = "device"  # left out below /dev, refused elsewhere
    PIPE = "named pipe"


_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.LNKTYPE: Kind.HARD_LINK,
    tarfile.CHRTYPE: Kind.DEVICE,
    tarfile.BLKTYPE: Kind.DEVICE,
    tarfile.FIFOTYPE: Kind.PIPE,
}


@dataclass(frozen=True, slots=True)
class Member:
    """`path` is relative, without `.` and `..`, empty for the root. `target` of a hard link is such a path too."""

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    modified_at: int
    size: int = 0
    target: str = ""
    capability: bytes = b""
    dropped_attributes: int = 0


@dataclass(slots=True)
class _Extension:
    """What extension headers say of the member after them."""

    path: str | None = None
    target: str | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    modified_at: int | None = None
    capability: bytes = b""
    dropped: int = field(default=0)


class Content:
    """The bytes of one member. What is not read is skipped when the walk goes on."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream, self.left = stream, size

    def chunks(self) -> Iterator[bytes]:
        while self.left:
            data = exactly(self._stream, min(self.left, _CHUNK))
            self.left -= len(data)
            yield data

    def read(self) -> bytes:
        return b"".join(self.chunks())


def read_members(stream: Readable) -> Iterator[tuple[Member, Content]]:
    """Yield every member and its content. Raises ArchiveRefused."""
    extension = _Extension()
    count = total = 0
    while (header := _header(stream)) is not None:
        if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            _read_pax(_short(stream, header), extension)
        elif header.type == tarfile.XGLTYPE:
            _check_global(_short(stream, header))
        elif header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = _text(_short(stream, header).rstrip(b"\0"))
            if header.type == tarfile.GNUTYPE_LONGNAME:
                extension.path = text
            else:
                extension.target = text
        else:
            member = _member(header, extension)
            count, total = count + 1, total + member.size
            check_totals(member, count, total)
            content = Content(stream, member.size)
            yield member, content
            for _ in content.chunks():
                pass
            exactly(stream, -member.size % BLOCK)
            extension = _Extension()
    _read_on(stream)


def _read_on(stream: Readable) -> None:
    """Read what stands behind the end, so that checksums there are compared. It is padding, and little."""
    left = _MOST_PADDING
    while data := stream.read(_CHUNK):
        left -= len(data)
        if left < 0:
            raise ArchiveRefused("Something stands behind the end of the archive.")


def _header(stream: Readable) -> tarfile.TarInfo | None:
    block = exactly(stream, BLOCK)
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the stub does not know it
        return None
    except tarfile.HeaderError as error:
        raise ArchiveRefused(f"The archive is damaged or no tar: {error}.") from error


def _short(stream: Readable, header: tarfile.TarInfo) -> bytes:
    if not 0 <= header.size <= limits.MAX_HEADER_IN_BYTES:
        raise ArchiveRefused(
            f"An extension header has {header.size} bytes; at most {limits.MAX_HEADER_IN_BYTES} are read."
        )
    data = exactly(stream, header.size)
    exactly(stream, -header.size % BLOCK)
    return data


def _records(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the records of a pax header: `LENGTH KEY=VALUE\\n`."""
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or len(length) > 9 or not len(length) + 2 < int(length) <= len(data):  # noqa: PLR2004
            raise ArchiveRefused("An extension header is malformed.")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ArchiveRefused("An extension header is malformed.")
        yield _text(key), value[:-1]


def _read_pax(data: bytes, extension: _Extension) -> None:
    for key, value in _records(data):
        if key.startswith("GNU.sparse"):
            raise ArchiveRefused("The archive has sparse members. Make it without --sparse.")
        if key == "path":
            extension.path = _text(value)
        elif key == "linkpath":
            extension.target = _text(value)
        elif key in ("size", "uid", "gid"):
            setattr(extension, key, _number(value))
        elif key == "mtime":
            extension.modified_at = _number(value.partition(b".")[0])
        elif key == _XATTR + CAPABILITY:
            extension.capability = value
        elif key.startswith((_XATTR, "LIBARCHIVE.xattr.", "SCHILY.acl.", "RHT.security.")):
            extension.dropped += 1


def _check_global(data: bytes) -> None:
    """A header for all members that follow: only a comment has no say in what they are."""
    for key, _ in _records(data):
        if key != "comment":
            raise ArchiveRefused(f"The archive sets {key!r} for all its members at once; that is not read.")


def _number(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:  # noqa: PLR2004 - what fits into 64 bits
        raise ArchiveRefused("An extension header has a number that is none.")
    return int(value)


def _member(header: tarfile.TarInfo, extension: _Extension) -> Member:
    path = checked_path(extension.path if extension.path is not None else header.name)
    kind = _KINDS.get(header.type)
    if kind is None:
        raise ArchiveRefused(
            f"{path!r} is of the unknown kind {header.type!r} (sparse or of several volumes, perhaps)."
        )
    size = (extension.size if extension.size is not None else header.size) if kind is Kind.FILE else 0
    if kind is not Kind.FILE and header.size and kind is not Kind.HARD_LINK:
        raise ArchiveRefused(f"{path!r} is a {kind.value} with content.")
    if kind is Kind.HARD_LINK and (header.size or extension.size):
        raise ArchiveRefused(f"{path!r} is a hard link with content.")
    member = Member(
        path=path,
        kind=kind,
        mode=header.mode & 0o7777,
        uid=extension.uid if extension.uid is not None else header.uid,
        gid=extension.gid if extension.gid is not None else header.gid,
        modified_at=max(0, extension.modified_at if extension.modified_at is not None else int(header.mtime)),
        size=size,
        capability=checked_capability(path, kind, extension.capability),
        dropped_attributes=extension.dropped,
    )
    check_owner(member)
    target = extension.target if extension.target is not None else header.linkname
    if kind is Kind.HARD_LINK:
        return replace(member, target=checked_path(target))
    if kind is Kind.SYMLINK:
        return replace(member, target=checked_target(path, target))
    return member


def check_owner(member: Member) -> None:
    if not (0 <= member.uid <= limits.MAX_ID and 0 <= member.gid <= limits.MAX_ID):
        raise ArchiveRefused(
            f"{member.path!r} belongs to {member.uid}:{member.gid}; an instance has ids up to {limits.MAX_ID}."
        )


def checked_target(path: str, target: str) -> str:
    """Return the target of a symbolic link."""
    if not target or len(target) > limits.MAX_LINK or "\0" in target:
        raise ArchiveRefused(f"{path!r} is a link to nowhere, or its target is longer than {limits.MAX_LINK}.")
    return target


def checked_capability(path: str, kind: Kind, value: bytes) -> bytes:
    """Return file capabilities as the kernel writes them for a whole system (revision 2); others are refused."""
    if not value:
        return b""
    if kind is not Kind.FILE or len(value) != 20 or value[3] != 2:  # noqa: PLR2004 - struct vfs_cap_data
        raise ArchiveRefused(f"{path!r} has file capabilities in a form that is not taken.")
    return value


def checked_path(name: str) -> str:
    if name.startswith("/"):
        raise ArchiveRefused(f"{name!r} is an absolute path.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveRefused(f"{name!r} leads out of its directory.")
    path = "/".join(parts)
    if len(path) > limits.MAX_PATH or len(parts) > limits.MAX_DEPTH:
        raise ArchiveRefused(f"{path[:80]!r}… is longer than {limits.MAX_PATH}, or deeper than {limits.MAX_DEPTH}.")
    if any(len(part.encode("utf-8", "surrogateescape")) > limits.MAX_COMPONENT for part in parts):
        raise ArchiveRefused(f"{path[:80]!r}… has a name longer than {limits.MAX_COMPONENT} bytes.")
    if any(ord(character) < ord(" ") or character == "\x7f" for character in path):
        raise ArchiveRefused(f"{path!r} has control characters.")
    return path


def check_totals(member: Member, count: int, total: int) -> None:
    if member.size < 0 or member.size > limits.MAX_FILE_IN_BYTES:
        raise ArchiveRefused(f"{member.path!r} is larger than {limits.MAX_FILE_IN_BYTES // 2**30} GiB.")
    if count > limits.MAX_MEMBERS:
        raise ArchiveRefused(f"The archive has more than {limits.MAX_MEMBERS:,} members.")
    if total > limits.MAX_TOTAL_IN_BYTES:
        raise ArchiveRefused(f"The archive has more than {limits.MAX_TOTAL_IN_BYTES // 2**30} GiB of content.")


def _text(value: bytes) -> str:
    if b"\0" in value:
        raise ArchiveRefused("A name in the archive has a zero byte.")
    return value.decode("utf-8", "surrogateescape")


def exactly(stream: Readable, size: int) -> bytes:
    """Return just so many bytes. Raises ArchiveRefused when it ends before."""
    content = b""
    while len(content) < size:
        more = stream.read(size - len(content))
        if not more:
            raise ArchiveRefused("The archive ends too early.")
        content += more
    return content
