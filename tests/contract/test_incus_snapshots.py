"""Snapshots of Incus keep their contract, through the privileged compute process."""

from collections.abc import AsyncIterator, Iterator

import pytest
from instance_driver import MakeSpec
from instance_snapshots import InstanceSnapshotsContract

from fanlight.domain.instance_snapshots import InstanceSnapshots
from fanlight.domain.ports import InstanceDriver
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.images import IncusImageStore
from fanlight.drivers.incus.process import ComputeServer
from fanlight.drivers.incus.remote import ComputeConnection, RemoteDriver
from fanlight.drivers.incus.remote_snapshots import RemoteSnapshots
from fanlight.drivers.incus.snapshots import IncusSnapshots
from incus_rig import IncusRig, empty, incus_rig

pytestmark = pytest.mark.incus


@pytest.fixture(scope="module")
def rig() -> Iterator[IncusRig]:
    with incus_rig() as made:
        yield made


class TestRemoteSnapshots(InstanceSnapshotsContract):
    @pytest.fixture(autouse=True)
    def _remember(self, rig: IncusRig) -> None:
        self.rig = rig

    async def write(self, instance_id: str, text: str) -> None:
        said = await self.rig.python_in(instance_id, f"open('/kept', 'w').write({text!r})")
        assert said.is_success, said.output

    async def read(self, instance_id: str, expected: str) -> None:
        said = await self.rig.python_in(instance_id, "print(open('/kept').read())")
        assert said.output.strip() == expected

    @pytest.fixture
    async def connection(self, rig: IncusRig) -> AsyncIterator[ComputeConnection]:
        local = IncusDriver(rig.settings)

        async def driver_of(_: str) -> IncusDriver:
            return local

        connection = ComputeConnection(rig.run_dir)
        store = IncusImageStore(local.client, rig.settings.incus_pool)
        async with ComputeServer(rig.settings, local, store, snapshots=IncusSnapshots(driver_of)):
            yield connection
            await connection.close()
        await empty(rig.settings)
        await local.close()

    @pytest.fixture
    async def driver(self, connection: ComputeConnection) -> InstanceDriver:
        driver = RemoteDriver(connection)
        await driver.prepare()
        return driver

    @pytest.fixture
    def snapshots(self, connection: ComputeConnection) -> InstanceSnapshots:
        return RemoteSnapshots(connection)

    @pytest.fixture
    def spec(self, rig: IncusRig) -> MakeSpec:
        return rig.new_spec
