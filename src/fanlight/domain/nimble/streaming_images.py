"""Streaming images: what a studio calls an image that its launch profiles offer."""

from dataclasses import dataclass
from typing import ClassVar

from fanlight.domain.images import Image, ImageState
from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.resources import Resource, ResourceEvent, ResourceState, Status

SERVICE_OWNER = "amazon"
PLATFORM = "LINUX"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingImage(Resource):
    """`image_id` is the image of this installation that `ec2_image_id` named when it was created.

    Neither is altered afterwards. `owner` is the studio, or SERVICE_OWNER. `eula_ids` must have been accepted in the
    studio before a session begins. `key_arn` is of the key that the machine image is encrypted with, if it is.
    """

    KIND: ClassVar[ResourceKind] = ResourceKind.STREAMING_IMAGE

    name: str
    description: str | None = None
    ec2_image_id: str
    image_id: str = ""
    owner: str
    platform: str = PLATFORM
    eula_ids: tuple[str, ...] = ()
    key_arn: str | None = None


CREATING = Status(code="STREAMING_IMAGE_CREATE_IN_PROGRESS", message="The streaming image is being created.")
UPDATING = Status(code="STREAMING_IMAGE_UPDATE_IN_PROGRESS", message="The streaming image is being updated.")
DELETING = Status(code="STREAMING_IMAGE_DELETE_IN_PROGRESS", message="The streaming image is being deleted.")
READY = Status(code="STREAMING_IMAGE_READY", message="The streaming image is ready.")
_DELETED = Status(code="STREAMING_IMAGE_DELETED", message="The streaming image was deleted.")


def settle_streaming_image(streaming_image: StreamingImage, image: Image | None) -> tuple[ResourceEvent, Status]:
    """Return how a change in progress ends. `image` is what it is the name of, None: there is none, or none any more."""
    if streaming_image.state is ResourceState.DELETE_IN_PROGRESS:
        return ResourceEvent.SUCCEEDED, _DELETED
    if streaming_image.state is ResourceState.UPDATE_IN_PROGRESS:
        return ResourceEvent.SUCCEEDED, READY
    if image is None:
        why = (
            f"There is no image {streaming_image.ec2_image_id} that this account may stream. "
            "`fanlight images list` shows the identifiers."
        )
        return ResourceEvent.FAILED, Status(code="ACCESS_DENIED", message=why)
    if image.state is not ImageState.AVAILABLE:
        why = f"The image {image.name} is {image.state}. Wait until it is AVAILABLE, or take another."
        return ResourceEvent.FAILED, Status(code="INTERNAL_ERROR", message=why)
    return ResourceEvent.SUCCEEDED, READY
