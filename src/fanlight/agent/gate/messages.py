"""What is read of FUSE's messages (linux/fuse.h, protocol 7.12 and later), and the few that are made here.

Offsets count from the beginning of a message. Everything is in the byte order of the machine, and whatever is shorter
than it should be raises Malformed: messages are about what users do.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

HEADER_IN, HEADER_OUT = 40, 16
OLDEST_MINOR = 12  # before that, some messages are shorter
SIZE_IS_SET = 1 << 3  # of SETATTR's `valid`
KEEP_SIZE = 1  # of FALLOCATE's mode
EXCHANGE = 2  # of RENAME2's flags
BLOCK = 4096
NAME_LIMIT = 255
_MANY_FILES = 1_000_000_000  # their number has no limit
_ENTRY, _ATTRIBUTES = 40, 16  # the bytes before the attributes, in answers that name a file and in others

_head = struct.Struct("=IIQQ")
_head_out = struct.Struct("=IiQ")
_attributes = struct.Struct("=8xQ44xI")  # size, mode
_u32, _u64 = struct.Struct("=I"), struct.Struct("=Q")
_two_u32, _two_u64 = struct.Struct("=II"), struct.Struct("=QQ")
_write = struct.Struct("=8xQI")  # offset, size
_setattr = struct.Struct("=I12xQ")  # valid, size
_fallocate = struct.Struct("=8xQQI")  # offset, length, mode
_statfs = struct.Struct("=IiQQQQQQIII28x")


class Op(IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    MKNOD = 8
    UNLINK = 10
    RENAME = 12
    OPEN = 14
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    INIT = 26
    CREATE = 35
    BATCH_FORGET = 42
    FALLOCATE = 43
    RENAME2 = 45


class Malformed(ValueError):
    """A message that is not as it should be; whoever it is for may say so."""


class Head(NamedTuple):
    length: int
    op: int
    unique: int
    node: int


class Entry(NamedTuple):
    node: int
    size: int
    mode: int


Message = memoryview | bytes


def _unpack(layout: struct.Struct, message: Message, offset: int) -> tuple[int, ...]:
    try:
        return layout.unpack_from(message, offset)
    except struct.error as error:
        raise Malformed(str(error)) from error


def head_of(message: Message) -> Head:
    head = Head(*_unpack(_head, message, 0))
    if head.length != len(message) or len(message) < HEADER_IN:
        raise Malformed("the length is another one")
    return head


def head_of_answer(message: Message) -> tuple[int, int]:
    """Return the error, 0 or negative, and what it answers."""
    length, error, unique = _unpack(_head_out, message, 0)
    if length != len(message):
        raise Malformed("the length is another one")
    return error, unique


def minor_of_init(message: Message) -> tuple[int, int]:
    """Return the version that was agreed upon: major, minor."""
    major, minor = _unpack(_two_u32, message, HEADER_OUT)
    return major, minor


def name_in(message: Message, offset: int) -> bytes:
    return _names_in(message, offset, 1)[0]


def two_names_in(message: Message, offset: int) -> tuple[bytes, bytes]:
    old, new = _names_in(message, offset, 2)
    return old, new


def _names_in(message: Message, offset: int, count: int) -> list[bytes]:
    names = bytes(message[offset : offset + count * (NAME_LIMIT + 1)]).split(b"\0")
    if len(names) <= count or not all(names[:count]):
        raise Malformed("no name")
    return names[:count]


def write_of(message: Message) -> tuple[int, int]:
    """Return offset and size of what is written."""
    offset, size = _unpack(_write, message, HEADER_IN)
    return offset, size


def new_size_of(message: Message) -> int | None:
    """Return what SETATTR makes the size, if it does."""
    valid, size = _unpack(_setattr, message, HEADER_IN)
    return size if valid & SIZE_IS_SET else None


def end_of_fallocate(message: Message) -> int | None:
    """Return how long the file becomes at least; None if that stays."""
    offset, length, mode = _unpack(_fallocate, message, HEADER_IN)
    return None if mode & KEEP_SIZE else offset + length


def u32_at(message: Message, offset: int) -> int:
    return _unpack(_u32, message, offset)[0]


def u64_at(message: Message, offset: int) -> int:
    return _unpack(_u64, message, offset)[0]


def forgotten_in(message: Message) -> list[tuple[int, int]]:
    """Return of each node of a BATCH_FORGET, how often it is forgotten."""
    count = min(u32_at(message, HEADER_IN), (len(message) - HEADER_IN - 8) // _two_u64.size)
    pairs = bytes(message[HEADER_IN + 8 : HEADER_IN + 8 + max(count, 0) * _two_u64.size])
    return [(node, times) for node, times in _two_u64.iter_unpack(pairs)]


def entry_in(message: Message) -> Entry:
    """Return what an answer to LOOKUP, CREATE or MKNOD says; node 0 is nothing."""
    node = u64_at(message, HEADER_OUT)
    return Entry(node, *_unpack(_attributes, message, HEADER_OUT + _ENTRY))


def attributes_in(message: Message) -> tuple[int, int]:
    """Return size and mode that an answer to GETATTR or SETATTR says."""
    size, mode = _unpack(_attributes, message, HEADER_OUT + _ATTRIBUTES)
    return size, mode


def refusal(unique: int, errno: int) -> bytes:
    return _head_out.pack(HEADER_OUT, -errno, unique)


def statfs_answer(unique: int, limit: int, left: int) -> bytes:
    """Return an answer of a file system that takes so many bytes and has room for so many more."""
    free = max(0, left) // BLOCK
    return _statfs.pack(
        _statfs.size, 0, unique, limit // BLOCK, free, free, _MANY_FILES, _MANY_FILES, BLOCK, NAME_LIMIT, BLOCK
    )
