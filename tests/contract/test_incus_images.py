"""The image store of Incus keeps its contract, through the privileged compute process, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from image_store import REF, ImageStoreContract, refs
from instance_driver import MakeSpec

from fanlight.domain.errors import DriverError
from fanlight.domain.ports import ImageStore, InstanceDriver
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.images import IncusImageStore
from fanlight.drivers.incus.process import ComputeServer
from fanlight.drivers.incus.remote import ComputeConnection, RemoteDriver
from fanlight.drivers.incus.remote_images import RemoteImageStore
from incus_rig import IncusRig, empty, incus_rig

pytestmark = pytest.mark.incus


@pytest.fixture(scope="module")
def rig() -> Iterator[IncusRig]:
    with incus_rig() as made:
        yield made


class TestRemoteImageStore(ImageStoreContract):
    @pytest.fixture
    async def connection(self, rig: IncusRig) -> AsyncIterator[ComputeConnection]:
        local = IncusDriver(rig.settings)
        connection = ComputeConnection(rig.run_dir)
        store = IncusImageStore(local.client, rig.settings.incus_pool)
        async with ComputeServer(rig.settings, local, store):
            yield connection
            await connection.close()
        await empty(rig.settings)
        for ref in await refs(store):
            await store.delete(ref)
        await local.close()

    @pytest.fixture
    async def driver(self, connection: ComputeConnection) -> InstanceDriver:
        driver = RemoteDriver(connection)
        await driver.prepare()
        return driver

    @pytest.fixture
    def store(self, connection: ComputeConnection, driver: InstanceDriver) -> ImageStore:
        return RemoteImageStore(connection)

    @pytest.fixture
    def spec(self, rig: IncusRig) -> MakeSpec:
        return rig.new_spec

    @pytest.fixture
    def stop_behind(self, rig: IncusRig) -> Callable[[str], Awaitable[None]]:
        async def stop(instance_id: str) -> None:
            async with rig.client() as client:
                body = {"action": "stop", "force": True, "timeout": 30}
                await client.run("PUT", f"instances/{instance_id}/state", body)

        return stop

    async def test_what_a_predecessor_began_is_not_made_twice(
        self, rig: IncusRig, store: ImageStore, stopped: str
    ) -> None:
        """Two at once, as after a compute process that was killed: one image with the name, and no other."""
        async with rig.client() as first, rig.client() as second:
            pool = rig.settings.incus_pool
            await asyncio.gather(*(IncusImageStore(c, pool).publish(stopped, REF, {}) for c in (first, second)))
            assert list(await refs(store)) == [REF]
            published = [i for i in await first.get("images", recursion=1) if "fanlight.ref" in i["properties"]]
            assert [[alias["name"] for alias in image["aliases"]] for image in published] == [[REF]]

    async def test_the_api_process_deletes_nothing_but_what_is_made_here(self, store: ImageStore) -> None:
        with pytest.raises(DriverError, match="ref"):
            await store.delete("tiny")
        assert "tiny" in {image.ref for image in await store.observe()}
