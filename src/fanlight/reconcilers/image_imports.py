"""Make an image of an archive in S3: stream it through the confined reader into the store.

The archive is fetched, read and stored in one go, which is begun anew after any interruption. What the reader found is in
the row before the next step is taken.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from fanlight.domain.errors import CapacityExhausted, DriverError, DriverUnavailable, ImageMissing
from fanlight.domain.image_archives import ArchiveNotTaken, ArchiveReport, GivenCatalogue, ImageArchives
from fanlight.domain.image_tasks import ImportTask
from fanlight.domain.images import Application, Image, ImageFailure
from fanlight.domain.machine_images import read_place
from fanlight.domain.objects import ObjectStore, StoredObject
from fanlight.domain.ports import Clock, ImageStore
from fanlight.reconcilers.image_records import ImageRecords, MakingFailed
from fanlight.reconcilers.image_sweeps import INSTALLATION_PROPERTY

ROOM_RETRY = timedelta(seconds=15)
LONGEST_IMPORT = timedelta(hours=4)
LARGEST_ARCHIVE_IN_BYTES = 16 * 2**30


class IconFiles(Protocol):
    """Where icons of images are kept (`services.image_files`). Works on files."""

    def put_icons(self, store_ref: str, icons: Mapping[str, bytes]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTools:
    """What imports and exports work with. `objects` is None when this installation has no S3."""

    archives: ImageArchives
    objects: ObjectStore | None
    icons: IconFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportMaker:
    """ImageMaker of `ImportTask`. `installation` marks what it stores, for the sweep of strays."""

    tools: ArchiveTools
    store: ImageStore
    records: ImageRecords
    clock: Clock
    installation: str

    async def advance(self, image: Image) -> datetime | None:
        """Raises MakingFailed, DriverUnavailable, ChangedMeanwhile, StoreUnavailable."""
        task = image.task
        if not isinstance(task, ImportTask):
            raise TypeError(f"not an import: {task}")
        if self.clock.now() - image.created_at > LONGEST_IMPORT:
            raise _failed(f"It was not finished within {LONGEST_IMPORT.total_seconds() / 3600:.0f} hours.")
        try:
            if not task.is_taken:
                image = await self._take(image, task)
            image = await self.records.note(image, "unpacking it for fleets")
            await self.store.warm(image.store_ref)
        except DriverUnavailable:
            raise
        except CapacityExhausted as error:
            await self.records.note(image, f"waiting for room: {error}")
            return self.clock.now() + ROOM_RETRY
        except ImageMissing:  # somebody took it out of the store meanwhile
            await self.records.note(image, "once more", task=replace(task, is_taken=False))
            return self.clock.now()
        except DriverError as error:
            raise _failed(str(error)) from error
        sizes = {stored.ref: stored.size_in_bytes for stored in await self.store.observe()}
        await self.records.finish(image, size_in_bytes=sizes.get(image.store_ref, 0))
        return None

    async def _take(self, image: Image, task: ImportTask) -> Image:
        """Raises MakingFailed, DriverError."""
        stored = await self._source(task)
        image = await self.records.note(image, f"reading the archive ({stored.size / 2**20:,.0f} MiB)")
        catalogue = None
        if task.icons is not None:
            programs = {application.name: application.launch_path for application in image.applications}
            catalogue = GivenCatalogue(programs=programs, icons=task.icons)
        properties = {INSTALLATION_PROPERTY: self.installation, "fanlight.image": image.name}
        assert self.tools.objects is not None  # noqa: S101 - `_source` found something in it
        try:
            report = await self.tools.archives.take(
                image.store_ref, image.scope.region, self.tools.objects.read(stored), catalogue, properties
            )
        except ArchiveNotTaken as error:
            raise _failed(str(error)) from error
        return await self._note_report(image, task, report)

    async def _source(self, task: ImportTask) -> StoredObject:
        """Raises MakingFailed when the archive is not what it was when it was asked for."""
        place = read_place(task.source)
        if self.tools.objects is None:
            raise _failed("This installation has no S3 endpoint any more.")
        stored = await self.tools.objects.find(place)
        if stored is None or stored.version != task.version:
            raise _failed(f"The archive {place} is gone, or another one stands there now.")
        if stored.size > LARGEST_ARCHIVE_IN_BYTES:
            raise _failed(f"The archive has {stored.size / 2**30:.1f} GiB; at most 16 are taken.")
        return stored

    async def _note_report(self, image: Image, task: ImportTask, report: ArchiveReport) -> Image:
        """Keep icons and catalogue. The applications of a given catalogue have the icons that were drawn for them."""
        listed = image.applications if task.icons is not None else report.applications
        files, applications = _with_icons(listed, report.icons)
        await asyncio.to_thread(self.tools.icons.put_icons, image.store_ref, files)
        found = replace(image, applications=applications)
        return await self.records.note(found, "stored", task=replace(task, is_taken=True))


def _with_icons(
    listed: Sequence[Application], pictures: Mapping[str, bytes]
) -> tuple[Mapping[str, bytes], tuple[Application, ...]]:
    """Return the icons by file name, and the applications that name these files."""
    files: dict[str, bytes] = {}
    applications = []
    for number, application in enumerate(listed):
        icon = None
        if application.name in pictures:
            icon = f"{number}.png"
            files[icon] = pictures[application.name]
        applications.append(replace(application, icon=icon))
    return files, tuple(applications)


def _failed(why: str) -> MakingFailed:
    return MakingFailed(ImageFailure.IMAGE_IMPORT_FAILURE, why)
