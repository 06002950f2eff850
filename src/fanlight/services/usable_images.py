"""Which images an account may use, and for what: the one answer for fleets and image builders.

Its own and the public ones for everything; what others share, exactly as far as they allow it, and by ARN only.
"""

from enum import StrEnum

from fanlight.domain.errors import InvalidCombination, NotAvailable, NotFound, NotPermitted
from fanlight.domain.images import Image, ImageState, Visibility
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork


class ImageUse(StrEnum):
    FLEET = "fleets"
    IMAGE_BUILDER = "image builders"


async def find_image(
    work: UnitOfWork, scope: Scope, name: str | None, arn: str | None, use: ImageUse = ImageUse.FLEET
) -> Image:
    """Return the image that a request names, if it may be used so now.

    Raises InvalidCombination, NotFound, NotAvailable, NotPermitted (shared, but not for this).
    """
    if not name and not arn:
        raise InvalidCombination("Name the image: give ImageName or ImageArn.")
    image = await work.images.find(scope, name=name or "", arn=arn or "")
    if image is None:
        if name and arn and await work.images.find(scope, arn=arn) is not None:
            raise InvalidCombination(f"ImageName {name} and ImageArn {arn} are two images. Give one of them.")
        raise NotFound("image", arn or name or "")
    if not await may_use(work, scope, image, use):
        raise NotPermitted(
            f"The image {image.name} is shared with this account, but not for {use}. Ask account "
            f"{image.scope.account_id} to allow it."
        )
    if image.state is not ImageState.AVAILABLE:
        raise NotAvailable(
            "image",
            image.name,
            f"The image {image.name} is {image.state}. Wait until it is AVAILABLE, or take another.",
        )
    return image


async def may_use(work: UnitOfWork, scope: Scope, image: Image, use: ImageUse) -> bool:
    """Return whether the account of `scope` may use an image so that it sees."""
    if image.visibility is Visibility.PUBLIC or image.scope == scope:
        return True
    for permission in await work.image_permissions.of_image(image.image_id):
        if permission.shared_account_id == scope.account_id:
            return permission.allow_fleet if use is ImageUse.FLEET else permission.allow_image_builder
    return False
