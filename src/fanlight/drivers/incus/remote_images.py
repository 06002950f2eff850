"""The image store as the unprivileged api process sees it: the same port, served by the compute process."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fanlight.domain.errors import NotSupported
from fanlight.domain.ports import StoredImage
from fanlight.drivers.incus import wire
from fanlight.drivers.incus.images import PUBLISH_TIMEOUT_IN_SECONDS
from fanlight.drivers.incus.remote import ComputeConnection

_LONG_IN_SECONDS = PUBLISH_TIMEOUT_IN_SECONDS + 60.0
_OBSERVE_TIMEOUT_IN_SECONDS = 30.0


class RemoteImageStore:
    """ImageStore in the api process. All calls raise DriverUnavailable besides what the port says."""

    def __init__(self, connection: ComputeConnection) -> None:
        self._connection = connection

    async def import_rootfs(self, ref: str, archive: Path, properties: Mapping[str, str]) -> None:
        """Raises NotSupported: a path of this process must not decide what a privileged one reads."""
        _ = archive, properties
        raise NotSupported(f"{ref} cannot be imported by this process. Run `fanlight images build` on the server.")

    async def observe(self) -> Sequence[StoredImage]:
        found = await self._connection.ask("GET", "images", timeout_in_seconds=_OBSERVE_TIMEOUT_IN_SECONDS)
        return [wire.read_stored(one) for one in found]

    async def delete(self, ref: str) -> None:
        """Only images that were made here can be deleted from here."""
        await self._connection.ask("POST", "images/delete", {"ref": ref})

    async def warm(self, ref: str) -> None:
        await self._connection.ask("POST", "images/warm", {"ref": ref})

    async def publish(self, instance_id: str, ref: str, properties: Mapping[str, str]) -> None:
        body = {"instance_id": instance_id, "ref": ref, "properties": dict(properties)}
        await self._connection.ask("POST", "images/publish", body, timeout_in_seconds=_LONG_IN_SECONDS)

    async def copy(self, ref: str, new_ref: str, region: str) -> None:
        body = {"ref": ref, "new_ref": new_ref, "region": region}
        await self._connection.ask("POST", "images/copy", body, timeout_in_seconds=_LONG_IN_SECONDS)
