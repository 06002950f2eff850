"""The bridges of instances: one for fleets without a subnet, one for each subnet that the operator names.

A bridge and its ACL are the outer fence that Incus keeps: what no instance of that bridge may ever reach. Which of its
instances may reach what is the guard's business (`guard`). Bridges of subnets that are named no more are removed once
nothing is on them.
"""

import hashlib
import ipaddress
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.networks import NOT_PUBLIC, Networks, Subnet
from fanlight.drivers.incus.client import IncusClient, IncusRefused
from fanlight.drivers.incus.programs import run_program

log = logging.getLogger(__name__)

# Begins the description of everything we make outside our project; `fanlight uninstall` removes nothing without it.
MARK = "Fanlight"
_DEFAULT = "default"  # Bridges and ACLs can only live in Incus's default project; other projects use them from there.


@dataclass(frozen=True, slots=True)
class Bridge:
    """`subnet` is None for the network of fleets that name none."""

    name: str
    host: IPv4Interface
    subnet: Subnet | None = None

    @property
    def gateway(self) -> IPv4Address:
        return IPv4Address(self.host.ip)

    @property
    def routes(self) -> tuple[IPv4Network, ...]:
        return self.subnet.routes if self.subnet else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBridges:
    """`of_subnet` has the usable ones by subnet id ("" is the default), `unusable` says why the others are not.

    `closed` are bridges that may have instances and lead nowhere: those of unusable subnets, and of subnets that the
    operator names no more.
    """

    of_subnet: Mapping[str, Bridge]
    unusable: Mapping[str, str] = field(default_factory=dict)
    closed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*(bridge.name for bridge in self.of_subnet.values()), *self.closed)


def bridges_of(settings: Settings, networks: Networks) -> dict[str, Bridge]:
    """Return the bridges that there must be, by subnet id; "" is the default."""
    default = Bridge(settings.incus_network, IPv4Interface(settings.incus_subnet))
    return {"": default} | {
        name: Bridge(bridge_name(settings.incus_network, name), subnet.host, subnet)
        for name, subnet in networks.subnets.items()
    }


def bridge_name(network: str, subnet_id: str) -> str:
    """Return the name of a subnet's bridge: of at most 15 characters, as the kernel wants it, whatever the subnet's id."""
    return f"{network[:6]}-{hashlib.sha256(f'{network} {subnet_id}'.encode()).hexdigest()[:8]}"


def description_of(settings: Settings, bridge: Bridge) -> str:
    if bridge.subnet is None:
        return f"{MARK}: bridge of the instances"
    return f"{description_of_subnets(settings)}{bridge.subnet.subnet_id}"


def description_of_subnets(settings: Settings) -> str:
    """Return how the descriptions of this installation's subnets begin, by which they are found again."""
    return f"{MARK}: beside {settings.incus_network}, subnet "


def acl_of(bridge: Bridge, networks: Networks) -> dict[str, Any]:
    """Return the outer fence: out to public addresses and the subnet's routes, and in only where some group allows it."""
    dropped = ",".join(str(network) for network in without(NOT_PUBLIC, bridge.routes))
    is_entered = any(group.ingress for group in networks.groups.values())
    return {
        "description": f"{MARK}: instances reach public addresses and the routes of their subnet only",
        "config": {},
        "ingress": [{"action": "allow", "state": "enabled"}] if is_entered else [],
        "egress": [
            {"action": "drop", "state": "enabled", "destination": dropped},
            {"action": "allow", "state": "enabled", "destination": "0.0.0.0/0"},
        ],
        "name": bridge.name,
    }


def without(networks: Iterable[IPv4Network], holes: Iterable[IPv4Network]) -> list[IPv4Network]:
    """Return the networks, cut up where they contain a hole; what lies within a hole is left out."""
    left = list(networks)
    for hole in holes:
        kept: list[IPv4Network] = []
        for network in left:
            if not network.overlaps(hole):
                kept.append(network)
            elif hole.subnet_of(network) and hole != network:
                kept += network.address_exclude(hole)
        left = kept
    return sorted(ipaddress.collapse_addresses(left))


def network_config_of(bridge: Bridge) -> dict[str, str]:
    """Return the bridge's settings. No IPv6, and no names by which instances could find each other."""
    return {
        "ipv4.address": str(bridge.host),
        "ipv4.nat": "true" if bridge.subnet is None or bridge.subnet.has_nat else "false",
        "ipv6.address": "none",
        "dns.mode": "none",
        "security.acls": bridge.name,
        "security.acls.default.ingress.action": "drop",
        "security.acls.default.egress.action": "drop",
    }


