"""The disk inside a qcow2 file, read at any place.

Only what stands in the file itself is ever read: a disk that names another file (a backing file, external data) is
refused, and so is one that is encrypted or says that it is damaged. Clusters are found anew at each read; what is kept
in memory are a few tables and a few decompressed clusters.
"""

import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import zstandard

from fanlight.archives import ArchiveRefused, limits

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">QQQII")
_VERSIONS = (2, 3)
_CLUSTER_BITS = range(9, 22)
_MAX_L1_IN_BYTES = 32 * 2**20
_CORRUPT, _EXTERNAL_DATA, _OTHER_COMPRESSION, _DIRTY = 1 << 1, 1 << 2, 1 << 3, 1 << 0
_KNOWN = _CORRUPT | _EXTERNAL_DATA | _OTHER_COMPRESSION | _DIRTY  # dirty: the reference counts, which no reader needs
_COMPRESSION_AT, _ZSTD = 104, 1
_OFFSET_MASK = 0x00FFFFFFFFFFFE00
_IS_COMPRESSED, _IS_ZERO = 1 << 62, 1
_SECTOR = 512
_TABLES_KEPT, _CLUSTERS_KEPT_IN_BYTES = 64, 16 * 2**20
_REMEDY = "Make a disk that stands alone: qemu-img convert -O qcow2 old.qcow2 new.qcow2."

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Header:
    cluster_bits: int
    size: int
    l1_entries: int
    l1_offset: int
    is_zstd: bool


