"""Images: root file systems with a catalogue of applications.

A public image comes from a recipe and is AVAILABLE at once. Every other begins as a wish with a task
(`domain.image_tasks`): the row is written first, and the images reconciler works on it until it is AVAILABLE or FAILED.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from fanlight.domain.image_tasks import ImageTask
from fanlight.domain.machine import Machine
from fanlight.domain.places import Scope

PUBLIC_ARN = "arn:aws:appstream:::"  # how the ARN of a public image begins where no region is meant
# Of what the store keeps: nothing was newer than what is in it when it was made.
UPDATED_PROPERTY = "fanlight.updated"
LATEST = "LATEST"  # the agent version of an image that takes the newest, whatever that is
MADE_HERE = "img-"  # how the store's names of all images that are not public begin


class ImageState(StrEnum):
    PENDING = "PENDING"
    AVAILABLE = "AVAILABLE"
    FAILED = "FAILED"
    COPYING = "COPYING"
    DELETING = "DELETING"
    CREATING = "CREATING"
    IMPORTING = "IMPORTING"
    VALIDATING = "VALIDATING"


class ImageEvent(StrEnum):
    FINISHED = "FINISHED"  # the task is done, the image may be used
    IMPORTED = "IMPORTED"  # it is in the store, and is tried before it is offered
    FAILED = "FAILED"
    DELETE_REQUESTED = "DELETE_REQUESTED"


IMAGE: Machine[ImageState, ImageEvent] = Machine(
    kind="image",
    initial=ImageState.PENDING,
    table={
        **{
            (making, event): state
            for making in (ImageState.PENDING, ImageState.COPYING, ImageState.CREATING, ImageState.VALIDATING)
            for event, state in (
                (ImageEvent.FINISHED, ImageState.AVAILABLE),
                (ImageEvent.FAILED, ImageState.FAILED),
            )
        },
        (ImageState.IMPORTING, ImageEvent.FINISHED): ImageState.AVAILABLE,
        (ImageState.IMPORTING, ImageEvent.IMPORTED): ImageState.VALIDATING,
        (ImageState.IMPORTING, ImageEvent.FAILED): ImageState.FAILED,
        # What is still being made is not deleted: whoever makes it would put it back.
        (ImageState.AVAILABLE, ImageEvent.DELETE_REQUESTED): ImageState.DELETING,
        (ImageState.FAILED, ImageEvent.DELETE_REQUESTED): ImageState.DELETING,
    },
)


class ImageFailure(StrEnum):
    """Why an image FAILED: the codes of StateChangeReason, as far as this installation has them."""

    INTERNAL_ERROR = "INTERNAL_ERROR"
    IMAGE_BUILDER_NOT_AVAILABLE = "IMAGE_BUILDER_NOT_AVAILABLE"
    IMAGE_COPY_FAILURE = "IMAGE_COPY_FAILURE"
    IMAGE_UPDATE_FAILURE = "IMAGE_UPDATE_FAILURE"
    IMAGE_IMPORT_FAILURE = "IMAGE_IMPORT_FAILURE"


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


@dataclass(frozen=True, slots=True)
class ImageError:
    """One line of ImageErrors. `code` is a code of fleet errors, the only ones that clients know."""

    code: str
    message: str
    happened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePermission:
    """What another account may do with an image. Both false would be no permission: there is none then."""

    image_id: str
    shared_account_id: str
    allow_fleet: bool
    allow_image_builder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`store_ref` is the name under which the engine's ImageStore has it; `scope.account_id` is empty for PUBLIC images.

    `scope.region` of a public image is empty too: it is offered in every region of this installation, and so is the
    region in the `base_image_arn` that is one. `visibility` is PUBLIC or PRIVATE: SHARED is what others see in it.
    `is_imported`: it, or what it was copied or updated from, came from an archive and not from an image builder.
    `task` is what the reconciler has to do, None when there is nothing; `progress` tells people how far it is.
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
    base_image_arn: str | None = None
    image_builder_name: str | None = None
    agent_version: str = LATEST
    image_builder_supported: bool = False
    is_imported: bool = False
    supported_instance_families: tuple[str, ...] = ("General Purpose", "Compute Optimized", "Memory Optimized")
    created_at: datetime
    public_base_image_released_at: datetime | None = None
    failure: ImageFailure | None = None
    failure_message: str = ""
    errors: tuple[ImageError, ...] = field(default=())
    size_in_bytes: int | None = None  # what the store keeps, compressed
    progress: str = ""
    task: ImageTask | None = None

    @property
    def pinned_agent_version(self) -> str | None:
        """The one agent version that instances of it run with, None: the newest, as all public images do."""
        is_free = self.visibility is Visibility.PUBLIC or self.agent_version == LATEST
        return None if is_free else self.agent_version

    @property
    def ami_id(self) -> str:
        """A name in the form that clients of imports and exports expect; it stays the image's own for ever."""
        return f"ami-{self.image_id[:17]}"

    @property
    def is_unfinished(self) -> bool:
        """Whether the reconciler has something to do with it."""
        return self.state not in (ImageState.AVAILABLE, ImageState.FAILED)

    def base_arn_in(self, region: str) -> str | None:
        if self.base_image_arn is None:
            return None
        return self.base_image_arn.replace(PUBLIC_ARN, f"arn:aws:appstream:{region}::", 1)

    def after(self, event: ImageEvent) -> "Image":
        """Return the image after the event. Raises TransitionRefused."""
        return replace(self, state=IMAGE.after(self.state, event))

    def arn_in(self, region: str) -> str:
        """Return the ARN as callers of `region` see it; public images have an empty account field."""
        return f"arn:aws:appstream:{region}:{self.scope.account_id}:image/{self.name}"


def made_ref(image_id: str) -> str:
    """Return the store's name for an image that is made here, which is any but those from recipes."""
    return f"{MADE_HERE}{image_id}"
