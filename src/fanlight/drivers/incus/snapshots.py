"""Snapshots of instances on Incus: they stand below their instance, and are deleted with it."""

from collections.abc import Awaitable, Callable, Sequence

from fanlight.domain.errors import (
    CapacityExhausted,
    DriverUnavailable,
    InstanceMissing,
    SnapshotMissing,
    SnapshotRefused,
)
from fanlight.drivers.incus.client import IncusRefused
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.images import NO_ROOM
from fanlight.drivers.incus.instances import INSTANCE_ID


class IncusSnapshots:
    """InstanceSnapshots. `driver_of` returns the driver of the engine that has an instance; it may raise DriverUnavailable."""

    def __init__(self, driver_of: Callable[[str], Awaitable[IncusDriver]]) -> None:
        self._driver_of = driver_of

    async def create(self, instance_id: str, name: str) -> None:
        """Raises InstanceMissing, SnapshotRefused, CapacityExhausted, DriverUnavailable."""
        driver = await self._driver_of(instance_id)
        async with driver.standing_still(instance_id) as client:
            if name in await self.names(instance_id):
                return
            try:
                await client.run("POST", f"instances/{instance_id}/snapshots", {"name": name, "stateful": False})
            except IncusRefused as refused:
                if not refused.says("already exists", "unique constraint"):
                    raise _error(instance_id, refused) from refused

    async def names(self, instance_id: str) -> Sequence[str]:
        """Raises DriverUnavailable."""
        if not INSTANCE_ID.fullmatch(instance_id):
            return []
        driver = await self._driver_of(instance_id)
        try:
            if not await driver.has(instance_id):
                return []
            found = await driver.client.get(f"instances/{instance_id}/snapshots", recursion=1)
        except IncusRefused as refused:
            if refused.is_missing:
                return []
            raise DriverUnavailable(
                f"The engine does not list snapshots of {instance_id}: {refused.text}."
            ) from refused
        return [one["name"].rpartition("/")[2] for one in sorted(found, key=lambda one: one["created_at"])]

    async def restore(self, instance_id: str, name: str) -> None:
        """Raises InstanceMissing, SnapshotMissing, SnapshotRefused, CapacityExhausted, DriverUnavailable."""
        if name not in await self.names(instance_id) and await (await self._driver_of(instance_id)).has(instance_id):
            raise SnapshotMissing(f"The instance {instance_id} has no snapshot {name}.")
        driver = await self._driver_of(instance_id)
        async with driver.standing_still(instance_id) as client:
            try:
                await client.run("PUT", f"instances/{instance_id}", {"restore": name})
            except IncusRefused as refused:
                raise _error(instance_id, refused) from refused

    async def delete(self, instance_id: str, name: str) -> None:
        """Unknown is success. Raises DriverUnavailable."""
        if name not in await self.names(instance_id):
            return
        driver = await self._driver_of(instance_id)
        try:
            await driver.client.run("DELETE", f"instances/{instance_id}/snapshots/{name}")
        except IncusRefused as refused:
            if not refused.is_missing:
                text = f"The engine does not delete the snapshot {name} of {instance_id}: {refused.text}."
                raise DriverUnavailable(text) from refused


def _error(instance_id: str, refused: IncusRefused) -> InstanceMissing | CapacityExhausted | SnapshotRefused:
    if refused.is_missing:
        return InstanceMissing(f"The engine has no instance {instance_id}.")
    if refused.says(*NO_ROOM):
        return CapacityExhausted(f"No room for a snapshot of {instance_id}: {refused.text}.")
    return SnapshotRefused(f"The engine refuses the snapshot of {instance_id}: {refused.text}.")
