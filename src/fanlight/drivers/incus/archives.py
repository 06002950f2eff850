"""Archives into the store of Incus and out of it, in the compute process.

Whatever comes is spooled, read in confinement and written anew before Incus hears of it; what Incus gives goes the same way
before it leaves: a guest had its hands on it. One archive at a time, for each takes the room of an image twice.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

from fanlight.archives import ArchiveRefused
from fanlight.archives.spawn import Found, read_archive
from fanlight.domain.errors import CapacityExhausted, DriverUnavailable
from fanlight.domain.image_archives import ArchiveNotTaken, ArchiveReport, GivenCatalogue
from fanlight.drivers.incus.images import IncusImageStore

LARGEST_IN_BYTES = 16 * 2**30
KEPT_FREE_IN_BYTES = 2**30
_CHUNK = 2**20
_LOOK_EVERY = 64 * 2**20


class IncusImageArchives:
    """See `domain.image_archives.ImageArchives`. `place` is a directory of its own, emptied at the start."""

    def __init__(self, place: Path, store_in: Callable[[str], IncusImageStore]) -> None:
        self._place, self._store_in = place, store_in
        self._turn = asyncio.Lock()
        shutil.rmtree(place, ignore_errors=True)  # what a killed process left

    async def take(
        self,
        ref: str,
        region: str,
        archive: AsyncIterator[bytes],
        catalogue: GivenCatalogue | None,
        properties: Mapping[str, str],
    ) -> ArchiveReport:
        with self._desk() as desk:
            await _spool(archive, desk / "archive")
            async with self._turn:
                found = await self._read(
                    desk,
                    None if catalogue is None else catalogue.icons,
                    None if catalogue is None else catalogue.programs,
                )
                if found.missing:
                    raise ArchiveNotTaken(f"The archive lacks what a session needs: {'; '.join(found.missing)}.")
                (desk / "archive").unlink()
                await self._store_in(region).import_rootfs(ref, desk / "rootfs.tar.zst", properties)
        return ArchiveReport(applications=found.applications, icons=found.icons, size_in_bytes=found.size_in_bytes)

    async def give(self, ref: str, region: str) -> AsyncIterator[bytes]:
        with self._desk() as desk:
            async with self._turn:
                prefix = await self._store_in(region).export(ref, desk / "archive")
                try:
                    await read_archive(desk / "archive", desk / "rootfs.tar.zst", prefix=prefix, programs={})
                except ArchiveRefused as refused:
                    raise ArchiveNotTaken(f"The image's own file system cannot be exported. {refused}") from refused
                except OSError as error:
                    raise DriverUnavailable(f"The archive cannot be read on this host: {error}.") from error
                (desk / "archive").unlink()
            with (desk / "rootfs.tar.zst").open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, _CHUNK):
                    yield chunk

    async def _read(self, desk: Path, icons: Mapping[str, str] | None, programs: Mapping[str, str] | None) -> Found:
        """Raises ArchiveNotTaken, DriverUnavailable."""
        try:
            return await read_archive(desk / "archive", desk / "rootfs.tar.zst", icons=icons, programs=programs)
        except ArchiveRefused as refused:
            raise ArchiveNotTaken(str(refused)) from refused
        except OSError as error:
            raise DriverUnavailable(f"The archive cannot be read on this host: {error}.") from error

    @contextlib.contextmanager
    def _desk(self) -> Iterator[Path]:
        """Lend an empty directory that nobody else can look into."""
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        desk = Path(tempfile.mkdtemp(dir=self._place))
        try:
            yield desk
        finally:
            shutil.rmtree(desk, ignore_errors=True)


async def _spool(archive: AsyncIterator[bytes], target: Path) -> None:
    """Raises ArchiveNotTaken when it is too large, CapacityExhausted when the disk is nearly full."""
    size = looked_at = 0
    with target.open("wb") as file:
        async for chunk in archive:
            size += len(chunk)
            if size > LARGEST_IN_BYTES:
                raise ArchiveNotTaken(f"The archive has more than {LARGEST_IN_BYTES // 2**30} GiB.")
            if size >= looked_at:
                looked_at = size + _LOOK_EVERY
                if shutil.disk_usage(target.parent).free < KEPT_FREE_IN_BYTES + _LOOK_EVERY:
                    raise CapacityExhausted("No room on this host to read the archive: free some.")
            await asyncio.to_thread(file.write, chunk)
