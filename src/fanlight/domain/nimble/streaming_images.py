"""Streaming images: what a studio calls an image that its launch profiles offer."""

from dataclasses import dataclass
from typing import ClassVar

from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.resources import Resource

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
