"""Decompress, whatever it is compressed with, within bounds of memory and of what comes out."""

import gzip
import hashlib
import lzma
import os
import zlib
from typing import IO, Protocol, cast

import zstandard

from fanlight.archives import ArchiveRefused
from fanlight.archives.limits import MAX_WINDOW_IN_BYTES

_CHUNK = 2**20
_MAGIC_LENGTH = 6
_GZIP, _ZSTD, _XZ, _BZIP2 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh"


class Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        ...


class FilePart:
    """A part of a file that can be read at any place; every reader has a place of its own."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._at, self._end = descriptor, offset, offset + size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        left = self._end - self._at
        wanted = left if size < 0 else min(size, left)
        data = os.pread(self._descriptor, min(wanted, _CHUNK), self._at) if wanted else b""
        self._at += len(data)
        self.digest.update(data)
        return data

    def drain(self) -> None:
        """Read to the end, so that the digest is that of the whole part."""
        while self.read(_CHUNK):
            pass


def magic_of(descriptor: int, offset: int = 0) -> bytes:
    return os.pread(descriptor, _MAGIC_LENGTH, offset)


def is_compressed(magic: bytes) -> bool:
    return magic.startswith((_GZIP, _ZSTD, _XZ, _BZIP2))


def decompressed(part: FilePart, magic: bytes) -> Readable:
    """Return a reader of the content. Raises ArchiveRefused for a compression that is not read."""
    if magic.startswith(_GZIP):
        return _Checked(gzip.GzipFile(fileobj=cast("IO[bytes]", part), mode="rb"))  # it only reads
    if magic.startswith(_ZSTD):
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_IN_BYTES)
        return _Checked(reader.stream_reader(cast("IO[bytes]", part), read_across_frames=True))
    if magic.startswith(_XZ):
        return _Checked(_Xz(part))
    if magic.startswith(_BZIP2):
        raise ArchiveRefused("The archive is compressed with bzip2. Compress it with zstd, gzip or xz.")
    return part


class _Checked:
    """Turns every decompressor's own errors into ours."""

    def __init__(self, reader: Readable) -> None:
        self._reader = reader

    def read(self, size: int, /) -> bytes:
        try:
            return self._reader.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise ArchiveRefused(f"The archive is damaged, cut off, or asks for too much memory: {error}.") from error


class _Xz:
    """The library's own file knows no limit of memory."""

    def __init__(self, part: FilePart) -> None:
        self._part = part
        self._decompressor = lzma.LZMADecompressor(memlimit=MAX_WINDOW_IN_BYTES)

    def read(self, size: int, /) -> bytes:
        while not self._decompressor.eof:
            more = self._part.read(_CHUNK) if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not more:
                raise EOFError("it ends too early")
            data = self._decompressor.decompress(more, size)
            if data:
                return data
        return b""
