"""CopyImage: typed request → image copy service → typed result."""

from fanlight.api.appstream.registry import operation
from fanlight.api.types import CopyImageRequest, CopyImageResult
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import AlreadyExists, IncompatibleImage, LimitExceeded, NotAvailable, NotFound
from fanlight.services import AppStreamServices


@operation(
    "CopyImage",
    raises=(NotFound, AlreadyExists, NotAvailable, IncompatibleImage, LimitExceeded),
    note="A public image answers IncompatibleImageException, a DestinationRegion that this installation does not have "
    "ResourceNotFoundException (both undocumented). Without a DestinationImageDescription the copy has that of its source.",
)
async def copy_image(request: CopyImageRequest, caller: Caller, services: AppStreamServices) -> CopyImageResult:
    copy = await services.image_copies.copy(
        caller.scope,
        request.source_image_name,
        name=request.destination_image_name,
        region=request.destination_region,
        description=request.destination_image_description,
    )
    return CopyImageResult(destination_image_name=copy.name)
