"""Regions with engines of their own, on a real Incus and a second one beside it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from engines_rig import EAST, EUROPE, WEST, EnginesRig, engines_rig
from fanlight.domain.errors import DriverUnavailable, ImageMissing
from fanlight.domain.partial_sights import PartlyUnavailable
from fanlight.domain.ports import InstanceSpec, ObservedInstance, Power
from fanlight.drivers.incus.client import IncusClient
from fanlight.drivers.incus.engine_images import REGION_PROPERTY, EngineImages, RecipeImages
from fanlight.drivers.incus.engines import IncusEngines
from fanlight.drivers.incus.guard import guard_table_of
from fanlight.drivers.incus.programs import run_program
from incus_rig import IMAGE, running

pytestmark = pytest.mark.incus


@pytest.fixture(scope="module")
def rig() -> Iterator[EnginesRig]:
    with engines_rig() as made:
        yield made


@pytest.fixture
async def engines(rig: EnginesRig) -> AsyncIterator[IncusEngines]:
    made = IncusEngines.of(rig.settings)
    await made.prepare()
    yield made
    await made.close()


async def names_in(rig: EnginesRig, region: str) -> list[str]:
    settings = rig.settings_in(region)
    async with IncusClient(settings.incus_socket, settings.incus_project) as client:
        return [one["name"] for one in await client.get("instances", recursion=1)]


async def seen(engines: IncusEngines) -> dict[str, ObservedInstance]:
    return {one.instance_id: one for one in await engines.observe()}


async def test_each_region_has_its_instances_in_its_engine_and_loses_none_while_another_is_away(
    rig: EnginesRig, engines: IncusEngines
) -> None:
    images = RecipeImages(engines)
    assert [image.ref for image in await images.observe()] == []  # one engine of three has it: it is offered nowhere
    await images.import_rootfs(IMAGE, rig.archive, {"kind": "test"})
    assert [image.ref for image in await images.observe()] == [IMAGE]

    east, west, _ = specs = [
        rig.common.new_spec(labels={"region": region}, has_internet_access=True) for region in (EAST, WEST, EUROPE)
    ]
    await running(engines, *specs)
    assert [await names_in(rig, region) for region in (EAST, WEST, EUROPE)] == [[one.instance_id] for one in specs]
    whole = await seen(engines)
    check_apart(list(whole.values()))
    table = await run_program("nft", "list", "table", "inet", guard_table_of(rig.settings.incus_network))
    assert all(str(whole[one.instance_id].interface.address) in table for one in (east, west))

    rig.second.kill()
    with pytest.raises(PartlyUnavailable) as told:
        await engines.observe()
    assert {one.instance_id for one in told.value.seen} == {east.instance_id, west.instance_id}
    assert told.value.regions == {EAST, WEST}
    more = rig.common.new_spec(labels={"region": EAST})
    await engines.launch(more)
    rig.second.start()
    assert set(await seen(engines)) == {one.instance_id for one in (*specs, more)}
    await only_running(engines, [*specs, more])
    check_apart(list((await seen(engines)).values()))

    successor = IncusEngines.of(rig.settings)
    try:
        await successor.prepare()
        stray = rig.common.run_dir / "instances" / "i-stray"
        (stray / "host").mkdir(parents=True)
        await successor.remove_leftovers()
        kept = {path.name for path in (rig.common.run_dir / "instances").iterdir()}
        assert kept == {one.instance_id for one in (*specs, more)}
        await asyncio.gather(*(successor.terminate(one.instance_id) for one in (*specs, more)))
        assert await seen(successor) == {}
        assert list((rig.common.run_dir / "instances").iterdir()) == []
    finally:
        await successor.close()


def check_apart(observed: list[ObservedInstance]) -> None:
    """No two share an id of the host or an address."""
    first = sorted(one.first_uid or 0 for one in observed)
    assert all(later - earlier >= 65_536 for earlier, later in zip([0, *first], first, strict=False))
    addresses = [one.interface.address for one in observed if one.interface]
    assert len(set(addresses)) == len(addresses)


async def only_running(engines: IncusEngines, specs: list[InstanceSpec]) -> None:
    async with asyncio.timeout(60):
        while not all(one.power is Power.RUNNING for one in await engines.observe()):
            await asyncio.sleep(0.05)
    assert len(await engines.observe()) == len(specs)


async def fingerprints(rig: EnginesRig, region: str) -> dict[str, str]:
    """Return Incus's name for each of our images in a region's project."""
    settings = rig.settings_in(region)
    async with IncusClient(settings.incus_socket, settings.incus_project) as client:
        found = await client.get("images", recursion=1)
        assert all(image["aliases"] for image in found), "an image without a name is left"
        aliases = {alias["name"]: image["fingerprint"] for image in found for alias in image["aliases"]}
        return {name: fingerprint for name, fingerprint in aliases.items() if name.startswith("img-")}


async def published(rig: EnginesRig, engines: IncusEngines, images: EngineImages, ref: str) -> None:
    """Make an image in the east as an image builder does."""
    builder = rig.common.new_spec(labels={"region": EAST})
    await running(engines, builder)
    settings = rig.settings_in(EAST)
    async with IncusClient(settings.incus_socket, settings.incus_project) as client:
        await client.run(
            "PUT", f"instances/{builder.instance_id}/state", {"action": "stop", "force": True, "timeout": 30}
        )
    await images.publish(builder.instance_id, ref, {"fanlight.installation": "here"})
    await engines.terminate(builder.instance_id)


async def test_an_image_is_copied_into_every_region_and_each_copy_lives_by_itself(
    rig: EnginesRig, engines: IncusEngines
) -> None:
    images = EngineImages(engines)
    await published(rig, engines, images, "img-whole")  # one file in Incus
    await images.import_rootfs("img-parts", rig.archive, {REGION_PROPERTY: EAST, "kind": "test"})  # and two
    for source in ("img-whole", "img-parts"):
        for region in (EAST, WEST, EUROPE):
            for _ in range(2):
                await images.copy(source, f"{source}-{region}", region)
    east, west, europe = [await fingerprints(rig, region) for region in (EAST, WEST, EUROPE)]
    for source in ("img-whole", "img-parts"):
        assert east[f"{source}-{EAST}"] == east[source], "a second copy of the bytes"
        assert west[f"{source}-{WEST}"] == europe[f"{source}-{EUROPE}"] == east[source], "not the same content"
        await images.delete(source)
    assert set(await fingerprints(rig, EAST)) == {f"img-whole-{EAST}", f"img-parts-{EAST}"}
    kept = {image.ref: image for image in await images.observe() if image.ref.startswith("img-whole")}
    assert {image.properties["fanlight.installation"] for image in kept.values()} == {"here"}
    assert {image.size_in_bytes for image in kept.values()} == {kept[f"img-whole-{EAST}"].size_in_bytes}

    specs = []
    for region in (EAST, WEST, EUROPE):
        await images.warm(f"img-whole-{region}")
        specs.append(rig.common.new_spec(labels={"region": region}, image_ref=f"img-whole-{region}"))
    await running(engines, *specs)
    await asyncio.gather(*(engines.terminate(spec.instance_id) for spec in specs))
    for region in (EAST, WEST, EUROPE):
        for source in ("img-whole", "img-parts"):
            await images.delete(f"{source}-{region}")
        assert await fingerprints(rig, region) == {}


async def test_a_copy_that_is_cut_off_leaves_nothing_and_is_made_when_it_is_asked_for_again(
    rig: EnginesRig, engines: IncusEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = EngineImages(engines)
    with pytest.raises(ImageMissing):
        await images.copy("img-nothing", "img-copy", EUROPE)
    await images.import_rootfs("img-source", rig.archive, {REGION_PROPERTY: EAST})
    flowing, cut = asyncio.Event(), asyncio.Event()
    upload = IncusClient.upload

    async def slow_upload(
        client: IncusClient, path: str, content: AsyncIterator[bytes], headers: dict[str, str]
    ) -> str:
        async def some() -> AsyncIterator[bytes]:
            yield await anext(content)
            flowing.set()
            await cut.wait()

        return await upload(client, path, some(), headers)

    monkeypatch.setattr(IncusClient, "upload", slow_upload)
    task = asyncio.create_task(images.copy("img-source", "img-copy", EUROPE))
    await flowing.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    monkeypatch.undo()
    assert await fingerprints(rig, EUROPE) == {}
    await images.copy("img-source", "img-copy", EUROPE)
    assert set(await fingerprints(rig, EUROPE)) == {"img-copy"}

    rig.second.kill()
    with pytest.raises(DriverUnavailable):
        await images.copy("img-source", "img-other", EUROPE)
    with pytest.raises(DriverUnavailable):
        await images.delete("img-copy")  # it may be there
    await images.delete("img-source")  # found, so that nobody else need be asked
    assert "img-source" not in {image.ref for image in await images.observe()}
    rig.second.start()
    await images.delete("img-copy")
    assert await fingerprints(rig, EUROPE) == {}
