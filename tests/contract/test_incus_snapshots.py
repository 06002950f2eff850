"""Snapshots of Incus keep their contract, through the privileged compute process."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
from instance_driver import MakeSpec
from instance_snapshots import InstanceSnapshotsContract

from fanlight.domain.instance_snapshots import InstanceSnapshots
from fanlight.domain.ports import InstanceDriver, Power
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

    async def test_a_snapshot_outlives_the_runtime_that_its_instance_had(
        self, rig: IncusRig, snapshots: InstanceSnapshots, driver: InstanceDriver, spec: MakeSpec
    ) -> None:
        """Runtimes are pruned when no instance mounts them; those of snapshots are not asked for."""
        runtimes = rig.settings.data_dir / "runtime"
        for version in ("older", "newer"):
            shutil.copytree(runtimes / "test", runtimes / version, symlinks=True)
        wished = spec(labels={"runtime_version": "older"})
        await driver.launch(wished)
        await self.has_power(driver, wished.instance_id, Power.RUNNING)
        await self.write(wished.instance_id, "first")
        await driver.stop(wished.instance_id)
        await snapshots.create(wished.instance_id, "one")
        await driver.start(wished.instance_id, "newer")
        await driver.stop(wished.instance_id)
        shutil.rmtree(runtimes / "older")
        await snapshots.restore(wished.instance_id, "one")
        await driver.start(wished.instance_id, "newer")
        await self.has_power(driver, wished.instance_id, Power.RUNNING)
        await self.read(wished.instance_id, "first")
        await driver.terminate(wished.instance_id)

    @pytest.fixture
    def spec(self, rig: IncusRig) -> MakeSpec:
        return rig.new_spec
