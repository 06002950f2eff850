"""kill -9 of Fanlight on a real Incus while images are published, copied and deleted: all of it is finished, nothing is left.

The wishes stand in the database before it starts, so that its processes are killed in the middle of the engine's work:
publishing an instance, giving a second name, referring from another project, streaming to a second Incus, deleting.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from e2e.installation import Installation, wait_for
from engines_rig import EAST, EUROPE, WEST, EnginesRig, engines_rig
from fanlight.domain.image_builders import ImageBuilder, ImageBuilderState
from fanlight.domain.image_tasks import BuildTask, CopyTask
from fanlight.domain.images import Image, ImageState, made_ref
from fanlight.domain.places import Scope
from fanlight.drivers.incus.client import IncusClient
from fanlight.drivers.incus.engine_images import REGION_PROPERTY, EngineImages
from fanlight.drivers.incus.engines import IncusEngines
from fanlight.store import open_store
from incus_rig import running

pytestmark = pytest.mark.incus

ACCOUNT = "000000000000"
BUILDER = "i-builder"
# Random bytes, so that packing and copying them takes long enough to be killed in.
BALLAST = "head -c 120000000 /dev/urandom >/ballast"
VICTIMS = ("api", "compute", "everything")


@pytest.fixture(scope="module")
def rig() -> Iterator[EnginesRig]:
    with engines_rig() as made:
        yield made


@pytest.fixture(scope="module")
def installation(rig: EnginesRig) -> Iterator[Installation]:
    """Prepared once and stopped, with an image to copy and a stopped instance to publish."""
    settings = rig.settings
    names = ("incus_project", "incus_network", "incus_pool", "incus_subnet", "run_dir")
    engines = json.dumps(settings.model_dump(mode="json", exclude_none=True)["region_engines"])
    given = {name: str(getattr(settings, name)) for name in names} | {"region_engines": engines}
    made = Installation(settings.data_dir, {"compute": "incus", **given})
    try:
        made.start()
        wait_for(lambda: made.log().count("the engine is prepared") == 3, timeout=60, what="three engines prepared")
        made.stop()
        asyncio.run(prepare(rig))
        yield made
    finally:
        if made.process is not None:
            made.stop()


async def prepare(rig: EnginesRig) -> None:
    engines = IncusEngines.of(rig.settings)
    try:
        await engines.prepare()
        images = EngineImages(engines)
        await images.import_rootfs("img-tiny", rig.archive, {REGION_PROPERTY: EAST})
        installation = (rig.settings.data_dir / "state" / "installation.id").read_text().strip()
        labels = {"region": EAST, "installation": installation, "builder_id": "b"}
        await running(engines, rig.common.new_spec(instance_id=BUILDER, image_ref="img-tiny", labels=labels))
        assert (await rig.common.run_in(BUILDER, "/bin/sh", "-c", BALLAST)).is_success
        async with rig.common.client() as client:
            body = {"action": "stop", "force": True, "timeout": 30}
            await client.run("PUT", f"instances/{BUILDER}/state", body)
        await images.publish(BUILDER, made_ref("source"), {})
        await images.delete("img-tiny")
    finally:
        await engines.close()
    await add(rig, image("source"))
    await add_builder(rig)


def image(name: str, region: str = EAST, **members: Any) -> Image:
    image_id = name if region == EAST else f"{name}-{region}"
    given: dict[str, Any] = {"created_at": datetime.now(UTC), "store_ref": made_ref(image_id)}
    return Image(image_id=image_id, scope=Scope(ACCOUNT, region), name=name, **(given | members))


async def add_builder(rig: EnginesRig) -> None:
    """It is stopped, as it is when its agent has left, and "made" is to be made of it."""
    here = Scope(ACCOUNT, EAST)
    builder = ImageBuilder(
        builder_id="b",
        scope=here,
        name="workbench",
        state=ImageBuilderState.STOPPED,
        image_name="old",
        image_arn=here.arn("image/old"),
        image_ref=made_ref("source"),
        instance_id=BUILDER,
        instance_type="stream.standard.small",
        platform="UBUNTU_PRO_2404",
        agent_version="test",
        created_at=datetime.now(UTC),
        begun_at=datetime.now(UTC),
        has_run=True,
        snapshot_image_id="made",
        is_prepared=True,
    )
    url = rig.settings.effective_database_url
    async with open_store(url) as store, store.transactions.begin(write=True) as work:
        await work.image_builders.add(builder)
        await work.commit()
    own_database(rig)


def own_database(rig: EnginesRig) -> None:
    """Give the files back: opened by root here, by another user there."""
    state = rig.settings.data_dir / "state"
    for path in state.glob("fanlight.db*"):
        os.chown(path, state.stat().st_uid, state.stat().st_gid)


async def add(rig: EnginesRig, *images: Image) -> None:
    url = rig.settings.effective_database_url
    async with open_store(url) as store, store.transactions.begin(write=True) as work:
        for one in images:
            await work.images.add(one)
        await work.commit()
    own_database(rig)


async def wish(rig: EnginesRig) -> None:
    """Write down what Fanlight finds when it starts: one of each kind of work."""
    copying = {"state": ImageState.COPYING, "task": CopyTask(source_image_id="source", source_region=EAST)}
    engines = IncusEngines.of(rig.settings)
    try:
        await EngineImages(engines).copy(made_ref("source"), made_ref("old"), EAST)
    finally:
        await engines.close()
    await add(
        rig,
        image("made", state=ImageState.PENDING, task=BuildTask(builder_id="b", instance_id=BUILDER)),
        image("same", **copying),
        image("copy", WEST, **copying),
        image("copy", EUROPE, **copying),
        image("old", state=ImageState.DELETING),
    )


async def forget(rig: EnginesRig) -> None:
    """Take away what the test before made, all but the source."""
    url = rig.settings.effective_database_url
    async with open_store(url) as store, store.transactions.begin(write=True) as work:
        images = [one for one in await work.images.everywhere() if one.name != "source" and one.scope.account_id]
        for one in images:
            await work.images.remove(one)
        await work.commit()
    engines = IncusEngines.of(rig.settings)
    try:
        for one in images:
            await EngineImages(engines).delete(one.store_ref)
    finally:
        await engines.close()
    own_database(rig)


def listed(installation: Installation) -> dict[tuple[str, str], str]:
    return {
        (region, one["Name"]): one["State"]
        for region in (EAST, WEST, EUROPE)
        for one in installation.client(region=region).describe_images(Type="PRIVATE")["Images"]
    }


@pytest.mark.timeout(150)
def test_work_on_images_is_finished_whoever_is_killed(rig: EnginesRig, installation: Installation) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    dice = random.Random(seed)
    asyncio.run(wish(rig))
    try:
        installation.start()
        for victim in dice.sample(VICTIMS, len(VICTIMS)):
            time.sleep(dice.random() * 0.6)
            if victim == "everything":
                installation.kill_everything()
                installation.start()
            else:
                wait_for(lambda victim=victim: victim in installation.pids(), timeout=20, what="the victim runs again")
                installation.kill(victim)
                installation.wait_until_it_answers()
        wanted = {(EAST, "source"), (EAST, "made"), (EAST, "same"), (WEST, "copy"), (EUROPE, "copy")}
        wait_for(
            lambda: listed(installation) == dict.fromkeys(wanted, "AVAILABLE"),
            timeout=60,
            what="every image AVAILABLE and the old one gone",
            interval=0.2,
        )
        asyncio.run(check_engines(rig))
    finally:
        print(listed(installation) if installation.process else "not running")
        installation.stop()
        asyncio.run(forget(rig))


async def check_engines(rig: EnginesRig) -> None:
    """Find what the rows say, and nothing else: no image without a name, no instance that unpacked one."""
    refs = {
        EAST: {made_ref(name) for name in ("source", "made", "same")},
        WEST: {made_ref(f"copy-{WEST}")},
        EUROPE: {made_ref(f"copy-{EUROPE}")},
    }
    for region, wanted in refs.items():
        settings = rig.settings_in(region)
        async with IncusClient(settings.incus_socket, settings.incus_project) as client:
            found = [
                one
                for one in await client.get("images", recursion=1)
                if {a["name"] for a in one["aliases"]} != {"tiny"}
            ]
            assert all(one["aliases"] for one in found), f"an image without a name in {region}"
            assert {alias["name"] for one in found for alias in one["aliases"]} == wanted
            instances = [one["name"] for one in await client.get("instances", recursion=1)]
            assert instances == ([BUILDER] if region == EAST else []), region
