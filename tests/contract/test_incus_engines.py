"""Regions with engines of their own, on a real Incus and a second one beside it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from engines_rig import EAST, EUROPE, WEST, EnginesRig, engines_rig
from fanlight.domain.partial_sights import PartlyUnavailable
from fanlight.domain.ports import InstanceSpec, ObservedInstance, Power
from fanlight.drivers.incus.client import IncusClient
from fanlight.drivers.incus.engine_images import RecipeImages
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
    async with asyncio.timeout(30):
        while not all(one.power is Power.RUNNING for one in await engines.observe()):
            await asyncio.sleep(0.05)
    assert len(await engines.observe()) == len(specs)
