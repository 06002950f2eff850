"""A root file system of ext4, read without any kernel: the members that a tarball of it would have.

As everywhere here the bytes are an attacker's: numbers are checked before they are followed, extents must go upwards, a
directory is entered once. What ext4 has for the sake of speed (hashed directories, checksums, its journal) is not looked at;
a file system whose journal has something to replay is refused, because what it says is not what it means.
"""

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.ext4_attributes import read_capability
from fanlight.archives.tar_reader import (
    Content,
    Kind,
    Member,
    check_owner,
    check_totals,
    checked_capability,
    checked_path,
    checked_target,
    exactly,
)
from fanlight.archives.trees import EMPTIED

_SUPERBLOCK_AT, _SUPERBLOCK_SIZE, _MAGIC_AT, _MAGIC = 1024, 1024, 56, b"\x53\xef"
_OF_REPAIRS = "lost+found"
_ROOT_INODE, _INODE_SIZES, _INODE_PART = 2, range(128, 4097), 128
_DESCRIPTOR_SIZES = (32, 64)
_MAX_LOG_BLOCK_SIZE, _MAX_GROUPS = 2, 2**17  # blocks of 1 to 4 KiB
_FILETYPE, _RECOVER, _EXTENTS, _64BIT, _FLEX, _SEED, _LARGE_DIRECTORIES = 0x2, 0x4, 0x40, 0x80, 0x200, 0x2000, 0x4000
_KNOWN = _FILETYPE | _EXTENTS | _64BIT | _FLEX | _SEED | _LARGE_DIRECTORIES
_FEATURES = {
    0x1: "compression", 0x8: "an external journal", 0x10: "meta block groups", 0x100: "multiple mount protection",
    0x400: "attributes in inodes", 0x1000: "data in directories", 0x8000: "inline data", 0x10000: "encryption",
    0x20000: "names without case",
}  # fmt: skip
_HAS_EXTENTS, _IS_ENCRYPTED, _IS_INLINE = 0x80000, 0x800, 0x10000000
_EXTENT_MAGIC, _EXTENT_SIZE, _DEEPEST_EXTENTS, _LONGEST_EXTENT = 0xF30A, 12, 5, 32768
_SHORT_LINK = 60  # bytes that stand in the inode itself
_MAX_DIRECTORY_IN_BYTES = 64 * 2**20
_KINDS = {
    stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.DEVICE, stat.S_IFBLK: Kind.DEVICE, stat.S_IFIFO: Kind.PIPE, stat.S_IFSOCK: Kind.PIPE,
}  # fmt: skip


