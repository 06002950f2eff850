"""Write the tarball that the engine gets: everything that leads somewhere comes last."""

import tarfile
from typing import Protocol

from fanlight.archives.tar_reader import BLOCK, CAPABILITY, Kind, Member

_TYPES = {Kind.FILE: b"0", Kind.HARD_LINK: b"1", Kind.SYMLINK: b"2", Kind.DIRECTORY: b"5"}
_LONGEST_IN_HEADER = 99
_LARGEST_IN_HEADER = 8**11 - 1
_LATEST = 2**33 - 1


class Writable(Protocol):
    def write(self, data: bytes, /) -> int: ...


class TarWriter:
    """`begin` a member, then `write` just the bytes that its size says."""

    def __init__(self, target: Writable) -> None:
        self._target, self._padding = target, 0

    def begin(self, member: Member) -> None:
        self._pad()
        name = f"./{member.path}" + ("/" if member.kind is Kind.DIRECTORY and member.path else "")
        target = f"./{member.target}" if member.kind is Kind.HARD_LINK else member.target
        records = _records(member, name, target)
        if records:
            self._target.write(_header(b"x", "./PaxHeader", "", len(records), Member("", Kind.FILE, 0o644, 0, 0, 0)))
            self._target.write(records + bytes(-len(records) % BLOCK))
        size = member.size if member.kind is Kind.FILE else 0
        self._target.write(_header(_TYPES[member.kind], name, target, min(size, _LARGEST_IN_HEADER), member))
        self._padding = -size % BLOCK

    def write(self, data: bytes) -> None:
        self._target.write(data)

    def finish(self) -> None:
        self._pad()
        self._target.write(bytes(2 * BLOCK))

    def _pad(self) -> None:
        self._target.write(bytes(self._padding))
        self._padding = 0


def _records(member: Member, name: str, target: str) -> bytes:
    """Return the extension header for what does not fit into the plain one."""
    records = b""
    for key, text in (("path", name), ("linkpath", target)):
        value = text.encode("utf-8", "surrogateescape")
        if len(value) > _LONGEST_IN_HEADER or not value.isascii():
            records += _record(key, value)
    if member.kind is Kind.FILE and member.size > _LARGEST_IN_HEADER:
        records += _record("size", str(member.size).encode())
    if member.capability:
        records += _record(f"SCHILY.xattr.{CAPABILITY}", member.capability)
    return records


def _record(key: str, value: bytes) -> bytes:
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length).encode() + rest) != length:
        length = len(str(length).encode() + rest)
    return str(length).encode() + rest


def _header(kind: bytes, name: str, target: str, size: int, member: Member) -> bytes:
    info = tarfile.TarInfo()
    info.type = kind
    # The true names stand in the extension header when they are longer.
    info.name = name.encode("ascii", "replace").decode()[:_LONGEST_IN_HEADER]
    info.linkname = target.encode("ascii", "replace").decode()[:_LONGEST_IN_HEADER]
    info.size, info.mode, info.uid, info.gid = size, member.mode, member.uid, member.gid
    info.mtime = min(member.modified_at, _LATEST)
    return info.create_ustar_header(info.get_info(), "ascii", "strict")
