"""The image stores of all engines as one ImageStore.

What comes from a recipe is in every engine, so that each region offers it: `RecipeImages`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from fanlight.domain.ports import StoredImage
from fanlight.drivers.incus.engines import IncusEngines
from fanlight.drivers.incus.images import IncusImageStore


def stores_of(engines: IncusEngines) -> dict[str, IncusImageStore]:
    """Return the store of each engine by its name; the common one first."""
    return {
        engine.name: IncusImageStore(driver.client, engine.settings.incus_pool) for engine, driver in engines.drivers
    }


class RecipeImages:
    """ImageStore for whoever builds from recipes: every image is in all engines alike, or counts as missing."""

    def __init__(self, engines: IncusEngines) -> None:
        self._stores = list(stores_of(engines).values())

    async def import_rootfs(self, ref: str, archive: Path, properties: Mapping[str, str]) -> None:
        """Raises DriverUnavailable, CapacityExhausted; some engines may have the image then, and others not."""
        for store in self._stores:
            await store.import_rootfs(ref, archive, properties)

    async def observe(self) -> Sequence[StoredImage]:
        """Return what all engines have. Raises DriverUnavailable when one is away."""
        first, *others = await asyncio.gather(*(store.observe() for store in self._stores))
        return [image for image in first if all(image in images for images in others)]

    async def delete(self, ref: str) -> None:
        """Unknown is success. Raises DriverUnavailable."""
        for store in self._stores:
            await store.delete(ref)

    async def warm(self, ref: str) -> None:
        """Unpack it in every engine. Raises ImageMissing, CapacityExhausted, DriverUnavailable."""
        for store in self._stores:
            await store.warm(ref)
