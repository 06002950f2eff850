"""What the administrator of an image builder asks for with the Image Assistant. All of it is a guest's word.

Whoever answers has only this to rely on: which instance asks, and that the request is well formed and bounded in size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

SUCCESS = 0
REFUSED = 1  # one of the refusals that the Image Assistant's own documentation lists
FAILED = 255  # anything else


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedApplication:
    """`icon` claims to be a PNG; None when there is none."""

    name: str
    display_name: str
    launch_path: str
    launch_parameters: str = ""
    working_directory: str = ""
    description: str = ""
    icon: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """`request_id` is the same when the same request comes again because its answer was lost."""

    instance_id: str
    request_id: str
    name: str
    display_name: str = ""
    description: str = ""
    is_dry_run: bool = False
    has_dynamic_app_catalog: bool = False
    uses_latest_agent_version: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    applications: tuple[RequestedApplication, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnswer:
    """`status` is the Image Assistant's exit code, `message` what it prints."""

    status: int = SUCCESS
    message: str = "Success"


class ImageRequestHandler(Protocol):
    async def create_image_from_builder(self, request: ImageRequest) -> ImageAnswer:
        """Create the image, or with `is_dry_run` say whether it would be. The same request twice makes one image.

        A refusal is an answer. Raises DomainError for what may pass: the guest hears of it and may ask again.
        """
        ...
