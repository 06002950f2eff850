"""The guard's text: closed unless opened, and the same for the same facts."""

import re
from ipaddress import IPv4Address, IPv4Network

from fanlight.config import Settings
from fanlight.domain.networks import NOT_PUBLIC, Networks
from fanlight.drivers.incus.bridges import PreparedBridges, acl_of, bridge_name, bridges_of, without
from fanlight.drivers.incus.guard import Way, guard_of
from fanlight.networks_file import networks_of

SETTINGS = Settings()
NETWORKS = networks_of(
    {
        "subnets": {
            "subnet-a": {"cidr": "10.140.0.1/24", "routes": ["192.168.40.0/24"], "uplinks": ["eth9"]},
            "subnet-b": {"cidr": "10.141.0.1/24", "answers_names": True},
        },
        "security_groups": {
            "sg-a": {"egress": [{"protocol": "tcp", "ports": [80, "70-90", 91]}]},
            "sg-b": {"ingress": [{"cidrs": ["192.168.40.9/32"]}]},
        },
    },
    SETTINGS.incus_subnet,
)
BRIDGES = PreparedBridges(of_subnet=bridges_of(SETTINGS, NETWORKS), closed=("old0",))


def way(subnet_id: str, last: int, *groups: str, is_open: bool = False) -> Way:
    bridge = BRIDGES.of_subnet[subnet_id]
    address = IPv4Address(int(bridge.host.network[0]) + last)
    return Way(bridge=bridge.name, address=address, subnet_id=subnet_id, group_ids=groups, has_internet_access=is_open)


def chains_of(script: str) -> dict[str, str]:
    return dict(re.findall(r"  chain (\w+) \{\n(.*?)  \}\n", script, re.DOTALL))


def chain_of(script: str, one: Way, kind: str) -> str:
    (number,) = re.findall(rf'"{one.bridge}" \. {one.address} : jump way_(\d+)', script)
    return chains_of(script)[f"{kind}_{number}"]


def guard(*ways: Way, networks: Networks = NETWORKS, bridges: PreparedBridges = BRIDGES) -> str:
    return guard_of("t", bridges, networks, ways)


def test_an_instance_that_nobody_told_of_reaches_nothing() -> None:
    through = chains_of(guard())["through_host"].splitlines()
    names = [*(bridge.name for bridge in BRIDGES.of_subnet.values()), "old0"]
    assert all(f'"{name}"' in line for name in names for line in through if "ifname" in line)
    assert [line.split()[-1] for line in through if "type filter" not in line] == [
        "drop",
        "@ways",
        "drop",
        "accept",
        "@doors",
        "drop",
    ]


def test_the_order_in_which_facts_arrive_changes_nothing() -> None:
    ways = [way("subnet-a", 5, "sg-a"), way("", 9, is_open=True), way("subnet-b", 7)]
    assert guard(*ways) == guard(*reversed(ways))


def test_a_closed_way_leads_to_the_routes_alone() -> None:
    closed = way("subnet-a", 5)
    assert chain_of(guard(closed), closed, "way").split("\n    ") == [
        '    oifname != { "eth9" } drop',
        "ip daddr { 192.168.40.0/24 } jump group_0\n",
    ]
    nowhere = way("subnet-b", 5)
    assert chain_of(guard(nowhere), nowhere, "way") == ""


def test_an_open_way_excludes_what_is_not_public() -> None:
    opened = way("", 5, is_open=True)
    first, second = chain_of(guard(opened), opened, "way").strip().splitlines()
    assert first.endswith("drop")
    assert "10.0.0.0/8" in first
    assert second.strip() == "meta nfproto ipv4 jump group_0"


def test_ports_are_merged_because_overlapping_ones_are_refused_by_the_kernel() -> None:
    limited = way("subnet-b", 5, "sg-a", is_open=True)
    assert chain_of(guard(limited), limited, "group").strip() == "tcp dport { 70-91 } accept"


def test_a_group_that_lets_in_lets_answers_out_but_nothing_that_the_instance_begins() -> None:
    entered = way("subnet-b", 5, "sg-b")
    script = guard(entered)
    assert chain_of(script, entered, "door").strip() == "ip saddr { 192.168.40.9/32 } accept"
    assert chain_of(script, entered, "way").strip() == "ct direction reply ct state { established, related } accept"


def test_a_group_that_was_taken_out_of_the_file_lets_nothing_pass() -> None:
    orphan = way("subnet-b", 5, "sg-gone", is_open=True)
    assert chain_of(guard(orphan), orphan, "group") == ""


def test_a_subnet_that_cannot_be_used_leads_nowhere() -> None:
    lost = way("subnet-a", 5, is_open=True)
    rest = {name: bridge for name, bridge in BRIDGES.of_subnet.items() if name != "subnet-a"}
    script = guard(lost, bridges=PreparedBridges(of_subnet=rest, closed=(lost.bridge,)))
    assert str(lost.address) not in script
    assert f'"{lost.bridge}"' in chains_of(script)["through_host"]


def test_names_are_answered_to_those_with_a_way_out_or_where_the_subnet_says_so() -> None:
    ways = [way("", 5, is_open=True), way("subnet-a", 6), way("subnet-a", 7, is_open=True), way("subnet-b", 8)]
    asking = guard(*ways).partition("set asking {")[2].partition("}\n")[0]
    assert re.findall(r"\. (10\S+) \.", asking) == ["10.140.0.7", "10.141.0.8", "10.124.0.5"]


def test_names_of_bridges_fit_the_kernel_and_differ() -> None:
    names = {bridge_name("fanlight0", f"subnet-{number}") for number in range(500)}
    assert len(names) == 500
    assert max(map(len, names)) <= 15
    assert bridge_name("fltests0", "subnet-1") not in names


def test_holes_are_cut_out_of_networks() -> None:
    hole = IPv4Network("192.168.40.0/24")
    left = without(NOT_PUBLIC, [hole])
    assert not any(network.overlaps(hole) for network in left)
    for address in ("192.168.39.255", "192.168.41.0", "10.1.2.3", "172.31.0.1"):
        assert any(IPv4Address(address) in network for network in left)
    assert without([hole], [IPv4Network("192.168.0.0/16")]) == []


def test_the_outer_fence_is_entered_only_if_some_group_lets_anybody_in() -> None:
    bridge = BRIDGES.of_subnet["subnet-a"]
    assert acl_of(bridge, NETWORKS)["ingress"]
    assert acl_of(bridge, Networks())["ingress"] == []
    assert "192.168.40" not in acl_of(bridge, NETWORKS)["egress"][0]["destination"]