async def prepare_bridges(client: IncusClient, settings: Settings, networks: Networks) -> PreparedBridges:
    """Make them and put them right. A subnet that cannot be made stops its own fleets only.

    Raises IncusRefused, and DriverUnavailable when the default bridge cannot be made.
    """
    usable: dict[str, Bridge] = {}
    unusable: dict[str, str] = {}
    names = {subnet_id: bridge.name for subnet_id, bridge in bridges_of(settings, networks).items()}
    strays = await _remove_strays(client, settings, set(names.values()))  # first: a new one may have its addresses
    for subnet_id, bridge in bridges_of(settings, networks).items():
        try:
            await _prepare_bridge(client, settings, bridge, networks)
        except (IncusRefused, DriverUnavailable) as error:
            if bridge.subnet is None:
                raise
            unusable[subnet_id] = error.text if isinstance(error, IncusRefused) else str(error)
            log.warning("subnet cannot be used", extra={"subnet": subnet_id, "reason": unusable[subnet_id]})
        else:
            usable[subnet_id] = bridge
    closed = (*(names[subnet_id] for subnet_id in unusable), *strays)
    return PreparedBridges(of_subnet=usable, unusable=unusable, closed=closed)


async def _prepare_bridge(client: IncusClient, settings: Settings, bridge: Bridge, networks: Networks) -> None:
    await _prepare_acl(client, acl_of(bridge, networks))
    name, wanted = bridge.name, network_config_of(bridge)
    try:
        network = await client.get(f"networks/{name}", project=_DEFAULT)
    except IncusRefused as refused:
        if not refused.is_missing:
            raise
        await _check_network_is_free(bridge)
        body = {"name": name, "type": "bridge", "description": description_of(settings, bridge), "config": wanted}
        await client.send("POST", "networks", body, project=_DEFAULT)
        log.info("network made", extra={"network": name, "subnet": str(bridge.host)})
        return
    if not network["managed"]:
        raise DriverUnavailable(
            f"The network interface {name} exists and is not Incus's. Choose another with FANLIGHT_INCUS_NETWORK."
        )
    if any(network["config"].get(key) != value for key, value in wanted.items()):
        await client.send("PATCH", f"networks/{name}", {"config": wanted}, project=_DEFAULT)


async def _prepare_acl(client: IncusClient, acl: dict[str, Any]) -> None:
    path = f"network-acls/{acl['name']}"
    try:
        existing = await client.get(path, project=_DEFAULT)
    except IncusRefused as refused:
        if not refused.is_missing:
            raise
        await client.send("POST", "network-acls", acl, project=_DEFAULT)
    else:
        if _rules(existing) != _rules(acl):
            await client.send("PUT", path, acl, project=_DEFAULT)


def _rules(acl: Mapping[str, Any]) -> list[list[list[tuple[str, str]]]]:
    return [
        [sorted((key, str(value)) for key, value in rule.items() if value) for rule in acl[side]]
        for side in ("ingress", "egress")
    ]


async def _remove_strays(client: IncusClient, settings: Settings, expected: set[str]) -> tuple[str, ...]:
    """Remove bridges of subnets that are named no more; return those that instances still hold."""
    held: list[str] = []
    beginning = description_of_subnets(settings)
    for network in await client.get("networks", project=_DEFAULT, recursion=1):
        name = network["name"]
        if name in expected or not network["description"].startswith(beginning):
            continue
        try:
            await client.send("DELETE", f"networks/{name}", project=_DEFAULT)
            await client.send("DELETE", f"network-acls/{name}", project=_DEFAULT)
        except IncusRefused as refused:
            held.append(name)
            log.info("subnet is named no more and still in use", extra={"network": name, "reason": refused.text})
        else:
            log.info("network removed", extra={"network": name})
    return tuple(held)


async def _check_network_is_free(bridge: Bridge) -> None:
    wanted = bridge.host.network
    for interface in json.loads(await run_program("ip", "-json", "-4", "address")):
        for address in interface["addr_info"]:
            used = ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
            if used.overlaps(wanted):
                what = "Choose a free one with FANLIGHT_INCUS_SUBNET, such as 10.211.0.1/16."
                if bridge.subnet:
                    what = f"Give {bridge.subnet.subnet_id} another one in the networks file."
                raise DriverUnavailable(
                    f"The network {wanted} for instances overlaps {used} on {interface['ifname']}. {what}"
                )