class Part(Protocol):
    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Return just these bytes. Raises ArchiveRefused."""
        ...


def has_ext_magic(part: Part) -> bool:
    is_large = part.size >= _SUPERBLOCK_AT + _SUPERBLOCK_SIZE
    return is_large and part.read_at(_SUPERBLOCK_AT + _MAGIC_AT, 2) == _MAGIC


@dataclass(frozen=True, slots=True)
class _Inode:
    number: int
    mode: int
    uid: int
    gid: int
    size: int
    modified_at: int
    flags: int
    blocks: bytes  # the root of its extents, or a short link's target
    attributes_block: int
    rest: bytes  # what stands behind the fixed part

    @property
    def kind(self) -> Kind | None:
        return _KINDS.get(stat.S_IFMT(self.mode))


class _Stream:
    """The bytes of a file, from its first to its last; holes are zeros."""

    def __init__(self, system: "Ext4", inode: _Inode) -> None:
        self._system, self._size = system, inode.size
        self._extents = system.extents(inode)
        self._at = self._begin = self._end = self._stored_at = 0

    def read(self, size: int, /) -> bytes:
        while self._at >= self._end and self._end < self._size:
            first, length, stored_at = next(self._extents, (self._size, 0, 0))
            if length:
                self._begin, self._end, self._stored_at = first, first + length, stored_at
            else:
                self._begin = self._end = self._size
            if self._at < self._begin:
                break
        if self._at < self._begin:
            data = bytes(min(size, self._begin - self._at, self._size - self._at))
        else:
            length = max(0, min(size, self._end - self._at, self._size - self._at))
            data = self._system.part.read_at(self._stored_at + self._at - self._begin, length)
        self._at += len(data)
        return data


class Ext4:
    """Raises ArchiveRefused, from every method."""

    def __init__(self, part: Part) -> None:
        self.part = part
        block = part.read_at(_SUPERBLOCK_AT, _SUPERBLOCK_SIZE)
        self._inodes, blocks, log_size = _u32(block, 0), _u32(block, 4), _u32(block, 24)
        blocks_per_group, self._inodes_per_group = _u32(block, 32), _u32(block, 40)
        revision, features = _u32(block, 76), _u32(block, 96)
        _check_features(features, revision)
        if features & _64BIT:
            blocks |= _u32(block, 336) << 32
        if log_size > _MAX_LOG_BLOCK_SIZE:
            raise ArchiveRefused("The file system has blocks of more than 4 KiB.")
        self.block_size = 1024 << log_size
        self._inode_size = _u16(block, 88)
        self._descriptor_size = _u16(block, 254) if features & _64BIT else 32
        first_block = _u32(block, 20)
        if not (blocks_per_group and self._inodes_per_group and self._inode_size in _INODE_SIZES):
            raise ArchiveRefused("The superblock of the file system is damaged.")
        if self._descriptor_size not in _DESCRIPTOR_SIZES or blocks * self.block_size > part.size:
            raise ArchiveRefused("The file system is said to be larger than where it stands, or is damaged.")
        groups = -(-(blocks - first_block) // blocks_per_group)
        if not 0 < groups <= _MAX_GROUPS or self._inodes > groups * self._inodes_per_group:
            raise ArchiveRefused("The superblock of the file system is damaged.")
        table = part.read_at((first_block + 1) * self.block_size, groups * self._descriptor_size)
        is_wide = self._descriptor_size == _DESCRIPTOR_SIZES[1]
        self._tables = [
            _u32(table, at + 8) | (_u32(table, at + 40) << 32 if is_wide else 0)
            for at in range(0, len(table), self._descriptor_size)
        ]

    def is_root(self) -> bool:
        """Return whether a system stands here, and not only its /boot or /home."""
        names = {name for name, _ in self._entries(self._inode(_ROOT_INODE))}
        return {"etc", "usr"} <= names

    def members(self) -> Iterator[tuple[Member, Content]]:
        """Yield what a tarball of it would have, parents first, always in the same order.

        Devices, pipes and sockets are left out, and so is what stands in directories that an instance fills itself.
        """
        files: dict[int, str] = {}
        entered: set[int] = set()
        count = total = 0
        waiting = [("", _ROOT_INODE)]
        while waiting:
            path, number = waiting.pop()
            inode = self._inode(number)
            if inode.kind in (Kind.DEVICE, Kind.PIPE) or path == _OF_REPAIRS:
                continue
            member = self._member(path, inode, files.get(number, ""))
            count, total = count + 1, total + member.size
            check_totals(member, count, total)
            yield member, Content(_Stream(self, inode), member.size)
            if member.kind is Kind.FILE:
                files[number] = path
            if member.kind is Kind.DIRECTORY and path not in EMPTIED:
                if number in entered:
                    raise ArchiveRefused(f"The directory {path!r} stands in more than one place.")
                entered.add(number)
                below = sorted(self._entries(inode), reverse=True)
                waiting += [(checked_path(f"{path}/{name}".lstrip("/")), child) for name, child in below]
                check_totals(member, len(waiting), total)

    def extents(self, inode: _Inode) -> Iterator[tuple[int, int, int]]:
        """Yield where content stands: offset in the file, length, offset in the file system. Holes are left out."""
        if inode.flags & (_IS_ENCRYPTED | _IS_INLINE) or not inode.flags & _HAS_EXTENTS:
            raise ArchiveRefused(
                f"The file system keeps a file (inode {inode.number}) as ext2 and ext3 did, encrypted or inline; extents are read."
            )
        end = 0
        for first, count, stored_at, is_written in self._extents_below(inode.blocks, _DEEPEST_EXTENTS):
            if first < end or not count:
                raise ArchiveRefused(f"The extents of inode {inode.number} are damaged.")
            end = first + count
            if is_written:
                yield first * self.block_size, count * self.block_size, stored_at * self.block_size

    def _extents_below(self, node: bytes, deepest: int) -> Iterator[tuple[int, int, int, bool]]:
        magic, count, _, depth, _ = struct.unpack_from("<HHHHI", node)
        is_empty_file = not count and len(node) == _SHORT_LINK and not depth
        is_sound = magic == _EXTENT_MAGIC and depth <= deepest and (count + 1) * _EXTENT_SIZE <= len(node)
        if not is_sound or (not count and not is_empty_file):
            raise ArchiveRefused("The extents of a file are damaged.")
        last = -1
        for number in range(1, count + 1):
            if depth:
                first, low, high = struct.unpack_from("<IIH", node, number * _EXTENT_SIZE)
                if first <= last:
                    raise ArchiveRefused("The extents of a file are damaged.")
                last = first
                below = self._block(high << 32 | low)
                if _u16(below, 6) != depth - 1:
                    raise ArchiveRefused("The extents of a file are damaged.")
                yield from self._extents_below(below, depth - 1)
            else:
                first, length, high, low = struct.unpack_from("<IHHI", node, number * _EXTENT_SIZE)
                is_written = length <= _LONGEST_EXTENT
                yield first, length if is_written else length - _LONGEST_EXTENT, high << 32 | low, is_written

    def _block(self, number: int) -> bytes:
        return self.part.read_at(number * self.block_size, self.block_size)

    def _inode(self, number: int) -> _Inode:
        if not 0 < number <= self._inodes:
            raise ArchiveRefused(f"The file system names the inode {number}, which it does not have.")
        group, index = divmod(number - 1, self._inodes_per_group)
        raw = self.part.read_at(self._tables[group] * self.block_size + index * self._inode_size, self._inode_size)
        return _Inode(
            number=number,
            mode=_u16(raw, 0),
            uid=_u16(raw, 2) | _u16(raw, 120) << 16,
            gid=_u16(raw, 24) | _u16(raw, 122) << 16,
            size=_u32(raw, 4) | _u32(raw, 108) << 32,
            modified_at=_u32(raw, 16),
            flags=_u32(raw, 32),
            blocks=raw[40:100],
            attributes_block=_u32(raw, 104) | _u16(raw, 118) << 32,
            rest=raw[_INODE_PART:],
        )

    def _member(self, path: str, inode: _Inode, before: str) -> Member:
        """`before` is where the same file stood already, empty if nowhere."""
        kind = inode.kind
        if kind is None:
            raise ArchiveRefused(f"{path!r} is of no kind that is known ({inode.mode:#o}).")
        if kind is Kind.FILE and before:
            return Member(path, Kind.HARD_LINK, 0, 0, 0, 0, target=before)
        block = self._block(inode.attributes_block) if inode.attributes_block else b""
        member = Member(
            path=path,
            kind=kind,
            mode=inode.mode & 0o7777,
            uid=inode.uid,
            gid=inode.gid,
            modified_at=inode.modified_at,
            size=inode.size if kind is Kind.FILE else 0,
            target=checked_target(path, self._target(inode)) if kind is Kind.SYMLINK else "",
            capability=checked_capability(path, kind, read_capability(inode.rest, block)),
        )
        check_owner(member)
        return member

    def _target(self, inode: _Inode) -> str:
        if inode.size < _SHORT_LINK and not inode.flags & _HAS_EXTENTS:
            target = inode.blocks[: inode.size]
        else:
            target = exactly(_Stream(self, inode), min(inode.size, limits.MAX_LINK + 1))
        return target.decode("utf-8", "surrogateescape")

    def _entries(self, inode: _Inode) -> Iterator[tuple[str, int]]:
        """Yield name and inode of what a directory has."""
        if inode.kind is not Kind.DIRECTORY or inode.size > _MAX_DIRECTORY_IN_BYTES:
            raise ArchiveRefused(f"The directory of inode {inode.number} is none, or too large.")
        stream = _Stream(self, inode)
        for _ in range(inode.size // self.block_size):
            block = exactly(stream, self.block_size)
            at = 0
            while at + 8 <= len(block):
                number, length, name_length = struct.unpack_from("<IHB", block, at)
                if length < 8 or at + length > len(block) or 8 + name_length > length:  # noqa: PLR2004 - the fixed part
                    raise ArchiveRefused(f"The directory of inode {inode.number} is damaged.")
                name = block[at + 8 : at + 8 + name_length]
                at += length
                if number and name not in (b".", b".."):
                    yield _name(name), number


def _name(raw: bytes) -> str:
    name = raw.decode("utf-8", "surrogateescape")
    if not name or "/" in name or "\0" in name:
        raise ArchiveRefused(f"A directory has the name {name!r}.")
    return name


def _check_features(features: int, revision: int) -> None:
    if features & _RECOVER:
        raise ArchiveRefused(
            "The journal of the file system has something to replay: shut the machine down before its disk is copied."
        )
    if not revision or not features & _EXTENTS:
        raise ArchiveRefused("The file system is an ext2 or ext3; ext4 is read.")
    unknown = features & ~_KNOWN
    if unknown:
        names = [name for bit, name in _FEATURES.items() if unknown & bit] or [f"{unknown:#x}"]
        raise ArchiveRefused(f"The ext4 file system uses what is not read: {', '.join(names)}.")


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