class Qcow2Disk:
    """`size` is the disk's own. Raises ArchiveRefused, from every method."""

    def __init__(self, descriptor: int, file_size: int) -> None:
        self._descriptor, self._file_size = descriptor, file_size
        header = _read_header(self._stored(0, min(file_size, 512)))
        self.size = header.size
        self._cluster_size = 1 << header.cluster_bits
        self._cluster_bits = header.cluster_bits
        self._l2_entries = self._cluster_size // 8
        needed = -(-header.size // (self._cluster_size * self._l2_entries))
        if not needed <= header.l1_entries <= _MAX_L1_IN_BYTES // 8:
            raise ArchiveRefused(
                f"The qcow2 disk has a table of {header.l1_entries:,} entries for {header.size:,} bytes."
            )
        self._l1 = struct.unpack(f">{needed}Q", self._stored(header.l1_offset, needed * 8))
        self._decompress = _zstd if header.is_zstd else _deflate
        self._tables = _Recent[tuple[int, ...]](_TABLES_KEPT, self._read_table)
        self._clusters = _Recent[bytes](max(1, _CLUSTERS_KEPT_IN_BYTES >> header.cluster_bits), self._read_compressed)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return just these bytes of the disk."""
        if offset < 0 or offset + size > self.size:
            raise ArchiveRefused("Something in the disk is said to stand beyond its end.")
        parts = []
        while size:
            number, within = divmod(offset, self._cluster_size)
            length = min(size, self._cluster_size - within)
            parts.append(self._in_cluster(number, within, length))
            offset, size = offset + length, size - length
        return b"".join(parts)

    def _in_cluster(self, number: int, within: int, length: int) -> bytes:
        high, low = divmod(number, self._l2_entries)
        table_offset = self._l1[high] & _OFFSET_MASK
        if not table_offset:
            return bytes(length)
        entry = self._tables.get(table_offset)[low]
        if entry & _IS_COMPRESSED:
            return self._clusters.get(entry & (_IS_COMPRESSED - 1))[within : within + length]
        offset = entry & _OFFSET_MASK
        if entry & _IS_ZERO or not offset:
            return bytes(length)
        return self._stored(offset + within, length, is_end_zero=True)

    def _read_table(self, offset: int) -> tuple[int, ...]:
        return struct.unpack(f">{self._l2_entries}Q", self._stored(offset, self._cluster_size))

    def _read_compressed(self, entry: int) -> bytes:
        offset_bits = 62 - (self._cluster_bits - 8)
        offset, sectors = entry & ((1 << offset_bits) - 1), entry >> offset_bits
        # The last sector may be cut off by the end of the file.
        length = min((sectors + 1) * _SECTOR - offset % _SECTOR, self._file_size - offset)
        data = self._decompress(self._stored(offset, max(0, length)), self._cluster_size)
        if len(data) != self._cluster_size:
            raise ArchiveRefused("A compressed cluster of the qcow2 disk is damaged.")
        return data

    def _stored(self, offset: int, size: int, *, is_end_zero: bool = False) -> bytes:
        """Return bytes of the file; `is_end_zero`: a last cluster that the file has no whole of reads as zeros."""
        data = os.pread(self._descriptor, size, offset) if offset < self._file_size else b""
        if len(data) < size and (not is_end_zero or offset >= self._file_size):
            raise ArchiveRefused("The qcow2 disk is damaged or cut off: something stands beyond the end of the file.")
        return data.ljust(size, b"\0")


class _Recent(Generic[Value]):
    """The values that were asked for last."""

    def __init__(self, most: int, make: Callable[[int], Value]) -> None:
        self._most, self._make = most, make
        self._kept: OrderedDict[int, Value] = OrderedDict()

    def get(self, key: int) -> Value:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = self._make(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return made


def _read_header(data: bytes) -> _Header:
    if len(data) < _HEADER.size:
        raise ArchiveRefused("The qcow2 disk is cut off.")
    (_, version, backing_at, _, cluster_bits, size, crypt, l1_entries, l1_offset, _, _, _, _) = _HEADER.unpack_from(
        data
    )
    if version not in _VERSIONS:
        raise ArchiveRefused(f"The qcow2 disk is of version {version}; 2 and 3 are read. {_REMEDY}")
    if backing_at:
        raise ArchiveRefused(f"The qcow2 disk is the difference to another file (a backing file). {_REMEDY}")
    if crypt:
        raise ArchiveRefused("The qcow2 disk is encrypted.")
    if cluster_bits not in _CLUSTER_BITS:
        raise ArchiveRefused(f"The qcow2 disk has clusters of 2^{cluster_bits} bytes; 2^9 to 2^21 are read.")
    if size > limits.MAX_DISK_IN_BYTES:
        raise ArchiveRefused(f"The disk has more than {limits.MAX_DISK_IN_BYTES // 2**30} GiB.")
    is_zstd = False
    if version > 2:  # noqa: PLR2004 - the first that has features
        if len(data) < _HEADER.size + _FEATURES.size:
            raise ArchiveRefused("The qcow2 disk is cut off.")
        incompatible, _, _, _, length = _FEATURES.unpack_from(data, _HEADER.size)
        _check_features(incompatible)
        kind = data[_COMPRESSION_AT] if length > _COMPRESSION_AT < len(data) else 0
        if kind > _ZSTD:
            raise ArchiveRefused(f"The qcow2 disk is compressed in an unknown way ({kind}). {_REMEDY}")
        is_zstd = kind == _ZSTD
    return _Header(cluster_bits, size, l1_entries, l1_offset, is_zstd)


def _check_features(incompatible: int) -> None:
    if incompatible & _CORRUPT:
        raise ArchiveRefused("The qcow2 disk says of itself that it is corrupt: qemu-img check -r all repairs one.")
    if incompatible & _EXTERNAL_DATA:
        raise ArchiveRefused(f"The qcow2 disk keeps its data in another file. {_REMEDY}")
    if incompatible & ~_KNOWN:
        raise ArchiveRefused(f"The qcow2 disk has features that are not read ({incompatible & ~_KNOWN:#x}). {_REMEDY}")


def _deflate(data: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj(-15).decompress(data, size)
    except zlib.error:
        return b""


def _zstd(data: bytes, size: int) -> bytes:
    try:
        with zstandard.ZstdDecompressor(max_window_size=limits.MAX_WINDOW_IN_BYTES).stream_reader(data) as reader:
            return reader.read(size)
    except zstandard.ZstdError:
        return b""
