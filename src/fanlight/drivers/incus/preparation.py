"""Make project, storage pool and network ready for instances.

Idempotent, and run at every start: what is there and right is left alone, settings that matter for isolation are put
right again. What Incus cannot express, the guard of the host's own addresses, is one nftables table of ours.
"""

import asyncio
import ipaddress
import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.drivers.incus.client import IncusClient, IncusRefused

log = logging.getLogger(__name__)

# Nothing in these belongs to the public internet: private, shared, link-local (cloud metadata), loopback,
# documentation, benchmark, multicast and reserved ranges. An instance with internet access reaches none of them.
NOT_PUBLIC = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.0.2.0/24,"
    "192.168.0.0/16,198.18.0.0/15,198.51.100.0/24,203.0.113.0/24,224.0.0.0/4,240.0.0.0/4"
)
# What the host keeps for itself when it caps the pool's file: a full disk stops the database too.
DISK_RESERVE_IN_GIB = 5
MINIMUM_POOL_IN_GIB = 5
# Begins the description of everything we make outside our project; `fanlight uninstall` removes nothing without it.
MARK = "Fanlight"


async def prepare_host(client: IncusClient, settings: Settings, disk_paths: tuple[Path, ...]) -> str:
    """Make everything ready and return the pool's storage driver ("btrfs", "dir", ...).

    `disk_paths` are the only directories of the host from which instances may have mounts. Raises DriverUnavailable
    with what to do.
    """
    try:
        about = await client.get("")
        _check_firewall(about)
        pool_driver = await _prepare_pool(client, settings)
        await _prepare_network(client, settings)
        await _prepare_project(client, settings, disk_paths)
    except IncusRefused as refused:
        raise DriverUnavailable(
            f"Incus refuses to prepare this host: {refused.text}. `fanlight doctor` says what is missing."
        ) from refused
    await guard_host(settings)
    return pool_driver


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


def acl_of(network: str) -> dict[str, Any]:
    """Return the rules of the bridge: out to public addresses only, nothing in."""
    return {
        "description": f"{MARK}: instances reach public addresses only",
        "config": {},
        "ingress": [],
        "egress": [
            {"action": "drop", "state": "enabled", "destination": NOT_PUBLIC},
            {"action": "allow", "state": "enabled", "destination": "0.0.0.0/0"},
        ],
        "name": network,
    }


def network_config_of(settings: Settings) -> dict[str, str]:
    """Return the bridge's settings. No IPv6, and no names by which instances could find each other."""
    return {
        "ipv4.address": settings.incus_subnet,
        "ipv4.nat": "true",
        "ipv6.address": "none",
        "dns.mode": "none",
        "security.acls": settings.incus_network,
        "security.acls.default.ingress.action": "drop",
        "security.acls.default.egress.action": "drop",
    }


async def _prepare_network(client: IncusClient, settings: Settings) -> None:
    # A bridge and its ACL can only live in Incus's default project; other projects use it from there.
    name, default = settings.incus_network, "default"
    acl = acl_of(name)
    try:
        existing = await client.get(f"network-acls/{name}", project=default)
    except IncusRefused as refused:
        if not refused.is_missing:
            raise
        await client.send("POST", "network-acls", acl, project=default)
    else:
        if _rules(existing) != _rules(acl):
            await client.send("PUT", f"network-acls/{name}", acl, project=default)
    wanted = network_config_of(settings)
    try:
        network = await client.get(f"networks/{name}", project=default)
    except IncusRefused as refused:
        if not refused.is_missing:
            raise
        await _check_subnet_is_free(settings)
        body = {"name": name, "type": "bridge", "description": f"{MARK}: bridge of the instances", "config": wanted}
        await client.send("POST", "networks", body, project=default)
        log.info("network made", extra={"network": name, "subnet": settings.incus_subnet})
        return
    if not network["managed"]:
        raise DriverUnavailable(
            f"The network interface {name} exists and is not Incus's. Choose another with FANLIGHT_INCUS_NETWORK."
        )
    if any(network["config"].get(key) != value for key, value in wanted.items()):
        await client.send("PATCH", f"networks/{name}", {"config": wanted}, project=default)


