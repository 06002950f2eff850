"""Extended attributes of ext4. Of all of them an image keeps the file capabilities."""

import struct
from collections.abc import Iterator

from fanlight.archives import ArchiveRefused

_MAGIC = struct.pack("<I", 0xEA020000)
_BLOCK_HEADER = 32
_ENTRY = struct.Struct("<BBHIII")
_SECURITY = 6
_CAPABILITY = b"capability"
_MAX_VALUE = 64 * 1024


def read_capability(behind_inode: bytes, block: bytes) -> bytes:
    """Return the file capabilities, empty when there are none.

    They stand behind the fixed part of the inode or in its block of attributes; either may be empty. Raises
    ArchiveRefused.
    """
    for entries, values in _places(behind_inode, block):
        for index, name, value in _entries(entries, values):
            if (index, name) == (_SECURITY, _CAPABILITY):
                return value
    return b""


def _places(behind_inode: bytes, block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield where entries stand, and where what their values' offsets count from does."""
    begin = int.from_bytes(behind_inode[:2], "little")  # how many further fields the inode has
    if behind_inode[begin : begin + 4] == _MAGIC:
        body = behind_inode[begin + 4 :]
        yield body, body
    if block:
        if block[:4] != _MAGIC:
            raise _damaged()
        yield block[_BLOCK_HEADER:], block


def _entries(entries: bytes, values: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield index of the prefix, name and value of each."""
    at = 0
    while at + 4 <= len(entries) and entries[at : at + 4] != bytes(4):
        if at + _ENTRY.size > len(entries):
            raise _damaged()
        length, index, offset, inode, size, _ = _ENTRY.unpack_from(entries, at)
        name = entries[at + _ENTRY.size : at + _ENTRY.size + length]
        if inode or size > _MAX_VALUE or len(name) != length or offset + size > len(values):
            raise _damaged()
        yield index, name, values[offset : offset + size]
        at += -(-(_ENTRY.size + length) // 4) * 4


def _damaged() -> ArchiveRefused:
    return ArchiveRefused("The extended attributes of a file are damaged.")
