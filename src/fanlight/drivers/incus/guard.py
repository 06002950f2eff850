"""The guard: one nftables table of ours that decides what instances reach.

Incus's ACLs cannot do this. They would have to name every address the host has now and will have, while whatever comes
in through a bridge and is for the host, whichever address, passes the input hook; and they hold for a whole bridge,
because those of a single interface need a part of the kernel that many hosts lack. A drop here is final, whatever other
tables accept, and an accept opens nothing that another table closes.

Closed unless opened: an instance that the table does not know reaches nothing. The table is made anew as a whole and
replaced in one transaction, from what Incus says of each instance, so that anybody may load it at any time. Whoever
flushes the host's ruleset takes Incus's rules away too, and Incus does not put them back before its own next start,
while we do; what the ACLs say is therefore said here once more.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.networks import EVERYWHERE, NOT_PUBLIC, IpProtocol, Networks, Rule
from fanlight.drivers.incus.bridges import Bridge, PreparedBridges
from fanlight.drivers.incus.programs import run_program


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Way:
    """What one instance was launched with: its place, and what its fleet allowed it then."""

    bridge: str
    address: IPv4Address
    subnet_id: str = ""
    group_ids: tuple[str, ...] = ()
    has_internet_access: bool

    @property
    def kind(self) -> tuple[str, tuple[str, ...], bool]:
        return self.subnet_id, self.group_ids, self.has_internet_access


def guard_table_of(network: str) -> str:
    """Return the name of the table (family inet) that guards the host from the instances of this installation."""
    return f"fanlight_{network.replace('-', '_')}"


def guard_of(table: str, bridges: PreparedBridges, networks: Networks, ways: Collection[Way]) -> str:
    """Return the nftables script.

    Of the host, instances reach DHCP and, with a way to the internet or where the subnet says so, DNS on their bridge. The
    second chain keeps instances apart where the kernel routes between them, and asks each one's way and groups.
    """
    known = sorted(way for way in ways if way.subnet_id in bridges.of_subnet)
    kinds = sorted({way.kind for way in known})
    number = {kind: index for index, kind in enumerate(kinds)}
    chains = [
        _chains(index, bridges.of_subnet[subnet_id], networks, group_ids, has_internet_access=is_open)
        for index, (subnet_id, group_ids, is_open) in enumerate(kinds)
    ]
    asking = [way for way in known if _may_ask_names(way, bridges.of_subnet[way.subnet_id])]
    ours = "{ " + ", ".join(f'"{name}"' for name in bridges.names) + " }"
    return f"""
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
{"".join(chains)}
  set asking {{
    type ifname . ipv4_addr . ipv4_addr
    {_elements(f'"{way.bridge}" . {way.address} . {bridges.of_subnet[way.subnet_id].gateway}' for way in asking)}
  }}
  map ways {{
    type ifname . ipv4_addr : verdict
    {_elements(f'"{way.bridge}" . {way.address} : jump way_{number[way.kind]}' for way in known)}
  }}
  map doors {{
    type ifname . ipv4_addr : verdict
    {_elements(f'"{way.bridge}" . {way.address} : jump door_{number[way.kind]}' for way in known)}
  }}
  chain to_host {{
    type filter hook input priority filter - 5; policy accept;
    iifname != {ours} accept
    meta nfproto ipv4 udp dport 67 accept
    meta l4proto {{ tcp, udp }} th dport 53 iifname . ip saddr . ip daddr @asking accept
    drop
  }}
  chain through_host {{
    type filter hook forward priority filter - 5; policy accept;
    iifname {ours} oifname {ours} drop
    iifname {ours} iifname . ip saddr vmap @ways
    iifname {ours} drop
    oifname {ours} ct state {{ established, related }} accept
    oifname {ours} oifname . ip daddr vmap @doors
    oifname {ours} drop
  }}
}}
"""


def _may_ask_names(way: Way, bridge: Bridge) -> bool:
    # A name server that asks others is itself a way out: data can be put into the names that are asked for.
    return way.has_internet_access or (bridge.subnet is not None and bridge.subnet.answers_names)


def _chains(
    index: int, bridge: Bridge, networks: Networks, group_ids: Sequence[str], *, has_internet_access: bool
) -> str:
    groups = networks.groups_of(group_ids)
    out = [_rule("daddr", rule) for group in groups for rule in group.egress]
    into = [_rule("saddr", rule) for group in groups for rule in group.ingress]
    way: list[str] = []
    if bridge.subnet and bridge.subnet.uplinks:
        way.append("oifname != { " + ", ".join(f'"{name}"' for name in bridge.subnet.uplinks) + " } drop")
    if into:  # answers to those who may come in; what the instance itself began is asked about packet by packet
        way.append("ct direction reply ct state { established, related } accept")
    if bridge.routes:
        way.append(f"ip daddr {_addresses(bridge.routes)} jump group_{index}")
    if has_internet_access:
        way += [f"ip daddr {_addresses(NOT_PUBLIC)} drop", f"meta nfproto ipv4 jump group_{index}"]
    return "".join(
        f"  chain {name}_{index} {{\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"
        for name, lines in (("group", out), ("way", way), ("door", into))
    )


def _rule(side: str, rule: Rule) -> str:
    words = [] if EVERYWHERE in rule.cidrs else [f"ip {side} {_addresses(rule.cidrs)}"]
    if rule.ports:
        words.append(f"{rule.protocol} dport {_ports(rule.ports)}")
    elif rule.protocol is not IpProtocol.ALL:
        words.append(f"ip protocol {rule.protocol}")
    return " ".join([*words, "accept"])


def _addresses(networks: Iterable[IPv4Network]) -> str:
    return "{ " + ", ".join(str(network) for network in sorted(collapse_addresses(networks))) + " }"


def _ports(ranges: Iterable[tuple[int, int]]) -> str:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):  # nft refuses ranges that overlap
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return "{ " + ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in merged) + " }"


def _elements(elements: Iterable[str]) -> str:
    found = ",\n      ".join(elements)
    return f"elements = {{\n      {found}\n    }}" if found else ""


class Guard:
    """Keeps the table of one network loaded. What is loaded is what was asked for last."""

    def __init__(self, network: str) -> None:
        self._table = guard_table_of(network)
        self._lock = asyncio.Lock()
        self._loaded = ""  # the script that is in force, if nobody else touched it
        self._seen: str | None = None  # how the kernel showed it when it was loaded

    @property
    def table(self) -> str:
        return self._table

    async def load(self, bridges: PreparedBridges, networks: Networks, ways: Mapping[str, Way]) -> None:
        """Put the table in force, unless it is. Raises DriverUnavailable."""
        script = guard_of(self._table, bridges, networks, list(ways.values()))
        async with self._lock:
            if script == self._loaded:
                return
            await self._load(script)

    async def restore(self) -> bool:
        """Load it again if somebody took it away or changed it; return whether that was so. Raises DriverUnavailable."""
        async with self._lock:
            if not self._loaded or (self._seen is not None and await self._look() == self._seen):
                return False
            await self._load(self._loaded)
            return True

    async def _load(self, script: str) -> None:
        self._seen = None
        await run_program("nft", "-f", "-", text=script)
        self._loaded, self._seen = script, await self._look()

    async def _look(self) -> str | None:
        """Return the table as the kernel has it, or None when it cannot be seen, most often because it is not there."""
        try:
            return await run_program("nft", "list", "table", "inet", self._table)
        except DriverUnavailable:
            return None