def _rules(acl: dict[str, Any]) -> list[list[tuple[str, str]]]:
    return [
        sorted((key, str(value)) for key, value in rule.items() if value) for rule in (*acl["ingress"], *acl["egress"])
    ]


async def _check_subnet_is_free(settings: Settings) -> None:
    wanted = ipaddress.ip_interface(settings.incus_subnet).network
    for interface in json.loads(await _command("ip", "-json", "-4", "address")):
        for address in interface["addr_info"]:
            used = ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
            if used.overlaps(wanted):
                raise DriverUnavailable(
                    f"The network {wanted} for instances overlaps {used} on {interface['ifname']}. "
                    "Choose a free one with FANLIGHT_INCUS_SUBNET, such as 10.211.0.1/16."
                )


def project_config_of(settings: Settings, disk_paths: tuple[Path, ...]) -> dict[str, str]:
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
        "restricted.devices.nic": "managed",
        "restricted.networks.access": settings.incus_network,
        "restricted.backups": "block",
        "restricted.snapshots": "block",
    }


async def _prepare_project(client: IncusClient, settings: Settings, disk_paths: tuple[Path, ...]) -> None:
    name, wanted = settings.incus_project, project_config_of(settings, disk_paths)
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
            f"The Incus project {name} holds instances of another --run-dir or --data-dir than "
            f"{' and '.join(str(path.parent) for path in disk_paths)}. Start with the directories with which they were "
            "launched, or choose another project with FANLIGHT_INCUS_PROJECT."
        ) from refused


def guard_table_of(network: str) -> str:
    """Return the name of the nftables table (family inet) that guards the host from this bridge."""
    return f"fanlight_{network.replace('-', '_')}"


def guard_of(network: str, gateway: str) -> str:
    """Return the nftables script that lets instances reach nothing of the host but DHCP and DNS on the bridge.

    The ACL cannot do this: it would have to name every address the host has now and will have, while whatever comes
    in through the bridge and is for the host, whichever address, passes the input hook. A drop there is final,
    whatever other tables accept. The second chain keeps instances apart where the kernel routes between them, and says
    what the ACL says once more: whoever flushes the host's ruleset takes Incus's rules away too, and Incus does not
    put them back before its own next start, while we do.
    """
    table = guard_table_of(network)
    return f"""
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  chain to_host {{
    type filter hook input priority filter - 5; policy accept;
    iifname != "{network}" accept
    meta nfproto ipv4 udp dport 67 accept
    ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept
    drop
  }}
  chain through_host {{
    type filter hook forward priority filter - 5; policy accept;
    iifname "{network}" oifname "{network}" drop
    iifname "{network}" meta nfproto ipv6 drop
    iifname "{network}" ip daddr {{ {NOT_PUBLIC} }} drop
    oifname "{network}" ct state != {{ established, related }} drop
  }}
}}
"""


async def guard_host(settings: Settings) -> None:
    """Load the guard; the whole table is replaced in one transaction. Raises DriverUnavailable."""
    gateway = str(ipaddress.ip_interface(settings.incus_subnet).ip)
    await _command("nft", "-f", "-", text=guard_of(settings.incus_network, gateway))


async def loaded_guard(settings: Settings) -> str | None:
    """Return the guard as the kernel has it, or None when it cannot be seen, most often because it is not there."""
    try:
        return await _command("nft", "list", "table", "inet", guard_table_of(settings.incus_network))
    except DriverUnavailable:
        return None


async def _command(*words: str, text: str = "") -> str:
    # In a thread: an event loop's own pipe to a program that ends at once breaks in more ways than one.
    try:
        done = await asyncio.to_thread(
            subprocess.run, words, input=text, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise DriverUnavailable(
            f"{words[0]} cannot be run ({error.strerror}): scripts/host-setup installs it."
        ) from error
    if done.returncode:
        raise DriverUnavailable(f"{' '.join(words)} failed: {done.stderr.strip()}")
    return done.stdout
