"""Subnets and security groups that the operator offers to fleets, and what an instance behind them may reach.

An instance reaches an address when its way leads there *and* one of its security groups lets it. The way leads to the
public internet if its fleet has EnableDefaultInternetAccess, and to the `routes` of its subnet, whichever of the two it
has; to nothing else. Other instances, the host and its services are never on the way, whatever a group says.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from fanlight.domain.errors import SecurityGroupMissing, SubnetMissing

EVERYWHERE = IPv4Network("0.0.0.0/0")
# Nothing in these belongs to the public internet: private, shared, link-local (cloud metadata), loopback,
# documentation, benchmark, multicast and reserved ranges. An instance reaches none of them but by a route of its subnet.
NOT_PUBLIC = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
# No route may lead here: this host itself, the metadata service of a cloud that it runs in, and what is no address of anybody.
NEVER_ROUTED = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")))
WIDEST_ROUTE = 8  # A shorter prefix is a way to the whole internet, which only the fleet's own switch gives.
SMALLEST_SUBNET = 29
DEFAULT_GROUP_ID = "default"


class IpProtocol(StrEnum):
    ALL = "all"
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Lets pass what has this protocol, one of these ports (first, last; none named: all) and one of these addresses.

    The ports are those of the side that listens. The addresses are where it goes in a rule for the way out, and where it comes
    from in a rule for the way in.
    """

    protocol: IpProtocol = IpProtocol.ALL
    ports: tuple[tuple[int, int], ...] = ()
    cidrs: tuple[IPv4Network, ...] = (EVERYWHERE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup:
    group_id: str
    egress: tuple[Rule, ...] = ()
    ingress: tuple[Rule, ...] = ()


DEFAULT_GROUP = SecurityGroup(group_id=DEFAULT_GROUP_ID, egress=(Rule(),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """`host` is the host's address on it, with the length of its prefix; the instances get the others.

    `uplinks`: interfaces of the host by which its instances may leave (none named: any). `accounts`: whose fleets may
    name it (none named: everybody's). `answers_names`: also instances without a way to the internet may look up names.
    """

    subnet_id: str
    host: IPv4Interface
    availability_zone: str = ""
    routes: tuple[IPv4Network, ...] = ()
    uplinks: tuple[str, ...] = ()
    accounts: frozenset[str] = frozenset()
    has_nat: bool = True
    answers_names: bool = False

    @property
    def network(self) -> IPv4Network:
        return self.host.network

    @property
    def gateway(self) -> IPv4Address:
        return IPv4Address(self.host.ip)


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """All that the operator offers, by id."""

    subnets: Mapping[str, Subnet] = field(default_factory=dict)
    groups: Mapping[str, SecurityGroup] = field(default_factory=dict)

    def missing_subnets(self, subnet_ids: Sequence[str], account_id: str) -> tuple[str, ...]:
        """Return which of them do not exist, or not for that account, which shall not learn the difference."""
        return tuple(one for one in subnet_ids if not self._offers(one, account_id))

    def missing_groups(self, group_ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(one for one in group_ids if one not in self.groups)

    def groups_of(self, group_ids: Sequence[str]) -> tuple[SecurityGroup, ...]:
        """Return those of them that exist; the default group when none is named."""
        if not group_ids:
            return (self.groups.get(DEFAULT_GROUP_ID, DEFAULT_GROUP),)
        return tuple(self.groups[one] for one in group_ids if one in self.groups)

    def check(self, subnet_ids: Sequence[str], group_ids: Sequence[str]) -> None:
        """Raise SubnetMissing or SecurityGroupMissing for what is not offered."""
        if missing := [one for one in subnet_ids if one not in self.subnets]:
            raise SubnetMissing(f"The operator offers no subnet {', '.join(missing)}.")
        if missing := [one for one in group_ids if one not in self.groups]:
            raise SecurityGroupMissing(f"The operator offers no security group {', '.join(missing)}.")

    def _offers(self, subnet_id: str, account_id: str) -> bool:
        subnet = self.subnets.get(subnet_id)
        return subnet is not None and (not subnet.accounts or account_id in subnet.accounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInterface:
    """The interface of an instance, as the engine made it. `subnet_id` is "" on the default network."""

    interface_id: str
    address: str
    subnet_id: str = ""


def mac_of(address: IPv4Address) -> str:
    """Return the hardware address that goes with an address: locally administered, and as unique as that is."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0xFA, *address.packed))


def interface_id_of(mac: str) -> str:
    """Return the id of the interface with this hardware address: in the service's form, and found again by it."""
    return f"eni-{mac.replace(':', '').lower():0>17}"


def free_address(
    hosts: Sequence[IPv4Interface], used: Collection[IPv4Address]
) -> tuple[IPv4Interface, IPv4Address] | None:
    """Return the lowest free address in that of the networks with the fewest in use; None when all are full.

    `hosts` are the host's addresses on them.
    """
    in_use = {host: sum(address in host.network for address in used) for host in hosts}
    for host in sorted(hosts, key=lambda host: in_use[host]):
        for address in host.network.hosts():
            if address != host.ip and address not in used:
                return host, address
    return None


def mistakes_in(networks: Networks, default: IPv4Interface) -> list[str]:
    """Return what cannot be, in sentences; `default` is the host's address on the network of fleets without a subnet."""
    taken = {"the default network": default.network}
    mistakes: list[str] = []
    for subnet in networks.subnets.values():
        name = f"The subnet {subnet.subnet_id}"
        mistakes += _mistakes_of(subnet)
        mistakes += [
            f"{name} overlaps {other}: {subnet.network} and {network}."
            for other, network in taken.items()
            if subnet.network.overlaps(network)
        ]
        taken[f"the subnet {subnet.subnet_id}"] = subnet.network
    for subnet in networks.subnets.values():
        mistakes += [
            f"The route {route} of the subnet {subnet.subnet_id} leads to instances: it overlaps {other}, {network}."
            for route in subnet.routes
            for other, network in taken.items()
            if route.overlaps(network)
        ]
    return mistakes


def _mistakes_of(subnet: Subnet) -> list[str]:
    name, mistakes = f"The subnet {subnet.subnet_id}", []
    if subnet.network.prefixlen > SMALLEST_SUBNET:
        mistakes.append(f"{name} is too small: {subnet.network}; the longest prefix is /{SMALLEST_SUBNET}.")
    if subnet.network.prefixlen < WIDEST_ROUTE:
        mistakes.append(f"{name} is too large: {subnet.network}; the shortest prefix is /{WIDEST_ROUTE}.")
    if subnet.host.ip in (subnet.network.network_address, subnet.network.broadcast_address):
        mistakes.append(
            f"{name} needs an address for the host, such as {subnet.network[1]}/{subnet.network.prefixlen}."
        )
    for route in subnet.routes:
        if route.prefixlen < WIDEST_ROUTE:
            mistakes.append(
                f"The route {route} of {name[0].lower()}{name[1:]} is too wide: the shortest prefix is /{WIDEST_ROUTE}; "
                "the way to the whole internet is the fleet's EnableDefaultInternetAccess."
            )
        elif any(route.overlaps(never) for never in NEVER_ROUTED):
            mistakes.append(
                f"The route {route} of {name[0].lower()}{name[1:]} leads to the host itself or to nobody: loopback, "
                "link-local (cloud metadata), multicast and reserved addresses cannot be opened."
            )
    return mistakes
