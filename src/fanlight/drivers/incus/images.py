"""The store of root file systems in Incus: images by alias.

An archive is handed to Incus with metadata of our own making, apart from the file system: whatever an archive says of
itself, templates included, is never read.
"""

import asyncio
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import aiohttp

from fanlight.domain.errors import CapacityExhausted, DriverUnavailable, ImageMissing, PublishRefused
from fanlight.domain.ports import StoredImage
from fanlight.drivers.incus import instances
from fanlight.drivers.incus.client import IncusClient, IncusRefused
from fanlight.drivers.incus.image_transfers import transfer

_CHUNK_IN_BYTES = 1 << 20
# Must exceed the packing of the largest root volume that is full, on a slow disk.
PUBLISH_TIMEOUT_IN_SECONDS = 3600
_REF_PROPERTY = "fanlight.ref"
NO_ROOM = ("no space left", "disk quota exceeded", "not enough uid", "no available")


class IncusImageStore:
    """ImageStore over the REST API. `pool` is where instances will live, and so what `warm` unpacks into."""

    def __init__(self, client: IncusClient, pool: str) -> None:
        self._client, self._pool = client, pool
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def import_rootfs(self, ref: str, archive: Path, properties: Mapping[str, str]) -> None:
        """Take a rootfs tarball under `ref`, replacing what had that name. Raises DriverUnavailable, CapacityExhausted."""
        metadata = _metadata(archive, properties)
        fingerprint = await asyncio.to_thread(_fingerprint, metadata, archive)
        try:
            before = await self._fingerprint_of(ref)
            if not await self._exists(fingerprint):
                await self._upload(metadata, archive)
            await self._name(ref, fingerprint, is_new=before is None)
            if before not in (None, fingerprint):
                await self._delete_unnamed(str(before))
        except IncusRefused as refused:
            if refused.says(*NO_ROOM):
                raise CapacityExhausted(f"No room for the image {ref}: {refused.text}.") from refused
            raise DriverUnavailable(f"Incus refuses the image {ref}: {refused.text}.") from refused

    async def observe(self) -> Sequence[StoredImage]:
        try:
            found = await self._client.get("images", recursion=1)
        except IncusRefused as refused:
            raise DriverUnavailable(f"Incus does not list its images: {refused.text}.") from refused
        return [
            StoredImage(ref=alias["name"], size_in_bytes=image["size"], properties=dict(image["properties"]))
            for image in found
            for alias in image["aliases"]
        ]

    async def delete(self, ref: str) -> None:
        """Unknown is success. Instances of the image go on."""
        try:
            fingerprint = await self._fingerprint_of(ref)
            if fingerprint is not None:
                await self._ignoring_absence("DELETE", f"images/aliases/{ref}")
                await self._delete_unnamed(fingerprint)
            await self._delete_nameless(ref)
        except IncusRefused as refused:
            raise DriverUnavailable(f"Incus does not delete the image {ref}: {refused.text}.") from refused

    async def publish(
        self, instance_id: str, ref: str, properties: Mapping[str, str], *, compression: str = "zstd"
    ) -> None:
        """Make an image of a stopped instance. Raises PublishRefused, CapacityExhausted, DriverUnavailable.

        A predecessor of this process may have begun the same: Incus makes one image after another, and gives the name
        to the first. What a second one made is removed.
        """
        body = {
            "source": {"type": "instance", "name": instance_id},
            # zstd is as small as gzip and five times as fast; packing is what an administrator waits for.
            "compression_algorithm": compression,
            "properties": {**properties, _REF_PROPERTY: ref},
            "aliases": [{"name": ref, "description": ""}],
        }
        async with self._lock(ref):
            try:
                if await self._fingerprint_of(ref) is None:
                    await self._check_publishable(instance_id)
                    operation = await self._client.send("POST", "images", body)
                    if operation:
                        await self._client.wait(operation, PUBLISH_TIMEOUT_IN_SECONDS)
            except IncusRefused as refused:
                if refused.says(*NO_ROOM):
                    raise CapacityExhausted(f"No room for an image of {instance_id}: {refused.text}.") from refused
                if await self._fingerprint_of(ref) is None:
                    raise PublishRefused(
                        f"The instance {instance_id} cannot be published: {refused.text}."
                    ) from refused
            finally:
                await self._delete_nameless(ref)

    async def export(self, ref: str, target: Path) -> str:
        """Write the archive of an image to a file; return what stands before the paths of its root file system in there.

        Raises ImageMissing, DriverUnavailable.
        """
        try:
            fingerprint = await self._fingerprint_of(ref)
            if fingerprint is None:
                raise ImageMissing(ref)
            kind = await self._client.save(f"images/{fingerprint}/export", target, part="rootfs")
        except IncusRefused as refused:
            raise DriverUnavailable(f"Incus does not give the image {ref}: {refused.text}.") from refused
        return "rootfs/" if kind == "whole" else ""

    async def copy(self, ref: str, new_ref: str, region: str) -> None:
        """Give the image a second name. Raises ImageMissing, DriverUnavailable."""
        _ = region  # this one store: `EngineImages` knows where a region is
        try:
            fingerprint, there = await self._fingerprint_of(ref), await self._fingerprint_of(new_ref)
            if there is not None:
                return
            if fingerprint is None:
                raise ImageMissing(ref)
            await self._name(new_ref, fingerprint, is_new=True)
        except IncusRefused as refused:
            raise DriverUnavailable(f"Incus does not copy the image {ref}: {refused.text}.") from refused

    @property
    def client(self) -> IncusClient:
        return self._client

    async def fingerprint_of(self, ref: str) -> str | None:
        """Return Incus's name for what has ours, None when nothing has. Raises IncusRefused, DriverUnavailable."""
        return await self._fingerprint_of(ref)

    async def has(self, ref: str) -> bool:
        """Raises DriverUnavailable."""
        try:
            return await self._fingerprint_of(ref) is not None
        except IncusRefused as refused:
            raise DriverUnavailable(f"Incus does not show the image {ref}: {refused.text}.") from refused

    async def take(self, ref: str, source: "IncusImageStore", new_ref: str) -> None:
        """Have what another store has under `ref`, under `new_ref`. Raises ImageMissing, CapacityExhausted, DriverUnavailable."""
        async with self._lock(new_ref):
            try:
                if await self._fingerprint_of(new_ref) is not None:
                    return
                fingerprint = await source.fingerprint_of(ref)
                if fingerprint is None:
                    raise ImageMissing(ref)
                if not await self._exists(fingerprint):
                    await transfer(source.client, self._client, fingerprint, {_REF_PROPERTY: new_ref})
                await self._name(new_ref, fingerprint, is_new=True)
            except IncusRefused as refused:
                if refused.says(*NO_ROOM):
                    raise CapacityExhausted(f"No room for a copy of the image {ref}: {refused.text}.") from refused
                if refused.is_missing and not await source.has(ref):
                    raise ImageMissing(ref) from refused
                raise DriverUnavailable(f"Incus does not copy the image {ref}: {refused.text}.") from refused

    async def warm(self, ref: str) -> None:
        """Unpack into the pool, by making an instance that never starts. Raises ImageMissing, CapacityExhausted."""
        if await self._fingerprint_of(ref) is None:
            raise ImageMissing(ref)
        name = f"warm-{hashlib.sha256(ref.encode()).hexdigest()[:16]}"
        body = {
            "name": name,
            "type": "container",
            "profiles": [],
            "source": {"type": "image", "alias": ref},
            "config": {"security.idmap.isolated": "true", "security.guestapi": "false"},
            "devices": {"root": {"type": "disk", "path": "/", "pool": self._pool}},
        }
        try:
            await self._ignoring_absence("DELETE", f"instances/{name}")  # one that a crash left behind
            await self._client.run("POST", "instances", body)
            await self._client.run("DELETE", f"instances/{name}")
        except IncusRefused as refused:
            if refused.says(*NO_ROOM):
                raise CapacityExhausted(f"No room to unpack the image {ref}: {refused.text}.") from refused
            raise DriverUnavailable(f"Incus does not unpack the image {ref}: {refused.text}.") from refused

    async def _check_publishable(self, instance_id: str) -> None:
        """Raises PublishRefused for what is not a stopped instance of ours."""
        try:
            found = await self._client.get(f"instances/{instance_id}")
        except IncusRefused as refused:
            if refused.is_missing:
                raise PublishRefused(f"The instance {instance_id} is not there.") from refused
            raise
        if not instances.is_ours(found) or found["status"] != "Stopped":
            raise PublishRefused(
                f"The instance {instance_id} is {found['status']}: only a stopped one of ours becomes an image."
            )

    def _lock(self, ref: str) -> asyncio.Lock:
        """Return the lock of one name: a caller that was cut off and asks again waits for what it asked before."""
        return self._locks.setdefault(ref, asyncio.Lock())

    async def _delete_nameless(self, ref: str) -> None:
        """Delete what was published for this name and did not get it, or lost it. Raises DriverUnavailable."""
        try:
            for image in await self._client.get("images", recursion=1):
                if image["properties"].get(_REF_PROPERTY) == ref and not image["aliases"]:
                    await self._ignoring_absence("DELETE", f"images/{image['fingerprint']}")
        except IncusRefused as refused:
            raise DriverUnavailable(f"Incus does not delete the image {ref}: {refused.text}.") from refused

    async def _fingerprint_of(self, ref: str) -> str | None:
        try:
            return str((await self._client.get(f"images/aliases/{ref}"))["target"])
        except IncusRefused as refused:
            if refused.is_missing:
                return None
            raise

    async def _exists(self, fingerprint: str) -> bool:
        try:
            await self._client.get(f"images/{fingerprint}")
        except IncusRefused as refused:
            if refused.is_missing:
                return False
            raise
        return True

    async def _upload(self, metadata: bytes, archive: Path) -> None:
        with archive.open("rb") as rootfs, aiohttp.MultipartWriter("form-data") as form:
            form.append(metadata, _part("metadata", "metadata.tar"))
            form.append(rootfs, _part("rootfs", archive.name))
            operation = await self._client.send("POST", "images", form)
        if operation:
            await self._client.wait(operation, timeout_in_seconds=600)

    async def _name(self, ref: str, fingerprint: str, *, is_new: bool) -> None:
        if is_new:
            await self._client.send("POST", "images/aliases", {"name": ref, "target": fingerprint, "description": ""})
        else:
            await self._client.send("PUT", f"images/aliases/{ref}", {"target": fingerprint, "description": ""})

    async def _delete_unnamed(self, fingerprint: str) -> None:
        if await self._exists(fingerprint) and not (await self._client.get(f"images/{fingerprint}"))["aliases"]:
            await self._ignoring_absence("DELETE", f"images/{fingerprint}")

    async def _ignoring_absence(self, method: str, path: str) -> None:
        try:
            await self._client.run(method, path)
        except IncusRefused as refused:
            if not refused.is_missing:
                raise


def _part(name: str, file_name: str) -> Any:
    disposition = f'form-data; name="{name}"; filename="{file_name}"'
    return {"Content-Disposition": disposition, "Content-Type": "application/octet-stream"}


def _metadata(archive: Path, properties: Mapping[str, str]) -> bytes:
    """Return the metadata archive. The same archive and properties give the same bytes, so the same fingerprint."""
    made_at = int(archive.stat().st_mtime)
    # YAML, of which JSON is a part.
    text = json.dumps(
        {"architecture": platform.machine(), "creation_date": made_at, "properties": dict(properties)}, sort_keys=True
    ).encode()
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        entry = tarfile.TarInfo("metadata.yaml")
        entry.size, entry.mtime = len(text), made_at
        tar.addfile(entry, io.BytesIO(text))
    return target.getvalue()


def _fingerprint(metadata: bytes, archive: Path) -> str:
    """Return Incus's name for the pair: the digest over both files."""
    digest = hashlib.sha256(metadata)
    with archive.open("rb") as file:
        while chunk := file.read(_CHUNK_IN_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
