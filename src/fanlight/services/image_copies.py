"""Copy an image of one's own, within a region or into another one.

Here stands what is refused at once. The copy itself is a row with a task from the first moment on, in the destination's
list; the images reconciler finishes it.
"""

import logging
from collections.abc import Collection
from dataclasses import replace
from uuid import uuid4

from fanlight.domain.errors import IncompatibleImage, NotAvailable, NotFound
from fanlight.domain.image_tasks import CopyTask
from fanlight.domain.images import Image, ImageState, Visibility, made_ref
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.domain.quotas import IMAGE_COPIES, PRIVATE_IMAGES
from fanlight.services.quotas import QuotaKeeper

log = logging.getLogger(__name__)


class ImageCopyService:
    def __init__(
        self, transactions: Transactions, clock: Clock, wake: Wake, regions: Collection[str], quotas: QuotaKeeper
    ) -> None:
        self._transactions, self._clock, self._wake = transactions, clock, wake
        self._regions, self._quotas = regions, quotas

    async def copy(
        self, scope: Scope, source_name: str, *, name: str, region: str, description: str | None = None
    ) -> Image:
        """Begin the copy of `source_name` of this scope, as `name` in `region`; return it, COPYING.

        Tags stay with the source. Raises NotFound (the image, or the region), IncompatibleImage (a public image),
        NotAvailable (not AVAILABLE), AlreadyExists, LimitExceeded.
        """
        if region not in self._regions:
            raise NotFound("region", region)
        async with self._transactions.begin(write=True) as work:
            source = await self._own(work, scope, source_name)
            if source.state is not ImageState.AVAILABLE:
                why = f"The image {source.name} is {source.state}. Only an AVAILABLE image can be copied."
                raise NotAvailable("image", source.name, why)
            copy = await work.images.add(self._copy_of(source, Scope(scope.account_id, region), name, description))
            await self._admit(work, copy.scope)
            await work.commit()
        log.info("image copy begun", extra={"image": name, "image_id": copy.image_id, "source": source.image_id})
        self._wake("image", copy.image_id)
        return copy

    async def _own(self, work: UnitOfWork, scope: Scope, name: str) -> Image:
        found = await work.images.find(scope, name=name)
        if found is None:
            raise NotFound("image", name)
        if found.visibility is Visibility.PUBLIC:
            raise IncompatibleImage(
                f"The image {name} is public and cannot be copied: every region has it. Copy an image of your own."
            )
        return found

    def _copy_of(self, source: Image, scope: Scope, name: str, description: str | None) -> Image:
        image_id = uuid4().hex
        return replace(
            source,
            image_id=image_id,
            scope=scope,
            name=name,
            store_ref=made_ref(image_id),
            version=0,
            state=ImageState.COPYING,
            description=source.description if description is None else description,
            image_builder_name=None,
            created_at=self._clock.now(),
            size_in_bytes=None,
            progress="",
            task=CopyTask(source_image_id=source.image_id, source_region=source.scope.region),
        )

    async def _admit(self, work: UnitOfWork, scope: Scope) -> None:
        """Let an image that was just added stay. Raises LimitExceeded."""
        own = [image for image in await work.images.visible(scope) if image.visibility is not Visibility.PUBLIC]
        self._quotas.admit(PRIVATE_IMAGES, len(own))
        self._quotas.admit(IMAGE_COPIES, sum(image.state is ImageState.COPYING for image in own))
