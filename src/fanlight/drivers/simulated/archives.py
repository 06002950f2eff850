"""Archives in the simulated engine: read and checked as anywhere, and kept, though no instance ever runs from them."""

import asyncio
import io
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from fanlight.archives import ArchiveRefused
from fanlight.archives.spawn import read_archive
from fanlight.domain.errors import DriverUnavailable, ImageMissing
from fanlight.domain.image_archives import ArchiveNotTaken, ArchiveReport, GivenCatalogue
from fanlight.drivers.simulated.images import SimulatedImageStore

_CHUNK = 2**20
_ARCHIVE = "rootfs.tar.zst"
_NOTE = b"This image is of Fanlight's simulated engine. It has no root file system.\n"


class SimulatedImageArchives:
    """See `domain.image_archives.ImageArchives`. `place` is DATA_DIR/simulated/archives."""

    def __init__(self, place: Path, images: SimulatedImageStore) -> None:
        self._place, self._images = place, images
        for left in place.glob("*/"):  # by a killed process
            shutil.rmtree(left, ignore_errors=True)

    async def take(
        self,
        ref: str,
        region: str,  # noqa: ARG002 - one store for all
        archive: AsyncIterator[bytes],
        catalogue: GivenCatalogue | None,
        properties: Mapping[str, str],
    ) -> ArchiveReport:
        await asyncio.to_thread(self._place.mkdir, mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._place) as name:
            desk = Path(name)
            with (desk / "archive").open("wb") as file:
                async for chunk in archive:
                    file.write(chunk)
            try:
                found = await read_archive(
                    desk / "archive",
                    desk / _ARCHIVE,
                    icons=None if catalogue is None else catalogue.icons,
                    programs=None if catalogue is None else catalogue.programs,
                )
            except ArchiveRefused as refused:
                raise ArchiveNotTaken(str(refused)) from refused
            except OSError as error:
                raise DriverUnavailable(f"The archive cannot be read on this host: {error}.") from error
            if found.missing:
                raise ArchiveNotTaken(f"The archive lacks what a session needs: {'; '.join(found.missing)}.")
            await self._images.import_rootfs(ref, desk / _ARCHIVE, properties)
            await asyncio.to_thread(shutil.move, desk / _ARCHIVE, self._place / f"{ref}.tar.zst")
        return ArchiveReport(applications=found.applications, icons=found.icons, size_in_bytes=found.size_in_bytes)

    async def give(self, ref: str, region: str) -> AsyncIterator[bytes]:  # noqa: ARG002
        """Yield what was taken, and for every other image a tarball with a note that it is not real."""
        if not self._images.has(ref):
            raise ImageMissing(ref)
        kept = self._place / f"{ref}.tar.zst"
        yield await asyncio.to_thread(kept.read_bytes) if kept.is_file() else _note()


def _note() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("./SIMULATED")
        info.size = len(_NOTE)
        archive.addfile(info, io.BytesIO(_NOTE))
    return out.getvalue()
