"""What the command line knows of images that are made here: it reads the database as its owner, beside a running service."""

import asyncio
from collections.abc import Sequence

from fanlight.config import Settings
from fanlight.domain.images import LATEST, MADE_HERE, Image
from fanlight.installation import act_as_store_owner
from fanlight.store import open_store


def made_images(settings: Settings) -> Sequence[Image]:
    """Return all images but those from recipes. As `recorded_images`."""
    return [image for image in recorded_images(settings) if is_made_here(image)]


def is_made_here(image: Image) -> bool:
    return image.store_ref.startswith(MADE_HERE)


def recorded_images(settings: Settings) -> Sequence[Image]:
    """Return all images that the database knows; the process gives up root's rights for it.

    Raises NotInstallable, StoreUnavailable, OSError.
    """
    if not settings.database_url and not (settings.data_dir / "state" / "fanlight.db").exists():
        return []
    act_as_store_owner(settings)
    return asyncio.run(_read(settings))


def pinned_versions(images: Sequence[Image]) -> set[str]:
    """Return the runtimes that images pin: their instances get no other."""
    return {image.agent_version for image in images if image.agent_version != LATEST}


async def _read(settings: Settings) -> Sequence[Image]:
    async with open_store(settings.effective_database_url) as store:
        await store.upgrade()
        async with store.transactions.begin() as work:
            return await work.images.everywhere()
