"""Streaming images that the service provides: in every studio those of the installation that everybody may stream.

There is no row of them. They come and go with the images, and their EULAs are those that the operator names today.
"""

from collections.abc import Callable, Sequence

from fanlight.domain.errors import NotFound
from fanlight.domain.nimble.streaming_images import StreamingImage, image_id_behind, provided
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork

RequiredBy = Callable[[str], tuple[str, ...]]
"""Which EULAs an image of this name comes with."""


def _nothing(image_name: str) -> tuple[str, ...]:  # noqa: ARG001
    return ()


async def provided_images(
    work: UnitOfWork, scope: Scope, studio_id: str, required_by: RequiredBy
) -> Sequence[StreamingImage]:
    """Return all of them."""
    offers = [provided(image, scope, studio_id, required_by(image.name)) for image in await work.images.visible(scope)]
    return [offer for offer in offers if offer is not None]


async def find_streaming_image(
    work: UnitOfWork, scope: Scope, studio_id: str, streaming_image_id: str, required_by: RequiredBy = _nothing
) -> StreamingImage | None:
    """Return the studio's image of this id, a deleted one too while it is kept, or the one that the service provides."""
    found = await work.nimble.resources.find(streaming_image_id)
    if isinstance(found, StreamingImage):
        return found if (found.scope, found.studio_id) == (scope, studio_id) else None
    image_id = image_id_behind(streaming_image_id)
    image = await work.images.find_by_id(image_id) if image_id else None
    return provided(image, scope, studio_id, required_by(image.name)) if image else None


async def get_streaming_image(
    work: UnitOfWork, scope: Scope, studio_id: str, streaming_image_id: str, required_by: RequiredBy
) -> StreamingImage:
    """Do what `find_streaming_image` does. Raises NotFound."""
    found = await find_streaming_image(work, scope, studio_id, streaming_image_id, required_by)
    if found is None:
        raise NotFound("streaming image", streaming_image_id)
    return found
