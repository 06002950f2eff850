"""Make an image of an archive in S3: stream it through the confined reader into the store.

The archive is fetched, read and stored in one go, which is begun anew after any interruption. What the reader found is in
the row before the next step is taken. An image that the request wants tried is VALIDATING until that is done.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from fanlight.domain.errors import CapacityExhausted, DriverError, DriverUnavailable, ImageMissing
from fanlight.domain.image_archives import ArchiveNotTaken, ArchiveReport, GivenCatalogue, ImageArchives
from fanlight.domain.image_tasks import MOST_ATTEMPTS, ImportTask
from fanlight.domain.images import Application, Image, ImageEvent, ImageFailure, ImageState
from fanlight.domain.instances import new_instance_id
from fanlight.domain.machine_images import read_place
from fanlight.domain.objects import ObjectStore, StoredObject
from fanlight.domain.ports import Clock, ImageStore, WorkPhase
from fanlight.reconcilers.image_records import ImageRecords, MakingFailed
from fanlight.reconcilers.image_sweeps import INSTALLATION_PROPERTY
from fanlight.reconcilers.image_trials import ImageTrial
from fanlight.services.image_workshop import ImageWorkshop, WorkLost

LOOK_AGAIN = timedelta(seconds=0.5)
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
    workshop: ImageWorkshop
    store: ImageStore
    records: ImageRecords
    clock: Clock
    installation: str

    async def advance(self, image: Image) -> datetime | None:
        """Raises MakingFailed, DriverUnavailable, ChangedMeanwhile, StoreUnavailable."""
        task = image.task
        if not isinstance(task, ImportTask):
            raise TypeError(f"not an import: {task}")
        try:
            if self.clock.now() - image.created_at > LONGEST_IMPORT:
                raise _failed(f"It was not finished within {LONGEST_IMPORT.total_seconds() / 3600:.0f} hours.")
            return await self._step(image, task)
        except DriverUnavailable:
            raise
        except CapacityExhausted as error:
            await self.records.note(image, f"waiting for room: {error}")
            return self.clock.now() + ROOM_RETRY
        except ImageMissing:  # somebody took it out of the store meanwhile
            if image.state is ImageState.VALIDATING:
                raise await self._given_up(task, _failed("Somebody removed it from the store.")) from None
            await self.records.note(image, "once more", task=replace(task, is_taken=False))
            return self.clock.now()
        except DriverError as error:
            raise await self._given_up(task, _failed(str(error))) from error
        except MakingFailed as failure:
            raise await self._given_up(task, failure) from failure

    async def _step(self, image: Image, task: ImportTask) -> datetime | None:
        if image.state is ImageState.VALIDATING:
            return await self._validate(image, task)
        if not task.is_taken:
            image = await self._take(image, task)
        image = await self.records.note(image, "unpacking it for fleets")
        await self.store.warm(image.store_ref)
        if task.instance_type:
            await self.records.move(image, ImageEvent.IMPORTED, "trying it")
            return self.clock.now()
        await self._finish(image)
        return None

    async def _finish(self, image: Image) -> None:
        sizes = {stored.ref: stored.size_in_bytes for stored in await self.store.observe()}
        await self.records.finish(image, size_in_bytes=sizes.get(image.store_ref, 0))

    async def _given_up(self, task: ImportTask, failure: MakingFailed) -> MakingFailed:
        if task.instance_id:
            await self.workshop.dismiss(task.instance_id)
        return failure

    # ── Trial ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _validate(self, image: Image, task: ImportTask) -> datetime | None:
        if not task.instance_id:  # chosen before it is launched, so that a crash does not lose it
            await self.records.note(image, "starting an instance", task=replace(task, instance_id=new_instance_id()))
            return self.clock.now()
        trial = ImageTrial(
            workshop=self.workshop, failure=ImageFailure.IMAGE_IMPORT_FAILURE, occasion=f"on {task.instance_type}"
        )
        try:
            report = await trial.ask(image, task.instance_id, task.instance_type)
        except WorkLost as error:
            if task.attempts + 1 >= MOST_ATTEMPTS:
                raise _failed(f"In the trial of the new image: {error}") from error
            await self.workshop.dismiss(task.instance_id)
            again = replace(task, instance_id="", attempts=task.attempts + 1)
            await self.records.note(image, f"once more: {error}", task=again)
            return self.clock.now()
        if report is None or report.phase is WorkPhase.RUNNING:
            return self.clock.now() + LOOK_AGAIN
        trial.judge(report)
        await self.workshop.dismiss(task.instance_id)
        await self._finish(image)
        return None

    # ── Archive ───────────────────────────────────────────────────────────────────────────────────────────────────

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
