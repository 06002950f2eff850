"""Applications that a recipe leaves to its image (`applications: auto`): found once when built, kept beside the result."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fanlight.domain.desktop_entries import DIRECTORY, find_applications
from fanlight.images.recipes import AUTO_ICON, RecipeApplication

LARGEST_ENTRY_IN_BYTES = 256 * 1024


def find_applications_of(root: Path) -> Sequence[RecipeApplication]:
    """Return what the desktop entries of a root file system start; links are not followed out of it."""
    entries = {}
    for path in sorted((root / DIRECTORY).glob("*.desktop")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_ENTRY_IN_BYTES:
            entries[path.name] = path.read_text(encoding="utf-8", errors="replace")
    return [
        RecipeApplication(
            name=found.application.name,
            display_name=found.application.display_name,
            description=found.application.description,
            launch_path=found.application.launch_path,
            launch_parameters=found.application.launch_parameters,
            working_directory=found.application.working_directory,
            icon=found.icon if found.icon.startswith("/") else AUTO_ICON,
        )
        for found in find_applications(entries, lambda path: _is_program(root, path))
    ]


def write_applications(path: Path, applications: Sequence[RecipeApplication]) -> None:
    path.write_text(json.dumps([asdict(application) for application in applications], indent=1), encoding="utf-8")


def read_applications(path: Path) -> tuple[RecipeApplication, ...]:
    return tuple(RecipeApplication(**application) for application in json.loads(path.read_text(encoding="utf-8")))


def _is_program(root: Path, path: str) -> bool:
    """Whether there is something to execute. A link counts: where it leads is known in the image only."""
    place = root / path.lstrip("/")
    return place.is_symlink() or (place.is_file() and os.access(place, os.X_OK))
