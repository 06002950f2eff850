"""What every InstanceSnapshots promises, as tests. A driver's own test module subclasses the contract and gives fixtures.

* `snapshots`: those under test; `driver`: the instance driver beside them, prepared;
* `spec`: a function `spec(**overrides) -> InstanceSpec` with a new instance id each time and an image that exists.
"""

from typing import Any

import pytest
from instance_driver import MakeSpec, eventually, seen

from fanlight.domain.errors import InstanceMissing, SnapshotMissing, SnapshotRefused
from fanlight.domain.instance_snapshots import InstanceSnapshots
from fanlight.domain.ports import InstanceDriver, Power


class InstanceSnapshotsContract:
    settle_seconds = 60.0

    async def has_power(self, driver: InstanceDriver, instance_id: str, power: Power) -> None:
        async def probe() -> Any:
            found = await seen(driver, instance_id)
            return found is not None and found.power is power

        await eventually(probe, within=self.settle_seconds, what=f"{instance_id} is {power}")

    async def write(self, instance_id: str, text: str) -> None:
        """Leave a text on the disk of a running instance; engines without disks do nothing."""

    async def read(self, instance_id: str, expected: str) -> None:
        """Check what `write` left there."""

    async def test_a_snapshot_brings_back_what_was_on_the_disk(
        self, snapshots: InstanceSnapshots, driver: InstanceDriver, spec: MakeSpec
    ) -> None:
        wished = spec()
        instance_id = wished.instance_id
        await driver.launch(wished)
        await self.has_power(driver, instance_id, Power.RUNNING)
        for text in ("first", "second"):
            await self.write(instance_id, text)
            await driver.stop(instance_id)
            await snapshots.create(instance_id, text)
            await snapshots.create(instance_id, text)  # it stays as it was
            await driver.start(instance_id)
            await self.has_power(driver, instance_id, Power.RUNNING)
        assert list(await snapshots.names(instance_id)) == ["first", "second"]
        await self.write(instance_id, "third")
        for text in ("first", "second"):
            await driver.stop(instance_id)
            await snapshots.restore(instance_id, text)
            await snapshots.restore(instance_id, text)
            assert list(await snapshots.names(instance_id)) == ["first", "second"]
            await driver.start(instance_id)
            await self.has_power(driver, instance_id, Power.RUNNING)
            await self.read(instance_id, text)
        await snapshots.delete(instance_id, "first")
        await snapshots.delete(instance_id, "first")
        assert list(await snapshots.names(instance_id)) == ["second"]
        await driver.terminate(instance_id)
        assert list(await snapshots.names(instance_id)) == []

    async def test_what_runs_or_is_not_there_is_told_in_words(
        self, snapshots: InstanceSnapshots, driver: InstanceDriver, spec: MakeSpec
    ) -> None:
        wished = spec()
        await driver.launch(wished)
        await self.has_power(driver, wished.instance_id, Power.RUNNING)
        with pytest.raises(SnapshotRefused, match=wished.instance_id):
            await snapshots.create(wished.instance_id, "one")
        await driver.stop(wished.instance_id)
        with pytest.raises(SnapshotMissing, match="one"):
            await snapshots.restore(wished.instance_id, "one")
        for act in (snapshots.create, snapshots.restore):
            with pytest.raises(InstanceMissing, match="i-nobody"):
                await act("i-nobody", "one")
        await snapshots.delete("i-nobody", "one")
        assert list(await snapshots.names("i-nobody")) == []
        await driver.terminate(wished.instance_id)
