"""Take everything of an installation out of Incus again: for `fanlight uninstall`, and for tests that clean up."""

import asyncio
from collections.abc import Awaitable

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.drivers.incus.client import IncusClient, IncusRefused
from fanlight.drivers.incus.destruction import destroy
from fanlight.drivers.incus.preparation import unguard_host
from fanlight.drivers.incus.socket_directories import ids_in, remove_directories, root_of


async def empty_project(settings: Settings) -> None:
    """Destroy all instances of the project and their socket directories. Raises DriverUnavailable."""
    async with IncusClient(settings.incus_socket, settings.incus_project) as client:
        await _forgiving(_destroy_all(client))
    root = root_of(settings.effective_run_dir)
    for instance_id in ids_in(root):
        remove_directories(root, instance_id)


async def remove_project(settings: Settings) -> None:
    """Destroy all instances and images of the project and the project itself. Raises DriverUnavailable."""
    await empty_project(settings)
    async with IncusClient(settings.incus_socket, settings.incus_project) as client:
        await _forgiving(_delete_project(client, settings.incus_project))


async def remove_network(settings: Settings) -> None:
    """Remove the bridge, its rules and the guard of the host. Raises DriverUnavailable while instances use it."""
    async with IncusClient(settings.incus_socket, "default") as client:
        for path in (f"networks/{settings.incus_network}", f"network-acls/{settings.incus_network}"):
            await _forgiving(client.run("DELETE", path))
    await unguard_host(settings.incus_network)


async def remove_pool(settings: Settings) -> None:
    """Remove the storage pool with its file. Raises DriverUnavailable while something else uses it."""
    async with IncusClient(settings.incus_socket, "default") as client:
        await _forgiving(client.run("DELETE", f"storage-pools/{settings.incus_pool}"))


async def _destroy_all(client: IncusClient) -> None:
    names = [one["name"] for one in await client.get("instances", recursion=1)]
    await asyncio.gather(*(destroy(client, name) for name in names))


async def _delete_project(client: IncusClient, name: str) -> None:
    for image in await client.get("images", recursion=1):
        await client.run("DELETE", f"images/{image['fingerprint']}")
    await client.run("DELETE", f"projects/{name}")


async def _forgiving(removal: Awaitable[object]) -> None:
    try:
        await removal
    except IncusRefused as refused:
        if not refused.is_missing:
            raise DriverUnavailable(f"Incus does not remove it: {refused.text}.") from refused
