"""What Fanlight knows of a built image: DATA_DIR/images/<store_ref>/catalogue.json and icons/*.png."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fanlight.domain.images import Application
from fanlight.images.recipes import Recipe

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """One image as its catalogue describes it. `content_hash` changes when a new build would differ."""

    store_ref: str
    name: str
    display_name: str
    description: str
    base_image_name: str | None
    applications: tuple[Application, ...]
    content_hash: str
    runtime_version: str
    built_at: datetime


def read_catalogue(images_directory: Path, store_ref: str) -> BuiltImage | None:
    """Return the image, or None when there is none or its catalogue is of another format."""
    try:
        text = (images_directory / store_ref / "catalogue.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    got = json.loads(text)
    if got.get("format") != FORMAT:
        return None
    return BuiltImage(
        store_ref=got["store_ref"],
        name=got["name"],
        display_name=got["display_name"],
        description=got["description"],
        base_image_name=got["base_image_name"],
        applications=tuple(Application(**application) for application in got["applications"]),
        content_hash=got["content_hash"],
        runtime_version=got["runtime_version"],
        built_at=datetime.fromisoformat(got["built_at"]),
    )


def read_catalogues(images_directory: Path) -> Sequence[BuiltImage]:
    """Return all images that were built, by name."""
    found = (read_catalogue(images_directory, path.parent.name) for path in images_directory.glob("*/catalogue.json"))
    return sorted((image for image in found if image is not None), key=lambda image: image.name)


def publish(
    images_directory: Path,
    recipe: Recipe,
    icons: Mapping[str, bytes],
    *,
    base_image_name: str | None,
    content_hash: str,
    runtime_version: str,
) -> BuiltImage:
    """Put catalogue and icons in their place, all at once; readers see the old ones or the new ones."""
    applications = [
        Application(
            name=a.name,
            display_name=a.display_name,
            launch_path=a.launch_path,
            launch_parameters=a.launch_parameters,
            working_directory=a.working_directory,
            description=a.description,
            icon=f"{a.name}.png" if a.name in icons else None,
        )
        for a in recipe.applications or ()
    ]
    image = BuiltImage(
        store_ref=recipe.store_ref,
        name=recipe.name,
        display_name=recipe.display_name,
        description=recipe.description,
        base_image_name=base_image_name,
        applications=tuple(applications),
        content_hash=content_hash,
        runtime_version=runtime_version,
        built_at=datetime.now(UTC),
    )
    fresh = images_directory / f".{recipe.store_ref}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "icons").mkdir(parents=True)
    for name, picture in icons.items():
        (fresh / "icons" / f"{name}.png").write_bytes(picture)
    (fresh / "catalogue.json").write_text(json.dumps(_as_json(image), indent=2) + "\n", encoding="utf-8")
    for path in (fresh, *fresh.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    _exchange(fresh, images_directory / recipe.store_ref)
    return image


def _as_json(image: BuiltImage) -> dict[str, Any]:
    members = ("store_ref", "name", "display_name", "description", "base_image_name", "content_hash", "runtime_version")
    application = (
        "name",
        "display_name",
        "launch_path",
        "launch_parameters",
        "working_directory",
        "description",
        "icon",
    )
    return {
        "format": FORMAT,
        **{member: getattr(image, member) for member in members},
        "built_at": image.built_at.isoformat(),
        "applications": [{member: getattr(a, member) for member in application} for a in image.applications],
    }


def _exchange(fresh: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)
