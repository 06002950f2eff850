"""Snapshots of simulated instances: they have no disk, so only the names are kept."""

from collections.abc import Sequence

from fanlight.domain.errors import InstanceMissing, SnapshotMissing, SnapshotRefused
from fanlight.domain.ports import Power
from fanlight.drivers.simulated.driver import SimulatedDriver
from fanlight.drivers.simulated.records import Record


class SimulatedSnapshots:
    """InstanceSnapshots beside a SimulatedDriver."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self._driver = driver

    async def create(self, instance_id: str, name: str) -> None:
        """Raises InstanceMissing, SnapshotRefused."""
        record = self._standing_still(instance_id)
        if name not in record.snapshots:
            record.snapshots.append(name)
            self._driver.save(record)

    async def names(self, instance_id: str) -> Sequence[str]:
        record = self._driver.record_of(instance_id)
        return list(record.snapshots) if record else []

    async def restore(self, instance_id: str, name: str) -> None:
        """Raises InstanceMissing, SnapshotMissing, SnapshotRefused."""
        record = self._standing_still(instance_id)
        if name not in record.snapshots:
            raise SnapshotMissing(f"The instance {instance_id} has no snapshot {name}.")

    async def delete(self, instance_id: str, name: str) -> None:
        record = self._driver.record_of(instance_id)
        if record is not None and name in record.snapshots:
            record.snapshots.remove(name)
            self._driver.save(record)

    def _standing_still(self, instance_id: str) -> Record:
        record = self._driver.record_of(instance_id)
        if record is None:
            raise InstanceMissing(f"The simulated engine has no instance {instance_id}.")
        if record.power is not Power.STOPPED:
            raise SnapshotRefused(f"The instance {instance_id} is {record.power}: stop it first.")
        return record
