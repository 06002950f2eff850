"""Make an image of an image builder: wait until its instance is stopped, publish it, unpack it for the first fleet."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fanlight.domain.errors import CapacityExhausted, ImageMissing, PublishRefused
from fanlight.domain.image_tasks import BuildTask
from fanlight.domain.images import Image, ImageFailure
from fanlight.domain.partial_sights import observe_in
from fanlight.domain.ports import Clock, ImageStore, InstanceDriver, Power
from fanlight.reconcilers.image_records import ImageRecords, MakingFailed
from fanlight.reconcilers.image_sweeps import INSTALLATION_PROPERTY

_LOOK_AGAIN = timedelta(milliseconds=500)
# The builder's reconciler cleans up and stops it; that takes seconds, minutes on a busy host.
LONGEST_WAIT_FOR_BUILDER = timedelta(minutes=15)
# Until it is in the store. An engine that does not finish it is asked again each hour, and not for ever.
LONGEST_BUILD = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildMaker:
    """ImageMaker of `BuildTask`. `installation` marks what it publishes, for the sweep of strays."""

    driver: InstanceDriver
    store: ImageStore
    records: ImageRecords
    clock: Clock
    installation: str

    async def advance(self, image: Image) -> datetime | None:
        """Raises MakingFailed, DriverUnavailable, ChangedMeanwhile, StoreUnavailable."""
        task = image.task
        if not isinstance(task, BuildTask):
            raise TypeError(f"not a build: {task}")
        present = {stored.ref for stored in await self.store.observe()}
        if image.store_ref not in present:
            if self.clock.now() > image.created_at + LONGEST_BUILD:
                text = f"It was not finished within {LONGEST_BUILD.total_seconds() / 3600:.0f} hours."
                raise MakingFailed(ImageFailure.INTERNAL_ERROR, text)
            if not (await self._is_prepared(image, task) and await self._is_stopped(image, task)):
                await self.records.note(image, "waiting for the image builder to stop")
                return self.clock.now() + _LOOK_AGAIN
            image = await self.records.note(image, "packing the root file system")
            await self._publish(image, task)
        image = await self.records.note(image, "unpacking it for fleets")
        try:
            await self.store.warm(image.store_ref)
        except (ImageMissing, CapacityExhausted) as error:
            raise MakingFailed(ImageFailure.INTERNAL_ERROR, str(error)) from error
        sizes = {stored.ref: stored.size_in_bytes for stored in await self.store.observe()}
        await self.records.finish(image, size_in_bytes=sizes.get(image.store_ref, 0))
        return None

    async def _is_prepared(self, image: Image, task: BuildTask) -> bool:
        """Return whether nothing of the builder's own is on its disk any more.

        Raises MakingFailed when the builder has given this image up.
        """
        async with self.records.transactions.begin() as work:
            builder = await work.image_builders.find(task.builder_id)
        if builder is None or builder.snapshot_image_id != image.image_id:
            why = builder.reason.message if builder is not None and builder.reason else "The image builder is gone."
            raise MakingFailed(ImageFailure.IMAGE_BUILDER_NOT_AVAILABLE, why)
        return builder.is_prepared

    async def _is_stopped(self, image: Image, task: BuildTask) -> bool:
        """Raises MakingFailed when it is gone, or does not stop in time."""
        shown = await observe_in(self.driver, image.scope.region)
        seen = next((one for one in shown if one.instance_id == task.instance_id), None)
        if seen is None:
            raise MakingFailed(ImageFailure.IMAGE_BUILDER_NOT_AVAILABLE, "The instance of the image builder is gone.")
        if seen.power is Power.STOPPED:
            return True
        if self.clock.now() > image.created_at + LONGEST_WAIT_FOR_BUILDER:
            minutes = int(LONGEST_WAIT_FOR_BUILDER.total_seconds() // 60)
            text = f"The image builder did not stop within {minutes} minutes."
            raise MakingFailed(ImageFailure.IMAGE_BUILDER_NOT_AVAILABLE, text)
        return False

    async def _publish(self, image: Image, task: BuildTask) -> None:
        properties = {INSTALLATION_PROPERTY: self.installation, "fanlight.image": image.name}
        try:
            await self.store.publish(task.instance_id, image.store_ref, properties)
        except (PublishRefused, CapacityExhausted) as error:
            raise MakingFailed(ImageFailure.INTERNAL_ERROR, str(error)) from error
