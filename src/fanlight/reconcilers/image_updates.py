"""Make an updated image: upgrade an instance of the source, publish it, and try what was published before it is offered.

The source is only ever read. How the new image is tried: `image_trials`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fanlight.agentwire.messages import Maintain
from fanlight.domain.errors import CapacityExhausted, DriverError, DriverUnavailable, PublishRefused
from fanlight.domain.image_builders import ImageBuilderEvent, ImageBuilderState
from fanlight.domain.image_tasks import MOST_ATTEMPTS, UpdateStep, UpdateTask
from fanlight.domain.images import UPDATED_PROPERTY, Image, ImageFailure
from fanlight.domain.instances import new_instance_id
from fanlight.domain.ports import Clock, ImageStore, InstanceRole, WorkPhase, WorkReport
from fanlight.reconcilers.image_records import ImageRecords, MakingFailed
from fanlight.reconcilers.image_sweeps import INSTALLATION_PROPERTY
from fanlight.reconcilers.image_trials import ImageTrial
from fanlight.services.image_workshop import ImageWorkshop, WorkLost

LOOK_AGAIN = timedelta(seconds=0.5)
ROOM_RETRY = timedelta(seconds=15)
# The agent itself gives up earlier; this is for one that claims to work for ever.
LONGEST_UPDATE = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMaker:
    """ImageMaker of `UpdateTask`. `installation` marks what it publishes, for the sweep of strays."""

    workshop: ImageWorkshop
    store: ImageStore
    records: ImageRecords
    clock: Clock
    installation: str

    async def advance(self, image: Image) -> datetime | None:
        """Raises MakingFailed, DriverUnavailable, ChangedMeanwhile, StoreUnavailable."""
        task = image.task
        if not isinstance(task, UpdateTask):
            raise TypeError(f"not an update: {task}")
        try:
            if self.clock.now() - image.created_at > LONGEST_UPDATE:
                raise _failed(f"It was not finished within {LONGEST_UPDATE.total_seconds() / 3600:.0f} hours.")
            return await self._step(image, task)
        except MakingFailed:
            if task.instance_id:
                await self.workshop.dismiss(task.instance_id)
            await self._take_builder_away(task)
            raise

    @property
    def _trial(self) -> ImageTrial:
        failure = ImageFailure.IMAGE_UPDATE_FAILURE
        return ImageTrial(workshop=self.workshop, failure=failure, occasion="after the update")

    async def _step(self, image: Image, task: UpdateTask) -> datetime | None:
        if task.step == UpdateStep.PUBLISH:
            return await self._publish(image, task)
        if not task.instance_id:
            chosen = replace(task, instance_id=new_instance_id())
            await self.records.note(image, "starting an instance", task=chosen)
            return self.clock.now()
        is_upgrade = task.step == UpdateStep.UPGRADE
        try:
            report = await (self._upgrade(image, task) if is_upgrade else self._trial.ask(image, task.instance_id))
        except WorkLost as error:
            return await self._again(image, task, error)
        except DriverError as error:
            return await self._refused(image, error)
        if report is not None and report.phase is not WorkPhase.RUNNING:
            return await (self._upgraded(image, task, report) if is_upgrade else self._checked(image, task, report))
        if report is not None and report.progress:
            await self.records.note(image, report.progress)
        return self.clock.now() + LOOK_AGAIN

    async def _refused(self, image: Image, error: DriverError) -> datetime:
        """Wait for room, and for an engine that is away; nothing else mends itself."""
        if isinstance(error, DriverUnavailable):
            raise error
        if not isinstance(error, CapacityExhausted):
            raise _failed(str(error)) from error
        await self.records.note(image, f"waiting for room: {error}")
        return self.clock.now() + ROOM_RETRY

    async def _again(self, image: Image, task: UpdateTask, error: WorkLost) -> datetime:
        """Begin the step with another instance, unless too many were lost."""
        if task.attempts + 1 >= MOST_ATTEMPTS:
            what = "the upgrade" if task.step == UpdateStep.UPGRADE else "the trial of the new image"
            raise _failed(f"In {what}: {error}") from error
        await self.workshop.dismiss(task.instance_id)
        await self.records.note(
            image, f"once more: {error}", task=replace(task, instance_id="", attempts=task.attempts + 1)
        )
        return self.clock.now()

    # ── Upgrade ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _upgrade(self, image: Image, task: UpdateTask) -> WorkReport | None:
        spec = self.workshop.spec(task.instance_id, task.source_ref, image.scope, InstanceRole.MAINTENANCE)
        return await self.workshop.ask(spec, Maintain(work_id=f"upgrade-{task.instance_id}", task="upgrade"))

    async def _upgraded(self, image: Image, task: UpdateTask, report: WorkReport) -> datetime:
        if report.phase is not WorkPhase.DONE:
            raise _failed(f"The packages could not be updated: {report.detail}")
        progress = f"{report.updates} packages updated; packing the root file system"
        await self.records.note(image, progress, task=replace(task, step=UpdateStep.PUBLISH.value, attempts=0))
        return self.clock.now()

    # ── Publish ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _publish(self, image: Image, task: UpdateTask) -> datetime:
        if image.store_ref not in {stored.ref for stored in await self.store.observe()}:
            await self.workshop.halt(task.instance_id)
            properties = {
                INSTALLATION_PROPERTY: self.installation,
                "fanlight.image": image.name,
                UPDATED_PROPERTY: "true",
            }
            try:
                await self.store.publish(task.instance_id, image.store_ref, properties)
            except (PublishRefused, CapacityExhausted) as error:
                raise _failed(f"The new image could not be stored: {error}") from error
        await self.workshop.dismiss(task.instance_id)
        image = await self.records.note(image, "unpacking it for fleets")
        try:
            await self.store.warm(image.store_ref)
        except CapacityExhausted as error:
            raise _failed(f"The new image could not be unpacked: {error}") from error
        await self._show_qualification(task)
        await self.records.note(
            image, "trying the new image", task=replace(task, step=UpdateStep.CHECK.value, instance_id="")
        )
        return self.clock.now()

    # ── Check ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _checked(self, image: Image, task: UpdateTask, report: WorkReport) -> datetime | None:
        self._trial.judge(report)
        await self.workshop.dismiss(task.instance_id)
        await self._take_builder_away(task)
        sizes = {stored.ref: stored.size_in_bytes for stored in await self.store.observe()}
        await self.records.finish(image, size_in_bytes=sizes.get(image.store_ref, 0))
        return None

    # ── The image builder that clients see ────────────────────────────────────────────────────────────────────────

    async def _show_qualification(self, task: UpdateTask) -> None:
        async with self.records.transactions.begin(write=True) as work:
            builder = await work.image_builders.find(task.builder_id)
            if builder is not None and builder.state is ImageBuilderState.UPDATING:
                await work.image_builders.save(builder.after(ImageBuilderEvent.PACKAGES_UPDATED, self.clock.now()))
                await work.commit()

    async def _take_builder_away(self, task: UpdateTask) -> None:
        async with self.records.transactions.begin(write=True) as work:
            builder = await work.image_builders.find(task.builder_id)
            if builder is not None:
                await work.image_builders.remove(builder)
                await work.commit()


def _failed(why: str) -> MakingFailed:
    return MakingFailed(ImageFailure.IMAGE_UPDATE_FAILURE, why)
