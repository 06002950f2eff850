"""The making, copying, deleting and updating of images in a process that is killed with SIGKILL at a counted point.

`points DIR FIRST STEP COUNT`, as `crash_victim`: a forked child plays the story and is killed, another goes on from what is
left and must bring it to its end. One line of JSON for each point; the story is over where nobody died.
"""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from crash_victim import Fuse, in_child
from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.errors import AlreadyExists, NotFound
from fanlight.domain.image_builders import ImageBuilder, ImageBuilderState
from fanlight.domain.image_tasks import BuildTask
from fanlight.domain.images import Image, ImageEvent, ImageState, made_ref
from fanlight.domain.places import Scope
from fanlight.domain.ports import InstanceSpec, UnitOfWork
from fanlight.services.image_updates import NewImage

WEST = Scope(SCOPE.account_id, "us-west-2")
BUILDER = "i-builder"
MADE_REF, OLD_REF = made_ref("made"), made_ref("old")


async def prepare(data_dir: Path) -> None:
    """An image to copy and delete, and an image builder to make one of, stopped as it is when its agent has left."""
    async with running_system(data_dir, regions=(SCOPE.region, WEST.region)) as system:
        archive = data_dir / "rootfs.tar"
        archive.write_bytes(b"x")
        await system.driver._images.import_rootfs(OLD_REF, archive, {})
        await add_builder(system)
        await system.driver.launch(
            InstanceSpec(
                instance_id=BUILDER,
                image_ref=OLD_REF,
                cpu_count=1,
                memory_in_mib=1,
                disk_in_gib=1,
                has_internet_access=False,
                labels={"region": SCOPE.region, "builder_id": "b"},
            )
        )
        await system.driver.stop(BUILDER)
        await add(system, "old", OLD_REF, state=ImageState.AVAILABLE)


async def add_builder(system: System) -> None:
    builder = ImageBuilder(
        builder_id="b",
        scope=SCOPE,
        name="workbench",
        state=ImageBuilderState.STOPPED,
        image_name="old",
        image_arn=SCOPE.arn("image/old"),
        image_ref=OLD_REF,
        instance_id=BUILDER,
        instance_type="stream.standard.small",
        platform="UBUNTU_PRO_2404",
        agent_version="test",
        created_at=system.clock.now(),
        begun_at=system.clock.now(),
        has_run=True,
        snapshot_image_id="made",
        is_prepared=True,
    )
    async with system.transactions.begin(write=True) as work:
        await work.image_builders.add(builder)
        await work.commit()


async def add(system: System, name: str, ref: str, **members: object) -> None:
    image = Image(image_id=name, scope=SCOPE, name=name, store_ref=ref, created_at=system.clock.now(), **members)  # type: ignore[arg-type]
    async with system.transactions.begin(write=True) as work:
        if await work.images.find_by_id(name) is None:
            await work.images.add(image)
            await work.commit()
    system.reconcilers.wake("image", name)


async def story(system: System) -> None:
    """Make, copy within the region and into another, delete, update. A predecessor may have done any of it."""
    await add(system, "made", MADE_REF, state=ImageState.PENDING, task=BuildTask(builder_id="b", instance_id=BUILDER))
    await becomes(system, SCOPE, "made", ImageState.AVAILABLE)
    for source, there, name in (("made", WEST, "made"), ("made", SCOPE, "made-2")):
        with suppress(AlreadyExists):
            await system.services.image_copies.copy(SCOPE, source, name=name, region=there.region)
        await becomes(system, there, name, ImageState.AVAILABLE)
    if await in_state(system, SCOPE, "old") is not None:
        with suppress(AlreadyExists):
            await system.services.image_copies.copy(SCOPE, "old", name="kept", region=SCOPE.region)
    await becomes(system, SCOPE, "kept", ImageState.AVAILABLE)
    await delete(system, "old")
    await becomes(system, SCOPE, "old", None)
    with suppress(AlreadyExists):
        await system.services.image_updates.create(SCOPE, "kept", NewImage(name="updated"))
    await becomes(system, SCOPE, "updated", ImageState.AVAILABLE)


