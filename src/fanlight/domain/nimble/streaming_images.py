"""Streaming images: what a studio calls an image that its launch profiles offer."""

import base64
from dataclasses import dataclass
from typing import ClassVar

from fanlight.domain.images import Image, ImageState, Visibility
from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.resources import Resource, ResourceEvent, ResourceState, Status
from fanlight.domain.places import Scope

SERVICE_OWNER = "amazon"
PLATFORM = "LINUX"
LONGEST_NAME, LONGEST_DESCRIPTION = 64, 256
_ID_LENGTH = 22
_VERSION_BYTE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingImage(Resource):
    """`image_id` is the image of this installation that `ec2_image_id` named when it was created.

    Neither is altered afterwards. `owner` is the studio, or SERVICE_OWNER. `eula_ids` must have been accepted in the
    studio before a session begins. `key_arn` is of the key that the machine image is encrypted with, if it is.

    One of SERVICE_OWNER is in every studio of every account, and in no table: it is an image that everybody may stream.
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

    @property
    def is_provided(self) -> bool:
        return self.owner == SERVICE_OWNER


def provided(image: Image, scope: Scope, studio_id: str, eula_ids: tuple[str, ...] = ()) -> StreamingImage | None:
    """Return the streaming image that an image of the installation is in any studio, None when not everybody may stream it.

    As those of the service it is READY without a status code.
    """
    if image.visibility is not Visibility.PUBLIC or image.state is not ImageState.AVAILABLE:
        return None
    return StreamingImage(
        resource_id=provided_id(image.image_id),
        studio_id=studio_id,
        scope=scope,
        state=ResourceState.READY,
        status=Status(code=""),
        created_at=image.created_at,
        updated_at=image.created_at,
        state_since=image.created_at,
        name=(image.display_name or image.name)[:LONGEST_NAME],
        description=image.description[:LONGEST_DESCRIPTION] if image.description else None,
        ec2_image_id=image.ami_id,
        image_id=image.image_id,
        owner=SERVICE_OWNER,
        eula_ids=eula_ids,
    )


def provided_id(image_id: str) -> str:
    """Return by which id studios know an image of the installation: its own, in the letters of the service's ids.

    It begins in the middle, where a random UUID has its version: so that none begins with a dash, as `new_id`'s.
    """
    raw = bytes.fromhex(image_id)
    return base64.urlsafe_b64encode(raw[_VERSION_BYTE:] + raw[:_VERSION_BYTE]).decode().rstrip("=")


def image_id_behind(streaming_image_id: str) -> str | None:
    """Return the id of the image that a studio knows by this one; None for what is no such id."""
    if len(streaming_image_id) != _ID_LENGTH:
        return None
    try:
        raw = base64.b64decode(streaming_image_id + "==", altchars=b"-_", validate=True)
        image_id = (raw[-_VERSION_BYTE:] + raw[:-_VERSION_BYTE]).hex()
        return image_id if provided_id(image_id) == streaming_image_id else None
    except ValueError:
        return None


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
