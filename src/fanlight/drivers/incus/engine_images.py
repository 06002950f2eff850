"""The image stores of all engines as one ImageStore.

What comes from a recipe is in every engine, so that each region offers it: `RecipeImages`. What is made here is in the
engine of its region alone: `EngineImages`. Which engine that is, each call finds by asking, so that nothing is
remembered that a restart could lose.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fanlight.domain.errors import DriverUnavailable, ImageMissing, NotSupported
from fanlight.domain.ports import StoredImage
from fanlight.drivers.incus.engines import IncusEngines
from fanlight.drivers.incus.images import IncusImageStore

REGION_PROPERTY = "fanlight.region"  # of an archive that is imported: for which region
AnswerT = TypeVar("AnswerT")


def stores_of(engines: IncusEngines) -> dict[str, IncusImageStore]:
    """Return the store of each engine by its name; the common one first."""
    return {
        engine.name: IncusImageStore(driver.client, engine.settings.incus_pool) for engine, driver in engines.drivers
    }


class EngineImages:
    """ImageStore over the stores of all engines."""

    def __init__(self, engines: IncusEngines) -> None:
        self._engines, self._stores = engines, stores_of(engines)

    async def import_rootfs(self, ref: str, archive: Path, properties: Mapping[str, str]) -> None:
        """Take it into the engine of the region that `REGION_PROPERTY` names, or into the common one."""
        await self._of_region(properties.get(REGION_PROPERTY, "")).import_rootfs(ref, archive, properties)

    async def observe(self) -> Sequence[StoredImage]:
        """Return what the engines have that answer, each name once. Raises DriverUnavailable when none does."""
        answers = await asyncio.gather(*(_or_away(store.observe()) for store in self._stores.values()))
        shown = [answer for answer in answers if not isinstance(answer, DriverUnavailable)]
        if not shown:
            raise next(answer for answer in answers if isinstance(answer, DriverUnavailable))
        return list({image.ref: image for images in reversed(shown) for image in images}.values())

    async def delete(self, ref: str) -> None:
        """Unknown is success. Raises DriverUnavailable when it was not found, and an engine is away that may have it."""
        having, away = await self._ask(ref)
        for store in self._stores.values():
            if store not in away:
                await store.delete(ref)  # also where it has no name yet
        if away and not having:
            raise away[next(iter(away))]

    async def warm(self, ref: str) -> None:
        """Unpack it where it is. Raises ImageMissing, CapacityExhausted, DriverUnavailable."""
        for store in await self._that_have(ref):
            await store.warm(ref)

    async def publish(self, instance_id: str, ref: str, properties: Mapping[str, str]) -> None:
        """Make an image in the engine of the instance. Raises PublishRefused, CapacityExhausted, DriverUnavailable."""
        driver = await self._engines.driver_of(instance_id)
        name = next(engine.name for engine, one in self._engines.drivers if one is driver)
        await self._stores[name].publish(instance_id, ref, properties)

    async def copy(self, ref: str, new_ref: str, region: str) -> None:
        """Raises ImageMissing, CapacityExhausted, DriverUnavailable."""
        target = self._of_region(region)
        if await target.has(new_ref):
            return
        having = await self._that_have(ref)
        if target in having:
            await target.copy(ref, new_ref, region)
        else:
            await target.take(ref, having[0], new_ref)

    def store_in(self, region: str) -> IncusImageStore:
        """Return the store of the engine that serves a region: the common one, unless the region has its own."""
        return self._of_region(region)

    def _of_region(self, region: str) -> IncusImageStore:
        served = (engine.name for engine, _ in self._engines.drivers if region in engine.regions)
        return self._stores[next(served, "")]

    async def _that_have(self, ref: str) -> Sequence[IncusImageStore]:
        """Return at least one. Raises ImageMissing; DriverUnavailable when one is away that may have it."""
        having, away = await self._ask(ref)
        if not having and away:
            raise away[next(iter(away))]
        if not having:
            raise ImageMissing(ref)
        return having

    async def _ask(self, ref: str) -> tuple[list[IncusImageStore], dict[IncusImageStore, DriverUnavailable]]:
        """Return who has it, and who does not answer."""
        stores = list(self._stores.values())
        answers = await asyncio.gather(*(_or_away(store.has(ref)) for store in stores))
        pairs = list(zip(stores, answers, strict=True))
        away = {store: answer for store, answer in pairs if isinstance(answer, DriverUnavailable)}
        return [store for store, answer in pairs if answer is True], away


async def _or_away(question: Awaitable[AnswerT]) -> AnswerT | DriverUnavailable:
    try:
        return await question
    except DriverUnavailable as error:
        return error


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

    async def publish(self, instance_id: str, ref: str, properties: Mapping[str, str]) -> None:
        """Raises NotSupported: recipes have no instances."""
        _ = instance_id, properties
        raise NotSupported(f"{ref} is made by a recipe.")

    async def copy(self, ref: str, new_ref: str, region: str) -> None:
        """Raises NotSupported: every engine has what recipes make."""
        _ = new_ref, region
        raise NotSupported(f"{ref} is made by a recipe.")
