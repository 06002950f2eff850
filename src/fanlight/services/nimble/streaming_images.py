"""Streaming images: names that a studio gives to images of this installation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fanlight.domain.errors import NotPermitted
from fanlight.domain.images import Image
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.identifiers import new_id
from fanlight.domain.nimble.streaming_images import CREATING, DELETING, UPDATING, StreamingImage
from fanlight.domain.nimble.studios import Studio
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.quotas import NIMBLE_STREAMING_IMAGES
from fanlight.domain.tags import Tags
from fanlight.services.nimble.eulas import EulaService
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.resources import Resources, everything, usable_studio
from fanlight.services.nimble.service_images import get_streaming_image, provided_images
from fanlight.services.quotas import QuotaKeeper
from fanlight.services.usable_images import ImageUse, may_use

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStreamingImage:
    """What CreateStreamingImage says."""

    studio_id: str
    ec2_image_id: str
    name: str
    description: str | None = None
    tags: Mapping[str, str] | None = None


class StreamingImageService:
    def __init__(self, ground: Ground, eulas: EulaService, quotas: QuotaKeeper) -> None:
        self._ground, self._eulas, self._quotas = ground, eulas, quotas
        self._images = Resources(ground, StreamingImage, updating=UPDATING, deleting=DELETING)

    async def create(self, call: Call, wanted: NewStreamingImage) -> tuple[StreamingImage, Tags]:
        """Name an image; it is CREATE_IN_PROGRESS when this returns, and CREATE_FAILED later if there is no such image.

        Raises NotFound (studio), NotAvailable (its state), InvalidCombination (tags), LimitExceeded, TokenReused.
        """

        async def make(work: UnitOfWork) -> StreamingImage:
            await usable_studio(work, call.scope, wanted.studio_id)
            await self._admit(work, call.scope, wanted.studio_id)
            image = await _find(work, call.scope, wanted.ec2_image_id)
            now = self._ground.clock.now()
            return StreamingImage(
                resource_id=new_id(),
                studio_id=wanted.studio_id,
                scope=call.scope,
                status=CREATING,
                created_at=now,
                created_by=call.caller,
                updated_at=now,
                updated_by=call.caller,
                state_since=now,
                name=wanted.name,
                description=wanted.description,
                ec2_image_id=wanted.ec2_image_id,
                image_id=image.image_id if image else "",
                owner=wanted.studio_id,
                eula_ids=self._eulas.required_by(image.name) if image else (),
            )

        return await self._images.create(call, make, wanted.tags)

    async def get(self, scope: Scope, studio_id: str, image_id: str) -> tuple[StreamingImage, Tags]:
        """Return an image, a deleted one too while it is kept, and its tags. Raises NotFound."""
        async with self._ground.transactions.begin() as work:
            await work.nimble.resources.get(Studio, scope, studio_id)
            image = await get_streaming_image(work, scope, studio_id, image_id, self._eulas.required_by)
            return image, await work.tags.of(image.arn)

    async def page(
        self, scope: Scope, studio_id: str, owner: str | None, next_token: str | None
    ) -> tuple[Sequence[tuple[StreamingImage, Tags]], str | None]:
        """Return one page of images with their tags, deleted ones left out, and the next token.

        Those that the service provides are among them. Raises NotFound (studio), InvalidPageToken.
        """

        async def service_images(work: UnitOfWork) -> Sequence[StreamingImage]:
            return await provided_images(work, scope, studio_id, self._eulas.required_by)

        return await self._images.page(
            scope,
            studio_id,
            keep=lambda image: owner is None or image.owner.lower() == owner.lower(),
            besides=service_images,
            filters=[] if owner is None else ["owner", owner],
            limit=PAGE_SIZE,
            next_token=next_token,
        )

    async def update(
        self, call: Call, studio_id: str, image_id: str, *, name: str | None, description: str | None
    ) -> tuple[StreamingImage, Tags]:
        """Change its texts; None leaves as it is.

        Raises NotFound, NotPermitted (the service provides it), NotAvailable (a change is in progress), TokenReused.
        """
        await self._check_own(call.scope, studio_id, image_id)

        async def change(work: UnitOfWork, image: StreamingImage) -> StreamingImage:  # noqa: ARG001 - one form for all
            return replace(
                image,
                name=image.name if name is None else name,
                description=image.description if description is None else description,
            )

        return await self._images.update(call, image_id, studio_id, change)

    async def delete(self, call: Call, studio_id: str, image_id: str) -> tuple[StreamingImage, Tags]:
        """Forget the name; the image itself stays. One that is deleted already is success.

        Raises NotFound, NotPermitted (the service provides it), NotAvailable (a change is in progress), TokenReused.
        """
        await self._check_own(call.scope, studio_id, image_id)
        return await self._images.delete(call, image_id, studio_id)

    async def _check_own(self, scope: Scope, studio_id: str, image_id: str) -> None:
        """Raise NotFound or, for an image that is not the studio's own, NotPermitted."""
        image, _ = await self.get(scope, studio_id, image_id)
        if image.is_provided:
            raise NotPermitted(
                f"The streaming image {image_id} is provided by the service: it is in every studio, and nobody changes or "
                "deletes it. Create a streaming image of its ec2ImageId to have one of your own."
            )

    async def _admit(self, work: UnitOfWork, scope: Scope, studio_id: str) -> None:
        """Raise LimitExceeded when the studio has as many streaming images as it may."""
        if self._quotas.limit(NIMBLE_STREAMING_IMAGES) is None:
            return
        others = await everything(work, StreamingImage, scope, studio_id)
        self._quotas.admit(NIMBLE_STREAMING_IMAGES, sum(other.is_there for other in others) + 1)


async def _find(work: UnitOfWork, scope: Scope, ec2_image_id: str) -> Image | None:
    """Return the image of that identifier, if the account may stream it."""
    seen = [*await work.images.visible(scope), *(image for image, _ in await work.image_permissions.shared_with(scope))]
    for image in seen:
        if image.ami_id == ec2_image_id and await may_use(work, scope, image, ImageUse.FLEET):
            return image
    return None
