"""What kind of archive it is, and where its layers stand.

A plain tarball is one layer. An OCI image archive is an uncompressed tar with `oci-layout`, `index.json` and blobs, each
named by its digest; everything that is read of it is compared with that digest. A qcow2 disk has its root file system
for its one layer.
"""

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.compression import FilePart, is_compressed, magic_of
from fanlight.archives.ext4 import Ext4
from fanlight.archives.partitions import find_root
from fanlight.archives.qcow2 import MAGIC as QCOW2_MAGIC
from fanlight.archives.qcow2 import Qcow2Disk
from fanlight.archives.tar_reader import Kind, read_members

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFEST_TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_LAYER_TYPES = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DEEPEST_INDEX = 3


@dataclass(frozen=True, slots=True)
class Layer:
    """A tar in the file. `digest` is what its bytes must have, empty for a plain tarball."""

    offset: int
    size: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Layers:
    """`prefix` is what stands before the paths that count; with one, the archive is an engine's own.

    A `disk` is one layer that is no tar.
    """

    layers: tuple[Layer, ...]
    has_whiteouts: bool
    prefix: str = ""
    disk: Ext4 | None = None


class _Counting:
    """Reads on in a file and knows where it is."""

    def __init__(self, part: FilePart) -> None:
        self._part, self.at = part, 0

    def read(self, size: int, /) -> bytes:
        data = self._part.read(size)
        self.at += len(data)
        return data


def find_layers(descriptor: int, size: int, prefix: str = "") -> Layers:
    """Return the layers, lowest first. Raises ArchiveRefused."""
    magic = magic_of(descriptor)
    if prefix:
        return Layers((Layer(0, size),), has_whiteouts=False, prefix=prefix)
    if magic.startswith(QCOW2_MAGIC):
        return Layers((Layer(0, size),), has_whiteouts=False, disk=find_root(Qcow2Disk(descriptor, size)))
    whole = Layers((Layer(0, size),), has_whiteouts=False)
    if is_compressed(magic):
        return whole
    blobs: dict[str, tuple[int, int]] = {}
    stream = _Counting(FilePart(descriptor, 0, size))
    for member, _ in read_members(stream):
        if member.kind is Kind.FILE:
            blobs[member.path] = (stream.at, member.size)
        is_layout = member.path in ("oci-layout", "index.json", "blobs") or member.path.startswith("blobs/")
        if not is_layout and "oci-layout" not in blobs and len(blobs) > limits.MAX_LAYERS:
            return whole  # no OCI archive has so much before its layout
    if "oci-layout" not in blobs:
        if "manifest.json" in blobs and "repositories" in blobs:
            raise ArchiveRefused(
                "The archive is of the old form of `docker save`. Make an OCI archive: Docker 25 or later does, or "
                "skopeo copy docker-archive:old.tar oci-archive:new.tar."
            )
        return whole
    return _Oci(descriptor, blobs).layers()


class _Oci:
    def __init__(self, descriptor: int, files: Mapping[str, tuple[int, int]]) -> None:
        self._descriptor, self._files = descriptor, files

    def layers(self) -> Layers:
        index = self._document("index.json", "")
        manifest = self._manifest(index, depth=0)
        found = [self._layer(entry) for entry in _list(manifest, "layers")]
        if not found:
            raise ArchiveRefused("The image of the OCI archive has no layers.")
        if len(found) > limits.MAX_LAYERS:
            raise ArchiveRefused(f"The image has {len(found)} layers; at most {limits.MAX_LAYERS} are read.")
        return Layers(tuple(found), has_whiteouts=True)

    def _manifest(self, index: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """Return the manifest for this machine's processor, the only one if nothing is said of processors."""
        if depth > _DEEPEST_INDEX:
            raise ArchiveRefused("The indexes of the OCI archive stand in each other without end.")
        wanted = _ARCHITECTURES.get(platform.machine(), platform.machine())
        entries = [entry for entry in _list(index, "manifests") if isinstance(entry, dict)]
        usable = [e for e in entries if e.get("mediaType") in (*_MANIFEST_TYPES, *_INDEX_TYPES)]
        named = [e for e in usable if _platform(e) == ("linux", wanted)]
        chosen = named or [e for e in usable if _platform(e) is None]
        if len(chosen) != 1:
            raise ArchiveRefused(
                f"The OCI archive has {len(chosen)} images for linux/{wanted}; it must have exactly one."
            )
        document = self._blob(chosen[0])
        return self._manifest(document, depth + 1) if chosen[0]["mediaType"] in _INDEX_TYPES else document

    def _layer(self, entry: Any) -> Layer:
        kind = entry.get("mediaType") if isinstance(entry, dict) else None
        if kind not in _LAYER_TYPES:
            raise ArchiveRefused(f"A layer is of the kind {str(kind)[:100]!r}, which is not read.")
        digest, (offset, size) = self._find(entry)
        if entry.get("size") != size:
            raise ArchiveRefused(f"The layer {digest} does not have the size that its manifest says.")
        return Layer(offset, size, digest)

    def _blob(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        digest, _ = self._find(entry)
        return self._document(_path_of(digest), digest)

    def _find(self, entry: Mapping[str, Any]) -> tuple[str, tuple[int, int]]:
        digest = entry.get("digest")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ArchiveRefused(f"A digest is {str(digest)[:100]!r}; only sha256 is read.")
        place = self._files.get(_path_of(digest))
        if place is None:
            raise ArchiveRefused(f"The OCI archive lacks the blob {digest}.")
        return digest, place

    def _document(self, path: str, digest: str) -> Mapping[str, Any]:
        if path not in self._files:
            raise ArchiveRefused(f"The OCI archive has no {path}.")
        offset, size = self._files[path]
        if size > limits.MAX_MANIFEST_IN_BYTES:
            raise ArchiveRefused(f"{path} has {size:,} bytes; at most {limits.MAX_MANIFEST_IN_BYTES:,} are read.")
        part = FilePart(self._descriptor, offset, size)
        data = b"".join(iter(lambda: part.read(size), b""))
        check_digest(part, digest)
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            raise ArchiveRefused(f"{path} is not JSON.") from None
        if not isinstance(document, dict):
            raise ArchiveRefused(f"{path} is no JSON object.")
        return document


def check_digest(part: FilePart, digest: str) -> None:
    """Read the rest of a part. Raises ArchiveRefused when all of it does not have the digest; empty: no matter."""
    part.drain()
    if digest and f"sha256:{part.digest.hexdigest()}" != digest:
        raise ArchiveRefused(f"The blob {digest} has another content than its digest says.")


def _path_of(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _platform(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    said = entry.get("platform")
    return (str(said.get("os")), str(said.get("architecture"))) if isinstance(said, dict) else None


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise ArchiveRefused(f"A manifest has no list of {key}.")
    return value
