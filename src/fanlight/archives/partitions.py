"""Which part of a disk is a root file system: the one ext4 with an /etc and a /usr, alone on the disk or in a partition."""

import struct
from collections.abc import Iterator
from typing import Protocol

from fanlight.archives import ArchiveRefused
from fanlight.archives.ext4 import Ext4, has_ext_magic

_SECTOR = 512
_GPT_MAGIC, _MBR_MAGIC = b"EFI PART", b"\x55\xaa"
_MAX_ENTRIES, _ENTRY_SIZES = 256, (128, 256, 512)
_PROTECTIVE, _EXTENDED = 0xEE, (0x05, 0x0F, 0x85)
# What stands at a place of a partition that holds something else, and what people call it.
_OTHERS = (
    (0, b"XFSB", "XFS"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    (512, b"LABELONE", "a volume group (LVM)"),
    (3, b"NTFS", "NTFS"),
)


class Disk(Protocol):
    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Return just these bytes. Raises ArchiveRefused."""
        ...


class DiskPart:
    """A part of a disk, as a disk of its own."""

    def __init__(self, disk: Disk, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > disk.size:
            raise ArchiveRefused("A partition of the disk ends beyond it.")
        self._disk, self._offset, self.size = disk, offset, size

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or offset + size > self.size:
            raise ArchiveRefused("Something in a partition is said to stand beyond its end.")
        return self._disk.read_at(self._offset + offset, size)


def find_root(disk: Disk) -> Ext4:
    """Return the root file system. Raises ArchiveRefused when there is none, or more than one."""
    parts = [DiskPart(disk, 0, disk.size)] if has_ext_magic(disk) else list(_partitions(disk))
    roots = [found for found in (Ext4(part) for part in parts if has_ext_magic(part)) if found.is_root()]
    if len(roots) == 1:
        return roots[0]
    if roots:
        raise ArchiveRefused(f"The disk has {len(roots)} root file systems; which one is meant?")
    others = sorted({name for part in parts for name in _names(part)})
    found = f"; it has {', '.join(others)}" if others else ""
    raise ArchiveRefused(
        f"The disk has no ext4 file system with an /etc and a /usr{found}. Make a tarball of its root file system "
        "(virt-tar-out -a disk.qcow2 / rootfs.tar) and import that."
    )


def _partitions(disk: Disk) -> Iterator[DiskPart]:
    if disk.size < 2 * _SECTOR or disk.read_at(_SECTOR - 2, 2) != _MBR_MAGIC:
        return
    if disk.read_at(_SECTOR, 8) == _GPT_MAGIC:
        yield from _gpt(disk)
        return
    for number in range(4):
        entry = disk.read_at(446 + 16 * number, 16)
        kind, first, count = entry[4], *struct.unpack_from("<II", entry, 8)
        if kind and count and kind != _PROTECTIVE and kind not in _EXTENDED:
            yield DiskPart(disk, first * _SECTOR, count * _SECTOR)


def _gpt(disk: Disk) -> Iterator[DiskPart]:
    first, count, size = struct.unpack_from("<QII", disk.read_at(_SECTOR + 72, 16))
    if count > _MAX_ENTRIES or size not in _ENTRY_SIZES:
        raise ArchiveRefused(f"The disk has a table of {count:,} partitions of {size:,} bytes each.")
    for number in range(count):
        entry = disk.read_at(first * _SECTOR + number * size, 48)
        begin, end = struct.unpack_from("<QQ", entry, 32)
        if entry[:16] != bytes(16) and end >= begin:
            yield DiskPart(disk, begin * _SECTOR, (end + 1 - begin) * _SECTOR)


def _names(part: DiskPart) -> Iterator[str]:
    for offset, magic, name in _OTHERS:
        if part.size >= offset + len(magic) and part.read_at(offset, len(magic)) == magic:
            yield name
