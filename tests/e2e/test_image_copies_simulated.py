"""Copies of images as they go wrong: no source, no room, an engine that is away. And as they go right after all."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.errors import CapacityExhausted, DriverError, DriverUnavailable
from fanlight.domain.images import Image, ImageError, ImageEvent, ImageFailure, ImageState, made_ref
from fanlight.domain.places import Scope
from fanlight.drivers.simulated import SimulatedImageStore
from fanlight.services.image_files import ImageFiles

ICON = b"\x89PNG\r\n\x1a\n and a picture"
WEST = Scope(SCOPE.account_id, "us-west-2")


class Trouble:
    """Stands before the image store: `error` comes out of every copy."""

    def __init__(self) -> None:
        self.error: DriverError | None = None
        self.copies = 0

    def around(self, part: Any) -> Any:
        if not isinstance(part, SimulatedImageStore):
            return part
        real = part.copy

        async def copy(ref: str, new_ref: str, region: str) -> None:
            self.copies += 1
            if self.error:
                raise self.error
            await real(ref, new_ref, region)

        part.copy = copy  # type: ignore[method-assign]
        return part


@asynccontextmanager
async def system_with_an_image(trouble: Trouble) -> AsyncIterator[System]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        regions = (SCOPE.region, WEST.region)
        async with running_system(Path(path), around=trouble.around, regions=regions) as system:
            archive = Path(path) / "rootfs.tar"
            archive.write_bytes(b"rootfs")
            await system.driver._images.import_rootfs(made_ref("cad"), archive, {})
            files(system).put_icons(made_ref("cad"), {"cad.png": ICON})
            image = Image(
                image_id="cad", scope=SCOPE, name="cad", store_ref=made_ref("cad"), created_at=system.clock.now()
            )
            async with system.transactions.begin(write=True) as work:
                await work.images.add(image)
                await work.commit()
            yield system


def files(system: System) -> ImageFiles:
    return ImageFiles(system.driver._images._images_dir.parent)


async def copied(system: System) -> Image:
    return await system.services.image_copies.copy(SCOPE, "cad", name="copy", region=WEST.region)


async def settled(system: System, image: Image) -> Image:
    async def probe() -> Image | None:
        async with system.transactions.begin() as work:
            found = await work.images.find_by_id(image.image_id)
        return found if found and not found.is_unfinished else None

    found: Image = await until(probe, within=20, what="the copy settled")
    return found


async def refs(system: System) -> set[str]:
    return {image.ref for image in await system.driver._images.observe() if image.ref.startswith("img-")}


async def test_a_copy_becomes_available_with_its_size_and_lives_without_its_source() -> None:
    async with system_with_an_image(Trouble()) as system:
        copy = await settled(system, await copied(system))
        assert (copy.state, copy.size_in_bytes, copy.task, copy.progress) == (ImageState.AVAILABLE, 6, None, "")
        async with system.transactions.begin(write=True) as work:
            source = await work.images.find_by_id("cad")
            assert source is not None
            await work.images.save(source.after(ImageEvent.DELETE_REQUESTED))
            await work.commit()
        system.reconcilers.wake("image", "cad")

        async def is_gone() -> bool:
            return await refs(system) == {copy.store_ref}

        await until(is_gone, within=20, what="the source gone, the copy there")
        assert files(system).icon(copy.store_ref, "cad.png") == ICON


async def test_a_source_that_is_deleted_meanwhile_is_named_as_the_cause() -> None:
    trouble = Trouble()
    trouble.error = DriverUnavailable("not now")
    async with system_with_an_image(trouble) as system:
        begun = await copied(system)
        await tried(trouble, 1)
        async with system.transactions.begin(write=True) as work:
            source = await work.images.find_by_id("cad")
            assert source is not None
            await work.images.remove(source)
            await work.commit()
        await system.driver._images.delete(made_ref("cad"))
        trouble.error = None
        system.reconcilers.wake("image", begun.image_id)
        failed = await settled(system, begun)
        why = "The source image was deleted before it was copied."
        assert (failed.state, failed.failure) == (ImageState.FAILED, ImageFailure.IMAGE_COPY_FAILURE)
        assert failed.failure_message == why
        assert failed.errors == (ImageError("INTERNAL_SERVICE_ERROR", why, failed.errors[0].happened_at),)
        assert await refs(system) == set()


async def test_no_room_is_a_failure_that_says_so_and_leaves_nothing() -> None:
    trouble = Trouble()
    trouble.error = CapacityExhausted("No space left on device.")
    async with system_with_an_image(trouble) as system:
        failed = await settled(system, await copied(system))
        assert (failed.state, failed.failure) == (ImageState.FAILED, ImageFailure.IMAGE_COPY_FAILURE)
        assert "No space left" in failed.failure_message
        assert await refs(system) == {made_ref("cad")}


async def test_an_engine_that_is_away_is_waited_for_and_given_up_after_an_hour() -> None:
    trouble = Trouble()
    trouble.error = DriverUnavailable("Incus does not answer.")
    async with system_with_an_image(trouble) as system:
        waiting = await copied(system)
        await tried(trouble, 2)
        trouble.error = None
        assert (await settled(system, waiting)).state is ImageState.AVAILABLE
        trouble.error = DriverUnavailable("Incus does not answer.")
        given_up = await system.services.image_copies.copy(SCOPE, "cad", name="late", region=WEST.region)
        await system.pass_time(timedelta(hours=1, minutes=1))
        failed = await settled(system, given_up)
        assert failed.failure is ImageFailure.IMAGE_COPY_FAILURE
        assert "Incus does not answer" in failed.failure_message


async def tried(trouble: Trouble, times: int) -> None:
    async def probe() -> bool:
        return trouble.copies >= times

    await until(probe, within=20, what=f"the copy tried {times} times")
