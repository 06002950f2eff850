"""Snapshots as the unprivileged api process sees them: the same port, served by the compute process."""

from collections.abc import Sequence

from fanlight.drivers.incus.remote import ComputeConnection


class RemoteSnapshots:
    """InstanceSnapshots in the api process. All calls raise DriverUnavailable besides what the port says."""

    def __init__(self, connection: ComputeConnection) -> None:
        self._connection = connection

    async def create(self, instance_id: str, name: str) -> None:
        await self._connection.ask("POST", "snapshots/create", {"instance_id": instance_id, "name": name})

    async def names(self, instance_id: str) -> Sequence[str]:
        found = await self._connection.ask("POST", "snapshots/names", {"instance_id": instance_id})
        return [str(name) for name in found]

    async def restore(self, instance_id: str, name: str) -> None:
        await self._connection.ask("POST", "snapshots/restore", {"instance_id": instance_id, "name": name})

    async def delete(self, instance_id: str, name: str) -> None:
        await self._connection.ask("POST", "snapshots/delete", {"instance_id": instance_id, "name": name})
