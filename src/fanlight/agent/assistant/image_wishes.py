"""What the image is to be, and the request that is made of it and of the catalogue."""

import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fanlight.agent.assistant.catalogue import Catalogue
from fanlight.agent.assistant.refusals import INVALID_TAGS, AssistantRefuses, refused
from fanlight.agent.script_configs import ScriptsRefused, read_config
from fanlight.agentwire.image_requests import ImageRequest, RequestedApplication

MAX_IMAGE_NAME, MAX_DESCRIPTION, MAX_DISPLAY_NAME = 100, 256, 256
MAX_TAGS, MAX_TAG_KEY, MAX_TAG_VALUE = 50, 128, 256
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_RESERVED = ("aws", "appstream", "amazon")
_TAG = re.compile(r"[\w\s+=.:/@-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageWishes:
    name: str
    description: str = ""
    display_name: str = ""
    has_dynamic_app_catalog: bool = False
    uses_latest_agent_version: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    is_dry_run: bool = False


def check_image_name(name: str) -> None:
    """Raises AssistantRefuses."""
    if not _NAME.fullmatch(name) or name.lower().startswith(_RESERVED):
        raise AssistantRefuses(
            f"An image's name has 1 to {MAX_IMAGE_NAME} letters, digits, dots, hyphens and underscores, and begins with none of "
            f"{', '.join(_RESERVED)}."
        )


def tags_of(words: Sequence[str]) -> dict[str, str]:
    """Return key, value, key, value as tags. Raises AssistantRefuses."""
    keys, values = words[::2], words[1::2]
    is_valid = (
        len(keys) == len(values) == len(set(keys)) <= MAX_TAGS
        and all(0 < len(key) <= MAX_TAG_KEY and not key.lower().startswith("aws:") for key in keys)
        and all(len(value) <= MAX_TAG_VALUE for value in values)
        and all(_TAG.fullmatch(word) for word in words)
    )
    if not is_valid:
        raise refused(INVALID_TAGS)
    return dict(zip(keys, values, strict=True))


def request_of(wishes: ImageWishes, catalogue: Catalogue, *, root: Path = Path("/"), owner: int = 0) -> ImageRequest:
    """Raises AssistantRefuses."""
    check_image_name(wishes.name)
    if len(wishes.description) > MAX_DESCRIPTION:
        raise AssistantRefuses(f"A description has at most {MAX_DESCRIPTION} characters.")
    if len(wishes.display_name) > MAX_DISPLAY_NAME:
        raise AssistantRefuses(f"A display name has at most {MAX_DISPLAY_NAME} characters.")
    try:
        read_config(root, owner)  # else users would be the first to hear of it
    except ScriptsRefused as error:
        raise AssistantRefuses(f"The session scripts: {error}") from error
    return ImageRequest(
        request_id=secrets.token_hex(16),
        name=wishes.name,
        display_name=wishes.display_name,
        description=wishes.description,
        is_dry_run=wishes.is_dry_run,
        has_dynamic_app_catalog=wishes.has_dynamic_app_catalog,
        uses_latest_agent_version=wishes.uses_latest_agent_version,
        tags=wishes.tags,
        applications=_applications_of(catalogue, root),
    )


def _applications_of(catalogue: Catalogue, root: Path) -> tuple[RequestedApplication, ...]:
    made = []
    for entry in catalogue.entries():
        if not (root / entry.launch_path.lstrip("/")).is_file():
            raise AssistantRefuses(
                f"The application {entry.name} would not start: {entry.launch_path} is not there any more. "
                "Update or remove it."
            )
        path = catalogue.icon_path(entry)
        icon = path.read_bytes() if path and path.is_file() else b""
        made.append(
            RequestedApplication(
                name=entry.name,
                display_name=entry.display_name,
                launch_path=entry.launch_path,
                launch_parameters=entry.launch_parameters,
                working_directory=entry.working_directory,
                description=entry.description,
                icon=base64.b64encode(icon).decode(),
            )
        )
    return tuple(made)
