"""Make the copy of an image: take its icons, have the engine copy what is in its store, unpack it for the first fleet."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from fanlight.domain.errors import CapacityExhausted, DriverUnavailable, ImageMissing
from fanlight.domain.image_tasks import CopyTask
from fanlight.domain.images import Image, ImageFailure, ImageState
from fanlight.domain.ports import Clock, ImageStore, Transactions
from fanlight.reconcilers.image_records import ImageRecords, MakingFailed
from fanlight.services.image_files import ImageFiles

# An engine that is restarted or repaired comes back sooner; whoever waits for the copy must learn of one that does not.
LONGEST_WAIT_FOR_ENGINE = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMaker:
    """ImageMaker of `CopyTask`."""

    transactions: Transactions
    store: ImageStore
    files: ImageFiles
    records: ImageRecords
    clock: Clock

    async def advance(self, image: Image) -> datetime | None:
        """Raises MakingFailed, DriverUnavailable, ChangedMeanwhile, StoreUnavailable."""
        task = image.task
        if not isinstance(task, CopyTask):
            raise TypeError(f"not a copy: {task}")
        try:
            image = await self._copy(image, task)
            sizes = {stored.ref: stored.size_in_bytes for stored in await self.store.observe()}
        except DriverUnavailable as error:
            if self.clock.now() < image.created_at + LONGEST_WAIT_FOR_ENGINE:
                raise
            raise _failed(f"An engine did not answer for too long: {error}") from error
        await self.records.finish(image, size_in_bytes=sizes.get(image.store_ref, 0))
        return None

    async def _copy(self, image: Image, task: CopyTask) -> Image:
        """Return the image as it is now. Raises MakingFailed, DriverUnavailable."""
        image = await self.records.note(image, f"copying the root file system from {task.source_region}")
        async with self.transactions.begin() as work:
            source = await work.images.find_by_id(task.source_image_id)
        try:
            # Icons go last when an image is deleted: as long as the store has it, they are there. A source that goes has
            # been copied by now, or it is too late.
            if source is not None and source.state is ImageState.AVAILABLE:
                await asyncio.to_thread(self.files.copy_icons, source.store_ref, image.store_ref)
                await self.store.copy(source.store_ref, image.store_ref, image.scope.region)
            image = await self.records.note(image, "unpacking it for fleets")
            await self.store.warm(image.store_ref)
        except ImageMissing as error:
            # Not there although it was copied, or never copied because nothing is left to copy from.
            name = "The source image" if source is None else f"The image {source.name} of {task.source_region}"
            raise _failed(f"{name} was deleted before it was copied.") from error
        except CapacityExhausted as error:
            raise _failed(f"There is no room for the copy: {error}") from error
        except OSError as error:
            raise _failed(f"The icons cannot be copied: {error.strerror}.") from error
        return image


def _failed(why: str) -> MakingFailed:
    return MakingFailed(ImageFailure.IMAGE_COPY_FAILURE, why)
