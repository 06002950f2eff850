"""CreateUpdatedImage: typed request → image update service → typed result."""

from fanlight.api.appstream.images import to_wire
from fanlight.api.appstream.registry import operation
from fanlight.api.types import CreateUpdatedImageRequest, CreateUpdatedImageResult
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import AlreadyExists, IncompatibleImage, LimitExceeded, NotAvailable, NotFound, NotPermitted
from fanlight.services import AppStreamServices
from fanlight.services.image_updates import NewImage
from fanlight.services.images import DescribedImage


@operation(
    "CreateUpdatedImage",
    raises=(NotFound, NotPermitted, NotAvailable, AlreadyExists, IncompatibleImage, LimitExceeded),
    note="Works for Linux images, which AWS refuses. A dry run asks the package repositories that the image names, from a "
    "short-lived instance of it, and answers within 45 s; newImageName must be given and is not looked at. Without dryRun "
    "the image is made also when nothing is newer. The new image pins the newest agent.",
)
async def create_updated_image(
    request: CreateUpdatedImageRequest, caller: Caller, services: AppStreamServices
) -> CreateUpdatedImageResult:
    if request.dry_run:
        can_update = await services.image_updates.can_update(caller.scope, request.existing_image_name)
        return CreateUpdatedImageResult(can_update_image=can_update)
    wanted = NewImage(
        name=request.new_image_name,
        description=request.new_image_description,
        display_name=request.new_image_display_name,
        tags=request.new_image_tags,
    )
    image = await services.image_updates.create(caller.scope, request.existing_image_name, wanted)
    return CreateUpdatedImageResult(image=to_wire(DescribedImage(image), caller.scope, services), can_update_image=True)
