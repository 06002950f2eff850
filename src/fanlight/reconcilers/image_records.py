"""Write down how far the making of an image is. All writes of makers go through here."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanlight.domain.errors import ChangedMeanwhile, DomainError
from fanlight.domain.image_tasks import ImageTask
from fanlight.domain.images import Application, Image, ImageError, ImageEvent, ImageFailure
from fanlight.domain.ports import Clock, Transactions, UnitOfWork

log = logging.getLogger(__name__)

ERROR_CODE = "INTERNAL_SERVICE_ERROR"  # of ImageErrors, whose codes are those of fleets: none of them is about making


class MakingFailed(DomainError):
    """A maker cannot finish its image, and a repetition would not help. The text is for the administrator."""

    def __init__(self, failure: ImageFailure, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.failure, self.details = failure, tuple(details)


@dataclass(frozen=True, slots=True)
class ImageRecords:
    """Every method compares and sets: it raises ChangedMeanwhile when the row is newer than the image given to it."""

    transactions: Transactions
    clock: Clock

    async def note(self, image: Image, progress: str, *, task: ImageTask | None = None) -> Image:
        """Say how far it is, and what the task must remember (None: what it has); return the image as it is now."""
        changed = replace(image, progress=progress, task=task or image.task)
        if changed == image:
            return image
        async with self.transactions.begin(write=True) as work:
            saved = await work.images.save(changed)
            await work.commit()
        log.info("image goes on", extra={"image": image.name, "image_id": image.image_id, "progress": progress})
        return saved

    async def move(self, image: Image, event: ImageEvent, progress: str = "") -> Image:
        """Change to another state of being made. Raises TransitionRefused."""
        return await self._save(image, replace(image.after(event), progress=progress))

    async def finish(
        self, image: Image, *, size_in_bytes: int, applications: tuple[Application, ...] | None = None
    ) -> Image:
        """Make it AVAILABLE; `applications` None: those it has."""
        done = replace(
            image.after(ImageEvent.FINISHED),
            task=None,
            progress="",
            size_in_bytes=size_in_bytes,
            applications=image.applications if applications is None else applications,
        )
        return await self._save(image, done)

    async def fail(self, image: Image, why: MakingFailed) -> Image:
        """Make it FAILED, with the reason and one line of errors for each detail, or for the reason itself."""
        now = self.clock.now()
        failed = replace(
            image.after(ImageEvent.FAILED),
            task=None,
            progress="",
            failure=why.failure,
            failure_message=str(why),
            errors=tuple(ImageError(ERROR_CODE, text, now) for text in why.details or (str(why),)),
        )
        return await self._save(image, failed)

    async def forget(self, image: Image) -> None:
        """Remove a DELETING image with all that is tied to it."""
        async with self.transactions.begin(write=True) as work:
            for permission in await work.image_permissions.of_image(image.image_id):
                await work.image_permissions.drop(image.image_id, permission.shared_account_id)
            await work.tags.drop(image.arn_in(image.scope.region))
            await work.images.remove(await _unchanged(work, image))
            await work.commit()
        log.info("image gone", extra={"image": image.name, "image_id": image.image_id})

    async def _save(self, before: Image, after: Image) -> Image:
        async with self.transactions.begin(write=True) as work:
            saved = await work.images.save(after)
            await work.commit()
        level = logging.WARNING if after.failure else logging.INFO
        extra = {"image": after.name, "image_id": after.image_id, "before": before.state, "after": after.state}
        log.log(level, "image state changed", extra=extra | {"why": after.failure_message})
        return saved


async def _unchanged(work: UnitOfWork, image: Image) -> Image:
    found = await work.images.find_by_id(image.image_id)
    if found is None or found.version != image.version:
        raise ChangedMeanwhile("image", image.name)
    return found
