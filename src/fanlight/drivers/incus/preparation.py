"""Make project, storage pool and networks ready for instances.

Idempotent, and run at every start: what is there and right is left alone, settings that matter for isolation are put
right again. Neighbours: `bridges` makes the networks, `guard` says what passes through them.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.networks import Networks
from fanlight.drivers.incus.bridges import MARK, PreparedBridges, prepare_bridges
from fanlight.drivers.incus.client import IncusClient, IncusRefused

log = logging.getLogger(__name__)

# What the host keeps for itself when it caps the pool's file: a full disk stops the database too.
DISK_RESERVE_IN_GIB = 5
MINIMUM_POOL_IN_GIB = 5


@dataclass(frozen=True, slots=True)
class PreparedHost:
    """`pool_driver` is "btrfs", "dir", ..."""

    pool_driver: str
    bridges: PreparedBridges


async def prepare_host(
    client: IncusClient, settings: Settings, networks: Networks, disk_paths: tuple[Path, ...]
) -> PreparedHost:
    """Make everything ready but the guard.

    `disk_paths` are the only directories of the host from which instances may have mounts. Raises DriverUnavailable
    with what to do.
    """
    try:
        about = await client.get("")
        _check_firewall(about)
        pool_driver = await _prepare_pool(client, settings)
        bridges = await prepare_bridges(client, settings, networks)
        await _prepare_project(client, settings, project_config_of(bridges.names, disk_paths))
    except IncusRefused as refused:
        raise _explained(refused) from refused
    return PreparedHost(pool_driver, bridges)


async def prepare_store(client: IncusClient, settings: Settings, disk_paths: tuple[Path, ...]) -> None:
    """Make ready what images need, pool and project, and leave a project that is there as it is.

    For whoever builds images beside the service, and knows nothing of its networks. Raises DriverUnavailable.
    """
    try:
        await _prepare_pool(client, settings)
        try:
            await client.get(f"projects/{settings.incus_project}")
        except IncusRefused as refused:
            if not refused.is_missing:
                raise
            config = project_config_of((settings.incus_network,), disk_paths)
            await _prepare_project(client, settings, config)
    except IncusRefused as refused:
        raise _explained(refused) from refused


def _explained(refused: IncusRefused) -> DriverUnavailable:
    return DriverUnavailable(
        f"Incus refuses to prepare this host: {refused.text}. `fanlight doctor` says what is missing."
    )


def _check_firewall(about: dict[str, Any]) -> None:
    firewall = about["environment"]["firewall"]
    if firewall != "nftables":
        raise DriverUnavailable(
            f"Incus uses {firewall} as its firewall, with which instances are not kept apart. "
            "Install nftables (apt-get install nftables) and restart Incus."
        )


async def _prepare_pool(client: IncusClient, settings: Settings) -> str:
    name = settings.incus_pool
    try:
        return str((await client.get(f"storage-pools/{name}"))["driver"])
    except IncusRefused as refused:
        if not refused.is_missing:
            raise
    free = shutil.disk_usage(settings.incus_socket.parent).free // 2**30
    size = min(settings.incus_pool_size_in_gib, free - DISK_RESERVE_IN_GIB)
    if size < MINIMUM_POOL_IN_GIB:
        raise DriverUnavailable(
            f"{settings.incus_socket.parent} has {free} GiB free, the storage pool needs at least "
            f"{MINIMUM_POOL_IN_GIB + DISK_RESERVE_IN_GIB} GiB. Free some space, or make the Incus pool {name} elsewhere."
        )
    try:
        body = {"name": name, "description": f"{MARK}: instances and images"}
        await client.send("POST", "storage-pools", {**body, "driver": "btrfs", "config": {"size": f"{size}GiB"}})
    except IncusRefused as refused:
        if not refused.says("btrfs", "loop"):  # the tool or the kernel's part is missing, or there is no loop device
            raise
        log.warning(
            "no btrfs pool on this host: every launch will copy the whole image, and disk limits are not enforced",
            extra={"pool": name, "reason": refused.text},
        )
        await client.send("POST", "storage-pools", {**body, "driver": "dir"})
        return "dir"
    log.info("storage pool made", extra={"pool": name, "size_in_gib": size})
    return "btrfs"


def project_config_of(bridges: tuple[str, ...], disk_paths: tuple[Path, ...]) -> dict[str, str]:
    """Return the project's settings: its own images and profiles, and a fence against mistakes of ours.

    Incus itself refuses in this project an instance that is privileged, shares its id range, nests, mounts another
    directory of the host or uses another network.
    """
    return {
        "features.images": "true",
        "features.profiles": "true",
        "features.storage.volumes": "true",
        "features.storage.buckets": "true",
        "features.networks": "false",
        "restricted": "true",
        "restricted.containers.lowlevel": "allow",  # raw.lxc names our own PID 1 and the fixed address
        "restricted.containers.nesting": "block",
        "restricted.containers.privilege": "isolated",
        "restricted.containers.interception": "block",
        "restricted.virtual-machines.lowlevel": "block",
        "restricted.devices.disk": "allow",
        "restricted.devices.disk.paths": ",".join(str(path) for path in disk_paths),
        "restricted.devices.unix-char": "allow",  # /dev/fuse
        "restricted.devices.nic": "managed",
        "restricted.networks.access": ",".join(bridges),
        "restricted.backups": "block",
        "restricted.snapshots": "allow",  # backups of instances that outlive a stop
    }


async def _prepare_project(client: IncusClient, settings: Settings, wanted: dict[str, str]) -> None:
    name = settings.incus_project
    try:
        project = await client.get(f"projects/{name}")
    except IncusRefused as refused:
        if not refused.is_missing:
            raise
        body = {"name": name, "description": f"{MARK}: instances and images", "config": wanted}
        await client.send("POST", "projects", body)
        log.info("project made", extra={"project": name})
        return
    if all(project["config"].get(key) == value for key, value in wanted.items()):
        return
    try:
        await client.send("PATCH", f"projects/{name}", {"config": wanted})
    except IncusRefused as refused:
        if not refused.says("restricted.devices.disk.paths"):
            raise
        raise DriverUnavailable(
            f"The Incus project {name} holds instances of another --run-dir or --data-dir than those with the mounts "
            f"{wanted['restricted.devices.disk.paths']}. Start with the directories with which they were "
            "launched, or choose another project with FANLIGHT_INCUS_PROJECT."
        ) from refused
