"""CreateUpdatedImage: is there something to update in an image, and make a new one with all of it.

Whether there is can only be known by asking the package repositories that the image itself names, from an instance of it.
So a dry run launches one, waits for the answer of its agent and destroys it, all within the request and within a limit;
nothing is remembered, because a repository may have something new at any time.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from fanlight.agentwire.messages import Maintain
from fanlight.domain.errors import (
    DriverUnavailable,
    IncompatibleImage,
    NotAvailable,
    NotFound,
    NotPermitted,
    StoreUnavailable,
)
from fanlight.domain.image_builders import ImageBuilder, ImageBuilderState
from fanlight.domain.image_tasks import TaskKind, UpdateTask
from fanlight.domain.images import LATEST, Image, ImageState, Visibility, made_ref
from fanlight.domain.instances import new_instance_id
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, InstanceRole, Transactions, UnitOfWork, Wake, WorkPhase
from fanlight.domain.quotas import IMAGE_UPDATES, PRIVATE_IMAGES
from fanlight.services.image_files import ImageFiles
from fanlight.services.image_workshop import INSTANCE_TYPE, ImageWorkshop, WorkLost, until_done
from fanlight.services.quotas import QuotaKeeper

# Below the minute that SDKs wait for an answer.
LOOK_LIMIT = timedelta(seconds=45)
LOOKS_AT_A_TIME = 4
POLL_IN_SECONDS = 0.1
_LONGEST_BUILDER_NAME = 90  # before its suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    name: str
    description: str | None = None
    display_name: str | None = None
    tags: Mapping[str, str] | None = None


class ImageUpdateService:
    """`newest_runtime` says which version of the runtime new images get, None while none is installed.

    Without a `workshop` there is no engine that could look into images.
    """

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        wake: Wake,
        workshop: ImageWorkshop | None,
        *,
        files: ImageFiles,
        newest_runtime: Callable[[], str | None],
        quotas: QuotaKeeper,
    ) -> None:
        self._transactions, self._clock, self._wake = transactions, clock, wake
        self._files = files
        self._workshop, self._newest_runtime, self._quotas = workshop, newest_runtime, quotas
        self._looks = asyncio.Semaphore(LOOKS_AT_A_TIME)

    async def can_update(self, scope: Scope, name: str) -> bool:
        """Return whether there are newer packages, or a newer runtime, for an image. Takes seconds, at most LOOK_LIMIT.

        Raises NotFound, NotPermitted (another's image), NotAvailable (the image is not AVAILABLE, or no answer in time),
        IncompatibleImage (nobody can know: no apt, or its repositories do not answer), DriverError.
        """
        async with self._transactions.begin() as work:
            source = await _source(work, scope, name)
        if source.agent_version not in (LATEST, self._newest_runtime()):
            return True
        return await self._has_newer_packages(source)

    async def create(self, scope: Scope, name: str, wanted: NewImage) -> Image:
        """Begin to make a new image from an image; it is CREATING when this returns.

        Raises NotFound, NotPermitted, NotAvailable, AlreadyExists, LimitExceeded.
        """
        async with self._transactions.begin(write=True) as work:
            source = await _source(work, scope, name)
            builder = _builder_for(source, wanted.name, self._clock.now())
            image = await work.images.add(self._new(source, wanted, builder.builder_id))
            await self._admit(work, scope)
            await work.image_builders.add(builder)
            await work.tags.put(image.arn_in(scope.region), wanted.tags or {})
            try:
                await asyncio.to_thread(self._files.copy_icons, source.store_ref, image.store_ref)
            except OSError as error:
                raise StoreUnavailable(f"icons cannot be copied: {error}") from error
            await work.commit()
        self._wake("image", image.image_id)
        return image

    def _new(self, source: Image, wanted: NewImage, builder_id: str) -> Image:
        image_id = uuid4().hex
        return replace(
            source,
            image_id=image_id,
            store_ref=made_ref(image_id),
            version=0,
            name=wanted.name,
            state=ImageState.CREATING,
            visibility=Visibility.PRIVATE,
            display_name=wanted.display_name,
            description=wanted.description,
            base_image_arn=source.arn_in(source.scope.region),
            image_builder_name=None,
            # Pinned also where the source always takes the newest: what is tried below is what fleets will run.
            agent_version=self._newest_runtime() or source.agent_version,
            created_at=self._clock.now(),
            public_base_image_released_at=source.public_base_image_released_at,
            failure=None,
            failure_message="",
            errors=(),
            size_in_bytes=None,
            progress="waiting to begin",
            task=UpdateTask(source_image_id=source.image_id, source_ref=source.store_ref, builder_id=builder_id),
        )

    async def _admit(self, work: UnitOfWork, scope: Scope) -> None:
        own = [image for image in await work.images.visible(scope) if image.scope == scope]
        self._quotas.admit(PRIVATE_IMAGES, len(own))
        updating = [image for image in own if image.task is not None and image.task.kind is TaskKind.UPDATE]
        self._quotas.admit(IMAGE_UPDATES, len(updating))

    async def _has_newer_packages(self, source: Image) -> bool:
        workshop = self._workshop
        if workshop is None:
            raise DriverUnavailable("This process has no engine to look into images with.")
        instance_id = new_instance_id()
        spec = workshop.spec(instance_id, source.store_ref, source.scope, InstanceRole.MAINTENANCE)
        message = Maintain(work_id=f"look-{instance_id}", task="look")
        try:
            async with asyncio.timeout(LOOK_LIMIT.total_seconds()), self._looks:
                with workshop.keeping(instance_id):
                    try:
                        report = await until_done(workshop, spec, message, poll=POLL_IN_SECONDS)
                    finally:
                        await _to_its_end(workshop.dismiss(instance_id))
        except TimeoutError:
            limit = int(LOOK_LIMIT.total_seconds())
            why = f"Whether there are updates for the image {source.name} could not be found out within {limit} s. Try again."
            raise NotAvailable("image", source.name, why) from None
        except WorkLost as error:
            raise IncompatibleImage(f"The image {source.name} cannot be updated. {error}") from error
        if report.phase is not WorkPhase.DONE:
            raise IncompatibleImage(f"The image {source.name} cannot be updated: {report.detail}")
        return report.updates > 0


def _builder_for(source: Image, new_name: str, now: datetime) -> ImageBuilder:
    """Return the image builder that clients see while the image is updated, named as the service names it.

    It has no instance of its own: those of the steps come and go, and nobody may start, stop or enter it.
    """
    return ImageBuilder(
        builder_id=uuid4().hex,
        scope=source.scope,
        name=f"{new_name[:_LONGEST_BUILDER_NAME]}-{secrets.randbelow(10**10):010}",
        state=ImageBuilderState.UPDATING,
        image_name=source.name,
        image_arn=source.arn_in(source.scope.region),
        image_ref=source.store_ref,
        instance_id=new_instance_id(),
        instance_type=INSTANCE_TYPE,
        platform=source.platform,
        agent_version=source.agent_version,
        created_at=now,
        begun_at=now,
    )


async def _source(work: UnitOfWork, scope: Scope, name: str) -> Image:
    """Return an image that may be updated. Raises NotFound, NotPermitted, NotAvailable."""
    image = await work.images.find(scope, name=name)
    if image is None:
        raise NotFound("image", name)
    if image.scope != scope:
        raise NotPermitted(
            f"The image {name} is not of this account: only own images can be updated. A public image is kept current by "
            "the server's operator; make an image of your own from it first."
        )
    if image.state is not ImageState.AVAILABLE:
        raise NotAvailable("image", name, f"The image {name} is {image.state}. Wait until it is AVAILABLE.")
    return image


async def _to_its_end(work: Awaitable[None]) -> None:
    """Await `work` also when the request is broken off: the instance must go."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
