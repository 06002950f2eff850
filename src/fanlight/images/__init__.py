"""Images from recipes, and the runtime that is mounted into instances.

`build` makes what is not up to date, `list_images` says what there is. A build runs as root on the host and needs
debootstrap, tar, zstd and unshare.
"""

from collections.abc import Sequence

from fanlight.config import Settings
from fanlight.images.building import BuildFailed, OnProgress, Progress, build
from fanlight.images.catalogues import BuiltImage, read_catalogues
from fanlight.images.runtime import current_version, prune
from fanlight.images.yaml_reader import RecipeInvalid

__all__ = [
    "BuildFailed",
    "BuiltImage",
    "OnProgress",
    "Progress",
    "RecipeInvalid",
    "build",
    "current_version",
    "list_images",
    "prune",
]


def list_images(settings: Settings) -> Sequence[BuiltImage]:
    """Return what was built into this data directory, by name."""
    return read_catalogues(settings.data_dir / "images")