async def delete(system: System, name: str) -> None:
    async with system.transactions.begin(write=True) as work:
        image = await work.images.find(SCOPE, name=name)
        if image is None or image.state is ImageState.DELETING:
            return
        await work.images.save(image.after(ImageEvent.DELETE_REQUESTED))
        await work.commit()
    system.reconcilers.wake("image", image.image_id)


async def in_state(system: System, scope: Scope, name: str) -> ImageState | None:
    async with system.transactions.begin() as work:
        image = await work.images.find(scope, name=name)
    return image.state if image else None


async def becomes(system: System, scope: Scope, name: str, state: ImageState | None) -> None:
    async def probe() -> bool:
        found = await in_state(system, scope, name)
        assert found is not ImageState.FAILED, f"{name} in {scope.region} is FAILED"
        return found is state

    await until(probe, within=20, what=f"{name} in {scope.region} {state}")


async def contradictions(system: System) -> list[str]:
    """Return what rows and store disagree about."""
    async with system.transactions.begin() as work:
        rows = await own_images(work)
        builders = {builder.builder_id for builder in await work.image_builders.everywhere()}
    stored = {image.ref for image in await system.driver._images.observe() if image.ref.startswith("img-")}
    found = [] if builders == {"b"} else [f"image builders {sorted(builders)}"]
    found += [f"{row.name} is {row.state}" for row in rows if row.state is not ImageState.AVAILABLE]
    found += [f"{row.name} has a task" for row in rows if row.task is not None]
    if stored != {row.store_ref for row in rows}:
        found.append(f"stored {sorted(stored)}, rows {sorted(row.store_ref for row in rows)}")
    return found


async def own_images(work: UnitOfWork) -> list[Image]:
    return [image for image in await work.images.everywhere() if image.scope.account_id]


async def die_at(data_dir: Path, point: int) -> None:
    async with running_system(data_dir, around=Fuse(point).around, regions=(SCOPE.region, WEST.region)) as system:
        await story(system)


async def recover(data_dir: Path) -> None:
    async with running_system(data_dir, regions=(SCOPE.region, WEST.region)) as system:
        # First what is left is finished without anybody's asking; then the rest of the story is played.
        async with system.transactions.begin() as work:
            begun = [(row.scope, row.name) for row in await own_images(work) if row.is_unfinished]
        for scope, name in begun:
            with suppress(NotFound):
                await until(lambda: settled(system, scope, name), within=20, what=f"{name} settled")  # noqa: B023
        await story(system)
        await until(lambda: is_left_alone(system), within=20, what="no instance but the builder's")
        assert (found := await contradictions(system)) == [], found
        async with system.transactions.begin() as work:
            names = sorted((row.scope.region, row.name) for row in await own_images(work))
        assert names == [
            (SCOPE.region, "kept"),
            (SCOPE.region, "made"),
            (SCOPE.region, "made-2"),
            (SCOPE.region, "updated"),
            (WEST.region, "made"),
        ]


async def settled(system: System, scope: Scope, name: str) -> bool:
    return await in_state(system, scope, name) in (None, ImageState.AVAILABLE)


async def is_left_alone(system: System) -> bool:
    return {one.instance_id for one in await system.driver.observe()} == {BUILDER}


def try_points(home: Path, first: int, step: int, count: int) -> None:
    (home / "new").mkdir()
    assert in_child(prepare(home / "new"), home / "log") == 0, (home / "log").read_text()
    for point in range(first, first + step * count, step):
        data_dir = home / str(point)
        shutil.copytree(home / "new", data_dir, ignore=shutil.ignore_patterns("run"))
        died = in_child(die_at(data_dir, point), data_dir / "log")
        recovered = in_child(recover(data_dir), data_dir / "log")
        why = "" if recovered == 0 else (data_dir / "log").read_text()[-3000:]
        print(json.dumps({"point": point, "died": died, "recovered": recovered, "why": why}), flush=True)
        if died == 0:
            return


if __name__ == "__main__":
    try_points(Path(sys.argv[2]), *(int(number) for number in sys.argv[3:6]))
