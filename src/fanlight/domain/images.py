"""Images: root file systems with a catalogue of applications."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fanlight.domain.places import Scope


class ImageState(StrEnum):
    PENDING = "PENDING"
    AVAILABLE = "AVAILABLE"
    FAILED = "FAILED"
    COPYING = "COPYING"
    DELETING = "DELETING"
    CREATING = "CREATING"
    IMPORTING = "IMPORTING"
    VALIDATING = "VALIDATING"


class Visibility(StrEnum):
    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"
    SHARED = "SHARED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One entry of an image's catalogue. `icon` is a file name under the image's icon directory, always PNG."""

    name: str
    display_name: str
    launch_path: str
    launch_parameters: str = ""
    working_directory: str = ""
    icon: str | None = None
    description: str = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`store_ref` is the name under which the engine's ImageStore has it; `scope.account_id` is empty for PUBLIC images.

    `scope.region` of a public image is empty too: it is offered in every region of this installation.
    """

    image_id: str
    scope: Scope
    name: str
    store_ref: str
    version: int = 0
    state: ImageState = ImageState.AVAILABLE
    visibility: Visibility = Visibility.PRIVATE
    platform: str = "UBUNTU_PRO_2404"
    display_name: str | None = None
    description: str | None = None
    applications: tuple[Application, ...] = field(default=())
    base_image_name: str | None = None
    agent_version: str = "LATEST"
    image_builder_supported: bool = False
    supported_instance_families: tuple[str, ...] = ("General Purpose", "Compute Optimized", "Memory Optimized")
    created_at: datetime
    public_base_image_released_at: datetime | None = None

    def arn_in(self, region: str) -> str:
        """Return the ARN as callers of `region` see it; public images have an empty account field."""
        return f"arn:aws:appstream:{region}:{self.scope.account_id}:image/{self.name}"
