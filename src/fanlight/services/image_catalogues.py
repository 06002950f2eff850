"""The catalogue file that comes with every image: DATA_DIR/images/<store_ref>/catalogue.json.

Whoever builds images writes these files, possibly an older or newer Fanlight, so they are read strictly: a file that
is not exactly as described here is refused by name and never half used.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fanlight.domain.errors import InvalidCombination
from fanlight.domain.images import Application

LARGEST_FILE = 1024 * 1024
MOST_APPLICATIONS = 50
_STORE_REF = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_IMAGE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,100}")
_ICON = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,100}\.png")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    store_ref: str
    name: str
    display_name: str
    description: str
    created_at: datetime
    agent_version: str
    base_image_name: str | None
    applications: tuple[Application, ...]


def read_catalogues(images_directory: Path) -> tuple[list[ImageManifest], list[str]]:
    """Return the manifests of all images, and one sentence for each file that was refused."""
    manifests, complaints = [], []
    for path in sorted(images_directory.glob("[!.]*/catalogue.json")):  # a dot: being built, not there yet
        try:
            manifests.append(_read(path))
        except (OSError, InvalidCombination) as error:
            complaints.append(f"{path}: {error}")
    return manifests, complaints


def _read(path: Path) -> ImageManifest:
    if path.stat().st_size > LARGEST_FILE:
        raise InvalidCombination(f"larger than {LARGEST_FILE} bytes")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidCombination("not JSON") from None
    if not isinstance(content, dict):
        raise InvalidCombination("not a JSON object")
    manifest = _manifest(content)
    if manifest.store_ref != path.parent.name:
        raise InvalidCombination(f"store_ref is {manifest.store_ref}, but the directory is {path.parent.name}")
    return manifest


def _manifest(content: Mapping[str, Any]) -> ImageManifest:
    applications = content.get("applications")
    if not isinstance(applications, list) or len(applications) > MOST_APPLICATIONS:
        raise InvalidCombination(f"applications must be a list of at most {MOST_APPLICATIONS}")
    entries = tuple(_application(entry) for entry in applications)
    if len({entry.name for entry in entries}) < len(entries):
        raise InvalidCombination("two applications have one name")
    return ImageManifest(
        store_ref=_matching(content, "store_ref", _STORE_REF),
        name=_matching(content, "name", _IMAGE_NAME),
        display_name=_text(content, "display_name"),
        description=_text(content, "description"),
        # A built image says when it was built and which runtime it pins; a sample says the same in the API's words.
        created_at=_time(content, "built_at" if "built_at" in content else "created_at"),
        agent_version=_text(content, "runtime_version" if "runtime_version" in content else "agent_version"),
        base_image_name=_text(content, "base_image_name") if content.get("base_image_name") is not None else None,
        applications=entries,
    )


def _application(entry: object) -> Application:
    if not isinstance(entry, dict):
        raise InvalidCombination("an application is not a JSON object")
    return Application(
        name=_matching(entry, "name", _IMAGE_NAME),
        display_name=_text(entry, "display_name"),
        launch_path=_text(entry, "launch_path"),
        launch_parameters=_text(entry, "launch_parameters", default=""),
        working_directory=_text(entry, "working_directory", default=""),
        icon=_matching(entry, "icon", _ICON) if entry.get("icon") is not None else None,
        description=_text(entry, "description", default=""),
        enabled=_truth(entry, "enabled", default=True),
    )


def _text(content: Mapping[str, Any], member: str, default: str | None = None) -> str:
    value = content.get(member, default)
    if not isinstance(value, str):
        raise InvalidCombination(f"{member} must be a text")
    return value


def _truth(content: Mapping[str, Any], member: str, *, default: bool) -> bool:
    value = content.get(member, default)
    if not isinstance(value, bool):
        raise InvalidCombination(f"{member} must be true or false")
    return value


def _matching(content: Mapping[str, Any], member: str, pattern: re.Pattern[str]) -> str:
    value = _text(content, member)
    if not pattern.fullmatch(value):
        raise InvalidCombination(f"{member} must match {pattern.pattern}")
    return value


def _time(content: Mapping[str, Any], member: str) -> datetime:
    try:
        time = datetime.fromisoformat(_text(content, member))
    except ValueError:
        raise InvalidCombination(f"{member} must be an ISO 8601 time") from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
